//! A DNS server that knows one name, with one address per control node: how a gRPC client is told of several nodes
//! (a list of `ip:port` is no authority that an HTTP/2 server may take, and gRPC sends its target as the authority).

use std::net::{IpAddr, SocketAddr};

use tokio::net::UdpSocket;

/// The name that it knows, and in fact the answer to any.
pub const NAME: &str = "control.test";

const HEADER_BYTES: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];

/// Starts it; it ends with the test's runtime.
pub async fn start(nodes: &[SocketAddr]) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let addresses: Vec<IpAddr> = nodes.iter().map(SocketAddr::ip).collect();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query).await {
            if let Some(answer) = answer(&query[..length], &addresses) {
                socket.send_to(&answer, client).await.unwrap();
            }
        }
    });
    address
}

/// RFC 1035, section 4: the question again, and an address record for each node if it asks for addresses.
fn answer(query: &[u8], addresses: &[IpAddr]) -> Option<Vec<u8>> {
    let name_bytes = query.get(HEADER_BYTES..)?.iter().position(|byte| *byte == 0)? + 1;
    let question = query.get(HEADER_BYTES..HEADER_BYTES + name_bytes + 4)?;
    let asks_addresses = question[name_bytes..name_bytes + 2] == TYPE_A;
    let records: Vec<_> = addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) if asks_addresses => Some(address.octets()),
            _ => None,
        })
        .collect();
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::try_from(records.len()).ok()?, 0, 0, 0, 0]);
    answer.extend(question);
    for record in records {
        // The name of the question, type A, class IN, a minute, four bytes.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(record);
    }
    Some(answer)
}
