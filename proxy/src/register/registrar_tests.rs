//! The registrar as tables: what happens, when, and what it does about it.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use super::*;

const LEASE: Duration = Duration::from_secs(15);
const IN: Written = Written::Done { lease: LEASE };
const OUT: Written = Written::Done { lease: Duration::ZERO };

fn at(ms: u64) -> Timestamp {
    Timestamp(ms)
}

fn probed(answers: bool) -> Event {
    Event::Probed { answers }
}

fn wrote(written: Written) -> Event {
    Event::Wrote { place: 0, written }
}

fn register(sequence: u64) -> Call {
    Call::Register { place: 0, sequence }
}

fn leave(sequence: u64) -> Call {
    Call::Leave { place: 0, sequence }
}

fn renew() -> Call {
    Call::Renew { places: vec![0] }
}

/// Plays rows of (milliseconds, event, calls); the registrar is returned as it stands after them.
fn played(mut registrar: Registrar, rows: Vec<(u64, Event, Vec<Call>)>) -> Registrar {
    for (number, (ms, event, expected)) in rows.into_iter().enumerate() {
        let shown = format!("row {number}: {event:?} at {ms} ms");
        assert_eq!(registrar.event(event, at(ms), 0.0), expected, "{shown}");
    }
    registrar
}

fn out() -> Registrar {
    Registrar::new(1, at(0))
}

/// In since 0 ms under sequence 1; the next probe is due at 2,000 ms.
fn joined() -> Registrar {
    let rows = vec![
        (0, Event::Tick, vec![Call::Probe]),
        (0, probed(true), vec![register(1)]),
        (0, wrote(IN), vec![]),
    ];
    played(out(), rows)
}

#[test]
fn it_registers_only_once_the_applications_port_answers() {
    let registrar = played(
        out(),
        vec![
            (0, Event::Tick, vec![Call::Probe]),
            (1, Event::Tick, vec![]),
            (5, probed(false), vec![]),
            (255, Event::Tick, vec![Call::Probe]),
            (260, probed(true), vec![register(1)]),
        ],
    );
    assert!(!registrar.is_in());
    assert!(played(registrar, vec![(270, wrote(IN), vec![])]).is_in());
}

#[test]
fn it_renews_at_a_third_of_the_lease_and_again_after_each_success() {
    played(
        joined(),
        vec![
            (4_999, Event::Tick, vec![Call::Probe]),
            (4_999, probed(true), vec![]),
            (5_000, Event::Tick, vec![renew()]),
            (5_001, Event::Tick, vec![]),
            (5_010, Event::Renewed { lost: Some(vec![]) }, vec![]),
            (6_999, Event::Tick, vec![Call::Probe]),
            (6_999, probed(true), vec![]),
            (10_010, Event::Tick, vec![Call::Probe, renew()]),
        ],
    );
}

#[test]
fn a_renewal_that_nobody_answered_is_tried_again_soon() {
    let registrar = played(
        joined(),
        vec![
            (5_000, Event::Tick, vec![Call::Probe, renew()]),
            (5_000, probed(true), vec![]),
            (5_500, Event::Renewed { lost: None }, vec![]),
        ],
    );
    assert_eq!(registrar.due(), Some(at(5_550)));
    played(registrar, vec![(5_550, Event::Tick, vec![renew()])]);
}

#[test]
fn a_lost_lease_is_registered_again_at_once_under_a_new_sequence() {
    played(
        joined(),
        vec![
            (5_000, Event::Tick, vec![Call::Probe, renew()]),
            (5_010, Event::Renewed { lost: Some(vec![0]) }, vec![register(2)]),
        ],
    );
}

#[test]
fn a_write_of_unknown_outcome_is_tried_again_under_the_same_sequence() {
    played(
        out(),
        vec![
            (0, Event::Tick, vec![Call::Probe]),
            (0, probed(true), vec![register(1)]),
            (10, wrote(Written::Unknown), vec![]),
            (59, Event::Tick, vec![]),
            (60, Event::Tick, vec![register(1)]),
            (70, wrote(Written::Unknown), vec![]),
            (80, Event::Reachable, vec![register(1)]),
        ],
    );
}

