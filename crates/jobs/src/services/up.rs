//! Bringing services up: orders, leases, manifests, and providers that fail.
//!
//! | a unit's leases | act |
//! |---|---|
//! | as many are open as it wants | deliver the manifest, follow each provider's steps |
//! | fewer, and an order for the rest is open | wait for it |
//! | fewer, and none is | order the rest, from others than those that failed in this run |
//! | a provider fails | see that its lease ends; the next round orders a replacement |
//! | a second provider fails in the same step | give up: the deployment is to blame |
//! | one fails, and services of other leases call those of its | give up: they must move together |
//!
//! The ledger itself opens an order again for a lease that its provider broke.

use super::{CALL_DEADLINE, Granted, Note, POLL, Services, ServicesError, choose};
use crate::{
    error::chain,
    ledger::{Ledger, Step, patient},
};
use muster_api::{service, views::Named};
use muster_ledger::{
    Action,
    market::{CloseReason, Lease, LeaseStatus, Mode},
};
use muster_types::{AccountId, EscrowId, LeaseId, Millis};
use std::time::Duration;
use tokio::time::Instant;

/// How long an order waits for offers.
const ORDER_WAIT: Millis = Millis::from_secs(30);
/// How long a provider that failed may take to decline its lease.
const DECLINE_WAIT: Duration = Duration::from_secs(10);

/// Who hears what happens.
type Notes<'a> = &'a (dyn Fn(Note) + Sync);

/// A provider that did not bring a lease up.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    unit: (usize, usize),
    lease: LeaseId,
    provider: AccountId,
    step: String,
    reason: String,
}

impl From<Failure> for ServicesError {
    fn from(failure: Failure) -> Self {
        let Failure { lease, provider, step, reason, .. } = failure;
        Self::Failed { lease, provider, step, reason }
    }
}

/// One run of [`Services::up`].
struct Run<'a> {
    services: &'a Services,
    ledger: Ledger,
    escrow: EscrowId,
    /// Leases that were granted before and ended are none of its failures.
    started: Millis,
    failures: Vec<Failure>,
    notes: Notes<'a>,
}

impl Services {
    /// Brings everything up: money, orders, leases, manifests, and waits until all of it runs. What
    /// was done before is not done again. `notes` hears what happens.
    ///
    /// # Errors
    /// [`ServicesError`]: what is up stays up, and what was spent stays spent, until
    /// [`Services::close`].
    pub async fn up(&self, notes: &(dyn Fn(Note) + Sync)) -> Result<(), ServicesError> {
        let until = self.until();
        let ledger = self.ledger()?;
        let deposit = self.plan.deposit;
        let open = Action::EscrowOpen { deposit };
        let step = Step::new("escrow", "set money aside");
        let escrow = EscrowId::derive(&ledger.act(step, open, until, |_, _| {}).await?);
        notes(Note::Funded { escrow, deposit });
        let started = patient(until, || ledger.client().status()).await?.now;
        let mut run = Run { services: self, ledger, escrow, started, failures: Vec::new(), notes };
        while !run.round().await? {}
        Ok(())
    }
}

