//! A turn of an order, by brute force: what is free is counted anew, and after every host that a
//! walk looks at, all that it has seen is ranked and filled again. What it was shown but did not
//! look at it does not pay for.

use super::{
    At, Lease, Model, Money, Order, OrderEnd, OrderStage, Phase, Waits, money, offer::Candidate,
    whole,
};
use muster_ledger::job::Verification;
use muster_market::{GIB, Together};
use muster_types::{AccountId, HostId, LeaseId, OrderId, Rate, Resources};
use num_traits::Zero as _;

/// A place that all of an order's leases must be in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Anywhere,
    Region(String),
    Provider(AccountId),
    Host(HostId),
}

/// A lease to be granted, by its place among the candidates.
pub(super) type Wins = Vec<usize>;

/// What a walk found.
struct Walked {
    seen: Vec<Candidate>,
    visited: u64,
    /// Where it was cut.
    cut: Option<At>,
}

impl Model {
    /// How many leases an order's escrow can take and pay for.
    pub(super) fn room(&self, order: &Order) -> u32 {
        let escrow = self.escrow(&order.escrow).expect("it exists");
        if escrow.closed || escrow.short_since.is_some() || escrow.balance.is_zero() {
            return 0;
        }
        let on = self.leases_on(&order.escrow).into_iter().filter(|lease| !lease.is_settled());
        10_000 - u32::try_from(on.count()).expect("few leases")
    }

    /// One order's turn.
    pub(super) fn turn(&mut self, id: &OrderId) {
        if !matches!(self.order(id).expect("it exists").stage, OrderStage::Waiting(_)) {
            return;
        }
        if !self.pay_rent(id) {
            return self.end_order(id, OrderEnd::OutOfFunds);
        }
        let order = self.order(id).expect("it exists").clone();
        let wanted = order.missing.min(self.room(&order));
        let too_few = order.terms.all_or_nothing() && wanted < order.missing;
        if wanted == 0 || too_few {
            self.order_mut(id).stage = OrderStage::Waiting(Waits::Unfunded);
            return;
        }
        let (after, woken) = match &order.stage {
            OrderStage::Waiting(Waits::Behind { at, woken }) => (Some(at), *woken),
            _ => (None, false),
        };
        let walked = self.walk(&order, wanted as usize, after);
        let seen: Vec<&Candidate> = walked.seen.iter().collect();
        for won in self.wins(&order, &seen, wanted as usize) {
            let candidate = &walked.seen[won];
            self.grant(id, candidate);
        }
        let fee = money(self.params.fee_per_visit) * whole(walked.visited);
        let paid = self.charge_order(id, &fee);
        let order = self.order(id).expect("it exists");
        if order.missing == 0 {
            return self.end_order(id, OrderEnd::Filled);
        }
        if !paid {
            return self.end_order(id, OrderEnd::OutOfFunds);
        }
        let waits = match walked.cut {
            Some(at) => Waits::Behind { at, woken },
            None if self.room(order) < order.missing => Waits::Unfunded,
            None if woken => Waits::First,
            None => Waits::Asleep,
        };
        self.order_mut(id).stage = OrderStage::Waiting(waits);
    }

    /// The hosts that an order walks: those that take orders and are not too full, by the price of
    /// a thread.
    fn listed(&self, order: &Order) -> Vec<(At, HostId)> {
        let request = &order.terms.request;
        let mut listed = Vec::new();
        for host in self.hosts.iter() {
            let spec = &host.spec;
            let used = self.used(&host.id);
            let cpu = spec.capacity.cpu_milli - used.cpu_milli;
            let memory = spec.capacity.memory_bytes - used.memory_bytes;
            let level =
                |cpu: u64, memory: u64| (power(cpu / 1_000, 15), power(memory / (2 * GIB), 7));
            let (has, needs) = (level(cpu, memory), level(request.cpu_milli, request.memory_bytes));
            let takes_orders = self.provider_of(host).standing == super::Standing::Active
                && spec.offered_until.0 > self.now;
            if takes_orders && cpu > 0 && has.0 >= needs.0 && has.1 >= needs.1 {
                let lower = spec.interruptible.filter(|_| order.terms.interruptible);
                let lower = lower.map_or(spec.prices.cpu, |offer| offer.prices.cpu);
                let price = money(spec.prices.cpu.min(lower).amount_per_hour());
                listed.push(((price, host.id), host.id));
            }
        }
        listed.sort();
        listed
    }

