//! Acting on the ledger exactly once a step, through crashes and absent nodes.
//!
//! A step's transaction is signed and written to the journal before it is sent, so its id and the
//! ids that follow from it are known for ever. Sending it again is harmless; a new one is signed
//! only when the old one can never be applied any more.

use crate::{JobError, journal::Journal};
use muster_api::{Client, ClientError, Wallet, WalletError};
use muster_ledger::{
    Action, Tx,
    escrow::EscrowStatus,
    market::{LeaseStatus, OrderChange},
};
use muster_types::{DisputeId, EscrowId, JobId, OrderId, TxId};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How often a step is signed anew before we give up.
const SIGN_MAX: u32 = 8;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A step: its name in the journal, and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) what: &'static str,
}

impl Step {
    pub(crate) fn new(name: impl Into<String>, what: &'static str) -> Self {
        Self { name: name.into(), what }
    }
}

/// A wallet that writes down what it does.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    wallet: Wallet,
    journal: Arc<Journal>,
}

impl Ledger {
    pub(crate) const fn new(wallet: Wallet, journal: Arc<Journal>) -> Self {
        Self { wallet, journal }
    }

    pub(crate) const fn wallet(&self) -> &Wallet {
        &self.wallet
    }

    pub(crate) const fn client(&self) -> &Client {
        self.wallet.client()
    }

    /// Uses the journal off the async threads.
    pub(crate) async fn journal<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Journal) -> Result<T, JobError> + Send + 'static,
    ) -> Result<T, JobError> {
        let journal = Arc::clone(&self.journal);
        tokio::task::spawn_blocking(move || work(&journal)).await.map_err(|_| JobError::Stopped)?
    }

    /// Carries out `step` once and returns the transaction that did. `signed` hears of the
    /// transaction before it is sent, and whether it is new.
    pub(crate) async fn act(
        &self,
        step: Step,
        action: Action,
        until: Instant,
        signed: impl Fn(&TxId, bool) + Send,
    ) -> Result<TxId, JobError> {
        let name = step.name.clone();
        let mut known = self.journal(move |journal| journal.tx(&name)).await?;
        for _ in 0..SIGN_MAX {
            let (tx, new) = match known.take() {
                Some(tx) => (tx, false),
                None => (self.sign(&step, &action, until).await?, true),
            };
            let id = tx.id();
            signed(&id, new);
            let Err(error) = self.send(&tx, until).await else { return Ok(id) };
            if patient(until, || is_done(self.client(), &tx)).await? {
                return Ok(id);
            }
            if !matches!(error.code(), Some("expired" | "bad_nonce")) {
                return Err(refused(step.what, error));
            }
            tracing::debug!(step = step.name, %error, "signing anew");
        }
        Err(JobError::Stopped)
    }

    /// Sees to it that a step that was signed before is done, or never will be. Returns its
    /// transaction where it is done.
    pub(crate) async fn finish(
        &self,
        step: &str,
        until: Instant,
    ) -> Result<Option<TxId>, JobError> {
        let name = step.to_owned();
        let Some(tx) = self.journal(move |journal| journal.tx(&name)).await? else {
            return Ok(None);
        };
        let id = tx.id();
        if patient(until, || is_done(self.client(), &tx)).await? {
            return Ok(Some(id));
        }
        match self.send(&tx, until).await {
            Ok(()) => Ok(Some(id)),
            Err(ClientError::Refused(_)) => {
                let done = patient(until, || is_done(self.client(), &tx)).await?;
                Ok(done.then_some(id))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn sign(&self, step: &Step, action: &Action, until: Instant) -> Result<Tx, JobError> {
        let mut pause = FIRST_PAUSE;
        let tx = loop {
            match self.wallet.sign(action.clone()).await {
                Ok(tx) => break tx,
                Err(WalletError::Client(error))
                    if error.is_transient() && Instant::now() < until =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
        };
        let (name, entry) = (step.name.clone(), tx.clone());
        self.journal(move |journal| journal.set_tx(&name, &entry)).await?;
        Ok(tx)
    }

    async fn send(&self, tx: &Tx, until: Instant) -> Result<(), ClientError> {
        patient(until, || async {
            match self.wallet.send(tx).await {
                Ok(_) => Ok(()),
                Err(WalletError::Client(error)) => Err(error),
                // Sending asks for no account; were it to, the ledger's own refusal would follow.
                Err(WalletError::Unfunded { .. } | WalletError::NotDelegated { .. }) => Ok(()),
            }
        })
        .await
    }
}

fn refused(step: &'static str, error: ClientError) -> JobError {
    match error {
        error @ ClientError::Refused(_) => JobError::Refused { step, source: error },
        error => JobError::Node(error),
    }
}

/// Whether what a transaction was to bring about is so.
async fn is_done(client: &Client, tx: &Tx) -> Result<bool, ClientError> {
    let id = tx.id();
    Ok(match &tx.envelope.action {
        Action::EscrowOpen { .. } => client.escrow(&EscrowId::derive(&id)).await?.is_some(),
        Action::JobOpen { .. } => client.job(&JobId::derive(&id)).await?.is_some(),
        Action::OrderPlace { .. } => client.order(&OrderId::derive(&id)).await?.is_some(),
        Action::DisputeOpen { .. } => client.dispute(&DisputeId::derive(&id)).await?.is_some(),
        Action::OrderCancel { order } => {
            let order = client.order(order).await?;
            order.is_some_and(|order| !order.record.status.is_open())
        }
        Action::LeaseClose { lease } => {
            let lease = client.lease(lease).await?;
            lease.is_some_and(|lease| matches!(lease.record.status, LeaseStatus::Closed { .. }))
        }
        Action::OrderUpdate { order, change: OrderChange::Manifest { hash } } => {
            client.order(order).await?.is_some_and(|order| order.record.manifest == *hash)
        }
        Action::ResultAccept { lease } => client.lease(lease).await?.is_some_and(|lease| {
            matches!(lease.record.status, LeaseStatus::Closed { settled: true, .. })
        }),
        Action::JobClose { job } => client.job(job).await?.is_some_and(|job| job.record.closed),
        Action::EscrowClose { escrow } => {
            let escrow = client.escrow(escrow).await?;
            escrow.is_some_and(|escrow| escrow.record.status == EscrowStatus::Closed)
        }
        _ => false,
    })
}

/// Calls until the node answers, at least once and until then.
pub(crate) async fn patient<T, F>(
    until: Instant,
    mut call: impl FnMut() -> F,
) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match call().await {
            Err(error) if error.is_transient() && Instant::now() < until => {
                tracing::debug!(%error, "asking the node again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            answer => return answer,
        }
    }
}
