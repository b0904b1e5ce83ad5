//! Operations from peers.

use super::{
    super::{recode, store::Record},
    *,
};
use commonware_codec::Encode as _;
use commonware_storage::{
    mmr::Location,
    qmdb::any::ordered::{Operation, Update},
};
use muster_hostile::canonical;

#[test]
fn an_operation_has_one_encoding() {
    let (key, next_key) = (Digest::EMPTY, Digest::from([7; 32]));
    let value = Record::entry(b"key", b"a value");
    let samples = [
        Operation::Delete(key),
        Operation::Update(Update { key, value: value.clone(), next_key }),
        Operation::CommitFloor(Some(value), Location::new(300)),
        Operation::CommitFloor(None, Location::new(1)),
    ]
    .map(|operation| Line(operation).encode().to_vec());
    let taken = canonical(&samples, 40_000, recode::operation);
    assert!(taken > 500, "{taken}");
}
