//! `penstock check --pre`: can this machine run a control node and a proxy? Looks, and leaves nothing behind.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use crate::render::{Finding, Verdict};

/// Open files that a node with a few thousand proxies, or a busy proxy, needs.
const OPEN_FILES_MIN: u64 = 4096;

/// The ports of design and documentation, and who listens there.
const PORTS: [(u16, &str); 6] = [
    (4100, "control: clients"),
    (4101, "control: peers"),
    (4102, "control: HTTP"),
    (4140, "proxy: outbound"),
    (4143, "proxy: inbound"),
    (4191, "proxy: admin"),
];

const TOPIC: &str = "this machine";

/// Every check that needs no running mesh.
pub(super) fn findings(data: Option<&Path>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = PORTS.iter().map(|(port, whose)| port_is_free(*port, whose)).collect();
    findings.push(open_files());
    findings.extend(data.map(data_directory));
    findings
}

fn port_is_free(port: u16, whose: &str) -> Finding {
    let what = format!("port {port} is free ({whose})");
    match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
        Ok(_) => Finding::fine(TOPIC, what),
        Err(error) => Finding::fault(
            TOPIC,
            what,
            Verdict::Failed,
            error.to_string(),
            format!("end what listens there (`ss -ltnp 'sport = :{port}'` names it), or set another port"),
        ),
    }
}

fn open_files() -> Finding {
    let what = format!("at least {OPEN_FILES_MIN} files may be open");
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) if limit < OPEN_FILES_MIN => Finding::fault(
            TOPIC,
            what,
            Verdict::Warning,
            format!("the hard limit is {limit}"),
            "raise it: LimitNOFILE= of the systemd unit, or nofile in /etc/security/limits.conf",
        ),
        _ => Finding::fine(TOPIC, what),
    }
}

/// Writes and syncs a file in the directory, or in the nearest one above it that exists, and takes it away.
fn data_directory(data: &Path) -> Finding {
    let what = format!("{} can be written and synced", data.display());
    let standing = data.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let trial = standing.join(format!(".penstock-check-{}", std::process::id()));
    let tried = std::fs::File::create_new(&trial).and_then(|mut file| {
        file.write_all(b"penstock check\n")?;
        file.sync_all()
    });
    let cleared = if tried.is_ok() { std::fs::remove_file(&trial) } else { Ok(()) };
    match tried.and(cleared) {
        Ok(()) => Finding::fine(TOPIC, what),
        Err(error) => Finding::fault(
            TOPIC,
            what,
            Verdict::Failed,
            format!("in {}: {error}", standing.display()),
            "give the directory to the user that `penstock control` runs as, or name another by --data",
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_found_with_what_to_do() {
        let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let finding = port_is_free(taken.local_addr().unwrap().port(), "anyone");
        assert_eq!(finding.verdict, Verdict::Failed);
        assert!(finding.hint.unwrap().contains("ss -ltnp"));
    }

    #[test]
    fn a_data_directory_that_does_not_exist_yet_is_tried_above_and_nothing_stays() {
        let folder = std::env::temp_dir().join(format!("penstock-pre-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(data_directory(&folder.join("a/b")).verdict, Verdict::Fine);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(data_directory(Path::new("/proc/penstock")).verdict, Verdict::Failed);
    }
}
