//! Services in containers, as their tenant keeps them: from a checked deployment to replicas that
//! run, and back to a closed escrow.
//!
//! A deployment is a directory: the plan (what was asked for, and what hides it on the ledger),
//! written before anything is sent, and the journal of what was sent. Each act is done once, so
//! [`Services::up`] that was killed goes on where it was.
//!
//! | state | act | next |
//! |---|---|---|
//! | no directory | [`Services::create`]: nothing matches | no directory; nothing was spent |
//! | no directory | [`Services::create`] | planned |
//! | planned | [`Services::up`]: the escrow is opened, every unit ordered | ordered |
//! | ordered | leases granted: each provider gets the manifest | delivered |
//! | delivered | every provider says that it runs | running |
//! | running | [`Services::update`]: orders get the new manifest, leases too, the first alone | updating |
//! | updating | all leases run it | running |
//! | updating | one does not | running, with what ran before |
//! | any | [`Services::close`]: orders cancelled, leases closed, the escrow closed | no directory |
//!
//! What a deployment may cost is what its escrow holds, which the ledger sees to: leases that were
//! replaced are paid from the same money.

mod error;
mod plan;
mod reach;
mod up;

pub use error::ServicesError;
pub use reach::Connection;

use crate::{
    EscrowTotals, JobError,
    journal::Journal,
    ledger::{Ledger, Step, patient},
};
use muster_api::{Client, Wallet, service, views::Named};
use muster_fabric::Fabric;
use muster_ledger::{
    Action,
    market::{Lease, LeaseStatus, Order},
};
use muster_market::{Explanation, Terms};
use muster_spec::sdl::{Deployment, Exchange};
use muster_types::{AccountId, Amount, EscrowId, LeaseId, Millis, OrderId, Rate, SecretKey};
use plan::{Plan, UnitPlan};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// How often leases and providers are asked.
const POLL: Duration = Duration::from_millis(200);
/// Longest wait for one answer of a provider.
const CALL_DEADLINE: Duration = Duration::from_secs(20);
/// Longest wait for a provider where others are asked about too.
const LIST_DEADLINE: Duration = Duration::from_secs(3);

/// Whose services, where they are kept, and on which network.
#[derive(Clone, Debug)]
pub struct ServicesConfig {
    /// The deployment's directory.
    pub dir: PathBuf,
    /// The tenant's key.
    pub key: SecretKey,
    /// The node's address, `http://host:port`.
    pub node: String,
    /// The UDP socket to call providers from; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// How long a node that does not answer is asked again, and a provider waited for.
    pub patience: Duration,
}

/// A deployment's services.
#[derive(Debug)]
pub struct Services {
    config: ServicesConfig,
    wallet: Wallet,
    fabric: Fabric,
    plan: Plan,
}

/// What a deployment costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// What its leases would cost now, all together, `usd` an hour; `None` where it was planned
    /// before.
    pub quoted_per_hour: Option<Amount>,
    /// What they may cost at most, `usd` an hour.
    pub most_per_hour: Amount,
    /// What is set aside for them, `usd`.
    pub deposit: Amount,
}

/// A lease of a deployment, and what its provider says of it.
#[derive(Clone, Debug, Serialize)]
pub struct Replica {
    /// The group's name.
    pub group: String,
    /// The service of which it runs a replica; `None` where only its provider could say, and does
    /// not answer.
    pub service: Option<String>,
    /// Which lease.
    pub lease: LeaseId,
    /// Who runs it.
    pub provider: AccountId,
    /// What it costs.
    pub rate: Rate,
    /// What it has cost so far, `usd`.
    pub accrued: Amount,
    /// Where it stands; `None` where its provider does not answer.
    pub status: Option<service::Status>,
}

/// What happens while services come up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Money is set aside.
    Funded {
        /// Where.
        escrow: EscrowId,
        /// How much `usd`.
        deposit: Amount,
    },
    /// Leases were granted.
    Leased {
        /// Which, each with its provider.
        leases: Vec<(LeaseId, AccountId)>,
    },
    /// A provider is at another step.
    Step {
        /// Which service.
        service: String,
        /// Who.
        provider: AccountId,
        /// At which.
        step: service::Step,
    },
    /// A provider failed; another is looked for, unless it was an update that did.
    Failed {
        /// Which service.
        service: String,
        /// Who.
        provider: AccountId,
        /// In which step.
        step: String,
        /// What it says.
        reason: String,
    },
}

