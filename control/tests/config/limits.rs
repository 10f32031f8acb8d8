//! Bad and huge input is bounded, and never a panic.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::{checked, told};

const GOOD: &str = include_str!("good.yaml");

#[test]
fn more_than_four_mebibytes_or_a_thousand_documents_are_refused() {
    let long = format!("# {}\n", "x".repeat(4 << 20));
    let refused = told(&[&long]);
    assert!(refused[0].contains("all files together must be at most 4194304 bytes"), "{refused:?}");
    let service = |at| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{at}}}\nspec: {{ports: [{{port: 80}}]}}\n---\n"
        )
    };
    let thousand: String = (0..1000).map(service).collect();
    assert_eq!(checked(&[&thousand]).unwrap().documents.len(), 1000);
    let refused = told(&[&format!("{thousand}{}", service(1000))]);
    assert_eq!(
        refused,
        ["a.yaml:1:1 : at most 1000 documents at a time, these are 1001: apply them in parts"]
    );
}

#[test]
fn a_thousand_faults_are_told_as_a_hundred_and_a_number() {
    let text: String = (0..1000).map(|_| "kind: Pod\n---\n").collect();
    let told = told(&[&text]);
    assert_eq!(told.len(), 100);
    assert!(told[99].ends_with("(and 900 more complaints: mend these first)"), "{}", told[99]);
}

#[test]
fn bombs_are_refused_quickly() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let previous = format!("*a{}, ", level - 1).repeat(10);
        laughs.push_str(&format!("a{level}: &a{level} [{previous}]\n"));
    }
    let deep = "- ".repeat(100_000);
    for text in [laughs.as_str(), deep.as_str()] {
        assert!(checked(&[text]).is_err());
    }
    let many: String = (0..5_000).map(|at| format!("specs{at}: 1\n")).collect();
    let many = told(&[&format!("apiVersion: v1\nkind: Service\n{many}")]);
    assert!(many.iter().all(|told| told.len() < 500) && many.len() == 100, "{many:?}");
    let zeros = format!("apiVersion: v1\nkind: Service\nmetadata: {{name: 0.{}1}}\n", "0".repeat(1_000_000));
    assert!(told(&[&zeros]).iter().all(|told| told.len() < 500));
    let long_key = format!("apiVersion: v1\nkind: Service\n{}: 1\n", "k".repeat(1_000_000));
    assert!(told(&[&long_key]).iter().all(|told| told.len() < 500));
}

/// Each complaint repeats it: a hundred of them made half a gigabyte of a request of five megabytes.
#[test]
fn a_file_whose_name_is_longer_than_any_path_is_refused_once() {
    let file = |name: String| api::v1::SourceFile { name, yaml: "kind: Pod\n---\n".repeat(200) };
    let refused = control::config::check(&[file("a".to_owned()), file("n".repeat(1 << 20))]).unwrap_err();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].message, "a file's name must be at most 4096 bytes, is 1048576");
}

#[test]
fn what_a_terminal_would_obey_is_told_escaped() {
    let refused = told(&["apiVersion: v1\nkind: \"\\e[2JService\"\n", "\"\\e[2J\\u202e\": 1\n"]);
    assert!(refused.iter().all(|told| !told.contains(['\u{1b}', '\u{202e}'])), "{refused:?}");
    let key =
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}], \"\\e[2J\": 1}\n";
    assert_eq!(told(&[key]), ["a.yaml:4:29 spec.\\u{1b}[2J: is not a field here"]);
}

#[test]
fn mutated_documents_are_taken_or_refused_and_never_a_panic() {
    assert!(checked(&[GOOD]).is_ok(), "{:?}", told(&[GOOD]));
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let alphabet: Vec<char> = "\n :-{}[]'\"&*!|>#,a0\t\u{0}ä\u{2028}%".chars().collect();
    for _ in 0..3_000 {
        let mut chars: Vec<char> = GOOD.chars().collect();
        for _ in 0..1 + rng.next_u64() % 4 {
            let place = (rng.next_u64() % chars.len() as u64) as usize;
            let char = alphabet[(rng.next_u64() % alphabet.len() as u64) as usize];
            match rng.next_u64() % 3 {
                0 => chars[place] = char,
                1 => chars.insert(place, char),
                _ => drop(chars.remove(place)),
            }
        }
        let text: String = chars.into_iter().collect();
        if let Ok(checked) = checked(&[&text]) {
            let good =
                checked.command.services.iter().all(|service| mesh::Service::try_from(service).is_ok())
                    && checked.command.routes.iter().all(|route| mesh::Route::try_from(route).is_ok())
                    && checked.command.policies.iter().all(|it| mesh::TrafficPolicy::try_from(it).is_ok());
            assert!(good, "the catalog would refuse what config took:\n{text}");
        }
    }
}
