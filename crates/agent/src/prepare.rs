//! Getting a lease ready: content fetched, module compiled, `LeaseReady` on the ledger.

use crate::{
    check,
    config::MAX_DATA_BYTES,
    denial::Denial,
    journal::Setup,
    lease::{Phase, Prepared, Slot},
    shared::Shared,
};
use bytes::Bytes;
use muster_api::provider::{Prepare, Response};
use muster_fabric::PeerAddr;
use muster_ledger::{Action, market::LeaseStatus};
use muster_sandbox::{CompileError, DataDir, ModuleLimits};
use muster_types::Hash;
use muster_verify::data_listing_hash;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::Semaphore;

impl Shared {
    /// Serves [`Prepare`]. Repeatable: what is there is not done again.
    pub(crate) async fn prepare(
        &self,
        slot: Arc<Slot>,
        request: Prepare,
    ) -> Result<Response, Denial> {
        check::prepare(&slot, &request)?;
        let source = check::source(&request.source)?;
        let job = self.wallet.client().job(&request.job).await;
        let job = job.map_err(|error| Denial::ledger(&error))?;
        let job = job.ok_or_else(|| Denial::bad("job: there is no such job on the ledger"))?;
        check::job(&request, &job.record)?;
        let Prepare { job: id, kind, module, data, limits, .. } = request;
        let setup = Setup { job: id, kind, module, data, limits };
        let _one = slot.preparing.lock().await;
        self.set_up(&slot, setup, job.record.spec.tasks, &[source]).await?;
        self.report_ready(&slot).await?;
        Ok(Response::Prepared)
    }

    /// Takes up a lease that was prepared before a restart, from what is still in store.
    pub(crate) async fn take_up(&self, slot: &Arc<Slot>, setup: Setup) -> Result<(), Denial> {
        let job = self.wallet.client().job(&setup.job).await;
        let job = job.map_err(|error| Denial::ledger(&error))?.ok_or(Denial::Over)?;
        let _one = slot.preparing.lock().await;
        self.set_up(slot, setup, job.record.spec.tasks, &[]).await?;
        self.report_ready(slot).await
    }

    async fn set_up(
        &self,
        slot: &Slot,
        setup: Setup,
        tasks: u64,
        from: &[PeerAddr],
    ) -> Result<(), Denial> {
        let lease = slot.id;
        let before = self.journal(move |journal| journal.lease(lease)).await?;
        if before.and_then(|entry| entry.setup).is_some_and(|before| before != setup) {
            return Err(Denial::Conflict(
                "the lease is prepared for another module, data or limits: order another lease"
                    .to_owned(),
            ));
        }
        if slot.prepared().is_some() {
            return Ok(());
        }
        let blobs: Vec<Hash> = setup.data.values().copied().chain([setup.module]).collect();
        let tenant = slot.tenant;
        self.journal(move |journal| journal.hold(lease, tenant, &blobs)).await?;
        let largest = u64::try_from(ModuleLimits::default().module_bytes).unwrap_or(u64::MAX);
        let module = self.blob(setup.module, largest, from).await?;
        let program = self.compiler.compile(&module).await.map_err(refused)?;
        let data = self.data(&setup.data, slot.request.memory_bytes, from).await?;
        let prepared = Prepared {
            listing: data_listing_hash(&setup.data),
            tasks,
            program,
            data,
            room: Arc::new(Semaphore::new(slot.width(setup.limits.memory_bytes))),
            setup: setup.clone(),
        };
        self.journal(move |journal| journal.set_setup(lease, setup)).await?;
        if !slot.set_prepared(Arc::new(prepared)) {
            return Err(Denial::Over);
        }
        tracing::info!(lease = %lease.short(), "lease prepared");
        Ok(())
    }

    /// The data directory, in memory.
    async fn data(
        &self,
        files: &BTreeMap<String, Hash>,
        leased_bytes: u64,
        from: &[PeerAddr],
    ) -> Result<DataDir, Denial> {
        let mut room = leased_bytes.min(MAX_DATA_BYTES);
        let mut contents: BTreeMap<String, Arc<[u8]>> = BTreeMap::new();
        for (name, hash) in files {
            let bytes = self.blob(*hash, room, from).await?;
            room = room.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            contents.insert(name.clone(), bytes.as_ref().into());
        }
        DataDir::new(contents).map_err(|error| Denial::bad(format!("data: {error}")))
    }

    /// Tells the ledger that the lease is served, with the manifest that it has by now, unless it
    /// knows.
    pub(crate) async fn report_ready(&self, slot: &Slot) -> Result<(), Denial> {
        match slot.phase() {
            Phase::Granted => {}
            Phase::Live if slot.job.is_some() => return Ok(()),
            Phase::Live => return self.report_updated(slot).await,
            Phase::Closed => return Err(Denial::Over),
        }
        let Err(error) = self.wallet.act(Action::LeaseReady { lease: slot.id }).await else {
            slot.advance(Phase::Live);
            return Ok(());
        };
        // An earlier one may have been applied though its answer was lost.
        let lease = self.wallet.client().lease(&slot.id).await;
        let lease = lease.map_err(|error| Denial::ledger(&error))?.ok_or(Denial::Over)?;
        match Phase::of(&lease.record.status) {
            Some(Phase::Live) => {
                slot.advance(Phase::Live);
                Ok(())
            }
            Some(Phase::Granted) => Err(Denial::ledger(&error)),
            Some(Phase::Closed) | None => Err(Denial::Over),
        }
    }

    async fn report_updated(&self, slot: &Slot) -> Result<(), Denial> {
        let lease = self.wallet.client().lease(&slot.id).await;
        let lease = lease.map_err(|error| Denial::ledger(&error))?.ok_or(Denial::Over)?;
        match lease.record.status {
            LeaseStatus::Closed { .. } => return Err(Denial::Over),
            LeaseStatus::Stalled { .. } => {
                let reason = "the ledger misses heartbeats of the lease: ask again";
                return Err(Denial::Conflict(reason.to_owned()));
            }
            LeaseStatus::Updating { .. } => {
                let sent = self.wallet.act(Action::LeaseReady { lease: slot.id }).await;
                sent.map_err(|error| Denial::ledger(&error))?;
            }
            LeaseStatus::Granted | LeaseStatus::Active | LeaseStatus::Reclaiming { .. } => {}
        }
        slot.end_update();
        Ok(())
    }

    /// The content of a blob, from our store or from these peers.
    pub(crate) async fn blob(
        &self,
        hash: Hash,
        max_bytes: u64,
        from: &[PeerAddr],
    ) -> Result<Bytes, Denial> {
        if hash == Hash::of_content(b"") {
            return Ok(Bytes::new());
        }
        self.fabric.fetch(hash, max_bytes, from).await?;
        let bytes = self.fabric.get_bytes(hash, max_bytes).await;
        bytes.map_err(|error| Denial::internal("read a blob", &error))
    }
}

fn refused(error: CompileError) -> Denial {
    match error {
        CompileError::Refused { reason } => Denial::BadModule(reason),
        CompileError::OverLimits { .. } | CompileError::CodeTooLarge { .. } => {
            Denial::BadModule(error.to_string())
        }
        CompileError::Compiler { .. }
        | CompileError::Child { .. }
        | CompileError::Engine { .. } => Denial::internal("compile a module", &error),
    }
}
