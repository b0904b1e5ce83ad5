//! What waits to be put into a block.
//!
//! The pool is bounded in transactions, bytes, and transactions per lane, and holds at most one
//! transaction per lane and nonce. A [`Lane`](muster_types::Lane) is an account's own nonces, or
//! those of a key or of members that sign for it, so that nobody crowds out an account by naming
//! it. [`TxPool::take`] hands out candidates without removing them. The pool is memory only: after a
//! restart it is empty.
//!
//! # Admission
//! What is taken is judged by the final state ([`muster_ledger::account::Admission`]: a few reads
//! before any signature is checked), and again when a block becomes final that changes its account:
//!
//! | by the final state | it | in a full pool |
//! |---|---|---|
//! | no later block takes it: void, its nonce used, `max_fee` too low | is refused | |
//! | it is a duty of a validator | goes first | makes room for itself |
//! | its account can pay the fees of all of its transactions that wait | goes by its tip for each part of the fee's floor, then by age | takes the place of what goes last, where that tips less |
//! | the state refuses its envelope as it is | is *early*: goes last, hurries no block | is refused, and so it is where an eighth of the pool is early |
//!
//! So a client may have a whole window of nonces in flight, and more, up to
//! [`PoolLimits::max_per_account`], where they are consecutive. What spends money that another
//! transaction brings is early until that one is final, and in the order of a block it comes after
//! it. Only admission is certain to be cheap: whether the *action* applies is found out by trying,
//! when a block is built here, or on the final state once so many blocks have passed the transaction
//! over ([`PATIENCE`]). What then does not apply is rejected, also where something still in flight
//! would have made it apply.
//!
//! A transaction leaves when it is final, rejected, expired, replaced by one with the same nonce and
//! a higher tip, or evicted: for another that tips more, or after [`WAIT_BLOCKS`]. Its submitter is
//! told which.
//!
//! # Spreading
//! A transaction that enters the network here, from a user or from a peer that does not vote, is
//! [handed to the peers](TxPool::take_fresh): at once, and every few seconds again while it waits,
//! since one of them may have been away. What comes from a validator is not passed on: validators
//! know each other.

mod waiting;

use crate::consensus::HotState;
use bytes::Bytes;
use muster_ledger::{
    Reject, Tx,
    account::{Admission, Standing},
};
use muster_types::{Amount, Encoded, Hash, KeyError, MAX_TX_BYTES, Millis, TxId};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};
use tokio::sync::{Notify, oneshot};
use waiting::{Arriving, Pool};

