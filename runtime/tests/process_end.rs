//! How processes end, with real ones: a child with its parent, and any process on a panic.
//!
//! Each test starts this test program again as a child, which plays the part named in [`PART`].
#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Which part this process plays, if it is a child.
const PART: &str = "RUNTIME_TEST_PART";
/// The parent's id, for the part `leaf`.
const PARENT: &str = "RUNTIME_TEST_PARENT";
const SIGABRT: i32 = 6;

fn child(part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_child_that_has_a_part_plays_it", "--nocapture"]).env(PART, part);
    command.env(PARENT, std::process::id().to_string()).stdin(Stdio::null());
    command
}

fn said_by(command: &mut Command) -> (ExitStatus, String) {
    let output = command.output().unwrap();
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_child_that_has_a_part_plays_it() {
    match std::env::var(PART).as_deref() {
        Ok("middle") => {
            let mut leaf = child("leaf").spawn().unwrap();
            leaf.wait().unwrap();
        }
        Ok("leaf") => {
            runtime::process::end_with_parent(std::env::var(PARENT).unwrap().parse().unwrap()).unwrap();
            std::io::stdout().write_all(b"tied\n").unwrap();
            loop {
                std::thread::park();
            }
        }
        Ok("orphan") => {
            let error = runtime::process::end_with_parent(std::process::id()).unwrap_err();
            panic!("{error}");
        }
        Ok("panic") => {
            runtime::panic_hook::install();
            let died = std::thread::Builder::new()
                .name("truth".into())
                .spawn(|| panic!("the invariant broke"))
                .unwrap();
            died.join().unwrap_err();
        }
        Ok("logged panic") => {
            let filter = runtime::telemetry::Filter::default();
            runtime::telemetry::install(&filter, runtime::telemetry::Format::Json).unwrap();
            runtime::panic_hook::install();
            panic!("the invariant broke");
        }
        _ => {}
    }
}

#[test]
fn a_child_ends_with_a_parent_that_was_killed() {
    let mut middle: Child = child("middle").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(middle.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("tied") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the leaf never started");
    }
    middle.kill().unwrap();
    middle.wait().unwrap();
    // The leaf holds the other end of this pipe: it ends only when the leaf has.
    lines.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_child_whose_parent_is_another_process_is_told_that_it_is_an_orphan() {
    let (status, said) = said_by(&mut child("orphan"));
    assert!(!status.success());
    assert!(said.contains("has ended already: nothing is left to serve"), "{said}");
}

#[test]
fn a_panic_on_any_thread_ends_the_process_and_says_where() {
    let (status, said) = said_by(&mut child("panic"));
    assert_eq!(status.signal(), Some(SIGABRT));
    assert!(said.contains("the invariant broke") && said.contains("process_end.rs"), "{said}");
}

#[test]
fn a_panic_is_a_line_of_the_log_once_there_is_one() {
    let (status, said) = said_by(&mut child("logged panic"));
    assert_eq!(status.signal(), Some(SIGABRT));
    let line = said.lines().find(|line| line.starts_with('{')).unwrap();
    assert!(line.contains("panic: the invariant broke; ending the process"), "{line}");
}
