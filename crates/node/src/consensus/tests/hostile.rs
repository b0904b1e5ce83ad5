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
use crate::light::{Prover, Trust};
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_cryptography::Digestible as _;
use muster_api::receipt::{BlockProof, Trail};
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
    let proof = |header: &[u8], certificate: &[u8]| BlockProof {
        height: block.header.height,
        epoch: block.header.epoch,
        now: block.header.time,
        digest: super::super::digest_of(header),
        header: hex(header),
        descendants: Vec::new(),
        certificate: hex(certificate),
        count: 0,
        events: Vec::new(),
    };
    // Epoch and view, the parent's view, the digest, who signed, no signature.
    let certificate = [&[0, 1, 0][..], &block.digest(), &[1, 1, 0]].concat();
    let trail = Trail { epoch: 0, validators: genesis().validators, ends: Vec::new() };
    let prover = |chain| Prover::new(chain, &trail, Trust::own_word()).unwrap();
    let (ours, other) = (prover(genesis().id()), prover(Hash::ZERO));
    let real = preimage(&block.header, &block.context);
    bent(&[header, certificate], 4_000, |bytes| {
        for proof in [proof(bytes, bytes), proof(&real, bytes)] {
            assert!(ours.prove(&proof).is_err());
        }
    });
    bent_text(&[&hex(&real)], 4_000, |text| {
        let mut bent = proof(&real, &[]);
        (bent.header, bent.certificate) = (text.to_owned(), text.to_owned());
        bent.descendants.push(text.to_owned());
        assert!(ours.prove(&bent).is_err() && other.prove(&bent).is_err());
    });
}
