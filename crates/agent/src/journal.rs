//! What the provider must not forget: results that it signed, what each lease runs, which blobs
//! are kept for which lease.
//!
//! One redb file. Every write is one transaction. [`Journal::record`] is the exception to
//! durability: results of a run become durable together at [`Journal::sync`], which comes before
//! any of them leaves the provider.

mod services;

pub(crate) use services::{ReplicaEntry, ServiceEntry};

use borsh::{BorshDeserialize, BorshSerialize};
use muster_api::provider::TaskLimits;
use muster_ledger::{dispute::Claim, job::JobKind};
use muster_types::{
    AccountId, Hash, JobId, LeaseId,
    codec::{self, DecodeError},
};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use std::{
    collections::BTreeMap,
    fs::{OpenOptions, Permissions},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// `""` to [`Owner`].
const OWNER: Table = TableDefinition::new("owner");
/// Lease to [`LeaseEntry`].
const LEASES: Table = TableDefinition::new("leases");
/// Lease, index (big-endian) to [`ResultEntry`].
const RESULTS: Table = TableDefinition::new("results");
/// Lease, blob to roles.
const HELD: Table = TableDefinition::new("held");
/// Blob, lease to nothing: [`HELD`] the other way round.
const HOLDERS: Table = TableDefinition::new("holders");

/// Bound for decoding an entry that we wrote.
const MAX_ENTRY_BYTES: usize = 2 << 20;

/// Why the journal could not be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be opened.
    #[error("{} cannot be opened: is another process using it?", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// The file is another's.
    #[error(
        "{} belongs to another provider or another chain: use another directory", path.display()
    )]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// A read or a write failed.
    #[error("a read or write failed: is the disk full?")]
    Store(#[source] Box<redb::Error>),
    /// The provider has ended.
    #[error("it is closed: the provider has ended")]
    Closed,
    /// An entry does not decode.
    #[error("an entry does not decode: the file is damaged, or of another version")]
    Damaged(#[from] DecodeError),
}

impl JournalError {
    fn store(error: impl Into<redb::Error>) -> Self {
        Self::Store(Box::new(error.into()))
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for JournalError {
            fn from(error: redb::$error) -> Self {
                Self::store(error)
            }
        })*
    };
}
from_redb!(TransactionError, TableError, StorageError, CommitError, SetDurabilityError);

/// Whose journal a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Owner {
    pub(crate) chain: Hash,
    pub(crate) account: AccountId,
}

/// What a lease runs: a `Prepare` request without where to fetch it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Setup {
    pub(crate) job: JobId,
    pub(crate) kind: JobKind,
    pub(crate) module: Hash,
    pub(crate) data: BTreeMap<String, Hash>,
    pub(crate) limits: TaskLimits,
}

/// The root that was sent, or is about to be sent, to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Committed {
    pub(crate) root: Hash,
    pub(crate) count: u64,
    pub(crate) fuel: u64,
}

/// What is known of a lease.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct LeaseEntry {
    pub(crate) tenant: AccountId,
    pub(crate) setup: Option<Setup>,
    pub(crate) committed: Option<Committed>,
}

/// A task's result.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct ResultEntry {
    pub(crate) claim: Claim,
    pub(crate) output_bytes: u64,
}

/// What a lease keeps a blob for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Module, data or input: until the lease is closed.
    Input = 1,
    /// Output: until the lease is settled.
    Output = 2,
}

/// Blobs that a lease does not keep any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Released {
    /// Kept by no lease.
    pub(crate) unpin: Vec<Hash>,
    /// Outputs that no other lease of this tenant has.
    pub(crate) revoke: Vec<Hash>,
}

/// The journal. Calls block on the disk.
#[derive(Debug)]
pub(crate) struct Journal {
    db: Database,
}

fn join(a: &[u8; 32], b: &[u8]) -> Vec<u8> {
    [a.as_slice(), b].concat()
}

/// The keys that begin with `prefix`.
fn under(prefix: &[u8; 32]) -> (Vec<u8>, Vec<u8>) {
    (prefix.to_vec(), join(prefix, &[0xff; 40]))
}

/// The 32 bytes after the first 32 of a key of ours.
fn second(key: &[u8]) -> Result<Hash, JournalError> {
    codec::decode(key.get(32..).unwrap_or_default(), 32).map_err(JournalError::from)
}

