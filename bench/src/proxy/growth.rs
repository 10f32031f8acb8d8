//! Growth: what a request costs, and what the proxy holds, as the mesh grows around it. A fresh proxy for each size; the
//! services that nobody asks for must cost it nothing, and those that are asked for as little as they must.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use api::v1::Protocol;

use super::mesh::{Mesh, Registered};
use super::scenarios::per;
use crate::Options;
use crate::http_load::{Http, closed_loop, in_turn};
use crate::process::Failed;
use crate::table::{median, print};

/// Services known to the control plane besides those of the benchmark, and how many of them are asked for. The catalog holds
/// 10,000, a proxy follows 500.
const SIZES: [(usize, usize); 4] = [(0, 0), (100, 100), (9_900, 0), (9_900, 400)];

/// Endpoints of the service that has many.
const ENDPOINTS: u8 = 250;

/// Requests of one run.
const REQUESTS: usize = 8_000;

/// Measures every size, and prints.
pub(super) async fn run(
    options: &Options,
    directory: &Path,
    mesh: &Mesh,
    upstream: SocketAddr,
) -> Result<(), Failed> {
    let mut rows = Vec::new();
    let mut known = 0;
    for (services, asked) in SIZES {
        let more = (known..services).map(|number| Registered {
            service: format!("service-{number}"),
            protocol: Protocol::Http1,
            address: upstream,
        });
        mesh.register(more.collect()).await?;
        known = known.max(services);
        let names: Vec<String> = (0..asked).map(|number| format!("service-{number}.bench")).collect();
        let title = format!("{} services known, {} asked for", services + 2, asked + 1);
        rows.push(row(options, directory, mesh, title, &names).await?);
    }
    let many = (0..4_u8).flat_map(|net| (1..=ENDPOINTS).map(move |host| Ipv4Addr::new(127, 0, net, host)));
    let many = many.map(|ip| Registered {
        service: "wide".to_owned(),
        protocol: Protocol::Http1,
        address: SocketAddr::from((ip, upstream.port())),
    });
    mesh.register(many.collect()).await?;
    let title = format!("a service of {} endpoints asked for", 4 * usize::from(ENDPOINTS));
    rows.push(row(options, directory, mesh, title, &["wide.bench".to_owned()]).await?);
    let head = ["mesh", "us/request, one service", "us/request, in turn", "resident MiB"];
    print("Growth: our proxy, a fresh one for each row", &head, &rows);
    Ok(())
}

/// A fresh proxy that is asked for `names` in turn.
async fn row(
    options: &Options,
    directory: &Path,
    mesh: &Mesh,
    title: String,
    names: &[String],
) -> Result<Vec<String>, Failed> {
    let (proxy, address) = mesh.proxy(&options.penstock, directory, "grown").await?;
    if !names.is_empty() {
        in_turn(address, names, names.len()).await?;
        in_turn(address, names, 1_000).await?;
    }
    let (mut one, mut turn) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        closed_loop(address, Http::One, 32, REQUESTS / 8).await?;
        let before = proxy.cpu()?;
        let answered = closed_loop(address, Http::One, 32, REQUESTS).await?.len();
        one.push(per(proxy.cpu()?.saturating_sub(before), answered));
        if !names.is_empty() {
            let before = proxy.cpu()?;
            in_turn(address, names, REQUESTS / 4).await?;
            turn.push(per(proxy.cpu()?.saturating_sub(before), REQUESTS / 4));
        }
    }
    let resident = f64::from(u32::try_from(proxy.resident_kib()?).unwrap_or(u32::MAX)) / 1024.0;
    let turn = if turn.is_empty() { "-".to_owned() } else { format!("{:.1}", median(turn)) };
    Ok(vec![title, format!("{:.1}", median(one)), turn, format!("{resident:.1}")])
}
