//! Every key of the state, and its encoding.
//!
//! A key is two prefix bytes (group, table), then the parts of the table's key in order. Parts
//! sort as their values do: integers big endian, ids as they are, so that a range of keys is a
//! range of values. Values are borsh.
//!
//! | group | table | key | value |
//! |---|---|---|---|
//! | 0 | 0 [`HEAD`], 1 [`PARAMS`], 2 [`VALIDATORS`], 3 [`SUPPLY`] | (none) | one each |
//! | 1 | 0 [`ACCOUNTS`] | account | [`Account`] |
//! | 1 | 1 [`PROVIDERS`] | account | [`Provider`] |
//! | 1 | 2 [`HOSTS`] | provider, index | [`Host`] |
//! | 1 | 3 [`ORDERS`] | order | [`Order`] |
//! | 1 | 4 [`LEASES`] | lease | [`Lease`] |
//! | 1 | 5 [`ESCROWS`] | escrow | [`Escrow`] |
//! | 1 | 6 [`JOBS`] | job | [`Job`] |
//! | 1 | 7 [`DISPUTES`] | dispute | [`Dispute`] |
//! | 1 | 8 [`CHALLENGES`] | dispute | [`Challenge`] |
//! | 0 | 41 [`COMMITTEE`], 42 [`MISSED`] | (none) | one each |
//! | 1 | 45 [`SEAT_KEYS`] | key | the validator |
//! | 1 | 46 [`SEATS`] | validator | keys |
//! | 1 | 47 [`OFFENCES`] | epoch, key | (empty) |
//! | 1 | 48 [`EPOCH_ENDS`] | epoch | steady time |
//! | 1 | 71 [`BEACON_ROSTERS`] | epoch | [`Roster`] |
//! | 1 | 72 [`BEACON_DEALS`] | epoch, a seat's key | what it dealt |
//! | 0 | 40 [`STAKE`] | (none) | the stake of all active validators, `mst` |
//! | 1 | 40 [`STAKERS`] | account | [`Validator`] |
//! | 1 | 41 [`DELEGATIONS`] | delegator, validator | [`Delegation`] |
//! | 1 | 42 [`UNBONDINGS`] | unbonding | [`Unbonding`] |
//! | 1 | 43 [`PROPOSALS`] | proposal | [`Proposal`] |
//! | 1 | 44 [`BALLOTS`] | proposal, account | [`Ballot`] |
//! | 0 | 20 [`OPEN_RATE`] | (none) | sum of the rates of all open leases |
//! | 1 | 20 [`BONDS`] | account | [`Bond`] |
//! | 1 | 21 [`DUTIES`] | account, [`crate::bond::DutyKind::id`] | [`Duty`] |
//! | 1 | 22 [`SIGNED`] | provider, auditor | [`Signed`] |
//! | 1 | 23 [`AFFILIATIONS`] | operator, provider | [`Affiliation`] |
//! | 1 | 24 [`OPERATORS`] | account | [`Operator`] |
//! | 1 | 50 [`TENANTS`] | account | [`TenantConduct`] |
//! | 1 | 60 [`BIDS`] | order, host | [`Bid`] |
//! | 1 | 61 [`WAKES`] | class or escrow | [`Wake`] |
//! | 1 | 62 [`OFFERED_CLASSES`] | class | (empty; within a block) |
//! | 1 | 63 [`CHANGED_PROVIDERS`] | provider | (empty; within a block) |
//! | 1 | 16 [`KEYS`] | account, key | [`DelegatedKey`] |
//! | 1 | 17 [`AUTHORITIES`] | account | [`Authority`] |
//! | [`DERIVED`] | the indexes below | | (empty) |
//!
//! Keys whose first byte is at least [`DERIVED`] are indexes over the records: never hashed, and
//! rebuilt by [`crate::rebuild_derived`]. A record names its index entries itself
//! ([`Record::entries`]), and writing it brings them up to date, so nothing else keeps indexes.

mod key;

