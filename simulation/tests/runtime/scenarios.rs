//! The scenarios. Each is told as a story: what stands, what happens, what must hold.

use std::time::Duration;

use crate::process::{each_seed, inner};
use crate::stage::{NODES, Stage, host, peers_of};
use crate::{follower, writer};

const SECOND: Duration = Duration::from_secs(1);

/// A stage on which a leader stands and a writer and a follower are under way.
fn under_way(
    seed: u64,
    adjust: impl FnOnce(&mut turmoil::Builder),
) -> (Stage, writer::Shared, follower::Shared) {
    let mut stage = Stage::new(seed, adjust);
    let book = writer::begin(&mut stage, "ledger");
    let seen = follower::begin(&mut stage, "proxy", "ledger");
    let told = std::sync::Arc::clone(&book);
    assert!(stage.until(20 * SECOND, move || told.lock().unwrap().acknowledged >= 20), "{book:?}");
    (stage, book, seen)
}

/// All that was acknowledged is on every node, and the follower sees it.
fn holds(mut stage: Stage, book: &writer::Shared, seen: &follower::Shared) {
    let acknowledged = writer::nothing_lost(&mut stage, "ledger", book);
    follower::converges(&mut stage, seen, acknowledged);
}

fn plain(_: &mut turmoil::Builder) {}

#[test]
fn a_group_forms_takes_writes_and_is_followed() {
    each_seed("scenarios::a_group_forms_takes_writes_and_is_followed", |seed| {
        let (mut stage, book, seen) = under_way(seed, plain);
        stage.pass(2 * SECOND);
        assert_eq!(book.lock().unwrap().failures, 0, "{book:?}");
        holds(stage, &book, &seen);
    });
}

#[test]
fn the_leaders_crash_loses_nothing_acknowledged() {
    each_seed("scenarios::the_leaders_crash_loses_nothing_acknowledged", |seed| {
        let (mut stage, book, seen) = under_way(seed, plain);
        for _ in 0..3 {
            let leader = writer::leader(&mut stage, 1);
            let before = book.lock().unwrap().acknowledged;
            stage.crash(leader, SECOND);
            stage.pass(2 * SECOND);
            assert!(book.lock().unwrap().acknowledged > before, "writes go on after {leader} died: {book:?}");
        }
        holds(stage, &book, &seen);
    });
}

#[test]
fn all_nodes_crash_at_once_and_come_back_with_what_they_synced() {
    each_seed("scenarios::all_nodes_crash_at_once_and_come_back_with_what_they_synced", |seed| {
        let (mut stage, book, seen) = under_way(seed, plain);
        for _ in 0..2 {
            (1..=NODES).for_each(|node| stage.sim.crash(host(node)));
            stage.pass(SECOND / 2);
            (1..=NODES).for_each(|node| stage.sim.bounce(host(node)));
            stage.pass(3 * SECOND);
        }
        holds(stage, &book, &seen);
    });
}

#[test]
fn nodes_that_crash_in_the_middle_of_writes_repair_their_torn_tails() {
    each_seed("scenarios::nodes_that_crash_in_the_middle_of_writes_repair_their_torn_tails", |seed| {
        let (mut stage, book, seen) = under_way(seed, plain);
        for round in 0..12 {
            let node = (seed + round) % NODES + 1;
            // Another millisecond of a write each time.
            stage.pass(Duration::from_millis(300 + 7 * round));
            stage.crash(node, Duration::from_millis(200));
            stage.pass(SECOND);
        }
        holds(stage, &book, &seen);
    });
}

#[test]
fn a_leader_that_is_cut_off_is_replaced_and_confirms_nothing_meanwhile() {
    each_seed("scenarios::a_leader_that_is_cut_off_is_replaced_and_confirms_nothing_meanwhile", |seed| {
        let (mut stage, book, seen) = under_way(seed, plain);
        let leader = writer::leader(&mut stage, 1);
        stage.isolate(leader, &["ledger", "proxy"]);
        let before = book.lock().unwrap().acknowledged;
        stage.pass(5 * SECOND);
        assert!(book.lock().unwrap().acknowledged > before + 20, "the two others go on: {book:?}");
        stage.rejoin(leader, &["ledger", "proxy"]);
        holds(stage, &book, &seen);
    });
}

