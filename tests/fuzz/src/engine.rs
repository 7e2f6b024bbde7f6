//! The fuzzer around the target that `CHASEN_FUZZ_TARGET` names. Started by `cargo xtask fuzz`.
#![no_main]
#![allow(clippy::expect_used, reason = "a target reports by panicking")]

use std::sync::LazyLock;

use chasen_fuzz::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("CHASEN_FUZZ_TARGET").unwrap_or_default();
    chasen_fuzz::target(&name).expect("CHASEN_FUZZ_TARGET names a target")
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| (TARGET.run)(input));
