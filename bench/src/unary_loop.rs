//! A load generator for unary gRPC that costs almost nothing: one OS thread and one HTTP/2 connection per sixteen clients, frames
//! written and read by hand, a request sent in the moment the answer before it came.
//!
//! It knows as much of RFC 9113 as a closed loop needs. Whether a call succeeded is told without reading header blocks: an
//! answer with a message is a success, a failed call has none ("Trailers-Only" in gRPC's protocol). Must never be the bottleneck:
//! a client of hyper costs more per call than the servers that are to be measured.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Calls that one connection has open, as a gateway would.
pub(crate) const CLIENTS_PER_CONNECTION: usize = 16;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
/// What a connection of HTTP/2 may send before the other side says more (RFC 9113, 6.9.2).
const WINDOW: i64 = 65_535;
/// A server that says nothing for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(10);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// What one connection came to.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// Of each call that succeeded.
    pub(crate) latencies_ms: Vec<f64>,
    /// Calls that failed.
    pub(crate) failed: u64,
}

/// Makes the encoded message of the next call of a client.
pub(crate) type Requests = Box<dyn FnMut(usize) -> Vec<u8> + Send>;

/// Calls `path` with so many clients, each with one call in flight, until `until`, or until `calls_max` calls were begun.
pub(crate) fn closed_loop(
    address: SocketAddr,
    path: &str,
    clients: usize,
    until: Instant,
    calls_max: u64,
    requests: Requests,
) -> io::Result<Calls> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(SILENCE_MAX))?;
    let mut connection = Connection {
        socket,
        out: Vec::new(),
        heads: Heads { path: path.to_owned(), authority: address.to_string(), indexed: false },
        next_stream: 1,
        window: WINDOW,
        open: HashMap::new(),
        held: (0..clients).collect(),
        begun: 0,
        until,
        calls_max,
        requests,
        calls: Calls::default(),
    };
    connection.greet();
    connection.run()?;
    Ok(connection.calls)
}

/// A call under way.
struct Open {
    client: usize,
    begun: Instant,
    answered: bool,
}

struct Connection {
    socket: TcpStream,
    out: Vec<u8>,
    heads: Heads,
    next_stream: u32,
    window: i64,
    open: HashMap<u32, Open>,
    /// Clients whose next call is to be sent.
    held: Vec<usize>,
    begun: u64,
    until: Instant,
    calls_max: u64,
    requests: Requests,
    calls: Calls,
}

impl Connection {
    fn greet(&mut self) {
        self.out.extend_from_slice(PREFACE);
        frame(&mut self.out, SETTINGS, 0, 0, &[]);
        // All that a run will ever read: no window is opened again.
        frame(&mut self.out, WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes());
    }

    fn run(&mut self) -> io::Result<()> {
        let mut input = vec![0; 1 << 16];
        let (mut from, mut to) = (0, 0);
        loop {
            self.send_held();
            self.socket.write_all(&self.out)?;
            self.out.clear();
            if self.open.is_empty() && self.held.is_empty() {
                return Ok(());
            }
            let read = self.socket.read(&mut input[to..])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            to += read;
            while let Some(bytes) = whole_frame(&input[from..to]) {
                self.heard(&input[from..from + bytes])?;
                from += bytes;
            }
            input.copy_within(from..to, 0);
            (from, to) = (0, to - from);
            if to == input.len() {
                input.resize(to * 2, 0);
            }
        }
    }

    fn send_held(&mut self) {
        let now = Instant::now();
        while let Some(client) = self.held.pop() {
            if now >= self.until || self.begun >= self.calls_max {
                continue;
            }
            let message = (self.requests)(client);
            let bytes = 5 + message.len();
            if self.window < i64::try_from(bytes).unwrap_or(i64::MAX) {
                self.held.push(client);
                return; // the server opens the window as it reads
            }
            self.window -= i64::try_from(bytes).unwrap_or(i64::MAX);
            let head = self.heads.next();
            frame(&mut self.out, HEADERS, END_HEADERS, self.next_stream, &head);
            let mut data = vec![0];
            data.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
            data.extend_from_slice(&message);
            frame(&mut self.out, DATA, END_STREAM, self.next_stream, &data);
            self.open.insert(self.next_stream, Open { client, begun: now, answered: false });
            self.next_stream += 2;
            self.begun += 1;
        }
    }

    fn heard(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (kind, flags) = (bytes[3], bytes[4]);
        let number = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let stream = number(5) & 0x7fff_ffff;
        let body = &bytes[FRAME_HEAD..];
        match kind {
            DATA if !body.is_empty() => {
                if let Some(open) = self.open.get_mut(&stream) {
                    open.answered = true;
                }
            }
            SETTINGS if flags & ACK == 0 => frame(&mut self.out, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(&mut self.out, PING, ACK, 0, body),
            WINDOW_UPDATE if stream == 0 => self.window += i64::from(number(FRAME_HEAD)),
            GO_AWAY => return Err(io::Error::other("the server ends the connection")),
            _ => {}
        }
        let ended = matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0;
        if ended || kind == RESET {
            self.ended(stream);
        }
        Ok(())
    }

    fn ended(&mut self, stream: u32) {
        let Some(open) = self.open.remove(&stream) else { return };
        match open.answered {
            true => self.calls.latencies_ms.push(open.begun.elapsed().as_secs_f64() * 1000.0),
            false => self.calls.failed += 1,
        }
        self.held.push(open.client);
    }
}

/// The header blocks of one connection: the first teaches the server four fields, the later ones only name them (RFC 7541).
struct Heads {
    path: String,
    authority: String,
    indexed: bool,
}

impl Heads {
    fn next(&mut self) -> Vec<u8> {
        if std::mem::replace(&mut self.indexed, true) {
            return vec![0x83, 0x86, 0xc1, 0xc0, 0xbf, 0xbe];
        }
        let mut block = vec![0x83, 0x86]; // :method POST, :scheme http
        let mut literal = |name: u8, value: &str| {
            block.push(0x40 | name); // with incremental indexing, name from the static table
            block.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
            block.extend_from_slice(value.as_bytes());
        };
        literal(4, &self.path);
        literal(1, &self.authority);
        literal(31, "application/grpc");
        block.extend_from_slice(b"\x40\x02te\x08trailers");
        block
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(body);
}

/// Length of the first frame, if all of it has come.
fn whole_frame(bytes: &[u8]) -> Option<usize> {
    let head = bytes.first_chunk::<FRAME_HEAD>()?;
    let length = FRAME_HEAD + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    (bytes.len() >= length).then_some(length)
}
