//! The last good config on disk, so that a restarted proxy works while no control node answers (design, decision 15).
//!
//! It keeps the resources that the subscriber holds, as they came off the wire with their revisions, and gives them back
//! to a new subscriber as if a node had sent them: whatever is wrong in the file is refused there like from any node.
//! Pure but for [`load`] and [`save`]. A damaged file is left aside with a warning; it must never stop a proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use mesh::Authority;
use prost::Message;
use rustix::fs::Access;

use super::decode::Kind;
use super::owners::{LISTENER, is_of_listeners};
use super::subscriber::Subscriber;

/// First bytes of the file: what it is, and the version of its form.
const MAGIC: &[u8; 8] = b"PSTKCFG1";
/// Largest file read back. 500 services with 10,000 endpoints among them are about 3 MB.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Name of the file in the state directory.
const FILE: &str = "config.cache";

/// The resources that are held, as they were sent.
#[derive(Debug, Default)]
pub(super) struct Cache {
    resources: BTreeMap<(Kind, Authority), Resource>,
    /// Whose original destinations are; by name.
    owners: BTreeMap<String, Resource>,
    dirty: bool,
}

impl Cache {
    /// Notes what the subscriber took from `response`, and forgets what it no longer holds.
    pub(super) fn note(&mut self, response: &DeltaDiscoveryResponse, subscriber: &Subscriber) {
        if is_of_listeners(response) {
            return self.note_owners(response, subscriber);
        }
        let Some(kind) = Kind::of(&response.type_url) else { return };
        let held: BTreeMap<String, String> = subscriber
            .held()
            .filter(|(of, ..)| *of == kind)
            .map(|(_, name, revision)| (name.to_string(), revision.to_string()))
            .collect();
        for resource in &response.resources {
            let Ok(name) = resource.name.parse::<Authority>() else { continue };
            if held.get(&name.to_string()) == Some(&resource.version) {
                self.resources.insert((kind, name), resource.clone());
                self.dirty = true;
            }
        }
        for name in response.removed_resources.iter().filter_map(|name| name.parse().ok()) {
            self.dirty |= self.resources.remove(&(kind, name)).is_some();
        }
    }

    fn note_owners(&mut self, response: &DeltaDiscoveryResponse, subscriber: &Subscriber) {
        for resource in &response.resources {
            if subscriber.holds_owner(&resource.name, &resource.version) {
                self.owners.insert(resource.name.clone(), resource.clone());
                self.dirty = true;
            }
        }
        for name in &response.removed_resources {
            self.dirty |= self.owners.remove(name).is_some();
        }
    }

    /// Forgets what is not followed any more.
    pub(super) fn keep_only(&mut self, subscriber: &Subscriber) {
        let held: BTreeSet<_> = subscriber.held().map(|(kind, name, _)| (kind, name)).collect();
        let before = self.resources.len();
        self.resources.retain(|(kind, name), _| held.contains(&(*kind, name)));
        self.dirty |= self.resources.len() != before;
        let before = self.owners.len();
        self.owners.retain(|name, owner| subscriber.holds_owner(name, &owner.version));
        self.dirty |= self.owners.len() != before;
    }

    /// The file's bytes, if anything changed since the last call.
    pub(super) fn changed_bytes(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        let mut body = Vec::new();
        for kind in Kind::ALL {
            let of_kind = self.resources.iter().filter(|((of, _), _)| *of == kind);
            let response = DeltaDiscoveryResponse {
                type_url: kind.type_url().to_owned(),
                resources: of_kind.map(|(_, resource)| resource.clone()).collect(),
                ..DeltaDiscoveryResponse::default()
            };
            body.extend_from_slice(&response.encode_length_delimited_to_vec());
        }
        let owners = DeltaDiscoveryResponse {
            type_url: LISTENER.to_owned(),
            resources: self.owners.values().cloned().collect(),
            ..DeltaDiscoveryResponse::default()
        };
        body.extend_from_slice(&owners.encode_length_delimited_to_vec());
        Some(file_of(&body))
    }
}

/// The file that holds these responses.
pub(super) fn file_of(body: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &crc32c::crc32c(body).to_le_bytes(), body].concat()
}

