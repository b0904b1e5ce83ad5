//! An independent, naive model of the rules, written from their documentation.
//!
//! It shares the vocabulary (ids, actions, terms, parameters) with the ledger and nothing else:
//! records stand in plain lists that are searched from end to end, sums are counted anew whenever
//! they are asked for, money is a big rational, and a refused transaction is undone by throwing a
//! copy away. Where the ledger keeps a number, the model counts it.

mod act;
mod clear;
mod compare;
mod dispute;
mod lease;
mod pay;

use muster_ledger::{
    Action, BlockContext, Genesis, Params, ProviderProfile,
    job::{JobSpec, TaskOutput},
    market::{CloseReason, Commitment},
    provider::HostSpec,
};
use muster_market::Terms;
use muster_types::{
    AccountId, Amount, Asset, DisputeId, EscrowId, Hash, HostId, JobId, LeaseId, Millis, OrderId,
    Rate, TxId,
};
use num_rational::BigRational;
use num_traits::Zero as _;
use std::collections::{BTreeMap, BTreeSet};

/// Money in nano-units.
pub(crate) type Money = BigRational;

pub(crate) fn money(amount: Amount) -> Money {
    Money::from_integer(amount.nanos().into())
}

pub(crate) fn whole(number: u64) -> Money {
    Money::from_integer(number.into())
}

/// `rate x ms / 1 h`, exactly.
pub(crate) fn charge(rate: Rate, ms: u64) -> Money {
    money(rate.amount_per_hour()) * whole(ms) / whole(3_600_000)
}

/// Refused; the model does not say why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

pub(crate) type Outcome = Result<(), Refused>;

/// Refuses unless `condition` holds.
pub(crate) fn must(condition: bool) -> Outcome {
    if condition { Ok(()) } else { Err(Refused) }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Person {
    pub(crate) usd: Money,
    pub(crate) mst: Money,
    /// Every nonce that was ever used.
    pub(crate) used: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Registered,
    Active,
    Draining,
    Unbonding { until: u64 },
    Gone,
}

#[derive(Clone, Debug)]
pub(crate) struct Provider {
    pub(crate) id: AccountId,
    pub(crate) profile: ProviderProfile,
    pub(crate) standing: Standing,
    pub(crate) bond: Money,
    pub(crate) slashed: Money,
    pub(crate) broken: u64,
    pub(crate) missed: u64,
    pub(crate) lost: u64,
    pub(crate) fees_paid: Money,
}

#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) id: HostId,
    pub(crate) spec: HostSpec,
    pub(crate) offered_at: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Escrow {
    pub(crate) id: EscrowId,
    pub(crate) owner: AccountId,
    pub(crate) closed: bool,
    /// Steady time since when it is short.
    pub(crate) short_since: Option<u64>,
    /// Who put in how much, and how much of it is left: exact, in proportion.
    pub(crate) deposits: Vec<(AccountId, Money, Money)>,
    pub(crate) balance: Money,
    pub(crate) paid: Money,
    pub(crate) refunded: Money,
}

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) tenant: AccountId,
    pub(crate) spec: JobSpec,
    pub(crate) closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderEnd {
    Filled,
    Expired,
    Cancelled,
}

#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) id: OrderId,
    pub(crate) tenant: AccountId,
    pub(crate) escrow: EscrowId,
    pub(crate) job: Option<JobId>,
    pub(crate) terms: Terms,
    pub(crate) placed_at: u64,
    pub(crate) deadline: u64,
    pub(crate) fee: Money,
    pub(crate) ended: Option<OrderEnd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Granted,
    Active,
    Stalled { since: u64 },
    Closed { reason: CloseReason, settled: bool },
}

#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) id: LeaseId,
    pub(crate) order: OrderId,
    pub(crate) host: HostId,
    pub(crate) rate: Rate,
    pub(crate) pledge: Money,
    pub(crate) takes: muster_types::Resources,
    /// Whether pay waits for a verdict.
    pub(crate) withholds: bool,
    pub(crate) phase: Phase,
    pub(crate) seen_steady: u64,
    pub(crate) seen_height: u64,
    pub(crate) covered: u64,
    pub(crate) accrued: Money,
    pub(crate) shortfall: Money,
    pub(crate) paid: Money,
    pub(crate) compensated: Money,
    pub(crate) commitment: Option<Commitment>,
}

#[derive(Clone, Debug)]
pub(crate) struct Dispute {
    pub(crate) id: DisputeId,
    pub(crate) opener: AccountId,
    pub(crate) claims: [(LeaseId, TaskOutput); 2],
    pub(crate) votes: Vec<(AccountId, Option<TaskOutput>)>,
    pub(crate) deadline: u64,
    pub(crate) open: bool,
}

/// The whole world of the model.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) params: Params,
    pub(crate) chain: Hash,
    pub(crate) now: u64,
    pub(crate) steady: u64,
    pub(crate) height: u64,
    pub(crate) beacon: Hash,
    pub(crate) previous_beacon: Hash,
    pub(crate) proposer: AccountId,
    pub(crate) validators: Vec<AccountId>,
    pub(crate) people: BTreeMap<AccountId, Person>,
    pub(crate) providers: Vec<Provider>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) escrows: Vec<Escrow>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) orders: Vec<Order>,
    pub(crate) leases: Vec<Lease>,
    pub(crate) disputes: Vec<Dispute>,
    /// The block's fees, not paid out yet.
    pub(crate) pot: Money,
    pub(crate) burned: Money,
}

