//! What a control plane, or the file of the last good config, says: any bytes are taken or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proxy::fuzzing::config_is_taken_or_refused(bytes));
