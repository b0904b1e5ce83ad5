//! What recurs: heartbeats, offers renewed, books compared.

use crate::{AgentError, HostConfig, backoff::Backoff, denial::chain, register, shared::Shared};
use muster_api::WalletError;
use muster_ledger::{Action, limits::HEARTBEAT_LEASES};
use muster_types::LeaseId;
use std::{sync::Arc, time::Duration};
use tokio::time::MissedTickBehavior;

/// How often our books are compared with the ledger's.
const COMPARE_EVERY: Duration = Duration::from_secs(60);

/// How many comparisons go by between two looks at the offers.
const COMPARISONS_PER_OFFER: u32 = 5;

impl Shared {
    /// Sends a heartbeat each `period` for the leases that this process serves; one at a time, a
    /// failed one again at once.
    pub(crate) async fn beat(self: Arc<Self>, period: Duration) {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut backoff = Backoff::new(period / 20, period);
        loop {
            ticks.tick().await;
            while let Err(error) = self.beat_once(&self.leases.beating()).await {
                tracing::warn!(error = chain(&error), "a heartbeat failed");
                if !self.can_go_on(&error) {
                    return;
                }
                // Perhaps a lease has ended without our knowing.
                if let WalletError::Client(error) = &error
                    && !error.is_transient()
                    && let Err(error) = self.reconcile().await
                {
                    tracing::warn!(error = chain(&error), "no answer");
                }
                tokio::time::sleep(backoff.next()).await;
            }
            backoff.reset();
        }
    }

    async fn beat_once(&self, leases: &[LeaseId]) -> Result<(), WalletError> {
        for leases in leases.chunks(HEARTBEAT_LEASES) {
            self.wallet.act(Action::Heartbeat { leases: leases.to_vec() }).await?;
        }
        Ok(())
    }

    /// Some refusals will never turn into a yes.
    fn can_go_on(&self, error: &WalletError) -> bool {
        if let WalletError::Client(error) = error
            && error.code() == Some("wrong_chain")
        {
            self.fail(AgentError::Broken {
                part: "view of the ledger",
                reason: "the node now serves another chain: start again with another directory"
                    .to_owned(),
            });
            return false;
        }
        true
    }

    /// Compares our books with the ledger's now and then, and renews offers before they lapse.
    pub(crate) async fn keep_up(self: Arc<Self>, hosts: Vec<HostConfig>) {
        let mut ticks = tokio::time::interval(COMPARE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut comparisons = 0u32;
        loop {
            ticks.tick().await;
            comparisons = comparisons.wrapping_add(1);
            if let Err(error) = self.reconcile().await {
                tracing::warn!(error = chain(&error), "no answer");
            }
            if comparisons.is_multiple_of(COMPARISONS_PER_OFFER)
                && let Err(error) = self.offer(&hosts).await
            {
                tracing::warn!(error = chain(&error), "offers were not renewed");
            }
        }
    }

    /// Makes the offers that are missing on the ledger.
    pub(crate) async fn offer(&self, hosts: &[HostConfig]) -> Result<(), AgentError> {
        let client = self.wallet.client();
        let status = client.status().await.map_err(AgentError::node("ask for the time"))?;
        let known = client.provider(&self.me).await;
        let known = known.map_err(AgentError::node("ask for its offers"))?;
        for action in register::hosts(known.as_ref(), hosts, status.now, &status.params) {
            self.wallet.act(action).await.map_err(AgentError::ledger("offer its hosts"))?;
        }
        Ok(())
    }
}
