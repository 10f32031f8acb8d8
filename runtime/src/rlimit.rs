//! Raises the number of files this process may open.
//!
//! Called once at start by the control plane and the proxy: each connection is a file, and the usual soft limit of 1,024
//! would refuse the thousand-and-twenty-fifth while the hard limit allows a million.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit of open files of this process; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// What the process may open now.
    pub soft: Option<u64>,
    /// How far it may raise that itself.
    pub hard: Option<u64>,
}

/// The limit could not be raised; the process can go on with the old one.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot raise the limit of open files from {soft} to {hard}: {source}; raise it outside, for example LimitNOFILE= in the systemd unit"
)]
pub struct RaiseError {
    /// The limit that stays in force.
    pub soft: u64,
    /// The limit that was asked for.
    pub hard: u64,
    source: rustix::io::Errno,
}

/// The limit in force.
pub fn open_files() -> OpenFiles {
    let limit = getrlimit(Resource::Nofile);
    OpenFiles { soft: limit.current, hard: limit.maximum }
}

/// Raises the soft limit to the hard one and tells what is in force afterwards.
pub fn raise_open_files() -> Result<OpenFiles, RaiseError> {
    let before = open_files();
    if before.soft == before.hard {
        return Ok(before);
    }
    let wanted = Rlimit { current: before.hard, maximum: before.hard };
    setrlimit(Resource::Nofile, wanted).map_err(|source| RaiseError {
        soft: before.soft.unwrap_or(u64::MAX),
        hard: before.hard.unwrap_or(u64::MAX),
        source,
    })?;
    Ok(open_files())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on should panic
    use super::*;

    #[test]
    fn the_soft_limit_reaches_the_hard_one_and_raising_again_changes_nothing() {
        let raised = raise_open_files().unwrap();
        assert_eq!(raised.soft, raised.hard);
        assert_eq!(raise_open_files().unwrap(), raised);
    }
}
