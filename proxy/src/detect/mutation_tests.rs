//! Seeded mutations of how connections begin: nothing panics, and more bytes never change a judgement that was given.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use super::properties::judgements_stand;
use super::sight::{Sight, Spoken, sight};
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
    for (number, bytes) in mutations(&["beginnings", "requests/accepted", "requests/refused"]).enumerate() {
        match judgements_stand(&bytes, 1 + number % 17) {
            Sight::Unclear => {}
            Sight::Clear(Spoken::Http1) => told[0] += 1,
            Sight::Clear(Spoken::Http2) => told[1] += 1,
            Sight::Clear(Spoken::Tls(_)) => told[2] += 1,
            Sight::Clear(Spoken::Other) => told[3] += 1,
        }
    }
    assert!(told.iter().all(|times| *times > 10), "HTTP/1, HTTP/2, TLS and others were told {told:?} times");
}
