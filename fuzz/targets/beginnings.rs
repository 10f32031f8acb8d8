//! How a connection begins: more bytes never change a judgement that was given.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The first byte says how the others are cut.
    if let Some((step, bytes)) = bytes.split_first() {
        proxy::fuzzing::judgements_stand(bytes, usize::from(*step));
    }
});
