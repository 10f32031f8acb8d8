//! An answer: one reading of it however it is cut, and the same where it goes back to.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The first byte says how the others are cut.
    if let Some((step, bytes)) = bytes.split_first() {
        proxy::fuzzing::answers_are_read_alike(bytes, usize::from(*step));
        proxy::fuzzing::answers_go_back_alike(bytes);
    }
});
