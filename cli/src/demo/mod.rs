//! `penstock demo`: a whole mesh on this machine, with an application, load, and a service that misbehaves.

pub mod shop;
