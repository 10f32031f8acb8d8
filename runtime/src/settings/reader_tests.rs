//! What an operator sees of bad settings: each test is a start that must fail, or must not, with these words.
#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use std::net::SocketAddr;
use std::time::Duration;

use super::super::parse;
use super::*;

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq)]
struct Settings {
    listen: SocketAddr,
    peers: Vec<(String, u16)>,
    heartbeat: Duration,
    election: Duration,
}

fn read(sources: Sources) -> Result<Settings, Complaints> {
    let mut reader = Reader::new(sources);
    let listen = reader.required("listen", parse::socket_address);
    let peers = reader.list("peers", parse::host_and_port);
    let range = Duration::from_millis(1)..=MINUTE;
    let heartbeat =
        reader.or("raft.heartbeat_ms", parse::milliseconds(range.clone()), Duration::from_millis(50));
    let election =
        reader.or("raft.election_timeout_ms", parse::milliseconds(range), Duration::from_millis(500));
    let rule = format!(
        "must be at least 5 x {} ({}), or a late heartbeat unseats the leader",
        reader.spelled("raft.heartbeat_ms"),
        heartbeat.as_millis()
    );
    reader.check("raft.election_timeout_ms", election >= heartbeat * 5, &rule);
    reader.known("log");
    reader.finish(|| Some(Settings { listen: listen?, peers, heartbeat, election }))
}

fn complaints(sources: Sources) -> Vec<String> {
    read(sources).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_start_takes_each_value_from_its_strongest_source() {
    let file = "listen: 127.0.0.1:1\npeers: [a:1, b:2]\nraft:\n  heartbeat_ms: 10\n";
    let sources = Sources::new()
        .with_file("c.yaml", file)
        .with_environment([("PENSTOCK_LISTEN", "127.0.0.1:2"), ("PENSTOCK_LOG", "debug")])
        .with_flag("raft.election_timeout_ms", Some(300));
    let settings = read(sources).unwrap();
    assert_eq!(settings.listen.port(), 2);
    assert_eq!(settings.peers, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    assert_eq!((settings.heartbeat.as_millis(), settings.election.as_millis()), (10, 300));
}

#[test]
fn a_settings_file_with_five_faults_shows_all_five_with_their_lines() {
    let file = "listen: localhost:80\npeers:\n  - a:1\n  - b:0\nraft:\n  heartbeat_ms: fast\n  election_timeout: 5\nlog: debug\nlog: info\n";
    let said = complaints(Sources::new().with_file("c.yaml", file));
    assert_eq!(said.len(), 5, "{said:#?}");
    assert!(
        said[0].starts_with("c.yaml:1: listen=localhost:80: must be a numeric address and a port"),
        "{said:#?}"
    );
    assert_eq!(said[1], "c.yaml:4: peers=b:0: must be a port from 1 to 65535");
    assert_eq!(said[2], "c.yaml:6: raft.heartbeat_ms=fast: must be a whole number from 1 ms to 60 s");
    assert!(said[3].starts_with(
        "c.yaml:7: raft.election_timeout: is no key of this program; is `raft.election_timeout_ms` meant?"
    ));
    assert_eq!(said[4], "c.yaml:9: `log` stands twice in one mapping, first on line 8: keep one");
}

#[test]
fn a_rule_between_two_settings_names_both_as_they_were_written() {
    let variables = [
        ("PENSTOCK_LISTEN", "127.0.0.1:1"),
        ("PENSTOCK_RAFT_ELECTION_TIMEOUT_MS", "150"),
        ("PENSTOCK_RAFT_HEARTBEAT_MS", "50"),
    ];
    let said = complaints(Sources::new().with_environment(variables));
    assert_eq!(
        said,
        [
            "PENSTOCK_RAFT_ELECTION_TIMEOUT_MS=150: must be at least 5 x PENSTOCK_RAFT_HEARTBEAT_MS (50), or a late heartbeat unseats the leader"
        ]
    );
}

#[test]
fn a_missing_setting_says_the_three_places_where_it_can_be_given() {
    let said = complaints(Sources::new());
    assert_eq!(said, ["listen: is missing: set it in the settings file, as PENSTOCK_LISTEN or as --listen"]);
}

#[test]
fn bad_flags_and_variables_and_lines_are_told_together() {
    let sources = Sources::new()
        .with_file("c.yaml", "raft: {heartbeat_ms: 0}\n")
        .with_environment([("PENSTOCK_PEERS", "a:1, b")])
        .with_flag("listen", Some("here"));
    let said = complaints(sources);
    assert!(said[0].starts_with("c.yaml:1: raft.heartbeat_ms=0: "), "{said:#?}");
    assert!(said[1].starts_with("PENSTOCK_PEERS=b: must be a host and a port"), "{said:#?}");
    assert!(said[2].starts_with("--listen=here: "), "{said:#?}");
}

#[test]
fn a_misspelled_variable_is_a_complaint_and_one_that_kubernetes_made_is_not() {
    let good = ("PENSTOCK_LISTEN", "127.0.0.1:1");
    let said = complaints(Sources::new().with_environment([good, ("PENSTOCK_PEER", "a:1")]));
    assert_eq!(said, ["PENSTOCK_PEER=a:1: is no setting of this program; is PENSTOCK_PEERS meant?"]);
    let made = ("PENSTOCK_CONTROL_PORT_4100_TCP", "tcp://10.96.0.7:4100");
    assert!(read(Sources::new().with_environment([good, made])).is_ok());
}

#[test]
fn lists_come_as_a_list_a_mapping_or_a_text_with_commas() {
    let peers = |sources: Sources| {
        let mut reader = Reader::new(sources);
        let peers = reader.list("peers", parse::text);
        reader.finish(|| Some(peers)).unwrap()
    };
    assert_eq!(peers(Sources::new().with_file("c", "peers: {1: a, 2: b}")), ["1=a", "2=b"]);
    assert_eq!(peers(Sources::new().with_file("c", "peers: a, b")), ["a", "b"]);
    let twice = Sources::new().with_flag("peers", Some("a")).with_flag("peers", Some("b"));
    assert_eq!(peers(twice), ["a", "b"]);
}

#[test]
fn a_value_of_the_wrong_shape_is_a_complaint() {
    let said = complaints(Sources::new().with_file("c", "listen: [a]\npeers: [[a]]\nraft: 5\n"));
    assert_eq!(said[0], "c:1: listen: must be one value, not a list or a mapping");
    assert!(said[1].starts_with("c:2: peers: must be a list of plain values"));
    assert!(said[2].starts_with("c:3: raft: is no key of this program"));
    let empty = complaints(Sources::new().with_file("c", "listen:\n"));
    assert_eq!(empty, ["c:1: listen: has no value: give one, or take the key out"]);
}
