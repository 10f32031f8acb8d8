//! What balancers and ejection do to real instances: Node's, which fail, are slow or get well again and count what comes to them, and
//! nginx's, which tell their port. curl asks.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh::{Balancer, Ejection, Endpoint, HashKey, Locality, ServicePolicy, SuccessRate, ZonePreference};
use proxy::worker::WorkerSettings;
use tokio::time::timeout;

use crate::instance::{Instance, asking, status, statuses, web};
use crate::ports::{Ports, shares};
use crate::process::{PATIENCE, curl, said};
use crate::support::{Declared, Mesh, mesh, run, settings};

/// Longer than any run of a test here.
const LONG: Duration = Duration::from_secs(3600);

/// Instances in turn, and those that fail so often in a row are out for so long.
fn ejecting(instances: &[&Instance], consecutive_failures: u32, time: Duration) -> Mesh {
    let ejection = Ejection {
        consecutive_failures: Some(consecutive_failures),
        base_time: time,
        max_time: time,
        ..Ejection::default()
    };
    let endpoints = instances.iter().map(|instance| instance.endpoint()).collect();
    let balancer = Balancer::RoundRobin;
    let policy = ServicePolicy { ejection: Some(ejection), balancer, ..ServicePolicy::default() };
    mesh(&settings(), &[Declared { policy, ..web(endpoints) }])
}

fn count(statuses: &[String], status: &str) -> usize {
    statuses.iter().filter(|one| *one == status).count()
}

#[test]
fn an_instance_that_fails_so_often_in_a_row_is_asked_no_more() {
    run(async {
        let (failing, well) = (Instance::start("fails").await, Instance::start("well").await);
        let mesh = ejecting(&[&failing, &well], 3, LONG);
        let statuses = statuses(mesh.outbound, 30).await;
        assert_eq!((count(&statuses, "500"), count(&statuses, "200")), (3, 27), "{statuses:?}");
        assert_eq!((failing.asked().await, well.asked().await), (3, 27));
    });
}

#[test]
fn where_all_instances_fail_the_last_one_is_asked_all_the_same() {
    run(async {
        let instances = [Instance::start("fails").await, Instance::start("fails").await];
        let mesh = ejecting(&[&instances[0], &instances[1]], 1, LONG);
        let statuses = statuses(mesh.outbound, 20).await;
        assert_eq!(count(&statuses, "500"), 20, "an answer of the application each: {statuses:?}");
        let mut asked = [instances[0].asked().await, instances[1].asked().await];
        asked.sort_unstable();
        assert_eq!(asked, [1, 19]);
    });
}

#[test]
fn an_instance_that_was_set_aside_and_is_well_again_gets_its_whole_share() {
    run(async {
        let (ailing, well) = (Instance::start("fails").await, Instance::start("well").await);
        let mesh = ejecting(&[&ailing, &well], 2, Duration::from_millis(200));
        let is_out = async || mesh.workers.take().await.counters.endpoints_ejected > 0;
        let goes = async {
            while !is_out().await {
                status(mesh.outbound).await;
            }
        };
        timeout(PATIENCE, goes).await.expect("it is set aside");
        ailing.becomes("well").await;
        // Each request is a chance for the probe that brings it back.
        let returns = async {
            while is_out().await {
                assert_eq!(status(mesh.outbound).await, "200");
            }
        };
        timeout(PATIENCE, returns).await.expect("it comes back");
        let before = ailing.asked().await;
        assert_eq!(count(&statuses(mesh.outbound, 20).await, "200"), 20);
        assert_eq!(ailing.asked().await - before, 10);
    });
}

#[test]
fn an_instance_that_succeeds_far_less_often_than_its_siblings_is_asked_no_more() {
    run(async {
        let failing = Instance::start("fails").await;
        let siblings = [Instance::start("well").await, Instance::start("well").await];
        let rate = SuccessRate { min_requests: 1, min_endpoints: 3, stdev_factor: 1000 };
        let ejection = Ejection {
            consecutive_failures: None,
            success_rate: Some(rate),
            interval: Duration::from_secs(1),
            base_time: LONG,
            max_time: LONG,
            ..Ejection::default()
        };
        let endpoints = [&failing, &siblings[0], &siblings[1]].map(Instance::endpoint).to_vec();
        let balancer = Balancer::RoundRobin;
        let policy = ServicePolicy { ejection: Some(ejection), balancer, ..ServicePolicy::default() };
        let mesh = mesh(&settings(), &[Declared { policy, ..web(endpoints) }]);
        // Until an interval has ended in which each instance was asked.
        let compared = async {
            while mesh.workers.take().await.counters.ejected_outlier_total == 0 {
                statuses(mesh.outbound, 15).await;
            }
        };
        timeout(PATIENCE, compared).await.expect("it is set aside");
        let before = failing.asked().await;
        assert_eq!(count(&statuses(mesh.outbound, 30).await, "200"), 30);
        assert_eq!(failing.asked().await, before);
    });
}

