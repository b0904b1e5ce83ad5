//! Measures the market: what a block's end takes for each lease that it grants, and what a quote
//! takes, with 10^3 to 10^6 hosts. One line of JSON for each size and mix.
//!
//! ```text
//! cargo run --release -p muster-ledger --example market [-- power of ten [mix [orders a block]]]
//! ```
//!
//! `clear_over_lookup` is the time for a granted lease over that of one look-up in a sorted map
//! with an entry for each host; `bytes_per_host` is what the process grew by while the hosts, their
//! providers and their indexes came into the state.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people, run by hand")]
#![allow(clippy::cast_precision_loss, clippy::float_arithmetic, reason = "ratios for people")]

use muster_ledger::{
    Action, BlockBuilder, BlockContext, Changes, Event, Genesis, MemoryState, Params,
    ProviderProfile, State,
    bond::Bond,
    escrow::Escrow,
    genesis::{Balance, EPOCH_BLOCKS, PROTOCOL},
    keys,
    market::{Mode, Order},
    provider::{Host, HostSpec, Provider},
    rebuild_derived,
    stake::Views,
    view,
};
use muster_market::{GIB, Prices, Request, Spread, Terms};
use muster_types::{
    AccountId, Amount, Envelope, EscrowId, Gpu, GpuRequest, Hash, HostId, Millis, OrderId, Rate,
    Resources, SecretKey,
};
use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

const HOSTS_OF_A_PROVIDER: u64 = 4;
const REGIONS: [&str; 8] = [
    "eu-central",
    "eu-north",
    "eu-west",
    "us-east",
    "us-west",
    "asia-south",
    "asia-east",
    "africa",
];
const GPUS: [(&str, u64); 6] =
    [("h100", 80), ("h200", 141), ("a100", 80), ("l40s", 48), ("rtx4090", 24), ("b200", 192)];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

/// One record of each kind, made by the ledger itself.
struct Templates {
    state: MemoryState,
    provider: Provider,
    host: Host,
    escrow: Escrow,
    order: Order,
}

fn id(kind: &str, number: u64) -> Hash {
    Hash::of("muster market bench", &[kind.as_bytes(), &number.to_le_bytes()])
}

fn block(state: &mut MemoryState, acts: Vec<(&SecretKey, Action)>, chain: Hash) {
    let context = next(state);
    let mut nonces: BTreeMap<AccountId, u64> = BTreeMap::new();
    let mut block = BlockBuilder::new(state, context).unwrap();
    for (key, action) in acts {
        let signer = key.account();
        let nonce = nonces
            .entry(signer)
            .or_insert_with(|| view::account(state, &signer).unwrap_or_default().nonce);
        let (max_fee, expires) = (Amount::from_units(1), Millis::MAX);
        let envelope = Envelope { chain, signer, nonce: *nonce, max_fee, expires, action };
        *nonce += 1;
        block.push(&envelope.sign(key)).unwrap();
    }
    let changes = block.finish().changes;
    state.apply(changes);
}

fn next(state: &dyn State) -> BlockContext {
    let head = view::head(state).unwrap();
    let height = head.height + 1;
    BlockContext {
        height,
        now: head.now.after(Millis(400)),
        beacon: id("beacon", height),
        beacon_round: height,
        beacon_key: None,
        proposer: AccountId::default(),
        views: Views::default(),
    }
}