/// One that was granted for a unit of the plan.
struct Granted {
    group: usize,
    unit: usize,
    lease: Named<LeaseId, Lease>,
}

impl Services {
    /// Plans a deployment in its directory, with money for `funded` of all its leases at their
    /// highest prices. Where the same one is there already, it is opened. Spends nothing.
    ///
    /// # Errors
    /// [`ServicesError::NoMatch`] where hosts do not take all of a unit's leases, and
    /// [`ServicesError::OverLimit`] where more than `most` were to be set aside; nothing is kept
    /// then.
    pub async fn create(
        config: ServicesConfig,
        deployment: &Deployment,
        exchange: &Exchange,
        funded: Millis,
        most: Option<Amount>,
    ) -> Result<(Self, Cost), ServicesError> {
        let wallet = wallet(&config).await?;
        let plan = Plan::new(&wallet, deployment, exchange, funded)?;
        let mut cost = plan.cost().ok_or(ServicesError::TooDear)?;
        if let Some(most) = most.filter(|most| plan.deposit > *most) {
            return Err(ServicesError::OverLimit { needed: plan.deposit, most });
        }
        let plan = match Plan::read(&config.dir)? {
            Some(before) if before.asks_the_same(&plan) => before,
            Some(before) if (before.tenant, before.chain) != (plan.tenant, plan.chain) => {
                return Err(ServicesError::Foreign { dir: config.dir.clone() });
            }
            Some(_) => return Err(ServicesError::Exists { dir: config.dir.clone() }),
            None => {
                let mut quoted = Some(Amount::ZERO);
                for (group, unit) in plan.units() {
                    let alternatives = unit.alternatives.clone();
                    let (_, explanation) =
                        choose(wallet.client(), &group.name, unit, alternatives).await?;
                    quoted = quoted.and_then(|sum| {
                        sum.checked_add(explanation.price_per_hour.amount_per_hour())
                    });
                }
                plan.write(&config.dir)?;
                cost.quoted_per_hour = quoted;
                plan
            }
        };
        Ok((Self::with(config, wallet, plan).await?, cost))
    }

    /// Opens a deployment that was planned before.
    ///
    /// # Errors
    /// [`ServicesError::Nothing`] where there is none; [`ServicesError::Foreign`] where it is
    /// another key's or chain's.
    pub async fn open(config: ServicesConfig) -> Result<Self, ServicesError> {
        let plan = Plan::read(&config.dir)?;
        let plan = plan.ok_or_else(|| ServicesError::Nothing { dir: config.dir.clone() })?;
        let wallet = wallet(&config).await?;
        Self::with(config, wallet, plan).await
    }

    async fn with(
        config: ServicesConfig,
        wallet: Wallet,
        plan: Plan,
    ) -> Result<Self, ServicesError> {
        if plan.chain != wallet.chain() || plan.tenant != wallet.account() {
            return Err(ServicesError::Foreign { dir: config.dir.clone() });
        }
        let mut fabric = muster_fabric::Config::new(config.key.clone());
        fabric.bind = config.bind;
        let fabric = Fabric::bind(fabric).await?;
        Ok(Self { config, wallet, fabric, plan })
    }

    /// What the deployment may cost, as it was planned.
    ///
    /// # Errors
    /// [`ServicesError::TooDear`] beyond all amounts.
    pub fn cost(&self) -> Result<Cost, ServicesError> {
        self.plan.cost().ok_or(ServicesError::TooDear)
    }