/// In turn, or by chance, it would get half.
#[test]
fn an_instance_that_is_slow_gets_far_less_than_a_quick_one() {
    for balancer in [Balancer::PeakEwma, Balancer::LeastRequest] {
        run(async {
            let (slow, quick) = (Instance::start("slow").await, Instance::start("well").await);
            let policy = ServicePolicy { balancer, ..ServicePolicy::default() };
            let declared = Declared { policy, ..web(vec![slow.endpoint(), quick.endpoint()]) };
            let mesh = mesh(&settings(), &[declared]);
            let words = ["--parallel", "--parallel-max", "4"];
            let told = said(asking(mesh.outbound, "%{http_code} ", &words, "http://web/[1-60]")).await;
            assert_eq!(told, "200 ".repeat(60), "{balancer:?}");
            // Two to four of them at once, and as many more for each two seconds that the others take.
            let asked = slow.asked().await;
            assert!(asked <= 20, "{balancer:?}: {asked} of 60");
            assert_eq!(quick.asked().await, 60 - asked);
            if balancer == Balancer::PeakEwma {
                // It is remembered as slow, although nothing is under way any more. It would be asked again if the quick one took
                // two seconds too, and once for each time.
                assert_eq!(count(&statuses(mesh.outbound, 20).await, "200"), 20);
                let again = slow.asked().await - asked;
                assert!(again <= 5, "{again} of 20");
            }
        });
    }
}

#[test]
fn ports_of_nginx_take_turns() {
    run(async {
        let nginx = Ports::start("in-turn").await;
        let policy = ServicePolicy { balancer: Balancer::RoundRobin, ..ServicePolicy::default() };
        let mesh = mesh(&settings(), &[Declared { policy, ..web(nginx.endpoints()) }]);
        let to = format!("::{}", mesh.outbound);
        let shares = shares(&said(curl(&["--connect-to", &to, "http://web/[1-30]"])).await);
        assert_eq!(shares, nginx.addresses.iter().map(|address| (address.port(), 10)).collect());
    });
}

#[test]
fn requests_stay_in_the_zone_of_their_caller() {
    run(async {
        let nginx = Ports::start("zones").await;
        let zones = ["a", "b", "c"].map(|zone| Locality { region: "eu".to_owned(), zone: zone.to_owned() });
        let endpoints = nginx.endpoints().into_iter().zip(&zones);
        let endpoints =
            endpoints.map(|(endpoint, zone)| Endpoint { locality: zone.clone(), ..endpoint }).collect();
        let policy = ServicePolicy { zones: Some(ZonePreference::default()), ..ServicePolicy::default() };
        let declared = Declared { policy, ..web(endpoints) };
        let mesh = mesh(&WorkerSettings { locality: zones[1].clone(), ..settings() }, &[declared]);
        let to = format!("::{}", mesh.outbound);
        let shares = shares(&said(curl(&["--connect-to", &to, "http://web/[1-30]"])).await);
        assert_eq!(shares, BTreeMap::from([(nginx.addresses[1].port(), 30)]));
    });
}

#[test]
fn requests_leave_a_zone_whose_only_instance_fails() {
    run(async {
        let (near, far) = (Instance::start("fails").await, Instance::start("well").await);
        let at = |zone: &str| Locality { region: "eu".to_owned(), zone: zone.to_owned() };
        let endpoints = vec![
            Endpoint { locality: at("a"), ..near.endpoint() },
            Endpoint { locality: at("b"), ..far.endpoint() },
        ];
        let ejection = Ejection {
            consecutive_failures: Some(1),
            base_time: LONG,
            max_time: LONG,
            ..Ejection::default()
        };
        let policy = ServicePolicy {
            zones: Some(ZonePreference::default()),
            ejection: Some(ejection),
            ..ServicePolicy::default()
        };
        let declared = Declared { policy, ..web(endpoints) };
        let mesh = mesh(&WorkerSettings { locality: at("a"), ..settings() }, &[declared]);
        let statuses = statuses(mesh.outbound, 20).await;
        assert_eq!((&*statuses[0], count(&statuses, "200")), ("500", 19), "{statuses:?}");
        assert_eq!((near.asked().await, far.asked().await), (1, 19));
    });
}

#[test]
fn a_header_leads_to_the_same_port_each_time_and_others_to_others() {
    run(async {
        let nginx = Ports::start("ring").await;
        let policy = ServicePolicy { balancer: Balancer::RingHash, ..ServicePolicy::default() };
        let mut declared = Declared { policy, ..web(nginx.endpoints()) };
        declared.rules[0].policy.hash = Some(HashKey::Header("x-user".to_owned()));
        let mesh = mesh(&settings(), &[declared]);
        let to = format!("::{}", mesh.outbound);
        // Three requests of each of thirty users. That all thirty are led to one of three ports has a chance of 3^-29.
        let users: Vec<String> = (0..30).map(|user| format!("x-user: {user}")).collect();
        let words: Vec<&str> = users
            .iter()
            .flat_map(|user| ["--next", "--connect-to", &to, "--header", user, "http://web/[1-3]"])
            .skip(1)
            .collect();
        let told = said(curl(&words)).await;
        let ports: Vec<&str> = told.split_whitespace().collect();
        assert_eq!(ports.len(), 90);
        for (user, ports) in users.iter().zip(ports.chunks(3)) {
            assert!(ports.iter().all(|port| *port == ports[0]), "{user}: {ports:?}");
        }
        assert!(shares(&told).len() > 1, "{told}");
    });
}
