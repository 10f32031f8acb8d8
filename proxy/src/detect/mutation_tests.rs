//! Seeded mutations of how connections begin: nothing panics, and more bytes never change a judgement that was given.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use super::sight::{SIGHT_BYTES_MAX, Sight, Spoken, sight};
use crate::mutations::{files, mutations};

#[test]
fn every_beginning_of_the_corpus_is_told_for_what_it_is() {
    for (name, bytes) in files("beginnings") {
        let Sight::Clear(spoken) = sight(&bytes) else { panic!("{name} stays unclear") };
        let is_as_named = match name.split('-').next() {
            Some("tls") => matches!(spoken, Spoken::Tls(Some(_))),
            Some("http2") => spoken == Spoken::Http2,
            _ => spoken == Spoken::Other,
        };
        assert!(is_as_named, "{name} is {spoken:?}");
    }
}

#[test]
fn mutated_beginnings_get_one_judgement_however_they_are_cut() {
    let mut told = [0; 4];
    for (number, mut bytes) in mutations(&["beginnings", "requests/accepted", "requests/refused"]).enumerate()
    {
        bytes.truncate(SIGHT_BYTES_MAX);
        let whole = sight(&bytes);
        for length in (0..bytes.len()).step_by(1 + number % 17) {
            let cut = sight(&bytes[..length]);
            assert!(
                cut == Sight::Unclear || cut == whole,
                "mutation {number}: {cut:?} after {length} bytes became {whole:?}: {:?}",
                String::from_utf8_lossy(&bytes)
            );
        }
        match whole {
            Sight::Unclear => {}
            Sight::Clear(Spoken::Http1) => told[0] += 1,
            Sight::Clear(Spoken::Http2) => told[1] += 1,
            Sight::Clear(Spoken::Tls(_)) => told[2] += 1,
            Sight::Clear(Spoken::Other) => told[3] += 1,
        }
    }
    assert!(told.iter().all(|times| *times > 10), "HTTP/1, HTTP/2, TLS and others were told {told:?} times");
}