fn get<T: BorshDeserialize>(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<T>, JournalError> {
    let Some(value) = table.get(key)? else { return Ok(None) };
    Ok(Some(codec::decode(value.value(), MAX_ENTRY_BYTES)?))
}

/// Makes the file, where it is missing, and keeps others from reading it: it has secrets in it.
fn private(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}

impl Journal {
    /// Opens or creates the journal of `owner` at `path`.
    pub(crate) fn open(path: &Path, owner: Owner) -> Result<Self, JournalError> {
        let open = |source: redb::Error| JournalError::Open {
            path: path.to_owned(),
            source: Box::new(source),
        };
        private(path).map_err(|error| open(redb::Error::Io(error)))?;
        let db = Database::create(path).map_err(|error| open(error.into()))?;
        let write = db.begin_write()?;
        let known: Option<Owner> = {
            let mut table = write.open_table(OWNER)?;
            let known = get(&table, b"")?;
            table.insert(b"".as_slice(), codec::encode(&owner).as_slice())?;
            // So that readers find them.
            for table in [LEASES, RESULTS, HELD, HOLDERS, services::SERVICES] {
                write.open_table(table)?;
            }
            known
        };
        if known.is_some_and(|known| known != owner) {
            return Err(JournalError::Foreign { path: path.to_owned() });
        }
        write.commit()?;
        Ok(Self { db })
    }

    /// Keeps `blobs` for a lease. Durable; to be called before they are fetched, so that nothing
    /// is pinned without a record of why.
    pub(crate) fn hold(
        &self,
        lease: LeaseId,
        tenant: AccountId,
        blobs: &[Hash],
    ) -> Result<(), JournalError> {
        let write = self.db.begin_write()?;
        {
            let mut leases = write.open_table(LEASES)?;
            if get::<LeaseEntry>(&leases, lease.as_bytes())?.is_none() {
                let entry = LeaseEntry { tenant, setup: None, committed: None };
                leases.insert(lease.as_bytes().as_slice(), codec::encode(&entry).as_slice())?;
            }
        }
        for blob in blobs {
            hold_one(&write, lease, *blob, Role::Input)?;
        }
        Ok(write.commit()?)
    }

    /// What is known of a lease.
    pub(crate) fn lease(&self, lease: LeaseId) -> Result<Option<LeaseEntry>, JournalError> {
        get(&self.db.begin_read()?.open_table(LEASES)?, lease.as_bytes())
    }

    /// Every lease that the journal knows.
    pub(crate) fn leases(&self) -> Result<Vec<LeaseId>, JournalError> {
        let table = self.db.begin_read()?.open_table(LEASES)?;
        let ids = table.iter()?.map(|row| Ok(codec::decode(row?.0.value(), 32)?));
        ids.collect()
    }

    /// Notes what a lease runs. Durable.
    pub(crate) fn set_setup(&self, lease: LeaseId, setup: Setup) -> Result<(), JournalError> {
        self.change(lease, |entry| entry.setup = Some(setup))
    }

    /// Notes what is committed for a lease. Durable.
    pub(crate) fn set_committed(
        &self,
        lease: LeaseId,
        committed: Committed,
    ) -> Result<(), JournalError> {
        self.change(lease, |entry| entry.committed = Some(committed))
    }

    fn change(
        &self,
        lease: LeaseId,
        change: impl FnOnce(&mut LeaseEntry),
    ) -> Result<(), JournalError> {
        let write = self.db.begin_write()?;
        {
            let mut table = write.open_table(LEASES)?;
            let Some(mut entry) = get(&table, lease.as_bytes())? else { return Ok(()) };
            change(&mut entry);
            table.insert(lease.as_bytes().as_slice(), codec::encode(&entry).as_slice())?;
        }
        Ok(write.commit()?)
    }

    /// Notes a result in place of an earlier one of the same task, and keeps its output. Durable
    /// only after the next [`Journal::sync`].
    pub(crate) fn record(&self, result: &ResultEntry) -> Result<(), JournalError> {
        let mut write = self.db.begin_write()?;
        write.set_durability(Durability::None)?;
        let ResultEntry { claim, .. } = result;
        {
            let key = join(claim.lease.as_bytes(), &claim.task.index.to_be_bytes());
            let mut table = write.open_table(RESULTS)?;
            table.insert(key.as_slice(), codec::encode(result).as_slice())?;
        }
        hold_one(&write, claim.lease, claim.result.output, Role::Output)?;
        Ok(write.commit()?)
    }

    /// Makes everything durable that was written so far.
    pub(crate) fn sync(&self) -> Result<(), JournalError> {
        Ok(self.db.begin_write()?.commit()?)
    }

    /// The result of one task.
    pub(crate) fn result(
        &self,
        lease: LeaseId,
        index: u64,
    ) -> Result<Option<ResultEntry>, JournalError> {
        let key = join(lease.as_bytes(), &index.to_be_bytes());
        get(&self.db.begin_read()?.open_table(RESULTS)?, &key)
    }

    /// A lease's results, by index.
    pub(crate) fn results(&self, lease: LeaseId) -> Result<Vec<ResultEntry>, JournalError> {
        let table = self.db.begin_read()?.open_table(RESULTS)?;
        let (start, end) = under(lease.as_bytes());
        let rows = table.range(start.as_slice()..end.as_slice())?;
        rows.map(|row| Ok(codec::decode(row?.1.value(), MAX_ENTRY_BYTES)?)).collect()
    }

    /// Lets go of what a lease needed to run: module, data, inputs. Durable.
    pub(crate) fn close(&self, lease: LeaseId) -> Result<Released, JournalError> {
        let write = self.db.begin_write()?;
        let released = release(&write, lease, Role::Input as u8)?;
        write.commit()?;
        Ok(released)
    }

    /// Lets go of all that a lease kept and forgets it. Durable.
    pub(crate) fn forget(&self, lease: LeaseId) -> Result<Released, JournalError> {
        let write = self.db.begin_write()?;
        let released = release(&write, lease, Role::Input as u8 | Role::Output as u8)?;
        {
            let (start, end) = under(lease.as_bytes());
            let mut results = write.open_table(RESULTS)?;
            results.retain_in(start.as_slice()..end.as_slice(), |_, _| false)?;
            write.open_table(LEASES)?.remove(lease.as_bytes().as_slice())?;
        }
        write.commit()?;
        Ok(released)
    }
}

fn hold_one(
    write: &redb::WriteTransaction,
    lease: LeaseId,
    blob: Hash,
    role: Role,
) -> Result<(), JournalError> {
    let key = join(lease.as_bytes(), blob.as_bytes());
    let mut held = write.open_table(HELD)?;
    let roles: u8 = get(&held, &key)?.unwrap_or(0);
    held.insert(key.as_slice(), [roles | role as u8].as_slice())?;
    let key = join(blob.as_bytes(), lease.as_bytes());
    write.open_table(HOLDERS)?.insert(key.as_slice(), [].as_slice())?;
    Ok(())
}

/// Takes `roles` from everything that `lease` holds.
fn release(
    write: &redb::WriteTransaction,
    lease: LeaseId,
    roles: u8,
) -> Result<Released, JournalError> {
    let mut held = write.open_table(HELD)?;
    let mut holders = write.open_table(HOLDERS)?;
    let leases = write.open_table(LEASES)?;
    let tenant = get::<LeaseEntry>(&leases, lease.as_bytes())?.map(|entry| entry.tenant);
    let (start, end) = under(lease.as_bytes());
    let mut all: Vec<(Hash, u8)> = Vec::new();
    for row in held.range(start.as_slice()..end.as_slice())? {
        let (key, value) = row?;
        all.push((second(key.value())?, codec::decode(value.value(), 1)?));
    }
    let mut released = Released::default();
    for (blob, before) in all {
        let (lost, left) = (before & roles, before & !roles);
        let key = join(lease.as_bytes(), blob.as_bytes());
        if left != 0 {
            held.insert(key.as_slice(), [left].as_slice())?;
            continue;
        }
        held.remove(key.as_slice())?;
        holders.remove(join(blob.as_bytes(), lease.as_bytes()).as_slice())?;
        let (start, end) = under(blob.as_bytes());
        let (mut others, mut same_tenant) = (false, false);
        for row in holders.range(start.as_slice()..end.as_slice())? {
            others = true;
            let other = LeaseId(second(row?.0.value())?);
            let theirs = get::<LeaseEntry>(&leases, other.as_bytes())?.map(|entry| entry.tenant);
            let roles: u8 = get(&held, &join(other.as_bytes(), blob.as_bytes()))?.unwrap_or(0);
            same_tenant |= theirs == tenant && roles & Role::Output as u8 != 0;
        }
        if !others {
            released.unpin.push(blob);
        }
        if lost & Role::Output as u8 != 0 && !same_tenant {
            released.revoke.push(blob);
        }
    }
    Ok(released)
}

#[cfg(test)]
mod tests;
