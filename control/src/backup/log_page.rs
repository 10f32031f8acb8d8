//! A node's log in words, for `penstock debug log`: decoded entries by range, read from its data directory while it is down.
//! Changes nothing, and knows nothing of a running replica.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::log::v1::command::Body;
use api::log::v1::{Command, Expire, Partial, PutConfig};
use api::v1;
use consensus::{EntryKind, LogEntry, OpenError, Recovered, StdVfs};
use mesh::RouteKind;
use prost::Message as _;

/// Entries of one page. More would be megabytes of text that nobody reads, and a second form of the log in memory beside it; fewer would
/// take many turns to look through a log (each reads the whole of it).
pub const PAGE_ROWS_MAX: u64 = 1_000;
/// Entries shown when no beginning is named: a screen.
const LAST_ROWS: u64 = 20;

/// What a data directory holds, and some of its entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogPage {
    /// Last term seen.
    pub term: u64,
    /// For whom the node voted in it; 0 is nobody.
    pub vote: u64,
    /// Last entry that this node knew to be committed. May lag behind what the group has committed.
    pub commit: u64,
    /// Last entry inside the newest snapshot; 0 without one.
    pub snapshot: u64,
    /// First and last entry in the log; both 0 when it is empty.
    pub first: u64,
    /// See `first`.
    pub last: u64,
    /// Bytes that a crash left half written at the end; the next start cuts them off.
    pub torn_bytes: u64,
    /// Where the next page begins, if the range goes on behind this one.
    pub next: Option<u64>,
    /// The entries asked for.
    pub rows: Vec<LogRow>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogRow {
    /// Its position.
    pub index: u64,
    /// Term of the leader that made it.
    pub term: u64,
    /// When that leader stamped it, Unix milliseconds; 0 for Raft's own.
    pub at_ms: u64,
    /// Client and sequence of the write; empty and 0 without.
    pub client: String,
    /// See `client`.
    pub sequence: u64,
    /// Its length.
    pub bytes: usize,
    /// What it is: `register`, `put_config`, ...
    pub kind: &'static str,
    /// What it says, in words.
    pub says: String,
}

/// Why there is no page. The directory was not changed.
#[derive(Debug, thiserror::Error)]
pub enum LogPageError {
    /// Its node runs, or it cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no such directory.
    #[error("no node has its data in {}: name the data directory of the node", directory.display())]
    Absent {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// The range ends before it begins.
    #[error("the range ends at entry {to}, before it begins at {from}")]
    Backwards {
        /// Its beginning.
        from: u64,
        /// Its end.
        to: u64,
    },
    /// All that was asked for was compacted.
    #[error(
        "entries through {to} are not in the log any more: it begins at {first}, and the snapshot at {snapshot} has what they did"
    )]
    Before {
        /// The end of the range.
        to: u64,
        /// First entry of the log.
        first: u64,
        /// Last entry inside the snapshot.
        snapshot: u64,
    },
    /// The range lies behind the end.
    #[error("this node has no entry {from}: its log ends at {last}")]
    Behind {
        /// The beginning of the range.
        from: u64,
        /// Last entry of the log.
        last: u64,
    },
    /// A range was asked for, and the log has no entry.
    #[error("this node's log holds no entry; its snapshot ends at entry {snapshot}")]
    Empty {
        /// Last entry inside the snapshot; 0 without one.
        snapshot: u64,
    },
}

/// Reads the entries `from..=to` of a data directory, or the first [`PAGE_ROWS_MAX`] of them. Without an end: to the last in the
/// log; without a beginning: the last twenty up to the end. What lies beyond the log at either side is left out.
///
/// # Errors
/// [`LogPageError`]: no such directory or entries.
pub fn log_page(directory: &Path, from: Option<u64>, to: Option<u64>) -> Result<LogPage, LogPageError> {
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        return Err(LogPageError::Backwards { from, to });
    }
    if !directory.exists() {
        return Err(LogPageError::Absent { directory: directory.to_owned() });
    }
    let recovered = consensus::log::inspect(Arc::new(StdVfs), directory)?;
    page_of(&recovered, from, to)
}

