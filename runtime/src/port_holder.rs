//! Finds out which process listens on a port, for the message of a bind that failed.
//!
//! Reads `/proc` only, and only on that path. An honest "cannot be seen" is a good answer: another user's or another
//! container's process is hidden. Must never fail and never take long.

use std::fs;
use std::path::Path;

/// Processes looked at before giving up. A machine with more has better tools than this one.
const PROCESSES_MAX: usize = 20_000;
/// `TCP_LISTEN` in the `st` column of `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// A process that listens on the port that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub process: u32,
    /// Its name as the kernel knows it, at most 15 characters.
    pub program: String,
}

/// The process that listens on `port`, if it can be seen.
pub(crate) fn holder_of(port: u16) -> Option<Holder> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| inodes_listening_on(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let processes =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let process = processes.take(PROCESSES_MAX).find(|process| holds_one_of(*process, &sockets))?;
    let program = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    Some(Holder { process, program: program.trim().to_owned() })
}

fn inodes_listening_on(table: &str, port: u16) -> Vec<u64> {
    let local_end = format!(":{port:04X}");
    let inode = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let listens = columns.get(1)?.ends_with(&local_end) && *columns.get(3)? == LISTENING;
        if listens { columns.get(9)?.parse().ok() } else { None }
    };
    table.lines().skip(1).filter_map(inode).collect()
}

fn holds_one_of(process: u32, sockets: &[String]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    files.flatten().any(|file| {
        let target = fs::read_link(file.path());
        target.is_ok_and(|target| sockets.iter().any(|socket| target == Path::new(socket)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:102C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000
   1: 0100007F:102C 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000000000000000
   3: broken
";

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        assert_eq!(inodes_listening_on(TABLE, 4140), [4711]);
        assert_eq!(inodes_listening_on(TABLE, 8080), [4713]);
        assert!(inodes_listening_on(TABLE, 1).is_empty());
    }
}
