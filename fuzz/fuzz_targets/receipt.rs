//! A receipt is read or refused, and its blocks prove nothing by themselves.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_api::receipt::{Receipt, check};
use muster_node::light::verify_block;

fuzz_target!(|bytes: &[u8]| {
    let Ok(receipt) = serde_json::from_slice::<Receipt>(bytes) else { return };
    let _ = check(&receipt, |_| Ok(()));
    let _ = check(&receipt, |block| {
        verify_block(&receipt.chain, &receipt.validators, block).map_err(|error| error.to_string())
    });
});
