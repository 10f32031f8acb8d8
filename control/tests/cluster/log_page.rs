//! A node's log in words: what was written is found in its data directory once it is down, and nothing is changed by looking.

use control::backup::log_page;

use crate::group::{Group, registration};

#[test]
fn the_log_of_a_node_that_is_down_says_what_was_written_by_whom() {
    let mut group = Group::of(1);
    let directory = group.settings(1).data_directory.clone();
    let written = group.register(1, registration("web", "web-1")).unwrap().revision.unwrap();
    let running = log_page(&directory, None, None).unwrap_err();
    assert!(running.to_string().contains("another process"), "{running}");
    group.end_abruptly(1);
    let page = log_page(&directory, None, None).unwrap();
    assert!((page.first..=page.last).contains(&written.index), "{page:?}");
    assert!(page.rows.iter().any(|row| row.kind == "term"), "a leader's first entry");
    let row = page.rows.iter().find(|row| row.index == written.index).unwrap();
    assert_eq!(row.says, "web-1 of web.default:80 at 10.0.0.1:4143, for 60 s");
    assert_eq!((row.kind, row.client.as_str(), row.sequence), ("register", "web-1", 1));
    assert!(row.at_ms > 0 && row.bytes > 0);
    let alone = log_page(&directory, Some(written.index), Some(written.index)).unwrap();
    assert_eq!(alone.rows, std::slice::from_ref(row));
    group.start_again(1);
    assert_eq!(group.instances(1, "web"), ["web-1"], "looking changed nothing");
}

#[test]
fn a_directory_that_does_not_stand_is_told_and_not_made() {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-such-node");
    let absent = log_page(&directory, None, None).unwrap_err().to_string();
    assert!(absent.contains("no node has its data in") && absent.contains("no-such-node"), "{absent}");
    assert!(!directory.exists());
}