    /// Every open lease of the deployment, as the ledger and its provider have it.
    ///
    /// # Errors
    /// [`ServicesError`] where the node cannot be asked.
    pub async fn replicas(&self) -> Result<Vec<Replica>, ServicesError> {
        let granted = self.all_granted().await?;
        let replica = |granted: Granted| async move {
            let lease = &granted.lease;
            let provider = lease.record.host.provider;
            let asked = async {
                let address = self.address(&provider).await?;
                self.ask(&address, lease.id).await
            };
            let status = tokio::time::timeout(LIST_DEADLINE, asked).await;
            let status = status.ok().and_then(Result::ok);
            Replica {
                group: self.plan.groups[granted.group].name.clone(),
                service: self.service_of(&granted, status.as_ref()),
                lease: lease.id,
                provider,
                rate: lease.record.rate,
                accrued: lease.record.accrued,
                status,
            }
        };
        Ok(futures::future::join_all(granted.into_iter().map(replica)).await)
    }

    /// The service of a lease: the only one of its unit, or what its provider says.
    fn service_of(&self, granted: &Granted, status: Option<&service::Status>) -> Option<String> {
        match self.plan.services(granted.group, granted.unit)[..] {
            [(only, _)] => Some(only.to_owned()),
            _ => Some(status?.container.as_ref()?.service.clone()),
        }
    }

    /// Has everything that runs be as this says from now on: the first lease alone, and where its
    /// new container serves, the others at once. Where one does not, all of them get back what ran
    /// before. Counts that fell are leases closed; those that rose are ordered, from the money that
    /// there is. One that was interrupted goes on when it is called again.
    ///
    /// # Errors
    /// [`ServicesError::Changed`] where running leases cannot take it, and nothing is done;
    /// [`ServicesError::TakenBack`] with the reason; others, where it could not be taken back either.
    pub async fn update(
        &mut self,
        deployment: &Deployment,
        exchange: &Exchange,
        notes: &(dyn Fn(Note) + Sync),
    ) -> Result<(), ServicesError> {
        if self.plan.update(deployment, exchange)? {
            self.plan.write(&self.config.dir)?;
        }
        let failed = match self.up(notes).await {
            Ok(()) => return self.settle(),
            Err(error @ (ServicesError::Failed { .. } | ServicesError::NoMatch { .. }))
                if self.plan.before.is_some() =>
            {
                error
            }
            Err(error) => return Err(error),
        };
        self.plan.take_back();
        self.plan.write(&self.config.dir)?;
        self.up(notes).await?;
        Err(ServicesError::TakenBack(Box::new(failed)))
    }

    /// What was asked for last is what runs.
    fn settle(&mut self) -> Result<(), ServicesError> {
        match self.plan.before.take() {
            Some(_) => self.plan.write(&self.config.dir),
            None => Ok(()),
        }
    }

    /// Ends the deployment: open orders are cancelled, leases closed, what is left of the money
    /// comes back, and the directory goes. Repeatable. Returns where the money went, unless none
    /// was set aside.
    ///
    /// # Errors
    /// [`ServicesError`]; calling again goes on from there.
    pub async fn close(self) -> Result<Option<EscrowTotals>, ServicesError> {
        let until = self.until();
        let ledger = self.ledger()?;
        let mut totals = None;
        // What was signed and perhaps sent must not take effect after we looked.
        if let Some(tx) = ledger.finish("escrow", until).await? {
            let escrow = EscrowId::derive(&tx);
            while !self.try_close(&ledger, escrow, until).await? {
                tokio::time::sleep(POLL).await;
            }
            let client = self.wallet.client();
            let record = patient(until, || client.escrow(&escrow)).await?;
            totals = record.map(|escrow| EscrowTotals::of(&escrow.record));
        }
        drop(ledger);
        self.fabric.shutdown().await;
        Plan::remove(&self.config.dir)?;
        Ok(totals)
    }

