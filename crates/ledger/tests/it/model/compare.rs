//! The ledger's state against the model's.

use super::{
    Lease, Model, Money, OrderEnd, OrderStage, Phase, Service, Stage, Standing, Verdict, Waits,
    lowest_unused, money,
};
use muster_ledger::{
    State,
    dispute::{ChallengeStatus, DisputeStatus},
    escrow::{Deposit, EscrowStatus},
    keys,
    market::{self, CloseReason, LeaseStatus, OrderStatus, Serving, Turn},
    neutrality::Basis,
    provider::ProviderStatus,
    view,
};
use muster_types::{AccountId, Millis};
use num_traits::Zero as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

/// What differs, or nothing.
pub(super) type Same = Result<(), String>;

pub(super) fn same<T: PartialEq + Debug>(what: &str, ledger: &T, model: &T) -> Same {
    if ledger == model {
        return Ok(());
    }
    Err(format!("{what}: the ledger has {ledger:?}, the model {model:?}"))
}

impl Model {
    /// Whether a state says what the model says.
    pub(crate) fn agrees_with(&self, state: &dyn State) -> Same {
        self.compare_stakes(state)?;
        self.compare_committee(state)?;
        self.compare_beacon(state)?;
        self.compare_votes(state)?;
        self.compare_accounts(state)?;
        self.compare_bonds(state)?;
        self.compare_signed(state)?;
        self.compare_providers(state)?;
        self.compare_shares(state)?;
        self.compare_escrows(state)?;
        self.compare_orders(state)?;
        self.compare_leases(state)?;
        self.compare_tenants(state)?;
        self.compare_disputes(state)?;
        let supply = view::supply(state);
        same("fees", &money(supply.fees), &self.fees)?;
        same("burned", &money(supply.usd.burned), &self.burned)
    }

    fn compare_accounts(&self, state: &dyn State) -> Same {
        let accounts: Vec<_> = keys::ACCOUNTS.scan(state, &(), None).collect();
        same("accounts", &accounts.len(), &self.people.len())?;
        for (id, account) in accounts {
            let person = self.people.find(|one| one.id == id);
            let person = person.ok_or_else(|| format!("who is {id}?"))?;
            same(&format!("usd of {id}"), &money(account.usd), &person.usd)?;
            same(&format!("mst of {id}"), &money(account.mst), &person.mst)?;
            let nonces = nonces(0, &person.used);
            same("nonces", &(account.nonce, account.nonces_used), &nonces)?;
            let authority = view::authority(state, &id);
            let policy = authority.policy.map(|policy| {
                (usize::from(policy.threshold), policy.members.into_iter().collect())
            });
            same("policy", &policy, &person.policy)?;
            same("acts by members", &account.multisig, &person.policy.is_some())?;
            same("nonces of keys", &authority.nonce_floor, &person.floor)?;
        }
        let keys: Vec<_> = keys::KEYS.scan(state, &(), None).collect();
        same("keys", &keys.len(), &self.delegated.len())?;
        for ((account, key), record) in keys {
            let model = self.delegated_to(&account, &key);
            let model = model.ok_or_else(|| format!("no key {key} of {account}"))?;
            same("scopes", &Vec::from(record.scopes), &model.scopes)?;
            same("limits", &[record.usd_left, record.mst_left].map(money), &model.left)?;
            same("key's end", &record.expires.0, &model.until)?;
            let nonces = nonces(model.first, &model.used);
            same("nonces of a key", &(record.nonce, record.nonces_used), &nonces)?;
        }
        Ok(())
    }

