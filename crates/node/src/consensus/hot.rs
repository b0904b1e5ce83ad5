//! The state in memory: what is final, and what executed blocks that are not final yet change.
//!
//! The final state is one ordered map ([`Base`]). Every executed block adds an [`Overlay`] that
//! points at its parent's, so a block reads through its own chain of ancestors down to the base
//! and competing blocks never see each other. When a block becomes final its overlay is merged
//! into the base and unhooked from its children; overlays of competing blocks go when the engine
//! drops them.

use super::block::Header;
use muster_ledger::{Changes, Event, MemoryState, Receipt, State, Tx, market::QuoteBook, view};
use muster_market::{Explanation, Terms};
use muster_types::{Hash, Millis, TxId};
use std::{
    fmt,
    iter::Peekable,
    ops::Bound,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
};
use tokio::sync::watch;

/// The latest final block, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Blocks since genesis.
    pub height: u64,
    /// The block's time.
    pub time: Millis,
    /// The block's digest.
    pub digest: Hash,
    /// The root of the authenticated state after it (zero at genesis, where nothing is stored).
    pub state_root: Hash,
    /// Its randomness.
    pub beacon: Hash,
    /// The round of that.
    pub beacon_round: u64,
    /// The epoch whose validators' key signs it; `None`: proposers are trusted.
    pub beacon_key: Option<u64>,
}

impl Head {
    /// The short form of the block with this header and digest.
    #[must_use]
    pub fn of(header: &Header, digest: Hash) -> Self {
        Self {
            height: header.height,
            time: header.time,
            digest,
            state_root: header.state_root,
            beacon: header.beacon,
            beacon_round: header.beacon_round,
            beacon_key: header.beacon_epoch(),
        }
    }
}

/// What executing a block gave.
#[derive(Debug, Default, PartialEq)]
pub struct Executed {
    /// The transactions, in block order.
    pub txs: Vec<Tx>,
    /// What each of them did; the receipts name their ids.
    pub receipts: Vec<Receipt>,
    /// What happened at the block's end.
    pub events: Vec<Event>,
    /// The records that left the state, as they last stood: storage key and value.
    pub archived: Vec<(Vec<u8>, Vec<u8>)>,
    /// What the block wrote, derived indexes included.
    pub changes: Changes,
}

/// The final state.
struct Base {
    state: MemoryState,
    head: Head,
    /// The same hosts, in the form that explains fast.
    quotes: QuoteBook,
}

impl Base {
    fn new(state: MemoryState, head: Head) -> Self {
        let quotes = view::quote_book(&state);
        Self { state, head, quotes }
    }
}

/// The resident state, shared by the engine, which writes it, and readers.
pub(crate) struct HotState {
    base: RwLock<Base>,
    heads: watch::Sender<Head>,
}

impl fmt::Debug for HotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotState").field("head", &self.head()).finish_non_exhaustive()
    }
}

impl HotState {
    /// Holds `state` as the state after `head`.
    pub(crate) fn new(state: MemoryState, head: Head) -> Arc<Self> {
        Arc::new(Self {
            base: RwLock::new(Base::new(state, head)),
            heads: watch::Sender::new(head),
        })
    }

    /// Replaces everything: the state was read from disk.
    pub(crate) fn load(&self, state: MemoryState, head: Head) {
        *self.base.write().unwrap_or_else(PoisonError::into_inner) = Base::new(state, head);
        self.heads.send_replace(head);
    }

    /// Lets `reader` read the final state and its block. Blocks cannot become final meanwhile:
    /// be quick.
    pub(crate) fn read<T>(&self, reader: impl FnOnce(&dyn State, &Head) -> T) -> T {
        let base = self.base.read().unwrap_or_else(PoisonError::into_inner);
        reader(&base.state, &base.head)
    }

    /// What the market would do with an order of these terms, by the final state.
    pub(crate) fn explain(&self, terms: &Terms) -> Explanation {
        let base = self.base.read().unwrap_or_else(PoisonError::into_inner);
        base.quotes.explain(&base.state, terms)
    }

    /// The latest final block.
    pub(crate) fn head(&self) -> Head {
        *self.heads.borrow()
    }

    /// Follows the latest final block.
    pub(crate) fn heads(&self) -> watch::Receiver<Head> {
        self.heads.subscribe()
    }

    /// Merges a block that became final.
    ///
    /// # Panics
    /// If the block was not announced ([`Overlay::announce`]) or does not follow the head: both
    /// would mean that memory and disk no longer agree.
    pub(crate) fn apply(&self, overlay: &Overlay) {
        let head = *overlay.head.get().expect("invariant: a block is announced before it applies");
        let mut base = self.base.write().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(
            head.height,
            base.head.height.saturating_add(1),
            "invariant: final blocks apply in order"
        );
        let Base { state, head: last, quotes } = &mut *base;
        state.apply(overlay.executed.changes.clone());
        quotes.update(state, &overlay.executed.changes);
        *last = head;
        drop(base);
        overlay.unhook();
        self.heads.send_replace(head);
    }
}

