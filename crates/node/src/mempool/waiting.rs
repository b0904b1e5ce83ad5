//! What waits, under the pool's lock.

use super::{Candidate, MAX_WATCHERS, Origin, PATIENCE, PoolLimits, PoolReject, TxOutcome};
use bytes::Bytes;
use muster_ledger::{
    Reject, Tx,
    account::{Admission, Standing},
};
use muster_types::{AccountId, Amount, Hash, Lane, Millis, TxId};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque, btree_map::Entry as MapEntry},
};
use tokio::sync::oneshot;

/// What is early has one part in so many of the pool.
const EARLY_PART: usize = 8;
const MILLION: u128 = 1_000_000;

/// What goes first; the last has to leave first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// The state refuses it as it is.
    Early,
    /// Its account can pay, and tips so many millionths of the fee's floor. The floor is the price
    /// of what it takes of a block, bytes and execution, so that this is what a proposer earns most
    /// by; where fees have no floor, it is the tip itself.
    Good {
        tip: u128,
    },
    Duty,
}

impl Rank {
    /// Of what pays `fee`, of which `floor` is no tip.
    fn good(floor: Amount, fee: Amount) -> Self {
        let tip = fee.saturating_sub(floor).nanos().saturating_mul(MILLION);
        Self::Good { tip: tip.checked_div(floor.nanos().max(1)).unwrap_or(tip) }
    }
}

/// A transaction that was checked, and its standing in the state of `height`.
pub(super) struct Arriving {
    pub(super) candidate: Candidate,
    pub(super) standing: Standing,
    pub(super) height: u64,
}

#[derive(Debug, Default)]
pub(super) struct Pool {
    entries: BTreeMap<TxId, Entry>,
    lanes: BTreeMap<Lane, BTreeMap<u64, TxId>>,
    accounts: BTreeMap<AccountId, Waiting>,
    /// Who has to leave first comes first.
    ranks: BTreeSet<(Rank, Reverse<u64>, TxId)>,
    bytes: usize,
    early: usize,
    early_bytes: usize,
    arrivals: u64,
    /// The latest final block that was heard of.
    height: u64,
    /// To be spread, the oldest first. May name some that have left the pool.
    pub(super) fresh: VecDeque<TxId>,
}

/// What waits of an account.
#[derive(Debug, Default)]
struct Waiting {
    ids: BTreeSet<TxId>,
    /// The fees of those that are good.
    owed: Amount,
}

#[derive(Debug)]
struct Entry {
    candidate: Candidate,
    arrival: u64,
    rank: Rank,
    /// What it costs where it is good.
    fee: Amount,
    /// The height at which it came.
    since: u64,
    /// The height at which it was last tried on the final state, or came.
    tried: u64,
    /// The height of the latest block proposed with it here.
    proposed: Option<u64>,
    origin: Origin,
    watchers: Vec<oneshot::Sender<TxOutcome>>,
}

impl Entry {
    fn place(&self) -> (Rank, Reverse<u64>, TxId) {
        (self.rank.clone(), Reverse(self.arrival), self.candidate.id)
    }

    fn len(&self) -> usize {
        self.candidate.encoded.len()
    }
}

