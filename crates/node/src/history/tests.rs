use super::*;
use muster_ledger::{
    Action, BlockBuilder, BlockContext, Genesis, MemoryState, Params,
    event::Subject,
    genesis::{Balance, EPOCH_BLOCKS, PROTOCOL},
    stake::Views,
    view,
};
use muster_types::{AccountId, Asset, Envelope, EscrowId, SecretKey};
use tempfile::TempDir;

fn hash(byte: u8) -> Hash {
    Hash([byte; 32])
}

fn account(byte: u8) -> AccountId {
    AccountId(hash(byte))
}

fn paid(from: u8, to: u8) -> Event {
    let amount = Amount::from_nanos(1);
    Event::Transferred { from: account(from), to: account(to), asset: Asset::Usd, amount }
}

/// A block with one transaction of these events, and these at its end.
fn record(height: u64, of_tx: Vec<Event>, end_events: Vec<Event>) -> BlockRecord {
    BlockRecord {
        height,
        now: Millis(height * 10),
        digest: Hash::of_content(&height.to_le_bytes()),
        state_root: Hash::ZERO,
        event_root: Hash::ZERO,
        header: vec![1, 2],
        transactions: vec![
            TxRecord {
                id: TxId(Hash::of_content(&height.to_be_bytes())),
                fee: Amount::from_nanos(5),
                events: of_tx,
            },
            TxRecord { id: TxId(hash(9)), fee: Amount::ZERO, events: vec![] },
        ],
        end_events,
    }
}

fn open(dir: &TempDir) -> History {
    History::open(&dir.path().join("history.redb")).unwrap()
}

#[test]
fn blocks_are_found_after_a_reopen_and_writing_twice_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let history = open(&dir);
    let three = record(3, vec![paid(1, 2), paid(2, 1)], vec![]);
    let five = record(5, vec![paid(1, 3)], vec![paid(4, 5), paid(5, 4)]);
    for block in [&three, &five, &five] {
        history.keep(block, &[]).unwrap();
    }
    drop(history);
    let history = open(&dir);
    assert_eq!(history.block(5).unwrap(), Some(five.clone()));
    assert_eq!(history.block(4).unwrap(), None);
    assert_eq!(history.next_block(0, 9).unwrap(), Some(three.clone()));
    assert_eq!(history.next_block(4, 9).unwrap(), Some(five.clone()));
    assert_eq!(history.next_block(4, 5).unwrap(), None);
    let id = three.transactions[0].id;
    assert_eq!(history.transaction(&id).unwrap(), Some((three, 0)));
    assert_eq!(history.transaction(&TxId(hash(9))).unwrap(), Some((five, 1)));
    assert_eq!(history.transaction(&TxId(Hash::ZERO)).unwrap(), None);
}

#[test]
fn blocks_without_content_are_not_kept() {
    let dir = TempDir::new().unwrap();
    let history = open(&dir);
    let empty = BlockRecord { transactions: vec![], ..record(1, vec![], vec![]) };
    history.keep(&empty, &[]).unwrap();
    assert_eq!(history.block(1).unwrap(), None);
}

#[test]
fn events_are_found_from_what_they_concern_in_order_and_page_by_page() {
    let dir = TempDir::new().unwrap();
    let history = open(&dir);
    // (height, events of its transaction, events of its end)
    let blocks = [
        record(1, vec![paid(1, 2)], vec![paid(3, 1)]),
        record(255, vec![paid(1, 1), paid(2, 3)], vec![]),
        record(256, vec![], vec![paid(1, 4), paid(4, 1), paid(2, 4)]),
    ];
    for block in blocks.iter().chain(&blocks) {
        history.keep(block, &[]).unwrap();
    }
    let one = Subject::Account(account(1));
    let all = [(1, 0), (1, 1), (255, 0), (256, 0), (256, 1)];
    let places = |found: &[Placed]| found.iter().map(|found| found.place).collect::<Vec<_>>();
    let found = history.events_of(&one, None, 256, 9).unwrap();
    assert_eq!(places(&found), all);
    assert_eq!((found[3].now, &found[3].event), (Millis(2_560), &paid(1, 4)));
    for limit in 1..=all.len() {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = history.events_of(&one, after, 256, limit).unwrap();
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(last.place);
            seen.extend(places(&page));
        }
        assert_eq!(seen, all, "{limit} at a time");
    }
    assert_eq!(places(&history.events_of(&one, None, 255, 9).unwrap()), all[..3]);
    assert_eq!(history.events_of(&one, Some((300, 0)), 256, 9).unwrap(), []);
    let nobody = [Subject::Provider(account(1)), Subject::Account(account(7))];
    for subject in nobody {
        assert_eq!(history.events_of(&subject, None, 256, 9).unwrap(), []);
    }
}

