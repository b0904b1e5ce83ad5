//! What waits to be put into a block.
//!
//! The pool is bounded in transactions, bytes, and transactions per lane, and holds at most one
//! transaction per lane and nonce. A [`Lane`] is an account's own nonces, or those of a key or of
//! members that sign for it, so that nobody crowds out an account by naming it. [`TxPool::take`]
//! hands out candidates without removing them: a transaction leaves when it is final, rejected by
//! the ledger, expired, or replaced by one with the same nonce and a higher fee, and its submitter
//! is told which. The pool is memory only: after a restart it is empty.
//!
//! # Spreading
//! A transaction that enters the network here, from a user or from a peer that does not vote, is
//! [handed to the peers](TxPool::take_fresh): at once, and every few seconds again while it waits,
//! since one of them may have been away. What comes from a validator is not passed on: validators
//! know each other.

use bytes::Bytes;
use muster_ledger::{Reject, Tx};
use muster_types::{Amount, Hash, KeyError, Lane, MAX_TX_BYTES, Millis, TxId};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque, btree_map::Entry as MapEntry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, oneshot};

/// How many submitters of one transaction are told what became of it.
const MAX_WATCHERS: usize = 16;

/// How much the pool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// The most transactions.
    pub max_txs: usize,
    /// The most bytes of encoded transactions.
    pub max_bytes: usize,
    /// The most transactions of one account, or of one key that signs for it.
    pub max_per_account: usize,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { max_txs: 16_384, max_bytes: 32 * 1024 * 1024, max_per_account: 512 }
    }
}

/// Why the pool does not take a transaction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolReject {
    /// Longer than a transaction may be.
    #[error("the transaction has {bytes} bytes, at most {MAX_TX_BYTES} are allowed")]
    TooLarge {
        /// Its encoded length.
        bytes: usize,
    },
    /// Made for another chain.
    #[error("the transaction is for chain {given}, this is {expected}: check the node and network")]
    WrongChain {
        /// The envelope's chain.
        given: Hash,
        /// This chain.
        expected: Hash,
    },
    /// Not signed by its signer.
    #[error("the transaction is not signed by its account")]
    Signature(#[source] KeyError),
    /// Another transaction with this nonce waits and pays at least as much.
    #[error("nonce {nonce} of this account is taken by a waiting transaction: raise max_fee")]
    NonceTaken {
        /// The nonce.
        nonce: u64,
    },
    /// The account has too many waiting transactions.
    #[error("the account has {limit} transactions waiting: wait until some are final")]
    AccountFull {
        /// The most that one account may have.
        limit: usize,
    },
    /// The pool is full.
    #[error("the node has too many transactions waiting: try again in a second")]
    Full,
    /// Too many ask about the same transaction.
    #[error("the transaction was submitted too often: follow its id instead")]
    Watched,
}

impl PoolReject {
    /// Whether whoever sent the transaction could have known: not a matter of what waits here.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::WrongChain { .. } | Self::Signature(_) => true,
            Self::NonceTaken { .. } | Self::AccountFull { .. } | Self::Full | Self::Watched => {
                false
            }
        }
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TxOutcome {
    /// It is in a final block.
    Final {
        /// The block's height.
        height: u64,
        /// The block's digest.
        block: Hash,
        /// Its place in the block.
        index: usize,
    },
    /// The ledger rejects it; it left the pool and cost nothing.
    Rejected(Reject),
    /// It expired before it got into a block.
    Expired,
    /// Another transaction with its nonce took its place.
    Replaced,
}

/// A transaction taken into the pool.
#[derive(Debug)]
pub struct Submission {
    /// Its id.
    pub id: TxId,
    /// Resolves when it leaves the pool. An error means that the node stopped.
    pub outcome: oneshot::Receiver<TxOutcome>,
}

/// A transaction handed to a proposer.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its id.
    pub id: TxId,
    /// The transaction.
    pub tx: Tx,
    /// Its encoding.
    pub encoded: Bytes,
}

/// The pool. Clones share it.
#[derive(Clone, Debug)]
pub struct TxPool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    chain: Hash,
    limits: PoolLimits,
    pool: Mutex<Pool>,
    arrived: Notify,
    fresh: Notify,
}

