//! Providers: their life, faults, hosts and operators.

use super::{Affiliation, Host, Model, Money, Outcome, Provider, Refused, Standing, money, must};
use muster_ledger::{ProviderProfile, provider::HostSpec};
use muster_market::Prices;
use muster_types::{AccountId, HostId, Rate, Resources};
use num_traits::Zero as _;

impl Model {
    /// What its bond makes of a provider that is registered or active.
    pub(super) fn stand(&mut self, id: &AccountId) {
        let enough = self.bond_of(id) >= money(self.params.provider_bond_min);
        if let Some(provider) = self.providers.find_mut(|one| one.id == *id)
            && matches!(provider.standing, Standing::Registered | Standing::Active)
        {
            let was = provider.standing;
            provider.standing = if enough { Standing::Active } else { Standing::Registered };
            if enough && was != Standing::Active {
                self.improved(id);
            }
        }
    }

    pub(super) fn provider_set(&mut self, who: AccountId, profile: &ProviderProfile) -> Outcome {
        must(profile.name.len() <= 64 && profile.region.len() <= 64)?;
        must(profile.operator != Some(who))?;
        let now = self.now;
        let (mut helps, mut moves) = (false, false);
        match self.providers.find_mut(|one| one.id == who) {
            Some(known) => {
                let was = &known.profile;
                moves = was.region != profile.region || was.operator != profile.operator;
                helps = was.jurisdiction != profile.jurisdiction
                    || was.attributes != profile.attributes;
                must(!matches!(known.standing, Standing::Unbonding { .. }))?;
                if known.standing == Standing::Gone {
                    let until = known.jailed_until;
                    known.standing =
                        if now < until { Standing::Jailed { until } } else { Standing::Registered };
                }
                known.profile = profile.clone();
            }
            None => self.providers.push(Provider {
                id: who,
                profile: profile.clone(),
                standing: Standing::Registered,
                broken: 0,
                broken_in_a_row: 0,
                jailed_until: 0,
                missed: 0,
                lost: 0,
                fees_paid: Money::zero(),
            }),
        }
        self.stand(&who);
        if moves || helps && self.provider(&who)?.standing == Standing::Active {
            self.improved(&who);
        }
        Ok(())
    }

    pub(super) fn provider_drain(&mut self, who: AccountId) -> Outcome {
        let provider = self.providers.find_mut(|one| one.id == who).ok_or(Refused)?;
        must(!matches!(
            provider.standing,
            Standing::Draining | Standing::Unbonding { .. } | Standing::Gone
        ))?;
        provider.standing = Standing::Draining;
        self.unbond_if_idle(&who);
        Ok(())
    }

    /// A draining provider without unsettled leases begins to unbond, with all of its free bond.
    pub(super) fn unbond_if_idle(&mut self, id: &AccountId) {
        let idle = self.unsettled_of(id) == 0;
        let until = self.now + self.params.unbonding_ms.0;
        let provider = self.provider_mut(id);
        if provider.standing == Standing::Draining && idle {
            provider.standing = Standing::Unbonding { until };
            let free = self.bond_free(id);
            if !free.is_zero() {
                self.begin_unbonding(*id, free);
            }
        }
    }

    pub(super) fn provider_unjail(&mut self, who: AccountId) -> Outcome {
        let Standing::Jailed { until } = self.provider(&who)?.standing else {
            return Err(Refused);
        };
        must(self.now >= until)?;
        must(self.bond_of(&who) >= money(self.params.provider_bond_min))?;
        self.provider_mut(&who).standing = Standing::Active;
        self.improved(&who);
        Ok(())
    }

    /// Puts a provider at fault into jail.
    fn jail(&mut self, id: &AccountId) {
        let until = self.now + self.params.jail_ms.0;
        let provider = self.provider_mut(id);
        provider.broken_in_a_row = 0;
        provider.jailed_until = provider.jailed_until.max(until);
        let until = provider.jailed_until;
        if matches!(
            provider.standing,
            Standing::Registered | Standing::Active | Standing::Jailed { .. }
        ) {
            provider.standing = Standing::Jailed { until };
        }
    }

    /// A lease ended by its provider's fault.
    pub(super) fn broke_lease(&mut self, id: &AccountId) {
        let breaks = u64::from(self.params.jail_breaks);
        let provider = self.provider_mut(id);
        provider.broken += 1;
        provider.broken_in_a_row += 1;
        if provider.broken_in_a_row >= breaks {
            self.jail(id);
        }
    }

