//! The admin server as a client sees it, over real sockets on ports that the system picked.
#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;

fn started(admin: Admin) -> Running {
    admin.start("127.0.0.1:0".parse().unwrap()).unwrap()
}

fn plain() -> Admin {
    Admin::new(Registry::new(), Readiness::new())
}

/// Sends `head` and reads until the server closes.
fn exchange(running: &Running, head: &str) -> String {
    let mut stream = TcpStream::connect(running.address()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(running: &Running, path: &str) -> String {
    exchange(running, &format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n"))
}

#[test]
fn a_process_that_lives_says_so_whether_or_not_it_is_ready() {
    let readiness = Readiness::new();
    let condition = readiness.condition("catalog", "not caught up");
    let running = started(Admin::new(Registry::new(), readiness));
    assert!(get(&running, "/live").starts_with("HTTP/1.1 200 OK"));
    let answer = get(&running, "/ready");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("not ready\ncatalog: not caught up\n"), "{answer}");
    condition.met();
    assert!(get(&running, "/ready").starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn metrics_come_as_text_after_the_refresh() {
    let registry = Registry::new();
    let counter = IntCounter::new("request_total", "Requests").unwrap();
    registry.register(Box::new(counter.clone())).unwrap();
    let admin = Admin::new(registry, Readiness::new()).before_metrics(move || {
        counter.inc();
        std::future::ready(())
    });
    let running = started(admin);
    assert!(get(&running, "/metrics").contains("\nrequest_total 1\n"));
    assert!(get(&running, "/metrics").contains("\nrequest_total 2\n"));
}

#[test]
fn a_route_of_the_program_is_given_the_query() {
    let admin = plain().route("/targets", |query| async move { Answer::json(format!("[{query:?}]")) });
    let answer = get(&started(admin), "/targets?service=web");
    assert!(answer.contains("content-type: application/json"), "{answer}");
    assert!(answer.ends_with("[\"service=web\"]"), "{answer}");
}

#[test]
fn an_unknown_page_lists_those_that_there_are_and_only_reading_is_allowed() {
    let running = started(plain().route("/config", |_| async { Answer::json("{}") }));
    let answer = get(&running, "/metric");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(
        answer.ends_with("no such page; there are /live, /ready, /metrics, /log-level, /config\n"),
        "{answer}"
    );
    let answer = exchange(
        &running,
        "POST /live HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
}

fn put(running: &Running, path: &str, body: &str) -> String {
    let length = body.len();
    exchange(
        running,
        &format!(
            "PUT {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        ),
    )
}

// The one test of this process that sets up its log.
#[test]
fn the_log_level_is_shown_and_changed_and_a_wrong_one_is_refused() {
    let running = started(plain());
    assert!(get(&running, "/log-level").starts_with("HTTP/1.1 503"), "there is no log yet");
    crate::telemetry::install(&crate::telemetry::filter("warn").unwrap(), crate::telemetry::Format::Plain)
        .unwrap();
    assert!(get(&running, "/log-level").ends_with("\r\n\r\nwarn\n"));
    assert!(put(&running, "/log-level", "error,runtime=off\n").ends_with("\r\n\r\nerror,runtime=off\n"));
    let refused = put(&running, "/log-level", "loud");
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("must be a level"), "{refused}");
    assert!(put(&running, "/log-level", &"x".repeat(CHANGE_BYTES_MAX + 1)).starts_with("HTTP/1.1 413"));
    assert!(get(&running, "/log-level").ends_with("\r\n\r\nerror,runtime=off\n"));
    assert!(put(&running, "/live", "off").starts_with("HTTP/1.1 405"));
}

#[test]
fn changes_come_from_this_host_alone_unless_the_program_allows_it() {
    let far: SocketAddr = "10.0.0.9:4000".parse().unwrap();
    let near: SocketAddr = "[::ffff:127.0.0.1]:4000".parse().unwrap();
    for (admin, from, is_taken) in
        [(plain(), far, false), (plain(), near, true), (plain().changed_from_anywhere(true), far, true)]
    {
        assert_eq!(admin.may_change(from), is_taken, "{from}");
    }
}

#[test]
fn nonsense_and_oversized_heads_are_refused_and_the_server_goes_on() {
    let running = started(plain());
    assert!(exchange(&running, "this is no HTTP\r\n\r\n").starts_with("HTTP/1.1 400"));
    let head = format!("GET /live HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(2 * HEAD_BYTES_MAX));
    let mut stream = TcpStream::connect(running.address()).unwrap();
    // The server may close before it has read all of it; what counts is its answer, if it arrives, and that it goes on.
    let sent = stream.write_all(head.as_bytes());
    let mut answer = Vec::new();
    if sent.is_ok() && stream.read_to_end(&mut answer).is_ok() {
        assert!(answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    }
    assert!(get(&running, "/live").starts_with("HTTP/1.1 200 OK"));
}

/// Three thousand half heads held the places one after the other, and a probe waited for minutes behind them.
#[test]
fn clients_beyond_the_bound_take_the_place_of_the_oldest_that_waits_for_no_answer_and_are_counted() {
    let (asked, answering) = std::sync::mpsc::sync_channel(1);
    let go = CancellationToken::new();
    let until = go.clone();
    let slow = move |_| {
        asked.send(()).unwrap();
        let until = until.clone();
        async move {
            until.cancelled().await;
            Answer::text(StatusCode::OK, "at last\n")
        }
    };
    let running = started(Admin { head_timeout: CONNECTION_LIFE_MAX, ..plain().route("/slow", slow) });
    let connect = |said: &str| {
        let mut stream = TcpStream::connect(running.address()).unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        stream
    };
    let mut first = connect("GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    answering.recv().unwrap();
    let silent: Vec<TcpStream> = (0..3 * CONNECTIONS_MAX).map(|_| connect("GET /live HTT")).collect();
    assert!(get(&running, "/live").starts_with("HTTP/1.1 200 OK"));
    let metrics = get(&running, "/metrics");
    let waits = metrics.lines().find_map(|line| line.strip_prefix("penstock_admin_connection_waits_total "));
    assert!(waits.unwrap().parse::<usize>().unwrap() >= 2 * CONNECTIONS_MAX, "{metrics}");
    go.cancel();
    let mut answer = String::new();
    first.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("at last\n"), "{answer}");
    drop(silent);
}

#[test]
fn a_stopped_server_lets_go_of_its_port() {
    let address = crate::ports::addresses(1).unwrap()[0]; // which nobody else takes meanwhile
    plain().start(address).unwrap().stop();
    assert!(plain().start(address).is_ok());
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let running = started(plain());
    let said = plain().start(running.address()).unwrap_err().to_string();
    assert!(said.starts_with(&format!("cannot listen on {}", running.address())), "{said}");
}

#[test]
fn every_answer_is_made_on_the_servers_own_thread() {
    let name = || std::thread::current().name().unwrap_or_default().to_owned();
    let refreshed: Arc<std::sync::Mutex<String>> = Arc::default();
    let told = Arc::clone(&refreshed);
    let admin = plain()
        .route("/thread", move |_| async move { Answer::text(StatusCode::OK, name()) })
        .before_metrics(move || {
            let told = Arc::clone(&told);
            async move { *told.lock().unwrap() = name() }
        });
    let running = started(admin);
    assert!(get(&running, "/thread").ends_with("\r\n\r\nadmin"));
    assert!(get(&running, "/metrics").starts_with("HTTP/1.1 200"));
    assert_eq!(*refreshed.lock().unwrap(), "admin");
}
