//! Programs that know nothing of a mesh reach services by their virtual addresses, whatever they speak.

use std::os::unix::fs::chown;

use crate::services::{CALLER_ADMIN, WEB_ADMIN};
use crate::stage::{Host, PROXY_USER, Stage};

/// A user without rights, for servers that refuse to run as root.
const NOBODY: u32 = 65534;

fn outbound(stage: &Stage, family: &str, service: &str) -> f64 {
    stage.metric(
        Host::Caller,
        CALLER_ADMIN,
        family,
        &format!("authority=\"{service}.default.svc.cluster.local"),
    )
}

#[test]
fn curl_reaches_a_service_by_its_virtual_address_over_both_families_and_both_proxies_count_it() {
    let mut stage = Stage::new().with_control();
    stage.web();
    stage.calling(PROXY_USER);
    stage.init_caller(&[]);
    for url in ["http://10.96.0.10/hello", "http://[fd00:96::10]/hello"] {
        assert_eq!(stage.page(Host::Caller, url).as_deref(), Some("hello\n"), "{url}");
    }
    assert_eq!(outbound(&stage, "request_total", "web"), 2.0);
    assert_eq!(stage.metric(Host::Callee, WEB_ADMIN, "request_total", "direction=\"inbound\""), 2.0);
    // The host is a name that is not the service's: the connection says where it was going.
    let named = stage.said(
        Host::Caller,
        &[
            "curl",
            "--silent",
            "--max-time",
            "10",
            "--resolve",
            "shop.example:80:10.96.0.10",
            "http://shop.example/hello",
        ],
    );
    assert_eq!(named, "hello\n");
}

#[test]
fn inbound_connections_to_the_applications_own_port_go_through_its_proxy() {
    let mut stage = Stage::new().with_control();
    stage.web();
    let words = ["proxy", "init", "--user=2102", "--outbound-port=0", "--skip-inbound-ports=22,4100,4191"];
    stage.penstock(Host::Callee, &words);
    for url in ["http://10.77.0.2:8080/hello", "http://[fd00:77::2]:8080/hello"] {
        assert_eq!(stage.page(Host::Caller, url).as_deref(), Some("hello\n"), "{url}");
    }
    assert_eq!(stage.metric(Host::Callee, WEB_ADMIN, "request_total", "direction=\"inbound\""), 2.0);
    // Another port of that host is nobody's: passed on.
    stage.start(Host::Callee, 0, &["python3", "-m", "http.server", "8081", "--bind", "0.0.0.0"]);
    stage.until("the other server answers", || stage.page(Host::Callee, "http://localhost:8081/").is_some());
    assert!(stage.page(Host::Caller, "http://10.77.0.2:8081/").is_some());
    assert_eq!(stage.metric(Host::Callee, WEB_ADMIN, "penstock_proxy_passed_through_total", ""), 1.0);
}

#[test]
fn redis_postgresql_and_a_mail_server_that_speaks_first_are_reached_as_if_there_were_no_proxy() {
    let mut stage = Stage::new().with_control();
    redis(&mut stage);
    postgresql(&mut stage);
    mail(&mut stage);
    stage.calling(PROXY_USER);
    stage.init_caller(&[]);
    let on_caller = |words: &[&str]| stage.said(Host::Caller, words).trim().to_owned();

    assert_eq!(on_caller(&["redis-cli", "-h", "10.96.0.11", "SET", "color", "blue"]), "OK");
    assert_eq!(on_caller(&["redis-cli", "-h", "10.96.0.11", "GET", "color"]), "blue");
    assert_eq!(outbound(&stage, "tcp_open_total", "cache"), 2.0);

    let query = "SELECT count(*), sum(length(repeat('x', 1000))) FROM generate_series(1, 2000)";
    let url = "postgresql://nobody@10.96.0.12/postgres?connect_timeout=20";
    assert_eq!(on_caller(&["psql", url, "-At", "-c", query]), "2000|2000000");
    let rows = "SELECT repeat('x', 1000) FROM generate_series(1, 3000)";
    assert_eq!(on_caller(&["psql", url, "-At", "-c", rows]).len(), 3000 * 1001 - 1);
    assert!(outbound(&stage, "tcp_read_bytes_total", "db") > 3_000_000.0);

    let say = "import smtplib; s = smtplib.SMTP('10.96.0.13', 25, timeout=20); print(s.noop()[0]); s.quit()";
    assert_eq!(on_caller(&["python3", "-c", say]), "250");
    assert_eq!(outbound(&stage, "tcp_open_total", "mail"), 1.0);
    stage.until("every end is counted", || {
        ["cache", "db", "mail"]
            .iter()
            .map(|service| outbound(&stage, "tcp_close_total", service))
            .sum::<f64>()
            == 5.0
    });
}