pub use key::{Key, OfferList, RegionTag, UnitPrice};

use crate::{
    account::{Account, Authority, DelegatedKey},
    archive::{self, Kind, Leaving},
    auditor::Signed,
    bond::{Bond, Duty},
    dispute::{Challenge, Dispute},
    escrow::Escrow,
    genesis::Supply,
    head::Head,
    job::Job,
    market::{Bid, Lease, Order, TenantConduct, Wake},
    neutrality::Operator,
    param::Params,
    provider::{Host, Provider, affiliate::Affiliation},
    stake::{Committee, Delegation, Unbonding, Validator, beacon::Roster},
    state::{Scratch, State},
    vote::{Ballot, Proposal},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{
    AccountId, Amount, DisputeId, EscrowId, Hash, HostId, JobId, LeaseId, Millis, OrderId,
    ProposalId, Rate, UnbondingId, codec,
};
use std::{marker::PhantomData, rc::Rc};

/// Keys whose first byte is this or more are derived.
pub const DERIVED: u8 = 0xF0;

const ITEMS: u8 = 0;
const RECORDS: u8 = 1;

/// Where the chain is.
pub const HEAD: Item<Head> = Table::new(ITEMS, 0);
/// The parameters.
pub const PARAMS: Item<Params> = Table::new(ITEMS, 1);
/// The validators, in order of their accounts.
pub const VALIDATORS: Item<Vec<AccountId>> = Table::new(ITEMS, 2);
/// What exists of each asset.
pub const SUPPLY: Item<Supply> = Table::new(ITEMS, 3);

/// Accounts.
pub const ACCOUNTS: Table<AccountId, Account> = Table::new(RECORDS, 0);
/// Providers.
pub const PROVIDERS: Table<AccountId, Provider> = Table::new(RECORDS, 1);
/// Hosts.
pub const HOSTS: Table<HostId, Host> = Table::new(RECORDS, 2);
/// Orders.
pub const ORDERS: Table<OrderId, Order> = Table::new(RECORDS, 3);
/// Leases.
pub const LEASES: Table<LeaseId, Lease> = Table::new(RECORDS, 4);
/// Escrows.
pub const ESCROWS: Table<EscrowId, Escrow> = Table::new(RECORDS, 5);
/// Jobs.
pub const JOBS: Table<JobId, Job> = Table::new(RECORDS, 6);
/// Disputes.
pub const DISPUTES: Table<DisputeId, Dispute> = Table::new(RECORDS, 7);
/// Challenges of chains.
pub const CHALLENGES: Table<DisputeId, Challenge> = Table::new(RECORDS, 8);
/// What is known of tenants' conduct.
pub const TENANTS: Table<AccountId, TenantConduct> = Table::new(RECORDS, 50);

/// Delegated keys: (account, key).
pub const KEYS: Table<(AccountId, AccountId), DelegatedKey> = Table::new(RECORDS, 16);
/// Who acts for accounts that decided about it.
pub const AUTHORITIES: Table<AccountId, Authority> = Table::new(RECORDS, 17);

/// All leases of a provider.
pub const LEASES_BY_PROVIDER: Index<(AccountId, LeaseId)> = Table::new(DERIVED, 0);
/// All leases of a tenant.
pub const LEASES_BY_TENANT: Index<(AccountId, LeaseId)> = Table::new(DERIVED, 1);
/// All leases of a job.
pub const LEASES_BY_JOB: Index<(JobId, LeaseId)> = Table::new(DERIVED, 2);
/// All leases of an escrow.
pub const LEASES_BY_ESCROW: Index<(EscrowId, LeaseId)> = Table::new(DERIVED, 3);
/// The leases of an escrow that are not closed.
pub const OPEN_LEASES_BY_ESCROW: Index<(EscrowId, LeaseId)> = Table::new(DERIVED, 4);
/// All orders of a tenant.
pub const ORDERS_BY_TENANT: Index<(AccountId, OrderId)> = Table::new(DERIVED, 5);
/// All orders of an escrow.
pub const ORDERS_BY_ESCROW: Index<(EscrowId, OrderId)> = Table::new(DERIVED, 6);
/// All jobs of a tenant.
pub const JOBS_BY_TENANT: Index<(AccountId, JobId)> = Table::new(DERIVED, 7);
/// All escrows of an owner.
pub const ESCROWS_BY_OWNER: Index<(AccountId, EscrowId)> = Table::new(DERIVED, 8);
/// All disputes of a job.
pub const DISPUTES_BY_JOB: Index<(JobId, DisputeId)> = Table::new(DERIVED, 9);
/// The hosts that take orders and are not full: by (list, unit price in it); with where they stand.
pub const OFFERS: Table<(OfferList, UnitPrice, HostId), RegionTag> = Table::new(DERIVED, 10);
/// The hosts that take orders, full ones too, by the end of their offer.
pub const OFFERS_DUE: Index<(Millis, HostId)> = Table::new(DERIVED, 11);
/// Open orders, oldest first.
pub const ORDERS_WAITING: Index<(Millis, OrderId)> = Table::new(DERIVED, 12);
/// Open orders, by deadline.
pub const ORDERS_DUE: Index<(Millis, OrderId)> = Table::new(DERIVED, 13);
/// Granted leases, by the steady time of the grant.
pub const GRANTED_DUE: Index<(Millis, LeaseId)> = Table::new(DERIVED, 14);
/// Serving leases, by the steady time of the last heartbeat.
pub const ACTIVE_DUE: Index<(Millis, LeaseId)> = Table::new(DERIVED, 15);
/// Stalled leases, by the steady time at which the stall was found.
pub const STALLED_DUE: Index<(Millis, LeaseId)> = Table::new(DERIVED, 16);
/// Closed leases that nothing but time keeps from being settled, by the steady time of the close.
pub const CLOSED_DUE: Index<(Millis, LeaseId)> = Table::new(DERIVED, 17);
/// Overdrawn escrows with unsettled leases, by the steady time at which they fell short.
pub const OVERDRAWN_DUE: Index<(Millis, EscrowId)> = Table::new(DERIVED, 18);
/// Open disputes, by deadline (steady time).
pub const DISPUTES_DUE: Index<(Millis, DisputeId)> = Table::new(DERIVED, 19);
/// All challenges of a lease.
pub const CHALLENGES_BY_LEASE: Index<(LeaseId, DisputeId)> = Table::new(DERIVED, 20);
/// Open challenges, by the steady time at which somebody runs out of time.
pub const CHALLENGES_DUE: Index<(Millis, DisputeId)> = Table::new(DERIVED, 21);
/// Leases whose commitment is not final, by the beacon's round that makes it so.
pub const DRAWS_DUE: Index<(u64, LeaseId)> = Table::new(DERIVED, 22);
/// Records that are final, by the steady time since when.
pub const ARCHIVE_DUE: Index<(Millis, Leaving)> = Table::new(DERIVED, 80);

/// The stake of all active validators, own and delegated, `mst`: what a quorum is a part of.
pub const STAKE: Item<Amount> = Table::new(ITEMS, 40);
/// Who staked as validators, in the committee ([`VALIDATORS`]) or not.
pub const STAKERS: Table<AccountId, Validator> = Table::new(RECORDS, 40);
/// The active validators, by weight: the most first (the weight's bits are turned over).
pub const VALIDATORS_BY_WEIGHT: Index<(u128, AccountId)> = Table::new(DERIVED, 45);
/// Delegations: by (delegator, validator).
pub const DELEGATIONS: Table<(AccountId, AccountId), Delegation> = Table::new(RECORDS, 41);
/// Stake that is unbonding.
pub const UNBONDINGS: Table<UnbondingId, Unbonding> = Table::new(RECORDS, 42);
/// Proposals.
pub const PROPOSALS: Table<ProposalId, Proposal> = Table::new(RECORDS, 43);
/// The votes on proposals that are not tallied yet: by (proposal, voter).
pub const BALLOTS: Table<(ProposalId, AccountId), Ballot> = Table::new(RECORDS, 44);
/// Who votes on the next block, for whom.
pub const COMMITTEE: Item<Committee> = Table::new(ITEMS, 41);
/// The turns that each seat has missed in this epoch; nothing where none was missed.
pub const MISSED: Item<Vec<u64>> = Table::new(ITEMS, 42);
/// The validator that a key was named a seat's for, beside those named by their own accounts.
pub const SEAT_KEYS: Table<AccountId, AccountId> = Table::new(RECORDS, 45);
/// The keys that a validator named for more seats.
pub const SEATS: Table<AccountId, Vec<AccountId>> = Table::new(RECORDS, 46);
/// What was slashed for: (epoch, key).
pub const OFFENCES: Table<(u64, AccountId), ()> = Table::new(RECORDS, 47);
/// When epochs ended, in steady time, as long as evidence of them counts.
pub const EPOCH_ENDS: Table<u64, Millis> = Table::new(RECORDS, 48);
/// The delegations to a validator: (validator, delegator).
pub const DELEGATIONS_BY_VALIDATOR: Index<(AccountId, AccountId)> = Table::new(DERIVED, 140);
/// What an account unbonds.
pub const UNBONDINGS_BY_OWNER: Index<(AccountId, UnbondingId)> = Table::new(DERIVED, 141);
/// Proposals that are voted on, by the steady time at which voting ends.
pub const VOTING_DUE: Index<(Millis, ProposalId)> = Table::new(DERIVED, 142);
/// Proposals that passed, by the steady time at which they take effect.
pub const EFFECT_DUE: Index<(Millis, ProposalId)> = Table::new(DERIVED, 143);

/// Who makes the beacon's key of an epoch.
pub const BEACON_ROSTERS: Table<u64, Roster> = Table::new(RECORDS, 71);
/// What the keys of a roster dealt: (epoch, key), opaque to the ledger.
pub const BEACON_DEALS: Table<(u64, AccountId), Vec<u8>> = Table::new(RECORDS, 72);

/// The sum of the rates of all open leases.
pub const OPEN_RATE: Item<Rate> = Table::new(ITEMS, 20);
/// Bonds.
pub const BONDS: Table<AccountId, Bond> = Table::new(RECORDS, 20);
/// Registered duties: (account, [`crate::bond::DutyKind::id`]).
pub const DUTIES: Table<(AccountId, Hash), Duty> = Table::new(RECORDS, 21);
/// What auditors signed: (provider, auditor).
pub const SIGNED: Table<(AccountId, AccountId), Signed> = Table::new(RECORDS, 22);
/// What operators declared: (operator, provider).
pub const AFFILIATIONS: Table<(AccountId, AccountId), Affiliation> = Table::new(RECORDS, 23);
/// What operators have leased.
pub const OPERATORS: Table<AccountId, Operator> = Table::new(RECORDS, 24);
/// Duties that are being left, by the block time at which their pledge is freed.
pub const DUTIES_DUE: Index<(Millis, (AccountId, Hash))> = Table::new(DERIVED, 40);
/// Updating leases, by the steady time of the new manifest.
pub const UPDATING_DUE: Index<(Millis, LeaseId)> = Table::new(DERIVED, 50);
/// Leases that are being reclaimed, by the steady time of their end.
pub const RECLAIMING_DUE: Index<(Millis, LeaseId)> = Table::new(DERIVED, 51);

/// The bids on orders: by (order, host).
pub const BIDS: Table<(OrderId, HostId), Bid> = Table::new(RECORDS, 60);
/// The bells that ring: by class of hosts, or by escrow (see [`crate::market`]).
pub const WAKES: Table<Hash, Wake> = Table::new(RECORDS, 61);
/// The classes of the hosts that this block offers, until its end.
pub const OFFERED_CLASSES: Table<Hash, ()> = Table::new(RECORDS, 62);
/// The providers whose standing or bond grew, until the block's end.
pub const CHANGED_PROVIDERS: Table<AccountId, ()> = Table::new(RECORDS, 63);

/// Orders that take bids or are picked from, by the end of the window (steady time).
pub const WINDOWS_DUE: Index<(Millis, OrderId)> = Table::new(DERIVED, 60);
/// Orders that are ready for a turn, oldest first.
pub const ORDERS_READY: Index<(Millis, OrderId)> = Table::new(DERIVED, 61);
/// Orders that a bell wakes: by (class of hosts or escrow, when it was placed).
pub const SLEEPERS: Index<(Hash, Millis, OrderId)> = Table::new(DERIVED, 62);

/// A typed part of the state.
#[derive(Debug)]
pub struct Table<K, V> {
    prefix: [u8; 2],
    types: PhantomData<fn() -> (K, V)>,
}

/// A table with one entry.
pub type Item<V> = Table<(), V>;

/// A table of keys alone.
pub type Index<K> = Table<K, ()>;

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Table<K, V> {}

impl<K: Key, V: BorshSerialize + BorshDeserialize> Table<K, V> {
    const fn new(group: u8, table: u8) -> Self {
        Self { prefix: [group, table], types: PhantomData }
    }

    /// The storage key of `key`.
    #[must_use]
    pub fn key(&self, key: &K) -> Vec<u8> {
        self.under(key)
    }

    /// The value at `key`.
    ///
    /// # Panics
    /// Where the state holds something else there: it is corrupt, or was written by another
    /// version, and nothing that is computed from it would mean anything.
    #[must_use]
    pub fn get(&self, state: &dyn State, key: &K) -> Option<V> {
        let key = self.key(key);
        let mut found = None;
        state.read(&key, &mut |value| found = value.map(|value| decoded(&key, value)));
        found
    }

    /// Whether there is something at `key`.
    #[must_use]
    pub fn contains(&self, state: &dyn State, key: &K) -> bool {
        is_there(state, &self.key(key))
    }

    /// The entries whose key begins with `under` (`&()`: all), in order, beginning after `after`.
    ///
    /// # Panics
    /// As [`Table::get`].
    pub fn scan<'a>(
        &self,
        state: &'a dyn State,
        under: &impl Key,
        after: Option<&K>,
    ) -> Box<dyn Iterator<Item = (K, V)> + 'a>
    where
        K: 'a,
        V: 'a,
    {
        let start = after.map(|after| {
            let mut key = self.key(after);
            key.push(0);
            key
        });
        self.between(state, self.under(under), start)
    }

    /// Like [`Table::scan`], beginning with `from` where there is one.
    ///
    /// # Panics
    /// As [`Table::get`].
    pub fn scan_from<'a>(
        &self,
        state: &'a dyn State,
        under: &impl Key,
        from: Option<&K>,
    ) -> Box<dyn Iterator<Item = (K, V)> + 'a>
    where
        K: 'a,
        V: 'a,
    {
        self.between(state, self.under(under), from.map(|from| self.key(from)))
    }

    fn between<'a>(
        &self,
        state: &'a dyn State,
        under: Vec<u8>,
        start: Option<Vec<u8>>,
    ) -> Box<dyn Iterator<Item = (K, V)> + 'a>
    where
        K: 'a,
        V: 'a,
    {
        let start = start.unwrap_or_else(|| under.clone());
        let table = *self;
        let entries = state.range(&start, &successor(under));
        Box::new(entries.map(move |(key, value)| {
            let parsed = table.parse(&key).unwrap_or_else(|| corrupt(&key));
            (parsed, decoded(&key, &value))
        }))
    }

    /// The key whose storage key this is; `None` where it is not of this table.
    pub(crate) fn parse(&self, stored: &[u8]) -> Option<K> {
        let mut rest = stored.strip_prefix(self.prefix.as_slice())?;
        K::read(&mut rest).filter(|_| rest.is_empty())
    }

    /// Writes without regard to indexes: records go through [`store`].
    pub(crate) fn put(&self, scratch: &mut Scratch<'_>, key: &K, value: &V) {
        scratch.put(self.key(key), codec::encode(value));
    }

    pub(crate) fn delete(&self, scratch: &mut Scratch<'_>, key: &K) {
        scratch.delete(self.key(key));
    }

    fn under(&self, part: &impl Key) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.extend_from_slice(&self.prefix);
        part.write(&mut out);
        out
    }
}

