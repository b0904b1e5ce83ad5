//! An independent, naive model of the rules, written from their documentation.
//!
//! It shares the vocabulary (ids, actions, terms, parameters) with the ledger and nothing else:
//! records stand in plain lists that are searched from end to end, sums are counted anew whenever
//! they are asked for, money is a big rational, and a refused transaction is undone by throwing a
//! copy away. Where the ledger keeps a number, the model counts it.

mod act;
mod authority;
mod beacon;
mod bid;
mod bond;
mod challenge;
mod clear;
mod committee;
mod compare;
mod dispute;
mod due;
mod escrow;
mod job;
mod lease;
mod leave;
mod list;
mod offer;
mod order;
mod pay;
mod provider;
mod share;
pub(crate) mod stake;
pub(crate) mod vote;
mod wake;

pub(crate) use authority::{Delegated, lowest_unused};
pub(crate) use challenge::{Challenge, Stage};
pub(crate) use committee::Committee;
pub(crate) use leave::Past;
use list::List;
use muster_ledger::{
    Action, BlockContext, Genesis, Params, ProviderProfile,
    bond::DutyKind,
    job::{JobSpec, TaskOutput, Verification},
    market::{CloseReason, Commitment, Mode},
    provider::HostSpec,
};
use muster_market::Terms;
use muster_types::{
    AccountId, Amount, Asset, DisputeId, EscrowId, Hash, HostId, JobId, LeaseId, OrderId, Rate,
    TxId,
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

/// `bps` hundredths of a per cent.
pub(crate) fn part(bps: u32) -> Money {
    whole(u64::from(bps)) / whole(10_000)
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

#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: AccountId,
    pub(crate) usd: Money,
    pub(crate) mst: Money,
    /// Every nonce that was ever used.
    pub(crate) used: BTreeSet<u64>,
    /// How many of whom act for it instead of its own key.
    pub(crate) policy: Option<(usize, BTreeSet<AccountId>)>,
    /// Where the nonces of its next delegated key begin.
    pub(crate) floor: u64,
}

impl Person {
    fn new(id: AccountId, usd: Money, mst: Money) -> Self {
        Self { id, usd, mst, used: BTreeSet::new(), policy: None, floor: 0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Registered,
    Active,
    Draining,
    Unbonding { until: u64 },
    Gone,
    Jailed { until: u64 },
}

#[derive(Clone, Debug)]
pub(crate) struct Provider {
    pub(crate) id: AccountId,
    pub(crate) profile: ProviderProfile,
    pub(crate) standing: Standing,
    pub(crate) broken: u64,
    pub(crate) broken_in_a_row: u64,
    pub(crate) jailed_until: u64,
    pub(crate) missed: u64,
    pub(crate) lost: u64,
    pub(crate) fees_paid: Money,
}

/// What an account has at stake, what unbonds not included.
#[derive(Clone, Debug)]
pub(crate) struct Bond {
    pub(crate) owner: AccountId,
    pub(crate) amount: Money,
    pub(crate) slashed: Money,
    /// (how much, until when), oldest first.
    pub(crate) unbonding: Vec<(Money, u64)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Duty {
    pub(crate) owner: AccountId,
    pub(crate) kind: DutyKind,
    pub(crate) pledge: Money,
    pub(crate) since: u64,
    pub(crate) leaving: Option<u64>,
}

/// What an auditor signed about a provider.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) provider: AccountId,
    pub(crate) auditor: AccountId,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) at: u64,
    pub(crate) until: u64,
}

/// An operator's word that a provider is its own.
#[derive(Clone, Debug)]
pub(crate) struct Affiliation {
    pub(crate) operator: AccountId,
    pub(crate) provider: AccountId,
    pub(crate) since: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) id: HostId,
    pub(crate) spec: HostSpec,
    pub(crate) offered_at: u64,
    /// Until when the provider is bound to it.
    pub(crate) bound_until: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Escrow {
    pub(crate) id: EscrowId,
    pub(crate) owner: AccountId,
    pub(crate) closed: bool,
    /// The height at which it was opened.
    pub(crate) opened: u64,
    /// Steady time since when it is short.
    pub(crate) short_since: Option<u64>,
    /// Who put in how much, and how much of it is left: exact, in proportion.
    pub(crate) deposits: Vec<(AccountId, Money, Money)>,
    pub(crate) balance: Money,
    pub(crate) refunded: Money,
    /// Since when nothing can change it (steady time).
    pub(crate) final_since: Option<u64>,
    /// What its orders paid for waiting and for looking.
    pub(crate) fees: Money,
}

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) tenant: AccountId,
    pub(crate) spec: JobSpec,
    pub(crate) closed: bool,
    /// Since when nothing can change it (steady time).
    pub(crate) final_since: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderEnd {
    Filled,
    Expired,
    Cancelled,
    OutOfFunds,
}

/// A place in a walk: a unit price, and a host.
pub(crate) type At = (Money, HostId);

/// What an order that is open to standing offers waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// For its first turn, from the cheapest host on.
    First,
    /// To go on behind a host; to begin again after that where it was woken.
    Behind { at: At, woken: bool },
    /// For a change of the hosts.
    Asleep,
    /// For its escrow.
    Unfunded,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OrderStage {
    Waiting(Waits),
    Bidding { until: u64 },
    Picking { until: u64 },
    Ended(OrderEnd),
}

#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) id: OrderId,
    pub(crate) tenant: AccountId,
    pub(crate) escrow: EscrowId,
    pub(crate) job: Option<JobId>,
    pub(crate) terms: Terms,
    pub(crate) manifest: Hash,
    pub(crate) mode: Mode,
    pub(crate) reauction: bool,
    pub(crate) placed_at: u64,
    pub(crate) deadline: u64,
    pub(crate) fee: Money,
    /// Since when nothing can change it (steady time).
    pub(crate) final_since: Option<u64>,
    pub(crate) stage: OrderStage,
    /// Leases still to be granted.
    pub(crate) missing: u32,
    /// Steady time up to which rent was counted.
    pub(crate) rent_until: u64,
    /// Rent that was counted: exact, and how much of it was asked for.
    pub(crate) rent: (Money, Money),
    /// What it paid for waiting and for looking.
    pub(crate) charged: Money,
}