#[test]
fn without_a_majority_nothing_is_acknowledged_and_after_it_everything_is_there() {
    each_seed(
        "scenarios::without_a_majority_nothing_is_acknowledged_and_after_it_everything_is_there",
        |seed| {
            let (mut stage, book, seen) = under_way(seed, plain);
            (2..=NODES).for_each(|node| stage.isolate(node, &[]));
            stage.pass(SECOND);
            let before = book.lock().unwrap().acknowledged;
            stage.pass(4 * SECOND);
            assert_eq!(book.lock().unwrap().acknowledged, before, "no node has a majority");
            (2..=NODES).for_each(|node| stage.rejoin(node, &[]));
            stage.pass(5 * SECOND);
            assert!(book.lock().unwrap().acknowledged > before, "{book:?}");
            holds(stage, &book, &seen);
        },
    );
}

#[test]
fn a_node_that_hears_nothing_but_can_speak_does_not_drive_the_term_up() {
    each_seed("scenarios::a_node_that_hears_nothing_but_can_speak_does_not_drive_the_term_up", |seed| {
        let (mut stage, book, seen) = under_way(seed, plain);
        let leader = writer::leader(&mut stage, 1);
        let deaf = leader % NODES + 1;
        let term = |stage: &mut Stage| {
            writer::members(stage, leader).into_iter().map(|row| row.term).max().unwrap_or_default()
        };
        let before = term(&mut stage);
        for peer in peers_of(deaf) {
            stage.sim.partition_oneway(peer.as_str(), host(deaf));
        }
        stage.pass(8 * SECOND);
        for peer in peers_of(deaf) {
            stage.sim.repair_oneway(peer.as_str(), host(deaf));
        }
        stage.pass(4 * SECOND);
        let after = term(&mut stage);
        assert!(after <= before + 2, "term {before} became {after} though a majority heard its leader");
        holds(stage, &book, &seen);
    });
}

#[test]
fn a_proxy_leaves_a_node_that_falls_silent_and_never_goes_back() {
    each_seed("scenarios::a_proxy_leaves_a_node_that_falls_silent_and_never_goes_back", |seed| {
        let (mut stage, book, seen) = under_way(seed, plain);
        for node in 1..=NODES {
            stage.sim.partition("proxy", host(node));
            stage.pass(5 * SECOND);
            stage.sim.repair("proxy", host(node));
        }
        holds(stage, &book, &seen);
    });
}

#[test]
fn a_proxy_without_a_control_plane_keeps_what_it_holds_and_catches_up() {
    each_seed("scenarios::a_proxy_without_a_control_plane_keeps_what_it_holds_and_catches_up", |seed| {
        let (mut stage, book, seen) = under_way(seed, plain);
        follower::converges(&mut stage, &seen, 1);
        (1..=NODES).for_each(|node| stage.sim.crash(host(node)));
        stage.pass(6 * SECOND);
        {
            let seen = seen.lock().unwrap();
            assert!(seen.instances > 0 && !seen.connected, "it serves on alone: {seen:?}");
        }
        (1..=NODES).for_each(|node| stage.sim.bounce(host(node)));
        stage.pass(5 * SECOND);
        holds(stage, &book, &seen);
    });
}

#[test]
fn a_slow_and_uneven_network_only_slows_it_down() {
    each_seed("scenarios::a_slow_and_uneven_network_only_slows_it_down", |seed| {
        let (mut stage, book, seen) = under_way(seed, |world| {
            world.max_message_latency(Duration::from_millis(40));
        });
        stage.pass(8 * SECOND);
        holds(stage, &book, &seen);
    });
}

#[test]
fn links_that_break_again_and_again_are_dialled_again() {
    each_seed("scenarios::links_that_break_again_and_again_are_dialled_again", |seed| {
        let (mut stage, book, seen) = under_way(seed, plain);
        for round in 0..15_u64 {
            let node = (seed + round) % NODES + 1;
            let peer = node % NODES + 1;
            stage.sim.partition(host(node), host(peer));
            stage.pass(Duration::from_millis(150 + 40 * round));
            stage.sim.repair(host(node), host(peer));
            stage.pass(Duration::from_millis(300));
        }
        holds(stage, &book, &seen);
    });
}

