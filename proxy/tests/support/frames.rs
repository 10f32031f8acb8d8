//! HTTP/2 frame by frame, for callers that do what no library does.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Mesh;

// Frame types and flags (RFC 9113, section 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// `GET http://web/` and `POST http://web/` in HPACK: static indices, and a literal authority.
pub const GET: &[u8] = b"\x82\x86\x84\x41\x03web";
pub const POST: &[u8] = b"\x83\x86\x84\x41\x03web";

/// One frame (RFC 9113, section 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A caller that has sent the preface and `settings`.
pub async fn caller(mesh: &Mesh, settings: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(mesh.outbound).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, settings)).await.unwrap();
    stream
}

/// Reads frames and hands them to `each` until that says enough or the connection ends; `true` if it said so.
pub async fn frames(
    stream: &mut (impl AsyncReadExt + Unpin),
    mut each: impl FnMut(u8, u8, u32, &[u8]) -> bool,
) -> bool {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return false;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).await.is_err() {
            return false;
        }
        let id = u32::from_be_bytes(head[5..9].try_into().unwrap());
        if each(head[3], head[4], id, &payload) {
            return true;
        }
    }
}
