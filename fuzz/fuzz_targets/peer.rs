//! What nodes send to each other has one encoding.
//!
//! The first byte says what the rest is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_node::consensus::{Header, recode};
use muster_types::codec;

fn header(bytes: &[u8]) -> Option<Vec<u8>> {
    let header = Header::of_preimage(bytes).ok()?;
    // A preimage goes on behind the header.
    let rest = bytes.get(codec::encode(&header).len()..)?;
    Some([&codec::encode(&header), rest].concat())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let decoders = [recode::block, recode::operation, recode::trail, recode::gossip, header];
    if let Some(encoded) = decoders[usize::from(*kind) % decoders.len()](bytes) {
        assert_eq!(encoded, bytes, "two encodings of one value");
    }
});
