//! Whatever decodes as an event, as an order's terms, as parameters or as a receipt encodes to the
//! same bytes; what is kept of the past may be anything.
#![no_main]

use borsh::BorshDeserialize;
use libfuzzer_sys::fuzz_target;
use muster_ledger::{Event, Params, Receipt, archive};
use muster_market::Terms;
use muster_types::codec;

fn canonical<T: BorshDeserialize + borsh::BorshSerialize>(bytes: &[u8]) {
    if let Ok(value) = codec::decode::<T>(bytes, bytes.len()) {
        assert_eq!(codec::encode(&value), bytes, "two encodings of one value");
    }
}

fuzz_target!(|bytes: &[u8]| {
    canonical::<Event>(bytes);
    canonical::<Terms>(bytes);
    canonical::<Params>(bytes);
    canonical::<Receipt>(bytes);
    if let Some((length, rest)) = bytes.split_first() {
        let (key, value) = rest.split_at(usize::from(*length).min(rest.len()));
        drop(archive::entries(key, value));
    }
});