/// Where a transaction came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A user, or a peer that does not vote: it enters the network here.
    Here,
    /// A validator, which has told the others.
    Validator,
}

#[derive(Debug, Default)]
struct Pool {
    entries: BTreeMap<TxId, Entry>,
    lanes: BTreeMap<Lane, BTreeMap<u64, TxId>>,
    bytes: usize,
    arrivals: u64,
    /// To be spread, the oldest first. May name some that have left the pool.
    fresh: VecDeque<TxId>,
}

#[derive(Debug)]
struct Entry {
    candidate: Candidate,
    arrival: u64,
    /// The height of the latest block proposed with it here.
    proposed: Option<u64>,
    origin: Origin,
    watchers: Vec<oneshot::Sender<TxOutcome>>,
}

impl TxPool {
    /// An empty pool for transactions of `chain`.
    #[must_use]
    pub fn new(chain: Hash, limits: PoolLimits) -> Self {
        Self(Arc::new(Shared {
            chain,
            limits,
            pool: Mutex::default(),
            arrived: Notify::new(),
            fresh: Notify::new(),
        }))
    }

    /// The chain whose transactions it takes.
    #[must_use]
    pub fn chain(&self) -> Hash {
        self.0.chain
    }

    /// Takes a transaction. Submitting a waiting one again is no error: both submitters are told
    /// its outcome.
    ///
    /// # Errors
    /// [`PoolReject`] where the pool does not want it. Whether the ledger will accept it is
    /// known only from its outcome.
    pub fn submit(&self, tx: Tx) -> Result<Submission, PoolReject> {
        let candidate = self.check(tx)?;
        let (sender, outcome) = oneshot::channel();
        let id = candidate.id;
        self.insert(candidate, Origin::Here, Some(sender))?;
        Ok(Submission { id, outcome })
    }

    /// Takes a transaction that a peer sent. One that waits already changes nothing.
    ///
    /// # Errors
    /// As [`TxPool::submit`]. [`PoolReject::is_fault`] tells whether the peer should have known.
    pub fn receive(&self, tx: Tx, origin: Origin) -> Result<(), PoolReject> {
        if self.contains(&tx.id()) {
            return Ok(());
        }
        let candidate = self.check(tx)?;
        self.insert(candidate, origin, None)
    }

    /// Checks all that does not depend on what waits.
    fn check(&self, tx: Tx) -> Result<Candidate, PoolReject> {
        let bytes = tx.encoded();
        let encoded = Bytes::copy_from_slice(bytes.wire());
        if encoded.len() > MAX_TX_BYTES {
            return Err(PoolReject::TooLarge { bytes: encoded.len() });
        }
        if tx.envelope.chain != self.0.chain {
            let (given, expected) = (tx.envelope.chain, self.0.chain);
            return Err(PoolReject::WrongChain { given, expected });
        }
        tx.verify_encoded(&bytes).map_err(PoolReject::Signature)?;
        Ok(Candidate { id: bytes.id(), tx, encoded })
    }

    fn insert(
        &self,
        candidate: Candidate,
        origin: Origin,
        watcher: Option<oneshot::Sender<TxOutcome>>,
    ) -> Result<(), PoolReject> {
        self.lock().insert(candidate, origin, watcher, &self.0.limits)?;
        self.0.arrived.notify_one();
        if origin == Origin::Here {
            self.0.fresh.notify_one();
        }
        Ok(())
    }

    /// Resolves when something is to be spread.
    pub async fn fresh(&self) {
        loop {
            // Asked for before looking, so that nothing slips through in between.
            let noted = self.0.fresh.notified();
            if !self.lock().fresh.is_empty() {
                return;
            }
            noted.await;
        }
    }

    /// Takes what is to be spread, the oldest first, of at most `max_bytes` and `max_txs`.
    #[must_use]
    pub fn take_fresh(&self, max_bytes: usize, max_txs: usize) -> Vec<Bytes> {
        self.lock().take_fresh(max_bytes, max_txs)
    }