/// What a file holds, as responses to hand to a subscriber.
pub(super) fn responses(bytes: &[u8]) -> Result<Vec<DeltaDiscoveryResponse>, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("it is not of this program, or of a newer version")?;
    let (sum, mut body) = rest.split_first_chunk::<4>().ok_or("it ends in its head")?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
        return Err("its checksum does not match: it is torn or damaged".to_owned());
    }
    let mut responses = Vec::new();
    while !body.is_empty() {
        responses.push(
            DeltaDiscoveryResponse::decode_length_delimited(&mut body).map_err(|error| error.to_string())?,
        );
    }
    Ok(responses)
}

/// The authorities that the subscriber followed: those with routes.
pub(super) fn followed(responses: &[DeltaDiscoveryResponse]) -> Vec<Authority> {
    let routes = responses.iter().filter(|response| Kind::of(&response.type_url) == Some(Kind::Routes));
    routes
        .flat_map(|response| &response.resources)
        .filter_map(|resource| resource.name.parse().ok())
        .collect()
}

/// The original destinations that the subscriber followed.
pub(super) fn followed_addresses(responses: &[DeltaDiscoveryResponse]) -> Vec<SocketAddr> {
    let owners = responses.iter().filter(|response| is_of_listeners(response));
    owners
        .flat_map(|response| &response.resources)
        .filter_map(|resource| resource.name.parse().ok())
        .collect()
}

