//! The store on disk: what a start reads must be what a block commits to; and what fails is noted.

use super::{
    super::{
        Exit, exit_of,
        hot::{Executed, Head, HotState},
        settings::{page_cache, store_config},
        store::{FindHead, Ledger, LedgerConfig},
        watched::{Failure, Watched},
    },
    genesis,
};
use commonware_glue::stateful::db::DatabaseSet as _;
use commonware_runtime::{
    Blob as _, Runner as _, Storage as _, Supervisor as _, WriteOptions,
    deterministic::{Context, FaultConfig, Runner},
};
use commonware_utils::probability;
use muster_ledger::MemoryState;
use muster_types::{Hash, Millis};
use std::sync::Arc;

fn head(height: u64, state_root: Hash) -> Head {
    Head {
        height,
        time: Millis(height),
        digest: Hash::ZERO,
        state_root,
        beacon: Hash::ZERO,
        beacon_round: height,
        beacon_key: None,
    }
}

/// Opens the store; what it stands at has `head`, where that is given.
async fn open(context: Context, known: Option<Head>) -> (Ledger<Context>, Arc<HotState>) {
    let entries = genesis().changes().unwrap();
    let mut state = MemoryState::default();
    state.apply(entries.clone());
    let hot = HotState::new(state, head(0, Hash::ZERO));
    let find_head: FindHead = Arc::new(move |_| Box::pin(async move { known }));
    let config = LedgerConfig {
        store: store_config("store", page_cache()),
        hot: hot.clone(),
        genesis: Arc::new(entries),
        find_head,
    };
    (Ledger::init(context, config, None).await, hot)
}

/// Makes a block, opens the store again as one whose block has the root that `says` makes of its
/// own, and gives the height that it stands at.
fn reopened(says: fn(Hash) -> Hash) -> u64 {
    Runner::default().start(async |context: Context| {
        let (ledger, _) = open(context.child("first"), None).await;
        let sealed = ledger.new_batches().await.seal(1, Executed::default()).await.unwrap();
        let root = sealed.roots().state;
        sealed.overlay().announce(head(1, root));
        ledger.apply(sealed).await;
        assert!(ledger.finalize().await.durable().await);
        drop(ledger);
        let (_, hot) = open(context.child("next"), Some(head(1, says(root)))).await;
        hot.head().height
    })
}

#[test]
fn a_store_that_is_what_its_block_says_is_opened() {
    assert_eq!(reopened(|root| root), 1);
}

#[test]
#[should_panic(expected = "not the one that block 1 commits to")]
fn a_store_that_is_not_what_its_block_says_is_refused() {
    reopened(|root| Hash::of("another", &[root.as_bytes()]));
}

#[test]
fn a_write_that_fails_is_noted_and_what_is_only_missing_is_not() {
    Runner::default().start(async |context: Context| {
        let (failure, faults) = (Failure::default(), context.storage_fault_config());
        let watched = Watched::new(context, failure.clone());
        let (blob, _) = watched.open("votes", b"1").await.unwrap();
        blob.write_at(0, b"one".to_vec(), WriteOptions::default()).await.unwrap();
        blob.start_sync().await.await.unwrap();
        watched.scan("nothing").await.unwrap_err();
        watched.remove("nothing", None).await.unwrap_err();
        assert_eq!(failure.get(), None);
        *faults.write() =
            FaultConfig { sync_rate: Some(probability!(1.0)), ..FaultConfig::default() };
        blob.start_sync().await.await.unwrap_err();
        let noted = failure.get().unwrap().to_owned();
        blob.sync().await.unwrap_err();
        assert_eq!(failure.get(), Some(&*noted), "the first one counts");
    });
}

#[test]
fn a_node_that_could_not_write_while_it_stopped_says_so() {
    let panic = || Err("it panicked".to_owned());
    let died = |why: &str| Exit::Died(why.to_owned());
    let table = [
        (Ok(died("why")), false, None, died("why")),
        (Ok(died("why")), true, Some("disk"), died("why")),
        (Ok(Exit::Stopped), true, None, Exit::Stopped),
        (Ok(Exit::Stopped), true, Some("disk"), died("it could not write while it stopped: disk")),
        (panic(), false, None, died("it panicked")),
        (panic(), false, Some("disk"), died("it panicked")),
        (panic(), true, None, Exit::Stopped),
        (panic(), true, Some("disk"), died("it could not write while it stopped: disk")),
    ];
    for (end, told, failed, exit) in table {
        assert_eq!(exit_of(end, told, failed), exit);
    }
}
