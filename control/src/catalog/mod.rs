//! The catalog: the replicated state of the mesh, the same on every node. Step 3 of a registration's way: a committed
//! entry comes in, changes at a revision go out. Pure: no clock, no chance, no IO; time comes in commands.
//!
//! - [`Catalog`] takes entries in log order and answers look-ups
//! - [`Change`] is what applying an entry altered; discovery keeps a mirror from it

mod change;
mod state;

pub use change::{Applied, Change};
pub use state::{Catalog, Lease, RestoreError, StoredEndpoint, StoredRoute, StoredService};
