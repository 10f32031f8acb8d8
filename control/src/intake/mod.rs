//! Intake: how workloads come, stay and go. Step 1 of the way of the data: a registration becomes a command.
//!
//! - `service.rs`: the gRPC face, on every node
//! - [`leases`]: the leader's table of leases and its brake, a pure core
//! - `actor.rs`: drives it on the truth thread; `messages.rs`: what may be said to it

mod actor;
pub mod leases;
pub mod messages;
mod service;

pub use actor::IntakeActor;
pub use service::RegistrationService;