    /// Puts what entered here and still waits among what is to be spread, the oldest first, at
    /// most `max` of it.
    pub fn spread_again(&self, max: usize) {
        let mut pool = self.lock();
        let mut waiting: Vec<(u64, TxId)> = pool
            .entries
            .values()
            .filter(|entry| entry.origin == Origin::Here)
            .map(|entry| (entry.arrival, entry.candidate.id))
            .collect();
        waiting.sort_unstable();
        let again: Vec<TxId> = waiting.into_iter().take(max).map(|(_, id)| id).collect();
        let known: BTreeSet<TxId> = pool.fresh.iter().copied().collect();
        pool.fresh.extend(again.into_iter().filter(|id| !known.contains(id)));
        if !pool.fresh.is_empty() {
            self.0.fresh.notify_one();
        }
    }

    /// Hands out candidates for a block: of the lanes' next transactions by nonce the one with
    /// the highest fee first, then the one that came first. Leaves out those that `skip` knows.
    /// All of them stay in the pool.
    #[must_use]
    pub fn take(
        &self,
        max_bytes: usize,
        max_txs: usize,
        skip: impl Fn(&TxId) -> bool,
    ) -> Vec<Candidate> {
        self.lock().take(max_bytes, max_txs, skip)
    }

    /// Notes that these were put into a proposed block at `height`, so that they do not hurry the
    /// next block.
    pub fn proposed(&self, height: u64, ids: &[TxId]) {
        let mut pool = self.lock();
        for id in ids {
            if let Some(entry) = pool.entries.get_mut(id) {
                entry.proposed = Some(height);
            }
        }
    }

    /// Removes what the ledger rejected.
    pub fn rejected(&self, rejected: Vec<(TxId, Reject)>) {
        let mut pool = self.lock();
        for (id, reject) in rejected {
            pool.remove(&id, &TxOutcome::Rejected(reject));
        }
    }

    /// Removes what a final block makes final, impossible or too late.
    pub fn finalized<'a>(
        &self,
        height: u64,
        block: Hash,
        now: Millis,
        txs: impl IntoIterator<Item = (&'a Tx, TxId)>,
    ) {
        let mut pool = self.lock();
        for (index, (tx, id)) in txs.into_iter().enumerate() {
            pool.remove(&id, &TxOutcome::Final { height, block, index });
            let rival = pool
                .lanes
                .get(&tx.lane())
                .and_then(|nonces| nonces.get(&tx.envelope.nonce))
                .copied();
            if let Some(rival) = rival {
                pool.remove(&rival, &TxOutcome::Replaced);
            }
        }
        let late: Vec<TxId> = pool
            .entries
            .values()
            .filter(|entry| entry.candidate.tx.envelope.expires < now)
            .map(|entry| entry.candidate.id)
            .collect();
        for id in late {
            pool.remove(&id, &TxOutcome::Expired);
        }
        // A block proposed at this height or below that is not this one will never be final.
        for entry in pool.entries.values_mut() {
            if entry.proposed.is_some_and(|proposed| proposed <= height) {
                entry.proposed = None;
            }
        }
    }

