#![no_main]

#[expect(dead_code, reason = "this target uses one check of them")]
#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::policies::policy(data));
