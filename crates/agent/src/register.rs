//! What the ledger should know of this provider, and the actions that are missing for it.

use crate::{AgentError, HostConfig};
use muster_api::views::{HostView, ProviderView};
use muster_ledger::{
    Action, Params, ProviderProfile,
    job::Verification,
    provider::{HostSpec, ProviderStatus},
};
use muster_types::{Amount, Millis, Resources};
use std::collections::{BTreeMap, BTreeSet};

/// How long an offer stands when it is made.
const OFFER_LIFETIME: Millis = Millis::from_secs(24 * 3600);

/// What fees may take, beside the bond, before an account counts as unfunded.
pub(crate) const FEE_RESERVE: Amount = Amount::from_nanos(10_000_000);

/// The levels at which it serves jobs, beside `none`: it commits to a leaf for each task.
const LEVELS: [Verification; 2] =
    [Verification::Replicate { sample_bps: 0 }, Verification::Audit { rate_bps: 0 }];

/// How long an offer is made to stand under these rules.
fn lifetime(params: &Params) -> Millis {
    Millis(OFFER_LIFETIME.0.max(params.offer_lifetime_min_ms.0.saturating_mul(4)))
}

/// Whether a provider in this state can be started.
pub(crate) fn check_status(known: Option<&ProviderView>) -> Result<(), AgentError> {
    let Some(known) = known else { return Ok(()) };
    match known.record.status {
        // In jail it serves the leases that it has.
        ProviderStatus::Registered
        | ProviderStatus::Active
        | ProviderStatus::Gone
        | ProviderStatus::Jailed { .. } => Ok(()),
        ProviderStatus::Draining => Err(AgentError::Leaving { state: "draining" }),
        ProviderStatus::Unbonding { .. } => Err(AgentError::Leaving { state: "unbonding" }),
    }
}

/// The description, where the ledger has another one or none.
pub(crate) fn profile(known: Option<&ProviderView>, profile: &ProviderProfile) -> Option<Action> {
    let same = known.is_some_and(|known| {
        known.record.status != ProviderStatus::Gone && known.record.profile == *profile
    });
    (!same).then(|| Action::ProviderSet { profile: profile.clone() })
}

/// The part of the bond that is missing.
pub(crate) fn missing_bond(known: Option<&ProviderView>, bond: Amount) -> Amount {
    bond.saturating_sub(known.map_or(Amount::ZERO, |known| known.bond.amount))
}