/// Reads the file of `directory`, and how long ago it was last known to be current; `None` when there is none yet.
///
/// # Errors
/// If it cannot be read, or is too large to be one.
pub(super) fn load(directory: &Path) -> io::Result<Option<(Vec<u8>, Duration)>> {
    let path = directory.join(FILE);
    match std::fs::metadata(&path) {
        Ok(known) if known.len() > FILE_BYTES_MAX => {
            Err(io::Error::other(format!("{} has more than {FILE_BYTES_MAX} bytes", path.display())))
        }
        Ok(known) => {
            // A clock that was set back makes it young, which is told and nothing more.
            let age = known.modified()?.elapsed().unwrap_or_default();
            Ok(Some((std::fs::read(&path)?, age)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether `directory` has a file of config that can be used.
#[must_use]
pub fn is_kept(directory: &Path) -> bool {
    let read = load(directory).ok().flatten();
    read.is_some_and(|(bytes, _)| responses(&bytes).is_ok_and(|kept| !followed(&kept).is_empty()))
}

/// Notes that the file of `directory` is current as of now; none may be there.
///
/// # Errors
/// If its time cannot be set.
pub(super) fn confirm(directory: &Path) -> io::Result<()> {
    match std::fs::File::options().write(true).open(directory.join(FILE)) {
        Ok(file) => file.set_modified(SystemTime::now()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes `directory` where it is missing.
///
/// # Errors
/// If it cannot be made, or this process may not write there.
pub(super) fn writable(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    Ok(rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Replaces the file of `directory` as a whole: after a crash the old or the new one is there.
///
/// # Errors
/// If the directory cannot be made or written; then the old file is as it was.
pub(super) fn save(directory: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    std::fs::create_dir_all(directory)?;
    // A process that takes over writes here too while the one before it ends: never into the same file.
    let next = directory.join(format!("{FILE}.next-{}", std::process::id()));
    let mut file = std::fs::File::create(&next)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&next, directory.join(FILE))?;
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use mesh::Timestamp;

    use super::super::fixtures::{authority, cluster, endpoints, node, removal, response, routes};
    use super::super::{Bounds, Outputs, Resolution};
    use super::*;
    use crate::snapshot::Known;

    const NOW: Timestamp = Timestamp(0);

    fn fed(subscriber: &mut Subscriber, cache: &mut Cache, sent: &DeltaDiscoveryResponse) {
        subscriber.response(sent.clone(), NOW);
        cache.note(sent, subscriber);
    }

    /// A cache of a subscriber that follows `web`, served at port 7.
    fn filled() -> (Subscriber, Cache) {
        let (mut subscriber, mut cache) = (Subscriber::new(node(), Bounds::default()), Cache::default());
        subscriber.want(&authority("web"), NOW);
        fed(&mut subscriber, &mut cache, &response(Kind::Clusters, "1", vec![cluster("web", "1.5", "http")]));
        fed(
            &mut subscriber,
            &mut cache,
            &response(Kind::Endpoints, "2", vec![endpoints("web", "1.6", &[7])]),
        );
        fed(&mut subscriber, &mut cache, &response(Kind::Routes, "3", vec![routes("web", "1.5", &[])]));
        (subscriber, cache)
    }

    fn restored(bytes: &[u8]) -> (Subscriber, Outputs) {
        let mut subscriber = Subscriber::new(node(), Bounds::default());
        let responses = responses(bytes).unwrap();
        for authority in followed(&responses) {
            subscriber.want(&authority, NOW);
        }
        let mut all = Outputs::default();
        for response in responses {
            all.resolutions.extend(subscriber.response(response, NOW).resolutions);
        }
        (subscriber, all)
    }

    #[test]
    fn a_new_subscriber_resolves_from_the_file_and_shows_its_revisions() {
        let (_, mut cache) = filled();
        let (mut subscriber, outputs) = restored(&cache.changed_bytes().unwrap());
        let Some(Resolution::Known(Known::Service(view))) = outputs.resolutions.get(&authority("web")) else {
            panic!("{outputs:?}");
        };
        assert_eq!(view.clusters[&authority("web")].endpoints[0].address.port(), 7);
        let asked = subscriber.connected();
        let endpoints = asked.iter().find(|request| request.type_url == Kind::Endpoints.type_url()).unwrap();
        assert_eq!(endpoints.initial_resource_versions[&authority("web").to_string()], "1.6");
    }

    #[test]
    fn only_changes_are_written_and_what_was_refused_or_removed_is_not_kept() {
        let (mut subscriber, mut cache) = filled();
        assert!(cache.changed_bytes().is_some());
        assert!(cache.changed_bytes().is_none());
        fed(
            &mut subscriber,
            &mut cache,
            &response(Kind::Clusters, "4", vec![cluster("web", "1.9", "gopher")]),
        );
        assert!(cache.changed_bytes().is_none(), "a refused one changes nothing");
        fed(&mut subscriber, &mut cache, &removal(Kind::Routes, "5", "1.9", &["web"]));
        let (subscriber, _) = restored(&cache.changed_bytes().unwrap());
        assert_eq!(subscriber.wanted().count(), 0);
    }

    #[test]
    fn what_is_no_longer_followed_is_dropped() {
        let (mut subscriber, mut cache) = filled();
        cache.changed_bytes();
        subscriber.forget(&authority("web"));
        cache.keep_only(&subscriber);
        assert!(
            responses(&cache.changed_bytes().unwrap()).unwrap().iter().all(|one| one.resources.is_empty())
        );
    }

    #[test]
    fn a_torn_foreign_or_empty_file_is_told_from_a_good_one() {
        let (_, mut cache) = filled();
        let good = cache.changed_bytes().unwrap();
        assert!(responses(&good).is_ok());
        for length in 0..good.len() {
            assert!(responses(&good[..length]).is_err(), "cut after {length} bytes");
        }
        let mut flipped = good;
        *flipped.last_mut().unwrap() ^= 1;
        assert!(responses(&flipped).unwrap_err().contains("checksum"));
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_told_before_there_is_anything_to_write() {
        let directory = std::env::temp_dir().join(format!("penstock-writable-{}", std::process::id()));
        writable(&directory.join("made")).unwrap();
        let file = directory.join("file");
        std::fs::write(&file, "").unwrap();
        assert!(writable(&file).is_err());
        assert!(writable(Path::new("/proc/penstock")).is_err());
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_saved_file_is_loaded_again_and_no_file_is_no_fault() {
        let directory = std::env::temp_dir().join(format!("penstock-cache-{}", std::process::id()));
        assert!(load(&directory).unwrap().is_none());
        confirm(&directory).unwrap();
        save(&directory, b"one").unwrap();
        save(&directory, b"two").unwrap();
        assert_eq!(load(&directory).unwrap().unwrap().0, b"two");
        let hour = Duration::from_secs(3600);
        let file = std::fs::File::options().write(true).open(directory.join(FILE)).unwrap();
        file.set_modified(SystemTime::now() - hour).unwrap();
        assert!(load(&directory).unwrap().unwrap().1 >= hour);
        confirm(&directory).unwrap();
        assert!(load(&directory).unwrap().unwrap().1 < hour);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
