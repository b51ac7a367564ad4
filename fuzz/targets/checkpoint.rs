//! Any bytes as a checkpoint: an error or a checkpoint, never a panic, a hang or a large allocation.
//!
//! `cargo +nightly fuzz run checkpoint` in the folder above.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = dimer::fuzz_checkpoint(bytes);
});
