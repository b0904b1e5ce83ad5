use super::*;
use crate::schedule::{Cause, Stop};
use muster_api::provider::TaskLimits;
use muster_hostile::{Meter, canonical};
use muster_ledger::{Action, job::JobKind};
use muster_types::{Amount, Envelope, EscrowId, LeaseId, Millis, SecretKey};
use std::collections::BTreeMap;

#[global_allocator]
static METER: Meter = Meter;

fn start() -> Start {
    Start {
        tenant: SecretKey::from_seed([1; 32]).account(),
        chain: Hash([2; 32]),
        height: 3,
        deadline_ms: 4,
        started_ms: 5,
        quote: "{}".to_owned(),
        plan: Plan {
            name: "test".to_owned(),
            kind: JobKind::Batch,
            module: Hash([6; 32]),
            data: BTreeMap::new(),
            inputs: vec![Hash([7; 32])],
            tasks: 1,
            segment: 1,
            limits: TaskLimits { fuel: 1, memory_bytes: 2, output_bytes: 3, wall_ms: 4 },
            retries: 2,
            sample_bps: 0,
            terms: muster_market::Terms::default(),
            budget: Amount::from_units(1),
            deadline_ms: 9,
            salt: Hash([8; 32]),
            seed: Hash([9; 32]),
            output: "/out".to_owned(),
        },
    }
}

fn tx(nonce: u64) -> Tx {
    let key = SecretKey::from_seed([1; 32]);
    let envelope = Envelope {
        chain: Hash::ZERO,
        signer: key.account(),
        nonce,
        max_fee: Amount::ZERO,
        tip: Amount::ZERO,
        expires: Millis(1),
        action: Action::EscrowClose { escrow: EscrowId::default() },
    };
    envelope.sign(&key)
}

#[test]
fn whatever_was_written_is_there_after_every_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Journal::open(dir.path()).unwrap();
    let lease = LeaseId(Hash([5; 32]));
    let events = [
        Event::Started,
        Event::Prepared { lease },
        Event::Gone { lease, cause: Cause::Silent("gone".to_owned()) },
        Event::Stop { cause: Stop::Cancelled },
    ];
    {
        let journal = open();
        assert_eq!(journal.start().unwrap(), None);
        assert_eq!(journal.end().unwrap(), None);
        assert_eq!(journal.log().unwrap(), []);
        assert_eq!(journal.tx("escrow/open").unwrap(), None);
    }
    open().set_start(&start()).unwrap();
    assert_eq!(open().start().unwrap(), Some(start()));
    open().set_tx("escrow/open", &tx(1)).unwrap();
    assert_eq!(open().tx("escrow/open").unwrap(), Some(tx(1)));
    open().set_tx("escrow/open", &tx(2)).unwrap();
    assert_eq!(open().tx("escrow/open").unwrap(), Some(tx(2)), "the newest counts");
    for (written, event) in events.iter().enumerate() {
        open().append(event).unwrap();
        assert_eq!(open().log().unwrap(), events[..=written]);
    }
    open().set_end(&"report".to_owned()).unwrap();
    assert_eq!(open().end().unwrap(), Some("report".to_owned()));
}

#[test]
fn steps_are_found_by_the_start_of_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    for (number, step) in ["a", "order/0", "order/1", "order/10", "orders", "z"].iter().enumerate()
    {
        journal.set_tx(step, &tx(number as u64)).unwrap();
    }
    let found: Vec<String> =
        journal.txs("order/").unwrap().into_iter().map(|(step, _)| step).collect();
    assert_eq!(found, ["order/0", "order/1", "order/10"]);
}

#[test]
fn a_second_conductor_is_refused_while_the_first_has_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let first = Journal::open(dir.path()).unwrap();
    assert!(matches!(Journal::open(dir.path()), Err(JobError::Locked { .. })));
    drop(first);
    Journal::open(dir.path()).unwrap();
}

#[test]
fn a_file_that_is_no_journal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("journal.redb"), "something else").unwrap();
    assert!(matches!(Journal::open(dir.path()), Err(JobError::Journal { .. })));
}

#[test]
fn entries_have_one_encoding_and_damaged_ones_are_refused() {
    let decode = |bytes: &[u8]| codec::decode::<Start>(bytes, MAX_ENTRY_BYTES).ok();
    let taken = canonical(&[codec::encode(&start())], 10_000, |bytes| {
        decode(bytes).map(|start| codec::encode(&start))
    });
    assert!(taken > 500, "{taken}");
    let lease = LeaseId(Hash([5; 32]));
    let events = [
        Event::Started,
        Event::Prepared { lease },
        Event::Gone { lease, cause: Cause::Silent("gone".to_owned()) },
        Event::Stop { cause: Stop::Cancelled },
    ]
    .map(|event| codec::encode(&event));
    let decode = |bytes: &[u8]| codec::decode::<Event>(bytes, MAX_ENTRY_BYTES).ok();
    let taken =
        canonical(&events, 10_000, |bytes| decode(bytes).map(|event| codec::encode(&event)));
    assert!(taken > 500, "{taken}");
    let taken = canonical(&[codec::encode(&tx(1))], 5_000, |bytes| {
        codec::decode::<Tx>(bytes, MAX_ENTRY_BYTES).ok().map(|tx| codec::encode(&tx))
    });
    assert!(taken > 500, "{taken}");
}
