//! The rules of the house, held by an ordinary test: who imports whom, how files look, which words are not used.
//!
//! Reads the tree, runs nothing and writes nothing. A failure names the file, the line, the rule and the reason. Each
//! rule is also run against a bad sample (in its own file), so that none can fall asleep.
#![allow(clippy::unwrap_used)] // a test that cannot read the tree should panic

#[path = "house_rules/imports.rs"]
mod imports;
#[path = "house_rules/source.rs"]
mod source;
#[path = "house_rules/style.rs"]
mod style;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use source::{Source, Violation, files_below};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every Rust file, read once for all tests.
fn rust_files() -> &'static [Source] {
    static FILES: OnceLock<Vec<Source>> = OnceLock::new();
    FILES.get_or_init(|| {
        let found = files_below(&root(), &|name| name.ends_with(".rs"));
        found.iter().map(|(path, text)| Source::new(path, text)).collect()
    })
}

fn assert_none(mut found: Vec<Violation>) {
    found.sort();
    let lines: Vec<String> =
        found.iter().map(|one| format!("{}:{}: {}", one.path, one.line, one.rule)).collect();
    assert!(lines.is_empty(), "{} broken rules of the house:\n{}\n", lines.len(), lines.join("\n"));
}

#[test]
fn the_tree_is_really_read() {
    let paths: Vec<String> = rust_files().iter().map(|source| source.path.clone()).collect();
    for expected in ["mesh/src/lib.rs", "control/src/lib.rs", "simulation/tests/house_rules/style.rs"] {
        assert!(paths.iter().any(|path| path == expected), "{expected} is not among {} files", paths.len());
    }
}

#[test]
fn every_file_keeps_to_the_house_style() {
    assert_none(rust_files().iter().flat_map(style::violations).collect());
}

#[test]
fn rooms_import_lower_floors_only() {
    assert_none(rust_files().iter().flat_map(imports::violations).collect());
}

#[test]
fn crates_import_lower_floors_only() {
    let manifests = files_below(&root(), &|name| name == "Cargo.toml");
    assert!(manifests.len() > 8, "the members' manifests are read");
    // Peers of the benchmarks and the fuzz targets are no members: each is a workspace of its own.
    let others = ["bench/peers/", "fuzz/"];
    let members = manifests.iter().filter(|(path, _)| !others.iter().any(|other| path.starts_with(other)));
    let members = members.filter_map(|(path, text)| Some((path.strip_suffix("/Cargo.toml")?, text)));
    assert_none(members.flat_map(|(name, text)| imports::manifest_violations(name, text)).collect());
}

/// What belongs to the place where the code was written, and not to the project. In two halves each, so that this file
/// does not break its own rule.
fn words_of_the_workplace() -> Vec<String> {
    let halves = [
        (".lib", "rary/"),
        ("farm", "-bench"),
        ("farm", "-studio"),
        ("/work", "/wt"),
        ("/work", "/shared"),
        ("/work", "/main"),
        ("clau", "de"),
        ("anthro", "pic"),
        ("chat", "gpt"),
        ("static.cra", "tes.io"),
        ("index.cra", "tes.io"),
        ("files.python", "hosted.org"),
        ("deb.deb", "ian.org"),
    ];
    halves.iter().map(|(first, second)| format!("{first}{second}")).collect()
}

fn workplace_violations(path: &str, text: &str) -> Vec<Violation> {
    let words = words_of_the_workplace();
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let lower = line.to_lowercase();
        for word in words.iter().filter(|word| lower.contains(word.as_str())) {
            let rule = format!("`{word}` names the workplace: the project must make sense anywhere");
            found.push(Violation { path: path.to_owned(), line: index + 1, rule });
        }
    }
    found
}

#[test]
fn nothing_names_the_workplace() {
    let is_text = |name: &str| {
        let ends = [".rs", ".md", ".toml", ".yaml", ".yml", ".proto", ".py", ".sh", ".json", ".txt"];
        ends.iter().any(|end| name.ends_with(end)) || !name.contains('.')
    };
    let files = files_below(&root(), &is_text);
    assert_none(files.iter().flat_map(|(path, text)| workplace_violations(path, text)).collect());
}

#[test]
fn a_name_of_the_workplace_is_found() {
    let word = words_of_the_workplace().remove(0);
    let found = workplace_violations("README.md", &format!("fine\nsee {}\n", word.to_uppercase()));
    assert_eq!((found.len(), found[0].line), (1, 2));
    assert!(workplace_violations("README.md", "workers and workloads at work/farms\n").is_empty());
}