fn page_of(recovered: &Recovered, from: Option<u64>, to: Option<u64>) -> Result<LogPage, LogPageError> {
    let snapshot = recovered.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
    let bare = LogPage {
        term: recovered.hard_state.term,
        vote: recovered.hard_state.vote,
        commit: recovered.hard_state.commit,
        snapshot,
        torn_bytes: recovered.torn_bytes,
        ..LogPage::default()
    };
    let entries = &recovered.entries;
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        let asked = from.is_some() || to.is_some();
        return if asked { Err(LogPageError::Empty { snapshot }) } else { Ok(bare) };
    };
    let (first, last) = (first.index, last.index);
    let end = to.unwrap_or(last).min(last);
    if end < first {
        return Err(LogPageError::Before { to: end, first, snapshot });
    }
    let begin = from.unwrap_or((end + 1).saturating_sub(LAST_ROWS)).max(first);
    if begin > last {
        return Err(LogPageError::Behind { from: begin, last });
    }
    let shown = end.min(begin + PAGE_ROWS_MAX - 1);
    let asked = entries.iter().filter(|entry| (begin..=shown).contains(&entry.index));
    let next = (shown < end).then_some(shown + 1);
    Ok(LogPage { first, last, next, rows: asked.map(row).collect(), ..bare })
}

fn row(entry: &LogEntry) -> LogRow {
    let bare = LogRow { index: entry.index, term: entry.term, bytes: entry.data.len(), ..LogRow::default() };
    let raft = |kind, says: &str| LogRow { kind, says: says.to_owned(), ..bare.clone() };
    match (EntryKind::try_from(entry.kind), entry.data.is_empty()) {
        (Ok(EntryKind::Normal), true) => raft("term", "a leader begins its term"),
        (Ok(EntryKind::Normal), false) => match Command::decode(entry.data.clone()) {
            Ok(command) => of_command(&bare, command),
            Err(error) => raft("unreadable", &error.to_string()),
        },
        (Ok(_), true) => raft("membership", "the joint membership is left"),
        (Ok(_), false) => raft("membership", "the membership changes"),
        (Err(error), _) => raft("unreadable", &error.to_string()),
    }
}

fn of_command(bare: &LogRow, command: Command) -> LogRow {
    let (kind, says) = command.body.as_ref().map_or(("unknown", "of a newer version".to_owned()), in_words);
    let id = command.id.unwrap_or_default();
    LogRow { at_ms: command.at_ms, client: id.client, sequence: id.sequence, kind, says, ..bare.clone() }
}

fn in_words(body: &Body) -> (&'static str, String) {
    match body {
        Body::Register(register) => {
            let endpoint = register.endpoint.clone().unwrap_or_default();
            let authority = authority(register.authority.as_ref());
            let (instance, address, lease) = (endpoint.instance, endpoint.address, register.lease_seconds);
            ("register", format!("{instance} of {authority} at {address}, for {lease} s"))
        }
        Body::Leave(leave) => ("leave", lease(leave.lease.as_ref())),
        Body::Expire(Expire { leases }) => {
            let leases: Vec<String> = leases.iter().map(|expired| lease(expired.lease.as_ref())).collect();
            ("expire", leases.join(", "))
        }
        Body::PutConfig(PutConfig { services, routes, policies }) => {
            let services = services.iter().map(|service| format!("Service {}", name(service.name.as_ref())));
            let routes = routes.iter().map(|route| {
                let kind = RouteKind::from(route.kind());
                format!("{} {}", kind.as_str(), name(route.name.as_ref()))
            });
            let policies =
                policies.iter().map(|policy| format!("TrafficPolicy {}", name(policy.name.as_ref())));
            ("put_config", services.chain(routes).chain(policies).collect::<Vec<_>>().join(", "))
        }
        Body::DeleteConfig(delete) => {
            let what = match (&delete.service, &delete.route, &delete.grpc_route) {
                (Some(service), ..) => format!("Service {}", name(Some(service))),
                (None, Some(route), _) => format!("HTTPRoute {}", name(Some(route))),
                (None, None, Some(route)) => format!("GRPCRoute {}", name(Some(route))),
                (None, None, None) => format!("TrafficPolicy {}", name(delete.policy.as_ref())),
            };
            ("delete_config", what)
        }
        Body::Partial(Partial { node, counted, windows }) => {
            let edges: usize = windows.iter().map(|window| window.edges.len()).sum();
            ("partial", format!("of node {node}: {} reports, {edges} edges", counted.len()))
        }
        Body::Tick(_) => ("tick", "time passes".to_owned()),
        Body::Announce(told) => (
            "announce",
            format!("node {} is at {}, clients at {}", told.node, told.peer_address, told.client_address),
        ),
        Body::ChangeMembers(change) => {
            let seats = change.seats.iter().map(|seat| format!("node {} belongs", seat.node));
            let removed = change.removed.iter().map(|node| format!("node {node} is removed"));
            ("change_members", seats.chain(removed).collect::<Vec<_>>().join(", "))
        }
        Body::Begin(begin) => ("begin", format!("a life of the cluster, epoch {}", begin.epoch)),
        Body::RaiseVersion(raise) => ("raise_version", format!("commands of version {}", raise.version)),
    }
}

