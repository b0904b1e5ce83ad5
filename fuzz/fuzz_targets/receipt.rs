//! A receipt is read or refused, and its blocks prove nothing by themselves.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_api::receipt::{Receipt, check};
use muster_node::light::{Prover, Trust};
use muster_types::Hash;

fuzz_target!(|bytes: &[u8]| {
    let Ok(receipt) = Receipt::read(bytes) else { return };
    let _ = check(&receipt, |_| Ok(Hash::ZERO));
    let Ok(prover) = Prover::new(receipt.chain, &receipt.trail, Trust::own_word()) else { return };
    let _ = check(&receipt, |block| prover.prove(block).map_err(|error| error.to_string()));
});