/// How many submitters of one transaction are told what became of it.
const MAX_WATCHERS: usize = 16;
/// How many final blocks pass a transaction over before it is tried on the final state, and again
/// before it is tried again.
pub const PATIENCE: u64 = 4;
/// How many final blocks a transaction waits for at most.
pub const WAIT_BLOCKS: u64 = 4_096;
/// How many transactions are tried on the final state with one block.
const TRIES: usize = 128;

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
    /// Another transaction with this nonce waits and tips at least as much.
    #[error("nonce {nonce} of this account is taken by a waiting transaction: raise its tip")]
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
    /// The final state refuses it, for good or while there is no room for what is early.
    #[error("the ledger refuses the transaction")]
    Refused(#[source] Reject),
    /// The pool is full of what tips as much.
    #[error("the node has too many transactions waiting: try again in a second, or tip")]
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
            Self::Refused(_)
            | Self::NonceTaken { .. }
            | Self::AccountFull { .. }
            | Self::Full
            | Self::Watched => false,
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
    /// Others that tip more took its place, or it waited too long: it may be sent again.
    Evicted,
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
    /// Read before the pool is locked, never after.
    state: RwLock<Option<Arc<HotState>>>,
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

impl TxPool {
    /// An empty pool for transactions of `chain`.
    #[must_use]
    pub fn new(chain: Hash, limits: PoolLimits) -> Self {
        Self(Arc::new(Shared {
            chain,
            limits,
            state: RwLock::default(),
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

    /// Judges by `state` from now on. Before that everything that is signed counts as good.
    pub(crate) fn judge_by(&self, state: Arc<HotState>) {
        *self.0.state.write().unwrap_or_else(PoisonError::into_inner) = Some(state);
    }

    /// Takes a transaction. Submitting a waiting one again is no error: both submitters are told
    /// its outcome.
    ///
    /// # Errors
    /// [`PoolReject`] where the pool does not want it. Whether the ledger will accept it is
    /// known only from its outcome.
    pub fn submit(&self, tx: Tx) -> Result<Submission, PoolReject> {
        let arriving = self.check(tx)?;
        let (sender, outcome) = oneshot::channel();
        let id = arriving.candidate.id;
        self.insert(arriving, Origin::Here, Some(sender))?;
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
        let arriving = self.check(tx)?;
        self.insert(arriving, origin, None)
    }

    /// Checks all that does not depend on what waits, what is cheap first.
    fn check(&self, tx: Tx) -> Result<Arriving, PoolReject> {
        let bytes = tx.encoded();
        let encoded = Bytes::copy_from_slice(bytes.wire());
        if encoded.len() > MAX_TX_BYTES {
            return Err(PoolReject::TooLarge { bytes: encoded.len() });
        }
        if tx.envelope.chain != self.0.chain {
            let (given, expected) = (tx.envelope.chain, self.0.chain);
            return Err(PoolReject::WrongChain { given, expected });
        }
        let (standing, height) = self.judge(&tx, &bytes).map_err(PoolReject::Refused)?;
        tx.verify_encoded(&bytes).map_err(PoolReject::Signature)?;
        Ok(Arriving { candidate: Candidate { id: bytes.id(), tx, encoded }, standing, height })
    }

    fn state(&self) -> Option<Arc<HotState>> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How far above the lowest unused one a nonce may be.
    fn ahead(&self) -> u64 {
        u64::try_from(self.0.limits.max_per_account).unwrap_or(u64::MAX)
    }

    /// A transaction's standing in the final state, and the height of that.
    fn judge(&self, tx: &Tx, encoded: &Encoded) -> Result<(Standing, u64), Reject> {
        let (floor, fee, balance) = (Amount::ZERO, tx.envelope.tip, Amount::MAX);
        let anybody = Standing::Good { floor, fee, balance };
        let Some(state) = self.state() else { return Ok((anybody, 0)) };
        state.read(|state, head| {
            let Some(admission) = Admission::new(state) else { return Ok((anybody, head.height)) };
            let standing = admission.standing(tx, encoded.wire().len(), self.ahead())?;
            Ok((standing, head.height))
        })
    }

    fn insert(
        &self,
        arriving: Arriving,
        origin: Origin,
        watcher: Option<oneshot::Sender<TxOutcome>>,
    ) -> Result<(), PoolReject> {
        let hurries = self.lock().insert(arriving, origin, watcher, &self.0.limits)?;
        if hurries {
            self.0.arrived.notify_one();
        }
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
        let again = pool.entered_here(max);
        let known: BTreeSet<TxId> = pool.fresh.iter().copied().collect();
        pool.fresh.extend(again.into_iter().filter(|id| !known.contains(id)));
        if !pool.fresh.is_empty() {
            self.0.fresh.notify_one();
        }
    }

    /// Hands out candidates for a block: of the lanes' next transactions by nonce the one that goes
    /// first (see the module), then the one that came first. Leaves out those that `skip` knows. All
    /// of them stay in the pool.
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
        self.lock().note_proposed(height, ids);
    }

    /// Removes what the ledger rejected on the final state; what is early only once so many blocks
    /// have passed it over.
    pub fn rejected(&self, rejected: Vec<(TxId, Reject)>) {
        self.lock().reject(rejected);
    }

    /// Removes what a final block makes final, impossible or too late, and judges again what it
    /// changes the accounts of.
    pub fn finalized<'a>(
        &self,
        height: u64,
        block: Hash,
        now: Millis,
        txs: impl IntoIterator<Item = (&'a Tx, TxId)>,
    ) {
        let signers = self.lock().finalize(height, block, now, txs);
        let Some(state) = self.state() else { return };
        state.read(|state, _| {
            if let Some(admission) = Admission::new(state) {
                self.lock().judge_again(&admission, self.ahead(), &signers);
            }
        });
    }

    /// What blocks have passed over for long enough that it is to be tried on the final state, the
    /// oldest first, each with those before it in its lane. It counts as tried from now on.
    #[must_use]
    pub fn take_tries(&self) -> Vec<(TxId, Tx)> {
        self.lock().take_tries(TRIES)
    }

    /// Whether a transaction waits that is in no proposed block and not early.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.lock().has_work()
    }

    /// Resolves when a transaction arrived since the last call did.
    pub async fn arrived(&self) {
        self.0.arrived.notified().await;
    }

    /// The waiting transactions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the waiting transactions.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().bytes()
    }

    /// Whether the transaction waits.
    #[must_use]
    pub fn contains(&self, id: &TxId) -> bool {
        self.lock().contains(id)
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
