//! Registration: the workload beside this proxy joins the mesh, stays in it, and leaves. Step 1 of the way of the data,
//! seen from the proxy.
//!
//! | file | what it holds |
//! |---|---|
//! | `registrar` | when, as a value |
//! | `carrier` | tries the port, calls the control node, tells the registrar |

mod carrier;
mod registrar;

pub use carrier::{Registrations, carry};
pub use registrar::{Call, Event, Place, Registrar, Written};
