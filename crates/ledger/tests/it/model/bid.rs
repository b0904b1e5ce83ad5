//! Bids on orders, and who wins by them.

use super::{
    Bid, Model, Money, Order, OrderEnd, OrderStage, Outcome, Refused, Standing, money, must,
    offer::{Candidate, weight},
    whole,
};
use muster_ledger::market::{Mode, Pick};
use muster_types::{AccountId, Asset, HostId, OrderId, Rate};
use num_traits::Zero as _;
use std::collections::BTreeSet;

impl Model {
    /// The hosts that bid on an order.
    pub(super) fn bids_on(&self, order: &OrderId) -> Vec<HostId> {
        self.bids.iter().filter(|bid| bid.order == *order).map(|bid| bid.host).collect()
    }

    fn bid(&self, order: &OrderId, host: &HostId) -> Result<&Bid, Refused> {
        self.bids.find(|bid| bid.order == *order && bid.host == *host).ok_or(Refused)
    }

    fn take_bid(&mut self, order: &OrderId, host: &HostId) -> Money {
        let deposit = self.bid(order, host).expect("it stands").deposit.clone();
        self.bids.remove(|bid| bid.order == *order && bid.host == *host);
        deposit
    }

    pub(super) fn return_bid(&mut self, order: &OrderId, host: &HostId) {
        let deposit = self.take_bid(order, host);
        self.give(host.provider, Asset::Usd, &deposit);
    }

    /// An order whose bid window is open.
    fn bidding(&self, id: &OrderId) -> Result<&Order, Refused> {
        let order = self.order(id)?;
        let open = matches!(order.stage, OrderStage::Bidding { until } if self.steady < until);
        must(open)?;
        Ok(order)
    }

    pub(super) fn bid_place(
        &mut self,
        who: AccountId,
        id: &OrderId,
        index: u32,
        rate: Rate,
        count: u32,
    ) -> Outcome {
        let order = self.bidding(id)?;
        let Mode::Bids { bids_max, .. } = order.mode else { return Err(Refused) };
        let tick = self.params.price_tick.amount_per_hour().nanos();
        must(rate <= order.terms.max_rate && rate.amount_per_hour().nanos().is_multiple_of(tick))?;
        must((1..=order.missing).contains(&count))?;
        must(self.provider(&who)?.standing == Standing::Active)?;
        let host = HostId { provider: who, index };
        must(self.honoured(order, &host, rate, count, &Money::zero()).is_some())?;
        let at = self.now;
        if let Some(known) = self.bids.find_mut(|bid| bid.order == *id && bid.host == host) {
            (known.rate, known.count, known.at) = (rate, count, at);
            return Ok(());
        }
        let standing = self.bids_on(id);
        if standing.len() >= usize::from(bids_max) {
            let of = |host: &HostId| (self.bid(id, host).expect("it stands").rate, *host);
            let (worst, displaced) = standing.iter().map(of).max().ok_or(Refused)?;
            must(rate < worst)?;
            self.return_bid(id, &displaced);
        }
        let deposit = money(self.params.bid_deposit);
        self.take(who, Asset::Usd, &deposit)?;
        self.bids.push(Bid { order: *id, host, rate, count, deposit, at });
        Ok(())
    }

    pub(super) fn bid_withdraw(&mut self, who: AccountId, id: &OrderId, index: u32) -> Outcome {
        let host = HostId { provider: who, index };
        self.bid(id, &host)?;
        self.bidding(id)?;
        self.return_bid(id, &host);
        Ok(())
    }

    pub(super) fn bid_accept(&mut self, who: AccountId, id: &OrderId, hosts: &[HostId]) -> Outcome {
        let order = self.order(id)?;
        must(order.tenant == who)?;
        must(matches!(order.stage, OrderStage::Picking { until } if self.steady < until))?;
        must((1..=256).contains(&hosts.len()))?;
        must(hosts.iter().collect::<BTreeSet<_>>().len() == hosts.len())?;
        for host in hosts {
            self.bid(id, host)?;
        }
        self.pay_rent(id);
        must(self.room(self.order(id)?) > 0)?;
        let (leases, broken) = self.decide(id, hosts);
        if leases > 0 {
            self.end_order(id, OrderEnd::Filled);
            return Ok(());
        }
        must(broken > 0)
    }

