//! The threads that carry the clients' gRPC: current-thread runtimes that accept from one socket. Wiring only.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use runtime::listen::Listener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::rooms::Faces;
use super::{StartError, joined, serve_clients};
use crate::discovery::Discovery;

/// Tasks woken by another thread go before those woken by this one, each time. A batch of writes is answered by the truth thread
/// call by call, and each answered call wakes its connection to write: were the connection polled before the next call, each
/// answer would be a system call of its own, where one carries all (measured: 1.4 writes to sockets per write of the catalog).
const REMOTE_FIRST_EVERY: u32 = 1;

/// The clients' threads while they run.
pub(super) struct Clients {
    threads: Vec<ClientThread>,
    stop: CancellationToken,
    /// Servers that still have calls under way.
    serving: Arc<AtomicUsize>,
}

struct ClientThread {
    handle: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ClientThread {
    fn start() -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .global_queue_interval(REMOTE_FIRST_EVERY)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("clients".to_owned()).spawn(move || {
            let _ = runtime.block_on(ended); // an error is the other end dropped: the same
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, end: Some(end), thread: Some(thread) })
    }
}

impl Clients {
    /// Starts so many threads; they serve nobody yet.
    pub(super) fn start(threads: usize) -> Result<Self, StartError> {
        let threads = (0..threads.max(1)).map(|_| ClientThread::start()).collect::<Result<_, _>>()?;
        Ok(Self { threads, stop: CancellationToken::new(), serving: Arc::default() })
    }

    /// Accepts clients on every thread.
    pub(super) fn serve(
        &self,
        socket: &TcpListener,
        discovery: &Discovery,
        faces: &Faces,
    ) -> Result<(), StartError> {
        for thread in &self.threads {
            let (socket, until) = (socket.try_clone()?, self.stop.clone());
            let (discovery, faces) = (discovery.clone(), faces.clone());
            let serving = Arc::clone(&self.serving);
            serving.fetch_add(1, Ordering::Relaxed);
            thread.handle.spawn(async move {
                match Listener::from_std(socket) {
                    Ok(listener) => serve_clients(listener.incoming(), &discovery, faces, until).await,
                    Err(error) => warn!(%error, "the clients' socket cannot be used"),
                }
                serving.fetch_sub(1, Ordering::Relaxed);
            });
        }
        Ok(())
    }

    /// The first thread's runtime: there is always one.
    pub(super) fn handle(&self) -> &Handle {
        &self.threads[0].handle
    }

    /// Takes nothing new; what runs goes on.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Ready when every running call has ended.
    pub(super) async fn finished(&self) {
        while self.serving.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the threads and every call.
    pub(super) fn end(&mut self) {
        self.threads.iter_mut().for_each(|thread| drop(thread.end.take()));
        for thread in self.threads.iter_mut().filter_map(|thread| thread.thread.take()) {
            joined("clients", thread);
        }
    }
}
