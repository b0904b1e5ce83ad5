//! Blocks on disk without agreement on them: for whoever measures what the state's root and its
//! durable commit cost.

use super::{
    hot::{Executed, Head, HotState},
    settings::{page_cache, store_config},
    store::{Ledger, LedgerConfig},
};
use commonware_glue::stateful::db::DatabaseSet as _;
use commonware_runtime::{Runner as _, Supervisor as _, tokio as runtime};
use muster_ledger::{BlockOutcome, Changes, MemoryState, State};
use muster_types::{Hash, Millis};
use std::{path::Path, sync::Arc};

/// Writes blocks into a new store in `dir`, one after the other, until `next` gives none. `next`
/// is given the state after the block before, whose root is known and which is on disk; the state
/// before the first block is `entries`, and the first block writes them too. Blocks the thread,
/// which must not be one of an asynchronous runtime.
///
/// # Panics
/// If the store fails.
pub fn commit_blocks(
    dir: &Path,
    entries: Changes,
    mut next: impl FnMut(&dyn State) -> Option<BlockOutcome>,
) {
    let settings =
        runtime::Config::new().with_worker_threads(2).with_storage_directory(dir.join("ledger"));
    runtime::Runner::new(settings).start(|context| async move {
        let mut head = Head {
            height: 0,
            time: Millis::ZERO,
            digest: Hash::ZERO,
            state_root: Hash::ZERO,
            beacon: Hash::ZERO,
            beacon_round: 0,
            beacon_key: None,
        };
        let mut state = MemoryState::default();
        state.apply(entries.clone());
        let config = LedgerConfig {
            store: store_config("alone", page_cache()),
            hot: HotState::new(state, head),
            genesis: Arc::new(entries),
            find_head: Arc::new(|_| Box::pin(async { None })),
        };
        let ledger = Ledger::init(context.child("ledger"), config, None).await;
        loop {
            let batch = ledger.new_batches().await;
            let Some(outcome) = batch.view().read(|state| next(state)) else { break };
            let BlockOutcome { changes, receipts, events, archived, event_root: _ } = outcome;
            let executed = Executed { txs: Vec::new(), receipts, events, archived, changes };
            head.height = head.height.saturating_add(1);
            let sealed = batch.seal(head.height, executed).await;
            let sealed = sealed.expect("invariant: nothing competes with the only block");
            head.state_root = sealed.roots().state;
            sealed.overlay().announce(head);
            ledger.apply(sealed).await;
            assert!(ledger.finalize().await.durable().await, "the store was cut off");
        }
    });
}
