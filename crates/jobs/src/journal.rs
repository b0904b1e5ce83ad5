//! What must survive the conductor: one redb file in the job's directory.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | the [`Plan`], the end, who and where |
//! | `txs` | step | a signed transaction, written before it is sent |
//! | `log` | number | an [`Event`] that the schedule took note of, in order |
//! | `services` | lease | the service that it was given |
//!
//! Every write is one durable transaction. redb locks its file, so one conductor at a time has it.

use crate::{JobError, plan::Plan, schedule::Event};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_ledger::Tx;
use muster_types::{AccountId, Hash, LeaseId, codec};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
const TXS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("txs");
const LOG: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("log");

const SERVICES: TableDefinition<'static, &[u8], &str> = TableDefinition::new("services");

const START: &str = "start";
const END: &str = "end";

/// Bound for decoding an entry that we wrote: the plan of a job of a million tasks.
const MAX_ENTRY_BYTES: usize = 256 << 20;

/// How a job started.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Start {
    /// Whose job it is.
    pub(crate) tenant: AccountId,
    /// On which chain.
    pub(crate) chain: Hash,
    /// The chain's height at the start: everything of the job is in later blocks.
    pub(crate) height: u64,
    /// Block time after which the job is given up, milliseconds.
    pub(crate) deadline_ms: u64,
    /// Local time of the start, milliseconds since 1970: for the report only.
    pub(crate) started_ms: u64,
    /// The quote, as JSON.
    pub(crate) quote: String,
    /// What to run.
    pub(crate) plan: Plan,
}

/// The journal of one job.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    database: Database,
}

