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
            "30",
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

/// Nobody looks into it, and nobody has to declare it: the hello says what it is, and the certificate is the server's own.
#[test]
fn tls_to_a_service_that_says_only_http_is_passed_on_as_it_comes() {
    let mut stage = Stage::new().with_control();
    let made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=web -addext \
                subjectAltName=DNS:web -keyout key.pem -out web.pem";
    stage.said(Host::Callee, &made.split_whitespace().collect::<Vec<_>>());
    let served = "openssl s_server -4 -accept 8443 -key key.pem -cert web.pem -www -quiet";
    stage.start(Host::Callee, 0, &served.split(' ').collect::<Vec<_>>());
    stage.beside(0, "web", "http", 8443, "web:80");
    stage.calling(PROXY_USER);
    stage.init_caller(&[]);
    for host in ["10.96.0.10", "[fd00:96::10]"] {
        let to = format!("web:80:{host}");
        let words =
            ["curl", "--silent", "--show-error", "--max-time", "20", "--cacert", "web.pem", "--resolve", &to];
        let page = stage.said(Host::Caller, &[&words[..], &["https://web:80/"]].concat());
        assert!(page.contains("Ciphers"), "{page}");
    }
    for (host, admin) in [(Host::Caller, CALLER_ADMIN), (Host::Callee, WEB_ADMIN)] {
        let seen = stage.metric(host, admin, "penstock_proxy_detected_total", "by=\"bytes\",spoken=\"tls\"");
        assert_eq!(seen, 2.0, "{host:?}");
    }
    assert!(outbound(&stage, "tcp_open_total", "web") >= 2.0);
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

#[test]
fn mariadb_which_speaks_first_is_reached_as_if_there_were_no_proxy() {
    let mut stage = Stage::new().with_control();
    mariadb(&mut stage);
    stage.beside(1, "orders", "tcp", 3306, "orders:3306");
    stage.calling(PROXY_USER);
    stage.init_caller(&[]);
    let ask = |query: &str| asked_of_mariadb(&stage, "10.96.0.16", "3306", query);
    let sums = "SELECT count(*), sum(length(repeat('x', 1000))) FROM seq_1_to_2000";
    assert_eq!(ask(sums), "2000\t2000000");
    assert_eq!(ask("SELECT repeat('x', 1000) FROM seq_1_to_3000").len(), 3000 * 1001 - 1);
    assert_eq!(ask(&format!("SELECT length('{}')", "y".repeat(100_000))), "100000");
    assert_eq!(outbound(&stage, "tcp_open_total", "orders"), 3.0);
    assert!(outbound(&stage, "tcp_read_bytes_total", "orders") > 3_000_000.0);
    stage.until("every end is counted", || outbound(&stage, "tcp_close_total", "orders") == 3.0);
}

/// What root is told by the server there, of which `mariadb` is the client.
fn asked_of_mariadb(stage: &Stage, host: &str, port: &str, query: &str) -> String {
    let words = [
        "mariadb",
        "--no-defaults",
        "--host",
        host,
        "--port",
        port,
        "--user=root",
        "--database=mysql",
        "--connect-timeout=20",
    ];
    stage
        .said(Host::Caller, &[&words[..], &["--batch", "--skip-column-names", "--execute", query]].concat())
        .trim()
        .to_owned()
}

/// At port 3306 of the callee's host, with nothing in it.
fn mariadb(stage: &mut Stage) {
    let directory = stage.scratch.join("orders");
    std::fs::create_dir_all(&directory).unwrap();
    chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
    let directory = directory.display().to_string();
    // Two that begin at once would take each other's tables in a common one.
    let (data, temporary) = (format!("--datadir={directory}"), format!("TMPDIR={directory}"));
    let install = ["env", &temporary, "mariadb-install-db", "--no-defaults", &data, "--skip-test-db"];
    let made = [&install[..], &["--auth-root-authentication-method=normal"]].concat();
    let made = stage.run(Host::Callee, NOBODY, &made);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let socket = format!("--socket={directory}/socket");
    let server = ["env", &temporary, "mariadbd", "--no-defaults", &data, &socket, "--skip-name-resolve"];
    let server = [&server[..], &["--bind-address=127.0.0.1", "--port=3306"]].concat();
    stage.start(Host::Callee, NOBODY, &server);
}

/// Behind the callee's first proxy.
pub fn redis(stage: &mut Stage) {
    let server = ["redis-server", "--port", "6379", "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"];
    stage.start(Host::Callee, NOBODY, &server);
    stage.beside(1, "cache", "tcp", 6379, "cache:6379");
}

/// Behind its second one.
pub fn postgresql(stage: &mut Stage) {
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

#[test]
fn a_mail_server_where_http_is_declared_is_found_out_by_its_first_word_and_remembered() {
    let mut stage = Stage::new().with_control();
    smtpd(&mut stage);
    is_found_out_and_remembered(stage, 2525, |stage, address| {
        let say = format!(
            "import smtplib; s = smtplib.SMTP('{address}', 80, timeout=20); print(s.noop()[0]); s.quit()"
        );
        assert_eq!(stage.said(Host::Caller, &["python3", "-c", &say]).trim(), "250", "{address}");
    });
}

#[test]
fn mariadb_where_http_is_declared_is_found_out_by_its_first_word_and_remembered() {
    let mut stage = Stage::new().with_control();
    mariadb(&mut stage);
    is_found_out_and_remembered(stage, 3306, |stage, address| {
        assert_eq!(asked_of_mariadb(stage, address, "80", "SELECT 6 * 7"), "42", "{address}");
    });
}

/// Nobody declared what the server at `port` speaks: both proxies look, are told by its first word, and do not look again. What is
/// learned is the service's, whichever of its addresses was called.
fn is_found_out_and_remembered(mut stage: Stage, port: u16, call: impl Fn(&Stage, &str)) {
    stage.beside(0, "web", "http", port, "web:80");
    stage.calling(PROXY_USER);
    stage.init_caller(&[]);
    let seen = |host: Host, admin: u16, by: &str| {
        stage.metric(host, admin, "penstock_proxy_detected_total", &format!("by=\"{by}\",spoken=\"other\""))
    };
    for (before, address) in (0..).zip(["10.96.0.10", "10.96.0.10", "fd00:96::10"]) {
        call(&stage, address);
        for (host, admin) in [(Host::Caller, CALLER_ADMIN), (Host::Callee, WEB_ADMIN)] {
            let told = (seen(host, admin, "server_first"), seen(host, admin, "remembered"));
            assert_eq!(told, (1.0, f64::from(before)), "{host:?} after {address}");
            assert_eq!(seen(host, admin, "waited"), 0.0, "{host:?} after {address}");
        }
    }
}
