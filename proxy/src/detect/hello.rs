//! The server that a TLS client asks for (RFC 8446, section 4.1.2; RFC 6066, section 3), read from however much there is of its
//! hello. Must never panic on any bytes: they come from anyone.

/// What is known of a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hello {
    /// It was read up to the name, or to its end: there is none.
    Whole(Option<String>),
    /// It is not all there.
    Cut,
    /// It is none.
    Not,
}

/// Longest plaintext record (RFC 8446, section 5.1).
const RECORD_BYTES_MAX: usize = 1 << 14;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Why reading stopped.
enum Stop {
    /// Within what the message's own lengths say is there.
    Cut,
    /// The lengths contradict each other.
    Wrong,
}

/// Reads from the front of the bytes that there are; a length that is stated may go beyond them.
struct Reader<'a> {
    bytes: &'a [u8],
    /// What its enclosing length leaves.
    left: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        if count > self.left {
            return Err(Stop::Wrong);
        }
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Stop::Cut)?;
        (self.bytes, self.left) = (rest, self.left - count);
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, Stop> {
        Ok(self.take(bytes)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    /// A part whose length is stated in so many bytes before it; it may be there only in part.
    fn part(&mut self, length_bytes: usize) -> Result<Reader<'a>, Stop> {
        let length = self.number(length_bytes)?;
        if length > self.left {
            return Err(Stop::Wrong);
        }
        let there = length.min(self.bytes.len());
        let (part, rest) = self.bytes.split_at(there);
        (self.bytes, self.left) = (rest, self.left - length);
        Ok(Reader { bytes: part, left: length })
    }

    fn skip(&mut self, length_bytes: usize) -> Result<(), Stop> {
        let part = self.part(length_bytes)?;
        if part.bytes.len() < part.left { Err(Stop::Cut) } else { Ok(()) }
    }
}

/// What `bytes` ask for, which begin with a handshake record's first byte.
pub(super) fn server_name(bytes: &[u8]) -> Hello {
    match read(&whole_records(bytes)) {
        Ok(name) => Hello::Whole(name),
        Err(Stop::Cut) => Hello::Cut,
        Err(Stop::Wrong) => Hello::Not,
    }
}

/// The handshake bytes of all records: a hello may be spread over several. What follows a malformed one is left out, and a
/// malformed first one leaves a message that is none.
fn whole_records(mut bytes: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    while let [HANDSHAKE, major, rest @ ..] = bytes {
        if *major != 3 {
            return if message.is_empty() { vec![0] } else { message };
        }
        let [_minor, high, low, rest @ ..] = rest else { return message };
        let length = usize::from(*high) << 8 | usize::from(*low);
        if length == 0 || length > RECORD_BYTES_MAX {
            return if message.is_empty() { vec![0] } else { message };
        }
        let there = length.min(rest.len());
        message.extend_from_slice(&rest[..there]);
        bytes = &rest[there..];
    }
    message
}

fn read(message: &[u8]) -> Result<Option<String>, Stop> {
    let mut all = Reader { bytes: message, left: usize::MAX };
    if all.number(1)? != usize::from(CLIENT_HELLO) {
        return Err(Stop::Wrong);
    }
    let mut hello = all.part(3)?;
    let version = hello.number(2)?;
    if version >> 8 != 3 {
        return Err(Stop::Wrong);
    }
    hello.take(32)?; // random
    hello.skip(1)?; // session
    hello.skip(2)?; // ciphers
    hello.skip(1)?; // compression
    if hello.left == 0 {
        return Ok(None);
    }
    let mut extensions = hello.part(2)?;
    while extensions.left > 0 {
        let kind = extensions.number(2)?;
        if kind != usize::from(SERVER_NAME) {
            extensions.skip(2)?;
            continue;
        }
        let mut names = extensions.part(2)?.part(2)?;
        while names.left > 0 {
            let kind = names.number(1)?;
            let length = names.number(2)?;
            let name = names.take(length)?;
            if kind == usize::from(HOST_NAME) {
                return Ok(std::str::from_utf8(name).ok().map(str::to_ascii_lowercase));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn with_length(length_bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u32).to_be_bytes();
        [&length[4 - length_bytes..], content].concat()
    }

    /// A hello as clients send it, in one record.
    pub(in super::super) fn hello(name: Option<&str>) -> Vec<u8> {
        let mut extensions = [&[0, 43][..], &with_length(2, &[2, 3, 4])].concat();
        if let Some(name) = name {
            let entry = [&[HOST_NAME][..], &with_length(2, name.as_bytes())].concat();
            extensions.extend([&[0, 0][..], &with_length(2, &with_length(2, &entry))].concat());
        }
        let body = [
            &[3, 3][..],
            &[7; 32],
            &with_length(1, &[9; 32]),
            &with_length(2, &[0x13, 1, 0x13, 2]),
            &with_length(1, &[0]),
            &with_length(2, &extensions),
        ]
        .concat();
        let message = [&[CLIENT_HELLO][..], &with_length(3, &body)].concat();
        [&[HANDSHAKE, 3, 1][..], &with_length(2, &message)].concat()
    }

    #[test]
    fn a_name_is_read_also_when_the_hello_is_spread_over_records() {
        let one = hello(Some("web.default"));
        let (first, second) = one[5..].split_at(40);
        let two =
            [&[HANDSHAKE, 3, 1][..], &with_length(2, first), &[HANDSHAKE, 3, 1], &with_length(2, second)]
                .concat();
        for bytes in [one, two] {
            assert_eq!(server_name(&bytes), Hello::Whole(Some("web.default".to_owned())));
        }
    }

    #[test]
    fn no_bytes_make_it_panic_and_lengths_that_contradict_each_other_are_no_hello() {
        let good = hello(Some("web.default"));
        let mut state = 7_u32;
        let mut chance = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 16
        };
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..1 + chance() % 3 {
                let at = chance() as usize % bytes.len();
                bytes[at] = chance() as u8;
            }
            bytes.truncate(1 + chance() as usize % bytes.len());
            server_name(&bytes);
        }
        let mut wrong = good;
        wrong[43] = 0xff; // the session is longer than the hello
        assert_eq!(server_name(&wrong), Hello::Not);
    }
}
