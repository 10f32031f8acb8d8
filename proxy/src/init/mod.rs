//! `penstock proxy init`: the rules by which a host sends an application's connections to the proxy beside it. `plan` says
//! what is wanted, `nft` and `iptables` say it in the words of each tool (both pure), `apply` runs them.

mod apply;
mod iptables;
mod nft;
mod plan;

pub use apply::{Backend, InitError, apply};
pub use plan::{Plan, Subnet};