impl Model {
    pub(crate) fn new(genesis: &Genesis) -> Self {
        let people = genesis.balances.iter().map(|(id, balance)| {
            let (usd, mst) = (money(balance.usd), money(balance.mst));
            (*id, Person { usd, mst, used: BTreeSet::new() })
        });
        Self {
            params: genesis.params.clone(),
            chain: genesis.id(),
            now: genesis.time.0,
            steady: genesis.time.0,
            height: 0,
            beacon: Hash::of("muster genesis beacon v1", &[genesis.id().as_bytes()]),
            previous_beacon: Hash::ZERO,
            proposer: AccountId::default(),
            validators: genesis.validators.clone(),
            people: people.collect(),
            providers: Vec::new(),
            hosts: Vec::new(),
            escrows: Vec::new(),
            jobs: Vec::new(),
            orders: Vec::new(),
            leases: Vec::new(),
            disputes: Vec::new(),
            pot: Money::zero(),
            burned: Money::zero(),
        }
    }

    /// A block begins.
    pub(crate) fn begin(&mut self, context: &BlockContext) {
        let step = context.now.0 - self.now;
        self.now = context.now.0;
        self.steady += step.min(self.params.max_block_step_ms.0);
        self.height = context.height;
        self.previous_beacon = self.beacon;
        self.beacon = context.beacon;
        self.proposer = context.proposer;
    }

    /// A transaction: applies whole, or changes nothing.
    pub(crate) fn apply(&mut self, tx: TxId, by: &Sent, action: &Action) -> Outcome {
        let before = self.clone();
        let outcome = self.admit(by).and_then(|()| self.act(tx, by, action));
        if outcome.is_err() {
            *self = before;
        }
        outcome
    }

    /// The envelope: the nonce is good once and within the window, the fee is paid.
    fn admit(&mut self, by: &Sent) -> Outcome {
        let person = self.people.get_mut(&by.signer).ok_or(Refused)?;
        let lowest = (0..).find(|nonce| !person.used.contains(nonce)).unwrap_or(0);
        must(by.nonce >= lowest && by.nonce < lowest + 64)?;
        must(person.used.insert(by.nonce))?;
        must(by.fee <= by.max_fee)?;
        self.take(by.signer, Asset::Usd, &by.fee)?;
        self.pot += &by.fee;
        if by.signer != self.proposer
            && let Some(provider) = self.providers.iter_mut().find(|one| one.id == by.signer)
        {
            provider.fees_paid += &by.fee;
        }
        Ok(())
    }

    pub(crate) fn take(&mut self, from: AccountId, asset: Asset, amount: &Money) -> Outcome {
        let person = self.people.get_mut(&from).ok_or(Refused)?;
        let balance = match asset {
            Asset::Usd => &mut person.usd,
            Asset::Mst => &mut person.mst,
        };
        must(*balance >= *amount)?;
        *balance -= amount;
        Ok(())
    }

    pub(crate) fn give(&mut self, to: AccountId, asset: Asset, amount: &Money) {
        if amount.is_zero() {
            return;
        }
        let person = self.people.entry(to).or_default();
        match asset {
            Asset::Usd => person.usd += amount,
            Asset::Mst => person.mst += amount,
        }
    }

    pub(crate) fn order(&self, id: &OrderId) -> Result<&Order, Refused> {
        self.orders.iter().find(|order| order.id == *id).ok_or(Refused)
    }

    pub(crate) fn lease(&self, id: &LeaseId) -> Result<&Lease, Refused> {
        self.leases.iter().find(|lease| lease.id == *id).ok_or(Refused)
    }

    pub(crate) fn lease_mut(&mut self, id: &LeaseId) -> &mut Lease {
        self.leases.iter_mut().find(|lease| lease.id == *id).expect("the lease exists")
    }

    pub(crate) fn escrow(&self, id: &EscrowId) -> Result<&Escrow, Refused> {
        self.escrows.iter().find(|escrow| escrow.id == *id).ok_or(Refused)
    }

    pub(crate) fn escrow_mut(&mut self, id: &EscrowId) -> &mut Escrow {
        self.escrows.iter_mut().find(|escrow| escrow.id == *id).expect("the escrow exists")
    }

    pub(crate) fn provider_mut(&mut self, id: &AccountId) -> Result<&mut Provider, Refused> {
        self.providers.iter_mut().find(|provider| provider.id == *id).ok_or(Refused)
    }

    /// The order of a lease.
    pub(crate) fn order_of(&self, lease: &Lease) -> &Order {
        self.order(&lease.order).expect("a lease has an order")
    }

    /// The leases of an escrow.
    pub(crate) fn leases_on(&self, escrow: &EscrowId) -> Vec<LeaseId> {
        let on = |lease: &&Lease| self.order_of(lease).escrow == *escrow;
        self.leases.iter().filter(on).map(|lease| lease.id).collect()
    }

    /// What a provider's leases have pledged of its bond.
    pub(crate) fn pledged(&self, provider: &AccountId) -> Money {
        let of = self.leases.iter().filter(|lease| lease.host.provider == *provider);
        of.map(|lease| lease.pledge.clone()).sum()
    }

    /// Leases of a provider that are not settled.
    pub(crate) fn unsettled_of(&self, provider: &AccountId) -> usize {
        let of = self.leases.iter().filter(|lease| lease.host.provider == *provider);
        of.filter(|lease| !lease.is_settled()).count()
    }
}

impl Lease {
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Closed { .. })
    }

    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Closed { settled: true, .. })
    }

    /// Earned and held back.
    pub(crate) fn withheld(&self) -> Money {
        if self.is_settled() { Money::zero() } else { &self.accrued - &self.paid }
    }
}

/// What a transaction says beside its action.
pub(crate) struct Sent {
    pub(crate) signer: AccountId,
    pub(crate) nonce: u64,
    pub(crate) fee: Money,
    pub(crate) max_fee: Money,
}

pub(crate) fn ms(time: Millis) -> u64 {
    time.0
}
