//! What the machine itself does meanwhile: a lone thread that sleeps and writes to the disk of the stores, and how late it was.
//! Without it, a stall of the disk or of the CPU that all share looks like one of the store that was measured.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::process::Failed;

/// How long it sleeps between two writes. Shorter would be a load of its own; longer misses a stall of the CPU.
const SLEEP: Duration = Duration::from_millis(3);
/// What it writes: a block.
const BLOCK: [u8; 512] = [1; 512];
/// What is kept of it: three minutes.
const ROUNDS_MAX: usize = 50_000;

/// One sleep and one write.
#[derive(Debug, Clone, Copy)]
struct Round {
    begun: Instant,
    woke: Instant,
    written: Instant,
}

/// The thread, until it is dropped.
pub(crate) struct Machine {
    rounds: Arc<Mutex<Vec<Round>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Machine {
    /// Begins to watch the disk of `directory`.
    pub(crate) fn watch(directory: &Path) -> Result<Self, Failed> {
        let file = File::create(directory.join("machine"))?;
        file.write_all_at(&BLOCK, 0)?;
        file.sync_all()?;
        let (rounds, stop) = (Arc::<Mutex<Vec<Round>>>::default(), Arc::new(AtomicBool::new(false)));
        let (kept, ends) = (Arc::clone(&rounds), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let begun = Instant::now();
                #[allow(clippy::disallowed_methods)] // a thread of its own, which is there to sleep
                std::thread::sleep(SLEEP);
                let woke = Instant::now();
                if file.write_all_at(&BLOCK, 0).and_then(|()| file.sync_data()).is_err() {
                    return; // a full disk, which the stores will tell of
                }
                let mut kept = locked(&kept);
                if kept.len() == ROUNDS_MAX {
                    kept.clear();
                }
                kept.push(Round { begun, woke, written: Instant::now() });
            }
        });
        Ok(Self { rounds, stop, thread: Some(thread) })
    }

    /// The longest that it slept too long, and that its disk took, in what was begun or ended from `from` to `until`.
    pub(crate) fn worst(&self, from: Instant, until: Instant) -> (Duration, Duration) {
        let rounds = locked(&self.rounds);
        let near = || rounds.iter().filter(|round| round.begun < until && round.written > from);
        let late = near().map(|round| (round.woke - round.begun).saturating_sub(SLEEP)).max();
        let disk = near().map(|round| round.written - round.woke).max();
        (late.unwrap_or_default(), disk.unwrap_or_default())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // an error is a panic of its own, which was told
        }
    }
}

fn locked(rounds: &Mutex<Vec<Round>>) -> MutexGuard<'_, Vec<Round>> {
    rounds.lock().unwrap_or_else(PoisonError::into_inner)
}