    fn compare_bonds(&self, state: &dyn State) -> Same {
        let bonds: Vec<_> = keys::BONDS.scan(state, &(), None).collect();
        same("bonds", &bonds.len(), &self.bonds.len())?;
        for (id, record) in bonds {
            let model = self.bonds.find(|bond| bond.owner == id);
            let model = model.ok_or_else(|| format!("no bond of {id}"))?;
            same("bond", &money(record.amount), &model.amount)?;
            same("pledged", &money(record.pledged), &self.pledged(&id))?;
            same("slashed", &money(record.slashed), &model.slashed)?;
            let unbonding = record.unbonding.iter().map(|one| (money(one.amount), one.until.0));
            same("unbonding", &unbonding.collect(), &model.unbonding)?;
        }
        let duties: Vec<_> = keys::DUTIES.scan(state, &(), None).collect();
        same("duties", &duties.len(), &self.duties.len())?;
        for ((owner, _), record) in duties {
            let model = self.duties.find(|duty| duty.owner == owner && duty.kind == record.kind);
            let model = model.ok_or_else(|| format!("no {:?} of {owner}", record.kind))?;
            same("duty pledge", &money(record.pledge), &model.pledge)?;
            let leaving = record.leaving.map(|until| until.0);
            same("duty times", &(record.since.0, leaving), &(model.since, model.leaving))?;
        }
        Ok(())
    }

    fn compare_signed(&self, state: &dyn State) -> Same {
        let stored = keys::SIGNED.scan(state, &(), None).count();
        same("signatures", &stored, &self.signed.len())?;
        for provider in self.providers.iter() {
            let of = self.signed.iter().filter(|one| one.provider == provider.id);
            let hold = of.filter(|one| self.holds(one));
            let hold: BTreeMap<_, _> =
                hold.map(|one| (one.auditor, one.attributes.clone())).collect();
            same("signed", &view::signed(state, &provider.id), &hold)?;
        }
        let declared = keys::AFFILIATIONS.scan(state, &(), None);
        let mut declared: Vec<_> = declared
            .map(|((operator, provider), record)| (operator, provider, record.since.0))
            .collect();
        declared.sort_unstable();
        let mut model: Vec<_> =
            self.affiliations.iter().map(|one| (one.operator, one.provider, one.since)).collect();
        model.sort_unstable();
        same("affiliations", &declared, &model)
    }

    fn compare_providers(&self, state: &dyn State) -> Same {
        let providers: Vec<_> = keys::PROVIDERS.scan(state, &(), None).collect();
        same("providers", &providers.len(), &self.providers.len())?;
        for (id, record) in providers {
            let model = self.provider(&id).map_err(|_| format!("no provider {id}"))?;
            let standing = match record.status {
                ProviderStatus::Registered => Standing::Registered,
                ProviderStatus::Active => Standing::Active,
                ProviderStatus::Draining => Standing::Draining,
                ProviderStatus::Unbonding { until } => Standing::Unbonding { until: until.0 },
                ProviderStatus::Gone => Standing::Gone,
                ProviderStatus::Jailed { until } => Standing::Jailed { until: until.0 },
            };
            same("standing", &standing, &model.standing)?;
            same("operator", &view::operator_of(state, &id), &self.operator_of(&id))?;
            same("unsettled", &(record.open_leases as usize), &self.unsettled_of(&id))?;
            let mine = |lease: &Lease| lease.host.provider == id;
            let paid: Money = self.all_leases().filter(|one| mine(one)).map(|one| &one.paid).sum();
            same("paid to a provider", &money(record.paid), &paid)?;
            let conduct = record.conduct;
            let counts = (conduct.leases_broken, conduct.heartbeats_missed, conduct.disputes_lost);
            same("conduct", &counts, &(model.broken, model.missed, model.lost))?;
            let refused = (conduct.leases_rejected, conduct.leases_undelivered);
            let rejected = self.ended(mine, |reason| reason == CloseReason::ReadyRejected);
            let undelivered = self.ended(mine, |reason| reason == CloseReason::Undelivered);
            same("refused", &refused, &(rejected, undelivered))?;
            let row = (u64::from(conduct.broken_in_a_row), conduct.jailed_until.0);
            same("jail", &row, &(model.broken_in_a_row, model.jailed_until))?;
            same("fees paid", &money(conduct.fees_paid), &model.fees_paid)?;
            let premium = Money::from_integer(view::risk_bps(state, &record).into());
            same("risk", &premium, &self.premium(model))?;
        }
        let hosts: Vec<_> = keys::HOSTS.scan(state, &(), None).collect();
        same("hosts", &hosts.len(), &self.hosts.len())?;
        for (id, host) in hosts {
            let used = self.used(&id);
            let (cpu, memory) = (host.used.cpu_milli, host.used.memory_bytes);
            same("used", &(cpu, memory), &(used.cpu_milli, used.memory_bytes))?;
        }
        Ok(())
    }

