//! Who may import whom: between crates by their manifests, inside a crate by what its files name.
//!
//! The picture is in ARCHITECTURE.md. A circle is a design fault also if it compiles; both of the large meshes that were
//! studied grew theirs through settings and metrics.

use super::source::{Source, Violation};

/// What each crate may import of ours. A new crate is added here with its floor.
const CRATES: [(&str, &[&str]); 9] = [
    ("mesh", &[]),
    ("consensus", &[]),
    ("api", &["mesh"]),
    ("runtime", &["mesh"]),
    ("control", &["mesh", "api", "runtime", "consensus"]),
    ("proxy", &["mesh", "api", "runtime"]),
    ("cli", &["mesh", "api", "runtime", "control", "proxy", "simulation"]),
    ("simulation", &["mesh", "api", "runtime", "consensus", "control", "proxy"]),
    ("bench", &["mesh", "api", "runtime"]),
];

/// The floors inside `control/src`: a room may import rooms of lower floors only, never its neighbours.
const CONTROL_FLOORS: [&[&str]; 5] = [
    &["settings", "metrics"],
    &["catalog"],
    &["replica"],
    &[
        "backup",
        "intake",
        "config",
        "discovery",
        "rollup",
        "query",
        "members",
        "identity",
        "kubernetes",
        "tap",
        "dashboard",
    ],
    &["node", "lib", "main"],
];

/// Checks one manifest, by the name of its crate.
pub(crate) fn manifest_violations(name: &str, text: &str) -> Vec<Violation> {
    let path = format!("{name}/Cargo.toml");
    let Some((_, allowed)) = CRATES.iter().find(|(known, _)| *known == name) else {
        let rule =
            "a crate that the import rules do not know: give it a floor in ARCHITECTURE.md and in this test";
        return vec![Violation { path, line: 1, rule: rule.to_owned() }];
    };
    let mut found = Vec::new();
    let mut in_dependencies = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
            continue;
        }
        let imported = line.split(['.', ' ', '=']).next().unwrap_or_default();
        let is_ours = CRATES.iter().any(|(known, _)| *known == imported);
        if in_dependencies && is_ours && !allowed.contains(&imported) {
            let rule =
                format!("`{name}` may not import `{imported}`: imports go downwards only (ARCHITECTURE.md)");
            found.push(Violation { path: path.clone(), line: index + 1, rule });
        }
    }
    found
}

/// Checks what a file imports from its own crate.
pub(crate) fn violations(source: &Source) -> Vec<Violation> {
    let mut found = ground_floor(source);
    if let Some(inside) = source.path.strip_prefix("control/src/") {
        let room = inside.split(['/', '.']).next().unwrap_or_default();
        found.extend(control_floors(source, room));
    }
    found
}

/// Settings and metrics of a program import nothing of their crate.
fn ground_floor(source: &Source) -> Vec<Violation> {
    let parts: Vec<&str> = source.path.split(['/', '.']).collect();
    let [program @ ("control" | "proxy" | "cli"), "src", room @ ("settings" | "metrics"), ..] = parts[..]
    else {
        return Vec::new();
    };
    let above = imports(source).into_iter().filter(|(_, imported)| imported != room);
    let rule = |imported: &str| {
        format!(
            "`{room}` is the ground floor of `{program}` and imports nothing of it, but names `{imported}`"
        )
    };
    above.map(|(index, imported)| source.violation(index, rule(&imported))).collect()
}

fn control_floors(source: &Source, room: &str) -> Vec<Violation> {
    let floor_of = |room: &str| CONTROL_FLOORS.iter().position(|floor| floor.contains(&room));
    let Some(own) = floor_of(room) else {
        let rule = format!("the room `{room}` has no floor: give it one in ARCHITECTURE.md and in this test");
        return vec![source.violation(0, rule)];
    };
    let mut found = Vec::new();
    for (index, imported) in imports(source) {
        let Some(floor) = floor_of(&imported) else { continue };
        let is_top = own == CONTROL_FLOORS.len() - 1;
        if imported != room && !is_top && floor >= own {
            let rule = format!(
                "`{room}` may not import `{imported}`: rooms import lower floors only, node.rs wires"
            );
            found.push(source.violation(index, rule));
        }
    }
    found
}

/// Line index and name of each top-level module of its own crate that a file names by `crate::`.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // Character offsets, since a `use crate::{...}` may go over lines.
    let text = source.code.join("\n");
    for (at, _) in text.match_indices("crate::") {
        let line = text[..at].matches('\n').count();
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.push((line, first_word(rest))),
            Some(group) => found.extend(heads_of_group(group, line)),
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

/// The first word of each element of a `{a::b, c::{d, e}}` whose opening brace was taken off.
fn heads_of_group(group: &str, first_line: usize) -> Vec<(usize, String)> {
    let (mut depth, mut line, mut fresh, mut found) = (1, first_line, true, Vec::new());
    for (at, char) in group.char_indices() {
        match char {
            '\n' => line += 1,
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => fresh = true,
            _ if fresh && char.is_alphabetic() => {
                found.push((line, first_word(&group[at..])));
                fresh = false;
            }
            _ => {}
        }
    }
    found
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        violations(&Source::new(path, text))
            .into_iter()
            .map(|one| format!("{}: {}", one.line, one.rule))
            .collect()
    }

    #[test]
    fn a_crate_that_imports_upwards_is_found_in_any_kind_of_dependency() {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let text = format!(
                "[package]\nname = \"mesh\"\n[{section}]\nbytes.workspace = true\napi.workspace = true\n"
            );
            let found = manifest_violations("mesh", &text);
            assert_eq!((found.len(), found[0].line), (1, 5), "{found:?}");
        }
        assert!(manifest_violations("api", "[dependencies]\nmesh.workspace = true\n").is_empty());
        assert_eq!(manifest_violations("attic", "").len(), 1);
    }

    #[test]
    fn a_room_that_imports_its_neighbour_or_a_higher_floor_is_found() {
        let neighbour = "//! x\nuse crate::{\n    catalog::Change,\n    rollup::{Partial, config},\n};\n";
        assert_eq!(found("control/src/intake/a.rs", neighbour).len(), 1);
        assert!(
            found("control/src/intake/a.rs", neighbour)[0].starts_with("4: `intake` may not import `rollup`")
        );
        assert_eq!(found("control/src/catalog/a.rs", "//! x\nfn a() { crate::replica::b() }\n").len(), 1);
        assert!(found("control/src/node.rs", neighbour).is_empty());
        assert!(found("control/src/attic/a.rs", "//! x\n")[0].contains("has no floor"));
    }

    #[test]
    fn settings_and_metrics_that_import_their_program_are_found() {
        assert_eq!(found("proxy/src/settings.rs", "//! x\nuse crate::balance::Pick;\n").len(), 1);
        assert_eq!(found("control/src/metrics/a.rs", "//! x\nuse crate::catalog::Change;\n").len(), 2);
        assert!(found("proxy/src/settings.rs", "//! x\nuse runtime::settings::Reader;\n").is_empty());
    }
}
