//! Sets the stage: one control node, applications that answer with their name, a proxy beside each.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use proxy::settings::Application;

/// Nothing here takes long; a test that hangs should say where.
const PATIENCE: Duration = Duration::from_secs(60);

/// A control node, and a scratch directory that goes with it.
pub(crate) struct Stage {
    control: Option<control::Running>,
    address: SocketAddr,
    scratch: PathBuf,
}

/// A proxy that runs, with a way to its ports.
pub(crate) struct Proxy {
    running: Option<proxy::Running>,
    outbound: SocketAddr,
    admin: SocketAddr,
}

/// An answer to one request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Stage {
    pub(crate) fn new(name: &str) -> Self {
        let scratch = std::env::temp_dir().join(format!("penstock-mesh-{name}-{}", std::process::id()));
        // At a port that no other test's node is given once this one has gone.
        let address = runtime::ports::addresses(1).unwrap()[0];
        let settings =
            control::Settings { client_address: address, ..control::Settings::alone(scratch.clone()) };
        let control = control::start(settings).unwrap();
        Self { control: Some(control), address, scratch }
    }

    /// A proxy beside a workload that only calls. Waits until it is ready.
    pub(crate) fn caller(&self, name: &str, workload: &str) -> Proxy {
        self.proxy(name, workload, None, None)
    }

    /// The same, with its config kept on disk.
    pub(crate) fn keeping_caller(&self, name: &str, workload: &str) -> Proxy {
        self.proxy(name, workload, None, Some(self.state_directory()))
    }

    pub(crate) fn state_directory(&self) -> PathBuf {
        self.scratch.join("caller")
    }

    /// An application of the service `service`, and a proxy beside it. Waits until it is registered.
    pub(crate) fn instance(&self, name: &str, service: &str) -> Proxy {
        let application = Application {
            requests_max: None,
            address: application(name.to_owned()),
            protocol: mesh::Protocol::Http1,
            serves: vec![service.parse().unwrap()],
            inbound_address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertise: None,
            weight: 100,
            lease: Duration::from_secs(15),
        };
        let proxy = self.proxy(name, service, Some(application), None);
        until("it is registered", || proxy.metric("penstock_proxy_registered") == Some(1.0));
        proxy
    }

    fn proxy(
        &self,
        name: &str,
        workload: &str,
        application: Option<Application>,
        state_directory: Option<PathBuf>,
    ) -> Proxy {
        let mut settings = proxy::Settings::alone(name, workload.parse().unwrap());
        settings.control = vec![self.address.to_string()];
        settings.application = application;
        settings.state_directory = state_directory;
        settings.drain = PATIENCE;
        let running = proxy::start(settings).unwrap();
        let (outbound, admin) = (running.outbound_address, running.admin_address);
        let proxy = Proxy { running: Some(running), outbound, admin };
        until("it is ready", || proxy.admin("/ready").status == 200);
        proxy
    }

    pub(crate) fn stop_control(&mut self) {
        if let Some(control) = self.control.take() {
            control.stop();
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop_control();
        let _ = std::fs::remove_dir_all(&self.scratch); // what is left is in the system's directory for it
    }
}

impl Proxy {
    /// A request of the application to `service`.
    pub(crate) fn get(&self, service: &str) -> Answer {
        get(self.outbound, service, "/")
    }

    pub(crate) fn admin(&self, path: &str) -> Answer {
        get(self.admin, "admin", path)
    }

    /// The value of a line of `/metrics`, by its name and labels.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let text = self.admin("/metrics").body;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Ends it as SIGTERM does.
    pub(crate) fn drain(mut self) {
        let running = self.running.take().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(runtime.block_on(running.drain(std::future::pending())), proxy::Drained::Finished);
    }
}

/// Tries again until it holds; the tries are what passes the time.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// An application that answers every request with `name`, for as long as the process lives.
fn application(name: String) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let name = name.clone();
            std::thread::spawn(move || answer_all(stream.unwrap(), &name));
        }
    });
    address
}

/// Answers each request head of a connection; requests have no body here.
fn answer_all(mut stream: TcpStream, name: &str) {
    stream.set_nodelay(true).unwrap();
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        head.extend_from_slice(&piece[..read]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn get(address: SocketAddr, host: &str, path: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, body: body.to_owned() }
}
