//! The running process' side: offers its listening sockets to a new process of the same proxy, and stays what it is until
//! that one says that it serves. One task on the control thread; what blocks is done beside it.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::wire::{Manifest, VERSION, send, send_sockets};
use crate::worker::{Asker, Role};

/// How long a new process may take from its sockets to its first word, and any message to go. Shorter gives up on a busy
/// machine; longer keeps a second one waiting behind one that hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Where a new process asks for the sockets.
#[derive(Debug)]
pub(crate) struct Offer {
    listener: UnixListener,
    name: String,
    /// The admin port's; the workers have the others.
    admin: TcpListener,
    workers: Asker,
}

/// The new process, which serves by now.
#[derive(Debug)]
pub(crate) struct Successor(UnixStream);

impl Offer {
    /// Listens at `path`, in the place of whoever did before: an older process of this proxy, or one that died.
    ///
    /// # Errors
    /// If the path cannot be had.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn at(path: &Path, name: &str, admin: TcpListener, workers: Asker) -> io::Result<Self> {
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(".next");
        let fresh = PathBuf::from(fresh);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        for taken in [path, &fresh] {
            if std::fs::symlink_metadata(taken).is_ok_and(|there| !there.file_type().is_socket()) {
                let reason = format!("{} is no socket, and is left as it is", taken.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
            }
        }
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        // Replaced in one step: there is always one to connect to.
        std::fs::rename(&fresh, path)?;
        Ok(Self { listener, name: name.to_owned(), admin, workers })
    }

    /// Waits until a new process has taken over.
    pub(crate) async fn taken(self) -> Successor {
        loop {
            match self.handed_over().await {
                Ok(successor) => {
                    info!("a new process has taken over; ending");
                    return successor;
                }
                Err(error) => {
                    warn!(%error, "a new process did not take over; going on");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn handed_over(&self) -> io::Result<Successor> {
        let (stream, _) = self.listener.accept().await?;
        let from = rustix::net::sockopt::socket_peercred(&stream)?;
        if from.uid != rustix::process::geteuid() && !from.uid.is_root() {
            return Err(io::Error::other("it runs as another user"));
        }
        let mut sockets = self.workers.listeners().await;
        sockets.push((Role::Admin, self.admin.try_clone()?.into()));
        let (roles, sockets): (Vec<Role>, Vec<OwnedFd>) = sockets.into_iter().unzip();
        let manifest = Manifest { version: VERSION, name: self.name.clone(), roles };
        let stream = stream.into_std()?;
        let given = move || give(stream, &manifest, &sockets);
        spawn_blocking(given).await.map_err(io::Error::other)?.map(Successor)
    }
}

/// Gives everything away and waits for the word that it is served from there.
fn give(mut stream: UnixStream, manifest: &Manifest, sockets: &[OwnedFd]) -> io::Result<UnixStream> {
    use std::io::Read;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    send(&mut stream, &serde_json::to_vec(manifest)?)?;
    send_sockets(&stream, sockets)?;
    let mut ready = [0; 1];
    stream.read_exact(&mut ready)?;
    Ok(stream)
}

impl Successor {
    /// Tells the new process what was counted so far, or since it was last told.
    pub(crate) async fn tell(mut self, counts: Vec<u8>) -> Option<Self> {
        let told = spawn_blocking(move || send(&mut self.0, &counts).map(|()| self));
        match told.await {
            Ok(Ok(successor)) => Some(successor),
            Ok(Err(error)) => {
                warn!(%error, "the new process did not take the counts; it begins at zero");
                None
            }
            Err(error) => {
                warn!(%error, "the counts could not be handed over");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    /// Once a wrong `--upgrade-socket` replaced whatever file it named.
    #[tokio::test]
    async fn a_socket_takes_the_place_of_a_socket_and_of_nothing_else() {
        let directory = std::env::temp_dir().join(format!("penstock-offer-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let at = |path: &Path| {
            let admin = TcpListener::bind("127.0.0.1:0").unwrap();
            Offer::at(path, "web-1", admin, Asker::default()).map(|_| ())
        };
        let (free, file) = (directory.join("upgrade.sock"), directory.join("notes"));
        at(&free).unwrap();
        at(&free).unwrap();
        std::fs::write(&file, "mine").unwrap();
        let refused = at(&file).unwrap_err();
        assert!(refused.to_string().contains("is no socket"), "{refused}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