impl Pool {
    /// Takes a transaction in; whether it hurries the next block.
    pub(super) fn insert(
        &mut self,
        arriving: Arriving,
        origin: Origin,
        watcher: Option<oneshot::Sender<TxOutcome>>,
        limits: &PoolLimits,
    ) -> Result<bool, PoolReject> {
        let Arriving { candidate, standing, height } = arriving;
        if let Some(entry) = self.entries.get_mut(&candidate.id) {
            if origin == Origin::Here && entry.origin != Origin::Here {
                // Whoever sends it here wants it spread from here.
                entry.origin = origin;
                self.fresh.push_back(candidate.id);
            }
            let Some(watcher) = watcher else { return Ok(false) };
            entry.watchers.retain(|watcher| !watcher.is_closed());
            if entry.watchers.len() >= MAX_WATCHERS {
                return Err(PoolReject::Watched);
            }
            entry.watchers.push(watcher);
            return Ok(false);
        }
        let (lane, nonce) = (candidate.tx.lane(), candidate.tx.envelope.nonce);
        let rival = self.lanes.get(&lane).and_then(|nonces| nonces.get(&nonce)).copied();
        let offered = candidate.tx.envelope.tip;
        if rival.is_some_and(|rival| self.tip(&rival) >= offered) {
            return Err(PoolReject::NonceTaken { nonce });
        }
        let freed = rival.map_or(Amount::ZERO, |rival| self.entries[&rival].fee);
        let (rank, fee) = self.rank(&candidate.tx, &standing, freed);
        if rival.is_none() {
            self.make_room(&candidate, (&rank, standing), limits)?;
        }
        if let Some(rival) = rival {
            self.remove(&rival, &TxOutcome::Replaced);
        }
        self.arrivals = self.arrivals.saturating_add(1);
        if origin == Origin::Here {
            self.fresh.push_back(candidate.id);
        }
        let hurries = rank != Rank::Early;
        self.add(Entry {
            arrival: self.arrivals,
            rank,
            fee,
            since: height,
            tried: height,
            proposed: None,
            origin,
            watchers: watcher.into_iter().collect(),
            candidate,
        });
        Ok(hurries)
    }

    /// The place that a standing gives, and the fee that the account then owes, where `freed` of
    /// what it owes does not count.
    fn rank(&self, tx: &Tx, standing: &Standing, freed: Amount) -> (Rank, Amount) {
        match standing {
            Standing::Duty => (Rank::Duty, Amount::ZERO),
            Standing::NotYet(_) => (Rank::Early, Amount::ZERO),
            Standing::Good { floor, fee, balance } => {
                let owed = self.accounts.get(&tx.envelope.signer).map_or(Amount::ZERO, |w| w.owed);
                let all = owed.saturating_sub(freed).checked_add(*fee);
                if all.is_none_or(|all| all > *balance) {
                    return (Rank::Early, Amount::ZERO);
                }
                (Rank::good(*floor, *fee), *fee)
            }
        }
    }

    /// Evicts those that tip less, as many as it takes.
    fn make_room(
        &mut self,
        candidate: &Candidate,
        (rank, standing): (&Rank, Standing),
        limits: &PoolLimits,
    ) -> Result<(), PoolReject> {
        if self.lanes.get(&candidate.tx.lane()).map_or(0, BTreeMap::len) >= limits.max_per_account {
            return Err(PoolReject::AccountFull { limit: limits.max_per_account });
        }
        let bytes = candidate.encoded.len();
        let is_full = |txs: usize, used: usize, part: usize| {
            txs >= (limits.max_txs / part).max(1)
                || used.saturating_add(bytes) > limits.max_bytes / part
        };
        if *rank == Rank::Early && is_full(self.early, self.early_bytes, EARLY_PART) {
            return Err(match standing {
                Standing::NotYet(reject) => PoolReject::Refused(reject),
                Standing::Good { .. } | Standing::Duty => PoolReject::Full,
            });
        }
        let (mut txs, mut used, mut leaving) = (self.entries.len(), self.bytes, Vec::new());
        let mut last = self.ranks.iter();
        while is_full(txs, used, 1) {
            let Some((_, _, id)) = last.next().filter(|(lowest, ..)| lowest < rank) else {
                return Err(PoolReject::Full);
            };
            txs = txs.saturating_sub(1);
            used = used.saturating_sub(self.entries[id].len());
            leaving.push(*id);
        }
        for id in leaving {
            self.remove(&id, &TxOutcome::Evicted);
        }
        Ok(())
    }

    fn add(&mut self, entry: Entry) {
        let (id, envelope) = (entry.candidate.id, &entry.candidate.tx.envelope);
        self.bytes = self.bytes.saturating_add(entry.len());
        self.lanes.entry(entry.candidate.tx.lane()).or_default().insert(envelope.nonce, id);
        self.accounts.entry(envelope.signer).or_default().ids.insert(id);
        self.count(&entry);
        self.entries.insert(id, entry);
    }

    /// Counts an entry's rank in.
    fn count(&mut self, entry: &Entry) {
        self.ranks.insert(entry.place());
        if entry.rank == Rank::Early {
            self.early = self.early.saturating_add(1);
            self.early_bytes = self.early_bytes.saturating_add(entry.len());
        }
        if let Some(account) = self.accounts.get_mut(&entry.candidate.tx.envelope.signer) {
            account.owed = account.owed.checked_add(entry.fee).unwrap_or(Amount::MAX);
        }
    }

