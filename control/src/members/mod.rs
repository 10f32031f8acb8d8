//! Members: what operators do with the nodes themselves: add, promote, remove, transfer leadership. Every node takes it and
//! passes it on to the leader, which plans and proposes it (`replica/seats.rs`).

mod service;

pub use service::MembersService;