    /// Whether a transaction waits that is in no proposed block.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.lock().entries.values().any(|entry| entry.proposed.is_none())
    }

    /// Resolves when a transaction arrived since the last call did.
    pub async fn arrived(&self) {
        self.0.arrived.notified().await;
    }

    /// The waiting transactions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the waiting transactions.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Whether the transaction waits.
    #[must_use]
    pub fn contains(&self, id: &TxId) -> bool {
        self.lock().entries.contains_key(id)
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn insert(
        &mut self,
        candidate: Candidate,
        origin: Origin,
        watcher: Option<oneshot::Sender<TxOutcome>>,
        limits: &PoolLimits,
    ) -> Result<(), PoolReject> {
        if let Some(entry) = self.entries.get_mut(&candidate.id) {
            if origin == Origin::Here && entry.origin != Origin::Here {
                // Whoever sends it here wants it spread from here.
                entry.origin = origin;
                self.fresh.push_back(candidate.id);
            }
            let Some(watcher) = watcher else { return Ok(()) };
            entry.watchers.retain(|watcher| !watcher.is_closed());
            if entry.watchers.len() >= MAX_WATCHERS {
                return Err(PoolReject::Watched);
            }
            entry.watchers.push(watcher);
            return Ok(());
        }
        let envelope = &candidate.tx.envelope;
        let (lane, nonce, fee) = (candidate.tx.lane(), envelope.nonce, envelope.max_fee);
        let rival = self.lanes.get(&lane).and_then(|nonces| nonces.get(&nonce)).copied();
        match rival {
            Some(rival) if self.fee(&rival) >= fee => {
                return Err(PoolReject::NonceTaken { nonce });
            }
            Some(_) => {}
            None => self.check_room(&candidate, limits)?,
        }
        if let Some(rival) = rival {
            self.remove(&rival, &TxOutcome::Replaced);
        }
        self.arrivals = self.arrivals.saturating_add(1);
        self.bytes = self.bytes.saturating_add(candidate.encoded.len());
        self.lanes.entry(lane).or_default().insert(nonce, candidate.id);
        if origin == Origin::Here {
            self.fresh.push_back(candidate.id);
        }
        let watchers = watcher.into_iter().collect();
        let entry = Entry { arrival: self.arrivals, proposed: None, origin, watchers, candidate };
        self.entries.insert(entry.candidate.id, entry);
        Ok(())
    }

    fn take_fresh(&mut self, max_bytes: usize, max_txs: usize) -> Vec<Bytes> {
        let (mut taken, mut bytes) = (Vec::new(), 0_usize);
        while let Some(id) = self.fresh.front() {
            if let Some(entry) = self.entries.get(id) {
                let encoded = &entry.candidate.encoded;
                bytes = bytes.saturating_add(encoded.len());
                if taken.len() >= max_txs || bytes > max_bytes {
                    break;
                }
                taken.push(encoded.clone());
            }
            self.fresh.pop_front();
        }
        taken
    }

    fn check_room(&self, candidate: &Candidate, limits: &PoolLimits) -> Result<(), PoolReject> {
        if self.lanes.get(&candidate.tx.lane()).map_or(0, BTreeMap::len) >= limits.max_per_account {
            return Err(PoolReject::AccountFull { limit: limits.max_per_account });
        }
        if self.entries.len() >= limits.max_txs
            || self.bytes.saturating_add(candidate.encoded.len()) > limits.max_bytes
        {
            return Err(PoolReject::Full);
        }
        Ok(())
    }

    fn fee(&self, id: &TxId) -> Amount {
        self.entries.get(id).map_or(Amount::ZERO, |entry| entry.candidate.tx.envelope.max_fee)
    }

    fn remove(&mut self, id: &TxId, outcome: &TxOutcome) {
        let Some(entry) = self.entries.remove(id) else { return };
        self.bytes = self.bytes.saturating_sub(entry.candidate.encoded.len());
        let tx = &entry.candidate.tx;
        if let MapEntry::Occupied(mut nonces) = self.lanes.entry(tx.lane()) {
            nonces.get_mut().remove(&tx.envelope.nonce);
            if nonces.get().is_empty() {
                nonces.remove();
            }
        }
        for watcher in entry.watchers {
            // A submitter that went away does not want to know.
            let _ = watcher.send(outcome.clone());
        }
    }

    fn take(
        &self,
        max_bytes: usize,
        max_txs: usize,
        skip: impl Fn(&TxId) -> bool,
    ) -> Vec<Candidate> {
        // The next transaction of every lane; popping one brings up the lane's next.
        let rank = |id: &TxId| {
            let entry = &self.entries[id];
            (entry.candidate.tx.envelope.max_fee, Reverse(entry.arrival), *id)
        };
        let mut queues = BTreeMap::new();
        let mut heads = BinaryHeap::new();
        for (lane, nonces) in &self.lanes {
            let mut queue = nonces.values().filter(|id| !skip(id));
            if let Some(id) = queue.next() {
                heads.push((rank(id), *lane));
                queues.insert(*lane, queue);
            }
        }
        let mut taken = Vec::new();
        let mut bytes = 0_usize;
        while let Some(((_, _, id), lane)) = heads.pop() {
            let candidate = &self.entries[&id].candidate;
            if taken.len() >= max_txs {
                break;
            }
            if bytes.saturating_add(candidate.encoded.len()) > max_bytes {
                continue; // Without this one the lane's later ones cannot go either.
            }
            bytes = bytes.saturating_add(candidate.encoded.len());
            taken.push(candidate.clone());
            if let Some(next) = queues.get_mut(&lane).and_then(Iterator::next) {
                heads.push((rank(next), lane));
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests;