    /// The end of a window: of the bids', or of the tenant's to pick.
    pub(super) fn window_ended(&mut self, id: &OrderId) {
        self.pay_rent(id);
        let order = self.order(id).expect("it exists");
        let Mode::Bids { pick, .. } = order.mode else { return };
        let bids = self.bids_on(id);
        if bids.is_empty() || matches!(order.stage, OrderStage::Picking { .. }) {
            return self.end_order(id, OrderEnd::Expired);
        }
        if pick == Pick::Tenant {
            let until = self.steady + self.params.pick_window_ms.0;
            self.order_mut(id).stage = OrderStage::Picking { until };
            return;
        }
        if self.room(order) == 0 {
            return self.end_order(id, OrderEnd::OutOfFunds);
        }
        let mut ranked: Vec<(Money, HostId)> = bids
            .into_iter()
            .map(|host| {
                let rate = self.bid(id, &host).expect("it stands").rate;
                let takes_orders =
                    |one: &&super::Host| self.provider_of(one).standing == Standing::Active;
                let found = self.hosts.find(|one| one.id == host).filter(takes_orders);
                let premium =
                    found.map(|one| self.premium(self.provider_of(one))).unwrap_or_default();
                let weight = weight(&self.order(id).expect("it is bid for").terms, premium);
                (money(rate.amount_per_hour()) * weight, host)
            })
            .collect();
        ranked.sort();
        let ranked: Vec<HostId> = ranked.into_iter().map(|(_, host)| host).collect();
        let (leases, _) = self.decide(id, &ranked);
        let end = if leases > 0 { OrderEnd::Filled } else { OrderEnd::Expired };
        self.end_order(id, end);
    }

    /// Whether a host could serve so many leases of an order at a price.
    pub(crate) fn could_serve(&self, order: &Order, host: &HostId, rate: Rate, count: u32) -> bool {
        self.honoured(order, host, rate, count, &Money::zero()).is_some()
    }

    /// A host that can serve so many leases of an order at a price, when so much of its provider's
    /// bond is gone already.
    fn honoured(
        &self,
        order: &Order,
        host: &HostId,
        rate: Rate,
        count: u32,
        pledged: &Money,
    ) -> Option<Candidate> {
        let host = self.hosts.find(|one| one.id == *host)?;
        let candidate = self.candidate(host, order, (rate, None))?;
        let (cpu, memory, bond) = &candidate.free;
        let request = &order.terms.request;
        let all = whole(count.into());
        let serves = whole(request.cpu_milli) * &all <= whole(*cpu)
            && whole(request.memory_bytes) * &all <= whole(*memory)
            && &candidate.pledge * &all + money(order.terms.min_bond) + pledged <= *bond;
        serves.then_some(candidate)
    }

    /// Grants what bids win in this order: how many leases, and how many bids were broken.
    fn decide(&mut self, id: &OrderId, turn: &[HostId]) -> (usize, usize) {
        let order = self.order(id).expect("it exists").clone();
        let mut left = order.missing.min(self.room(&order));
        let short = left < order.missing;
        let mut wins: Vec<Candidate> = Vec::new();
        let (mut won, mut broken) = (Vec::new(), Vec::new());
        for host in turn {
            if left == 0 {
                break;
            }
            let bid = self.bid(id, host).expect("it stands").clone();
            let found = self.hosts.find(|one| one.id == *host);
            let found = found.filter(|one| self.provider_of(one).standing == Standing::Active);
            let Some(found) = found else {
                broken.push(*host);
                continue;
            };
            // Where it stands, whatever else it is.
            let here = self.somewhere(found, bid.rate);
            let mut count = 0;
            let mut with: Vec<&Candidate> = wins.iter().collect();
            while count < bid.count.min(left) && self.is_apart(&order, &here, &with) {
                with.push(&here);
                count += 1;
            }
            if count == 0 {
                continue;
            }
            let on_provider = wins.iter().filter(|one| one.host.id.provider == host.provider);
            let pledged: Money = on_provider.map(|one| &one.pledge).sum();
            let Some(candidate) = self.honoured(&order, host, bid.rate, count, &pledged) else {
                broken.push(*host);
                continue;
            };
            wins.extend((0..count).map(|_| candidate.clone()));
            left -= count;
            won.push(*host);
        }
        if order.terms.gang && (short || left > 0) {
            wins.clear();
            won.clear();
        }
        for win in &wins {
            self.grant(id, win);
        }
        for host in won {
            self.return_bid(id, &host);
        }
        for host in &broken {
            let deposit = self.take_bid(id, host);
            self.burned += deposit;
        }
        (wins.len(), broken.len())
    }

    /// A host without asking whether it may serve.
    fn somewhere(&self, host: &super::Host, rate: Rate) -> Candidate {
        Candidate {
            host: host.clone(),
            rate,
            notice: None,
            score: Money::zero(),
            pledge: Money::zero(),
            operator: self.operator_of(&host.id.provider),
            region: self.provider_of(host).profile.region.clone(),
            free: (0, 0, Money::zero()),
        }
    }
}