    /// The leased value, or where nothing is leased the bonds of active providers, by operator.
    fn compare_shares(&self, state: &dyn State) -> Same {
        let facts = view::concentration(state);
        let total = self.leased(|_| true);
        same("leased", &money(facts.leased_per_hour.amount_per_hour()), &total)?;
        let basis = if total.is_zero() { Basis::Bonded } else { Basis::Leased };
        same("basis", &facts.basis, &basis)?;
        let (mut operators, mut regions) = (BTreeMap::new(), BTreeMap::new());
        for provider in self.providers.iter() {
            let value = match basis {
                Basis::Leased => self.leased(|one| *one == provider.id),
                Basis::Bonded if provider.standing == Standing::Active => {
                    self.bond_of(&provider.id)
                }
                Basis::Bonded => Money::zero(),
            };
            if !value.is_zero() {
                let operator: &mut Money =
                    operators.entry(self.operator_of(&provider.id)).or_default();
                *operator += &value;
                let region: &mut Money =
                    regions.entry(provider.profile.region.clone()).or_default();
                *region += value;
            }
        }
        let shares: BTreeMap<AccountId, Money> =
            facts.by_operator.iter().map(|share| (share.of, money(share.value))).collect();
        same("shares of operators", &shares, &operators)?;
        let shares: BTreeMap<String, Money> =
            facts.by_region.iter().map(|share| (share.of.clone(), money(share.value))).collect();
        same("shares of regions", &shares, &regions)?;
        let mut values: Vec<Money> = operators.into_values().collect();
        values.sort_by(|left, right| right.cmp(left));
        let whole: Money = values.iter().sum();
        let more_than_half = (0..=values.len()).find(|count| {
            values[..*count].iter().sum::<Money>() * Money::from_integer(2.into()) > whole
        });
        let nakamoto = more_than_half.unwrap_or_default();
        same("nakamoto", &(facts.nakamoto as usize), &nakamoto)
    }

    fn compare_escrows(&self, state: &dyn State) -> Same {
        let escrows: Vec<_> = keys::ESCROWS.scan(state, &(), None).collect();
        same("escrows", &escrows.len(), &self.escrows.len())?;
        for (id, record) in escrows {
            let model = self.escrow(&id).map_err(|_| format!("no escrow {id}"))?;
            let short = match record.status {
                EscrowStatus::Open => (false, None),
                EscrowStatus::Overdrawn { since } => (false, Some(since.0)),
                EscrowStatus::Closed => (true, None),
            };
            same("escrow status", &short, &(model.closed, model.short_since))?;
            let paid: Money =
                self.all_leases().filter(|one| one.escrow == id).map(|one| &one.paid).sum();
            same("balance", &money(record.balance), &model.balance)?;
            same("withheld", &money(record.withheld), &self.withheld_on(&id))?;
            same("paid", &money(record.paid), &paid)?;
            same("refunded", &money(record.refunded), &model.refunded)?;
            same("fees of an escrow", &money(record.fees), &model.fees)?;
            let of = |one: &Deposit| {
                let left = if model.closed { one.refunded } else { one.left };
                (one.depositor, money(one.amount), money(left))
            };
            same("deposits", &record.deposits.iter().map(of).collect(), &model.deposits)?;
        }
        Ok(())
    }