#[test]
fn a_refused_registration_is_tried_again_later_under_a_new_sequence() {
    played(
        out(),
        vec![
            (0, Event::Tick, vec![Call::Probe]),
            (0, probed(true), vec![register(1)]),
            (10, wrote(Written::Refused), vec![]),
            (5_009, Event::Tick, vec![Call::Probe]),
            (5_009, probed(true), vec![]),
            (5_010, Event::Tick, vec![register(2)]),
        ],
    );
}

#[test]
fn it_leaves_after_three_failed_probes_in_a_row_and_comes_back_when_the_port_answers() {
    played(
        joined(),
        vec![
            (2_000, Event::Tick, vec![Call::Probe]),
            (2_000, probed(false), vec![]),
            (2_250, Event::Tick, vec![Call::Probe]),
            (2_250, probed(true), vec![]),
            (4_250, Event::Tick, vec![Call::Probe]),
            (4_250, probed(false), vec![]),
            (4_500, Event::Tick, vec![Call::Probe]),
            (4_500, probed(false), vec![]),
            (4_750, Event::Tick, vec![Call::Probe]),
            (4_750, probed(false), vec![leave(2)]),
            (4_760, wrote(OUT), vec![]),
            (5_000, Event::Tick, vec![Call::Probe]),
            (5_000, probed(true), vec![register(3)]),
        ],
    );
}

#[test]
fn a_drain_leaves_and_stays_out() {
    let registrar = played(joined(), vec![(100, Event::Drain, vec![leave(2)])]);
    assert!(!registrar.is_out());
    let registrar = played(registrar, vec![(110, wrote(OUT), vec![]), (9_000, Event::Tick, vec![])]);
    assert!(registrar.is_out());
    assert_eq!(registrar.due(), None);
}

#[test]
fn a_drain_while_a_registration_is_in_doubt_leaves_all_the_same() {
    let registrar = played(
        out(),
        vec![
            (0, Event::Tick, vec![Call::Probe]),
            (0, probed(true), vec![register(1)]),
            (10, Event::Drain, vec![]),
            (20, wrote(Written::Unknown), vec![leave(2)]),
            (30, wrote(Written::Unknown), vec![]),
            (130, Event::Tick, vec![leave(2)]),
            (140, wrote(OUT), vec![]),
        ],
    );
    assert!(registrar.is_out());
}

#[test]
fn a_drain_before_the_application_ever_answered_has_nothing_to_leave() {
    let registrar = played(
        out(),
        vec![(0, Event::Tick, vec![Call::Probe]), (5, Event::Drain, vec![]), (6, probed(true), vec![])],
    );
    assert!(registrar.is_out());
}

#[test]
fn no_more_than_half_of_what_the_control_plane_remembers_is_in_flight() {
    let mut registrar = Registrar::new(100, at(0));
    registrar.event(Event::Tick, at(0), 0.0);
    let calls = registrar.event(probed(true), at(0), 0.0);
    assert_eq!(calls.len(), WRITES_MAX);
    assert_eq!(registrar.due(), Some(at(2_000)), "the rest waits for answers, not for the clock");
    let next = registrar.event(wrote(IN), at(1), 0.0);
    assert_eq!(next, [Call::Register { place: WRITES_MAX, sequence: 33 }]);
}

#[test]
fn an_answer_to_nothing_changes_nothing() {
    let mut registrar = joined();
    for event in
        [wrote(IN), Event::Wrote { place: 9, written: IN }, Event::Renewed { lost: Some(vec![0, 9]) }]
    {
        assert!(registrar.event(event, at(1), 0.0).is_empty());
    }
    assert!(registrar.is_in());
}
