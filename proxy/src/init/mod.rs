//! `penstock proxy init`: the rules by which a host sends an application's connections to the proxy beside it. `plan` says
//! what is wanted, `nft`, `iptables` and `routes` say it in the words of each tool (all pure), `apply` runs them.

mod apply;
mod iptables;
mod nft;
mod plan;
mod routes;

pub use apply::{Backend, InitError, apply};
pub use plan::{Plan, Subnet};
