//! More services than metrics tell apart, which curl calls through a real proxy: labels are capped, what is past them is shown together, and
//! names that nobody serves are forgotten.

use std::collections::BTreeMap;

use crate::cluster::{Cluster, Scratch};
use crate::seen::CURL;
use crate::stage::{App, Proxy};
use crate::upgrades::{command, said};

/// Services that are shared out to three proxies: more than the 200 sets of endpoints that are shown each by itself.
const SERVICES: usize = 240;
const SETS_MAX: usize = 200;

/// Names that nobody serves: with those that are served more than the 1,000 that are told apart.
const STRAYS: usize = 1_200;
const SERIES_MAX: usize = 1_000;

/// The values of a family's lines that hold `label`, by authority.
fn by_authority<'p>(page: &'p str, family: &str, label: &str) -> BTreeMap<&'p str, f64> {
    let lines = page.lines().filter_map(|line| Some((line.strip_prefix(family)?.strip_prefix('{')?, line)));
    let mut values = BTreeMap::new();
    for (rest, line) in lines.filter(|(rest, _)| rest.contains(label)) {
        let (_, authority) = rest.split_once("authority=\"").unwrap();
        let value: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
        *values.entry(authority.split_once('"').unwrap().0).or_default() += value;
    }
    values
}

#[tokio::test]
async fn services_past_the_bounds_on_labels_are_shown_together_and_none_of_their_requests_is_left_out() {
    let (scratch, cluster) = (Scratch::new("labels"), Cluster::start("labels", 1));
    let web = App::start("web").await;
    let names: Vec<String> = (0..SERVICES).map(|number| format!("s{number}:80")).collect();
    let mut callees: Vec<Proxy> = (0..)
        .zip(names.chunks(80))
        .map(|(number, names)| {
            let serves = [format!("--application={}", web.address), format!("--serves={}", names.join(","))];
            Proxy::new(&scratch, &format!("web-{number}"), "web", &cluster.control(), &serves)
        })
        .collect();
    callees.iter_mut().for_each(Proxy::start);
    let mut shop = Proxy::new(&scratch, "shop-1", "shop", &cluster.control(), &["--workers=1".to_owned()]);
    shop.start();
    for name in ["s0", "s79", "s80", "s159", "s160", "s239"] {
        shop.until_answer(name, |status, _| status == 200).await;
    }

    let asked = async |urls: &str| {
        let forward = format!("http://{}", shop.outbound);
        let words = ["%{response_code} ", "--output", "/dev/null", "--proxy", &forward, urls];
        said(command("curl", &[&CURL[..], &words].concat())).await.unwrap()
    };
    let told = asked(&format!("http://s[0-{}]/", SERVICES - 1)).await;
    assert_eq!(told, "200 ".repeat(SERVICES));
    let page = shop.page("/metrics").await.unwrap().1;
    let sets = by_authority(&page, "penstock_proxy_balancer_endpoints", "state=\"ready\"");
    assert_eq!((sets.len(), sets.values().sum::<f64>()), (SETS_MAX + 1, SERVICES as f64), "{sets:?}");
    assert_eq!(sets["other"], (SERVICES - SETS_MAX) as f64);

    let told = asked(&format!("http://n[0-{}]/", STRAYS - 1)).await;
    let strays = told.split_whitespace().filter(|status| ["404", "503"].contains(status)).count();
    assert_eq!(strays, STRAYS, "{told}");
    let page = shop.page("/metrics").await.unwrap().1;
    let requests = by_authority(&page, "request_total", "direction=\"outbound\"");
    assert!(requests.len() <= SERIES_MAX + 1, "{} and one for all others", requests.len());
    let others = requests.keys().find(|authority| authority.starts_with("other")).unwrap();
    assert!(requests[others] >= (SERVICES + STRAYS - SERIES_MAX) as f64, "{}", requests[others]);
    assert!(requests.values().sum::<f64>() >= (SERVICES + STRAYS) as f64);

    // Names that nobody serves are forgotten, and make room.
    let evicted = async || shop.metric("penstock_proxy_services_evicted_total").await;
    shop.until("names are forgotten", async || evicted().await.is_some_and(|count| count > 0.0)).await;
}