fn templates() -> Templates {
    let (owner, tenant) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
    let balance = Balance { usd: Amount::from_units(1_000_000_000), mst: Amount::ZERO };
    let genesis = Genesis {
        name: "bench".into(),
        time: Millis(1_000_000),
        protocol: PROTOCOL,
        epoch_blocks: EPOCH_BLOCKS,
        validators: vec![AccountId::default()],
        balances: [(owner.account(), balance), (tenant.account(), balance)].into(),
        params: Params { retry_max: 1, ..Params::default() },
        stakes: BTreeMap::new(),
    };
    let mut state = MemoryState::default();
    state.apply(genesis.changes().unwrap());
    let (chain, host) = (genesis.id(), HostId { provider: owner.account(), index: 0 });
    let spec = HostSpec { offered_until: Millis(1 << 60), ..HostSpec::default() };
    let profile = ProviderProfile::default();
    block(
        &mut state,
        vec![
            (&owner, Action::ProviderSet { profile }),
            (&owner, Action::BondAdd { amount: Amount::from_units(1_000) }),
            (&owner, Action::HostSet { index: 0, spec }),
            (&tenant, Action::EscrowOpen { deposit: Amount::from_units(1_000_000) }),
        ],
        chain,
    );
    let (escrow_id, escrow) = keys::ESCROWS.scan(&state, &(), None).next().unwrap();
    let terms = Terms { count: 1, request: thread(1), ..Terms::default() };
    let place = Action::OrderPlace {
        escrow: escrow_id,
        job: None,
        terms,
        deadline: Millis(1 << 60),
        manifest: Hash::ZERO,
        mode: Mode::Standing,
        reauction: false,
    };
    block(&mut state, vec![(&tenant, place)], chain);
    let provider = view::provider(&state, &owner.account()).unwrap();
    let host_record = view::host(&state, &host).unwrap();
    let order = keys::ORDERS.scan(&state, &(), None).next().unwrap().1;
    let records = [keys::PROVIDERS.key(&owner.account()), keys::HOSTS.key(&host)];
    for key in records {
        state.remove(&key);
    }
    let kept = state.iter().filter(|(key, _)| key[0] < keys::DERIVED);
    let mut state: MemoryState = kept.map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    for (id, _) in keys::ORDERS.scan(&state.clone(), &(), None) {
        state.remove(&keys::ORDERS.key(&id));
    }
    Templates { state, provider, host: host_record, escrow, order }
}

fn thread(count: u64) -> Request {
    Request { cpu_milli: 1_000 * count, memory_bytes: 2 * count * GIB, ..Request::default() }
}

fn price(random: &mut Random, low: u64, high: u64) -> Rate {
    let micros = low + random.below(high - low);
    Rate::per_hour(Amount::from_nanos(u128::from(micros) * 1_000))
}

fn spec(random: &mut Random, template: &HostSpec) -> HostSpec {
    let threads = 4 << random.below(5);
    let gpus = if random.below(10) < 4 {
        let (model, gib) = random.pick(&GPUS);
        let count = 1 << random.below(4);
        vec![Gpu {
            vendor: "nvidia".into(),
            model: model.into(),
            memory_bytes: gib * GIB,
            interface: "sxm".into(),
            count,
        }]
    } else {
        Vec::new()
    };
    HostSpec {
        capacity: Resources {
            cpu_milli: threads * 1_000,
            memory_bytes: threads * 4 * GIB,
            disk_bytes: 512 * GIB,
            bandwidth_bps: 1_000_000_000,
            gpus,
        },
        prices: Prices {
            cpu: price(random, 5_000, 50_000),
            memory_gib: price(random, 500, 5_000),
            disk_gib: price(random, 10, 100),
            gpu: price(random, 300_000, 4_000_000),
        },
        ..template.clone()
    }
}

fn with_hosts(
    templates: &Templates,
    hosts: u64,
    orders_a_block: u64,
    random: &mut Random,
) -> MemoryState {
    let mut state = templates.state.clone();
    let mut params = view::params(&state);
    params.retry_max = u32::try_from(orders_a_block).unwrap();
    params.ready_timeout_ms = Millis(1 << 40);
    state.insert(keys::PARAMS.key(&()), borsh::to_vec(&params).unwrap());
    let mut part = state.clone();
    for number in 0..hosts.div_ceil(HOSTS_OF_A_PROVIDER) {
        if number % 256 == 255 {
            list(&mut state, &mut part);
        }
        let account = AccountId(id("provider", number));
        let mut provider = templates.provider.clone();
        provider.profile.region = random.pick(&REGIONS).into();
        provider.profile.attributes = [("tier".to_owned(), random.below(3).to_string())].into();
        provider.conduct.fees_paid = Amount::from_nanos(u128::from(random.below(2_000_000_000)));
        let bond = Bond { amount: Amount::from_units(10_000), ..Bond::default() };
        part.insert(keys::BONDS.key(&account), borsh::to_vec(&bond).unwrap());
        part.insert(keys::PROVIDERS.key(&account), borsh::to_vec(&provider).unwrap());
        for index in 0..HOSTS_OF_A_PROVIDER.min(hosts - number * HOSTS_OF_A_PROVIDER) {
            let mut host = templates.host.clone();
            host.spec = spec(random, &templates.host.spec);
            let id = HostId { provider: account, index: u32::try_from(index).unwrap() };
            part.insert(keys::HOSTS.key(&id), borsh::to_vec(&host).unwrap());
        }
    }
    list(&mut state, &mut part);
    state
}

