//! What each listener is for, so that a new process can take over those of the one that runs (`handover`). A listener that is
//! taken over is the same socket: what waits in its queue is lost by neither process.

use std::io;
use std::net::{SocketAddr, TcpListener};

use serde::{Deserialize, Serialize};

/// What a listener is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Requests of the application.
    Outbound,
    /// Requests for the application.
    Inbound,
    /// Connections of the application to this service.
    Upstream(String),
    /// The admin port.
    Admin,
}

/// Listeners of the process before this one.
#[derive(Debug, Default)]
pub struct Inherited(pub(crate) Vec<(Role, TcpListener)>);

impl Inherited {
    /// Those for `role`, where it is still at the `wanted` address (port 0: wherever that is). What is not taken is closed in
    /// the end: the settings have no use for it any more.
    pub(crate) fn take(&mut self, role: &Role, wanted: SocketAddr) -> Vec<TcpListener> {
        let fits = |listener: &TcpListener| {
            let at = listener.local_addr();
            at.is_ok_and(|at| at == wanted || (wanted.port() == 0 && at.ip() == wanted.ip()))
        };
        self.0
            .extract_if(.., |(of, listener)| of == role && fits(listener))
            .map(|(_, listener)| listener)
            .collect()
    }

    /// The listeners for `role` of each of `count` workers; `bind` makes fresh ones where there is nothing to take over.
    pub(super) fn shared_out(
        &mut self,
        role: &Role,
        wanted: SocketAddr,
        count: usize,
        bind: impl FnOnce() -> io::Result<Vec<TcpListener>>,
    ) -> io::Result<Vec<Vec<TcpListener>>> {
        let mut found = self.take(role, wanted);
        if found.is_empty() {
            found = bind()?;
        }
        let distinct = found.len().max(1);
        // Fewer sockets than workers: several accept from one. More: a worker accepts from several, since what waits in
        // the queue of a socket that nobody accepts from would be lost.
        while found.len() < count {
            found.push(found[found.len() % distinct].try_clone()?);
        }
        let mut shares: Vec<Vec<TcpListener>> = (0..count).map(|_| Vec::new()).collect();
        for (number, listener) in found.into_iter().enumerate() {
            shares[number % count].push(listener);
        }
        Ok(shares)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::super::{InboundSettings, Listeners, Start, WorkerSettings, prepare, run};
    use super::*;
    use crate::http::signs::Limits;
    use crate::resources::Pressure;
    use crate::settings::InboundMode;
    use crate::snapshot::Published;
    use mesh::{Locality, Protocol};
    use tokio::sync::mpsc;

    fn bound() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    fn shares(inherited: Vec<TcpListener>, wanted: SocketAddr, count: usize) -> Vec<Vec<SocketAddr>> {
        let mut inherited = Inherited(inherited.into_iter().map(|one| (Role::Outbound, one)).collect());
        let shares = inherited.shared_out(&Role::Outbound, wanted, count, || Ok(vec![bound()])).unwrap();
        assert!(inherited.shared_out(&Role::Inbound, wanted, 1, || Ok(vec![bound()])).is_ok());
        shares.iter().map(|share| share.iter().map(|one| one.local_addr().unwrap()).collect()).collect()
    }

    #[test]
    fn every_listener_is_accepted_from_and_every_worker_has_one() {
        let (one, two, three) = (bound(), bound(), bound());
        let at: Vec<_> = [&one, &two, &three].iter().map(|listener| listener.local_addr().unwrap()).collect();
        let any = "127.0.0.1:0".parse().unwrap();
        let all = || vec![one.try_clone().unwrap(), two.try_clone().unwrap(), three.try_clone().unwrap()];
        assert_eq!(shares(all(), any, 3), [[at[0]], [at[1]], [at[2]]]);
        assert_eq!(shares(all(), any, 2), [vec![at[0], at[2]], vec![at[1]]]);
        assert_eq!(shares(vec![one.try_clone().unwrap()], any, 2), [[at[0]], [at[0]]]);
    }

    /// Addresses of what a worker is started with, in order.
    fn addresses(start: &Start) -> Vec<SocketAddr> {
        let Listeners { outbound, inbound, upstreams } = &start.listeners;
        let upstreams = upstreams.iter().map(|(_, listener)| listener);
        let all = outbound.iter().chain(inbound).chain(upstreams);
        all.map(|one| one.local_addr().unwrap()).collect()
    }

    #[test]
    fn a_running_worker_hands_over_the_listeners_of_single_services_and_those_of_ipv6_too() {
        let any = "127.0.0.1:0".parse().unwrap();
        let inbound = InboundSettings {
            listen: any,
            application: any,
            protocol: Protocol::Opaque,
            mode: InboundMode::Redirect,
            requests_max: None,
            serves: vec!["web".parse().unwrap()],
        };
        let settings = WorkerSettings {
            workers: 1,
            outbound: any,
            inbound: Some(inbound),
            upstreams: vec![(any, "db:5432".parse().unwrap()), (any, "cache:6379".parse().unwrap())],
            workload: "web.demo".parse().unwrap(),
            intercept: true,
            has_control: false,
            locality: Locality::default(),
            seed: 1,
            pressure: Pressure::default(),
            recorder: None,
        };
        let (demand, _demands) = mpsc::channel(1);
        let published = Published::new();
        let begin = |inherited: &mut Inherited| {
            prepare(inherited, &settings, Limits::default(), &published, &demand).unwrap()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (workers, mut starts) = begin(&mut Inherited::default());
            let start = starts.remove(0);
            let before = addresses(&start);
            tokio::task::spawn_local(run(start));
            let handed = workers.asker().listeners().await;
            let handed = handed.into_iter().map(|(role, socket)| (role, TcpListener::from(socket)));
            let mut inherited = Inherited(handed.collect());
            let (_successors, starts) = begin(&mut inherited);
            assert_eq!(addresses(&starts[0]), before);
            assert!(inherited.0.is_empty(), "not taken over: {inherited:?}");
            let twins = if std::net::TcpListener::bind("[::1]:0").is_ok() { 2 } else { 0 };
            assert_eq!(before.len(), 4 + twins);
        });
    }

    #[test]
    fn a_listener_at_another_address_than_the_settings_say_is_not_taken_over() {
        let old = bound();
        let (other, at) = ("127.0.0.2:0".parse().unwrap(), old.local_addr().unwrap());
        assert_ne!(shares(vec![old.try_clone().unwrap()], other, 1), [[at]]);
        assert_eq!(shares(vec![old], at, 1), [[at]]);
    }
}