#[test]
fn a_rolling_restart_costs_no_acknowledged_write() {
    each_seed("scenarios::a_rolling_restart_costs_no_acknowledged_write", |seed| {
        let (mut stage, book, seen) = under_way(seed, plain);
        for node in 1..=NODES {
            stage.crash(node, SECOND);
            stage.pass(3 * SECOND);
        }
        let gap = book.lock().unwrap().longest_gap;
        assert!(gap < 5 * SECOND, "writes stood still for {gap:?}");
        holds(stage, &book, &seen);
    });
}

/// Less than the reserve of a node (64 MiB), and more than what is taken already needs.
const SHORT: u64 = 32 << 20;

#[test]
fn a_leader_whose_disk_runs_full_hands_over_and_writes_go_on() {
    each_seed("scenarios::a_leader_whose_disk_runs_full_hands_over_and_writes_go_on", |seed| {
        let (mut stage, book, seen) = under_way(seed, plain);
        let short = writer::leader(&mut stage, 1);
        stage.room(short).leave(SHORT);
        stage.pass(2 * SECOND);
        let asked = short % NODES + 1;
        assert_ne!(writer::leader(&mut stage, asked), short, "it has no room for writes");
        let before = book.lock().unwrap().acknowledged;
        stage.pass(2 * SECOND);
        assert!(book.lock().unwrap().acknowledged > before, "{book:?}");
        stage.room(short).make();
        holds(stage, &book, &seen);
    });
}

#[test]
fn full_disks_refuse_writes_early_and_reads_go_on_and_room_heals_them_without_a_restart() {
    each_seed(
        "scenarios::full_disks_refuse_writes_early_and_reads_go_on_and_room_heals_them_without_a_restart",
        |seed| {
            let (mut stage, book, seen) = under_way(seed, plain);
            (1..=NODES).for_each(|node| stage.room(node).leave(SHORT));
            let told = std::sync::Arc::clone(&book);
            let refused = move || told.lock().unwrap().failure.contains("less than its reserve of 64 MiB");
            assert!(stage.until(5 * SECOND, refused), "refused before it is full, with the reason: {book:?}");
            // Not a byte is left for a new file; what was preallocated holds the group's own records.
            (1..=NODES).for_each(|node| stage.room(node).leave(0));
            let before = book.lock().unwrap().acknowledged;
            stage.pass(4 * SECOND);
            assert_eq!(book.lock().unwrap().acknowledged, before, "nobody has room for a write");
            for node in 1..=NODES {
                assert!(
                    writer::held(&mut stage, node, "ledger").len() as u64 >= before,
                    "node {node} reads on"
                );
            }
            (1..=NODES).for_each(|node| stage.room(node).make());
            let told = std::sync::Arc::clone(&book);
            let more = move || told.lock().unwrap().acknowledged >= before + 20;
            assert!(stage.until(10 * SECOND, more), "room is enough, nobody restarts anything: {book:?}");
            holds(stage, &book, &seen);
        },
    );
}

/// Not over seeds, but over processes: what a failure's seed says must be true tomorrow.
#[test]
fn one_seed_is_one_story_in_two_processes() {
    let told = |run: std::process::Output| {
        assert!(run.status.success(), "{run:?}");
        let text = String::from_utf8(run.stdout).unwrap();
        text.lines().find(|line| line.contains("story")).unwrap_or_default().to_owned()
    };
    let name = "scenarios::a_story_in_figures";
    let (first, again, other) = (told(inner(name, 5)), told(inner(name, 5)), told(inner(name, 6)));
    assert_eq!(first, again);
    assert_ne!(first, other, "the seed must matter");
}

#[test]
#[allow(clippy::print_stdout)] // the test above reads it
fn a_story_in_figures() {
    each_seed("scenarios::a_story_in_figures", |seed| {
        let (mut stage, book, seen) = under_way(seed, plain);
        let leader = writer::leader(&mut stage, 1);
        stage.crash(leader, SECOND);
        stage.pass(4 * SECOND);
        let (book, seen) = (book.lock().unwrap(), seen.lock().unwrap());
        println!(
            "story {leader} {} {:?} {:?} {:?}",
            book.acknowledged, book.last, book.longest_gap, seen.revision
        );
    });
}
