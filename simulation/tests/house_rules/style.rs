//! The rules of one file: its head, its length, its functions, its names, its tests, its purity.
//!
//! Each rule is a function from a source to its violations, and is shown to fail on a bad sample below.

use super::source::{Source, Violation};

/// Lines of a file at most: what a reader can hold, with room for one hard case.
const FILE_LINES_MAX: usize = 450;
/// Lines of a `mod.rs`, `lib.rs` excluded: it is a map, and a map has no rooms.
const MAP_LINES_MAX: usize = 60;
/// Lines of a function at most: a screen.
const FUNCTION_LINES_MAX: usize = 70;
/// Words that say nothing; the thing itself has a name in the glossary.
const EMPTY_WORDS: [&str; 8] =
    ["manager", "managers", "util", "utils", "common", "helper", "helpers", "misc"];
/// First words of function names that say only that something happens.
const EMPTY_VERBS: [&str; 4] = ["get", "handle", "process", "test"];
/// Files (or folders) whose code is handed its time and chance, and does no IO. Everything that decides belongs here.
const PURE: [&str; 9] = [
    "mesh/src/",
    "consensus/src/replica/",
    "control/src/catalog/",
    "control/src/config/",
    "control/src/discovery/session",
    "control/src/intake/leases",
    "control/src/rollup/partials",
    "proxy/src/balance/",
    "proxy/src/discovery/subscriber",
];
/// What a pure core must not reach for, and what to do instead. The catalog and the replica are bare of `async` by it.
const IMPURE: [(&str, &str); 8] = [
    ("Instant::now", "time is handed in"),
    ("SystemTime::now", "time is handed in"),
    ("HashMap", "its order differs from run to run: use BTreeMap"),
    ("HashSet", "its order differs from run to run: use BTreeSet"),
    ("tokio::", "a pure core runs without an executor"),
    ("std::fs", "files belong to the shell"),
    (".await", "a pure core answers at once"),
    ("thread_rng", "chance is handed in"),
];

/// What test code looks like that opens sockets or starts programs.
const OPENINGS: [&str; 6] = ["bind(", "connect(", "dial(", "start(", "Command::new(", "TcpStream"];

/// All rules of this file.
pub(crate) fn violations(source: &Source) -> Vec<Violation> {
    let rules: [fn(&Source) -> Vec<Violation>; 6] =
        [head, length, functions, names, tests_wait_for_nothing, purity];
    rules.iter().flat_map(|rule| rule(source)).collect()
}

fn head(source: &Source) -> Vec<Violation> {
    if source.lines.first().is_some_and(|line| line.starts_with("//!")) {
        return Vec::new();
    }
    vec![source.violation(
        0,
        "a file opens with `//!`: what it is, where it stands in the flow, what it must never do",
    )]
}

fn length(source: &Source) -> Vec<Violation> {
    let is_map = source.path.ends_with("/mod.rs") && source.path.contains("/src/");
    let (limit, why) = match is_map {
        true => (MAP_LINES_MAX, "it is a map: move what it holds into a file of its own"),
        false => (FILE_LINES_MAX, "is there a second noun inside?"),
    };
    if source.lines.len() <= limit {
        return Vec::new();
    }
    vec![
        source.violation(limit, format!("the file has {} lines, {limit} at most: {why}", source.lines.len())),
    ]
}

fn functions(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, name) in definitions(&source.code, &["fn"]) {
        let lines = body_lines(&source.code[index..]);
        if lines > FUNCTION_LINES_MAX {
            let rule = format!(
                "`{name}` has {lines} lines, {FUNCTION_LINES_MAX} at most: branch here, compute in a leaf"
            );
            found.push(source.violation(index, rule));
        }
    }
    found
}

