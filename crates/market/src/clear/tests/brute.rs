//! The rule restated without a walk, and compared on random markets.

use super::*;
use crate::Query;
use proptest::{prelude::*, test_runner::RngSeed};

/// An offer for one lease: (score, host, bid), with the rate.
type Offer = (u128, HostId, u32);

struct Market<'a> {
    terms: &'a Terms,
    rules: &'a Rules,
    held: &'a [HostView],
}

impl Market<'_> {
    fn passes(&self, host: &HostView, rate: Option<Rate>) -> bool {
        let (terms, rules) = (self.terms, self.rules);
        let Some(rate) = rate else { return false };
        let Some(pledge) = rules.pledge(rate) else { return false };
        let facts = &*host.provider;
        let signed = |auditor: &AccountId| {
            facts.signed.get(auditor).is_some_and(|signed| {
                !signed.is_empty() && terms.attributes.iter().all(|(k, v)| signed.get(k) == Some(v))
            })
        };
        let mut attributes = facts.attributes.clone();
        attributes.extend(host.attributes.clone());
        terms.request.fits(&host.free)
            && rate <= terms.max_rate
            && (terms.regions.is_empty() || terms.regions.contains(&facts.region))
            && (terms.jurisdictions.is_empty() || terms.jurisdictions.contains(&facts.jurisdiction))
            && (terms.exclude_jurisdictions.is_empty()
                || !facts.jurisdiction.is_empty()
                    && !terms.exclude_jurisdictions.contains(&facts.jurisdiction))
            && terms.attributes.iter().all(|(k, v)| attributes.get(k) == Some(v))
            && (terms.signed_by_any.is_empty() || terms.signed_by_any.iter().any(signed))
            && terms.signed_by_all.iter().all(signed)
            && terms.verifies.is_subset(&host.verifies)
            && (!terms.metered || host.fuel_per_s >= terms.min_fuel_per_s.max(1))
            && (terms.providers.is_empty() || terms.providers.contains(&host.id.provider))
            && !terms.exclude.contains(&host.id.provider)
            && facts.bond_free.nanos() >= pledge.nanos() + terms.min_bond.nanos()
            && (terms.max_risk_bps == 0 || facts.risk_bps <= terms.max_risk_bps)
            && host.offered_until.0 >= NOW.0 + terms.min_duration.0
    }

    fn rate(&self, host: &HostView) -> Rate {
        let firm = host.prices.rate_for(&self.terms.request).unwrap();
        let other = host.interruptible.filter(|_| self.terms.interruptible);
        let other = other.map(|offer| offer.prices.rate_for(&self.terms.request).unwrap());
        other.map_or(firm, |other| other.min(firm))
    }

    /// One lease after the other to the least of `order` that can take one more.
    fn grant<K: Ord + Copy>(
        &self,
        hosts: &[(HostView, Rate, u32, u32)],
        order: impl Fn(&HostView, Rate, u32) -> K,
    ) -> Vec<Offer> {
        let terms = self.terms;
        let mut granted: Vec<(usize, Offer)> = Vec::new();
        let mut free: BTreeMap<HostId, Resources> = BTreeMap::new();
        for (host, ..) in hosts {
            free.insert(host.id, host.free.clone());
        }
        while granted.len() < terms.count as usize {
            let can_take = |(host, rate, bid, limit): &(HostView, Rate, u32, u32)| {
                let among = |same: &dyn Fn(&HostView) -> bool, limit: u32| {
                    let now = granted.iter().filter(|(at, _)| same(&hosts[*at].0)).count();
                    let before = self.held.iter().filter(|held| same(held)).count();
                    limit == 0 || now + before < limit as usize
                };
                let facts = &host.provider;
                let pledge = self.rules.pledge(*rate).unwrap().nanos();
                let pledged: u128 = granted
                    .iter()
                    .filter(|(at, _)| hosts[*at].0.id.provider == host.id.provider)
                    .map(|(at, _)| self.rules.pledge(hosts[*at].1).unwrap().nanos())
                    .sum();
                let of_bid = granted.iter().filter(|(_, (_, id, at))| *id == host.id && at == bid);
                terms.request.fits(&free[&host.id])
                    && of_bid.count() < *limit as usize
                    && facts.bond_free.nanos() >= pledged + pledge + terms.min_bond.nanos()
                    && among(&|other| other.id == host.id, terms.spread.per_host)
                    && among(
                        &|other| other.id.provider == host.id.provider,
                        terms.spread.per_provider,
                    )
                    && among(
                        &|other| other.provider.region == facts.region,
                        terms.spread.per_region,
                    )
                    && among(
                        &|other| other.provider.operator == facts.operator,
                        terms.spread.per_operator,
                    )
            };
            let best = (0..hosts.len())
                .filter(|at| can_take(&hosts[*at]))
                .min_by_key(|at| order(&hosts[*at].0, hosts[*at].1, hosts[*at].2));
            let Some(best) = best else { break };
            let (host, rate, bid, _) = &hosts[best];
            let takes = terms.request.allot(&free[&host.id]).unwrap();
            let left = capacity::checked_sub(&free[&host.id], &takes).unwrap();
            free.insert(host.id, left);
            granted.push((best, (score(self.terms, host.provider.risk_bps, *rate), host.id, *bid)));
        }
        granted.into_iter().map(|(_, offer)| offer).collect()
    }

    fn ranked(&self, hosts: &[(HostView, Rate, u32, u32)]) -> Vec<Offer> {
        if self.terms.together == Together::No {
            return self.grant(hosts, |host, rate, bid| {
                (score(self.terms, host.provider.risk_bps, rate), host.id, bid)
            });
        }
        let mut places: BTreeMap<String, Vec<(HostView, Rate, u32, u32)>> = BTreeMap::new();
        for entry in hosts {
            let id = entry.0.id;
            let place = match self.terms.together {
                Together::Region => entry.0.provider.region.clone(),
                Together::Provider => format!("{:?}", id.provider),
                Together::Host => format!("{:?} {:03}", id.provider, id.index),
                Together::No => unreachable!(),
            };
            places.entry(place).or_default().push(entry.clone());
        }
        let filled = places.into_values().map(|hosts| {
            self.grant(&hosts, |host, rate, bid| {
                (score(self.terms, host.provider.risk_bps, rate), host.id, bid)
            })
        });
        let filled = filled.filter(|granted| granted.len() == self.terms.count as usize);
        filled
            .min_by_key(|granted| granted.iter().map(|(score, ..)| *score).sum::<u128>())
            .unwrap_or_default()
    }

    /// Whether these, taken in the order of the walk, fill the order (or a place).
    fn fills(&self, seen: &[(HostView, Rate, u32, u32)]) -> bool {
        let last = &seen.last().unwrap().0;
        let beside = |host: &HostView| match self.terms.together {
            Together::No => true,
            Together::Region => host.provider.region == last.provider.region,
            Together::Provider => host.id.provider == last.id.provider,
            Together::Host => host.id == last.id,
        };
        let same: Vec<_> = seen.iter().filter(|(host, ..)| beside(host)).cloned().collect();
        let position = |host: &HostView| same.iter().position(|(other, ..)| other.id == host.id);
        self.grant(&same, |host, _, _| position(host)).len() == self.terms.count as usize
    }

    /// After how many of those that pass step 3 ends the walk, if it does.
    fn enough(&self, passed: &[(HostView, Rate, u32, u32)]) -> Option<usize> {
        let look_ahead = self.rules.look_ahead as usize;
        let first = (1..=passed.len()).find(|seen| self.fills(&passed[..*seen]));
        let mut checks = Vec::new();
        if let Some(first) = first {
            let step = look_ahead.max(1);
            checks.extend((first.saturating_add(look_ahead)..=passed.len()).step_by(step));
        }
        for seen in checks {
            let granted = self.ranked(&passed[..seen]);
            if granted.len() < self.terms.count as usize {
                break;
            }
            let worst = granted.iter().map(|(score, ..)| *score).max().unwrap_or(0);
            let slack = u128::from(self.rules.look_ahead_slack_bps);
            if worst <= self.floor(&passed[seen - 1].0) * (10_000 + slack) {
                return Some(seen);
            }
        }
        None
    }

    /// The least that the order can cost on a host and on all that follow.
    fn floor(&self, host: &HostView) -> u128 {
        let request = &self.terms.request;
        let (cpu, gpus) = (u128::from(request.cpu_milli), u128::from(request.gpu.count));
        let of = |prices: &Prices| match gpus {
            0 => (prices.cpu.amount_per_hour().nanos() * cpu).div_ceil(1_000),
            _ => prices.gpu.amount_per_hour().nanos() * gpus,
        };
        let other = host.interruptible.filter(|_| self.terms.interruptible);
        other.map_or(u128::MAX, |other| of(&other.prices)).min(of(&host.prices))
    }

    /// Whether a host is where the order holds leases, if it must be in one place and holds any.
    fn is_with_held(&self, host: &HostView) -> bool {
        let same = |held: &HostView| match self.terms.together {
            Together::No => true,
            Together::Region => held.provider.region == host.provider.region,
            Together::Provider => held.id.provider == host.id.provider,
            Together::Host => held.id == host.id,
        };
        self.held.is_empty() || self.held.iter().any(same)
    }

    /// Steps 1 to 5, one by one; and after how many visits step 3 ends the walk, if it does.
    fn clear(&self, all: &[HostView], after: Option<&Cursor>) -> (Vec<Offer>, Option<u32>) {
        let class = Class::of_request(&self.terms.request);
        let principal = |host: &HostView| match &class {
            Class::Cpu => host.free.cpu_milli > 0,
            Class::AnyGpu => host.free.gpus.iter().any(|gpu| gpu.count > 0),
            Class::Gpu { model, .. } => {
                host.free.gpus.iter().any(|gpu| gpu.count > 0 && gpu.model == *model)
            }
        };
        let place = |host: &HostView| {
            let firm = class.unit_price(&host.prices);
            let other = host.interruptible.filter(|_| self.terms.interruptible);
            let other = other.map(|offer| class.unit_price(&offer.prices));
            Cursor { unit_price: other.map_or(firm, |other| other.min(firm)), host: host.id }
        };
        // What cannot fit is below the order's level, or is visited in vain: both ways it takes
        // nothing. Only visits are counted differently, so the tests limit visits on their own.
        let mut walk: Vec<&HostView> = all.iter().filter(|host| principal(host)).collect();
        walk.retain(|host| after.is_none_or(|after| place(host) > *after));
        walk.sort_by_key(|host| place(host));
        let level = Query::of(self.terms).level;
        walk.retain(|host| {
            Class::of_host(&host.free).iter().any(|(of, at)| *of == class && at.covers(level))
        });
        walk.truncate(usize::try_from(self.rules.visit_max).unwrap());
        let passed: Vec<_> = walk
            .iter()
            .filter(|host| self.passes(host, Some(self.rate(host))) && self.is_with_held(host))
            .map(|host| (HostView::clone(host), self.rate(host), 0, u32::MAX))
            .collect();
        let enough = self.enough(&passed);
        let visits = enough.and_then(|seen| {
            let last = passed[seen - 1].0.id;
            u32::try_from(walk.iter().position(|host| host.id == last)? + 1).ok()
        });
        let granted = self.ranked(&passed[..enough.unwrap_or(passed.len())]);
        let whole = granted.len() == self.terms.count as usize;
        let nothing = self.terms.all_or_nothing() && !whole;
        (if nothing { Vec::new() } else { granted }, visits)
    }
}