#[test]
fn records_that_left_the_state_are_read_as_from_a_state() {
    let dir = TempDir::new().unwrap();
    let key = SecretKey::from_seed([1; 32]);
    let me = key.account();
    let balance = Balance { usd: Amount::from_units(9), ..Balance::default() };
    let genesis = Genesis {
        name: "test".into(),
        time: Millis(1),
        protocol: PROTOCOL,
        epoch_blocks: EPOCH_BLOCKS,
        validators: vec![me],
        balances: [(me, balance)].into(),
        stakes: [].into(),
        params: Params::default(),
    };
    let mut state = MemoryState::default();
    state.apply(genesis.changes().unwrap());
    let sign = |nonce, action| {
        let (chain, max_fee, expires) = (genesis.id(), Amount::from_units(1), Millis::MAX);
        Envelope { chain, signer: me, nonce, max_fee, tip: Amount::ZERO, expires, action }
            .sign(&key)
    };
    let opened = sign(0, Action::EscrowOpen { deposit: Amount::from_units(1) });
    let escrow = EscrowId::derive(&opened.id());
    let txs = [opened, sign(1, Action::EscrowClose { escrow })];
    let history = open(&dir);
    let mut archived = Vec::new();
    for height in 1..=602u64 {
        let (now, views) = (Millis(height * 1_000), Views::default());
        let (beacon, beacon_round, beacon_key) = (hash(1), height, None);
        let context =
            BlockContext { height, now, beacon, beacon_round, beacon_key, proposer: me, views };
        let mut block = BlockBuilder::new(&state, context).unwrap();
        for tx in txs.iter().filter(|_| height == 1) {
            block.push_verified(tx).unwrap();
        }
        let outcome = block.finish();
        archived.extend(outcome.archived);
        state.apply(outcome.changes);
    }
    let nothing = BlockRecord { transactions: vec![], ..record(602, vec![], vec![]) };
    history.keep(&nothing, &archived).unwrap();
    history.keep(&nothing, &archived).unwrap();
    assert_eq!((view::escrow(&state, &escrow), archived.len()), (None, 1));
    drop(history);
    let history = open(&dir);
    let kept = history.archive(|kept| view::escrow(kept, &escrow)).unwrap().unwrap();
    assert_eq!((kept.owner, kept.refunded), (me, Amount::from_units(1)));
    let listed = history.archive(|kept| view::escrows_of_owner(kept, &me)).unwrap();
    assert_eq!(listed, [(escrow, kept)]);
    let other = history.archive(|kept| view::escrows_of_owner(kept, &account(3))).unwrap();
    assert_eq!(other, []);
    assert_eq!(history.archive(|kept| kept.range(b"b", b"a").count()).unwrap(), 0);
}

#[test]
fn a_file_whose_making_was_cut_short_is_made_again() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("history.redb");
    // As a crash leaves it before the database says that it is one, in its own file or beside.
    for cut in ["history.redb", "history.redb.new"] {
        for bytes in [0, 1, 4_096, 1 << 20] {
            let _ = fs::remove_file(&path);
            fs::write(dir.path().join(cut), vec![0; bytes]).unwrap();
            let history = open(&dir);
            history.keep(&record(1, vec![paid(1, 2)], vec![]), &[]).unwrap();
            drop(history);
            assert!(open(&dir).block(1).unwrap().is_some(), "{cut} of {bytes}");
        }
    }
    assert!(!dir.path().join("history.redb.new").exists());
    // What something was kept in is not thrown away.
    let mut kept = fs::read(&path).unwrap();
    kept[0] ^= 1;
    fs::write(&path, &kept).unwrap();
    assert!(History::open(&path).is_err());
    assert_eq!(fs::read(&path).unwrap(), kept);
}
