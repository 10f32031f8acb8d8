//! An endpoint that sends bytes without being asked, and a client that reads them through a proxy: directly, or by CONNECT
//! where the proxy's port speaks HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::process::Failed;

/// What one connection carries.
const MEBIBYTE: usize = 1024 * 1024;

/// Sends a MiB to everyone who connects; tells where.
pub(crate) async fn endpoint() -> Result<SocketAddr, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let bytes: &[u8] = vec![b'x'; MEBIBYTE].leak();
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = socket.write_all(bytes).await; // a client that left needs no more
                let _ = socket.shutdown().await;
                let _ = socket.read(&mut [0; 1]).await;
            });
        }
    });
    Ok(address)
}

/// Reads `mebibytes`, one per connection, four connections at a time.
pub(crate) async fn download(
    proxy: SocketAddr,
    authority: Option<&str>,
    mebibytes: usize,
) -> Result<(), Failed> {
    let lanes = (0..4).map(|_| async move {
        for _ in 0..mebibytes / 4 {
            one(proxy, authority).await?;
        }
        Ok::<_, Failed>(())
    });
    let all = futures_util::future::try_join_all(lanes);
    let ended = tokio::time::timeout(Duration::from_secs(60), all).await;
    ended
        .map_err(|_| Failed::Other(format!("the bytes through {proxy} did not come within 60 s")))?
        .map(|_| ())
}

async fn one(proxy: SocketAddr, authority: Option<&str>) -> Result<(), Failed> {
    let mut socket = TcpStream::connect(proxy).await?;
    let (mut buffer, mut seen) = (vec![0; 128 * 1024], 0);
    if let Some(authority) = authority {
        let ask = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
        socket.write_all(ask.as_bytes()).await?;
        let mut told = Vec::new();
        while !told.ends_with(b"\r\n\r\n") {
            told.push(socket.read_u8().await?);
        }
        if !told.starts_with(b"HTTP/1.1 200") {
            return Err(Failed::Other(format!("CONNECT: {}", String::from_utf8_lossy(&told))));
        }
    }
    loop {
        match socket.read(&mut buffer).await? {
            0 => break,
            read => seen += read,
        }
    }
    if seen != MEBIBYTE {
        return Err(Failed::Other(format!("{seen} bytes of a MiB came through {proxy}")));
    }
    Ok(())
}
