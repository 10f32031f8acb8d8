//! Shares that are less than whole: of an endpoint that joins, and of a zone too thin for all of its callers. nginx answers on three
//! ports, and curl asks.
//!
//! Chance decides request by request; how improbable it is that a test fails by it stands beside its bound.

use std::time::Duration;

use mesh::{Balancer, Endpoint, Locality, ServicePolicy, SlowStart, ZonePreference};
use proxy::worker::WorkerSettings;

use crate::instance::web;
use crate::ports::{Ports, shares};
use crate::process::{curl, said};
use crate::support::{Declared, Mesh, mesh, run, settings, snapshot};

/// How often each port answered of so many requests.
async fn asked(mesh: &Mesh, nginx: &Ports, times: usize) -> [usize; 3] {
    let to = format!("::{}", mesh.outbound);
    let told = said(curl(&["--connect-to", &to, &format!("http://web/[1-{times}]")])).await;
    let shares = shares(&told);
    nginx.addresses.map(|address| shares.get(&address.port()).copied().unwrap_or_default())
}

/// In turn, each of three endpoints has a third, or half of the requests until it takes one. An endpoint that joined just now takes a tenth
/// of its turns: that of 150 it takes 60 or more has a chance below 1e-20. One whose window has passed takes all of them.
#[test]
fn an_endpoint_that_joins_has_less_than_its_share_until_its_window_has_passed() {
    run(async {
        let nginx = Ports::start("joins").await;
        let starting = |count: usize, window: Duration| {
            let slow_start = Some(SlowStart { window, min_percent: 10 });
            let policy =
                ServicePolicy { slow_start, balancer: Balancer::RoundRobin, ..ServicePolicy::default() };
            Declared { policy, ..web(nginx.endpoints()[..count].to_vec()) }
        };
        let hour = Duration::from_secs(3600);
        let mesh = mesh(&settings(), &[starting(2, hour)]);
        assert_eq!(asked(&mesh, &nginx, 30).await, [15, 15, 0], "who were there first share alike");
        mesh.published.publish(snapshot(&[starting(3, hour)]));
        let new = asked(&mesh, &nginx, 300).await;
        assert!(new[2] < 60, "{new:?}");
        assert!(new[0] > new[2] && new[1] > new[2], "{new:?}");
        let passed = mesh.workers.take().await.counters.slow_start_passed_total;
        assert!(passed >= 40, "{passed} turns of at least 100 were passed on: {new:?}");
        // It has been there for longer than this.
        mesh.published.publish(snapshot(&[starting(3, Duration::from_millis(1))]));
        assert_eq!(asked(&mesh, &nginx, 300).await, [100; 3]);
        assert_eq!(mesh.workers.take().await.counters.slow_start_passed_total, passed);
    });
}

/// Of three zones the caller's own has 35 of 235 parts. An even share would be a third, of which it has 0.447; 0.7 of that would be
/// enough, and so 0.638 of the requests stay, and of the others, which go to all zones, again 35 of 235. Of 600 requests some 415 are
/// answered in the zone, with a standard deviation of 11.3: the bounds are ten of them away, a chance below 1e-20.
#[test]
fn a_zone_that_is_too_thin_keeps_what_it_can_take_and_the_rest_goes_to_all_zones() {
    run(async {
        let nginx = Ports::start("thin").await;
        let zones = ["a", "b", "c"].map(|zone| Locality { region: "eu".to_owned(), zone: zone.to_owned() });
        let endpoints = nginx.endpoints().into_iter().zip(&zones).zip([35, 100, 100]);
        let endpoints = endpoints
            .map(|((endpoint, zone), weight)| Endpoint { locality: zone.clone(), weight, ..endpoint })
            .collect();
        let policy = ServicePolicy {
            zones: Some(ZonePreference::default()),
            balancer: Balancer::RoundRobin,
            ..ServicePolicy::default()
        };
        let declared = Declared { policy, ..web(endpoints) };
        let mesh = mesh(&WorkerSettings { locality: zones[0].clone(), ..settings() }, &[declared]);
        let shares = asked(&mesh, &nginx, 600).await;
        assert!((300..530).contains(&shares[0]), "{shares:?}");
        assert!(shares[1] > 0 && shares[2] > 0, "{shares:?}");
        let spilled = mesh.workers.take().await.counters.zone_spilled_total;
        assert!(spilled >= (600 - shares[0]) as u64, "{spilled} of {shares:?}");
    });
}
