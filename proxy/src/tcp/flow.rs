//! One direction of a connection: from the first byte to the end of the stream, which is passed on as such. Waits without
//! a buffer; copies what is little, splices what is a lot.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use rustix::pipe::{SpliceFlags, splice};
use tokio::io::{AsyncRead, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::outstanding::{Outstanding, Questions};
use super::pipes::{Lent, PIPE_BYTES, Pipes};

/// What is copied at a time. A read that fills it is the sign that a lot flows. Smaller: messages of a few kilobytes, which
/// a copy carries in fewer system calls, go through a pipe. Larger: each copy touches more of the cache.
const COPY_BYTES: usize = 16 * 1024;

/// Buffers kept for the next copy; one suffices as long as every receiver takes what comes.
const SPARE_BUFFERS_MAX: usize = 16;

/// What the connections of one worker borrow while bytes flow.
#[derive(Debug, Default)]
pub struct Tools {
    pipes: Pipes,
    buffers: RefCell<Vec<Box<[u8]>>>,
    /// The kernel refused to splice sockets.
    copies_only: Cell<bool>,
    questions: Questions,
}

impl Tools {
    /// How often bytes were copied because no pipe was left.
    #[must_use]
    pub fn pipes_exhausted_total(&self) -> u64 {
        self.pipes.exhausted_total.get()
    }

    /// Tools that never splice: for tests of the other way.
    #[must_use]
    pub fn copying() -> Self {
        Self { copies_only: Cell::new(true), ..Self::default() }
    }

    pub(super) fn outstanding(&self, local: SocketAddr, peer: SocketAddr) -> Option<Outstanding> {
        self.questions.outstanding(local, peer)
    }

    fn buffer(&self) -> Box<[u8]> {
        self.buffers.borrow_mut().pop().unwrap_or_else(|| vec![0; COPY_BYTES].into_boxed_slice())
    }

    fn keep(&self, buffer: Box<[u8]>) {
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < SPARE_BUFFERS_MAX {
            buffers.push(buffer);
        }
    }

    fn pipe(&self) -> Option<Lent<'_>> {
        if self.copies_only.get() { None } else { self.pipes.lend() }
    }
}

/// Carries bytes until `from` has ended, and ends `to` then; `carried` is told of each piece as it was taken, and of the end as of none.
///
/// # Errors
/// Either side broke.
pub(super) async fn flow(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    tools: &Tools,
    carried: impl Fn(usize),
) -> io::Result<()> {
    loop {
        from.readable().await?;
        let mut buffer = tools.buffer();
        let read = read_now(&mut from, &mut buffer).await;
        let written = match read {
            Ok(Some(0)) => {
                tools.keep(buffer);
                carried(0);
                return end(&mut to).await;
            }
            Ok(Some(read)) => {
                carried(read);
                to.write_all(&buffer[..read]).await.map(|()| read)
            }
            // It was woken for nothing, or has used up its turn: then the socket still looks ready, and asking again at
            // once would never let anything else run.
            Ok(None) => {
                tokio::task::yield_now().await;
                Ok(0)
            }
            Err(error) => Err(error),
        };
        tools.keep(buffer);
        if written? == COPY_BYTES
            && let Some(pipe) = tools.pipe()
            && spliced(from.as_ref(), to.as_ref(), pipe, tools, &carried).await?
        {
            carried(0);
            return end(&mut to).await;
        }
    }
}

/// What can be read without waiting; `None` when that is nothing.
async fn read_now(from: &mut ReadHalf<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let mut buffer = ReadBuf::new(buffer);
    poll_fn(|cx| match Pin::new(&mut *from).poll_read(cx, &mut buffer) {
        Poll::Ready(Ok(())) => Poll::Ready(Ok(Some(buffer.filled().len()))),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Pending => Poll::Ready(Ok(None)),
    })
    .await
}

/// Moves bytes through `pipe` until there are none; whether the stream has ended.
async fn spliced(
    from: &TcpStream,
    to: &TcpStream,
    mut pipe: Lent<'_>,
    tools: &Tools,
    carried: &impl Fn(usize),
) -> io::Result<bool> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    loop {
        // The sockets of a fast pair are always ready: without this nothing else would run.
        tokio::task::coop::consume_budget().await;
        let filled = from.try_io(Interest::READABLE, || {
            Ok(splice(from, None, &pipe.pipe().write, None, PIPE_BYTES, flags)?)
        });
        pipe.held = match filled {
            Ok(0) => return Ok(true),
            Ok(moved) => moved,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                tools.copies_only.set(true);
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        carried(pipe.held);
        while pipe.held > 0 {
            let emptied = to.try_io(Interest::WRITABLE, || {
                Ok(splice(&pipe.pipe().read, None, to, None, pipe.held, flags)?)
            });
            match emptied {
                Ok(moved) => pipe.held -= moved,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Says to the receiver that no more comes; its own bytes may go on coming.
async fn end(to: &mut WriteHalf<'_>) -> io::Result<()> {
    match to.shutdown().await {
        // It has left already, which its own direction tells.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        done => done,
    }
}
