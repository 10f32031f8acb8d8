//! What `check` makes of the facts it gathered. Pure: facts in, findings out; each fault with what to do about it.

use api::v1;

use crate::render::{Finding, Verdict, count};

/// Entries that a healthy follower may be behind; more means that it cannot keep up, or was just restarted.
const LAG_MAX: u64 = 1000;

/// Clocks further apart than this make windows of traffic and leases end at visibly different times.
const SKEW_MS_MAX: u64 = 1000;

/// Most names in one line; more are counted.
const NAMES_MAX: usize = 5;

/// What was found out. Every `Err` is a complaint in words.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Each named address, and what the node there sees.
    pub nodes: Vec<(String, Result<Sighting, String>)>,
    /// What needs a quorum to be answered.
    pub services: Result<v1::ServicesResponse, String>,
    /// The connected proxies.
    pub proxies: Result<v1::ProxiesResponse, String>,
}

/// What one node sees, and when, by our clock.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// Its answer.
    pub members: v1::MembersResponse,
    /// Unix milliseconds before it was asked.
    pub asked_ms: u64,
    /// Unix milliseconds after it answered.
    pub answered_ms: u64,
}

/// The findings, in the order in which a fault would cause the next ones.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let sightings: Vec<&Sighting> = facts.nodes.iter().filter_map(|(_, seen)| seen.as_ref().ok()).collect();
    let mut findings = vec![reachable(facts)];
    let Some(first) = sightings.first() else { return findings };
    findings.push(one_cluster(&sightings));
    findings.push(quorum(&first.members));
    findings.push(leader(&sightings));
    findings.push(read(facts));
    findings.push(lag(&first.members));
    findings.push(clocks(&sightings));
    findings.push(versions(&first.members));
    findings.push(proxies(facts));
    findings.push(services(facts));
    findings
}

const CONTROL: &str = "control nodes";
const CLUSTER: &str = "cluster";

fn reachable(facts: &Facts) -> Finding {
    let complaint = |(address, seen): &(String, Result<Sighting, String>)| {
        seen.as_ref().err().map(|complaint| format!("{address}: {complaint}"))
    };
    let silent: Vec<String> = facts.nodes.iter().filter_map(complaint).collect();
    let what =
        format!("{} of {} named control nodes answer", facts.nodes.len() - silent.len(), facts.nodes.len());
    if silent.is_empty() {
        return Finding::fine(CONTROL, what);
    }
    let verdict = if silent.len() == facts.nodes.len() { Verdict::Failed } else { Verdict::Warning };
    Finding::fault(
        CONTROL,
        what,
        verdict,
        silent.join("\n"),
        "does `penstock control` run there, and may this machine reach its port? its log says why it ended",
    )
}

fn one_cluster(sightings: &[&Sighting]) -> Finding {
    let mut clusters: Vec<&str> = sightings.iter().map(|seen| seen.members.cluster.as_str()).collect();
    clusters.sort_unstable();
    clusters.dedup();
    if let [cluster] = clusters[..] {
        return Finding::fine(CONTROL, format!("they form one cluster, {cluster}"));
    }
    Finding::fault(
        CONTROL,
        "they form one cluster",
        Verdict::Failed,
        format!("the named addresses belong to {} clusters: {}", clusters.len(), clusters.join(", ")),
        "name the nodes of one cluster by --control",
    )
}

fn quorum(members: &v1::MembersResponse) -> Finding {
    // A learner's loss costs no quorum; an older node tells no seats.
    let voters: Vec<_> = members.members.iter().filter(|member| member.seat != "learner").collect();
    let all = voters.len();
    let silent: Vec<String> =
        voters.iter().filter(|member| !member.reachable).map(|member| member.node.to_string()).collect();
    let up = all - silent.len();
    let needed = all / 2 + 1;
    let what = format!("{up} of {all} nodes are up, {needed} are needed");
    if silent.is_empty() {
        return Finding::fine(CLUSTER, what);
    }
    let verdict = if up < needed { Verdict::Failed } else { Verdict::Warning };
    let spare = up.saturating_sub(needed);
    let fault = format!("seen from node {}, no answer from node {}", members.answered_by, named(&silent));
    let hint = if up < needed {
        "start the missing nodes; until then nothing can be written, proxies go on with what they hold"
            .to_owned()
    } else {
        let spare =
            if spare == 0 { "no further loss".to_owned() } else { format!("the loss of {spare} more") };
        format!("start them again: until then the cluster bears {spare}")
    };
    Finding::fault(CLUSTER, what, verdict, fault, hint)
}

fn leader(sightings: &[&Sighting]) -> Finding {
    let newest = |seen: &&&Sighting| seen.members.members.iter().map(|member| member.term).max();
    let Some(seen) = sightings.iter().max_by_key(newest) else {
        unreachable!("judge ends before, where no node was seen");
    };
    let leads = |member: &&v1::MemberRow| member.reachable && member.role == "leader";
    match seen.members.members.iter().filter(leads).max_by_key(|member| member.term) {
        Some(leader) => Finding::fine(CLUSTER, format!("node {} leads in term {}", leader.node, leader.term)),
        None => Finding::fault(
            CLUSTER,
            "a node leads",
            Verdict::Failed,
            "no leader is known",
            "an election takes below a second: check again; if it stays so, are the peer ports (4101) open between nodes?",
        ),
    }
}

