//! Fuzzes the decoder `rights` of `simulations::decoders`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    simulations::decoders::play("rights", bytes);
});