/// Lines from the first one to the end of the body that opens in it or soon after; 1 for a declaration without a body.
fn body_lines(code: &[String]) -> usize {
    let (mut braces, mut brackets) = (0usize, 0usize);
    let from = code[0].find("fn ").unwrap_or(0);
    for (index, line) in code.iter().enumerate() {
        for char in line[if index == 0 { from } else { 0 }..].chars() {
            match char {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets = brackets.saturating_sub(1),
                ';' if braces == 0 && brackets == 0 => return index + 1,
                '{' => braces += 1,
                '}' if braces == 1 => return index + 1,
                '}' => braces = braces.saturating_sub(1),
                _ => {}
            }
        }
    }
    code.len()
}

/// Line index and name of what `keywords` define.
fn definitions(code: &[String], keywords: &[&str]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in code.iter().enumerate() {
        let words: Vec<&str> = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        for pair in words.windows(2) {
            if keywords.contains(&pair[0]) && !pair[1].is_empty() {
                found.push((index, pair[1].to_owned()));
            }
        }
    }
    found
}

/// `LeaseManager` and `lease_manager` are both `[lease, manager]`.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for char in name.chars() {
        if char == '_' || char.is_uppercase() {
            words.push(String::new());
        }
        if char != '_' {
            words.last_mut().unwrap().extend(char.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn names(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    let keywords = ["fn", "struct", "enum", "trait", "mod", "type", "const", "static"];
    for (index, name) in definitions(&source.code, &keywords) {
        if let Some(word) = words_of(&name).iter().find(|word| EMPTY_WORDS.contains(&word.as_str())) {
            found.push(
                source
                    .violation(index, format!("`{name}`: `{word}` says nothing; name the thing (glossary)")),
            );
        }
    }
    for (index, name) in definitions(&source.code, &["fn"]) {
        let first = name.split('_').next().unwrap_or_default();
        if EMPTY_VERBS.contains(&first) && name.contains('_') {
            let why = "functions that answer are nouns, those that act say what they do, tests are sentences";
            found.push(source.violation(index, format!("`{name}` begins with `{first}_`: {why}")));
        }
    }
    found
}

fn tests_wait_for_nothing(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    // Where nothing is opened, an address is a text like any other.
    let opens = source.tested_code().any(|(_, line)| OPENINGS.iter().any(|opening| line.contains(opening)));
    for (index, line) in source.tested_code() {
        if source.code[index].contains("sleep(") && !polls(source, index) {
            let rule = "a test does not sleep: wait for the event itself, or hand time in; where another process \
                        can only be asked again and again, within a deadline, say so above: `// polls: why`";
            found.push(source.violation(index, rule));
        }
        if has_fixed_port(line) && opens {
            let rule = "a test takes no fixed port on this machine: bind to 0 (an address that is only data is 10.0.0.1)";
            found.push(source.violation(index, rule));
        }
    }
    found
}

/// Whether the pause on this line is said to be one between two questions to somebody who cannot be waited for.
fn polls(source: &Source, index: usize) -> bool {
    let from = index.saturating_sub(1);
    source.lines[from..=index].iter().any(|line| line.contains("// polls: "))
}

/// Whether the line names loopback with a port of four or five digits.
fn has_fixed_port(line: &str) -> bool {
    let after = line.split("127.0.0.1:").skip(1).chain(line.split("[::1]:").skip(1));
    after.into_iter().any(|rest| {
        let digits = rest.chars().take_while(char::is_ascii_digit).count();
        digits >= 4 && !rest.starts_with('0')
    })
}

fn purity(source: &Source) -> Vec<Violation> {
    // A room's shell stands beside its core: the actor who hears, the face over gRPC.
    let is_shell = ["/actor.rs", "/service.rs", "/grpc.rs"].iter().any(|shell| source.path.ends_with(shell));
    if is_shell || !PURE.iter().any(|pure| source.path.starts_with(pure)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (index, line) in source.own_code() {
        for (impure, why) in IMPURE {
            if names_it(line, impure) {
                found.push(source.violation(index, format!("`{impure}` in a pure core: {why}")));
            }
        }
    }
    found
}

/// Whether `line` holds `what` as whole words: `.awaiting` is no `.await`.
fn names_it(line: &str, what: &str) -> bool {
    let is_word = |char: char| char.is_alphanumeric() || char == '_';
    let ends_in_word = what.ends_with(is_word);
    line.match_indices(what).any(|(at, _)| !ends_in_word || !line[at + what.len()..].starts_with(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<String> {
        violations(&Source::new(path, text))
            .into_iter()
            .map(|found| format!("{}: {}", found.line, found.rule))
            .collect()
    }

    fn assert_only(found: &[String], start: &str) {
        assert!(found.len() == 1 && found[0].starts_with(start), "{found:#?}");
    }

    #[test]
    fn a_file_without_a_head_is_found() {
        assert_only(&rules("a/src/b.rs", "use x;\n"), "1: a file opens with `//!`");
    }

    #[test]
    fn a_file_or_a_map_that_is_too_long_is_found() {
        let long = format!("//! x\n{}", "use x;\n".repeat(FILE_LINES_MAX));
        assert_only(&rules("a/src/b.rs", &long), "451: the file has 451 lines, 450 at most");
        let map = format!("//! x\n{}", "mod x;\n".repeat(MAP_LINES_MAX));
        assert_only(&rules("a/src/b/mod.rs", &map), "61: the file has 61 lines, 60 at most");
    }

    #[test]
    fn a_function_that_is_too_long_is_found_and_a_declaration_is_not() {
        let body = "    f();\n".repeat(FUNCTION_LINES_MAX);
        assert_only(
            &rules("a/src/b.rs", &format!("//! x\nfn f(a: [u8; 4]) {{\n{body}}}\n")),
            "2: `f` has 72 lines",
        );
        let declared = format!("//! x\ntrait T {{\n    fn f(a: [u8; 4]);\n}}\n{}", "use x;\n".repeat(100));
        assert!(rules("a/src/b.rs", &declared).is_empty());
    }

    #[test]
    fn empty_words_and_verbs_are_found_in_definitions_and_not_in_what_others_wrote() {
        for (bad, start) in [
            ("struct LeaseManager;", "2: `LeaseManager`: `manager` says nothing"),
            ("mod net_utils;", "2: `net_utils`: `utils` says nothing"),
            ("fn get_leases() {}", "2: `get_leases` begins with `get_`"),
            ("fn handle_request() {}", "2: `handle_request` begins with `handle_`"),
            ("fn process_leases() {}", "2: `process_leases` begins with `process_`"),
            ("fn test_leases() {}", "2: `test_leases` begins with `test_`"),
        ] {
            assert_only(&rules("a/src/b.rs", &format!("//! x\n{bad}\n")), start);
        }
        assert!(rules("a/src/b.rs", "//! x\nuse hyper_util::x;\nfn handle() { a.get_mut() }\n").is_empty());
    }

    #[test]
    fn a_test_that_sleeps_or_takes_a_port_is_found() {
        let sleeps = "//! x\n#[cfg(test)]\nmod tests {\n    fn a() { std::thread::sleep(x); }\n}\n";
        assert_only(&rules("a/src/b.rs", sleeps), "4: a test does not sleep");
        assert!(
            rules("a/src/b.rs", &sleeps.replace("    fn", "    // polls: another process\n    fn"))
                .is_empty()
        );
        let port = format!("//! x\nfn a() {{ dial(\"127.0.0.1:{}\") }}\n", 4100);
        assert_only(&rules("a/tests/b.rs", &port), "2: a test takes no fixed port");
        assert!(rules("a/tests/b.rs", "//! x\nfn a() { dial(\"127.0.0.1:0\") }\n").is_empty());
        assert!(rules("a/tests/b.rs", &port.replace("dial", "parsed")).is_empty());
    }

    #[test]
    fn a_pure_core_that_reads_a_clock_or_keeps_an_unordered_map_is_found() {
        let text = "//! x\nfn a() { Instant::now(); }\nstruct B { c: HashMap<u8, u8> }\n";
        let found = rules("control/src/catalog/b.rs", text);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(rules("control/src/replica/b.rs", text).is_empty());
        assert!(rules("control/src/catalog/b.rs", "//! x\nfn a() { self.awaiting }\n").is_empty());
    }
}