impl Journal {
    /// Opens or creates the journal in `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self, JobError> {
        let failed = |source| JobError::File { path: dir.to_owned(), action: "written", source };
        fs::create_dir_all(dir).map_err(failed)?;
        let path = dir.join("journal.redb");
        let database = match Database::create(&path) {
            Ok(database) => database,
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                return Err(JobError::Locked { dir: dir.to_owned() });
            }
            Err(error) => return Err(JobError::Journal { path, source: Box::new(error) }),
        };
        let journal = Self { path, database };
        // Create the tables, so that reading finds them.
        journal.write(|_| Ok(()))?;
        Ok(journal)
    }

    /// How the job started; `None` where there is none yet.
    pub(crate) fn start(&self) -> Result<Option<Start>, JobError> {
        self.meta(START)
    }

    /// Writes the start down.
    pub(crate) fn set_start(&self, start: &Start) -> Result<(), JobError> {
        self.set_meta(START, start)
    }

    /// The finished job's report, as JSON.
    pub(crate) fn end(&self) -> Result<Option<String>, JobError> {
        self.meta(END)
    }

    /// Writes the end down.
    pub(crate) fn set_end(&self, report: &String) -> Result<(), JobError> {
        self.set_meta(END, report)
    }

    /// The transaction that carries out `step`, if one was signed.
    pub(crate) fn tx(&self, step: &str) -> Result<Option<Tx>, JobError> {
        let read = self.database.begin_read().map_err(|error| self.failed(error))?;
        let table = read.open_table(TXS).map_err(|error| self.failed(error))?;
        let entry = table.get(step).map_err(|error| self.failed(error))?;
        entry.map(|entry| self.decode(entry.value())).transpose()
    }

    /// The steps that start with `prefix`, and their transactions.
    pub(crate) fn txs(&self, prefix: &str) -> Result<Vec<(String, Tx)>, JobError> {
        let read = self.database.begin_read().map_err(|error| self.failed(error))?;
        let table = read.open_table(TXS).map_err(|error| self.failed(error))?;
        let mut found = Vec::new();
        for entry in table.range(prefix..).map_err(|error| self.failed(error))? {
            let (step, tx) = entry.map_err(|error| self.failed(error))?;
            if !step.value().starts_with(prefix) {
                break;
            }
            found.push((step.value().to_owned(), self.decode(tx.value())?));
        }
        Ok(found)
    }

    /// Writes down what will be sent for `step`.
    pub(crate) fn set_tx(&self, step: &str, tx: &Tx) -> Result<(), JobError> {
        self.write(|write| {
            write.open_table(TXS)?.insert(step, codec::encode(tx).as_slice())?;
            Ok(())
        })
    }

    /// The services that leases were given.
    pub(crate) fn services(&self) -> Result<BTreeMap<LeaseId, String>, JobError> {
        let read = self.database.begin_read().map_err(|error| self.failed(error))?;
        let table = read.open_table(SERVICES).map_err(|error| self.failed(error))?;
        let mut found = BTreeMap::new();
        for entry in table.iter().map_err(|error| self.failed(error))? {
            let (lease, service) = entry.map_err(|error| self.failed(error))?;
            found.insert(self.decode(lease.value())?, service.value().to_owned());
        }
        Ok(found)
    }

    /// Gives leases their services.
    pub(crate) fn set_services(&self, given: &[(LeaseId, String)]) -> Result<(), JobError> {
        self.write(|write| {
            let mut table = write.open_table(SERVICES)?;
            for (lease, service) in given {
                table.insert(lease.as_bytes().as_slice(), service.as_str())?;
            }
            Ok(())
        })
    }

    /// Adds to the log.
    pub(crate) fn append(&self, event: &Event) -> Result<(), JobError> {
        self.write(|write| {
            let mut table = write.open_table(LOG)?;
            let next = table.last()?.map_or(0, |(number, _)| number.value().saturating_add(1));
            table.insert(next, codec::encode(event).as_slice())?;
            Ok(())
        })
    }

    /// The log, from its beginning.
    pub(crate) fn log(&self) -> Result<Vec<Event>, JobError> {
        let read = self.database.begin_read().map_err(|error| self.failed(error))?;
        let table = read.open_table(LOG).map_err(|error| self.failed(error))?;
        let entries = table.iter().map_err(|error| self.failed(error))?;
        let decode =
            |entry: Result<(redb::AccessGuard<'_, u64>, redb::AccessGuard<'_, &[u8]>), _>| {
                let (_, event) = entry.map_err(|error: redb::StorageError| self.failed(error))?;
                self.decode(event.value())
            };
        entries.map(decode).collect()
    }

    fn meta<T: BorshDeserialize>(&self, name: &str) -> Result<Option<T>, JobError> {
        let read = self.database.begin_read().map_err(|error| self.failed(error))?;
        let table = read.open_table(META).map_err(|error| self.failed(error))?;
        let entry = table.get(name).map_err(|error| self.failed(error))?;
        entry.map(|entry| self.decode(entry.value())).transpose()
    }

    fn set_meta<T: BorshSerialize>(&self, name: &str, value: &T) -> Result<(), JobError> {
        self.write(|write| {
            write.open_table(META)?.insert(name, codec::encode(value).as_slice())?;
            Ok(())
        })
    }

    fn write(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), JobError> {
        let all = || {
            let write = self.database.begin_write()?;
            write.open_table(META)?;
            write.open_table(TXS)?;
            write.open_table(LOG)?;
            write.open_table(SERVICES)?;
            change(&write)?;
            write.commit()?;
            Ok(())
        };
        all().map_err(|error: redb::Error| self.failed(error))
    }

    fn decode<T: BorshDeserialize>(&self, bytes: &[u8]) -> Result<T, JobError> {
        codec::decode(bytes, MAX_ENTRY_BYTES)
            .map_err(|source| JobError::Damaged { path: self.path.clone(), source })
    }

    fn failed(&self, source: impl Into<redb::Error>) -> JobError {
        JobError::Journal { path: self.path.clone(), source: Box::new(source.into()) }
    }
}

#[cfg(test)]
mod tests;
