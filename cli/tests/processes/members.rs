//! Members that come and go: by command, by the autopilot, and with another disk.

use std::process::Output;

use api::v1::MembersResponse;
use rustix::process::Signal;

use crate::cluster::{Cluster, leader_of, penstock};
use crate::followers::register;

impl Cluster {
    fn members(&self, words: &[&str]) -> Output {
        let mut all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        all.push(format!("--control={}", self.control().join(",")));
        penstock("members", &all).output().unwrap()
    }

    /// Says a command until it is done; answers what it said then.
    async fn done(&self, words: &[&str]) -> String {
        let ended = async || self.members(words).status.success();
        self.until_true(&format!("members {}", words.join(" ")), ended).await;
        self.said(words)
    }

    /// What a command says that is done, however often it is said.
    #[track_caller]
    fn said(&self, words: &[&str]) -> String {
        let output = self.members(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn refused(&self, words: &[&str]) -> String {
        let output = self.members(words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        said
    }

    /// The others but this one.
    fn others(node: u64, of: u64) -> Vec<u64> {
        (1..=of).filter(|other| *other != node).collect()
    }

    async fn until_seats(&self, what: &str, wanted: &[(u64, &str)]) -> MembersResponse {
        let seats = |seen: &MembersResponse| -> Vec<(u64, String)> {
            seen.members.iter().map(|row| (row.node, row.seat.clone())).collect()
        };
        let wanted: Vec<(u64, String)> =
            wanted.iter().map(|(node, seat)| (*node, (*seat).to_owned())).collect();
        self.until(what, |seen| leader_of(seen).is_some() && seats(seen) == wanted).await
    }

    /// A removed node says so wherever it is asked.
    async fn says_that_it_was_removed(&self, node: u64) {
        self.until_log(node, "this node was removed from the group").await;
        self.until_true("its readiness says so", async || {
            self.http(node, "/ready").await.contains("was removed from the group")
        })
        .await;
        let own = format!("--control={}", self.control()[usize::try_from(node).unwrap() - 1]);
        let told = penstock("members", &["list".to_owned(), own]).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        assert!(
            told.lines().any(|line| line.starts_with(&format!("{node} ")) && line.contains("removed")),
            "{told}"
        );
    }
}

const LEARNER: &str = "learner";
const VOTER: &str = "voter";
/// The shortest time after which the autopilot takes a node for dead.
const SOON: &str = "--autopilot-dead-seconds=10";

/// A voter whose host had just frozen counted as answering for two seconds: the other one could be removed, and then nothing could
/// be written.
#[tokio::test]
async fn no_voter_is_removed_on_the_word_of_one_that_has_just_frozen() {
    let mut cluster = Cluster::start("frozen", 3);
    cluster.whole().await;
    let leader = cluster.leader().await;
    let [frozen, other] = Cluster::others(leader, 3)[..] else { panic!("three nodes") };
    let healthy = format!("--control={}", cluster.control()[usize::try_from(leader).unwrap() - 1]);
    cluster.signal(frozen, Signal::STOP);
    let removal = penstock("members", &["remove".to_owned(), other.to_string(), healthy]).output().unwrap();
    cluster.signal(frozen, Signal::CONT);
    let said = String::from_utf8(removal.stderr).unwrap();
    assert_eq!(removal.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("of which only 1 of 2 answer (not: {frozen})")), "{said}");
    cluster.whole().await;
    cluster.kill(frozen);
    assert!(cluster.done(&["remove", &frozen.to_string()]).await.contains("was removed by entry"));
}

#[tokio::test]
async fn a_node_is_added_promoted_made_leader_and_removed_by_command_and_what_is_so_already_is_done() {
    let mut cluster = Cluster::start("members", 3);
    cluster.whole().await;
    let joined = cluster.join();
    assert_eq!(joined, 4);
    cluster.until_log(4, "waiting to be brought in: run `penstock members add 4").await;
    let at = cluster.peer_address(4);
    // Refused until the log takes the addresses of members, a moment after the founding.
    assert!(cluster.done(&["add", "4", &at]).await.contains("node 4 is a member already"));
    cluster.until_seats("node 4 follows", &[(1, VOTER), (2, VOTER), (3, VOTER), (4, LEARNER)]).await;
    // Refused until it has caught up.
    assert!(cluster.done(&["promote", "4"]).await.contains("node 4 has a vote already"));
    // Said again until it leads and both answers know it: each row is that node's own word, if it gives it at once.
    cluster
        .until_true("node 4 leads, and the list says so", async || {
            let said = cluster.members(&["transfer", "4"]).stdout;
            let listed = cluster.said(&["list", "-o", "wide"]);
            let voters = listed.lines().filter(|line| line.contains(VOTER)).count();
            let leads = listed.lines().any(|line| line.starts_with("4 ") && line.contains("leader"));
            String::from_utf8_lossy(&said).contains("node 4 leads already") && voters == 4 && leads
        })
        .await;

    assert!(cluster.done(&["remove", "2"]).await.contains("was removed by entry"));
    cluster.says_that_it_was_removed(2).await;
    let again = cluster.refused(&["add", "2", &cluster.peer_address(2)]);
    assert!(again.contains("node 2 cannot be added: a node of this number was removed"), "{again}");
    assert!(again.contains("`penstock control --node 5 --join`"), "{again}");
    // A leader hands over first.
    assert!(cluster.done(&["remove", "4"]).await.contains("was removed by entry"));
    cluster.until_seats("two founders are left", &[(1, VOTER), (3, VOTER)]).await;
    cluster.says_that_it_was_removed(4).await;
    assert!(cluster.refused(&["transfer", "4"]).contains("node 4 has no vote"));
    register("web", "10.0.0.1:80".parse().unwrap(), 1, &mut cluster.connection()).await;
    for removed in [2, 4] {
        let refusals = cluster.logged(removed, "peer refuses this node");
        assert!(refusals <= 3, "node {removed} said so {refusals} times\n{}", cluster.logs());
    }
}

#[tokio::test]
async fn what_would_lose_the_quorum_is_refused_by_command_and_autopilot_and_heals_after_it_was_forced() {
    let mut cluster = Cluster::start_with("quorum", 3, &[SOON]);
    cluster.whole().await;
    register("web", "10.0.0.1:80".parse().unwrap(), 1, &mut cluster.connection()).await;
    let leader = cluster.leader().await;
    let [dead, other] = Cluster::others(leader, 3)[..] else { unreachable!() };
    cluster.kill(dead);
    // Of whichever of the two leads when it has been silent for long enough.
    let held = async |node| cluster.metric(node, "penstock_autopilot_held_nodes").await == 1;
    cluster
        .until_true("the autopilot takes it for dead", async || held(leader).await || held(other).await)
        .await;
    let (leader, other) = if held(leader).await { (leader, other) } else { (other, leader) };
    assert_eq!(cluster.logged(leader, "fewer than 3 are never left"), 1, "{}", cluster.logs());
    let refusal = cluster.refused(&["remove", &other.to_string()]);
    assert!(refusal.contains("of which only 1 of 2 answer") && refusal.contains("--force"), "{refusal}");
    let listed = cluster.said(&["list"]);
    assert_eq!(listed.lines().count(), 4, "nothing has changed: {listed}");

    // The answer itself may get lost with the quorum; the removal does not.
    cluster.members(&["remove", &other.to_string(), "--force"]);
    cluster.says_that_it_was_removed(other).await;
    cluster.restart(dead);
    cluster
        .until_seen(cluster.connection_to(leader), "the two that are left have a leader", |seen| {
            leader_of(seen).is_some() && seen.members.iter().filter(|row| row.reachable).count() == 2
        })
        .await;
    register("web", "10.0.0.2:80".parse().unwrap(), 2, &mut cluster.connection()).await;
}

#[tokio::test]
async fn the_seat_of_a_dead_node_of_four_goes_by_itself_and_when_it_comes_back_it_learns_that() {
    let mut cluster = Cluster::start_with("burial", 3, &[SOON]);
    cluster.whole().await;
    cluster.join();
    let at = cluster.peer_address(4);
    cluster.until_log(4, "waiting to be brought in").await;
    cluster.done(&["add", "4", &at, "--promote"]).await;
    cluster
        .until_seats("node 4 got its vote by itself", &[(1, VOTER), (2, VOTER), (3, VOTER), (4, VOTER)])
        .await;
    let leader = cluster.leader().await;
    // Not the first, which is asked first: it would tell what it knew before it was removed.
    let dead = Cluster::others(leader, 3)[1];
    cluster.kill(dead);
    let left: Vec<(u64, &str)> = Cluster::others(dead, 4).into_iter().map(|node| (node, VOTER)).collect();
    cluster.until_seats("its seat is gone", &left).await;
    let buried: usize = (1..=4).map(|node| cluster.logged(node, "a dead node's seat goes")).sum();
    // Once, and again only if another node was elected before it was done.
    assert!((1..=2).contains(&buried), "said {buried} times\n{}", cluster.logs());
    cluster.restart(dead);
    cluster.says_that_it_was_removed(dead).await;
    cluster.until_seats("nobody is disturbed", &left).await;
}

#[tokio::test]
async fn a_voter_and_a_learner_that_lost_their_disks_come_back_as_learners_and_the_voter_gets_its_vote_back()
{
    let mut cluster = Cluster::start("disks", 3);
    cluster.whole().await;
    cluster.join();
    let at = cluster.peer_address(4);
    cluster.until_log(4, "waiting to be brought in").await;
    cluster.done(&["add", "4", &at]).await;
    register("web", "10.0.0.1:80".parse().unwrap(), 1, &mut cluster.connection()).await;
    cluster.whole().await;
    let leader = cluster.leader().await;
    let lost = Cluster::others(leader, 3)[0];
    for (node, times) in [(4, 1), (lost, 2)] {
        cluster.kill(node);
        std::fs::remove_dir_all(cluster.data_directory(node)).unwrap();
        cluster.restart(node);
        let reseated =
            || (1..=4).map(|node| cluster.logged(node, "it begins again as a learner")).sum::<usize>();
        cluster.until_true(&format!("node {node} is let in"), async || reseated() >= times).await;
        // Said before it is done: until the second is said, the seats may still be those of before.
        let promoted = || (1..=4).map(|node| cluster.logged(node, "promoting it")).sum::<usize>();
        cluster
            .until_true(&format!("node {node} gets its vote back, if it had one"), async || {
                promoted() + 1 >= times
            })
            .await;
        let wanted = [(1, VOTER), (2, VOTER), (3, VOTER), (4, LEARNER)];
        cluster.until_seats(&format!("node {node} is what it was"), &wanted).await;
        cluster.whole().await;
    }
    // Its new vote and its new copy count: without it there is no majority.
    let other = (1..=3).find(|node| *node != leader && *node != lost).unwrap();
    cluster.kill(other);
    register("web", "10.0.0.2:80".parse().unwrap(), 2, &mut cluster.connection()).await;
}