/// Moves hosts and providers over, with their indexes.
fn list(state: &mut MemoryState, part: &mut MemoryState) {
    let changes = rebuild_derived(part);
    part.apply(changes);
    let moved = std::mem::take(part);
    for (key, value) in moved.iter() {
        state.insert(key.to_vec(), value.to_vec());
    }
    for key in [keys::HEAD.key(&()), keys::PARAMS.key(&())] {
        part.insert(key.clone(), state.get(&key).unwrap());
    }
}

/// What one order asks: a tenth are gangs and spreads.
fn terms(random: &mut Random, mix: Mix) -> Terms {
    let mut terms = Terms {
        request: thread(1 << random.below(4)),
        count: u32::try_from(1 + random.below(3)).unwrap(),
        max_rate: Rate::per_hour(Amount::from_units(100)),
        ..Terms::default()
    };
    if random.below(10) < 4 {
        let model = random.pick(&GPUS).0.to_owned();
        let count = 1 << random.below(3);
        terms.request.gpu =
            GpuRequest { vendor: "nvidia".into(), model, count, ..GpuRequest::default() };
    }
    if random.below(10) == 0 {
        terms.count = 8;
        terms.gang = random.below(2) == 0;
        terms.spread = Spread { per_provider: 1, ..Spread::default() };
    }
    match mix {
        Mix::Same => terms = Terms { request: thread(2), count: 2, ..Terms::default() },
        Mix::Nothing => terms.regions = vec!["nowhere".into()],
        Mix::Usual if random.below(4) == 0 => terms.regions = vec![random.pick(&REGIONS).into()],
        Mix::Usual => {}
    }
    if mix == Mix::Same {
        terms.max_rate = Rate::per_hour(Amount::from_units(100));
    }
    terms
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Mix {
    /// Of everything.
    Usual,
    /// Every order asks for the same.
    Same,
    /// Orders that no host can serve.
    Nothing,
}

fn with_orders(
    templates: &Templates,
    state: &mut MemoryState,
    orders: u64,
    mix: Mix,
    random: &mut Random,
) {
    let mut changes = Changes::default();
    let head = view::head(state).unwrap();
    for number in 0..orders {
        let escrow = EscrowId(id("escrow", number));
        let mut record = templates.escrow.clone();
        record.open_orders = 1;
        changes.0.insert(keys::ESCROWS.key(&escrow), Some(borsh::to_vec(&record).unwrap()));
        let terms = terms(random, mix);
        let order = Order {
            escrow,
            missing: terms.count,
            terms,
            placed_at: head.now,
            ..templates.order.clone()
        };
        let id = OrderId(id("order", number));
        changes.0.insert(keys::ORDERS.key(&id), Some(borsh::to_vec(&order).unwrap()));
        let waiting = keys::ORDERS_WAITING.key(&(head.now, id));
        changes.0.insert(waiting, Some(Vec::new()));
    }
    state.apply(changes);
}

/// The time of one look-up in a sorted map with an entry a host.
fn lookup(hosts: u64, random: &mut Random) -> Duration {
    let keys: Vec<Vec<u8>> = (0..hosts).map(|number| id("entry", number).0.to_vec()).collect();
    let map: BTreeMap<Vec<u8>, Vec<u8>> =
        keys.iter().map(|key| (key.clone(), vec![0; 200])).collect();
    let times = 1_000_000;
    let at: Vec<usize> =
        (0..times).map(|_| usize::try_from(random.below(hosts)).unwrap()).collect();
    let begin = on_processor();
    for at in at {
        black_box(map.get(keys[at].as_slice()));
    }
    on_processor().saturating_sub(begin) / times
}

/// The time that this program has had a processor for: others may run beside it.
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * 4096
}

