use super::*;
use muster_hostile::{Meter, bent, canonical};
use muster_ledger::job::{TaskOutput, TaskRef};
use muster_types::SecretKey;

#[global_allocator]
static METER: Meter = Meter;

const A: LeaseId = LeaseId(Hash([1; 32]));
const B: LeaseId = LeaseId(Hash([2; 32]));
const TENANT: AccountId = AccountId(Hash([7; 32]));
const OTHER: AccountId = AccountId(Hash([8; 32]));

fn owner() -> Owner {
    Owner { chain: Hash([9; 32]), account: SecretKey::from_seed([1; 32]).account() }
}

fn blob(number: u8) -> Hash {
    Hash([number; 32])
}

fn result(lease: LeaseId, index: u64, output: Hash) -> ResultEntry {
    let task = TaskRef {
        job: JobId(Hash([5; 32])),
        index,
        module: blob(100),
        input: blob(101),
        data: Hash::ZERO,
        fuel_limit: 10,
        memory_limit_bytes: 10,
    };
    let output = TaskOutput { output, fuel: index };
    let claim = Claim::sign(&owner().chain, lease, task, output, &SecretKey::from_seed([1; 32]));
    ResultEntry { claim, output_bytes: 3 }
}

fn setup() -> Setup {
    Setup {
        job: JobId(Hash([5; 32])),
        kind: JobKind::Batch,
        module: blob(100),
        data: BTreeMap::from([("model".to_owned(), blob(102))]),
        limits: TaskLimits { fuel: 1, memory_bytes: 2, output_bytes: 3, wall_ms: 4 },
    }
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("journal.redb")
    }

    fn open(&self) -> Journal {
        Journal::open(&self.path(), owner()).unwrap()
    }

    /// The file as a `SIGKILL` would leave it now.
    fn killed(&self) -> Journal {
        let copy = self.dir.path().join("killed.redb");
        std::fs::copy(self.path(), &copy).unwrap();
        Journal::open(&copy, owner()).unwrap()
    }
}

#[test]
fn what_was_synced_survives_a_kill() {
    let place = Place::new();
    let journal = place.open();
    journal.hold(A, TENANT, &[blob(100)]).unwrap();
    journal.set_setup(A, setup()).unwrap();
    for index in [300, 2, 1] {
        journal.record(&result(A, index, blob(1))).unwrap();
    }
    journal.sync().unwrap();
    let committed = Committed { root: blob(3), count: 3, fuel: 9 };
    journal.set_committed(A, committed).unwrap();
    // Written, but not durable: it may be there or not, the rest must be.
    journal.record(&result(A, 4, blob(1))).unwrap();

    let after = place.killed();
    let entry = LeaseEntry { tenant: TENANT, setup: Some(setup()), committed: Some(committed) };
    assert_eq!(after.lease(A).unwrap(), Some(entry));
    assert_eq!(after.leases().unwrap(), [A]);
    let indices: Vec<u64> =
        after.results(A).unwrap().iter().map(|entry| entry.claim.task.index).collect();
    assert_eq!(indices[..2], [1, 2]);
    assert_eq!(indices.last(), Some(&300));
    assert_eq!(after.result(A, 2).unwrap(), Some(result(A, 2, blob(1))));
    assert_eq!(after.result(A, 3).unwrap(), None);
    assert_eq!(after.result(B, 2).unwrap(), None);
}

#[test]
fn a_clean_end_keeps_everything_and_a_second_opening_is_refused_meanwhile() {
    let place = Place::new();
    let journal = place.open();
    assert!(matches!(Journal::open(&place.path(), owner()), Err(JournalError::Open { .. })));
    journal.hold(A, TENANT, &[]).unwrap();
    journal.record(&result(A, 0, blob(1))).unwrap();
    journal.sync().unwrap();
    drop(journal);
    assert_eq!(place.open().results(A).unwrap(), [result(A, 0, blob(1))]);
}