    /// Counts an entry's rank out.
    fn uncount(&mut self, entry: &Entry) {
        self.ranks.remove(&entry.place());
        if entry.rank == Rank::Early {
            self.early = self.early.saturating_sub(1);
            self.early_bytes = self.early_bytes.saturating_sub(entry.len());
        }
        if let Some(account) = self.accounts.get_mut(&entry.candidate.tx.envelope.signer) {
            account.owed = account.owed.saturating_sub(entry.fee);
        }
    }

    fn remove(&mut self, id: &TxId, outcome: &TxOutcome) {
        let Some(entry) = self.entries.remove(id) else { return };
        self.uncount(&entry);
        self.bytes = self.bytes.saturating_sub(entry.len());
        let tx = &entry.candidate.tx;
        if let MapEntry::Occupied(mut nonces) = self.lanes.entry(tx.lane()) {
            nonces.get_mut().remove(&tx.envelope.nonce);
            if nonces.get().is_empty() {
                nonces.remove();
            }
        }
        if let MapEntry::Occupied(mut account) = self.accounts.entry(tx.envelope.signer) {
            account.get_mut().ids.remove(id);
            if account.get().ids.is_empty() {
                account.remove();
            }
        }
        for watcher in entry.watchers {
            // A submitter that went away does not want to know.
            let _ = watcher.send(outcome.clone());
        }
    }

    fn tip(&self, id: &TxId) -> Amount {
        self.entries.get(id).map_or(Amount::ZERO, |entry| entry.candidate.tx.envelope.tip)
    }

    pub(super) fn take_fresh(&mut self, max_bytes: usize, max_txs: usize) -> Vec<Bytes> {
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

    /// What entered the network here: what is not early first, then the oldest.
    pub(super) fn entered_here(&self, max: usize) -> Vec<TxId> {
        let here = self.entries.values().filter(|entry| entry.origin == Origin::Here);
        let mut waiting: Vec<(bool, u64, TxId)> = here
            .map(|entry| (entry.rank == Rank::Early, entry.arrival, entry.candidate.id))
            .collect();
        waiting.sort_unstable();
        waiting.into_iter().take(max).map(|(.., id)| id).collect()
    }

    pub(super) fn note_proposed(&mut self, height: u64, ids: &[TxId]) {
        for id in ids {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.proposed = Some(height);
            }
        }
    }

    pub(super) fn reject(&mut self, rejected: Vec<(TxId, Reject)>) {
        for (id, reject) in rejected {
            let is_new = |entry: &Entry| {
                entry.rank == Rank::Early && self.height < entry.since.saturating_add(PATIENCE)
            };
            if !self.entries.get(&id).is_some_and(is_new) {
                self.remove(&id, &TxOutcome::Rejected(reject));
            }
        }
    }

    /// Removes what a final block settles. Gives the accounts that it has transactions of.
    pub(super) fn finalize<'a>(
        &mut self,
        height: u64,
        block: Hash,
        now: Millis,
        txs: impl IntoIterator<Item = (&'a Tx, TxId)>,
    ) -> BTreeSet<AccountId> {
        self.height = height;
        let mut signers = BTreeSet::new();
        for (index, (tx, id)) in txs.into_iter().enumerate() {
            signers.insert(tx.envelope.signer);
            self.remove(&id, &TxOutcome::Final { height, block, index });
            let nonces = self.lanes.get(&tx.lane());
            let rival = nonces.and_then(|nonces| nonces.get(&tx.envelope.nonce)).copied();
            if let Some(rival) = rival {
                self.remove(&rival, &TxOutcome::Replaced);
            }
        }
        let mut leaving = Vec::new();
        for (id, entry) in &mut self.entries {
            if entry.candidate.tx.envelope.expires < now {
                leaving.push((*id, TxOutcome::Expired));
            } else if height >= entry.since.saturating_add(super::WAIT_BLOCKS) {
                leaving.push((*id, TxOutcome::Evicted));
            }
            // A block proposed at this height or below that is not this one will never be final.
            if entry.proposed.is_some_and(|proposed| proposed <= height) {
                entry.proposed = None;
            }
        }
        for (id, outcome) in leaving {
            self.remove(&id, &outcome);
        }
        signers
    }

