//! What is read of YAML, where its faults are said to be, and what hostile text costs.
#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use super::*;

fn only(text: &str) -> Node {
    let parsed = parse(text);
    assert_eq!(parsed.faults, []);
    assert_eq!(parsed.documents.len(), 1);
    parsed.documents.into_iter().next().unwrap()
}

fn faults(text: &str) -> Vec<String> {
    parse(text).faults.iter().map(ToString::to_string).collect()
}

#[test]
fn every_key_and_value_knows_its_line_and_column() {
    let node = only("kind: Service\nspec:\n  ports:\n    - port: 80\n");
    let port = &node.entry("spec").unwrap().value.entry("ports").unwrap().value.items().unwrap()[0];
    let entry = port.entry("port").unwrap();
    assert_eq!(entry.position, Position { line: 4, column: 7 });
    assert_eq!(entry.value.position, Position { line: 4, column: 13 });
    assert_eq!(entry.value.integer(), Some(80));
}

#[test]
fn scalars_stay_the_text_that_was_written() {
    let node = only("version: 1.10\nzip: 007\nquoted: '80'\nyes: true\nnone:\n");
    let value = |key: &str| &node.entry(key).unwrap().value;
    assert_eq!(value("version").text(), Some("1.10"));
    assert_eq!(value("zip").text(), Some("007"));
    assert_eq!(value("quoted").integer(), None);
    assert_eq!(value("yes").boolean(), Some(true));
    assert_eq!(value("none").content, Content::Null);
}

#[test]
fn documents_are_split_and_an_empty_one_is_null() {
    let parsed = parse("a: 1\n---\n---\nb: 2\n");
    assert_eq!(parsed.faults, []);
    let kinds: Vec<_> = parsed.documents.iter().map(Node::kind).collect();
    assert_eq!(kinds, ["a mapping", "nothing", "a mapping"]);
}

#[test]
fn a_key_that_stands_twice_is_named_with_both_lines_and_reading_goes_on() {
    let parsed = parse("port: 1\nport: 2\nname: x\nname: y\n");
    let faults: Vec<_> = parsed.faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults[0], "line 2, column 1: `port` stands twice in one mapping, first on line 1: keep one");
    assert_eq!(faults.len(), 2);
    assert_eq!(parsed.documents.len(), 1);
}

#[test]
fn broken_yaml_names_its_place() {
    let faults = faults("a: [1, 2\nb: 3\n");
    assert!(faults[0].starts_with("line 2, column "), "{faults:?}");
    assert!(faults[0].contains("not valid YAML"), "{faults:?}");
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
    for text in ["- ".repeat(100_000), "[".repeat(100_000), "{a: ".repeat(100_000)] {
        let faults = faults(&text);
        assert_eq!(faults.len(), 1, "{faults:?}");
    }
}

/// Once the keys of a mapping were looked through for each new one: a file of this size kept a core for minutes.
#[test]
fn a_mapping_of_200_000_keys_is_read() {
    let text: String = (0..200_000).map(|key| format!("k{key:06}: 1\n")).collect();
    assert_eq!(only(&text).entries().unwrap().len(), 200_000);
}

#[test]
fn aliases_are_expanded_but_not_without_end() {
    let node = only("base: &b {port: 80}\ncopy: *b\n");
    assert_eq!(node.entry("copy").unwrap().value.entry("port").unwrap().value.integer(), Some(80));
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let previous = format!("*a{}, ", level - 1).repeat(10);
        laughs.push_str(&format!("a{level}: &a{level} [{}]\n", previous.trim_end_matches(", ")));
    }
    assert!(faults(&laughs)[0].contains("more than 500000 values"));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a, ".repeat(1_000));
    assert!(faults(&long)[0].contains("more than 500000 values"), "100 MB of one long text");
}

/// Each alias and what it named stood within the bound; together they nested thousands of levels and overflowed the stack.
#[test]
fn aliases_do_not_nest_deeper_than_text_may() {
    let nested = |depth: usize, inner: &str| format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth));
    let mut text = format!("- &a0 {}\n", nested(40, "x"));
    for level in 1..80 {
        text.push_str(&format!("- &a{level} {}\n", nested(40, &format!("*a{}", level - 1))));
    }
    let told = faults(&text);
    assert!(told.len() == 1 && told[0].starts_with("line 2,"), "{told:?}");
    assert!(told[0].contains("deeper than 64 levels"), "{told:?}");
}

#[test]
fn a_tag_of_ones_own_and_a_key_that_is_no_text_are_refused() {
    assert!(faults("a: !secret x\n")[0].contains("the tag `!secret` means nothing here"));
    assert!(faults("? [a, b]\n: c\n")[0].contains("a key must be text, and this is a list"));
}
