//! What every client of discovery must live through: endpoints come, go and move, a route sends some calls elsewhere,
//! and the node that tells of all that is killed. And its traffic shows in `stat`.

use std::net::SocketAddr;

use api::v1::Protocol;

use crate::found::until;
use crate::mesh::Mesh;

/// Calls in a row that must be answered as expected before a change counts as followed.
const IN_A_ROW: usize = 30;

/// Calls that must be counted in the end.
const COUNTED: u64 = 20;

/// A real client, with three backends that answer `A`, `B` and `C`.
pub trait Peer: Sized {
    /// Its node id.
    const ID: &'static str;
    /// The workload that it says it is.
    const WORKLOAD: &'static str;
    /// The service that it calls, by the default port.
    const SERVICE: &'static str;
    /// What it speaks with its backends.
    const PROTOCOL: Protocol;

    async fn start(control: &[SocketAddr]) -> Self;
    /// Where the backends listen.
    fn backends(&self) -> [SocketAddr; 3];
    /// One call: who answered, or what went wrong. `next` asks for the next version by a header.
    async fn call(&mut self, next: bool) -> Result<String, String>;
}

pub async fn follows<P: Peer>() {
    let mut mesh = Mesh::start().await;
    let mut peer = P::start(&mesh.control()).await;
    let [a, b, c] = peer.backends();

    mesh.register::<P>("first", P::SERVICE, a).await;
    answered_by(&mut peer, "A", "its first endpoint is registered").await;
    mesh.register::<P>("second", P::SERVICE, b).await;
    answered_by(&mut peer, "AB", "an endpoint is added").await;
    mesh.leave::<P>("first").await;
    answered_by(&mut peer, "B", "an endpoint is removed").await;
    mesh.register::<P>("second", P::SERVICE, c).await;
    answered_by(&mut peer, "C", "an endpoint is moved").await;

    routed(&mut mesh, &mut peer, b).await;

    let node = until("the node it follows is known", async || mesh.followed(P::ID).await).await;
    eprintln!("{} follows node {node}, which is killed now", P::ID);
    mesh.kill(node).await;
    for call in 0..200 {
        let answer = peer.call(false).await;
        assert_eq!(answer.as_deref(), Ok("C"), "call {call} after its node was killed");
    }
    mesh.register::<P>("third", P::SERVICE, a).await;
    answered_by(&mut peer, "AC", "an endpoint is added after its node was killed").await;
    let other = until("another node is followed", async || mesh.followed(P::ID).await).await;
    assert_ne!(other, node);

    until("its calls show in stat", async || {
        for _ in 0..5 {
            peer.call(false).await.unwrap();
        }
        let (successes, failures) = mesh.counted::<P>().await?;
        assert_eq!(failures, 0, "no call failed since the first endpoint came");
        (successes >= COUNTED).then_some(())
    })
    .await;
    mesh.stop().await;
}

/// A route sends calls with a header to another service, and half of all others, too; then it is taken away.
async fn routed<P: Peer>(mesh: &mut Mesh, peer: &mut P, next: SocketAddr) {
    mesh.register::<P>("next", &format!("{}-next", P::SERVICE), next).await;
    mesh.apply_route::<P>().await;
    answered_by(peer, "BC", "a route sends half of the calls to the next version").await;
    for _ in 0..IN_A_ROW {
        assert_eq!(peer.call(true).await.as_deref(), Ok("B"), "asked for by a header");
    }
    mesh.delete_route::<P>().await;
    answered_by(peer, "C", "the route is taken away").await;
    assert_eq!(peer.call(true).await.as_deref(), Ok("C"), "and the header means nothing any more");
}

/// Waits until calls are answered by all of `names` and by nobody else, many times in a row.
async fn answered_by<P: Peer>(peer: &mut P, names: &str, when: &str) {
    let mut seen = String::new();
    let followed = async || {
        seen.clear();
        for _ in 0..IN_A_ROW {
            match peer.call(false).await {
                Ok(name) => seen.push_str(&name),
                Err(_) => return None,
            }
        }
        let all = names.chars().all(|name| seen.contains(name));
        (all && seen.chars().all(|name| names.contains(name))).then_some(())
    };
    until(&format!("{} is answered by {names}: {when}", P::ID), followed).await;
}
