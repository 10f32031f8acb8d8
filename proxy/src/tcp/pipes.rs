//! Pipes for `splice(2)`, lent to connections while a lot flows on them. Bounded: past the bound bytes are copied, which
//! costs more CPU and nothing else.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// Most pipes that one worker lends at a time; each takes two file descriptors. Fewer: busy hosts copy. More: a worker
/// with slow readers takes descriptors that connections need.
pub const PIPES_MAX: usize = 256;

/// Pipes kept for the next lender. Flows come and go in bursts of a few; an idle worker holds no more than these.
const SPARE_MAX: usize = 16;

/// What a pipe can hold. Less: more system calls per megabyte. More: the kernel refuses it to users who are not root
/// (`pipe-max-size`), and refuses this too once a user has many (`pipe-user-pages-soft`); then a pipe holds 64 KiB.
pub(super) const PIPE_BYTES: usize = 256 * 1024;

/// One pipe.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) read: OwnedFd,
    pub(super) write: OwnedFd,
}

/// The pipes of one worker.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    spare: RefCell<Vec<Pipe>>,
    lent: Cell<usize>,
    /// How often none was left to lend.
    pub(super) exhausted_total: Cell<u64>,
}

impl Pipes {
    /// A pipe, until it is dropped; `None` when all are lent or the system has no more.
    pub(super) fn lend(&self) -> Option<Lent<'_>> {
        if self.lent.get() >= PIPES_MAX {
            self.exhausted_total.set(self.exhausted_total.get() + 1);
            return None;
        }
        let spare = self.spare.borrow_mut().pop();
        let Some(pipe) = spare.or_else(|| fresh().ok()) else {
            self.exhausted_total.set(self.exhausted_total.get() + 1);
            return None;
        };
        self.lent.set(self.lent.get() + 1);
        Some(Lent { pipes: self, pipe: Some(pipe), held: 0 })
    }
}

fn fresh() -> io::Result<Pipe> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let _ = fcntl_setpipe_size(&write, PIPE_BYTES); // refused, it stays at 64 KiB
    Ok(Pipe { read, write })
}

/// A pipe that one connection uses.
#[derive(Debug)]
pub(super) struct Lent<'p> {
    pipes: &'p Pipes,
    pipe: Option<Pipe>,
    /// Bytes that are in it now.
    pub(super) held: usize,
}

impl Lent<'_> {
    pub(super) fn pipe(&self) -> &Pipe {
        self.pipe.as_ref().expect("it is taken out only when the loan ends")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.pipes.lent.set(self.pipes.lent.get() - 1);
        let mut spare = self.pipes.spare.borrow_mut();
        // One that still holds bytes of a broken connection must never reach another.
        if self.held == 0 && spare.len() < SPARE_MAX {
            spare.extend(self.pipe.take());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_pipe_is_lent_again_unless_it_holds_bytes_of_a_broken_connection() {
        let pipes = Pipes::default();
        let first = pipes.lend().unwrap();
        let number = first.pipe().read.as_raw_fd();
        drop(first);
        let mut again = pipes.lend().unwrap();
        assert_eq!(again.pipe().read.as_raw_fd(), number);
        rustix::io::write(&again.pipe().write, b"secret").unwrap();
        again.held = 6;
        drop(again);
        let other = pipes.lend().unwrap();
        let mut read = [0_u8; 6];
        assert_eq!(rustix::io::read(&other.pipe().read, &mut read).unwrap_err(), rustix::io::Errno::AGAIN);
    }

    #[test]
    fn past_the_bound_none_is_lent_and_that_is_counted() {
        let pipes = Pipes::default();
        let all: Vec<_> = (0..PIPES_MAX).map_while(|_| pipes.lend()).collect();
        assert_eq!(all.len(), PIPES_MAX);
        assert!(pipes.lend().is_none());
        assert_eq!(pipes.exhausted_total.get(), 1);
        drop(all);
        assert!(pipes.lend().is_some());
        assert_eq!(pipes.spare.borrow().len(), SPARE_MAX);
    }
}