fn read(facts: &Facts) -> Finding {
    let what = "a linearizable read is answered";
    match &facts.services {
        Ok(_) => Finding::fine(CLUSTER, what),
        Err(complaint) => Finding::fault(
            CLUSTER,
            what,
            Verdict::Failed,
            complaint,
            "a majority of the nodes must be up and reach each other's peer port",
        ),
    }
}

fn lag(members: &v1::MembersResponse) -> Finding {
    let what = "followers keep up with the leader";
    let behind: Vec<String> = members
        .members
        .iter()
        .filter(|member| member.reachable && member.lag > LAG_MAX)
        .map(|member| format!("node {} is {} entries behind", member.node, member.lag))
        .collect();
    if behind.is_empty() {
        return Finding::fine(CLUSTER, what);
    }
    Finding::fault(
        CLUSTER,
        what,
        Verdict::Warning,
        behind.join("\n"),
        "right after a restart this passes; else look at that node's disk and network",
    )
}

fn clocks(sightings: &[&Sighting]) -> Finding {
    let what = format!("clocks agree within {SKEW_MS_MAX} ms");
    let mut wrong = Vec::new();
    for seen in sightings {
        let own = |member: &&v1::MemberRow| member.node == seen.members.answered_by && member.now_ms > 0;
        for member in seen.members.members.iter().filter(own) {
            let ahead = member.now_ms.saturating_sub(seen.answered_ms);
            let behind = seen.asked_ms.saturating_sub(member.now_ms);
            if ahead.max(behind) > SKEW_MS_MAX {
                let side = if ahead > behind { "ahead of" } else { "behind" };
                wrong.push(format!("node {} is {} ms {side} this machine", member.node, ahead.max(behind)));
            }
        }
    }
    if wrong.is_empty() {
        return Finding::fine(CLUSTER, what);
    }
    Finding::fault(
        CLUSTER,
        what,
        Verdict::Warning,
        wrong.join("\n"),
        "set them by NTP: windows of traffic and leases go by the leader's clock",
    )
}

fn versions(members: &v1::MembersResponse) -> Finding {
    let reachable = members.members.iter().filter(|member| member.reachable);
    let mut versions: Vec<&str> = reachable.map(|member| member.version.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    if let [version] = versions[..] {
        return Finding::fine(CLUSTER, format!("all nodes run version {version}"));
    }
    Finding::fault(
        CLUSTER,
        "all nodes run one version",
        Verdict::Warning,
        format!("these run: {}", versions.join(", ")),
        "finish the upgrade",
    )
}

const PROXIES: &str = "proxies";

fn proxies(facts: &Facts) -> Finding {
    let what = "proxies hold the newest config";
    let response = match &facts.proxies {
        Ok(response) => response,
        Err(complaint) => {
            return Finding::fault(PROXIES, what, Verdict::Warning, complaint, "mend the cluster first");
        }
    };
    let of_state = |state: &str| -> Vec<String> {
        let rows = response.proxies.iter().filter(|proxy| proxy.state == state);
        rows.map(|proxy| proxy.proxy.clone()).collect()
    };
    let (refused, behind) = (of_state("refused"), of_state("behind"));
    let what = format!("{}, each holds the newest config", proxies_counted(response.proxies.len()));
    if !refused.is_empty() {
        let fault = format!("refused by {}", named(&refused));
        let hint = "`penstock proxies -o wide` shows why; they go on with the last good config";
        return Finding::fault(PROXIES, what, Verdict::Failed, fault, hint);
    }
    if !behind.is_empty() {
        let hint = "right after a change this passes; else look at that proxy's log";
        return Finding::fault(PROXIES, what, Verdict::Warning, format!("behind: {}", named(&behind)), hint);
    }
    Finding::fine(PROXIES, what)
}

fn proxies_counted(number: usize) -> String {
    if number == 1 { "1 proxy".to_owned() } else { format!("{number} proxies") }
}

fn services(facts: &Facts) -> Finding {
    let Ok(response) = &facts.services else {
        let fault = "they are not known";
        return Finding::fault(
            "services",
            "services can serve",
            Verdict::Warning,
            fault,
            "mend the cluster first",
        );
    };
    let name = |row: &v1::ServiceRow| {
        let service = row.service.clone().unwrap_or_default().name.unwrap_or_default();
        format!("{}.{}", service.name, service.namespace)
    };
    let empty: Vec<String> =
        response.services.iter().filter(|row| row.ready_endpoints == 0).map(name).collect();
    let what = format!("{}, each has a ready endpoint", count(response.services.len(), "service"));
    if empty.is_empty() {
        return Finding::fine("services", what);
    }
    Finding::fault(
        "services",
        what,
        Verdict::Warning,
        format!("none is ready at {}", named(&empty)),
        "does the workload run, a proxy beside it, and does the application's port answer? see `penstock endpoints`",
    )
}

/// The first few names, and how many more there are.
fn named(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