/// The first key after all that begin with `prefix`.
fn successor(mut prefix: Vec<u8>) -> Vec<u8> {
    while let Some(last) = prefix.pop() {
        if let Some(next) = last.checked_add(1) {
            prefix.push(next);
            break;
        }
    }
    prefix
}

fn decoded<V: BorshDeserialize>(key: &[u8], value: &[u8]) -> V {
    borsh::from_slice(value).unwrap_or_else(|_| corrupt(key))
}

fn corrupt<T>(key: &[u8]) -> T {
    panic!("invariant `state decodes` is broken at key {key:02x?}: corrupt, or of another version")
}

fn is_there(state: &dyn State, key: &[u8]) -> bool {
    let mut there = false;
    state.read(key, &mut |value| there = value.is_some());
    there
}

/// What index entries a kind of records has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// None at all, and nothing else depends on a record being written: [`Record::entries`],
    /// [`Record::is_listed`] and [`Record::stored`] are as they are by default.
    Never,
    /// All that it names: [`Record::is_listed`] is as it is by default. Entries that stay the
    /// same need not be looked at.
    Always,
    /// As [`Record::is_listed`] says.
    Asked,
}

/// A record with its table and its index entries.
pub trait Record: BorshSerialize + BorshDeserialize + Clone + 'static {
    /// Its key.
    type Key: Key;
    /// What it is called in refusals.
    const KIND: &'static str;
    /// Its table.
    const TABLE: Table<Self::Key, Self>;
    /// What index entries it has.
    const LISTING: Listing = Listing::Asked;
    /// What it leaves the state as, some time after it became final; `None`: it never does.
    const LEAVES: Option<Kind> = None;

    /// Whether nothing in the rules can change it as it stands. Asked at every write, which also
    /// writes down since when: see [`crate::archive`].
    fn is_final(&self) -> bool {
        false
    }

    /// Since when it is final, in steady time.
    fn final_at(&self) -> Option<Millis> {
        None
    }

    /// Writes down since when it is final.
    fn set_final_at(&mut self, at: Option<Millis>) {
        let _ = at;
    }

    /// Calls `emit` with the storage key of every index entry of this record.
    fn entries(&self, key: &Self::Key, emit: &mut dyn FnMut(Vec<u8>)) {
        let _ = (key, emit);
    }

    /// What its entries in [`OFFERS`] say.
    fn tag(key: &Self::Key, scratch: &Scratch<'_>) -> RegionTag {
        let _ = (key, scratch);
        RegionTag::default()
    }

    /// Whether the entries are listed at all; asked of the state that the record is written to.
    fn is_listed(&self, key: &Self::Key, state: &dyn State) -> bool {
        let _ = (key, state);
        true
    }

    /// Called after a write: updates the entries of records whose listing depends on this one.
    fn stored(key: &Self::Key, old: Option<&Self>, new: &Self, scratch: &mut Scratch<'_>) {
        let _ = (key, old, new, scratch);
    }
}