fn redis(stage: &mut Stage) {
    let server = ["redis-server", "--port", "6379", "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"];
    stage.start(Host::Callee, NOBODY, &server);
    stage.beside(1, "cache", "tcp", 6379, "cache:6379");
}

fn postgresql(stage: &mut Stage) {
    let programs =
        std::fs::read_dir("/usr/lib/postgresql").unwrap().next().unwrap().unwrap().path().join("bin");
    let program = |name: &str| programs.join(name).display().to_string();
    let directory = stage.scratch.join("db");
    std::fs::create_dir_all(&directory).unwrap();
    chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
    let directory = directory.display().to_string();
    let initdb = [&program("initdb"), "-D", &directory, "-U", "nobody", "-A", "trust", "--no-sync"];
    let made = stage.run(Host::Callee, NOBODY, &initdb);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let server = [&program("postgres"), "-D", &directory, "-h", "127.0.0.1", "-p", "5432", "-k", "", "-F"];
    stage.start(Host::Callee, NOBODY, &server);
    stage.beside(2, "db", "tcp", 5432, "db:5432");
}

/// OpenSMTPD: the server speaks first, and the client waits for it.
fn mail(stage: &mut Stage) {
    smtpd(stage);
    stage.beside(3, "mail", "tcp", 2525, "mail:25");
}

fn smtpd(stage: &mut Stage) {
    let config = stage.scratch.join("smtpd.conf");
    let rules = "listen on 127.0.0.1 port 2525\naction \"drop\" mda \"true\"\nmatch from any for any action \"drop\"\n";
    std::fs::write(&config, rules).unwrap();
    let config = config.display().to_string();
    stage.start(Host::Callee, 0, &["smtpd", "-d", "-f", &config]);
}

/// Nobody declared what it speaks: both proxies look, are told by the server's first word, and do not look again. What is learned
/// is the service's, whichever of its addresses was called.
#[test]
fn a_mail_server_where_http_is_declared_is_found_out_by_its_first_word_and_remembered() {
    let mut stage = Stage::new().with_control();
    smtpd(&mut stage);
    stage.beside(0, "web", "http", 2525, "web:80");
    stage.calling(PROXY_USER);
    stage.init_caller(&[]);
    let seen = |host: Host, admin: u16, by: &str| {
        stage.metric(host, admin, "penstock_proxy_detected_total", &format!("by=\"{by}\",spoken=\"other\""))
    };
    for (before, address) in (0..).zip(["10.96.0.10", "10.96.0.10", "fd00:96::10"]) {
        let say = format!(
            "import smtplib; s = smtplib.SMTP('{address}', 80, timeout=20); print(s.noop()[0]); s.quit()"
        );
        assert_eq!(stage.said(Host::Caller, &["python3", "-c", &say]).trim(), "250", "{address}");
        for (host, admin) in [(Host::Caller, CALLER_ADMIN), (Host::Callee, WEB_ADMIN)] {
            let told = (seen(host, admin, "server_first"), seen(host, admin, "remembered"));
            assert_eq!(told, (1.0, f64::from(before)), "{host:?} after {address}");
        }
    }
}