    /// Closes the escrow and all that draws from it; `false` where something still does.
    async fn try_close(
        &self,
        ledger: &Ledger,
        escrow: EscrowId,
        until: Instant,
    ) -> Result<bool, ServicesError> {
        let client = self.wallet.client();
        for order in self.orders(ledger, "order/").await? {
            let record = patient(until, || client.order(&order)).await?;
            if record.is_some_and(|record| record.record.status.is_open()) {
                let step = Step::new(format!("cancel/{order}"), "cancel an order");
                ledger.act(step, Action::OrderCancel { order }, until, |_, _| {}).await?;
            }
        }
        for Granted { lease, .. } in self.all_granted().await? {
            self.close_lease(ledger, lease.id).await?;
        }
        let step = Step::new("escrow/close", "close the escrow");
        match ledger.act(step, Action::EscrowClose { escrow }, until, |_, _| {}).await {
            Ok(_) => Ok(true),
            Err(JobError::Refused { source, .. })
                if source.code() == Some("wrong_state") && Instant::now() < until =>
            {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn close_lease(&self, ledger: &Ledger, lease: LeaseId) -> Result<(), ServicesError> {
        let step = Step::new(format!("close/{lease}"), "close a lease");
        ledger.act(step, Action::LeaseClose { lease }, self.until(), |_, _| {}).await?;
        Ok(())
    }

    /// The orders that were signed under steps that begin like this, and are on the ledger.
    async fn orders(&self, ledger: &Ledger, steps: &str) -> Result<Vec<OrderId>, ServicesError> {
        let steps = steps.to_owned();
        let known = ledger.journal(move |journal| journal.txs(&steps)).await?;
        let mut orders = Vec::new();
        for (step, _) in known {
            let done = ledger.finish(&step, self.until()).await?;
            orders.extend(done.map(|tx| OrderId::derive(&tx)));
        }
        Ok(orders)
    }

    /// Every open lease of the deployment, with the unit that it is for: the commitments of the
    /// orders say which.
    async fn all_granted(&self) -> Result<Vec<Granted>, ServicesError> {
        let client = self.wallet.client();
        let until = self.until();
        let open = |lease: &Named<LeaseId, Lease>| {
            lease.record.job.is_none() && !matches!(lease.record.status, LeaseStatus::Closed { .. })
        };
        let leases = patient(until, || client.leases_of_tenant(&self.plan.tenant, true)).await?;
        let leases: Vec<_> = leases.into_iter().filter(open).collect();
        let orders: BTreeSet<OrderId> = leases.iter().map(|lease| lease.record.order).collect();
        let mut units = BTreeMap::new();
        for id in orders {
            let order: Option<Named<OrderId, Order>> = patient(until, || client.order(&id)).await?;
            if let Some(unit) = order.and_then(|order| self.plan.unit_of(&order.record.manifest)) {
                units.insert(id, unit);
            }
        }
        let ours = leases.into_iter().filter_map(|lease| {
            let (group, unit) = units.get(&lease.record.order).copied()?;
            Some(Granted { group, unit, lease })
        });
        let mut ours: Vec<_> = ours.collect();
        ours.sort_unstable_by_key(|granted| granted.lease.id);
        Ok(ours)
    }

    fn ledger(&self) -> Result<Ledger, ServicesError> {
        Ok(Ledger::new(self.wallet.clone(), Arc::new(Journal::open(&self.config.dir)?)))
    }

    fn until(&self) -> Instant {
        Instant::now() + self.config.patience
    }
}

async fn wallet(config: &ServicesConfig) -> Result<Wallet, ServicesError> {
    Ok(Wallet::new(Client::new(&config.node)?, config.key.clone()).await?)
}

/// Of the kinds of GPU that will do, the one of which the market has most, then the cheapest.
async fn choose(
    client: &Client,
    group: &str,
    unit: &UnitPlan,
    alternatives: Vec<Terms>,
) -> Result<(Terms, Explanation), ServicesError> {
    let mut best: Option<(Terms, Explanation)> = None;
    for terms in alternatives {
        let explanation = client.quote(&terms).await?;
        let better = best.as_ref().is_none_or(|(_, before)| {
            let key = |of: &Explanation| (of.would_grant, std::cmp::Reverse(of.price_per_hour));
            key(&explanation) > key(before)
        });
        if better {
            best = Some((terms, explanation));
        }
    }
    match best {
        Some((terms, explanation)) if explanation.would_grant >= terms.count => {
            Ok((terms, explanation))
        }
        best => Err(ServicesError::NoMatch {
            group: group.to_owned(),
            profile: unit.profile.clone(),
            count: best.as_ref().map_or(0, |(terms, _)| terms.count),
            explanation: best.map(|(_, explanation)| Box::new(explanation)),
        }),
    }
}
