//! A module is accepted or refused with a reason.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_sandbox::{ModuleLimits, check_module};

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = check_module(bytes, &ModuleLimits::default()) {
        assert!(!error.to_string().is_empty());
    }
});
