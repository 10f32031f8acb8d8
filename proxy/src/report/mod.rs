//! What a proxy tells of its traffic: counted per edge in each worker, collected and sent by the control thread.
//!
//! | file | what it holds |
//! |---|---|
//! | `edges` | counts, in one worker, without a lock |
//! | `collector` | the open window, over all workers |
//! | `ring` | the closed windows until they are acknowledged |
//! | `families` | Conduit's metric families |
//! | `carrier` | takes, shows, reports |

mod carried_over;
pub(crate) mod carrier;
pub mod collector;
pub mod counters;
pub mod edges;
pub mod families;
pub mod ring;