    /// A claim of the provider was judged wrong.
    pub(super) fn lost_dispute(&mut self, id: &AccountId) {
        self.provider_mut(id).lost += 1;
        self.jail(id);
    }

    /// Who operates a provider: whom it names and who confirms it, else itself.
    pub(super) fn operator_of(&self, id: &AccountId) -> AccountId {
        let named = self.provider(id).ok().and_then(|provider| provider.profile.operator);
        let confirms = |operator: &AccountId| {
            let is = |one: &Affiliation| one.operator == *operator && one.provider == *id;
            self.affiliations.find(is).is_some()
        };
        named.filter(confirms).unwrap_or(*id)
    }

    pub(super) fn affiliate_set(
        &mut self,
        who: AccountId,
        provider: AccountId,
        affiliated: bool,
    ) -> Outcome {
        must(who != provider)?;
        self.provider(&provider)?;
        let is = |one: &Affiliation| one.operator == who && one.provider == provider;
        must(self.affiliations.find(is).is_some() != affiliated)?;
        if affiliated {
            must(self.bond_of(&who) >= money(self.params.provider_bond_min))?;
            self.affiliations.push(Affiliation { operator: who, provider, since: self.now });
        } else {
            self.affiliations.remove(is);
        }
        self.improved(&provider);
        Ok(())
    }

    pub(super) fn host_set(&mut self, who: AccountId, index: u32, spec: &HostSpec) -> Outcome {
        let standing = self.provider(&who)?.standing;
        must(matches!(standing, Standing::Active | Standing::Draining | Standing::Jailed { .. }))?;
        let tick = self.params.price_tick.amount_per_hour().nanos();
        let prices =
            [spec.prices.cpu, spec.prices.memory_gib, spec.prices.disk_gib, spec.prices.gpu];
        must(prices.iter().all(|price| price.amount_per_hour().nanos() % tick == 0))?;
        must(spec.offered_until.0 >= self.now + self.params.offer_lifetime_min_ms.0)?;
        let id = HostId { provider: who, index };
        let used = self.used(&id);
        must(used.cpu_milli <= spec.capacity.cpu_milli)?;
        must(used.memory_bytes <= spec.capacity.memory_bytes)?;
        if let Some(host) = self.hosts.find(|host| host.id == id) {
            must(self.now >= host.bound_until || is_as_good(spec, &host.spec))?;
        }
        let bound_until = self.now + self.params.offer_lifetime_min_ms.0;
        self.hosts.remove(|host| host.id == id);
        self.hosts.push(Host { id, spec: spec.clone(), offered_at: self.height, bound_until });
        self.offered(spec);
        Ok(())
    }

    pub(super) fn host_remove(&mut self, who: AccountId, index: u32) -> Outcome {
        let id = HostId { provider: who, index };
        let host = self.hosts.find(|host| host.id == id).ok_or(Refused)?;
        must(self.now >= host.bound_until)?;
        must(self.leases.find(|lease| lease.host == id && lease.is_open()).is_none())?;
        self.hosts.remove(|host| host.id == id);
        Ok(())
    }

    /// What the open leases of a host take.
    pub(super) fn used(&self, id: &HostId) -> Resources {
        let mut used = Resources::default();
        for lease in self.leases.iter().filter(|lease| lease.host == *id && lease.is_open()) {
            used.cpu_milli += lease.takes.cpu_milli;
            used.memory_bytes += lease.takes.memory_bytes;
        }
        used
    }
}

/// Whether nobody whom an old offer suits is worse off by a new one.
fn is_as_good(new: &HostSpec, old: &HostSpec) -> bool {
    let costs = |prices: &Prices| {
        [prices.cpu, prices.memory_gib, prices.disk_gib, prices.gpu].map(Rate::amount_per_hour)
    };
    let dearer = |new: &Prices, old: &Prices| {
        costs(new).into_iter().zip(costs(old)).any(|(new, old)| new > old)
    };
    let lost = old.interruptible.is_some_and(|old| {
        new.interruptible
            .is_none_or(|new| new.notice_ms < old.notice_ms || dearer(&new.prices, &old.prices))
    });
    let smaller = new.capacity.cpu_milli < old.capacity.cpu_milli
        || new.capacity.memory_bytes < old.capacity.memory_bytes
        || new.fuel_per_s < old.fuel_per_s
        || new.offered_until < old.offered_until;
    let fewer = old.verifies.iter().any(|level| !new.verifies.contains(level))
        || old.attributes.iter().any(|(key, value)| new.attributes.get(key) != Some(value));
    !(lost || smaller || fewer || dearer(&new.prices, &old.prices))
}
