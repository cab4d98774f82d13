//! Fuzzes the decoder `pack` of `simulations::decoders`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    simulations::decoders::play("pack", bytes);
});