/// Offers to make, to change, or to renew because half of their time is over; and hosts to
/// withdraw because they are not on offer any more and nothing uses them. What an offer is still
/// bound against is left for later.
pub(crate) fn hosts(
    known: Option<&ProviderView>,
    hosts: &[HostConfig],
    now: Millis,
    params: &Params,
) -> Vec<Action> {
    let lifetime = lifetime(params);
    let verifies: BTreeSet<_> = LEVELS.into_iter().filter_map(Verification::capability).collect();
    let known: BTreeMap<u32, &HostView> = known
        .map(|known| known.hosts.iter().map(|host| (host.index, host)).collect())
        .unwrap_or_default();
    let mut actions = Vec::new();
    let mut wanted = 0;
    for (index, host) in (0u32..).zip(hosts) {
        wanted = index.saturating_add(1);
        let stands = known.get(&index).is_some_and(|known| {
            let spec = &known.record.spec;
            spec.capacity == host.capacity
                && spec.prices == host.prices
                && spec.attributes.is_empty()
                && spec.verifies == verifies
                && spec.offered_until.since(now).0 >= lifetime.0 / 2
        });
        if !stands {
            let spec = HostSpec {
                capacity: host.capacity.clone(),
                prices: host.prices,
                offered_until: now.after(lifetime),
                verifies: verifies.clone(),
                ..HostSpec::default()
            };
            let bound = known.get(&index).filter(|known| now < known.record.bound_until);
            if bound.is_none_or(|bound| spec.keeps(&bound.record.spec)) {
                actions.push(Action::HostSet { index, spec });
            }
        }
    }
    let idle = |used: &Resources| {
        let Resources { cpu_milli, memory_bytes, disk_bytes, bandwidth_bps, gpus } = used;
        [*cpu_milli, *memory_bytes, *disk_bytes, *bandwidth_bps].iter().all(|units| *units == 0)
            && gpus.iter().all(|gpu| gpu.count == 0)
    };
    let surplus = known
        .range(wanted..)
        .filter(|(_, host)| idle(&host.record.used) && now >= host.record.bound_until);
    actions.extend(surplus.map(|(index, _)| Action::HostRemove { index: *index }));
    actions
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_ledger::{
        bond::Bond,
        provider::{Conduct, Host, Provider},
    };
    use muster_types::{AccountId, Rate};

    fn view(status: ProviderStatus, bond: u64, hosts: Vec<HostView>) -> ProviderView {
        let record = Provider {
            profile: ProviderProfile { name: "known".into(), ..ProviderProfile::default() },
            status,
            open_rate: Rate::ZERO,
            open_leases: 0,
            conduct: Conduct::default(),
            paid: Amount::ZERO,
        };
        let bond = Bond { amount: Amount::from_units(bond), ..Bond::default() };
        ProviderView { id: AccountId::default(), record, bond, risk_bps: 0, hosts }
    }

    fn host(index: u32, cpu_milli: u64, used: u64, until: Millis) -> HostView {
        let capacity = Resources { cpu_milli, ..Resources::default() };
        let verifies = LEVELS.into_iter().filter_map(Verification::capability).collect();
        let spec = HostSpec { capacity, offered_until: until, verifies, ..HostSpec::default() };
        let used = Resources { cpu_milli: used, ..Resources::default() };
        HostView {
            index,
            record: Host { spec, used, offered_at_height: 1, bound_until: Millis::ZERO },
        }
    }

    fn config(cpu_milli: u64) -> HostConfig {
        let capacity = Resources { cpu_milli, ..Resources::default() };
        HostConfig { capacity, ..HostConfig::default() }
    }

    fn names(actions: &[Action]) -> Vec<String> {
        let name = |action: &Action| match action {
            Action::HostSet { index, .. } => format!("set {index}"),
            Action::HostRemove { index } => format!("remove {index}"),
            other => format!("{other:?}"),
        };
        actions.iter().map(name).collect()
    }

    #[test]
    fn only_what_differs_is_offered_again() {
        let params = Params::default();
        let now = Millis(1_000_000);
        let fresh = now.after(OFFER_LIFETIME);
        let stale = now.after(Millis(OFFER_LIFETIME.0 / 2 - 1));
        type Row<'a> = (&'a str, Vec<HostView>, Vec<HostConfig>, &'a [&'a str]);
        let table: [Row<'_>; 7] = [
            ("nothing known", vec![], vec![config(1), config(2)], &["set 0", "set 1"]),
            ("all known", vec![host(0, 1, 0, fresh)], vec![config(1)], &[]),
            ("capacity changed", vec![host(0, 1, 0, fresh)], vec![config(2)], &["set 0"]),
            ("half over", vec![host(0, 1, 0, stale)], vec![config(1)], &["set 0"]),
            (
                "idle and not wanted",
                vec![host(0, 1, 0, fresh), host(1, 1, 0, fresh)],
                vec![config(1)],
                &["remove 1"],
            ),
            ("used and not wanted", vec![host(1, 1, 1, fresh)], vec![config(1)], &["set 0"]),
            ("none wanted", vec![host(0, 1, 0, fresh)], vec![], &["remove 0"]),
        ];
        for (name, known, wanted, expected) in table {
            let known = view(ProviderStatus::Active, 1, known);
            assert_eq!(names(&hosts(Some(&known), &wanted, now, &params)), expected, "{name}");
        }
        // Bound: it may grow and be renewed, but neither shrink nor go.
        let bound = |until| {
            let mut known = host(0, 2, 0, until);
            known.record.bound_until = now.after(Millis(1));
            view(ProviderStatus::Active, 1, vec![known])
        };
        let expected: [(Millis, &[HostConfig], &[&str]); 4] = [
            (fresh, &[config(3)], &["set 0"]),
            (stale, &[config(2)], &["set 0"]),
            (fresh, &[config(1)], &[]),
            (fresh, &[], &[]),
        ];
        for (until, wanted, expected) in expected {
            let actions = hosts(Some(&bound(until)), wanted, now, &params);
            assert_eq!(names(&actions), expected, "{wanted:?}");
        }
        let offers = hosts(None, &[config(1)], now, &params);
        let [Action::HostSet { spec, .. }] = offers.as_slice() else { panic!("{offers:?}") };
        assert_eq!(spec.offered_until, fresh);
    }

    #[test]
    fn the_description_is_sent_where_it_is_new_and_a_leaving_provider_does_not_start() {
        let same = ProviderProfile { name: "known".into(), ..ProviderProfile::default() };
        let other = ProviderProfile { name: "other".into(), ..ProviderProfile::default() };
        for (status, startable, sends) in [
            (ProviderStatus::Registered, true, [false, true]),
            (ProviderStatus::Active, true, [false, true]),
            (ProviderStatus::Draining, false, [false, true]),
            (ProviderStatus::Unbonding { until: Millis(1) }, false, [false, true]),
            (ProviderStatus::Gone, true, [true, true]),
            (ProviderStatus::Jailed { until: Millis(1) }, true, [false, true]),
        ] {
            let known = view(status, 1, vec![]);
            assert_eq!(check_status(Some(&known)).is_ok(), startable, "{status:?}");
            let sent = [&same, &other].map(|wanted| profile(Some(&known), wanted).is_some());
            assert_eq!(sent, sends, "{status:?}");
        }
        assert!(profile(None, &same).is_some());
    }

    #[test]
    fn only_the_missing_bond_is_added() {
        let units = Amount::from_units;
        let known = view(ProviderStatus::Active, 7, vec![]);
        assert_eq!(missing_bond(Some(&known), units(10)), units(3));
        assert_eq!(missing_bond(Some(&known), units(7)), Amount::ZERO);
        assert_eq!(missing_bond(Some(&known), units(5)), Amount::ZERO);
        assert_eq!(missing_bond(None, units(10)), units(10));
    }
}
