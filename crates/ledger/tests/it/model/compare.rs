//! The ledger's state against the model's.

use super::{Model, Money, OrderEnd, Phase, Standing, money};
use muster_ledger::{
    State,
    dispute::DisputeStatus,
    escrow::EscrowStatus,
    keys,
    market::{LeaseStatus, OrderStatus},
    provider::ProviderStatus,
    view,
};
use std::fmt::Debug;

/// What differs, or nothing.
type Same = Result<(), String>;

fn same<T: PartialEq + Debug>(what: &str, ledger: &T, model: &T) -> Same {
    if ledger == model {
        return Ok(());
    }
    Err(format!("{what}: the ledger has {ledger:?}, the model {model:?}"))
}

impl Model {
    /// Whether a state says what the model says.
    pub(crate) fn agrees_with(&self, state: &dyn State) -> Same {
        self.compare_accounts(state)?;
        self.compare_providers(state)?;
        self.compare_escrows(state)?;
        self.compare_orders(state)?;
        self.compare_leases(state)?;
        for (id, dispute) in keys::DISPUTES.scan(state, &(), None) {
            let open = self.disputes.iter().find(|one| one.id == id).map(|one| one.open);
            same("dispute open", &Some(dispute.status == DisputeStatus::Open), &open)?;
        }
        let burned = view::supply(state).usd.burned;
        same("burned", &money(burned), &self.burned)
    }

    fn compare_accounts(&self, state: &dyn State) -> Same {
        let accounts: Vec<_> = keys::ACCOUNTS.scan(state, &(), None).collect();
        same("accounts", &accounts.len(), &self.people.len())?;
        for (id, account) in accounts {
            let person = self.people.get(&id).ok_or_else(|| format!("who is {id}?"))?;
            same(&format!("usd of {id}"), &money(account.usd), &person.usd)?;
            same(&format!("mst of {id}"), &money(account.mst), &person.mst)?;
        }
        Ok(())
    }

    fn compare_providers(&self, state: &dyn State) -> Same {
        let providers: Vec<_> = keys::PROVIDERS.scan(state, &(), None).collect();
        same("providers", &providers.len(), &self.providers.len())?;
        for (id, record) in providers {
            let model = self.providers.iter().find(|one| one.id == id);
            let model = model.ok_or_else(|| format!("no provider {id}"))?;
            let standing = match record.status {
                ProviderStatus::Registered => Standing::Registered,
                ProviderStatus::Active => Standing::Active,
                ProviderStatus::Draining => Standing::Draining,
                ProviderStatus::Unbonding { until } => Standing::Unbonding { until: until.0 },
                ProviderStatus::Gone => Standing::Gone,
            };
            same("standing", &standing, &model.standing)?;
            same("bond", &money(record.bond), &model.bond)?;
            same("pledged", &money(record.pledged), &self.pledged(&id))?;
            same("slashed", &money(record.slashed), &model.slashed)?;
            same("unsettled", &(record.open_leases as usize), &self.unsettled_of(&id))?;
            let conduct = record.conduct;
            let counts = (conduct.leases_broken, conduct.heartbeats_missed, conduct.disputes_lost);
            same("conduct", &counts, &(model.broken, model.missed, model.lost))?;
            same("fees paid", &money(conduct.fees_paid), &model.fees_paid)?;
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
            let leases = self.leases_on(&id);
            let withheld: Money =
                leases.iter().map(|lease| self.lease(lease).unwrap().withheld()).sum();
            same("balance", &money(record.balance), &model.balance)?;
            same("withheld", &money(record.withheld), &withheld)?;
            same("paid", &money(record.paid), &model.paid)?;
            same("refunded", &money(record.refunded), &model.refunded)?;
        }
        Ok(())
    }

    fn compare_orders(&self, state: &dyn State) -> Same {
        let orders: Vec<_> = keys::ORDERS.scan(state, &(), None).collect();
        same("orders", &orders.len(), &self.orders.len())?;
        for (id, record) in orders {
            let model = self.order(&id).map_err(|_| format!("no order {id}"))?;
            let ended = match record.status {
                OrderStatus::Open => None,
                OrderStatus::Leased => Some(OrderEnd::Filled),
                OrderStatus::Expired => Some(OrderEnd::Expired),
                OrderStatus::Cancelled => Some(OrderEnd::Cancelled),
            };
            same("order ended", &ended, &model.ended)?;
            let leases: Vec<_> = self.leases_of(&id).iter().map(|lease| lease.id).collect();
            same("leases of an order", &record.leases, &leases)?;
        }
        Ok(())
    }

    fn compare_leases(&self, state: &dyn State) -> Same {
        let leases: Vec<_> = keys::LEASES.scan(state, &(), None).collect();
        same("leases", &leases.len(), &self.leases.len())?;
        for (id, record) in leases {
            let model = self.lease(&id).map_err(|_| format!("no lease {id}"))?;
            let phase = match record.status {
                LeaseStatus::Granted => Phase::Granted,
                LeaseStatus::Active => Phase::Active,
                LeaseStatus::Stalled { since } => Phase::Stalled { since: since.0 },
                LeaseStatus::Closed { reason, settled, at: _ } => Phase::Closed { reason, settled },
            };
            same("lease phase", &phase, &model.phase)?;
            same("host", &record.host, &model.host)?;
            same("rate", &record.rate, &model.rate)?;
            same("pledge", &money(record.pledge), &model.pledge)?;
            same("covered", &record.covered.0, &model.covered)?;
            same("accrued", &money(record.accrued), &model.accrued)?;
            same("shortfall", &money(record.shortfall), &model.shortfall)?;
            same("lease paid", &money(record.paid), &model.paid)?;
            same("compensated", &money(record.compensated), &model.compensated)?;
            same("commitment", &record.commitment, &model.commitment)?;
        }
        Ok(())
    }
}
