//! Requests of others for the application: counted per caller and service, and passed to the application's address.
//! Knows neither the snapshot nor the balancer: there is one place to go.

mod carry;
mod clients;
mod serve;

pub use serve::Inbound;