impl Order {
    /// Whether leases may still be granted.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.stage, OrderStage::Ended(_))
    }
}

/// A provider's price for one order.
#[derive(Clone, Debug)]
pub(crate) struct Bid {
    pub(crate) order: OrderId,
    pub(crate) host: HostId,
    pub(crate) rate: Rate,
    pub(crate) count: u32,
    pub(crate) deposit: Money,
    pub(crate) at: u64,
}

/// How a lease serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Plain,
    Updating { since: u64 },
    Reclaiming { until: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Granted,
    Serving(Service),
    Stalled { since: u64, was: Service },
    Closed { reason: CloseReason, at: u64, settled: bool },
}

#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) id: LeaseId,
    pub(crate) order: OrderId,
    /// Which of its order's leases it is, from 0 on.
    pub(crate) number: u32,
    pub(crate) escrow: EscrowId,
    pub(crate) job: Option<JobId>,
    pub(crate) tenant: AccountId,
    pub(crate) host: HostId,
    pub(crate) rate: Rate,
    pub(crate) pledge: Money,
    pub(crate) takes: muster_types::Resources,
    pub(crate) verification: Verification,
    pub(crate) guaranteed_until: u64,
    pub(crate) reclaim_notice: Option<u64>,
    /// Zero where the lease is not metered.
    pub(crate) fuel_per_s: u64,
    pub(crate) phase: Phase,
    pub(crate) granted_at: u64,
    pub(crate) seen_steady: u64,
    pub(crate) seen_height: u64,
    pub(crate) rejectable_until: u64,
    pub(crate) covered: u64,
    pub(crate) accrued: Money,
    pub(crate) shortfall: Money,
    pub(crate) paid: Money,
    pub(crate) compensated: Money,
    pub(crate) commitment: Option<Commitment>,
    /// Since when nothing can change it (steady time).
    pub(crate) final_since: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Dispute {
    pub(crate) id: DisputeId,
    pub(crate) opener: AccountId,
    pub(crate) claims: [(LeaseId, TaskOutput); 2],
    pub(crate) votes: Vec<(AccountId, Option<TaskOutput>)>,
    pub(crate) deadline: u64,
    pub(crate) verdict: Verdict,
    /// Since when nothing can change it (steady time).
    pub(crate) final_since: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    None,
    Judged(TaskOutput),
    Void,
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
    pub(crate) committee: Committee,
    pub(crate) beacon_keys: beacon::Beacon,
    pub(crate) people: List<Person>,
    pub(crate) providers: List<Provider>,
    pub(crate) bonds: List<Bond>,
    pub(crate) duties: List<Duty>,
    pub(crate) signed: List<Signed>,
    pub(crate) affiliations: List<Affiliation>,
    pub(crate) hosts: List<Host>,
    pub(crate) escrows: List<Escrow>,
    pub(crate) jobs: List<Job>,
    pub(crate) orders: List<Order>,
    pub(crate) bids: List<Bid>,
    pub(crate) delegated: List<Delegated>,
    pub(crate) bells: wake::Bells,
    pub(crate) leases: List<Lease>,
    pub(crate) disputes: List<Dispute>,
    pub(crate) challenges: List<Challenge>,
    /// What has left the lists of records.
    pub(crate) past: Past,
    /// The block's fees, not paid out yet.
    pub(crate) pot: Money,
    pub(crate) stakes: stake::Stakes,
    pub(crate) proposals: List<vote::Proposal>,
    /// All fees that were paid out.
    pub(crate) fees: Money,
    pub(crate) burned: Money,
}