fn name(name: Option<&v1::QualifiedName>) -> String {
    name.map_or_else(|| "-".to_owned(), |name| format!("{}.{}", name.name, name.namespace))
}

fn authority(authority: Option<&v1::Authority>) -> String {
    authority.map_or_else(
        || "-".to_owned(),
        |authority| format!("{}:{}", name(authority.service.as_ref()), authority.port),
    )
}

fn lease(lease: Option<&v1::LeaseKey>) -> String {
    lease.map_or_else(
        || "-".to_owned(),
        |lease| format!("{} of {}", lease.instance, authority(lease.authority.as_ref())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(first: u64, last: u64) -> Recovered {
        let entry = |index| LogEntry { index, term: 1, ..LogEntry::default() };
        Recovered { entries: (first..=last).map(entry).collect(), ..Recovered::default() }
    }

    fn shown(page: &LogPage) -> (u64, u64) {
        (page.rows.first().unwrap().index, page.rows.last().unwrap().index)
    }

    #[test]
    fn the_last_twenty_up_to_the_end_are_shown_when_no_beginning_is_named() {
        let log = log(5, 100);
        assert_eq!(shown(&page_of(&log, None, None).unwrap()), (81, 100));
        assert_eq!(shown(&page_of(&log, None, Some(50)).unwrap()), (31, 50));
        assert_eq!(shown(&page_of(&log, None, Some(7)).unwrap()), (5, 7));
        assert_eq!(shown(&page_of(&log, Some(1), Some(900)).unwrap()), (5, 100), "as far as there is a log");
    }

    #[test]
    fn a_long_range_comes_in_pages_that_leave_nothing_out() {
        let (log, mut seen, mut from) = (log(5, 2_500), Vec::new(), Some(5));
        while let Some(begin) = from {
            let page = page_of(&log, Some(begin), None).unwrap();
            assert!(page.rows.len() as u64 <= PAGE_ROWS_MAX);
            seen.extend(page.rows.iter().map(|row| row.index));
            from = page.next;
        }
        assert_eq!(seen, (5..=2_500).collect::<Vec<_>>());
    }

    #[test]
    fn a_range_outside_the_log_is_refused_with_what_there_is() {
        let refusal = |log: &Recovered, from, to| page_of(log, from, to).unwrap_err().to_string();
        let log = log(5, 100);
        assert!(refusal(&log, None, Some(4)).contains("it begins at 5"));
        assert!(refusal(&log, Some(101), None).contains("ends at 100"));
        assert!(refusal(&Recovered::default(), Some(1), None).contains("no entry"));
        let backwards = log_page(Path::new("nowhere"), Some(9), Some(8)).unwrap_err();
        assert!(backwards.to_string().contains("before it begins at 9"), "{backwards}");
    }
}
