//! Clusters that are saved, destroyed, restored and recovered, as an operator does it, with proxies that look on.

use std::path::Path;
use std::process::Output;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cluster::{Cluster, Scratch, penstock};
use crate::followers::{Followers, register, server};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The epoch of a life is the second in which it began. A cluster that is founded, lost and founded again within one second is
/// for tests alone.
async fn until_another_second() {
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let now = second();
    while second() == now {
        // polls: the wall clock
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

fn save(cluster: &Cluster, file: &Path) -> String {
    let control = cluster.control().join(",");
    let words = words(&["save", &file.display().to_string(), "--control", &control]);
    said(&penstock("snapshot", &words).output().unwrap(), 0)
}

/// The flags that say which data directory is meant.
fn directory(cluster: &Cluster, node: u64) -> Vec<String> {
    let names = ["--node=", "--cluster=", "--peers=", "--data-directory="];
    let is_named = |word: &String| names.iter().any(|name| word.starts_with(name));
    cluster.words(node).into_iter().filter(is_named).collect()
}

fn restore(cluster: &Cluster, node: u64, file: &Path) -> Output {
    let mut all = words(&["restore", &file.display().to_string()]);
    all.extend(directory(cluster, node));
    penstock("snapshot", &all).output().unwrap()
}

fn recover(cluster: &Cluster, node: u64, more: &[&str]) -> Output {
    let mut all = directory(cluster, node);
    all.extend(words(more));
    penstock("recover", &all).output().unwrap()
}

fn destroy(cluster: &mut Cluster, nodes: impl IntoIterator<Item = u64>) {
    for node in nodes {
        std::fs::remove_dir_all(cluster.data_directory(node)).unwrap();
    }
}

#[tokio::test]
async fn a_destroyed_cluster_comes_back_from_its_backup_and_proxies_follow_it_without_a_restart() {
    let (mut cluster, scratch) = (Cluster::start("backup", 3), Scratch::new("backup-file"));
    cluster.whole().await;
    let (one, two, three) = (server("one").await, server("two").await, server("three").await);
    register("web", one, 1, &mut cluster.connection()).await;
    let followers = Followers::start(&[cluster.control()]).await;
    let file = scratch.0.join("mesh.backup");
    assert!(save(&cluster, &file).starts_with("saved cluster backup at "));
    // What follows is in no backup: the proxy holds revisions that the restored cluster has never seen.
    register("web", two, 2, &mut cluster.connection()).await;
    followers.all_answer(|body| body == "two").await;
    (1..=3).for_each(|node| cluster.kill(node));
    assert!(said(&restore(&cluster, 1, &file), 1).contains("is not empty"), "nothing is restored over data");
    destroy(&mut cluster, 1..=3);
    for node in 1..=3 {
        let told = said(&restore(&cluster, node, &file), 0);
        assert!(
            told.contains(&format!("as node {node} of cluster backup with the founders 1, 2, 3")),
            "{told}"
        );
    }
    (1..=3).for_each(|node| cluster.restart(node));
    followers.all_answer(|body| body == "one").await;
    register("web", three, 3, &mut cluster.connection()).await;
    followers.all_answer(|body| body == "three").await;
    assert!(cluster.whole().await.members.len() == 3);
    followers.end().await;
}

#[tokio::test]
async fn proxies_follow_a_control_plane_that_lost_all_its_disks_without_a_restart() {
    let mut cluster = Cluster::start("lost", 1);
    cluster.whole().await;
    let (one, two) = (server("one").await, server("two").await);
    for sequence in 1..=20 {
        register("web", if sequence % 2 == 0 { one } else { two }, sequence, &mut cluster.connection()).await;
    }
    let followers = Followers::start(&[cluster.control()]).await;
    followers.all_answer(|body| body == "one").await;
    cluster.kill(1);
    destroy(&mut cluster, [1]);
    until_another_second().await;
    cluster.restart(1);
    cluster.whole().await;
    // At a far lower index than what the proxy holds.
    register("web", two, 1, &mut cluster.connection()).await;
    followers.all_answer(|body| body == "two").await;
    followers.end().await;
}

#[tokio::test]
async fn a_node_that_was_not_restored_with_the_others_is_refused_and_told_why() {
    let (mut cluster, scratch) = (Cluster::start("half-restored", 3), Scratch::new("half-restored-file"));
    cluster.whole().await;
    register("web", server("one").await, 1, &mut cluster.connection()).await;
    let file = scratch.0.join("mesh.backup");
    save(&cluster, &file);
    (1..=3).for_each(|node| cluster.kill(node));
    destroy(&mut cluster, 1..=2);
    for node in 1..=2 {
        said(&restore(&cluster, node, &file), 0);
    }
    (1..=3).for_each(|node| cluster.restart(node));
    // Not asked: whichever answers. The third belongs to nobody, and knows no leader.
    let leader = cluster.leader_known_to(1).await;
    assert_ne!(leader, 3, "it has the longer log, and must not be heard");
    register("web", server("two").await, 2, &mut cluster.connection_to(leader)).await;
    cluster.until_log(3, "another life of this cluster").await;
}

#[tokio::test]
async fn one_node_that_is_left_becomes_the_cluster_after_it_was_confirmed_in_words() {
    let mut cluster = Cluster::start("survivor", 3);
    cluster.whole().await;
    let (one, two) = (server("one").await, server("two").await);
    register("web", one, 1, &mut cluster.connection()).await;
    let followers = Followers::start(&[cluster.control()]).await;
    let words = "survivor may lose writes";
    let running = said(&recover(&cluster, 1, &["--confirm", words]), 1);
    assert!(running.contains("in use by another process"), "{running}");
    cluster.whole().await;
    (1..=3).for_each(|node| cluster.kill(node));
    destroy(&mut cluster, 2..=3);
    let unasked = said(&recover(&cluster, 1, &[]), 2);
    assert!(unasked.contains("--confirm 'survivor may lose writes'"), "{unasked}");
    assert!(unasked.contains("nothing can tell how much that is"), "{unasked}");
    let wrong = said(&recover(&cluster, 1, &["--confirm", "backup may lose writes"]), 2);
    assert!(wrong.contains("nothing was changed"), "{wrong}");
    let done = said(&recover(&cluster, 1, &["--confirm", words]), 0);
    assert!(done.contains("cluster survivor is node 1 alone"), "{done}");
    cluster.name_alone(1);
    cluster.restart(1);
    assert_eq!(cluster.leader().await, 1);
    followers.all_answer(|body| body == "one").await;
    register("web", two, 2, &mut cluster.connection_to(1)).await;
    followers.all_answer(|body| body == "two").await;
    followers.end().await;
}
