//! Every key of the state, and its encoding.
//!
//! A key is two prefix bytes (group, table), then the parts of the table's key in order. Parts
//! sort as their values do: integers big endian, ids as they are, so that a range of keys is a
//! range of values. Values are borsh.
//!
//! | group | table | key | value |
//! |---|---|---|---|
//! | 0 | 0 [`HEAD`], 1 [`PARAMS`], 2 [`VALIDATORS`], 3 [`SUPPLY`], 4 [`RETRY`] | (none) | one each |
//! | 1 | 0 [`ACCOUNTS`] | account | [`Account`] |
//! | 1 | 1 [`PROVIDERS`] | account | [`Provider`] |
//! | 1 | 2 [`HOSTS`] | provider, index | [`Host`] |
//! | 1 | 3 [`ORDERS`] | order | [`Order`] |
//! | 1 | 4 [`LEASES`] | lease | [`Lease`] |
//! | 1 | 5 [`ESCROWS`] | escrow | [`Escrow`] |
//! | 1 | 6 [`JOBS`] | job | [`Job`] |
//! | 1 | 7 [`DISPUTES`] | dispute | [`Dispute`] |
//! | [`DERIVED`] | the indexes below | | (empty) |
//!
//! Keys whose first byte is at least [`DERIVED`] are indexes over the records: never hashed, and
//! rebuilt by [`crate::rebuild_derived`]. A record names its index entries itself
//! ([`Record::entries`]), and writing it brings them up to date, so nothing else keeps indexes.

