//! Starts that must be refused, each with what stood in the way and what to do.

use std::io::{Seek, SeekFrom, Write};
use std::process::Output;
use std::time::Duration;

use control::catalog::versions;
use control::{Given, Settings};

use crate::cluster::{
    Cluster, PATIENCE, Scratch, connection, first_segment, free_addresses, members, penstock,
};
use crate::writers::Writers;

/// Runs a control node that is expected to end by itself.
#[track_caller]
fn refused(words: &[String], code: i32) -> String {
    let output: Output = penstock("control", words).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// A node alone, on free ports, with this data directory.
fn alone(scratch: &Scratch, more: &[&str]) -> Vec<String> {
    let addresses = free_addresses(3);
    let mut words = vec![
        format!("--client-address={}", addresses[0]),
        format!("--peer-address={}", addresses[1]),
        format!("--http-address={}", addresses[2]),
        format!("--data-directory={}", scratch.0.join("data").display()),
    ];
    words.extend(more.iter().map(|word| (*word).to_owned()));
    words
}

#[test]
fn a_settings_file_with_five_faults_gets_five_complaints_at_once() {
    let scratch = Scratch::new("settings");
    let file = scratch.0.join("control.yaml");
    let faults =
        "client_address: nonsense\npeers: 3\nlog: loud\nheartbeat_ms: 0\ndata_dir: /var/lib/penstock\n";
    std::fs::write(&file, faults).unwrap();
    let said = refused(&[format!("--settings={}", file.display())], 2);
    assert!(said.starts_with("error: 5 settings cannot be used:"), "{said}");
    for (line, key) in ["client_address", "peers", "log", "heartbeat_ms", "data_dir"].iter().enumerate() {
        assert!(said.contains(&format!("{}:{}: {key}", file.display(), line + 1)), "{said}");
    }
}

#[test]
fn a_settings_file_that_is_not_there_is_named() {
    assert!(
        refused(&["--settings=/nonexistent/penstock.yaml".to_owned()], 2)
            .contains("/nonexistent/penstock.yaml")
    );
}

#[test]
fn peers_that_make_no_quorum_or_leave_this_node_out_are_refused() {
    let said = refused(&["--peers=1=a.example:4101,2=b.example:4101".to_owned()], 2);
    assert!(said.contains("--peers") && said.contains("even number"), "{said}");
    let words = ["--node=4", "--peers=1=a.example:4101,2=b.example:4101,3=c.example:4101"];
    let said = refused(&words.map(str::to_owned), 2);
    assert!(said.contains("must name this node too"), "{said}");
}

/// It became a second cluster under the name of the first, in a later life, which proxies would have followed.
#[test]
fn a_node_of_a_cluster_that_lost_its_disk_and_its_peers_founds_no_other_and_leaves_nothing() {
    let scratch = Scratch::new("unfounded");
    for (words, named) in [
        (
            &["--cluster=production"][..],
            "node 1 of cluster \"production\" is told neither `peers` nor `join`",
        ),
        (&["--node=4"], "node 4 of cluster \"penstock\""),
    ] {
        let said = refused(&alone(&scratch, words), 1);
        assert!(said.contains(named) && said.contains("say --peers as the other nodes"), "{said}");
        assert!(!scratch.0.join("data").exists(), "a backup may be restored there");
    }
}

#[tokio::test]
async fn data_of_another_cluster_or_node_or_of_a_running_one_is_left_alone() {
    let (scratch, peers) = (Scratch::new("foreign"), "--peers=1=a.example:4101");
    let mut first = penstock("control", &alone(&scratch, &["--cluster=one", peers]))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // It holds its directory from before it says that it has started.
    let mut log = std::io::BufReader::new(first.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("control node started") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut log, &mut line).unwrap() > 0, "it ended");
    }
    let said = refused(&alone(&scratch, &["--cluster=one", peers]), 1);
    assert!(said.contains("is in use by another process"), "{said}");
    first.kill().unwrap();
    first.wait().unwrap();
    let said = refused(&alone(&scratch, &["--cluster=two", peers]), 1);
    assert!(said.contains("cluster \"one\"") && said.contains("cluster \"two\""), "{said}");
    let said = refused(&alone(&scratch, &["--cluster=one", "--node=2"]), 1);
    assert!(said.contains("node 1") && said.contains("node 2"), "{said}");
}

#[tokio::test]
async fn a_log_record_that_was_changed_on_the_disk_is_found_at_the_start_with_its_place() {
    let mut cluster = Cluster::start("corrupted", 1);
    cluster.whole().await;
    let writers = Writers::begin(vec![cluster.connection(), cluster.connection()]);
    let enough = |seen: &api::v1::MembersResponse| seen.members[0].commit > 40;
    cluster.until("forty entries are committed", enough).await;
    writers.end().await;
    cluster.kill(1);
    let segment = first_segment(&cluster.data_directory(1));
    let mut file = std::fs::File::options().write(true).open(&segment).unwrap();
    file.seek(SeekFrom::Start(1_000)).unwrap(); // amid the first dozen of entries, far from the end
    file.write_all(b"?????").unwrap();
    drop(file);
    let said = refused(&cluster.words(1), 1);
    assert!(said.contains(&segment.display().to_string()), "{said}");
    assert!(said.contains("corrupted at offset") && said.contains("do not edit it"), "{said}");
}

#[tokio::test]
async fn a_data_directory_of_a_newer_format_is_left_to_the_newer_program() {
    let mut cluster = Cluster::start("newer-format", 1);
    cluster.whole().await;
    cluster.kill(1);
    let meta = cluster.data_directory(1).join("meta");
    let newer = std::fs::read_to_string(&meta).unwrap().replace("format = 1", "format = 2");
    std::fs::write(&meta, &newer).unwrap();
    let said = refused(&cluster.words(1), 1);
    assert!(said.contains("has format 2, this program knows up to 1"), "{said}");
    assert!(said.contains("start the newer program again, or restore a backup"), "{said}");
    assert_eq!(std::fs::read_to_string(&meta).unwrap(), newer, "it was left as it is");
}

#[tokio::test]
async fn a_log_that_takes_newer_commands_than_this_program_knows_ends_it_before_it_reads_them_by_half() {
    let scratch = Scratch::new("newer-commands");
    // What a newer program leaves behind: alone in its cluster, it raises the version of commands to its own at once.
    let newer = versions::NEWEST + 1;
    let given = Given { commands: Some(newer), ..Given::default() };
    let node = control::start_with(Settings::alone(scratch.0.join("data")), given).unwrap();
    let mut connection = connection(vec![node.client_address.to_string()]);
    let raised = async {
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        while !members(&mut connection).await.is_ok_and(|seen| seen.commands == newer) {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, raised).await.expect("the version of commands is raised");
    drop(node);
    for start in 1..=2 {
        let said = refused(&alone(&scratch, &[]), 74);
        assert!(
            said.contains("of a newer version of commands than this program knows"),
            "start {start}: {said}"
        );
        assert!(said.contains("start the newer program that ran here"), "start {start}: {said}");
    }
}