#[test]
fn another_account_or_chain_does_not_get_the_file() {
    let place = Place::new();
    drop(place.open());
    for other in [Owner { chain: Hash::ZERO, ..owner() }, Owner { account: OTHER, ..owner() }] {
        let refused = Journal::open(&place.path(), other);
        assert!(matches!(refused, Err(JournalError::Foreign { .. })));
    }
    drop(place.open());
}

#[test]
fn the_last_result_of_an_index_counts() {
    let place = Place::new();
    let journal = place.open();
    journal.hold(A, TENANT, &[]).unwrap();
    journal.record(&result(A, 0, blob(1))).unwrap();
    journal.record(&result(A, 0, blob(2))).unwrap();
    assert_eq!(journal.results(A).unwrap(), [result(A, 0, blob(2))]);
}

#[test]
fn a_blob_is_let_go_when_the_last_lease_that_keeps_it_lets_go() {
    let place = Place::new();
    let journal = place.open();
    // Blob 1 is an input of both; 2 is an input and an output of A; 3 an output of both.
    journal.hold(A, TENANT, &[blob(1), blob(2)]).unwrap();
    journal.hold(B, TENANT, &[blob(1)]).unwrap();
    journal.record(&result(A, 0, blob(2))).unwrap();
    journal.record(&result(A, 1, blob(3))).unwrap();
    journal.record(&result(B, 1, blob(3))).unwrap();

    assert_eq!(journal.close(A).unwrap(), Released::default(), "B still keeps 1, 2 is an output");
    assert_eq!(journal.close(A).unwrap(), Released::default(), "again");
    let released = journal.close(B).unwrap();
    assert_eq!(released, Released { unpin: vec![blob(1)], revoke: vec![] });
    let released = journal.forget(A).unwrap();
    assert_eq!(released, Released { unpin: vec![blob(2)], revoke: vec![blob(2)] });
    assert_eq!(journal.results(A).unwrap(), []);
    assert_eq!(journal.lease(A).unwrap(), None);
    let released = journal.forget(B).unwrap();
    assert_eq!(released, Released { unpin: vec![blob(3)], revoke: vec![blob(3)] });
    assert_eq!(journal.forget(B).unwrap(), Released::default());
}

#[test]
fn an_output_that_another_tenant_shares_is_revoked_and_stays() {
    let place = Place::new();
    let journal = place.open();
    journal.hold(A, TENANT, &[]).unwrap();
    journal.hold(B, OTHER, &[]).unwrap();
    journal.record(&result(A, 0, blob(3))).unwrap();
    journal.record(&result(B, 0, blob(3))).unwrap();
    let released = journal.forget(A).unwrap();
    assert_eq!(released, Released { unpin: vec![], revoke: vec![blob(3)] });
}

#[test]
fn entries_have_one_encoding_and_damaged_ones_are_refused() {
    let committed = Some(Committed { root: blob(3), count: 2, fuel: 1 });
    let leases = [
        LeaseEntry { tenant: TENANT, setup: None, committed: None },
        LeaseEntry { tenant: TENANT, setup: Some(setup()), committed },
    ]
    .map(|entry| codec::encode(&entry));
    let results = [codec::encode(&result(A, 3, blob(4)))];
    let lease = |bytes: &[u8]| codec::decode::<LeaseEntry>(bytes, MAX_ENTRY_BYTES).ok();
    let taken = canonical(&leases, 10_000, |bytes| lease(bytes).map(|one| codec::encode(&one)));
    assert!(taken > 500, "{taken}");
    let task = |bytes: &[u8]| codec::decode::<ResultEntry>(bytes, MAX_ENTRY_BYTES).ok();
    let taken = canonical(&results, 10_000, |bytes| task(bytes).map(|one| codec::encode(&one)));
    assert!(taken > 500, "{taken}");
    bent(&[[&[1; 32][..], &[2; 32]].concat()], 2_000, |key| {
        assert_eq!(second(key).is_ok(), key.len() == 64, "{key:?}");
    });
}
