//! Bytes and texts from anybody.

use crate::*;
use borsh::{BorshDeserialize, BorshSerialize};
use muster_hostile::{Meter, bent, bent_text, canonical};
use std::{collections::BTreeMap, fmt::Display, str::FromStr};

#[global_allocator]
static METER: Meter = Meter;

/// Every shape that messages are made of.
#[derive(BorshSerialize, BorshDeserialize)]
struct Shapes {
    resources: Resources,
    wanted: Option<GpuRequest>,
    names: Vec<String>,
    files: BTreeMap<String, Hash>,
    hosts: Vec<HostId>,
    money: Result<Amount, Rate>,
    bytes: Vec<u8>,
    text: String,
    auth: Auth,
}

fn samples() -> Vec<Vec<u8>> {
    let key = SecretKey::from_seed([7; 32]);
    let host = HostId { provider: key.account(), index: 3 };
    let gpu = Gpu {
        vendor: "nvidia".into(),
        model: "h200".into(),
        memory_bytes: 141 << 30,
        interface: "sxm".into(),
        count: 8,
    };
    let signed = KeySignature { key: key.account(), signature: key.sign(b"text") };
    let shapes = |money, auth, wanted| Shapes {
        resources: Resources { cpu_milli: 1, gpus: vec![gpu.clone()], ..Resources::default() },
        wanted,
        names: vec!["a".into(), "beta".into()],
        files: BTreeMap::from([("a".into(), Hash::ZERO), ("b".into(), Hash([2; 32]))]),
        hosts: vec![host; 2],
        money,
        bytes: vec![1; 40],
        text: "some text".into(),
        auth,
    };
    let wanted = GpuRequest { count: 1, ..GpuRequest::default() };
    [
        shapes(Ok(Amount::MAX), Auth::Own(key.sign(b"1")), None),
        shapes(Err(Rate::MAX), Auth::Members(vec![signed; 3]), Some(wanted)),
    ]
    .map(|shapes| codec::encode(&shapes))
    .to_vec()
}

#[test]
fn every_shape_has_one_encoding_and_takes_no_more_memory_than_its_bytes_allow() {
    let decode = |bytes: &[u8]| codec::decode::<Shapes>(bytes, 4096).ok();
    let taken = canonical(&samples(), 60_000, |bytes| decode(bytes).map(|s| codec::encode(&s)));
    assert!(taken > 1_000, "{taken}");
}

#[test]
fn a_length_alone_makes_nobody_allocate() {
    let decode = |bytes: &[u8]| codec::decode::<Vec<Vec<Vec<Hash>>>>(bytes, 4096).ok();
    let nested = [vec![0xff; 3], vec![0], [0xff, 0xff, 0xff, 0].repeat(64)].concat();
    bent(&[nested, codec::encode(&vec![vec![vec![Hash::ZERO]]])], 20_000, |bytes| {
        let (_, peak) = muster_hostile::peak_during(|| decode(bytes));
        assert!(peak <= muster_hostile::allowance(bytes.len()), "{peak}: {bytes:?}");
    });
}

#[test]
fn a_text_that_is_read_says_what_is_written() {
    fn round<T: FromStr + Display + PartialEq>(text: &str) -> u32 {
        let Ok(value) = text.parse::<T>() else { return 0 };
        assert!(value.to_string().parse::<T>().is_ok_and(|again| again == value), "{text}");
        1
    }
    let id = OrderId::default().to_string();
    let mut read = [0; 4];
    bent_text(&["123.450000001", "0.37", "99999999999999999999999999999", &id], 40_000, |text| {
        read[0] += round::<Amount>(text);
        read[1] += round::<Rate>(text);
        read[2] += round::<Hash>(text);
        read[3] += round::<OrderId>(text);
    });
    assert!(read.iter().all(|count| *count > 20), "{read:?}");
}

#[test]
fn a_bent_proof_proves_nothing() {
    let leaves: Vec<Hash> = (0..11u8).map(|leaf| Hash::of_content(&[leaf])).collect();
    let root = merkle::root(&leaves);
    let good = (leaves[6], 6_u64, 11_u64, merkle::proof(&leaves, 6));
    let sample = codec::encode(&good);
    bent(&[sample], 20_000, |bytes| {
        let Ok(claim) = codec::decode::<(Hash, u64, u64, Vec<Hash>)>(bytes, 4096) else { return };
        let (leaf, index, count, proof) = &claim;
        let proven = merkle::verify(&root, leaf, *index, *count, proof);
        assert_eq!(proven, claim == good, "{claim:?}");
    });
}