    fn compare_orders(&self, state: &dyn State) -> Same {
        let orders: Vec<_> = keys::ORDERS.scan(state, &(), None).collect();
        same("orders", &orders.len(), &self.orders.len())?;
        for (id, record) in orders {
            let model = self.order(&id).map_err(|_| format!("no order {id}"))?;
            let at = |of: muster_market::Cursor| (money(of.unit_price.amount_per_hour()), of.host);
            let stage = match (record.status, record.bidding, record.turn) {
                (OrderStatus::Open, Some(bidding), _) => {
                    OrderStage::Bidding { until: bidding.until.0 }
                }
                (OrderStatus::Open, None, turn) => OrderStage::Waiting(match turn {
                    Turn::Ready { cursor: Some(cursor), woken } => {
                        Waits::Behind { at: at(cursor), woken }
                    }
                    Turn::Ready { cursor: None, .. } => Waits::First,
                    Turn::Asleep => Waits::Asleep,
                    Turn::Unfunded => Waits::Unfunded,
                }),
                (OrderStatus::Picking { until }, ..) => OrderStage::Picking { until: until.0 },
                (OrderStatus::Leased, ..) => OrderStage::Ended(OrderEnd::Filled),
                (OrderStatus::Expired, ..) => OrderStage::Ended(OrderEnd::Expired),
                (OrderStatus::Cancelled, ..) => OrderStage::Ended(OrderEnd::Cancelled),
                (OrderStatus::OutOfFunds, ..) => OrderStage::Ended(OrderEnd::OutOfFunds),
            };
            same("order", &stage, &model.stage)?;
            let bids = record.bidding.map_or(0, |bidding| bidding.bids as usize);
            same("bids", &bids, &self.bids_on(&id).len())?;
            same("missing", &record.missing, &model.missing)?;
            same("terms", &record.terms, &model.terms)?;
            same("manifest", &record.manifest, &model.manifest)?;
            same("charged", &money(record.charged), &model.charged)?;
            let times = (record.placed_at.0, record.deadline.0);
            same("order's times", &times, &(model.placed_at, model.deadline))?;
            let leases: Vec<_> = self.leases_of(&id).iter().map(|lease| lease.id).collect();
            same("leases of an order", &record.leases, &leases)?;
        }
        let bids: Vec<_> = keys::BIDS.scan(state, &(), None).collect();
        same("all bids", &bids.len(), &self.bids.len())?;
        for ((order, host), bid) in bids {
            let model = self.bids.find(|one| one.order == order && one.host == host);
            let model = model.map(|one| (one.rate, one.count, one.deposit.clone(), one.at));
            let bid = (bid.rate, bid.count, money(bid.deposit), bid.at.0);
            same("bid", &Some(bid), &model)?;
        }
        same("slept too long", &None, &self.bells.overslept)
    }

    fn compare_leases(&self, state: &dyn State) -> Same {
        let leases: Vec<_> = keys::LEASES.scan(state, &(), None).collect();
        same("leases", &leases.len(), &self.leases.len())?;
        for (id, record) in leases {
            let model = self.lease(&id).map_err(|_| format!("no lease {id}"))?;
            same("lease phase", &record.status, &status(model.phase))?;
            same("host", &record.host, &model.host)?;
            same("rate", &record.rate, &model.rate)?;
            same("pledge", &money(record.pledge), &model.pledge)?;
            let seen = (record.seen_steady.0, record.seen_height);
            same("seen", &seen, &(model.seen_steady, model.seen_height))?;
            let times = (record.granted_at.0, record.guaranteed_until.0, record.rejectable_until.0);
            let expected = (model.granted_at, model.guaranteed_until, model.rejectable_until);
            same("times of a lease", &times, &expected)?;
            same("covered", &record.covered.0, &model.covered)?;
            same("accrued", &money(record.accrued), &model.accrued)?;
            same("shortfall", &money(record.shortfall), &model.shortfall)?;
            same("lease paid", &money(record.paid), &model.paid)?;
            same("compensated", &money(record.compensated), &model.compensated)?;
            same("commitment", &record.commitment, &model.commitment)?;
        }
        Ok(())
    }

