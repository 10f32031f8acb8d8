//! The corpus and seeded mutations of it keep the properties, and each file gets its verdict.

use super::properties::{
    End, answers_are_read_alike, answers_go_back_alike, ours, requests_are_read_alike, requests_go_on_alike,
};
use crate::mutations::{files, mutations};

#[test]
fn every_request_of_the_corpus_gets_its_verdict() {
    for (folder, is_accepted) in [("requests/accepted", true), ("requests/refused", false)] {
        for (name, bytes) in files(folder) {
            let (seen, end) = ours(&bytes, bytes.len());
            let expected = if is_accepted { End::Whole } else { End::Refused };
            assert_eq!(end, expected, "{folder}/{name}: {seen:?}");
            for step in [1, 2, 3, 5, 64] {
                assert_eq!(ours(&bytes, step), (seen.clone(), end), "{name} cut every {step} bytes");
            }
        }
    }
}

#[test]
fn mutated_requests_are_read_the_same_however_they_are_cut_and_as_hyper_reads_them() {
    let all = mutations(&["requests/accepted", "requests/refused"]);
    let accepted: usize =
        (0..).zip(all).map(|(number, bytes)| requests_are_read_alike(&bytes, 1 + number % 17).min(1)).sum();
    assert!(accepted > 50, "{accepted} mutations held a request");
}

#[test]
fn mutated_answers_are_read_the_same_however_they_are_cut() {
    for (number, bytes) in mutations(&["answers"]).enumerate() {
        answers_are_read_alike(&bytes, 1 + number % 13);
    }
}

#[test]
fn mutated_requests_and_answers_go_on_as_they_were_read() {
    mutations(&["requests/accepted"]).for_each(|bytes| requests_go_on_alike(&bytes));
    mutations(&["answers"]).for_each(|bytes| answers_go_back_alike(&bytes));
}

/// Once such a request went on as one of HTTP/1.1 that named no host either, which every server refuses.
#[test]
fn a_request_of_http_1_0_without_a_host_goes_on_with_one() {
    requests_go_on_alike(b"GET / HTTP/1.0\r\n\r\n");
}