impl Run<'_> {
    /// Whether everything runs after it.
    async fn round(&mut self) -> Result<bool, ServicesError> {
        let groups = &self.services.plan.groups;
        let mut granted = Vec::new();
        for (group, of_group) in groups.iter().enumerate() {
            // Services that call each other are at one provider: the first lease's.
            let mut pinned = None;
            for unit in 0..of_group.units.len() {
                let leases = self.lease((group, unit), pinned).await?;
                let first = leases.first().map(|lease| lease.lease.record.host.provider);
                pinned = pinned.or(first.filter(|_| of_group.linked));
                granted.extend(leases);
            }
        }
        let leases = granted.iter().map(|one| (one.lease.id, one.lease.record.host.provider));
        (self.notes)(Note::Leased { leases: leases.collect() });
        let outcomes = {
            let bring_up = granted.iter().map(|granted| self.bring_up(granted));
            futures::future::join_all(bring_up).await
        };
        let mut all = true;
        for failure in outcomes.into_iter().flatten() {
            all = false;
            self.let_go(failure.lease).await?;
            self.failed(failure)?;
        }
        Ok(all)
    }

    /// As many open leases as a unit wants.
    async fn lease(
        &mut self,
        unit: (usize, usize),
        pinned: Option<AccountId>,
    ) -> Result<Vec<Granted>, ServicesError> {
        let services = self.services;
        let count = services.plan.groups[unit.0].units[unit.1].count();
        let until = services.until();
        let mut ordered_after = None;
        loop {
            let (open, waits) = self.look(unit).await?;
            let granted = u32::try_from(open.len()).unwrap_or(u32::MAX);
            let missing = count.saturating_sub(granted);
            if missing == 0 {
                return Ok(open);
            }
            let tried = Some(self.failures.len());
            if waits && Instant::now() < until {
                tokio::time::sleep(POLL).await;
            } else if waits || ordered_after == tried {
                return Err(ServicesError::NotGranted { granted, count });
            } else {
                self.order(unit, missing, pinned).await?;
                ordered_after = tried;
            }
        }
    }

    /// The unit's open leases, and whether an order for more of them is open. Takes note of those
    /// that ended.
    async fn look(&mut self, unit: (usize, usize)) -> Result<(Vec<Granted>, bool), ServicesError> {
        let services = self.services;
        let client = services.wallet.client();
        let until = services.until();
        let (mut open, mut waits) = (Vec::new(), false);
        for order in services.orders(&self.ledger, &steps(unit)).await? {
            let Some(order) = patient(until, || client.order(&order)).await? else { continue };
            waits |= order.record.status.is_open();
            for lease in &order.record.leases {
                let Some(lease) = patient(until, || client.lease(lease)).await? else { continue };
                match lease.record.status {
                    LeaseStatus::Closed { reason, .. } => self.ended(unit, &lease, reason).await?,
                    _ => open.push(Granted { group: unit.0, unit: unit.1, lease }),
                }
            }
        }
        Ok((open, waits))
    }

    /// A lease is over: a failure, where it is of this run and none yet.
    async fn ended(
        &mut self,
        unit: (usize, usize),
        lease: &Named<LeaseId, Lease>,
        reason: CloseReason,
    ) -> Result<(), ServicesError> {
        let known = self.failures.iter().any(|failure| failure.lease == lease.id);
        if known || lease.record.granted_at < self.started {
            return Ok(());
        }
        let provider = lease.record.host.provider;
        let mut failure = Failure {
            unit,
            lease: lease.id,
            provider,
            step: "starting".to_owned(),
            reason: format!("its lease ended: {reason:?}"),
        };
        if reason == CloseReason::Undelivered {
            // It is there, and may say more.
            let asked = async {
                let address = self.services.address(&provider).await?;
                self.services.ask(&address, lease.id).await
            };
            let status = tokio::time::timeout(CALL_DEADLINE, asked).await;
            if let Ok(Ok(service::Status {
                step: service::Step::Failed { step, reason }, ..
            })) = status
            {
                failure = Failure { step, reason, ..failure };
            }
        }
        self.failed(failure)
    }

    fn failed(&mut self, failure: Failure) -> Result<(), ServicesError> {
        let (group, unit) = failure.unit;
        (self.notes)(Note::Failed {
            services: self.services.plan.services(group, unit),
            provider: failure.provider,
            step: failure.step.clone(),
            reason: failure.reason.clone(),
        });
        let group = &self.services.plan.groups[group];
        let apart = group.linked && group.leases() > 1;
        let hopeless = apart || is_known(&self.failures, &failure);
        self.failures.push(failure.clone());
        if hopeless { Err(failure.into()) } else { Ok(()) }
    }

    /// Orders so many leases of a unit.
    async fn order(
        &self,
        unit: (usize, usize),
        count: u32,
        pinned: Option<AccountId>,
    ) -> Result<(), ServicesError> {
        let services = self.services;
        let group = &services.plan.groups[unit.0];
        let of_unit = &group.units[unit.1];
        let failed = self.failures.iter().filter(|failure| failure.unit == unit);
        let failed: Vec<AccountId> = failed.map(|failure| failure.provider).collect();
        let mut alternatives = of_unit.alternatives.clone();
        for terms in &mut alternatives {
            terms.count = count;
            terms.providers.extend(pinned);
            terms.exclude.extend(&failed);
        }
        let until = services.until();
        let client = self.ledger.client();
        let chosen = choose(client, &group.name, of_unit, alternatives).await;
        let last = self.failures.iter().rfind(|failure| failure.unit == unit);
        let (terms, _) = match (chosen, last) {
            // That nobody else is there is not the reason.
            (Err(ServicesError::NoMatch { .. }), Some(last)) => return Err(last.clone().into()),
            (chosen, _) => chosen?,
        };
        let now = patient(until, || client.status()).await?.now;
        let action = Action::OrderPlace {
            escrow: self.escrow,
            job: None,
            terms,
            deadline: now.after(ORDER_WAIT),
            manifest: services.plan.commitment(unit.0, unit.1),
            mode: Mode::Standing,
            reauction: true,
        };
        let prefix = steps(unit);
        let before = self.ledger.journal({
            let prefix = prefix.clone();
            move |journal| Ok(journal.txs(&prefix)?.len())
        });
        let step = Step::new(format!("{prefix}{}", before.await?), "place an order");
        self.ledger.act(step, action, until, |_, _| {}).await?;
        Ok(())
    }

    /// Delivers the manifest and waits until the provider serves; how it failed otherwise.
    async fn bring_up(&self, granted: &Granted) -> Option<Failure> {
        let services = self.services;
        let (lease, provider) = (granted.lease.id, granted.lease.record.host.provider);
        let unit = (granted.group, granted.unit);
        let failure = |step: &str, reason: String| {
            Some(Failure { unit, lease, provider, step: step.to_owned(), reason })
        };
        let until = services.until();
        let mut last = service::Step::Waiting;
        loop {
            let trouble = match self.advance(granted).await {
                Ok(service::Step::Running) => {
                    self.tell(granted, &service::Step::Running);
                    return None;
                }
                Ok(service::Step::Failed { step, reason }) => return failure(&step, reason),
                Ok(service::Step::Closed) => {
                    return failure(name(&last), "it closed it".to_owned());
                }
                Ok(step) => {
                    if step != last {
                        self.tell(granted, &step);
                    }
                    last = step;
                    None
                }
                Err(error) => Some(chain(&error)),
            };
            let late = Instant::now() >= until;
            if let Some(trouble) = trouble {
                let lease = services.wallet.client().lease(&lease).await;
                let over = |lease: Option<Named<LeaseId, Lease>>| {
                    lease.is_none_or(|it| matches!(it.record.status, LeaseStatus::Closed { .. }))
                };
                if late || lease.is_ok_and(over) {
                    return failure("delivering", trouble);
                }
                tracing::debug!(trouble, "asking the provider again");
            } else if late {
                return failure(name(&last), "it takes too long".to_owned());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Where the provider stands; delivers where it waits for that.
    async fn advance(&self, granted: &Granted) -> Result<service::Step, ServicesError> {
        let services = self.services;
        let lease = granted.lease.id;
        let address = services.address(&granted.lease.record.host.provider).await?;
        let status = services.ask(&address, lease).await?;
        if status.step == service::Step::Waiting {
            let deploy = service::Deploy {
                lease,
                unit: u32::try_from(granted.unit).unwrap_or(u32::MAX),
                manifest: services.plan.groups[granted.group].manifest.clone(),
                salt: services.plan.salt_of(granted.group, granted.unit),
            };
            services.call(&address, &service::Request::Deploy(Box::new(deploy))).await?;
        }
        Ok(status.step)
    }

    fn tell(&self, granted: &Granted, step: &service::Step) {
        (self.notes)(Note::Step {
            services: self.services.plan.services(granted.group, granted.unit),
            provider: granted.lease.record.host.provider,
            step: step.clone(),
        });
    }

    /// Waits until a lease that failed is over; ends it where its provider does not.
    async fn let_go(&self, lease: LeaseId) -> Result<(), ServicesError> {
        let services = self.services;
        let client = services.wallet.client();
        let until = Instant::now() + DECLINE_WAIT;
        while Instant::now() < until {
            let record = patient(services.until(), || client.lease(&lease)).await?;
            if record.is_none_or(|it| matches!(it.record.status, LeaseStatus::Closed { .. })) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        services.close_lease(&self.ledger, lease).await
    }
}

/// The steps that place a unit's orders begin like this.
fn steps((group, unit): (usize, usize)) -> String {
    format!("order/{group}/{unit}/")
}

/// Whether another provider failed in the same way: then it is not the provider.
fn is_known(before: &[Failure], failure: &Failure) -> bool {
    before.iter().any(|one| {
        one.unit == failure.unit && one.step == failure.step && one.provider != failure.provider
    })
}

/// A step in a word.
const fn name(step: &service::Step) -> &'static str {
    match step {
        service::Step::Waiting => "delivering",
        service::Step::Pulling { .. } => "pulling",
        service::Step::Starting => "starting",
        service::Step::Probing => "probing",
        service::Step::Running => "running",
        service::Step::Failed { .. } => "failing",
        service::Step::Closed => "closing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_types::Hash;

    #[test]
    fn a_failure_is_the_deployments_where_another_provider_failed_in_the_same_step_of_its_unit() {
        let failure = |unit, provider: u8, step: &str| Failure {
            unit: (0, unit),
            lease: LeaseId(Hash([provider; 32])),
            provider: muster_types::SecretKey::from_seed([provider; 32]).account(),
            step: step.to_owned(),
            reason: String::new(),
        };
        let before = [failure(0, 1, "pulling"), failure(1, 2, "starting")];
        for (unit, provider, step, known) in [
            (0, 2, "pulling", true),
            (0, 1, "pulling", false),
            (0, 2, "starting", false),
            (1, 1, "pulling", false),
            (1, 1, "starting", true),
        ] {
            let new = failure(unit, provider, step);
            assert_eq!(is_known(&before, &new), known, "{new:?}");
        }
    }
}
