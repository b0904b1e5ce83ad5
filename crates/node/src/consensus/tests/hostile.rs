//! Bytes from peers.

use super::{
    super::{
        PeerAddress,
        block::{Block, HEADER_BYTES, Header, preimage},
        committee::committee_hash,
        recode,
    },
    genesis, pay, payee,
    rules::child,
    validator,
};
use crate::light::verify_block;
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_cryptography::Digestible as _;
use muster_api::views::BlockView;
use muster_hostile::{Meter, bent, bent_text, canonical};
use muster_types::{Hash, codec};
use std::sync::Arc;

#[global_allocator]
static METER: Meter = Meter;

fn blocks() -> Vec<Block> {
    let mut last = child(&[]);
    last.next = Arc::new(vec![validator().account(), payee()]);
    last.header.validators = committee_hash(&last.next);
    vec![child(&[]), child(&[pay(0, 5), pay(1, 6)]), last]
}

#[test]
fn a_block_has_one_encoding_and_a_digest_of_its_own() {
    let blocks = blocks();
    let samples: Vec<Vec<u8>> = blocks.iter().map(|block| block.encode().to_vec()).collect();
    let taken = canonical(&samples, 20_000, |bytes| {
        let recoded = recode::block(bytes)?;
        let block = Block::decode(bytes::Bytes::copy_from_slice(bytes)).ok()?;
        assert_eq!(blocks.contains(&block), samples.iter().any(|sample| sample == bytes));
        let same = blocks.iter().find(|known| known.digest() == block.digest());
        assert!(same.is_none_or(|known| *known == block), "two blocks of one digest");
        Some(recoded)
    });
    assert!(taken > 500, "{taken}");
}

#[test]
fn a_header_is_what_a_preimage_begins_with() {
    let sample = codec::encode(&blocks()[0].header);
    let taken = canonical(&[sample], 10_000, |bytes| {
        let header = Header::of_preimage(bytes).ok().filter(|_| bytes.len() == HEADER_BYTES)?;
        Some(codec::encode(&header))
    });
    assert!(taken > 500, "{taken}");
}

#[test]
fn an_address_of_a_peer_is_read_or_refused() {
    let samples = ["192.0.2.7:8640", "[2001:db8::1]:8640", "node.example:8640"];
    let mut read = 0;
    bent_text(&samples, 20_000, |text| read += u32::from(text.parse::<PeerAddress>().is_ok()));
    assert!(read > 500, "{read}");
}

#[test]
fn what_a_light_client_is_given_proves_nothing_by_itself() {
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let block = &blocks()[1];
    let header = preimage(&block.header, &block.context);
    let view = |header: &[u8], certificate: &[u8]| BlockView {
        height: block.header.height,
        now: block.header.time,
        digest: super::super::digest_of(header),
        state_root: block.header.state_root,
        event_root: block.header.event_root,
        transactions: Vec::new(),
        events: Vec::new(),
        header: hex(header),
        certificate: Some(hex(certificate)),
    };
    // Epoch and view, the parent's view, the digest, who signed, no signature.
    let certificate = [&[0, 1, 0][..], &block.digest(), &[1, 1, 0]].concat();
    let (chain, validators) = (genesis().id(), genesis().validators);
    bent(&[header, certificate], 4_000, |bytes| {
        for view in [view(bytes, bytes), view(&preimage(&block.header, &block.context), bytes)] {
            assert!(verify_block(&chain, &validators, &view).is_err());
        }
    });
    bent_text(&[&hex(&preimage(&block.header, &block.context))], 4_000, |text| {
        let mut view = view(&preimage(&block.header, &block.context), &[]);
        view.header = text.to_owned();
        view.certificate = Some(text.to_owned());
        assert!(verify_block(&Hash::ZERO, &validators, &view).is_err());
        assert!(verify_block(&chain, &validators, &view).is_err());
    });
}
