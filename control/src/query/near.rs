//! Near misses: what a person who asked for a name that does not exist may have meant. Pure.

/// Names that are shown; more is a list, not a hint.
const SHOWN_MAX: usize = 3;

/// The message for a name that does not exist: what was asked, and what comes near.
pub(super) fn not_found<'n>(kind: &str, asked: &str, known: impl Iterator<Item = &'n str>) -> String {
    let near = nearest(asked, known);
    if near.is_empty() {
        return format!("{kind} {asked} does not exist");
    }
    format!("{kind} {asked} does not exist; there is {}", near.join(", "))
}

/// The nearest names: those a few slips away, and those that are the same in another namespace.
fn nearest<'n>(asked: &str, known: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let label = |name: &'n str| name.split('.').next().unwrap_or(name);
    let asked_label = asked.split('.').next().unwrap_or(asked);
    let limit = (asked_label.chars().count() / 3).clamp(1, 4);
    let mut near: Vec<(usize, &str)> = known
        .map(|name| (slips(asked_label, label(name)), name))
        .filter(|(slips, _)| *slips <= limit)
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(SHOWN_MAX).map(|(_, name)| name).collect()
}

/// Letters to add, drop or change to turn `a` into `b` (Levenshtein distance).
fn slips(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for j in 1..=b.len() {
            let change = before + usize::from(letter != b[j - 1]);
            before = row[j];
            row[j] = change.min(row[j] + 1).min(row[j - 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_and_another_namespace_are_near_and_a_stranger_is_not() {
        let known = ["books.default", "web.shop", "payments.default"];
        let told = |asked: &str| not_found("service", asked, known.into_iter());
        assert_eq!(told("boks.default"), "service boks.default does not exist; there is books.default");
        assert_eq!(told("web.default"), "service web.default does not exist; there is web.shop");
        assert_eq!(told("ratings.default"), "service ratings.default does not exist");
    }
}