fn entries<R: Record>(record: &R, key: &R::Key) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    record.entries(key, &mut |entry| all.push(entry));
    all.extend(archive::entry(record, key));
    all
}

/// The record at `key`, which the block keeps as it is until it ends.
pub(crate) fn find<R: Record>(scratch: &Scratch<'_>, key: &R::Key) -> Option<Rc<R>> {
    let key = R::TABLE.key(key);
    scratch.record(&key, |bytes| decoded(&key, bytes))
}

/// Writes a record and brings its index entries up to date.
pub(crate) fn store<R: Record>(scratch: &mut Scratch<'_>, key: &R::Key, record: &R) {
    if R::LISTING == Listing::Never {
        return scratch.put_record(R::TABLE.key(key), record.clone());
    }
    let stamped = archive::stamped(record, scratch);
    let record = stamped.as_ref().unwrap_or(record);
    let old = find::<R>(scratch, key);
    scratch.put_record(R::TABLE.key(key), record.clone());
    relist(scratch, key, old.as_deref(), Some(record));
    R::stored(key, old.as_deref(), record, scratch);
}

/// Writes a record that is new, listed and not final, and on which nothing else depends.
pub(crate) fn create<R: Record>(scratch: &mut Scratch<'_>, key: &R::Key, record: R) {
    let entries = entries(&record, key);
    scratch.put_record(R::TABLE.key(key), record);
    put_entries::<R>(scratch, key, entries);
}