fn measure(templates: &Templates, hosts: u64, mix: Mix, orders_a_block: u64) {
    let mut random = Random(hosts);
    let lookup = lookup(hosts, &mut random);
    let before = resident_bytes();
    let bare = with_hosts(templates, hosts, orders_a_block, &mut random);
    let bytes = (resident_bytes().saturating_sub(before)) / hosts;
    let orders = hosts / 10;
    let (mut granted, mut spent, mut applied) = (0u64, Duration::ZERO, Duration::ZERO);
    let rounds = (200_000 / hosts).clamp(1, 50);
    let mut last = None;
    for _ in 0..rounds {
        drop(last.take());
        let mut state = bare.clone();
        with_orders(templates, &mut state, orders, mix, &mut random);
        for _ in 0..orders.div_ceil(orders_a_block) {
            let context = next(&state);
            let begin = on_processor();
            let outcome = BlockBuilder::new(&state, context).unwrap().finish();
            spent += on_processor().saturating_sub(begin);
            let leases = |event: &&Event| matches!(event, Event::LeaseGranted { .. });
            granted += outcome.events.iter().filter(leases).count() as u64;
            let begin = on_processor();
            state.apply(outcome.changes);
            applied += on_processor().saturating_sub(begin);
        }
        last = Some(state);
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let per = micros(spent) / granted.max(1) as f64;
    println!(
        "{{\"hosts\":{hosts},\"mix\":\"{mix:?}\",\"orders\":{orders},\"granted\":{},\
         \"us_per_grant\":{per:.2},\"us_per_order\":{:.2},\"apply_us_per_grant\":{:.2},\
         \"lookup_us\":{:.3},\"clear_over_lookup\":{:.1},\"bytes_per_host\":{bytes}}}",
        granted / rounds,
        micros(spent) / (orders * rounds) as f64,
        micros(applied) / granted.max(1) as f64,
        micros(lookup),
        per / micros(lookup),
    );
    if let (Mix::Usual, Some(state)) = (mix, last) {
        quotes(&state, hosts, &mut random);
    }
}

fn quotes(state: &MemoryState, hosts: u64, random: &mut Random) {
    let begin = Instant::now();
    let book = view::quote_book(state);
    let built = begin.elapsed();
    let (mut worst, mut sum) = (Duration::ZERO, Duration::ZERO);
    let times = 20;
    for turn in 0..times {
        let mut asked = terms(random, Mix::Usual);
        if turn % 4 == 0 {
            asked.attributes = [("tier".to_owned(), "1".to_owned())].into();
            asked.providers = vec![AccountId(id("provider", 0))];
            asked.min_bond = Amount::from_units(1_000_000);
        }
        let begin = Instant::now();
        black_box(book.explain(state, &asked));
        worst = worst.max(begin.elapsed());
        sum += begin.elapsed();
    }
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{{\"hosts\":{hosts},\"explain_ms\":{:.2},\"explain_worst_ms\":{:.2},\"build_ms\":{:.0}}}",
        millis(sum / times),
        millis(worst),
        millis(built),
    );
}

fn main() {
    let power = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(6);
    let templates = templates();
    let only = std::env::args().nth(2);
    let orders_a_block = std::env::args().nth(3).and_then(|text| text.parse().ok()).unwrap_or(100);
    for power in 3..=power {
        for mix in [Mix::Usual, Mix::Same, Mix::Nothing] {
            if only.as_ref().is_some_and(|only| *only != format!("{mix:?}")) {
                continue;
            }
            measure(&templates, 10u64.pow(power), mix, orders_a_block);
        }
    }
}
