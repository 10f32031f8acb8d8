//! A stream of requests: one reading of it however it is cut, the same as hyper's, and the same where each goes on to.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The first byte says how the others are cut.
    if let Some((step, bytes)) = bytes.split_first() {
        proxy::fuzzing::requests_are_read_alike(bytes, usize::from(*step));
        proxy::fuzzing::requests_go_on_alike(bytes);
    }
});
