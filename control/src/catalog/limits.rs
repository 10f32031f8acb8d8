//! The catalog's bounds. Each is a promise about memory and about the time of one apply; reaching one refuses the
//! command with `LIMIT`, the same on every node.

use std::time::Duration;

/// Most services. Ten times the largest mesh we aim at; fewer would refuse real ones, more make a snapshot slow.
pub const SERVICES_MAX: usize = 10_000;
/// Most endpoints of one authority: its slice is copied whenever one of them changes.
pub const ENDPOINTS_PER_AUTHORITY_MAX: usize = 10_000;
/// Most endpoints in all: about 100 MB of state.
pub const ENDPOINTS_MAX: usize = 200_000;
/// Most routes.
pub const ROUTES_MAX: usize = 10_000;
/// Most policies: as many as services.
pub const POLICIES_MAX: usize = 10_000;
/// Most routes on one service: all of them are merged again whenever one changes.
pub const ROUTES_PER_SERVICE_MAX: usize = 100;
/// Most documents of one `PutConfig`; one apply must not hold up the others.
pub const DOCUMENTS_MAX: usize = 1_000;
/// Longest command. Longer ones would stall the log; proposers hold to less.
pub const COMMAND_BYTES_MAX: usize = 16 << 20;

/// Most members, learners included: far more than any quorum should have.
pub const MEMBERS_MAX: usize = 32;
/// Removed members that are remembered, so that each learns of it when it calls. More than any cluster replaces in years.
pub const REMOVED_MEMBERS_MAX: usize = 256;

/// Clients whose write outcomes are remembered. The longest idle one is forgotten for a new one.
pub const CLIENTS_MAX: usize = 10_000;
/// Outcomes remembered per client: what it may have in flight.
pub const OUTCOMES_PER_CLIENT_MAX: usize = 64;
/// Bytes of all remembered outcomes. Most have some tens; an `apply` of a thousand documents has 10 KiB. Fewer forget clients
/// that may still try again; more make each snapshot larger for the sake of a few.
pub const OUTCOME_BYTES_MAX: usize = 64 << 20;
/// How long an idle client is remembered: far longer than any client retries.
pub const CLIENT_IDLE: Duration = Duration::from_secs(15 * 60);

/// How long a port that came by registration outlives its last endpoint. Shorter, and callers of a service that is
/// restarted slowly are told that it is unknown; longer, and names of what is gone fill the catalog.
pub const EMPTY_PORT_KEPT: Duration = Duration::from_secs(3600);
/// How often, by the log's time, what is kept for a time is looked through.
pub const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// A stamp later than this (the year 2200) is a broken clock: taking it would end every window at once.
pub const STAMP_MS_MAX: u64 = 7_258_118_400_000;

/// Ten-second windows kept: ten minutes. A proxy sends again for a minute; the rest is for a cut-off node.
pub const WINDOWS_KEPT: u64 = 60;
/// How far ahead of the log's time a window may lie: clocks differ, by a minute at most.
pub const WINDOWS_AHEAD: u64 = 6;
/// One-minute windows kept: six hours.
pub const MINUTES_KEPT: u64 = 360;
/// Windows of a minute.
pub const WINDOWS_PER_MINUTE: u64 = 6;
/// Edges told apart, in all.
pub const EDGES_MAX: usize = 20_000;
/// Edges told apart per namespace of the callee, so that one namespace cannot take all.
pub const EDGES_PER_NAMESPACE_MAX: usize = 5_000;
/// Lives of proxies whose counted windows are remembered.
pub const PROXIES_MAX: usize = 50_000;
/// Bytes of records kept; above it the oldest windows go before their time, and are counted.
pub const HISTORY_BYTES_MAX: usize = 128 << 20;
/// (proxy, window) pairs of one partial.
pub const PAIRS_MAX: usize = 100_000;
