//! Sessions on the wire and in the log.

use mesh::{Session, SessionToken};

use crate::field::FieldError;
use crate::policy::{millis, optional_span};
use crate::policy_rules::{COOKIE_MS, session_name_fault};
use crate::v1;

impl TryFrom<&v1::Session> for Session {
    type Error = FieldError;

    fn try_from(message: &v1::Session) -> Result<Self, FieldError> {
        let name = message.name.clone();
        if let Some(rule) = session_name_fault(&name, message.header) {
            return Err(FieldError::wrong("name", format_args!("{name:?}"), rule));
        }
        let lives = optional_span(message.lives_ms, "lives_ms", &COOKIE_MS)?;
        let token = match (message.header, lives) {
            (false, lives) => SessionToken::Cookie(lives),
            (true, None) => SessionToken::Header,
            (true, Some(_)) => {
                return Err(FieldError::wrong("lives_ms", message.lives_ms, "must be 0 for a header"));
            }
        };
        Ok(Self { name, token })
    }
}

impl From<&Session> for v1::Session {
    fn from(session: &Session) -> Self {
        let (header, lives) = match session.token {
            SessionToken::Cookie(lives) => (false, lives),
            SessionToken::Header => (true, None),
        };
        Self { name: session.name.clone(), header, lives_ms: lives.map_or(0, millis) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_session_survives_the_wire_and_one_without_meaning_is_refused() {
        let day = Some(Duration::from_secs(86_400));
        for token in [SessionToken::Cookie(None), SessionToken::Cookie(day), SessionToken::Header] {
            let session = Session { name: "cart".to_owned(), token };
            assert_eq!(Session::try_from(&v1::Session::from(&session)).unwrap(), session);
        }
        for (name, header, lives_ms, told) in [
            ("", false, 0, "name = \"\": must be"),
            ("a b", false, 0, "name = \"a b\": must be"),
            ("host", true, 0, "name = \"host\": is the proxy's own"),
            ("cart", true, 1_000, "lives_ms = 1000: must be 0"),
            ("cart", false, 1, "lives_ms = 1: must be 1000"),
        ] {
            let message = v1::Session { name: name.to_owned(), header, lives_ms };
            let error = Session::try_from(&message).unwrap_err().to_string();
            assert!(error.starts_with(told), "{error}");
        }
    }
}
