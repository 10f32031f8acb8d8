//! The new process' side: takes the sockets of the one that runs, and lets it go once its own workers accept from them. What
//! fails before that leaves the running one as it was.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tracing::warn;

use super::wire::{Manifest, VERSION, receive, receive_sockets};
use crate::report::families::Families;
use crate::settings::Settings;
use crate::worker::Inherited;

/// How long the running process may take for a message.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long one control node may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How much longer than its drain the running process may live until it has told its last counts.
const LAST_WORD_AFTER: Duration = Duration::from_secs(30);

/// The process before this one, which still serves.
#[derive(Debug)]
pub(crate) struct Predecessor(UnixStream);

/// Takes the sockets of the running process over.
///
/// # Errors
/// If there is none, if it is another proxy or of another version, or if this process could not serve what that one does.
pub(crate) fn take_over(settings: &Settings) -> io::Result<(Inherited, Predecessor)> {
    let path = settings.upgrade_path().ok_or_else(|| {
        io::Error::other("no upgrade_socket and no state_directory is set, so none can be found that runs")
    })?;
    knows_something(settings)?;
    let mut stream = UnixStream::connect(&path).map_err(|error| {
        let told =
            format!("no proxy offers itself at {}: {error}; start one without `upgrade`", path.display());
        io::Error::new(error.kind(), told)
    })?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    let manifest: Manifest = serde_json::from_slice(&receive(&mut stream)?)?;
    if manifest.version != VERSION {
        let told = format!(
            "the running proxy hands over in version {}, not {VERSION}: restart it",
            manifest.version
        );
        return Err(io::Error::other(told));
    }
    if manifest.name != settings.name {
        return Err(io::Error::other(format!(
            "the running proxy is {}, not {}",
            manifest.name, settings.name
        )));
    }
    let sockets = receive_sockets(&stream, manifest.roles.len())?;
    Ok((Inherited(manifest.roles.into_iter().zip(sockets).collect()), Predecessor(stream)))
}

/// A process that neither reaches a control node nor has config on its disk would answer 503 where the running one serves.
fn knows_something(settings: &Settings) -> io::Result<()> {
    let reaches = |address: &String| {
        let resolved = address.to_socket_addrs().into_iter().flatten();
        resolved.into_iter().any(|at| TcpStream::connect_timeout(&at, CONNECT_WITHIN).is_ok())
    };
    let is_kept =
        settings.state_directory.as_ref().is_some_and(|directory| crate::discovery::is_kept(directory));
    if settings.control.is_empty() || is_kept || settings.control.iter().any(reaches) {
        return Ok(());
    }
    let told = "no control node can be reached and no config is kept on disk: the running proxy knows more, and goes on";
    Err(io::Error::other(told))
}

impl Predecessor {
    /// This process serves now: the one before begins to end. Its counts are added to `families` before it returns, and
    /// those that it makes while it drains when it has ended.
    pub(crate) fn relieve(mut self, families: &Families, drain: Duration) -> io::Result<()> {
        self.0.write_all(b"r")?;
        // From here on this process is the one that serves: what goes wrong now costs counts, and nothing else.
        match receive(&mut self.0) {
            Ok(counts) => add(families, &counts),
            Err(error) => {
                warn!(%error, "the process before this one did not tell its counts; they begin at zero");
            }
        }
        self.0.set_read_timeout(Some(drain + LAST_WORD_AFTER))?;
        let families = families.clone();
        std::thread::Builder::new().name("predecessor".to_owned()).spawn(move || {
            match receive(&mut self.0) {
                Ok(counts) => add(&families, &counts),
                Err(error) => warn!(%error, "the process before this one did not tell its last counts"),
            }
        })?;
        Ok(())
    }
}

fn add(families: &Families, counts: &[u8]) {
    if let Err(error) = families.take_in(counts, std::time::Instant::now()) {
        warn!(%error, "the counts of the process before this one cannot be read; they begin at zero");
    }
}
