//! What tenants and providers say to each other has one encoding.
//!
//! The first byte says what the rest is.
#![no_main]

use borsh::{BorshDeserialize, BorshSerialize};
use libfuzzer_sys::fuzz_target;
use muster_api::provider::{MAX_MESSAGE_BYTES, Request, Response};
use muster_fabric::{PeerAddr, Refusal};
use muster_types::codec;

fn recode<T: BorshDeserialize + BorshSerialize>(bytes: &[u8]) {
    if let Ok(value) = codec::decode::<T>(bytes, MAX_MESSAGE_BYTES) {
        assert_eq!(codec::encode(&value), bytes, "two encodings of one value");
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 5 {
        0 => recode::<Request>(bytes),
        1 => recode::<Response>(bytes),
        2 => recode::<Refusal>(bytes),
        3 => recode::<PeerAddr>(bytes),
        _ => {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            if let Ok(addr) = text.parse::<PeerAddr>() {
                assert_eq!(addr.to_string().parse(), Ok(addr));
            }
        }
    }
});