fn score(terms: &Terms, risk_bps: u32, rate: Rate) -> u128 {
    let counts = u64::from(risk_bps) * u64::from(terms.risk_weight_bps.unwrap_or(10_000)) / 10_000;
    rate.amount_per_hour().nanos() * u128::from(10_000 + counts)
}

fn granted(terms: &Terms, cleared: &Cleared) -> Vec<Offer> {
    let all = cleared.placements.iter();
    all.map(|placed| {
        (score(terms, placed.risk_bps, placed.rate), placed.host, placed.bid.unwrap_or_default())
    })
    .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn clearing_equals_brute_force(
        hosts in any_hosts(12),
        terms in any_terms(),
        visit_max in prop_oneof![Just(u32::MAX), 0u32..8],
        look_ahead in prop_oneof![Just(u32::MAX), 0u32..4],
        slack in prop_oneof![Just(0), 0u32..30_000, Just(u32::MAX)],
        pledge_min in 0u128..3,
        held in prop::collection::vec(0usize..12, 0..3),
    ) {
        let pledge_min = Amount::from_nanos(pledge_min);
        let rules = Rules {
            visit_max,
            look_ahead,
            look_ahead_slack_bps: slack,
            pledge_min,
            pledge_hours: 1,
        };
        let mut book = book(hosts);
        let hosts: Vec<HostView> = book.hosts().map(|host| HostView::clone(&host)).collect();
        let mut progress = Progress::default();
        let mut held: Vec<HostView> =
            held.into_iter().filter_map(|at| hosts.get(at).cloned()).collect();
        for host in &held {
            progress.held.add(&host.id, &host.provider);
        }
        let mut terms = terms;
        let mut after = None;
        for _ in 0..4 {
            progress.after = after;
            let cleared = clear_on(&book, &terms, &rules, NOW, &progress);
            let market = Market { terms: &terms, rules: &rules, held: &held };
            let hosts: Vec<HostView> = book.hosts().map(|host| HostView::clone(&host)).collect();
            let (expected, enough) = market.clear(&hosts, after.as_ref());
            prop_assert_eq!(granted(&terms, &cleared), expected);
            prop_assert!(cleared.visited <= visit_max.min(enough.unwrap_or(u32::MAX)));
            if cleared.stopped == Stop::EnoughSeen {
                prop_assert_eq!(Some(cleared.visited), enough);
            }
            prop_assert_eq!(&cleared, &clear_on(&book, &terms, &rules, NOW, &progress));
            for placement in &cleared.placements {
                let host = book.get(&placement.host).unwrap().clone();
                progress.held.add(&host.id, &host.provider);
                held.push(host);
                prop_assert!(book.grant(placement), "a host was oversold");
            }
            terms.count -= u32::try_from(cleared.placements.len()).unwrap();
            after = cleared.cursor;
            if after.is_none() {
                break;
            }
        }
    }

    /// Hosts that all pass, with memory dear and cheap behind threads of about the same price.
    #[test]
    fn a_look_ahead_ends_where_brute_force_says(
        prices in prop::collection::vec((10u128..14, 0u128..30, 0u8..3), 1..16),
        count in 1u32..5,
        look_ahead in 0u32..4,
        slack in 0u32..20_000,
        together in 0usize..3,
        per_region in 0u32..3,
    ) {
        let together = [Together::No, Together::Region, Together::Host][together];
        let spread = Spread { per_region, ..Spread::default() };
        let mut terms = Terms { together, spread, ..order(count) };
        terms.request.memory_bytes = crate::GIB;
        let rules = Rules { look_ahead, look_ahead_slack_bps: slack, ..rules() };
        let nanos = |nanos| Rate::per_hour(Amount::from_nanos(nanos));
        let hosts = prices.into_iter().zip(1u8..).map(|((cpu, memory, region), number)| {
            let mut host = host(number, "0");
            host.free.cpu_milli = 2_000;
            (host.prices.cpu, host.prices.memory_gib) = (nanos(cpu), nanos(memory));
            of(&mut host).region = region.to_string();
            host
        });
        let hosts: Vec<HostView> = hosts.collect();
        let cleared = clear(&book(hosts.clone()), &terms, &rules, NOW);
        let market = Market { terms: &terms, rules: &rules, held: &[] };
        let (expected, enough) = market.clear(&hosts, None);
        prop_assert_eq!(granted(&terms, &cleared), expected);
        match cleared.stopped {
            Stop::EnoughSeen => prop_assert_eq!(Some(cleared.visited), enough),
            _ => prop_assert!(enough.is_none_or(|enough| cleared.visited < enough)),
        }
    }

    #[test]
    fn clearing_bids_equals_brute_force(
        hosts in any_hosts(12),
        prices in prop::collection::vec((0u128..9, 0u32..4), 12),
        again in prop::collection::vec((0usize..12, 0u128..9, 0u32..4), 0..6),
        terms in any_terms(),
        pledge_min in 0u128..3,
    ) {
        let rules = Rules {
            pledge_min: Amount::from_nanos(pledge_min),
            pledge_hours: 1,
            ..super::rules()
        };
        let price = |nanos| Rate::per_hour(Amount::from_nanos(nanos));
        let book = book(hosts.clone());
        let hosts: Vec<_> = hosts
            .iter()
            .zip(prices)
            .map(|(host, (rate, count))| (book.get(&host.id).unwrap(), rate, count))
            .collect();
        let again = again
            .into_iter()
            .filter_map(|(at, rate, count)| hosts.get(at).map(|(host, ..)| (*host, rate, count)));
        let bids: Vec<BidView> = hosts
            .iter()
            .copied()
            .chain(again)
            .map(|(host, rate, count)| BidView { host: Arc::new(host.clone()), rate: price(rate), count })
            .collect();
        let market = Market { terms: &terms, rules: &rules, held: &[] };
        let passed: Vec<_> = bids
            .iter()
            .zip(0u32..)
            .filter(|(bid, _)| market.passes(&bid.host, Some(bid.rate)))
            .map(|(bid, at)| (HostView::clone(&bid.host), bid.rate, at, bid.count))
            .collect();
        let mut expected = market.ranked(&passed);
        if terms.all_or_nothing() && expected.len() < terms.count as usize {
            expected.clear();
        }
        let cleared = clear_bids(&bids, &terms, &rules, NOW, &Held::default());
        prop_assert_eq!(granted(&terms, &cleared), expected);
    }
}
