//! What is written down of services in containers. It has the tenants' secrets in it, until
//! nothing of a lease is left.

use super::{Journal, JournalError, Table};
use crate::services::Stage;
use borsh::{BorshDeserialize, BorshSerialize};
use muster_api::service::Deploy;
use muster_types::{AccountId, Hash, LeaseId, codec};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

/// Lease to [`ServiceEntry`].
pub(super) const SERVICES: Table = TableDefinition::new("services");

/// Bound for decoding an entry: two manifests, and what is known of the container's image.
const MAX_SERVICE_BYTES: usize = 16 << 20;

/// Ended leases of which it is still told how they ended.
const ENDED: usize = 1_000;

/// What is known of a lease of services.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct ServiceEntry {
    pub(crate) tenant: AccountId,
    pub(crate) stage: Stage,
    /// `None` once nothing is left of it.
    pub(crate) deploy: Option<Deploy>,
    /// What is to run in its place.
    pub(crate) update: Option<Deploy>,
    /// Why the last update was given up.
    pub(crate) update_failed: Option<String>,
    /// Leases with the same may talk to each other.
    pub(crate) network: Hash,
    pub(crate) replica: ReplicaEntry,
    /// When the stage was written, milliseconds since 1970.
    pub(crate) at_ms: u64,
}

/// What is known of a container, beyond what it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct ReplicaEntry {
    /// An `ImageRecord` in JSON.
    pub(crate) image: Option<String>,
    /// The commitment of the manifest that it was made for: of another, it is made anew.
    pub(crate) made_for: Option<Hash>,
    pub(crate) restarts: u32,
    pub(crate) last_exit: Option<String>,
    /// Ports in the container, and where they are served.
    pub(crate) ports: Vec<(u16, u16)>,
}

impl Journal {
    /// Writes down what is known of a lease of services. Durable.
    pub(crate) fn set_services(
        &self,
        lease: LeaseId,
        entry: &ServiceEntry,
    ) -> Result<(), JournalError> {
        let write = self.db.begin_write()?;
        {
            let mut table = write.open_table(SERVICES)?;
            table.insert(lease.as_bytes().as_slice(), codec::encode(entry).as_slice())?;
        }
        Ok(write.commit()?)
    }

    /// All that is known of services, but for what ended longest ago, which is forgotten.
    pub(crate) fn all_services(&self) -> Result<Vec<(LeaseId, ServiceEntry)>, JournalError> {
        let mut all = Vec::new();
        for row in self.db.begin_read()?.open_table(SERVICES)?.iter()? {
            let (key, value) = row?;
            let lease: LeaseId = codec::decode(key.value(), 32)?;
            let entry: ServiceEntry = codec::decode(value.value(), MAX_SERVICE_BYTES)?;
            all.push((lease, entry));
        }
        let mut ended: Vec<_> = all.iter().filter(|(_, entry)| entry.deploy.is_none()).collect();
        ended.sort_unstable_by_key(|(_, entry)| std::cmp::Reverse(entry.at_ms));
        let forgotten: Vec<LeaseId> = ended.iter().skip(ENDED).map(|(lease, _)| *lease).collect();
        if !forgotten.is_empty() {
            let write = self.db.begin_write()?;
            for lease in &forgotten {
                write.open_table(SERVICES)?.remove(lease.as_bytes().as_slice())?;
            }
            write.commit()?;
            all.retain(|(lease, _)| !forgotten.contains(lease));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Owner;
    use muster_spec::sdl::Manifest;
    use std::os::unix::fs::PermissionsExt;

    fn entry(at_ms: u64, live: bool) -> ServiceEntry {
        let manifest = Manifest { group: "here".into(), services: Vec::new() };
        let deploy =
            Deploy { lease: LeaseId::default(), service: "web".into(), manifest, salt: Hash::ZERO };
        ServiceEntry {
            tenant: AccountId::default(),
            stage: if live { Stage::Running } else { Stage::Closed },
            deploy: live.then_some(deploy),
            update: None,
            update_failed: None,
            network: Hash::ZERO,
            replica: ReplicaEntry { restarts: 3, ..ReplicaEntry::default() },
            at_ms,
        }
    }

    fn lease(number: u16) -> LeaseId {
        LeaseId(Hash::of("test lease", &[&number.to_le_bytes()]))
    }

    #[test]
    fn services_are_read_back_after_a_crash_and_nobody_else_can_read_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.redb");
        std::fs::write(&path, "").unwrap();
        let owner = Owner { chain: Hash::ZERO, account: AccountId::default() };
        let journal = Journal::open(&path, owner).unwrap();
        journal.set_services(lease(1), &entry(5, false)).unwrap();
        journal.set_services(lease(1), &entry(6, true)).unwrap();
        // What a killed process leaves: nothing is closed.
        let copy = dir.path().join("copy.redb");
        std::fs::copy(&path, &copy).unwrap();
        let again = Journal::open(&copy, owner).unwrap();
        assert_eq!(again.all_services().unwrap(), [(lease(1), entry(6, true))]);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it has secrets in it");
    }

    #[test]
    fn of_ended_services_the_oldest_are_forgotten_and_of_others_none() {
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner { chain: Hash::ZERO, account: AccountId::default() };
        let journal = Journal::open(&dir.path().join("journal.redb"), owner).unwrap();
        let extra = 2u16;
        let ended = u16::try_from(ENDED).unwrap() + extra;
        let write = journal.db.begin_write().unwrap();
        {
            let mut table = write.open_table(SERVICES).unwrap();
            for number in 0..ended {
                let value = codec::encode(&entry(u64::from(number) + 10, false));
                table.insert(lease(number).as_bytes().as_slice(), value.as_slice()).unwrap();
            }
        }
        write.commit().unwrap();
        journal.set_services(lease(ended), &entry(0, true)).unwrap();
        for _ in 0..2 {
            let all = journal.all_services().unwrap();
            assert_eq!(all.len(), ENDED + 1);
            let known = |number: u16| all.iter().any(|(id, _)| *id == lease(number));
            assert!(known(ended) && known(extra) && known(ended - 1));
            assert!(!known(0) && !known(extra - 1));
        }
    }
}