impl Model {
    pub(crate) fn new(genesis: &Genesis) -> Self {
        let mut people = List::default();
        for (id, balance) in &genesis.balances {
            let (usd, mst) = (money(balance.usd), money(balance.mst));
            people.push(Person::new(*id, usd, mst));
        }
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
            committee: Committee::new(genesis),
            beacon_keys: beacon::Beacon::default(),
            people,
            providers: List::default(),
            bonds: List::default(),
            duties: List::default(),
            signed: List::default(),
            affiliations: List::default(),
            hosts: List::default(),
            escrows: List::default(),
            jobs: List::default(),
            orders: List::default(),
            bids: List::default(),
            delegated: List::default(),
            bells: wake::Bells::default(),
            leases: List::default(),
            disputes: List::default(),
            challenges: List::default(),
            past: Past::default(),
            pot: Money::zero(),
            stakes: stake::Stakes::new(genesis),
            proposals: List::default(),
            fees: Money::zero(),
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
        self.beacon_keys.key = context.beacon_key;
        self.views_begin(context.views);
    }

    /// A transaction: applies whole, or changes nothing.
    pub(crate) fn apply(&mut self, tx: TxId, by: &Sent, action: &Action) -> Outcome {
        let before = self.clone();
        let outcome = self
            .admit(by, action)
            .and_then(|()| self.act(tx, by, action))
            .and_then(|()| self.spend(by, &before));
        if outcome.is_err() {
            *self = before;
        }
        self.note_final();
        outcome
    }

    pub(crate) fn take(&mut self, from: AccountId, asset: Asset, amount: &Money) -> Outcome {
        let person = self.people.find_mut(|one| one.id == from).ok_or(Refused)?;
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
        if self.people.find(|one| one.id == to).is_none() {
            self.people.push(Person::new(to, Money::zero(), Money::zero()));
        }
        let person = self.people.find_mut(|one| one.id == to).expect("just made");
        match asset {
            Asset::Usd => person.usd += amount,
            Asset::Mst => person.mst += amount,
        }
    }

