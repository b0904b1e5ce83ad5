//! The main loop: takes note of what happens and does what the schedule says.

use crate::{
    JobError,
    leases::Handle,
    ledger::{Step, patient},
    progress::Progress,
    schedule::{Effect, Event, Outcome, Schedule, Stop},
    shared::{Input, Shared},
};
use muster_api::views::{BlockEvents, Lease, Named};
use muster_ledger::{
    Action, Event as LedgerEvent,
    dispute::{Claim, DisputeStatus},
    market::{LeaseStatus, Mode, OrderStatus},
};
use muster_types::{AccountId, DisputeId, LeaseId, Millis, OrderId, TxId};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// How long an order waits for offers.
const ORDER_WAIT: Millis = Millis::from_secs(30);
/// The most providers that an order may exclude.
const EXCLUDE_MAX: usize = 256;

/// A job at work.
pub(crate) struct Drive {
    pub(crate) shared: Arc<Shared>,
    pub(crate) schedule: Schedule,
    pub(crate) handles: BTreeMap<LeaseId, Handle>,
    pub(crate) orders: BTreeMap<OrderId, u32>,
    disputes: BTreeMap<DisputeId, u32>,
    sent: BTreeMap<u32, Instant>,
    inbox: UnboundedReceiver<Input>,
    progress: Option<UnboundedSender<Progress>>,
    /// Orders and disputes on their way to the ledger.
    errands: JoinSet<()>,
}

impl Drive {
    pub(crate) fn new(
        shared: Arc<Shared>,
        schedule: Schedule,
        inbox: UnboundedReceiver<Input>,
        progress: Option<UnboundedSender<Progress>>,
    ) -> Self {
        Self {
            shared,
            schedule,
            handles: BTreeMap::new(),
            orders: BTreeMap::new(),
            disputes: BTreeMap::new(),
            sent: BTreeMap::new(),
            inbox,
            progress,
            errands: JoinSet::new(),
        }
    }

    /// Runs the job until its work is over. An error here leaves the job to be resumed.
    pub(crate) async fn run(
        &mut self,
        deadline: Instant,
        cancel: &CancellationToken,
        from_height: u64,
    ) -> Result<Outcome, JobError> {
        self.remember_ids().await?;
        self.note(Event::Started).await?;
        let watcher = crate::watch::watch(Arc::clone(&self.shared), from_height);
        tokio::pin!(watcher);
        let (mut stopped, mut late) = (false, false);
        loop {
            if let Some(outcome) = self.schedule.outcome() {
                return Ok(outcome.clone());
            }
            tokio::select! {
                biased;
                () = cancel.cancelled(), if !stopped => {
                    stopped = true;
                    self.note(Event::Stop { cause: Stop::Cancelled }).await?;
                }
                () = tokio::time::sleep_until(deadline), if !late => {
                    late = true;
                    self.note(Event::Stop { cause: Stop::Deadline }).await?;
                }
                Some(input) = self.inbox.recv() => self.take(input).await?,
                () = &mut watcher => {}
                Some(_) = self.errands.join_next() => {}
            }
        }
    }

    /// The ids of what was signed before a restart.
    async fn remember_ids(&mut self) -> Result<(), JobError> {
        let (orders, disputes) = self
            .shared
            .ledger
            .journal(|journal| Ok((journal.txs("order/")?, journal.txs("dispute/")?)))
            .await?;
        let number = |step: &str| step.rsplit('/').next().and_then(|text| text.parse().ok());
        for (step, tx) in orders {
            if let Some(number) = number(&step) {
                self.orders.insert(OrderId::derive(&tx.id()), number);
            }
        }
        for (step, tx) in disputes {
            if let Some(number) = number(&step) {
                self.disputes.insert(DisputeId::derive(&tx.id()), number);
            }
        }
        Ok(())
    }

    async fn take(&mut self, input: Input) -> Result<(), JobError> {
        match input {
            Input::Event(event) => self.note(event).await,
            Input::OrderSigned { number, id, at } => {
                self.orders.insert(id, number);
                if let Some(at) = at {
                    self.sent.insert(number, at);
                }
                Ok(())
            }
            Input::DisputeSigned { number, id } => {
                self.disputes.insert(id, number);
                Ok(())
            }
            Input::Block(block) => self.take_block(block).await,
            Input::Leases(leases) => self.take_leases(leases).await,
            Input::Failed(error) => Err(error),
        }
    }

