//! Every scenario that once found a real bug, each with its story at its head. They must hold for ever.

use std::path::{Path, PathBuf};

use simulation::{Scenario, run};

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let entries = std::fs::read_dir(&folder).expect("the folder of the regressions stands beside the tests");
    let files = entries.map(|entry| entry.expect("a file of the tree can be listed").path());
    let mut files: Vec<PathBuf> =
        files.filter(|file| file.extension().is_some_and(|end| end == "scenario")).collect();
    files.sort();
    files
}

#[test]
fn every_scenario_that_found_a_bug_holds() {
    let files = scenarios();
    assert!(!files.is_empty(), "the regressions are really read");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a file of the tree can be read");
        let scenario = Scenario::read(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        if let Err(failure) = run(&scenario) {
            panic!("{}: {failure}\n{}", file.display(), failure.story);
        }
    }
}

#[test]
fn every_scenario_tells_its_story() {
    for file in scenarios() {
        let text = std::fs::read_to_string(&file).expect("a file of the tree can be read");
        let head = text.lines().take_while(|line| line.starts_with('#')).count();
        assert!(head >= 3, "{}: begins with comments that say what it found", file.display());
    }
}