/// An executed block over its parent's.
pub(crate) struct Overlay {
    executed: Arc<Executed>,
    parent: Mutex<Option<Arc<Overlay>>>,
    head: OnceLock<Head>,
}

impl Overlay {
    /// What executing the block gave.
    pub(crate) fn executed(&self) -> &Arc<Executed> {
        &self.executed
    }

    /// Says which block this is, before it applies.
    pub(crate) fn announce(&self, head: Head) {
        // Set at most once per block; a second time says the same.
        let _ = self.head.set(head);
    }

    fn parent(&self) -> Option<Arc<Self>> {
        self.parent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the parent: this block is in the base, so the parent's changes are too.
    fn unhook(&self) {
        *self.parent.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The state as one block's children see it.
#[derive(Clone)]
pub(crate) struct View {
    hot: Arc<HotState>,
    tip: Option<Arc<Overlay>>,
}

impl View {
    /// The final state.
    pub(crate) fn of_final(hot: Arc<HotState>) -> Self {
        Self { hot, tip: None }
    }

    /// The state after `tip`.
    pub(crate) fn after(hot: Arc<HotState>, tip: Arc<Overlay>) -> Self {
        Self { hot, tip: Some(tip) }
    }

    /// An overlay for a block executed on this view.
    pub(crate) fn overlay(self, executed: Arc<Executed>) -> Arc<Overlay> {
        Arc::new(Overlay { executed, parent: Mutex::new(self.tip), head: OnceLock::new() })
    }

    /// Lets `reader` read the final state and its block, without those that are not final.
    pub(crate) fn read_final<T>(&self, reader: impl FnOnce(&dyn State, &Head) -> T) -> T {
        self.hot.read(reader)
    }

    /// The chain of blocks that are not final, the newest first.
    fn layers(&self) -> Vec<Arc<Overlay>> {
        let mut layers = Vec::new();
        let mut next = self.tip.clone();
        while let Some(layer) = next {
            next = layer.parent();
            layers.push(layer);
        }
        layers
    }

    /// Lets `reader` read the state.
    pub(crate) fn read<T>(&self, reader: impl FnOnce(&Layered<'_>) -> T) -> T {
        // Take the lock first: a layer unhooked after this is still in our list, and one unhooked
        // before is in the base that we read.
        let base = self.hot.base.read().unwrap_or_else(PoisonError::into_inner);
        reader(&Layered { base: &base.state, layers: self.layers() })
    }
}

/// A base with layers of changes over it, the newest first.
pub(crate) struct Layered<'a> {
    base: &'a MemoryState,
    layers: Vec<Arc<Overlay>>,
}

impl Layered<'_> {
    /// Whether a block that is not final yet holds the transaction.
    pub(crate) fn holds(&self, id: &TxId) -> bool {
        self.layers.iter().any(|layer| layer.executed.receipts.iter().any(|done| done.tx == *id))
    }
}

impl State for Layered<'_> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        for layer in &self.layers {
            if let Some(value) = layer.executed.changes.0.get(key) {
                return value.clone();
            }
        }
        self.base.get(key)
    }

    fn range<'a>(
        &'a self,
        start: &[u8],
        end: &[u8],
    ) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + 'a> {
        if start >= end {
            return Box::new(std::iter::empty());
        }
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        let mut merged: Entries<'a> =
            Box::new(self.base.range(start, end).map(|(key, value)| (key, Some(value))));
        for layer in self.layers.iter().rev() {
            let over = layer.executed.changes.0.range::<[u8], _>(bounds);
            let over: Entries<'a> = Box::new(over.map(|(key, value)| (key.clone(), value.clone())));
            merged = Box::new(Merged { over: over.peekable(), under: merged.peekable() });
        }
        Box::new(merged.filter_map(|(key, value)| Some((key, value?))))
    }
}

/// Entries in key order; a deleted one has no value.
type Entries<'a> = Box<dyn Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> + 'a>;

/// Two ordered sequences in one; where both have a key the upper one wins.
struct Merged<'a> {
    over: Peekable<Entries<'a>>,
    under: Peekable<Entries<'a>>,
}

impl Iterator for Merged<'_> {
    type Item = (Vec<u8>, Option<Vec<u8>>);

    fn next(&mut self) -> Option<Self::Item> {
        match (self.over.peek(), self.under.peek()) {
            (Some((over, _)), Some((under, _))) if over > under => self.under.next(),
            (Some((over, _)), Some((under, _))) => {
                if over == under {
                    self.under.next();
                }
                self.over.next()
            }
            (Some(_), None) => self.over.next(),
            (None, _) => self.under.next(),
        }
    }
}
