//! How this node's replica stands, in the words of `penstock members` and `/metrics`. Looks and tells; changes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use consensus::{Role, Status};

use super::door::Door;
use crate::metrics::StandingMetrics;

/// How often the metrics are told. Longer hides what a scrape could see; shorter only costs messages.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Every word of [`role`].
const ROLES: [&str; 5] = ["leader", "candidate", "follower", "learner", "waiting"];

/// What a node is, in one word.
pub(crate) fn role(status: &Status) -> &'static str {
    match status.role {
        Role::Leader => "leader",
        Role::PreCandidate | Role::Candidate => "candidate",
        Role::Follower if status.membership.is_empty() => "waiting",
        Role::Follower if status.membership.learners.contains(&status.node.0) => "learner",
        Role::Follower => "follower",
    }
}

/// Campaigns of a node since its start, whatever made it.
pub(crate) fn campaigns(status: &Status) -> u64 {
    causes(status).into_iter().map(|(_, count)| count).sum()
}

fn causes(status: &Status) -> [(&'static str, u64); 5] {
    let campaigns = status.campaigns;
    [
        ("timeout", campaigns.timeout),
        ("lost_connection", campaigns.lost_connection),
        ("longer_log", campaigns.longer_log),
        ("hand_over", campaigns.hand_over),
        ("alone", campaigns.alone),
    ]
}

/// Tells the metrics for ever.
pub(crate) async fn watch(door: Door, metrics: StandingMetrics) {
    let mut beat = tokio::time::interval(TELL_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut lagging = BTreeSet::new();
    loop {
        beat.tick().await;
        let Some(status) = door.status().await else { return };
        tell(&metrics, &mut lagging, &status);
    }
}

/// `lagging`: the series of lag that are shown.
fn tell(metrics: &StandingMetrics, lagging: &mut BTreeSet<String>, status: &Status) {
    for name in ROLES {
        metrics.role.with_label_values(&[name]).set(i64::from(role(status) == name));
    }
    for (cause, count) in causes(status) {
        let counter = metrics.campaigns.with_label_values(&[cause]);
        counter.inc_by(count.saturating_sub(counter.get()));
    }
    // Who does not lead knows no lag, and a node that was removed has none. The others' series stand all the time: who scrapes
    // in between must not miss them.
    let mut now = BTreeSet::new();
    for peer in &status.peers {
        let (lag, node) = (i64::try_from(peer.lag).unwrap_or(i64::MAX), peer.node.to_string());
        metrics.lag.with_label_values(&[&node]).set(lag);
        now.insert(node);
    }
    for gone in lagging.difference(&now) {
        let _ = metrics.lag.remove_label_values(&[gone]); // an error is a series that is not there
    }
    *lagging = now;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use consensus::replica::Campaigns;

    use super::*;
    use crate::metrics::Metrics;
    use crate::replica::seats::tests::status as status_of;

    fn status(role: Role, lag: Option<u64>, campaigns: Campaigns) -> Status {
        let others: Vec<_> = lag.map(|lag| (2, Some(lag))).into_iter().collect();
        Status { role, campaigns, ..status_of(&[1, 2], &[], &others) }
    }

    /// The series of a family that are not zero.
    fn shown(metrics: &Metrics, family: &str) -> Vec<(String, f64)> {
        let families = metrics.registry.gather();
        let found = families.iter().find(|found| found.name() == family);
        let rows = found.map(|family| family.get_metric().to_vec()).unwrap_or_default();
        let value =
            |row: &prometheus::proto::Metric| row.get_gauge().get_value() + row.get_counter().get_value();
        let named = rows.iter().map(|row| (row.get_label()[0].value().to_owned(), value(row)));
        named.filter(|(_, value)| *value > 0.0).collect()
    }

    #[test]
    fn a_leader_shows_how_far_the_others_are_behind_and_one_that_stepped_down_does_not() {
        let (metrics, mut lagging) = (Metrics::new(), BTreeSet::new());
        let mut told = |status| tell(&metrics.standing, &mut lagging, &status);
        told(status(Role::Leader, Some(7), Campaigns::default()));
        assert_eq!(shown(&metrics, "penstock_raft_role"), [("leader".to_owned(), 1.0)]);
        assert_eq!(shown(&metrics, "penstock_raft_peer_lag_entries"), [("2".to_owned(), 7.0)]);
        told(status(Role::Follower, None, Campaigns::default()));
        assert_eq!(shown(&metrics, "penstock_raft_role"), [("follower".to_owned(), 1.0)]);
        assert_eq!(shown(&metrics, "penstock_raft_peer_lag_entries"), []);
    }

    /// All were taken away and put back each second: a scrape in between saw a leader without followers.
    #[test]
    fn the_lag_of_a_follower_that_stays_keeps_its_series_while_that_of_one_that_goes_ends() {
        let metrics = Metrics::new();
        let shown = metrics.standing.lag.with_label_values(&["2"]);
        let mut lagging = BTreeSet::new();
        for lag in [7, 9] {
            tell(&metrics.standing, &mut lagging, &status(Role::Leader, Some(lag), Campaigns::default()));
            assert_eq!(u64::try_from(shown.get()).unwrap(), lag, "it is the same series still");
        }
        tell(&metrics.standing, &mut lagging, &status(Role::Follower, None, Campaigns::default()));
        assert!(lagging.is_empty());
    }

    #[test]
    fn campaigns_are_counted_once_however_often_they_are_told() {
        let metrics = Metrics::new();
        let campaigns = |lost_connection| Campaigns { lost_connection, ..Campaigns::default() };
        for count in [2, 2, 3] {
            tell(&metrics.standing, &mut BTreeSet::new(), &status(Role::Follower, None, campaigns(count)));
        }
        assert_eq!(shown(&metrics, "penstock_raft_campaigns_total"), [("lost_connection".to_owned(), 3.0)]);
    }
}