    /// Looks at hosts one after the other until nothing that follows can matter.
    fn walk(&self, order: &Order, wanted: usize, after: Option<&At>) -> Walked {
        let terms = &order.terms;
        let together = terms.together != Together::No;
        let mut walked = Walked { seen: Vec::new(), visited: 0, cut: None };
        // How many had passed when they would have filled the order as they came.
        let mut enough: Option<usize> = None;
        let mut limited = true;
        // The least that an order could cost on the last that passed, and on all that follow.
        let mut floor = Money::zero();
        let mut last = after.cloned();
        for (at, id) in self.listed(order) {
            if after.is_some_and(|after| at <= *after) {
                continue;
            }
            let seen: Vec<&Candidate> = walked.seen.iter().collect();
            let ahead = self.params.look_ahead as usize;
            let more = enough.and_then(|enough| seen.len().checked_sub(enough + ahead));
            let looked_ahead = more.is_some_and(|more| more % ahead.max(1) == 0);
            if limited && looked_ahead {
                let wins = self.wins(order, &seen, wanted);
                limited = wins.len() == wanted;
                let most = &floor * whole(10_000 + u64::from(self.params.look_ahead_slack_bps));
                if limited && wins.iter().all(|won| seen[*won].score <= most) {
                    return walked;
                }
            }
            if walked.visited == u64::from(self.params.visit_max) {
                walked.cut = last;
                return walked;
            }
            let host = self.hosts.find(|one| one.id == id).expect("listed");
            let least = (&at.0 * whole(terms.request.cpu_milli) / whole(1_000)).ceil();
            last = Some(at);
            if host.offered_at == self.height {
                walked.visited += 1;
                continue;
            }
            if least > money(terms.max_rate.amount_per_hour()) {
                return walked;
            }
            let before_all = |one: &&Candidate| one.score < &least * whole(10_000);
            let sure: Vec<&Candidate> = seen.iter().copied().filter(before_all).collect();
            if !together && self.filled(order, &ranked(&sure), &sure, wanted).len() == wanted {
                return walked;
            }
            walked.visited += 1;
            let rate = self.standing_rate(host, order);
            let candidate = rate.and_then(|rate| self.candidate(host, order, rate));
            if let Some(candidate) = candidate.filter(|one| self.is_with_held(order, one)) {
                walked.seen.push(candidate);
                floor = least;
                let seen: Vec<&Candidate> = walked.seen.iter().collect();
                let place = place_of(seen[seen.len() - 1], terms.together);
                let there = |number: &usize| place_of(seen[*number], terms.together) == place;
                let as_came: Vec<usize> = (0..seen.len()).filter(there).collect();
                if enough.is_none() && self.filled(order, &as_came, &seen, wanted).len() == wanted {
                    enough = Some(seen.len());
                }
            }
        }
        walked
    }

    /// What an order would win if it looked at every host.
    pub(super) fn wins_of_all(&self, order: &Order, wanted: usize) -> Wins {
        let all: Vec<Candidate> = self
            .listed(order)
            .into_iter()
            .filter_map(|(_, id)| {
                let host = self.hosts.find(|one| one.id == id)?;
                let rate = self.standing_rate(host, order)?;
                self.candidate(host, order, rate).filter(|_| host.offered_at < self.height)
            })
            .filter(|one| self.is_with_held(order, one))
            .collect();
        self.wins(order, &all.iter().collect::<Vec<_>>(), wanted)
    }

    /// Which of the candidates win, the best first.
    fn wins(&self, order: &Order, seen: &[&Candidate], wanted: usize) -> Wins {
        let together = order.terms.together;
        let mut places: Vec<Place> = seen.iter().map(|one| place_of(one, together)).collect();
        places.sort();
        places.dedup();
        let mut best: Option<(Money, Wins)> = None;
        for place in places {
            let there = |number: &usize| place_of(seen[*number], together) == place;
            let ranked: Vec<usize> = ranked(seen).into_iter().filter(there).collect();
            let wins = self.filled(order, &ranked, seen, wanted);
            let total: Money = wins.iter().map(|won| &seen[*won].score).sum();
            let all = wins.len() == wanted || !order.terms.all_or_nothing();
            if all && best.as_ref().is_none_or(|(least, _)| total < *least) {
                best = Some((total, wins));
            }
        }
        best.map(|(_, wins)| wins).unwrap_or_default()
    }

    /// Gives each in turn as many leases as it can take.
    fn filled(&self, order: &Order, turn: &[usize], seen: &[&Candidate], wanted: usize) -> Wins {
        let terms = &order.terms;
        let mut wins: Wins = Vec::new();
        for number in turn {
            let candidate = seen[*number];
            while wins.len() < wanted {
                let on = |same: &dyn Fn(&Candidate) -> bool| {
                    wins.iter().filter(|won| same(seen[**won])).count() as u64
                };
                let here = on(&|other| other.host.id == candidate.host.id) + 1;
                let provider = candidate.host.id.provider;
                let on_provider =
                    wins.iter().filter(|won| seen[**won].host.id.provider == provider);
                let pledged: Money = on_provider.map(|won| &seen[*won].pledge).sum();
                let (cpu, memory, bond) = &candidate.free;
                let fits = terms.request.cpu_milli * here <= *cpu
                    && terms.request.memory_bytes * here <= *memory
                    && &candidate.pledge + money(terms.min_bond) + pledged <= *bond;
                let won: Vec<&Candidate> = wins.iter().map(|won| seen[*won]).collect();
                if !fits || !self.is_apart(order, candidate, &won) {
                    break;
                }
                wins.push(*number);
            }
        }
        wins
    }