    /// Of every tenant: how its leases ended.
    fn compare_tenants(&self, state: &dyn State) -> Same {
        for person in self.people.iter() {
            let mine = |lease: &Lease| lease.tenant == person.id;
            let conduct = view::tenant_conduct(state, &person.id);
            let model = market::TenantConduct {
                leases: self.ended(mine, |_| true),
                rejected: self.ended(mine, |reason| reason == CloseReason::ReadyRejected),
                undelivered: self.ended(mine, |reason| reason == CloseReason::Undelivered),
                out_of_funds: self.ended(mine, |reason| reason == CloseReason::OutOfFunds),
            };
            same("tenant", &conduct, &model)?;
        }
        Ok(())
    }

    fn compare_disputes(&self, state: &dyn State) -> Same {
        let disputes: Vec<_> = keys::DISPUTES.scan(state, &(), None).collect();
        same("disputes", &disputes.len(), &self.disputes.len())?;
        for (id, dispute) in disputes {
            let verdict = match dispute.status {
                DisputeStatus::Open => Verdict::None,
                DisputeStatus::Judged { output } => Verdict::Judged(output),
                DisputeStatus::Void => Verdict::Void,
            };
            let model = self.disputes.find(|one| one.id == id);
            same("verdict", &Some(verdict), &model.map(|model| model.verdict))?;
        }
        let challenges: Vec<_> = keys::CHALLENGES.scan(state, &(), None).collect();
        same("challenges", &challenges.len(), &self.challenges.len())?;
        for (id, record) in challenges {
            let model = self.challenge(&id).map_err(|_| format!("no challenge {id}"))?;
            let stage = match record.status {
                ChallengeStatus::Bisecting { turn } => Stage::Bisecting(turn),
                ChallengeStatus::Voting => Stage::Voting,
                ChallengeStatus::Judged { loser } => Stage::Judged(loser),
                ChallengeStatus::Void => Stage::Void,
            };
            same("challenge", &stage, &model.stage)?;
            same("challenge bond", &money(record.bond), &model.bond)?;
            same("costs", &money(record.costs), &model.costs)?;
            same("deadline", &record.deadline.0, &model.deadline)?;
            let clocks = [record.clocks.provider.0, record.clocks.challenger.0];
            same("clocks", &clocks, &model.clocks)?;
            let ends = model.points.first().zip(model.points.last());
            let (lo, hi) = ends.ok_or("a challenge without a segment")?;
            same("segment", &record.game.segment(), &(lo.0, hi.0))?;
            same("end of the segment", &record.game.end_state(), &hi.1)?;
            same("asked", &record.game.asked(), &model.asked())?;
        }
        Ok(())
    }
}

/// As the ledger names it.
fn status(phase: Phase) -> LeaseStatus {
    let serving = |service| match service {
        Service::Plain => Serving::Active,
        Service::Updating { since } => Serving::Updating { since: Millis(since) },
        Service::Reclaiming { until } => Serving::Reclaiming { until: Millis(until) },
    };
    match phase {
        Phase::Granted => LeaseStatus::Granted,
        Phase::Serving(service) => serving(service).into(),
        Phase::Stalled { since, was } => {
            LeaseStatus::Stalled { since: Millis(since), was: serving(was) }
        }
        Phase::Closed { reason, at, settled } => {
            LeaseStatus::Closed { reason, at: Millis(at), settled }
        }
    }
}

/// The lowest unused nonce, and which of those above it are used.
fn nonces(first: u64, used: &BTreeSet<u64>) -> (u64, u64) {
    let lowest = lowest_unused(first, used);
    let bits = (0..64).filter(|ahead| used.contains(&(lowest + ahead)));
    (lowest, bits.map(|ahead| 1 << ahead).sum())
}