use crate::{
    account::Account,
    archive::{self, Kind, Leaving},
    dispute::Dispute,
    escrow::Escrow,
    genesis::Supply,
    head::Head,
    job::Job,
    market::{Lease, Order},
    param::Params,
    provider::{Host, Provider},
    state::{Scratch, State},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{
    AccountId, DisputeId, EscrowId, Hash, HostId, JobId, LeaseId, Millis, OrderId, Rate, codec,
};
use std::marker::PhantomData;

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
/// The waiting order that was retried last: (placed at, order).
pub const RETRY: Item<(Millis, OrderId)> = Table::new(ITEMS, 4);

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
/// The hosts that take orders: by (class of hosts, unit price in it).
pub const OFFERS: Index<(Hash, Rate, HostId)> = Table::new(DERIVED, 10);
/// The same hosts, by the end of their offer.
pub const OFFERS_DUE: Index<(Millis, HostId)> = Table::new(DERIVED, 11);
/// Open orders, oldest first.
pub const ORDERS_WAITING: Index<(Millis, OrderId)> = Table::new(DERIVED, 12);
/// Open orders, by deadline.
pub const ORDERS_DUE: Index<(Millis, OrderId)> = Table::new(DERIVED, 13);
/// Granted leases, by the steady time of the grant.
pub const GRANTED_DUE: Index<(Millis, LeaseId)> = Table::new(DERIVED, 14);
/// Active leases, by the steady time of the last heartbeat.
pub const ACTIVE_DUE: Index<(Millis, LeaseId)> = Table::new(DERIVED, 15);
/// Stalled leases, by the steady time at which the stall was found.
pub const STALLED_DUE: Index<(Millis, LeaseId)> = Table::new(DERIVED, 16);
/// Closed leases that nothing but time keeps from being settled, by the steady time of the close.
pub const CLOSED_DUE: Index<(Millis, LeaseId)> = Table::new(DERIVED, 17);
/// Overdrawn escrows with unsettled leases, by the steady time at which they fell short.
pub const OVERDRAWN_DUE: Index<(Millis, EscrowId)> = Table::new(DERIVED, 18);
/// Open disputes, by deadline (steady time).
pub const DISPUTES_DUE: Index<(Millis, DisputeId)> = Table::new(DERIVED, 19);
/// Records that are final, by the steady time since when.
pub const ARCHIVE_DUE: Index<(Millis, Leaving)> = Table::new(DERIVED, 60);

/// A part of a storage key. Encodings sort as the values do.
pub trait Key: Sized {
    /// Appends the encoding.
    fn write(&self, out: &mut Vec<u8>);

    /// Takes an encoding off the front of `bytes`; `None` where there is none.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

impl Key for () {
    fn write(&self, _: &mut Vec<u8>) {}

    fn read(_: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

impl Key for Hash {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(Self)
    }
}

macro_rules! id_key {
    ($($id:ident),*) => {$(
        impl Key for $id {
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }

            fn read(bytes: &mut &[u8]) -> Option<Self> {
                Key::read(bytes).map(Self)
            }
        }
    )*};
}

id_key!(AccountId, OrderId, LeaseId, EscrowId, JobId, DisputeId);

impl Key for HostId {
    fn write(&self, out: &mut Vec<u8>) {
        self.provider.write(out);
        out.extend_from_slice(&self.index.to_be_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let provider = Key::read(bytes)?;
        Some(Self { provider, index: u32::from_be_bytes(take(bytes)?) })
    }
}

impl Key for Millis {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_be_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(|bytes| Self(u64::from_be_bytes(bytes)))
    }
}

impl Key for Rate {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.amount_per_hour().nanos().to_be_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let nanos = u128::from_be_bytes(take(bytes)?);
        Some(Self::per_hour(muster_types::Amount::from_nanos(nanos)))
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::read(bytes)?, B::read(bytes)?))
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
        self.2.write(out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::read(bytes)?, B::read(bytes)?, C::read(bytes)?))
    }
}

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
        state.get(&key).map(|value| decoded(&key, &value))
    }

    /// Whether there is something at `key`.
    #[must_use]
    pub fn contains(&self, state: &dyn State, key: &K) -> bool {
        state.get(&self.key(key)).is_some()
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
        let under = self.under(under);
        let start = after.map_or_else(
            || under.clone(),
            |after| {
                let mut key = self.key(after);
                key.push(0);
                key
            },
        );
        let (table, entries) = (*self, state.range(&start, &successor(under)));
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

/// A record with its table and its index entries.
pub trait Record: Clone + BorshSerialize + BorshDeserialize {
    /// Its key.
    type Key: Key;
    /// What it is called in refusals.
    const KIND: &'static str;
    /// Its table.
    const TABLE: Table<Self::Key, Self>;
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

/// Writes a record and brings its index entries up to date.
pub(crate) fn store<R: Record>(scratch: &mut Scratch<'_>, key: &R::Key, record: &R) {
    let stamped = archive::stamped(record, scratch);
    let record = stamped.as_ref().unwrap_or(record);
    let old = R::TABLE.get(scratch, key);
    R::TABLE.put(scratch, key, record);
    relist(scratch, key, old.as_ref(), Some(record));
    R::stored(key, old.as_ref(), record, scratch);
}

/// Deletes a record and its index entries.
pub(crate) fn remove<R: Record>(scratch: &mut Scratch<'_>, key: &R::Key) {
    let old = R::TABLE.get(scratch, key);
    R::TABLE.delete(scratch, key);
    relist(scratch, key, old.as_ref(), None);
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
    for entry in &old {
        if !new.contains(entry) && scratch.get(entry).is_some() {
            scratch.delete(entry.clone());
        }
    }
    for entry in new {
        if scratch.get(&entry).is_none() {
            scratch.put(entry, Vec::new());
        }
    }
}

/// Puts the index entries of every record of a kind into `scratch`.
pub(crate) fn list_all<R: Record>(state: &dyn State, scratch: &mut Scratch<'_>) {
    for (key, record) in R::TABLE.scan(state, &(), None) {
        if record.is_listed(&key, state) {
            for entry in entries(&record, &key) {
                scratch.put(entry, Vec::new());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::MemoryState;

    #[test]
    fn keys_sort_as_their_values_and_parse_back() {
        let table: Index<(Millis, HostId)> = Table::new(7, 7);
        let host = |byte: u8, index| HostId { provider: AccountId(Hash([byte; 32])), index };
        let mut values = Vec::new();
        for time in [0, 1, 255, 256, u64::MAX] {
            for byte in [0, 1, 255] {
                for index in [0, 255, 256, u32::MAX] {
                    values.push((Millis(time), host(byte, index)));
                }
            }
        }
        assert!(values.windows(2).all(|pair| table.key(&pair[0]) < table.key(&pair[1])));
        let mut state = MemoryState::default();
        let mut scratch = Scratch::new(&state);
        for value in &values {
            table.put(&mut scratch, value, &());
        }
        let changes = scratch.into_changes();
        state.apply(changes);
        let all: Vec<_> = table.scan(&state, &(), None).map(|(key, ())| key).collect();
        assert_eq!(all, values);
        let some: Vec<_> =
            table.scan(&state, &Millis(255), Some(&values[26])).map(|(key, ())| key).collect();
        assert_eq!(some, values[27..36]);
    }

    #[test]
    fn the_successor_of_a_prefix_ends_its_range() {
        assert_eq!(successor(vec![1, 2]), [1, 3]);
        assert_eq!(successor(vec![1, 255]), [2]);
        assert_eq!(successor(vec![255, 255]), Vec::<u8>::new());
    }

    #[test]
    #[should_panic(expected = "state decodes")]
    fn a_corrupt_value_stops_the_process() {
        let mut state = MemoryState::default();
        state.0.insert(HEAD.key(&()), vec![1, 2, 3]);
        let _ = HEAD.get(&state, &());
    }
}