    pub(crate) fn order(&self, id: &OrderId) -> Result<&Order, Refused> {
        self.orders.find(|order| order.id == *id).ok_or(Refused)
    }

    pub(crate) fn order_mut(&mut self, id: &OrderId) -> &mut Order {
        self.orders.find_mut(|order| order.id == *id).expect("the order exists")
    }

    pub(crate) fn lease(&self, id: &LeaseId) -> Result<&Lease, Refused> {
        self.leases.find(|lease| lease.id == *id).ok_or(Refused)
    }

    pub(crate) fn lease_mut(&mut self, id: &LeaseId) -> &mut Lease {
        self.leases.find_mut(|lease| lease.id == *id).expect("the lease exists")
    }

    pub(crate) fn escrow(&self, id: &EscrowId) -> Result<&Escrow, Refused> {
        self.escrows.find(|escrow| escrow.id == *id).ok_or(Refused)
    }

    pub(crate) fn escrow_mut(&mut self, id: &EscrowId) -> &mut Escrow {
        self.escrows.find_mut(|escrow| escrow.id == *id).expect("the escrow exists")
    }

    pub(crate) fn job(&self, id: &JobId) -> Result<&Job, Refused> {
        self.jobs.find(|job| job.id == *id).ok_or(Refused)
    }

    pub(crate) fn provider(&self, id: &AccountId) -> Result<&Provider, Refused> {
        self.providers.find(|provider| provider.id == *id).ok_or(Refused)
    }

    pub(crate) fn provider_mut(&mut self, id: &AccountId) -> &mut Provider {
        self.providers.find_mut(|provider| provider.id == *id).expect("the provider exists")
    }

    /// All leases that there ever were.
    pub(crate) fn all_leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.iter().chain(self.past.leases.iter())
    }

    /// The leases of an escrow, by id.
    pub(crate) fn leases_on(&self, escrow: &EscrowId) -> Vec<&Lease> {
        let mut on: Vec<_> = self.leases.iter().filter(|lease| lease.escrow == *escrow).collect();
        on.sort_by_key(|lease| lease.id);
        on
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

    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serving(_))
    }

    /// Earned and held back.
    pub(crate) fn withheld(&self) -> Money {
        if self.is_settled() { Money::zero() } else { &self.accrued - &self.paid }
    }

    /// Whether its results stand by a commitment that a draw makes final.
    pub(crate) fn is_drawn(&self) -> bool {
        matches!(self.verification, Verification::Audit { .. } | Verification::Dispute)
    }

    /// Steady time from which the challenge window of a closed lease runs; none while a draw is
    /// due.
    pub(crate) fn window_from(&self) -> Option<u64> {
        match &self.commitment {
            Some(made) if self.is_drawn() => {
                made.draw.map(|draw| draw.steady.0.max(self.seen_steady))
            }
            _ => Some(self.seen_steady),
        }
    }
}

/// Whether an end is its provider's fault.
pub(crate) fn is_fault(reason: CloseReason) -> bool {
    match reason {
        CloseReason::ProviderNotReady
        | CloseReason::ProviderStalled
        | CloseReason::ProviderExit
        | CloseReason::ProviderFraud => true,
        CloseReason::TenantClosed
        | CloseReason::OutOfFunds
        | CloseReason::ReadyRejected
        | CloseReason::Undelivered
        | CloseReason::Reclaimed
        | CloseReason::OfferEnded => false,
    }
}

/// Who signed a transaction for an account.
pub(crate) enum Signers {
    Own,
    Key(AccountId),
    Members(BTreeSet<AccountId>),
}

/// What a transaction says beside its action.
pub(crate) struct Sent {
    pub(crate) signer: AccountId,
    pub(crate) signers: Signers,
    pub(crate) nonce: u64,
    /// What anybody would pay for it, and what it pays beyond that.
    pub(crate) floor: Money,
    pub(crate) tip: Money,
    pub(crate) max_fee: Money,
}
