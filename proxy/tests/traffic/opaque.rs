//! Bytes that are nobody's business: TLS by the name that its hello asks for, connections that end in halves, and servers that
//! speak first.

use mesh::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::{Scratch, Server, curl, node, program, rest, said, said_to};
use crate::stage::Hops;
use crate::support::{endpoint, mesh, run, service, settings};

/// A TLS server of OpenSSL with a certificate of its own, which turns lines round.
async fn turning(scratch: &Scratch, name: &str) -> Server {
    let (key, certificate) = (scratch.path(&format!("{name}.key")), scratch.path(&format!("{name}.pem")));
    let mut make = program("openssl");
    make.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
    ]);
    make.args(["-subj", &format!("/CN={name}"), "-addext", &format!("subjectAltName=DNS:{name}")]);
    said({
        make.args(["-keyout", &key, "-out", &certificate]);
        make
    })
    .await;
    let mut serve = program("openssl");
    serve.args(["s_server", "-accept", "127.0.0.1:0", "-key", &key, "-cert", &certificate, "-rev"]);
    Server::start(serve, "ACCEPT ").await
}

#[test]
fn tls_is_carried_by_the_name_that_its_hello_asks_for_and_nobody_looks_into_it() {
    run(async {
        let scratch = Scratch::new("tls");
        let (red, blue) = (turning(&scratch, "red.shop").await, turning(&scratch, "blue.shop").await);
        let services = [
            service("red.shop:443", Protocol::Opaque, vec![endpoint("red", red.address, 100)]),
            service("blue.shop:443", Protocol::Opaque, vec![endpoint("blue", blue.address, 100)]),
        ];
        let caller = mesh(&settings(), &services);
        let outbound = caller.outbound.to_string();
        for name in ["red.shop", "blue.shop"] {
            for through in [
                &["-servername", name][..],
                &["-servername", name, "-tls1_2"],
                &["-servername", name, "-proxy"],
            ] {
                // By the name in the hello, or by CONNECT and then the same.
                let is_tunnel = through.contains(&"-proxy");
                let mut client = program("openssl");
                client.args(["s_client", "-quiet", "-verify_return_error", "-verify_hostname", name]);
                client.args(["-CAfile", &scratch.path(&format!("{name}.pem")), "-connect"]);
                client.arg(if is_tunnel { format!("{name}:443") } else { outbound.clone() }).args(through);
                if is_tunnel {
                    client.arg(&outbound);
                }
                let answer = said_to(client, format!("{name} and back\nCLOSE\n").as_bytes()).await;
                let turned: String = format!("{name} and back").chars().rev().collect();
                assert_eq!(answer.lines().next(), Some(turned.as_str()), "{through:?}: {answer}");
            }
        }
    });
}

#[test]
fn a_caller_may_end_its_half_and_read_on_and_so_may_a_server() {
    run(async {
        let server = Server::ours(node("halves.mjs", &["sums"])).await;
        let hops = Hops::by_listener(server.address, Protocol::Opaque);
        let mut caller = TcpStream::connect(hops.listener()).await.unwrap();
        caller.write_all(&[b'x'; 2_000_000]).await.unwrap();
        caller.shutdown().await.unwrap();
        let answer = rest(&mut caller).await;
        let (sum, more) = answer.split_at("2000000\n".len());
        assert_eq!((sum, more.len()), (&b"2000000\n"[..], 1_000_000));

        let mut server = Server::ours(node("halves.mjs", &["ends-first"])).await;
        let hops = Hops::by_listener(server.address, Protocol::Opaque);
        let mut caller = TcpStream::connect(hops.listener()).await.unwrap();
        assert_eq!(rest(&mut caller).await, b"all that I have to say\n");
        caller.write_all(&[b'x'; 500_000]).await.unwrap();
        drop(caller);
        assert_eq!(server.line().await, "heard 500000 xxxxx");
    });
}

#[test]
fn curl_gets_the_greeting_of_a_server_that_speaks_first() {
    run(async {
        let server = Server::ours(node("halves.mjs", &["mail"])).await;
        let hops = Hops::by_listener(server.address, Protocol::Opaque);
        let url = format!("smtp://{}", hops.listener());
        let answer = said(curl(&["--request", "HELP", &url])).await;
        assert_eq!(answer, "214 there is none\r\n");
        let counters = hops.callee.workers.take().await.counters;
        assert!(
            counters.detected.totals().all(|(_, _, count)| count == 0),
            "what is declared is not looked at"
        );
        let mut silent = TcpStream::connect(hops.listener()).await.unwrap();
        let mut greeting = [0; 16];
        silent.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"220 mail ESMTP\r\n", "although the caller says nothing");
    });
}
