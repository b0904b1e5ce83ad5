//! Whatever decodes as a transaction encodes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_ledger::Tx;
use muster_types::codec;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tx) = Tx::decode(bytes) {
        assert_eq!(codec::encode(&tx), bytes, "two encodings of one transaction");
    }
});
