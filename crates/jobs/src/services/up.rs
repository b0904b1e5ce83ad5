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
//! | more are open than it wants | the last ones are closed |
//! | its orders commit to another manifest | they get this one, and then the leases: the first alone |
//! | one of these does not take it | give up |
//!
//! A unit may be for several services of equal needs: each lease is given one of them for good,
//! which is written down before it is delivered.
//!
//! The ledger itself opens an order again for a lease that its provider broke.

use super::{CALL_DEADLINE, Granted, Note, POLL, Services, ServicesError, choose};
use crate::{
    error::chain,
    journal::Journal,
    ledger::{Ledger, Step, patient},
};
use muster_api::{provider::refusal, service, views::Named};
use muster_ledger::{
    Action,
    market::{CloseReason, Lease, LeaseStatus, Mode, OrderChange, OrderStatus},
};
use muster_types::{AccountId, EscrowId, LeaseId, Millis};
use std::{collections::BTreeMap, time::Duration};
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
    service: String,
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

/// A lease, and the service that it was given.
struct Given {
    granted: Granted,
    service: String,
}

impl Run<'_> {
    /// Whether everything runs after it.
    async fn round(&mut self) -> Result<bool, ServicesError> {
        let groups = &self.services.plan.groups;
        let mut given = Vec::new();
        for (group, of_group) in groups.iter().enumerate() {
            // Services that call each other are at one provider: the first lease's.
            let mut pinned = None;
            for unit in 0..of_group.units.len() {
                let leases = self.lease((group, unit), pinned).await?;
                let first = leases.first().map(|lease| lease.lease.record.host.provider);
                pinned = pinned.or(first.filter(|_| of_group.linked));
                given.extend(self.give((group, unit), leases).await?);
            }
        }
        let leases = given.iter().map(|Given { granted: Granted { lease, .. }, .. }| lease);
        let leases = leases.map(|lease| (lease.id, lease.record.host.provider)).collect();
        (self.notes)(Note::Leased { leases });
        self.change_orders().await?;
        // Only what serves already shows whether an update does.
        let updating = self.services.plan.before.is_some();
        let first = if updating { given.len().min(1) } else { 0 };
        let (first, others) = given.split_at(first);
        let mut all = true;
        for part in [first, others] {
            let outcomes = {
                let bring_up = part.iter().map(|given| self.bring_up(given));
                futures::future::join_all(bring_up).await
            };
            for failure in outcomes.into_iter().flatten() {
                if updating {
                    self.hear(&failure);
                    return Err(failure.into());
                }
                all = false;
                self.let_go(failure.lease).await?;
                self.failed(failure)?;
            }
        }
        Ok(all)
    }

    /// Gives each lease of a unit a service of it, and closes those that are too many.
    async fn give(
        &self,
        unit: (usize, usize),
        leases: Vec<Granted>,
    ) -> Result<Vec<Given>, ServicesError> {
        let known = self.ledger.journal(Journal::services).await?;
        let wanted = self.services.plan.services(unit.0, unit.1);
        let ids: Vec<LeaseId> = leases.iter().map(|granted| granted.lease.id).collect();
        let shares = share(&wanted, &ids, &known);
        let new = shares.iter().filter(|(lease, service)| known.get(lease) != Some(service));
        let new: Vec<(LeaseId, String)> =
            new.map(|(lease, service)| (*lease, service.clone())).collect();
        if !new.is_empty() {
            self.ledger.journal(move |journal| journal.set_services(&new)).await?;
        }
        let mut given = Vec::new();
        for granted in leases {
            match shares.get(&granted.lease.id) {
                Some(service) => given.push(Given { granted, service: service.clone() }),
                None => self.services.close_lease(&self.ledger, granted.lease.id).await?,
            }
        }
        Ok(given)
    }

    /// Has every order that may still lead to something commit to what the plan says.
    async fn change_orders(&self) -> Result<(), ServicesError> {
        let services = self.services;
        let client = services.wallet.client();
        let until = services.until();
        for (group, of_group) in services.plan.groups.iter().enumerate() {
            for unit in 0..of_group.units.len() {
                let hash = services.plan.commitment(group, unit);
                for order in services.orders(&self.ledger, &steps((group, unit))).await? {
                    let prefix = format!("update/{order}/");
                    let known = {
                        let prefix = prefix.clone();
                        self.ledger.journal(move |journal| journal.txs(&prefix)).await?
                    };
                    // What was signed and perhaps sent must not take effect after we looked.
                    for (step, _) in &known {
                        self.ledger.finish(step, until).await?;
                    }
                    let Some(record) = patient(until, || client.order(&order)).await? else {
                        continue;
                    };
                    let alive = matches!(record.record.status, OrderStatus::Leased)
                        || record.record.status.is_open();
                    if record.record.manifest == hash || !alive {
                        continue;
                    }
                    let step = Step::new(format!("{prefix}{}", known.len()), "change an order");
                    let change = OrderChange::Manifest { hash };
                    let action = Action::OrderUpdate { order, change };
                    self.ledger.act(step, action, until, |_, _| {}).await?;
                }
            }
        }
        Ok(())
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
        let known = self.ledger.journal(Journal::services).await?;
        let mut failure = Failure {
            unit,
            service: known.get(&lease.id).cloned().unwrap_or_else(|| {
                let names = self.services.plan.services(unit.0, unit.1).into_iter();
                names.map(|(name, _)| name).collect::<Vec<_>>().join(" or ")
            }),
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

    fn hear(&self, failure: &Failure) {
        (self.notes)(Note::Failed {
            service: failure.service.clone(),
            provider: failure.provider,
            step: failure.step.clone(),
            reason: failure.reason.clone(),
        });
    }

    fn failed(&mut self, failure: Failure) -> Result<(), ServicesError> {
        self.hear(&failure);
        let group = &self.services.plan.groups[failure.unit.0];
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
    async fn bring_up(&self, given: &Given) -> Option<Failure> {
        let services = self.services;
        let granted = &given.granted;
        let (lease, provider) = (granted.lease.id, granted.lease.record.host.provider);
        let (unit, service) = ((granted.group, granted.unit), given.service.clone());
        let failure = |step: &str, reason: String| {
            Some(Failure { unit, service, lease, provider, step: step.to_owned(), reason })
        };
        let until = services.until();
        let (mut last, mut replaced) = (service::Step::Waiting, false);
        loop {
            let trouble = match self.advance(given, &mut replaced).await {
                Ok(service::Step::Running) => {
                    self.tell(given, &service::Step::Running);
                    return None;
                }
                Ok(service::Step::Failed { step, reason }) => return failure(&step, reason),
                Ok(service::Step::Closed) => {
                    return failure(name(&last), "it closed it".to_owned());
                }
                Ok(step) => {
                    if step != last {
                        self.tell(given, &step);
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

    /// Where the provider stands with the manifest of the plan; delivers where it waits for that,
    /// or serves another. `replaced` says whether it was given this one in the place of another.
    async fn advance(
        &self,
        given: &Given,
        replaced: &mut bool,
    ) -> Result<service::Step, ServicesError> {
        let services = self.services;
        let Given { granted: Granted { group, unit, lease }, service } = given;
        let address = services.address(&lease.record.host.provider).await?;
        let status = services.ask(&address, lease.id).await?;
        let current = status.manifest == Some(services.plan.commitment(*group, *unit));
        match (&status.step, status.update_failed) {
            (service::Step::Waiting, _) => {}
            (service::Step::Running, None) if current => {
                let until = services.until();
                let client = services.wallet.client();
                let record = patient(until, || client.lease(&lease.id)).await?;
                let waits = |it: Named<LeaseId, Lease>| {
                    matches!(it.record.status, LeaseStatus::Updating { .. })
                };
                if !record.is_some_and(waits) {
                    return Ok(service::Step::Running);
                }
                // It serves this one, but has not said so to the ledger.
            }
            (service::Step::Running, Some(reason)) if *replaced => {
                return Ok(service::Step::Failed { step: "updating".to_owned(), reason });
            }
            (service::Step::Running, _) => *replaced = true,
            _ => return Ok(status.step),
        }
        let deploy = service::Deploy {
            lease: lease.id,
            service: service.clone(),
            manifest: services.plan.groups[*group].manifest.clone(),
            salt: services.plan.salt_of(*group, *unit),
        };
        let request = service::Request::Deploy(Box::new(deploy));
        match services.call(&address, &request).await {
            Err(ServicesError::Refused { refusal, .. })
                if *replaced && refusal.code().0 == refusal::BAD_REQUEST =>
            {
                let reason = refusal.to_string();
                return Ok(service::Step::Failed { step: "delivering".to_owned(), reason });
            }
            answer => answer?,
        };
        Ok(match status.step {
            service::Step::Running => service::Step::Updating,
            step => step,
        })
    }

    fn tell(&self, given: &Given, step: &service::Step) {
        (self.notes)(Note::Step {
            service: given.service.clone(),
            provider: given.granted.lease.record.host.provider,
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

/// Which service each of a unit's leases is for: the one that it was given before, where so many
/// are wanted, else the first of which there are too few. A lease that is too much has none.
fn share(
    wanted: &[(&str, u32)],
    leases: &[LeaseId],
    known: &BTreeMap<LeaseId, String>,
) -> BTreeMap<LeaseId, String> {
    let mut left: Vec<(&str, u32)> = wanted.to_vec();
    let mut shares = BTreeMap::new();
    let mut take = |lease: &LeaseId, of: &dyn Fn(&str) -> bool| {
        let found = left.iter_mut().find(|(service, left)| *left > 0 && of(service));
        if let Some((service, left)) = found {
            *left = left.saturating_sub(1);
            shares.insert(*lease, (*service).to_owned());
        }
        found.is_some()
    };
    let of_before = |lease: &&LeaseId| {
        let before = known.get(*lease);
        before.is_some_and(|before| take(lease, &|service| service == before))
    };
    let (_, others): (Vec<&LeaseId>, Vec<&LeaseId>) = leases.iter().partition(of_before);
    for lease in others {
        take(lease, &|_| true);
    }
    shares
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
        service::Step::Updating => "updating",
        service::Step::Failed { .. } => "failing",
        service::Step::Closed => "closing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_types::Hash;

    #[test]
    fn a_lease_keeps_its_service_others_get_what_is_missing_and_what_is_too_much_none() {
        let lease = |number: u8| LeaseId(Hash([number; 32]));
        let known = |given: &[(u8, &str)]| -> BTreeMap<LeaseId, String> {
            given.iter().map(|&(number, service)| (lease(number), service.to_owned())).collect()
        };
        let wanted = [("api", 1), ("web", 2)];
        type Row<'a> = (&'a [u8], &'a [(u8, &'a str)], &'a [(u8, &'a str)]);
        let table: [Row<'_>; 5] = [
            (&[1, 2, 3], &[], &[(1, "api"), (2, "web"), (3, "web")]),
            (&[1, 2, 3], &[(1, "web"), (3, "api")], &[(1, "web"), (2, "web"), (3, "api")]),
            // A replica was lost: its place is taken by the new one.
            (
                &[2, 3, 4],
                &[(1, "web"), (2, "web"), (3, "api")],
                &[(2, "web"), (3, "api"), (4, "web")],
            ),
            // One too many, and a service that is no more.
            (
                &[1, 2, 3, 4],
                &[(1, "web"), (2, "web"), (3, "web")],
                &[(1, "web"), (2, "web"), (3, "api")],
            ),
            (&[1], &[(1, "gone")], &[(1, "api")]),
        ];
        for (leases, before, after) in table {
            let leases: Vec<LeaseId> = leases.iter().map(|&number| lease(number)).collect();
            assert_eq!(share(&wanted, &leases, &known(before)), known(after), "{before:?}");
        }
    }

    #[test]
    fn a_failure_is_the_deployments_where_another_provider_failed_in_the_same_step_of_its_unit() {
        let failure = |unit, provider: u8, step: &str| Failure {
            unit: (0, unit),
            service: "web".to_owned(),
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
