//! The application as each of its callers' hosts reaches it, where it is to see their addresses: connections that were made
//! in one caller's name must not carry another's requests, so that each address has a pool of its own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::http::state::{CONNECTIONS_MAX, WorkerState};
use crate::http::upstream::Upstream;

/// Most addresses that a worker keeps connections for; as many as may have one open. Past it, those on whose behalf nothing
/// runs are let go.
const CLIENTS_MAX: usize = CONNECTIONS_MAX;

/// How long an address is remembered after its last request. As long as its connections are kept.
const UNUSED_MAX: Duration = Duration::from_secs(30);

/// The application, by the address in whose name it is reached.
#[derive(Debug, Default)]
pub(super) struct Clients(RefCell<HashMap<IpAddr, Client>>);

#[derive(Debug)]
struct Client {
    application: Rc<Upstream>,
    used: Cell<Instant>,
}

impl Client {
    /// Whether nothing runs: whatever does holds on to the upstream.
    fn is_unused(&self) -> bool {
        Rc::strong_count(&self.application) == 1
    }
}

impl Clients {
    /// `application` as `client` reaches it: over the loopback of its own family, whichever that is.
    pub(super) fn upstream(
        &self,
        client: IpAddr,
        application: &Upstream,
        now: Instant,
        state: &WorkerState,
    ) -> Rc<Upstream> {
        let mut clients = self.0.borrow_mut();
        if let Some(known) = clients.get(&client) {
            known.used.set(now);
            return Rc::clone(&known.application);
        }
        if clients.len() >= CLIENTS_MAX {
            let before = clients.len();
            clients.retain(|_, client| !client.is_unused());
            let dropped = before - clients.len();
            state.count(|counters| counters.pool_overflow_total += dropped as u64);
        }
        let reached = Rc::new(application.in_the_name_of(client, beside(application.address, client)));
        clients.insert(client, Client { application: Rc::clone(&reached), used: Cell::new(now) });
        reached
    }

    /// Closes and forgets what was not used for long. Called by the worker's sweep.
    pub(super) fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|_, client| {
            client.application.sweep(now);
            !client.is_unused() || now.saturating_duration_since(client.used.get()) < UNUSED_MAX
        });
    }
}

/// Where an application at `address` of the loopback is for a client of any family.
fn beside(address: SocketAddr, client: IpAddr) -> SocketAddr {
    match client {
        IpAddr::V4(_) if address.is_ipv6() => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        IpAddr::V6(_) if address.is_ipv4() => SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use mesh::{Locality, Protocol};

    use super::*;
    use crate::balance::{ASSUMED_LATENCY, PeakEwma};
    use crate::http::signs::Limits;
    use crate::http::upstream::InFlight;
    use crate::resources::Pressure;

    fn application() -> Upstream {
        let latency = PeakEwma::assumed(ASSUMED_LATENCY);
        Upstream::new("127.0.0.2:8080".parse().unwrap(), Protocol::Http1, latency)
    }

    fn state() -> Rc<WorkerState> {
        let workload = "web.demo".parse().unwrap();
        let limits = Limits::default();
        WorkerState::new(&workload, &Locality::default(), 1, limits, Pressure::default(), None)
    }

    #[test]
    fn each_address_has_its_own_connections_over_its_familys_loopback_and_all_count_as_the_applications() {
        let (clients, application, state, now) =
            (Clients::default(), Rc::new(application()), state(), Instant::now());
        let of = |ip: &str| clients.upstream(ip.parse().unwrap(), &application, now, &state);
        let (one, two, six) = (of("10.0.0.1"), of("10.0.0.2"), of("fd00::1"));
        assert!(Rc::ptr_eq(&one, &of("10.0.0.1")) && !Rc::ptr_eq(&one, &two));
        assert_eq!((one.client, six.client), ("10.0.0.1".parse().ok(), "fd00::1".parse().ok()));
        assert_eq!((one.address, six.address.to_string()), (application.address, "[::1]:8080".to_owned()));
        let running = [InFlight::on(&one), InFlight::on(&six)];
        assert_eq!(application.in_flight.get(), 2);
        drop(running);
        assert_eq!(application.in_flight.get(), 0);
    }

    #[test]
    fn an_address_is_forgotten_when_nothing_ran_for_long_and_past_the_bound_at_once() {
        let (clients, application, state, now) =
            (Clients::default(), Rc::new(application()), state(), Instant::now());
        let of = |number: usize| {
            let ip = IpAddr::from(Ipv4Addr::from(u32::try_from(number).unwrap()));
            clients.upstream(ip, &application, now, &state)
        };
        let runs = InFlight::on(&of(0));
        (1..CLIENTS_MAX).for_each(|number| drop(of(number)));
        assert_eq!(clients.0.borrow().len(), CLIENTS_MAX);
        drop(of(CLIENTS_MAX));
        assert_eq!(clients.0.borrow().len(), 2, "what runs stays, and there is room again");
        assert_eq!(state.counters().pool_overflow_total, CLIENTS_MAX as u64 - 1);
        clients.sweep(now + UNUSED_MAX - Duration::from_secs(1));
        assert_eq!(clients.0.borrow().len(), 2);
        clients.sweep(now + UNUSED_MAX);
        assert_eq!(clients.0.borrow().len(), 1);
        drop(runs);
        clients.sweep(now + UNUSED_MAX);
        assert_eq!(clients.0.borrow().len(), 0);
    }
}