    async fn take_block(&mut self, block: BlockEvents) -> Result<(), JobError> {
        for event in block.events {
            if let Some(event) = self.translate(event) {
                self.note(event).await?;
            }
        }
        Ok(())
    }

    /// What a fact of the ledger means for this job, if anything.
    fn translate(&self, event: LedgerEvent) -> Option<Event> {
        match event {
            LedgerEvent::LeaseGranted { lease, order, host, rate, .. } => {
                let number = *self.orders.get(&order)?;
                let waited_ms = self
                    .sent
                    .get(&number)
                    .map(|sent| u64::try_from(sent.elapsed().as_millis()).unwrap_or(u64::MAX));
                let provider = host.provider;
                let known = self.schedule.leases().any(|known| known.lease == lease);
                (!known).then_some(Event::Granted {
                    lease,
                    order: number,
                    provider,
                    rate,
                    waited_ms,
                })
            }
            LedgerEvent::OrderEnded { order, status, .. } if status != OrderStatus::Leased => {
                self.orders.get(&order).map(|order| Event::OrderEnded { order: *order })
            }
            LedgerEvent::LeaseClosed { lease, reason, .. } => {
                let ours = self.schedule.leases().any(|known| known.lease == lease);
                ours.then_some(Event::Closed { lease, reason })
            }
            LedgerEvent::DisputeClosed { dispute, status, losers, .. } => {
                let dispute = *self.disputes.get(&dispute)?;
                Some(Event::Judged { dispute, status, losers })
            }
            _ => None,
        }
    }

    async fn take_leases(&mut self, leases: Vec<Named<LeaseId, Lease>>) -> Result<(), JobError> {
        for Named { id: lease, record } in leases {
            let Some(order) = self.orders.get(&record.order).copied() else { continue };
            let (provider, rate) = (record.host.provider, record.rate);
            if !self.schedule.leases().any(|known| known.lease == lease) {
                let event = Event::Granted { lease, order, provider, rate, waited_ms: None };
                self.note(event).await?;
            }
            if let LeaseStatus::Closed { reason, .. } = record.status {
                self.note(Event::Closed { lease, reason }).await?;
            }
        }
        Ok(())
    }

    /// Writes an event down, then acts on it.
    async fn note(&mut self, event: Event) -> Result<(), JobError> {
        let entry = event.clone();
        self.shared.ledger.journal(move |journal| journal.append(&entry)).await?;
        for effect in self.schedule.on(event) {
            self.perform(effect);
        }
        Ok(())
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Order { number, count, exclude } => {
                let errand = order(Arc::clone(&self.shared), number, count, exclude);
                self.errands.spawn(errand);
            }
            Effect::Prepare { lease, provider } => {
                let handle = Handle::spawn(Arc::clone(&self.shared), lease, provider);
                self.handles.insert(lease, handle);
            }
            Effect::Run(assignment) => {
                if let Some(handle) = self.handles.get(&assignment.lease) {
                    handle.run(assignment);
                }
            }
            Effect::Abandon { lease } => {
                self.handles.remove(&lease);
            }
            Effect::Dispute { number, claims } => {
                self.errands.spawn(dispute(Arc::clone(&self.shared), number, claims));
            }
            Effect::Tell(progress) => self.report(progress),
            Effect::Finish(outcome) => tracing::info!(?outcome, "the work is over"),
        }
    }

    /// Tells who watches, if anybody does.
    pub(crate) fn report(&self, progress: Progress) {
        if let Some(sender) = &self.progress {
            drop(sender.send(progress));
        }
    }

    /// Waits for orders and disputes that are on their way: none may come about unseen.
    pub(crate) async fn finish_errands(&mut self) {
        while self.errands.join_next().await.is_some() {}
        while let Ok(input) = self.inbox.try_recv() {
            if let Input::OrderSigned { number, id, .. } = input {
                self.orders.insert(id, number);
            }
        }
    }
}

/// Places an order once; where the ledger refuses it or has ended it, says so.
async fn order(shared: Arc<Shared>, number: u32, count: u32, exclude: Vec<AccountId>) {
    if let Err(error) = place(&shared, number, count, exclude).await {
        match error {
            JobError::Refused { source, .. } => {
                tracing::warn!(number, error = %source, "the ledger refused an order");
                shared.tell(Input::Event(Event::OrderEnded { order: number }));
            }
            error => shared.tell(Input::Failed(error)),
        }
    }
}

