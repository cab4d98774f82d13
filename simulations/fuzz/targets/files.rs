//! Fuzzes the decoder `files` of `simulations::decoders`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    simulations::decoders::play("files", bytes);
});
