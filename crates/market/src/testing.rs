//! Hosts and orders for the tests of this crate.

use crate::{
    GIB, HostView, Interruptible, Prices, ProviderView, Request, Rules, Spread, Terms, Together,
    Verifies,
};
use muster_types::{AccountId, Amount, Gpu, GpuRequest, Hash, HostId, Millis, Rate, Resources};
use proptest::{array::uniform3, collection::vec, option, prelude::*};
use std::sync::Arc;

/// A block time well after the epoch.
pub(crate) const NOW: Millis = Millis(1_000_000);

pub(crate) fn provider(number: u8) -> AccountId {
    AccountId(Hash([number; 32]))
}

pub(crate) fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

pub(crate) fn usd(text: &str) -> Amount {
    text.parse().unwrap()
}

/// Host 0 of provider `number`: 4 threads at `cpu` an hour each, memory and disk for nothing, a
/// free bond of 100 usd, an offer for an hour.
pub(crate) fn host(number: u8, cpu: &str) -> HostView {
    HostView {
        id: HostId { provider: provider(number), index: 0 },
        provider: Arc::new(ProviderView {
            operator: provider(number),
            region: "eu".into(),
            bond_free: Amount::from_units(100),
            ..ProviderView::default()
        }),
        free: Resources {
            cpu_milli: 4000,
            memory_bytes: 8 * GIB,
            disk_bytes: 64 * GIB,
            bandwidth_bps: 1_000_000_000,
            gpus: vec![],
        },
        prices: Prices { cpu: rate(cpu), ..Prices::default() },
        offered_until: NOW.after(Millis(3_600_000)),
        attributes: Default::default(),
        verifies: Default::default(),
        interruptible: None,
        fuel_per_s: 0,
    }
}

/// What the market knows of a host's provider, for a change.
pub(crate) fn of(host: &mut HostView) -> &mut ProviderView {
    Arc::make_mut(&mut host.provider)
}

pub(crate) fn gpu(model: &str, memory_gib: u64, count: u32) -> Gpu {
    Gpu {
        vendor: "nvidia".into(),
        model: model.into(),
        memory_bytes: memory_gib * GIB,
        interface: "sxm".into(),
        count,
    }
}

pub(crate) fn want_gpu(model: &str, count: u32) -> GpuRequest {
    GpuRequest {
        vendor: if model.is_empty() { String::new() } else { "nvidia".into() },
        model: model.into(),
        count,
        ..GpuRequest::default()
    }
}

/// `count` leases of one thread each, at up to 1 usd an hour.
pub(crate) fn order(count: u32) -> Terms {
    Terms {
        request: Request { cpu_milli: 1000, ..Request::default() },
        count,
        max_rate: rate("1"),
        ..Terms::default()
    }
}

/// One usd of pledge a lease, and no limit on visits or on looking ahead; where a test sets one on
/// that, leases may score twice what could follow.
pub(crate) fn rules() -> Rules {
    Rules {
        visit_max: u32::MAX,
        look_ahead: u32::MAX,
        look_ahead_slack_bps: 10_000,
        pledge_min: Amount::from_units(1),
        pledge_hours: 0,
    }
}

proptest::prop_compose! {
    pub(crate) fn any_provider()(
        operator in 0u8..3, region in 0u8..3, code in 0usize..3, tier in option::of(0u8..3),
        bond in prop_oneof![1 => 0u128..14, 1 => 14u128..200], risk in 0u32..4,
        signed in vec((0u8..3, option::of(0u8..3)), 0..4),
    ) -> ProviderView {
        let pair = |tier: u8| ("tier".to_owned(), tier.to_string());
        ProviderView {
            operator: provider(100 + operator),
            region: format!("r{region}"),
            jurisdiction: ["", "de", "us"][code].to_owned(),
            attributes: tier.map(pair).into_iter().collect(),
            signed: signed
                .into_iter()
                .map(|(auditor, value)| (provider(50 + auditor), value.map(pair).into_iter().collect()))
                .collect(),
            bond_free: Amount::from_nanos(bond),
            risk_bps: risk * 3_000,
        }
    }
}

