//! Values of headers that are read one by one: a deadline, a trace, options of a connection, an upgrade, cookies, an authority.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proxy::fuzzing::headers_are_read(bytes));
