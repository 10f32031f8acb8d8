//! Interception with real programs: two hosts as network namespaces, a proxy on each, the rules of `penstock proxy init`
//! between them and applications that know nothing of a mesh.
//!
//! Needs root and the Debian packages that `.ci/run netns` installs. Namespaces, addresses and processes are the test's
//! own, and gone when it ends, also when it fails.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)] // tests: a panic is how one fails

mod browser;
mod callers;
mod lost;
mod programs;
mod rules;
mod services;
mod stage;
mod streams;
