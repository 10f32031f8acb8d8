//! How the names of a head's lines were spelled. HTTP does not distinguish their case, but some applications do, and what
//! need not be changed must not be: what came over HTTP/1 and goes on over HTTP/1 keeps its spelling. Pure.

use http::StatusCode;

/// Finds the spelling of names in a head as it came. They are mostly asked for in the order of the lines, so that each
/// search begins behind the last find.
#[derive(Debug)]
pub(super) struct Spelling<'h> {
    lines: &'h [u8],
    at: usize,
}

impl<'h> Spelling<'h> {
    /// The spellings of `head`, which may be empty: then names are spelled as HTTP/2 has them.
    pub(super) fn of(head: &'h [u8]) -> Self {
        let first = head.iter().position(|byte| *byte == b'\n').map_or(head.len(), |feed| feed + 1);
        Self::of_lines(&head[first..])
    }

    /// The spellings of lines before which no request or status line stands, as trailers are; there may be none.
    pub(super) fn of_lines(lines: &'h [u8]) -> Self {
        Self { lines, at: 0 }
    }

    /// `name` as the head spells it, or as it is if the head has no such line.
    pub(super) fn spelled<'n>(&mut self, name: &'n str) -> &'n [u8]
    where
        'h: 'n,
    {
        match self.find(name, self.at).or_else(|| self.find(name, 0)) {
            Some((spelled, next)) => {
                self.at = next;
                spelled
            }
            None => name.as_bytes(),
        }
    }

    /// The spelling in the first line from `from` on that has this name, and where the next line begins.
    fn find(&self, name: &str, from: usize) -> Option<(&'h [u8], usize)> {
        let mut at = from;
        while let Some(line) = self.lines[at..].split_inclusive(|byte| *byte == b'\n').next() {
            at += line.len();
            let spelled = line.get(..name.len()).filter(|_| line.get(name.len()) == Some(&b':'));
            if let Some(spelled) = spelled
                && spelled.eq_ignore_ascii_case(name.as_bytes())
            {
                return Some((spelled, at));
            }
        }
        None
    }
}

/// The reason that the status line of `head` gives, if that is a head of `status`. Servers of old end lines by a line feed alone,
/// which is let pass; a reason that went on behind it would carry their other lines past all that is done to headers.
pub(super) fn reason(head: &[u8], status: StatusCode) -> Option<&[u8]> {
    let line = head.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let (code, reason) = line.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(1..))?.split_at_checked(5)?;
    let is_code = code.starts_with(b" ") && code.ends_with(b" ") && code[1..4] == *status.as_str().as_bytes();
    is_code.then_some(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_the_spelling_of_their_lines_in_whatever_order_they_are_asked_for() {
        let head = b"GET /Host: HTTP/1.1\r\nHost: web\r\nX-A: x-B: c\r\nx-b: 1\r\nX-B: 2\r\n\r\n";
        let mut spelling = Spelling::of(head);
        for (name, spelled) in
            [("host", "Host"), ("x-a", "X-A"), ("x-b", "x-b"), ("x-b", "X-B"), ("host", "Host"), ("x", "x")]
        {
            assert_eq!(spelling.spelled(name), spelled.as_bytes());
        }
        assert_eq!(Spelling::of(b"").spelled("host"), b"host");
        assert_eq!(Spelling::of_lines(b"X-Sum: 7\r\n\r\n").spelled("x-sum"), b"X-Sum");
    }

    #[test]
    fn the_reason_is_that_of_the_status_line_and_of_no_other_status() {
        for (head, status, told) in [
            (&b"HTTP/1.1 200 Very fine\r\nX: y\r\n\r\n"[..], 200, Some(&b"Very fine"[..])),
            (b"HTTP/1.0 299 \r\n\r\n", 299, Some(b"")),
            (b"HTTP/1.1 200\r\n\r\n", 200, None),
            (b"HTTP/1.1 200 OK\r\n\r\n", 503, None),
            (b"HTTP/1.1 404 Not Found\nContent-Length: 2\n\r\n", 404, Some(b"Not Found")),
            (b"", 200, None),
        ] {
            assert_eq!(reason(head, StatusCode::from_u16(status).expect("a status")), told);
        }
    }
}
