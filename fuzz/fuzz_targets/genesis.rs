//! A genesis that passes its check begins a chain; no other does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_ledger::Genesis;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(genesis) = serde_json::from_slice::<Genesis>(bytes) {
        assert_eq!(genesis.check().is_ok(), genesis.changes().is_ok());
    }
});