async fn place(
    shared: &Shared,
    number: u32,
    count: u32,
    exclude: Vec<AccountId>,
) -> Result<(), JobError> {
    let client = shared.ledger.client();
    let now = patient(shared.until, || client.status()).await?.now;
    let job = patient(shared.until, || client.job(&shared.job)).await?;
    let Some(job) = job else { return Err(JobError::Stopped) };
    let mut terms = shared.plan.terms.clone();
    terms.count = count;
    terms.exclude.extend(exclude);
    terms.exclude.sort_unstable();
    terms.exclude.dedup();
    terms.exclude.truncate(EXCLUDE_MAX);
    let action = Action::OrderPlace {
        escrow: job.record.spec.escrow,
        job: Some(shared.job),
        terms,
        deadline: now.after(ORDER_WAIT),
        manifest: shared.plan.manifest().commitment(),
        mode: Mode::Standing,
        // The conductor replaces a lease itself.
        reauction: false,
    };
    let signed = |tx: &TxId, new: bool| {
        let at = new.then(Instant::now);
        shared.tell(Input::OrderSigned { number, id: OrderId::derive(tx), at });
    };
    let step = Step::new(format!("order/{number}"), "place an order");
    let tx = shared.ledger.act(step, action, shared.until, signed).await?;
    let id = OrderId::derive(&tx);
    let placed = patient(shared.until, || client.order(&id)).await?;
    let status = placed.map(|order| order.record.status);
    if status.is_some_and(|status| !status.is_open() && status != OrderStatus::Leased) {
        shared.tell(Input::Event(Event::OrderEnded { order: number }));
    }
    Ok(())
}

/// Opens a dispute once and lets the validators have the evidence. A dispute that the ledger does
/// not take is void.
async fn dispute(shared: Arc<Shared>, number: u32, claims: Box<[Claim; 2]>) {
    let void = || {
        let (status, losers) = (DisputeStatus::Void, Vec::new());
        shared.tell(Input::Event(Event::Judged { dispute: number, status, losers }));
    };
    match open_dispute(&shared, number, claims).await {
        Ok(()) => {}
        Err(JobError::Refused { source, .. }) => {
            tracing::warn!(number, error = %source, "the ledger refused a dispute");
            void();
        }
        Err(error) => shared.tell(Input::Failed(error)),
    }
}

async fn open_dispute(
    shared: &Shared,
    number: u32,
    claims: Box<[Claim; 2]>,
) -> Result<(), JobError> {
    let client = shared.ledger.client();
    let status = patient(shared.until, || client.status()).await?;
    let [first, _] = *claims;
    let plan = &shared.plan;
    let task = &first.task;
    let evidence: Vec<_> =
        plan.data.values().copied().chain([task.module, task.input, task.data]).collect();
    for validator in &status.validators {
        for hash in &evidence {
            shared.fabric.gate().allow(*validator, *hash);
        }
    }
    let action = Action::DisputeOpen {
        job: shared.job,
        claims: claims.clone(),
        evidence: shared.fabric.local_addr().to_string(),
    };
    let signed = |tx: &TxId, _| {
        shared.tell(Input::DisputeSigned { number, id: DisputeId::derive(tx) });
    };
    let step = Step::new(format!("dispute/{number}"), "open a dispute");
    let tx = shared.ledger.act(step, action, shared.until, signed).await?;
    let id = DisputeId::derive(&tx);
    let Some(opened) = patient(shared.until, || client.dispute(&id)).await? else {
        return Ok(());
    };
    let status = opened.record.status;
    let losers = match status {
        DisputeStatus::Open => return Ok(()),
        DisputeStatus::Void => Vec::new(),
        DisputeStatus::Judged { output } => {
            let wrong = claims.iter().filter(|claim| claim.result != output);
            wrong.map(|claim| claim.lease).collect()
        }
    };
    shared.tell(Input::Event(Event::Judged { dispute: number, status, losers }));
    Ok(())
}

/// When the ledger is asked again about something that it will do soon.
pub(crate) const POLL: Duration = Duration::from_millis(100);
