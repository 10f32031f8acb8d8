//! How requests of the state-of-the-world variant are read, which is all that gRPC speaks. Source: xDS protocol,
//! "Basic protocol overview". Pure; the rest of the session is in `session.rs`.
//!
//! Every request lists all names, and an ACK is a request like any other. A request is answered only when its names or
//! their contents changed: to answer ACKs would go on for ever.

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use mesh::Revision;
use tonic::Status;

use super::delta::ALL;
use super::kind::Kind;
use super::session::{Output, Session};
use super::shelf::Shelf;

impl Session {
    /// Reads a request of a state-of-the-world stream.
    pub fn whole_request(&mut self, request: &DiscoveryRequest, shelf: &mut Shelf, out: &mut Vec<Output>) {
        if self.closed {
            return;
        }
        match self.read_whole(request, shelf, out) {
            Ok(()) => self.flush(shelf, out),
            Err(status) => self.close(status, out),
        }
    }

    fn read_whole(
        &mut self,
        request: &DiscoveryRequest,
        shelf: &Shelf,
        out: &mut Vec<Output>,
    ) -> Result<(), Status> {
        let (kind, client) = self.admit(&request.type_url, request.node.as_ref())?;
        let answer = self.answered(kind, &request.response_nonce)?;
        let subscriptions = &mut self.kinds[kind.place()];
        let first = !std::mem::replace(&mut subscriptions.begun, true);
        if let Some(answer) = answer {
            match &request.error_detail {
                Some(error) => self.refused(kind, &answer, &error.message),
                None => self.acknowledged(kind, &answer),
            }
        }
        if first {
            // What the client holds is sent again, because it does not say which names it holds at that version.
            self.hold = self.hold.max(request.version_info.parse::<Revision>().ok());
        }
        // The names count also when the request crossed an answer on its way: one that the client dropped and wants
        // again meanwhile would never be sent again otherwise.
        let names = &request.resource_names;
        let silent = first && names.is_empty() && matches!(kind, Kind::Cluster | Kind::Listener);
        let all = silent || names.iter().any(|name| name == ALL);
        if all && !self.kinds[kind.place()].all {
            self.subscribe_all(kind, &client, true, shelf, out);
        }
        self.keep_only(kind, names, shelf, out);
        for name in names.iter().filter(|name| *name != ALL) {
            let followed = self.kinds[kind.place()].find(name);
            if !followed.is_some_and(|followed| followed.asked) {
                self.subscribe(kind, &client, name, shelf, out)?;
            }
        }
        Ok(())
    }

    /// Forgets the names that a request no longer lists.
    fn keep_only(&mut self, kind: Kind, names: &[String], shelf: &Shelf, out: &mut Vec<Output>) {
        let Some(client) = self.client.clone() else { return };
        let listed: std::collections::BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let gone: Vec<Arc<str>> = self.kinds[kind.place()]
            .iter()
            .filter(|followed| followed.asked && !listed.contains(&*followed.name))
            .map(|followed| followed.name.clone())
            .collect();
        for name in gone {
            self.forget(kind, &client, &name, shelf, out);
        }
    }
}
