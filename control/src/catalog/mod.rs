//! The catalog: the replicated state of the mesh, the same on every node. Step 3 of a registration's way: a committed
//! entry comes in, changes at a revision go out. Pure: no clock, no chance, no IO; time comes in commands.
//!
//! - [`Catalog`] takes entries in log order (`state`), by way of `writers` (exactly once) and `refusal`
//! - [`Change`] is what applying an entry altered; discovery keeps a mirror from it
//! - `topology` holds services, endpoints, routes and policies; `registering`, `declaring`, `policies` change it;
//!   `precedence` orders rules
//! - [`Rollups`] holds the traffic (`edges`, `counted`), `history` answers questions about it
//! - [`Members`] is what the log knows of the nodes themselves; [`versions`] says which commands may enter it
//! - `life` begins an epoch; `snapshot` writes and reads all of it, `state_hash` tells whether two nodes have diverged

mod change;
mod counted;
mod declaring;
mod edges;
mod history;
mod life;
pub mod limits;
pub mod members;
mod policies;
mod precedence;
mod refusal;
mod registering;
mod rollups;
mod snapshot;
mod state;
mod state_hash;
mod topology;
pub mod versions;
mod writers;

pub use change::{Applied, Change};
pub use edges::HistoryEdge;
pub use history::Span;
pub use life::next_epoch;
pub use members::{Member, Members};
pub use rollups::Rollups;
pub use snapshot::RestoreError;
pub use state::{Catalog, Sizes};
pub use topology::{Lease, StoredEndpoint, StoredPolicy, StoredRoute, StoredService};
