//! What a connection speaks is found out while the far side is being reached: between real sockets.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::future::pending;
use std::io;
use std::pin::pin;

use mesh::{Direction, Protocol};
use proxy::detect::{How, Learned, Seen, Spoken, look};
use support::{edges, endpoint, mesh, run, service, settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The far side, once it is reached.
struct Far(TcpStream);

impl AsRef<TcpStream> for Far {
    fn as_ref(&self) -> &TcpStream {
        &self.0
    }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// Looks at a caller who does `says`, while a server that does `serves` is reached.
async fn seen(
    says: impl AsyncFnOnce(&mut TcpStream),
    serves: impl AsyncFnOnce(&mut TcpStream),
) -> Seen<io::Result<Far>> {
    let ((mut caller, ours), (near, mut server)) = (pair().await, pair().await);
    let mut reaching = pin!(async { Ok::<_, io::Error>(Far(near)) });
    let looking = look(&ours, reaching.as_mut(), true, pending());
    let (seen, (), ()) = tokio::join!(looking, says(&mut caller), serves(&mut server));
    seen.unwrap()
}

#[test]
fn requests_are_told_by_their_bytes_in_however_many_pieces_they_come() {
    run(async {
        let pieces = async |caller: &mut TcpStream| {
            for piece in ["GE", "T /cart HT", "TP/1.1\r\nhost: web\r\n\r\n"] {
                caller.write_all(piece.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let seen = seen(pieces, async |_| {}).await;
        assert_eq!((&seen.spoken, seen.how), (&Spoken::Http1, How::Bytes));
        assert!(seen.first.starts_with(b"GET /cart HTTP/1."));
        assert_eq!(seen.learned(), Some(Learned::Requests));
    });
}

#[test]
fn a_server_that_speaks_first_decides_at_once_and_that_is_learned() {
    run(async {
        let greets = async |server: &mut TcpStream| server.write_all(b"220 ready\r\n").await.unwrap();
        let seen = seen(async |_| {}, greets).await;
        assert_eq!((&seen.spoken, seen.how), (&Spoken::Other, How::ServerFirst));
        assert_eq!(seen.learned(), Some(Learned::ServerFirst));
        let mut far = seen.reached.unwrap().unwrap().0;
        let mut said = [0; 11];
        far.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"220 ready\r\n", "what the server said is still there to be carried");
    });
}

#[test]
fn a_beginning_that_stays_unclear_is_carried_after_a_while_and_teaches_nothing() {
    run(async {
        let half = async |caller: &mut TcpStream| caller.write_all(b"HELLO").await.unwrap();
        let seen = seen(half, async |_| {}).await;
        assert_eq!((&seen.spoken, seen.how, &seen.first[..]), (&Spoken::Other, How::Waited, &b"HELLO"[..]));
        assert_eq!(seen.learned(), None);
    });
}

#[test]
fn a_side_that_ends_before_anything_is_clear_ends_the_wait() {
    run(async {
        let ends = async |side: &mut TcpStream| side.shutdown().await.unwrap();
        assert_eq!(seen(ends, async |_| {}).await.how, How::Ended);
        assert_eq!(seen(async |_| {}, ends).await.how, How::Ended);
    });
}

#[test]
fn where_requests_were_seen_the_far_side_is_reached_only_when_nothing_is_said() {
    run(async {
        let (mut caller, ours) = pair().await;
        let mut never = pin!(async { panic!("it must not be reached") as Result<Far, io::Error> });
        caller.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let seen = look(&ours, never.as_mut(), false, pending()).await.unwrap();
        assert_eq!(seen.spoken, Spoken::Http1);
        let (_silent, ours) = pair().await;
        let mut lost = pin!(async { Err::<Far, _>(io::Error::from(io::ErrorKind::ConnectionRefused)) });
        let seen = look(&ours, lost.as_mut(), false, pending()).await.unwrap();
        assert!(matches!((seen.how, seen.reached), (How::Ended, Some(Err(_)))));
    });
}

#[test]
fn tls_on_the_outbound_port_is_carried_to_the_service_that_it_asks_for() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let services = [service("web.shop:443", Protocol::Opaque, vec![endpoint("web", address, 100)])];
        let mesh = mesh(&settings(), &services);
        let mut caller = TcpStream::connect(mesh.outbound).await.unwrap();
        let hello = include_bytes!("hello.bin");
        let (first, rest) = hello.split_at(60);
        caller.write_all(first).await.unwrap();
        tokio::task::yield_now().await;
        caller.write_all(rest).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let mut received = vec![0; hello.len()];
        server.read_exact(&mut received).await.unwrap();
        assert!(received == hello, "not a byte is changed");
        server.write_all(b"hello back").await.unwrap();
        let mut answer = [0; 10];
        caller.read_exact(&mut answer).await.unwrap();
        let carried = edges(&mesh.workers, Direction::Outbound).await;
        assert_eq!(carried[0].0.authority.to_string(), "web.shop.svc.cluster.local:443");
    });
}