proptest::prop_compose! {
    /// A host of one of four providers, about which it says nothing yet.
    fn any_bare_host()(
        owner in 0u8..4, index in 0u32..3, tier in option::of(0u8..3),
        cpu in 0u64..9, memory in 0u64..9, gpus in vec((0u8..2, 0u32..4), 0..3),
        firm in uniform3(0u128..6), other in option::of(uniform3(0u128..6)),
        offered in 0u64..4, verifies in 0usize..7, fuel in 0u64..3,
    ) -> HostView {
        let prices = |nanos: [u128; 3]| {
            let [cpu, memory_gib, gpu] = nanos.map(|n| Rate::per_hour(Amount::from_nanos(n)));
            Prices { cpu, memory_gib, disk_gib: Rate::ZERO, gpu }
        };
        let gpu_of = |(model, count)| gpu(&format!("m{model}"), 10 + u64::from(model), count);
        HostView {
            id: HostId { provider: provider(owner), index },
            attributes: tier.map(|tier| ("tier".into(), tier.to_string())).into_iter().collect(),
            verifies: Verifies::ALL.into_iter().skip(verifies).collect(),
            free: Resources {
                cpu_milli: cpu * 700,
                memory_bytes: memory << 29,
                gpus: gpus.into_iter().map(gpu_of).collect(),
                ..Resources::default()
            },
            prices: prices(firm),
            interruptible: other
                .map(|other| Interruptible { prices: prices(other), notice_ms: Millis(7) }),
            fuel_per_s: fuel,
            offered_until: Millis(NOW.0 + offered),
            ..host(owner, "0")
        }
    }
}

/// Hosts of four providers; all hosts of one say the same of it.
pub(crate) fn any_hosts(most: usize) -> impl Strategy<Value = Vec<HostView>> {
    let providers = proptest::array::uniform4(any_provider());
    (providers, vec(any_bare_host(), 0..most)).prop_map(|(providers, mut hosts)| {
        let providers = providers.map(Arc::new);
        for host in &mut hosts {
            let owner = usize::from(host.id.provider.as_bytes()[0]);
            host.provider = Arc::clone(&providers[owner]);
        }
        hosts
    })
}

proptest::prop_compose! {
    /// Who may serve: at most three wishes at once, or next to nothing would ever match.
    fn any_wishes()(
        regions in vec(0u8..3, 1..3), tier in 0u8..3, allow in vec(0u8..5, 1..4),
        exclude in vec(0u8..5, 1..3), code in 0usize..2, any in vec(50u8..53, 1..3),
        all in vec(50u8..53, 1..2), verifies in 0usize..6, fuel in 0u64..3,
        bond in 0u128..4, risk in 1u32..3, duration in 0u64..3,
        wishes in proptest::array::uniform3(0usize..60),
    ) -> Terms {
        let asks = |wish: usize| wishes.contains(&wish);
        let ids = |wish, list: Vec<u8>| -> Vec<AccountId> {
            list.into_iter().filter(|_| asks(wish)).map(provider).collect()
        };
        let code = ["de", "us"][code].to_owned();
        let pair = ("tier".to_owned(), tier.to_string());
        Terms {
            regions: regions
                .into_iter()
                .filter(|_| asks(0))
                .map(|region| format!("r{region}"))
                .collect(),
            attributes: Some(pair).filter(|_| asks(1)).into_iter().collect(),
            providers: ids(2, allow),
            exclude: ids(3, exclude),
            jurisdictions: Some(code.clone()).filter(|_| asks(4)).into_iter().collect(),
            exclude_jurisdictions: Some(code).filter(|_| asks(5)).into_iter().collect(),
            signed_by_any: ids(6, any),
            signed_by_all: ids(7, all),
            verifies: Verifies::ALL.into_iter().skip(verifies).take(usize::from(asks(8))).collect(),
            metered: asks(9),
            min_fuel_per_s: if asks(9) { fuel } else { 0 },
            min_bond: Amount::from_nanos(if asks(10) { bond } else { 0 }),
            max_risk_bps: if asks(11) { risk * 3_000 } else { 0 },
            risk_weight_bps: asks(13).then_some(risk * 7_777),
            min_duration: Millis(if asks(12) { duration } else { 0 }),
            ..Terms::default()
        }
    }
}

proptest::prop_compose! {
    pub(crate) fn any_terms()(
        wishes in any_wishes(),
        cpu in 0u64..4, memory in 0u64..3, wanted in option::of((0u8..3, 1u32..3)),
        count in prop_oneof![3 => 1u32..4, 2 => 4u32..10, 1 => Just(0)], gang in 0u8..4,
        spread in proptest::array::uniform4(prop_oneof![4 => Just(0u32), 1 => 1u32..4]),
        max_rate in prop_oneof![1 => 0u128..12, 3 => Just(1_000)],
        together in 0usize..8, interruptible in any::<bool>(),
    ) -> Terms {
        let mut request = order(1).request;
        request.cpu_milli = cpu * 500;
        request.memory_bytes = memory << 29;
        if let Some((model, count)) = wanted {
            let model = if model == 2 { String::new() } else { format!("m{model}") };
            request.gpu = want_gpu(&model, count);
        }
        let [per_provider, per_host, per_region, per_operator] = spread;
        let places = [Together::Region, Together::Provider, Together::Host];
        Terms {
            request,
            count,
            gang: gang == 0,
            spread: Spread { per_provider, per_host, per_region, per_operator },
            max_rate: Rate::per_hour(Amount::from_nanos(max_rate)),
            together: places.get(together).copied().unwrap_or_default(),
            interruptible,
            ..wishes
        }
    }
}
