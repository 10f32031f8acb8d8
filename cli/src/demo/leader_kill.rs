//! `--kill-leader`: ends the leading control node as a power cut would, under writes, and tells what that did.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::mesh::{Mesh, leader};
use super::screen::Screen;
use super::writer::{Writer, Written, clear};
use crate::answer::Failure;
use crate::commands::ask_members;

/// Longest wait for a new leader; an election takes below a second.
const ELECTION_MAX: Duration = Duration::from_secs(15);

/// Pause between two looks at who leads.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// What the loss of the leader did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LeaderKill {
    /// The node that was killed.
    pub old_leader: u64,
    /// The node that leads since.
    pub new_leader: u64,
    /// From the kill until a surviving node named the new leader.
    pub election_ms: u64,
    /// The longest time in which no write was acknowledged.
    pub write_gap_ms: u64,
    /// Writes that were acknowledged, before and after.
    pub acknowledged_writes: u64,
    /// Acknowledged writes that are gone.
    pub lost_writes: u64,
}

/// A kill that has happened, with its writer still at work.
pub(super) struct Killed {
    at: Instant,
    old_leader: u64,
    new_leader: u64,
    election: Duration,
}

impl Killed {
    /// Kills the leader, and waits for the next.
    pub(super) async fn leader_of(mesh: &mut Mesh, screen: &mut Screen) -> Result<Self, Failure> {
        let mut connection = mesh.connection();
        let seen = ask_members(&mut connection).await?;
        let nobody = || Failure::Refused("no node leads, before any was killed".to_owned());
        let old_leader = leader(&seen).ok_or_else(nobody)?;
        screen.progress(&format!("kill -9 of node {old_leader}, the leader"));
        let at = Instant::now();
        mesh.kill_node(old_leader).await?;
        while at.elapsed() < ELECTION_MAX {
            let seen = ask_members(&mut connection).await.ok();
            if let Some(new_leader) = seen.as_ref().and_then(leader).filter(|node| *node != old_leader) {
                let election = at.elapsed();
                screen.progress(&format!("node {new_leader} leads, {} ms later", election.as_millis()));
                return Ok(Self { at, old_leader, new_leader, election });
            }
            sleep(LOOK_PAUSE).await;
        }
        let waited = ELECTION_MAX.as_secs();
        Err(Failure::Refused(format!("no node led within {waited} s after node {old_leader} was killed")))
    }

    /// Since when the leader is gone.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// Ends the writer and looks for every write that was acknowledged.
    pub(super) async fn judged(
        &self,
        writer: Writer,
        mesh: &Mesh,
        screen: &mut Screen,
    ) -> Result<LeaderKill, Failure> {
        let written: Written = writer.end().await;
        if let Some(complaint) = &written.given_up {
            return Err(Failure::Refused(format!("a write was given up: {complaint}")));
        }
        let lost = written.lost(&mut mesh.connection()).await?;
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let outcome = LeaderKill {
            old_leader: self.old_leader,
            new_leader: self.new_leader,
            election_ms: millis(self.election),
            write_gap_ms: millis(written.longest_gap_after(self.at).unwrap_or(self.at.elapsed())),
            acknowledged_writes: written.count() as u64,
            lost_writes: lost.len() as u64,
        };
        screen.progress(&outcome.sentence());
        tokio::spawn(clear(written.count(), mesh.connection())); // meanwhile the load goes on
        Ok(outcome)
    }
}

impl LeaderKill {
    /// What happened to writes, in one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { write_gap_ms, acknowledged_writes, lost_writes, .. } = self;
        let lost = if *lost_writes == 0 { "none".to_owned() } else { lost_writes.to_string() };
        format!(
            "writes: {acknowledged_writes} acknowledged, {lost} lost; the longest gap was {write_gap_ms} ms"
        )
    }
}
