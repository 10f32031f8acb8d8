//! `snapshot` and `recover` where they are refused: what is left on the disk, which exit code, and what is said.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Signal;

use crate::stand_in::{Giving, StandIn, refusing_address};
use crate::{assert_exit, command, err, out, penstock, send};

/// A folder for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("penstock-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.0).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn saved(folder: &Folder) -> String {
    let (node, file) = (StandIn::start(), folder.file("mesh.backup"));
    assert_exit(&penstock(&["snapshot", "save", &file, "--control", &node.address]), 0);
    file
}

#[test]
fn a_backup_is_saved_inspected_and_told_to_programs_too() {
    let folder = Folder::new("saved");
    let file = saved(&folder);
    assert_eq!(folder.names(), ["mesh.backup"], "nothing else is left");
    let output = penstock(&["snapshot", "inspect", &file]);
    assert_exit(&output, 0);
    assert!(
        out(&output).contains("cluster    shop") && out(&output).contains("revision   7.0"),
        "{}",
        out(&output)
    );
    let output = penstock(&["snapshot", "inspect", &file, "-o", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["cluster"], "shop");
    assert_eq!(document["sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn a_file_that_is_there_is_replaced_only_when_that_is_said() {
    let folder = Folder::new("there");
    let (node, file) = (StandIn::start(), folder.file("mesh.backup"));
    std::fs::write(&file, "dear").unwrap();
    let words = ["snapshot", "save", &file, "--control", &node.address];
    let output = penstock(&words);
    assert_exit(&output, 2);
    assert!(err(&output).contains("is there already; name another file, or say --force"), "{}", err(&output));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "dear");
    assert_exit(&penstock(&[&words[..], &["--force"]].concat()), 0);
    assert_exit(&penstock(&["snapshot", "inspect", &file]), 0);
}

/// The whole backup was fetched before the system's words for it came.
#[test]
fn a_directory_is_no_place_for_a_backup_also_with_force_and_nobody_is_asked() {
    let folder = Folder::new("directory");
    let place = folder.file("");
    let output = penstock(&["snapshot", "save", &place, "--force", "--control", &refusing_address()]);
    assert_exit(&output, 2);
    assert!(err(&output).contains("is a directory; name a file in it"), "{}", err(&output));
}

#[test]
fn a_backup_that_broke_off_or_changed_on_its_way_leaves_no_file() {
    let folder = Folder::new("broken");
    let file = folder.file("mesh.backup");
    for (giving, why) in [
        (Giving::BrokenOff, "this node is stopping"),
        (Giving::Short, "bytes are missing"),
        (Giving::Damaged, "SHA-256 is not the one that the node told"),
    ] {
        let node = StandIn::giving(giving);
        let output = penstock(&["snapshot", "save", &file, "--control", &node.address]);
        assert_exit(&output, 3);
        assert!(
            err(&output).contains(why) && err(&output).contains("no file was written"),
            "{}",
            err(&output)
        );
    }
    assert_exit(&penstock(&["snapshot", "save", &file, "--control", &refusing_address()]), 3);
    assert_eq!(folder.names(), [""; 0]);
}

/// Ctrl-C left `mesh.backup.4711.partial` beside the place.
#[test]
fn who_ends_a_save_finds_no_half_of_a_file_and_is_told_so_in_a_line() {
    let folder = Folder::new("ended");
    let (node, file) = (StandIn::giving(Giving::Halting), folder.file("mesh.backup"));
    for (signal, name) in [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM")] {
        let words = ["snapshot", "save", &file, "--control", &node.address];
        let child = command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while folder.names().is_empty() {
            std::thread::yield_now();
        }
        send(signal, &child);
        let output = child.wait_with_output().unwrap();
        assert_exit(&output, 130);
        assert_eq!(err(&output), format!("error: ended by {name}: {file} was not written; run it again\n"));
        assert_eq!((out(&output), folder.names()), (String::new(), Vec::new()));
    }
}

#[test]
fn what_a_killed_save_left_is_gone_after_the_next_one() {
    let folder = Folder::new("killed");
    let (node, file) = (StandIn::giving(Giving::Halting), folder.file("mesh.backup"));
    let mut child = command(&["snapshot", "save", &file, "--control", &node.address]).spawn().unwrap();
    while folder.names().is_empty() {
        std::thread::yield_now();
    }
    send(Signal::KILL, &child);
    child.wait().unwrap();
    assert_eq!(folder.names(), [format!("mesh.backup.{}.partial", child.id())]);
    saved(&folder);
    assert_eq!(folder.names(), ["mesh.backup"]);
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let node = StandIn::start();
    let output = penstock(&["snapshot", "save", "/nonexistent/mesh.backup", "--control", &node.address]);
    assert_exit(&output, 1);
    assert!(err(&output).contains("cannot write /nonexistent/mesh.backup"), "{}", err(&output));
}

#[test]
fn what_is_no_backup_is_told_from_one_that_is_damaged_and_nothing_is_restored_from_either() {
    let folder = Folder::new("nonsense");
    let (list, damaged) = (folder.file("list"), saved(&folder));
    std::fs::write(&list, "milk, bread").unwrap();
    let mut bytes = std::fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    let data = folder.file("data");
    for (file, said) in
        [(&list, "is no backup of penstock"), (&damaged, "is damaged"), (&folder.file("gone"), "cannot read")]
    {
        for words in
            [&["snapshot", "inspect", file][..], &["snapshot", "restore", file, "--data-directory", &data]]
        {
            let output = penstock(words);
            assert_exit(&output, 1);
            assert!(err(&output).contains(said) && err(&output).contains(file.as_str()), "{}", err(&output));
        }
    }
    assert!(!Path::new(&data).exists());
}

#[test]
fn a_backup_is_restored_into_an_empty_directory_only_and_leaves_nothing_beside_it() {
    let folder = Folder::new("restored");
    let (file, data) = (saved(&folder), folder.file("data"));
    let words = ["snapshot", "restore", &file, "--data-directory", &data, "--cluster", "other"];
    std::fs::create_dir(&data).unwrap();
    let output = penstock(&words);
    assert_exit(&output, 0);
    assert!(out(&output).contains("restored cluster shop at 7.0 into"), "{}", out(&output));
    assert!(out(&output).contains("as node 1 of cluster other with the founders 1"), "{}", out(&output));
    let again = penstock(&words);
    assert_exit(&again, 1);
    assert!(err(&again).contains("is not empty"), "{}", err(&again));
    let mut names = folder.names();
    names.sort_unstable();
    assert_eq!(names, ["data", "mesh.backup"]);
    let three = "1=a.example:4101,2=b.example:4101,3=c.example:4101";
    let output =
        penstock(&["snapshot", "restore", &file, "--data-directory", &folder.file("two"), "--peers", three]);
    assert_exit(&output, 0);
    assert!(
        err(&output).contains("as node 2 and as node 3 too, before any of them is started"),
        "{}",
        err(&output)
    );
}

#[test]
fn recovering_what_is_no_data_directory_or_another_nodes_changes_nothing() {
    let folder = Folder::new("recover");
    let data = folder.file("data");
    let words = ["recover", "--data-directory", &data, "--confirm", "penstock may lose writes"];
    let output = penstock(&words);
    assert_exit(&output, 1);
    assert!(err(&output).contains("holds no log of a node"), "{}", err(&output));
    assert!(!Path::new(&data).exists());
    let file = saved(&folder);
    assert_exit(
        &penstock(&[
            "snapshot",
            "restore",
            &file,
            "--data-directory",
            &data,
            "--node",
            "2",
            "--peers",
            "2=a.example:4101",
        ]),
        0,
    );
    let output = penstock(&words);
    assert_exit(&output, 1);
    assert!(err(&output).contains("node 2") && err(&output).contains("node 1"), "{}", err(&output));
}
