//! Who serves on the callee's host: real servers, a proxy beside each, and a control node that knows their virtual
//! addresses. And the proxy of the caller's host, which intercepts.

use crate::stage::{Host, PROXY_USER, Stage};

/// Admin port of the caller's proxy.
pub const CALLER_ADMIN: u16 = 4191;

/// Admin port of the web server's proxy.
pub const WEB_ADMIN: u16 = 4191;

const SERVICES: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIPs: ['10.96.0.10', 'fd00:96::10'], ports: [{port: 80, appProtocol: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: cache}
spec: {clusterIP: '10.96.0.11', ports: [{port: 6379, appProtocol: tcp}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: '10.96.0.12', ports: [{port: 5432, appProtocol: tcp}]}
---
apiVersion: v1
kind: Service
metadata: {name: mail}
spec: {clusterIP: '10.96.0.13', ports: [{port: 25, appProtocol: tcp}]}
---
apiVersion: v1
kind: Service
metadata: {name: greeter}
spec: {clusterIP: '10.96.0.14', ports: [{port: 9000, appProtocol: grpc}]}
---
apiVersion: v1
kind: Service
metadata: {name: chat}
spec: {clusterIP: '10.96.0.15', ports: [{port: 80, appProtocol: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: orders}
spec: {clusterIP: '10.96.0.16', ports: [{port: 3306, appProtocol: tcp}]}
---
apiVersion: v1
kind: Service
metadata: {name: lost}
spec: {clusterIP: '10.96.0.17', ports: [{port: 80, appProtocol: http}]}
";

impl Stage {
    /// A control node with the services declared.
    pub fn with_control(mut self) -> Self {
        let data = self.scratch.join("control");
        let data = format!("--data-directory={}", data.display());
        self.start(Host::Callee, 0, &[env!("CARGO_BIN_EXE_penstock"), "control", "--log=warn", &data]);
        self.applied(SERVICES);
        self
    }

    /// Has the control node take these documents.
    pub fn applied(&self, documents: &str) {
        let file = self.scratch.join("documents.yaml");
        std::fs::write(&file, documents).unwrap();
        let file = file.display().to_string();
        self.until("the documents are applied", || {
            let apply = [env!("CARGO_BIN_EXE_penstock"), "apply", "-f", &file];
            self.run(Host::Callee, 0, &apply).status.success()
        });
    }

    /// A proxy on the callee's host beside the server at `port`; number 0 has the usual ports.
    pub fn beside(&mut self, number: u16, workload: &str, protocol: &str, port: u16, serves: &str) {
        let words = beside(number, workload, protocol, port, serves);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        self.proxy(Host::Callee, PROXY_USER, &words);
        self.until_registered(number, workload);
    }

    /// The same on the usual ports, with the right to reach the server in its callers' names.
    pub fn beside_as_tproxy(&mut self, workload: &str, protocol: &str, port: u16, serves: &str) {
        let (program, words) = (self.program(), beside(0, workload, protocol, port, serves));
        let user = format!("--reuid={PROXY_USER}");
        let group = format!("--regid={PROXY_USER}");
        let rights = ["--inh-caps=+net_raw", "--ambient-caps=+net_raw", "--pdeathsig", "KILL"];
        let proxy = [&program, "proxy", "--intercept", "--inbound-mode=tproxy", "--log=warn"];
        let mut all = vec!["setpriv", &user, &group, "--clear-groups"];
        all.extend(rights.into_iter().chain(proxy).chain(words.iter().map(String::as_str)));
        self.start(Host::Callee, 0, &all);
        self.until_registered(0, workload);
    }

    fn until_registered(&self, number: u16, workload: &str) {
        self.until(&format!("{workload} is registered"), || {
            self.metric(Host::Callee, admin_of(number), "penstock_proxy_registered", "") > 0.0
        });
    }

    /// The caller's proxy, run as `user`.
    pub fn calling(&mut self, user: u32) {
        let words = ["--name=shop-1", "--workload=shop", "--control=10.77.0.2:4100"];
        self.proxy(Host::Caller, user, &words);
        self.until("the caller's proxy is ready", || {
            self.page(Host::Caller, &format!("http://127.0.0.1:{CALLER_ADMIN}/ready")).is_some()
        });
    }

    /// A web server whose one page says `hello`, and its proxy.
    pub fn web(&mut self) {
        let pages = self.scratch.join("pages");
        std::fs::create_dir_all(&pages).unwrap();
        std::fs::write(pages.join("hello"), "hello\n").unwrap();
        let pages = pages.display().to_string();
        self.start(
            Host::Callee,
            0,
            &["python3", "-m", "http.server", "8080", "--bind", "::", "--directory", &pages],
        );
        self.beside(0, "web", "http", 8080, "web:80");
    }

    /// Sends what the caller's applications send to its proxy.
    pub fn init_caller(&self, more: &[&str]) {
        let words = [&["proxy", "init", "--user=2102", "--inbound-port=0"], more].concat();
        self.penstock(Host::Caller, &words);
    }
}

/// The admin port of a proxy on the callee's host.
fn admin_of(number: u16) -> u16 {
    4191 + number * 100
}

/// Flags of a proxy on the callee's host.
fn beside(number: u16, workload: &str, protocol: &str, port: u16, serves: &str) -> Vec<String> {
    let base = 4140 + number * 100;
    vec![
        format!("--name={workload}-1"),
        format!("--workload={workload}"),
        "--control=10.77.0.2:4100".to_owned(),
        format!("--application=127.0.0.1:{port}"),
        format!("--protocol={protocol}"),
        format!("--serves={serves}"),
        format!("--outbound-address=127.0.0.1:{base}"),
        format!("--inbound-address=0.0.0.0:{}", base + 3),
        format!("--advertise-address=10.77.0.2:{}", base + 3),
        format!("--admin-address=127.0.0.1:{}", admin_of(number)),
    ]
}
