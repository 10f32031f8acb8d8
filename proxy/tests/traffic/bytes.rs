//! No byte is changed that need not be: what curl says to a server through two proxies is what it says without them, byte by
//! byte, and so is what it is told. Blanks around a value are no part of it (RFC 9110, section 5.5), and are not compared.

use std::net::SocketAddr;

use mesh::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, channel};

use crate::process::{curl, said};
use crate::stage::Hops;
use crate::support::run;

/// A server that reads one request up to `until` on each connection, tells it, and says `answer`.
async fn recorder(until: &'static str, answer: &'static str) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = channel(4);
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut seen = Vec::new();
            while !seen.ends_with(until.as_bytes()) {
                if stream.read_buf(&mut seen).await.unwrap() == 0 {
                    break;
                }
            }
            sender.try_send(String::from_utf8_lossy(&seen).into_owned()).unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, receiver)
}

/// Has curl ask with `words`, once without and once with proxies between; both must be the same on both ends.
async fn is_the_same(words: &[&str], until: &'static str, answer: &'static str) {
    let (address, mut seen) = recorder(until, answer).await;
    let hops = Hops::to(address, Protocol::Http1);
    let mut both = Vec::new();
    for connect_to in [format!("::{address}"), hops.connect_to()] {
        let words = [words, &["--include", "--raw", "--connect-to", &connect_to]].concat();
        let heard = said(curl(&words)).await;
        both.push((seen.recv().await.unwrap(), heard));
    }
    assert_eq!(both[1].0, both[0].0, "what the server saw, with proxies and without");
    assert_eq!(both[1].1, both[0].1, "what the caller saw, with proxies and without");
}

const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn requests_and_answers_are_the_same_with_proxies_and_without() {
    run(async {
        is_the_same(&["http://web/"], "\r\n\r\n", PLAIN).await;
        let odd = [
            "--path-as-is",
            "--header",
            "x-lower: 1",
            "--header",
            "X-UPPER: 2",
            "--header",
            "X-Two: a",
            "--header",
            "X-Two: b",
            "--header",
            "X-High: \u{fc}",
            "--cookie",
            "a=b; c=d",
            "--user",
            "me:secret",
            "http://web/%7Ea/../b//c;d?e=%2f&f=[g]#h",
            "--globoff",
        ];
        is_the_same(&odd, "\r\n\r\n", PLAIN).await;
        is_the_same(&["--request", "BREW", "--data", "a=1&b=2", "http://web/pot"], "a=1&b=2", PLAIN).await;
        let chunked = [
            "--header",
            "Content-Type: x/y",
            "--header",
            "Transfer-Encoding: chunked",
            "--data",
            "hello",
            "http://web/",
        ];
        is_the_same(&chunked, "0\r\n\r\n", PLAIN).await;
        is_the_same(&["--request", "OPTIONS", "--request-target", "*", "http://web/"], "\r\n\r\n", PLAIN)
            .await;
        is_the_same(&["--data", "", "http://web/"], "\r\n\r\n", PLAIN).await;
    });
}

#[test]
fn answers_of_every_shape_are_the_same_with_proxies_and_without() {
    run(async {
        for answer in [
            "HTTP/1.1 200 Very fine\r\nServer: odd/1\r\nset-cookie: a=1\r\nSET-COOKIE: b=2\r\nContent-Length: 2\r\nETag: W/\"x\"\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\nx-other: 8\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nX-Early: yes\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 70\r\n\r\n",
            "HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n",
        ] {
            is_the_same(&["http://web/"], "\r\n\r\n", answer).await;
        }
        is_the_same(&["--head", "http://web/"], "\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n")
            .await;
    });
}