/// Deletes a record and its index entries.
pub(crate) fn remove<R: Record>(scratch: &mut Scratch<'_>, key: &R::Key) {
    let old = find::<R>(scratch, key);
    R::TABLE.delete(scratch, key);
    relist(scratch, key, old.as_deref(), None);
}

/// Writes a record whose index entries stay as they are, and on which nothing else depends.
pub(crate) fn write<R: Record>(scratch: &mut Scratch<'_>, key: &R::Key, record: R) {
    scratch.put_record(R::TABLE.key(key), record);
}

/// Replaces the index entries of `old`, which is listed, by those of `new`, which is too.
pub(crate) fn relist_listed<R: Record>(scratch: &mut Scratch<'_>, key: &R::Key, old: &R, new: &R) {
    exchange::<R>(scratch, key, entries(old, key), entries(new, key));
}

/// Takes out what only `old` names, and puts in what only `new` does.
fn exchange<R: Record>(
    scratch: &mut Scratch<'_>,
    key: &R::Key,
    mut old: Vec<Vec<u8>>,
    mut new: Vec<Vec<u8>>,
) {
    new.retain(|entry| {
        // Most often in its place, since records name theirs in order.
        let known = old.iter().position(|known| known == entry);
        known.map(|place| old.swap_remove(place)).is_none()
    });
    old.into_iter().for_each(|entry| scratch.delete(entry));
    put_entries::<R>(scratch, key, new);
}

