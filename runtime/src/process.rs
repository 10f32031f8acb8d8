//! Ends a child with its parent, so that a demo or a test that is killed leaves nothing behind.
//!
//! Called first in `main` by a process that was told so by whoever started it; never by a service of its own right.

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Why the tie to the parent could not be made. The caller should end.
#[derive(Debug, thiserror::Error)]
pub enum TieError {
    /// The parent ended before the tie was made.
    #[error("the parent process {expected} has ended already: nothing is left to serve")]
    Orphaned {
        /// The parent that was expected.
        expected: u32,
    },
    /// The kernel refused.
    #[error("cannot tie this process to its parent: {0}; the system must be Linux")]
    Refused(#[from] rustix::io::Errno),
}

/// Lets the kernel kill (SIGKILL) this process when its parent ends, however that ends.
///
/// `parent` is the id that the parent gave to the child: a parent that died before this call is told from one that
/// lives, since an orphan has another parent by then.
///
/// The kernel watches the *thread* that started the child: start children from a thread that lives as long as they
/// should (the main thread, or a current-thread runtime's), not from a pool's worker.
pub fn end_with_parent(parent: u32) -> Result<(), TieError> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let now = getppid().map_or(0, |parent| parent.as_raw_nonzero().get().cast_unsigned());
    if now == parent { Ok(()) } else { Err(TieError::Orphaned { expected: parent }) }
}

/// Lets the kernel back this process by small pages alone, from here on. A huge page is 2 MiB, more than the whole heap of
/// an idle proxy, and there is a proxy beside every workload. A kernel that cannot changes nothing.
pub fn use_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay in use");
    }
}

/// The id of this process, for a child's [`end_with_parent`].
pub fn own_id() -> u32 {
    std::process::id()
}