    /// Judges again what `signers` have waiting, and what is early.
    pub(super) fn judge_again(
        &mut self,
        admission: &Admission<'_>,
        ahead: u64,
        signers: &BTreeSet<AccountId>,
    ) {
        let early = self.ranks.iter().take_while(|(rank, ..)| *rank == Rank::Early);
        let early = early.map(|(.., id)| self.entries[id].candidate.tx.envelope.signer);
        let changed = signers.iter().filter(|signer| self.accounts.contains_key(signer)).copied();
        let accounts: BTreeSet<AccountId> = early.chain(changed).collect();
        for account in accounts {
            let Some(waiting) = self.accounts.get(&account) else { continue };
            let mut ids: Vec<(Lane, u64, TxId)> = waiting
                .ids
                .iter()
                .map(|id| &self.entries[id].candidate)
                .map(|candidate| (candidate.tx.lane(), candidate.tx.envelope.nonce, candidate.id))
                .collect();
            ids.sort_unstable();
            // All anew, so that what the account has is given out once.
            let entries: Vec<Entry> =
                ids.iter().filter_map(|(.., id)| self.entries.remove(id)).collect();
            for entry in &entries {
                self.uncount(entry);
            }
            let mut refused = Vec::new();
            for mut entry in entries {
                let (id, tx) = (entry.candidate.id, &entry.candidate.tx);
                (entry.rank, entry.fee) = match admission.standing(tx, entry.len(), ahead) {
                    Ok(standing) => self.rank(tx, &standing, Amount::ZERO),
                    Err(reject) => {
                        refused.push((id, reject));
                        (Rank::Early, Amount::ZERO)
                    }
                };
                self.count(&entry);
                self.entries.insert(id, entry);
            }
            for (id, reject) in refused {
                self.remove(&id, &TxOutcome::Rejected(reject));
            }
        }
    }

    pub(super) fn take_tries(&mut self, max: usize) -> Vec<(TxId, Tx)> {
        let height = self.height;
        let due = |entry: &&Entry| {
            entry.proposed.is_none() && height >= entry.tried.saturating_add(PATIENCE)
        };
        let mut due: Vec<(u64, TxId)> = self
            .entries
            .values()
            .filter(due)
            .map(|entry| (entry.arrival, entry.candidate.id))
            .collect();
        due.sort_unstable();
        let mut tries = Vec::new();
        let mut known = BTreeSet::new();
        for (_, id) in due {
            let tx = &self.entries[&id].candidate.tx;
            let lane = self.lanes.get(&tx.lane()).into_iter();
            let before = lane.flat_map(|nonces| nonces.range(..=tx.envelope.nonce));
            for id in before.map(|(_, id)| *id) {
                if known.insert(id) {
                    tries.push(id);
                }
            }
            if tries.len() >= max {
                break;
            }
        }
        let mut tried = Vec::with_capacity(tries.len());
        for id in tries {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.tried = height;
                tried.push((id, entry.candidate.tx.clone()));
            }
        }
        tried
    }

    pub(super) fn has_work(&self) -> bool {
        let good = self.ranks.iter().rev().take_while(|(rank, ..)| *rank != Rank::Early);
        good.into_iter().any(|(.., id)| self.entries[id].proposed.is_none())
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn contains(&self, id: &TxId) -> bool {
        self.entries.contains_key(id)
    }

    pub(super) fn take(
        &self,
        max_bytes: usize,
        max_txs: usize,
        skip: impl Fn(&TxId) -> bool,
    ) -> Vec<Candidate> {
        // The next transaction of every lane; popping one brings up the lane's next.
        let place = |id: &TxId| self.entries[id].place();
        let mut queues = BTreeMap::new();
        let mut heads = BinaryHeap::new();
        for (lane, nonces) in &self.lanes {
            let mut queue = nonces.values().filter(|id| !skip(id));
            if let Some(id) = queue.next() {
                heads.push((place(id), *lane));
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
                heads.push((place(next), lane));
            }
        }
        taken
    }
}