/// Puts in index entries.
fn put_entries<R: Record>(scratch: &mut Scratch<'_>, key: &R::Key, entries: Vec<Vec<u8>>) {
    let mut tag = None;
    for entry in entries {
        let value = if entry.starts_with(&OFFERS.prefix) {
            codec::encode(tag.get_or_insert_with(|| R::tag(key, scratch)))
        } else {
            Vec::new()
        };
        scratch.put(entry, value);
    }
}

/// Replaces the index entries of `old` by those of `new`.
pub(crate) fn relist<R: Record>(
    scratch: &mut Scratch<'_>,
    key: &R::Key,
    old: Option<&R>,
    new: Option<&R>,
) {
    let new = new.filter(|new| new.is_listed(key, scratch));
    let new = new.map(|new| entries(new, key)).unwrap_or_default();
    let old = old.map(|old| entries(old, key)).unwrap_or_default();
    if R::LISTING == Listing::Always {
        return exchange::<R>(scratch, key, old, new);
    }
    for entry in old {
        if !new.contains(&entry) && is_there(scratch, &entry) {
            scratch.delete(entry);
        }
    }
    let new = new.into_iter().filter(|entry| !is_there(scratch, entry)).collect();
    put_entries::<R>(scratch, key, new);
}

/// Puts the index entries of every record of a kind into `scratch`.
pub(crate) fn list_all<R: Record>(state: &dyn State, scratch: &mut Scratch<'_>) {
    for (key, record) in R::TABLE.scan(state, &(), None) {
        if record.is_listed(&key, state) {
            put_entries::<R>(scratch, &key, entries(&record, &key));
        }
    }
}

#[cfg(test)]
mod tests;
