//! Pages of the admin port that only a proxy has: what config it holds, and who is connected. Made on the admin thread;
//! the other threads only hand over what they hold.
//!
//! | file | what it holds |
//! |---|---|
//! | `config` | `/config`: the snapshot with the revisions of all that is held |
//! | `connections` | `/connections`: the open ones, a bounded number of them |
//! | `server` | the server with these pages, and the lines on which they ask |
//! | `query` | what stands behind the `?` |

mod config;
mod connections;
mod query;
mod server;

pub(crate) use server::{Lines, fresh_counts, server};