    /// Whether one lease more on a host keeps an order's leases apart, `won` counted.
    pub(super) fn is_apart(&self, order: &Order, one: &Candidate, won: &[&Candidate]) -> bool {
        let spread = &order.terms.spread;
        let held: Vec<&Lease> =
            self.leases_of(&order.id).into_iter().filter(|lease| lease.is_open()).collect();
        let below =
            |limit: u32, lease: &dyn Fn(&Lease) -> bool, same: &dyn Fn(&Candidate) -> bool| {
                let held = held.iter().filter(|held| lease(held)).count();
                let won = won.iter().filter(|won| same(won)).count();
                limit == 0 || held + won < limit as usize
            };
        let (id, provider) = (one.host.id, one.host.id.provider);
        let region = |lease: &Lease| {
            self.provider(&lease.host.provider).expect("it has one").profile.region == one.region
        };
        let operator = |lease: &Lease| self.operator_of(&lease.host.provider) == one.operator;
        below(spread.per_host, &|lease| lease.host == id, &|won| won.host.id == id)
            && below(spread.per_provider, &|lease| lease.host.provider == provider, &|won| {
                won.host.id.provider == provider
            })
            && below(spread.per_region, &region, &|won| won.region == one.region)
            && below(spread.per_operator, &operator, &|won| won.operator == one.operator)
    }

    /// Whether a host is in one place with what an order for one place holds.
    fn is_with_held(&self, order: &Order, one: &Candidate) -> bool {
        let mut held =
            self.leases_of(&order.id).into_iter().filter(|lease| lease.is_open()).peekable();
        held.peek().is_none()
            || match order.terms.together {
                Together::No => true,
                Together::Host => held.any(|lease| lease.host == one.host.id),
                Together::Provider => held.any(|lease| lease.host.provider == one.host.id.provider),
                Together::Region => held.any(|lease| {
                    let provider = self.provider(&lease.host.provider).expect("it has one");
                    provider.profile.region == one.region
                }),
            }
    }

    /// All leases that an order was ever granted.
    pub(super) fn leases_of(&self, order: &OrderId) -> Vec<&Lease> {
        let of = self.all_leases().filter(|lease| lease.order == *order);
        let mut of: Vec<_> = of.collect();
        of.sort_by_key(|lease| lease.number);
        of
    }

    pub(super) fn grant(&mut self, id: &OrderId, won: &Candidate) {
        let order = self.order(id).expect("it exists");
        let number = u32::try_from(self.leases_of(id).len()).expect("few leases");
        let job = order.job.map(|id| self.job(&id).expect("an order's job exists"));
        let verification = job.map_or(Verification::None, |job| job.spec.verification);
        let request = &order.terms.request;
        let rate: Rate = won.rate;
        let lease = Lease {
            id: LeaseId::derive(id, number),
            order: *id,
            number,
            escrow: order.escrow,
            job: order.job,
            tenant: order.tenant,
            host: won.host.id,
            rate,
            pledge: won.pledge.clone(),
            takes: Resources {
                cpu_milli: request.cpu_milli,
                memory_bytes: request.memory_bytes,
                disk_bytes: request.disk_bytes,
                bandwidth_bps: request.bandwidth_bps,
                gpus: Vec::new(),
            },
            verification,
            guaranteed_until: won.host.spec.offered_until.0,
            reclaim_notice: won.notice,
            fuel_per_s: job.filter(|job| job.spec.metered).map_or(0, |_| won.host.spec.fuel_per_s),
            phase: Phase::Granted,
            granted_at: self.now,
            seen_steady: self.steady,
            seen_height: self.height,
            rejectable_until: 0,
            covered: 0,
            accrued: Money::zero(),
            shortfall: Money::zero(),
            paid: Money::zero(),
            compensated: Money::zero(),
            commitment: None,
            final_since: None,
        };
        self.leases.push(lease);
        self.order_mut(id).missing -= 1;
    }
}

/// The candidates by (score, host).
fn ranked(seen: &[&Candidate]) -> Vec<usize> {
    let mut ranked: Vec<usize> = (0..seen.len()).collect();
    ranked.sort_by_key(|number| (seen[*number].score.clone(), seen[*number].host.id));
    ranked
}

fn place_of(one: &Candidate, together: Together) -> Place {
    match together {
        Together::No => Place::Anywhere,
        Together::Region => Place::Region(one.region.clone()),
        Together::Provider => Place::Provider(one.host.id.provider),
        Together::Host => Place::Host(one.host.id),
    }
}

/// The least power of two that is more than so many pieces, as an exponent; at most `most`.
fn power(pieces: u64, most: u32) -> u32 {
    (0..most).find(|power| 1 << power > pieces).unwrap_or(most)
}
