//! `muster bench market`: what the auction costs.
//!
//! Orders are cleared one after the other against standing hosts, and what each wins is booked off
//! its hosts, with the book in memory. Measured is the auction alone: [`clear`] and
//! [`IndexedBook::grant`]. What the ledger writes for a lease beside that is not in it.
//!
//! Of the hosts four belong to a provider, of whom no two have the same prices; four in ten have
//! GPUs, of six models. Of the orders, a tenth of the hosts in number, four in ten ask for GPUs, a
//! quarter for one of eight regions, a tenth are gangs or spreads of eight leases, the others ask
//! for one to three. The offers are never renewed, so that the orders use up the cheap ones.
//!
//! The baseline of every time is one look-up in a `BTreeMap` with an entry for each host: the keys
//! are hosts' ids, asked for in random order.
//!
//! [`Rules::look_ahead_slack_bps`] decides about `clear_over_lookup`. A walk is by the price of a
//! thread, and orders leave behind the hosts whose thread is cheap and whose memory is dear, so that
//! these gather at its front. At its default, four times what could follow, a walk seldom goes on
//! for that; at twice, an order of this mix passes some six hundred of them with a million hosts, and
//! pays two per cent less.
//!
//! What limits `clear_growth` beside that: with a thousand hosts all of the book is in the
//! processor's nearest caches, with a million each lease reads a host, its provider and its entries
//! for the first time, and a look-up grows eightfold for the same reason.
//! Two fifths of a million-host lease is booking it: a host with GPUs is in three lists, and where
//! what it has left is of another level, two of its entries are taken out and put in again far from
//! where the walk was. An order for one of eight regions passes about seven hosts for each that it
//! looks at; a thousand hosts have not so many at a level. What was tried: regions in the entries,
//! so that hosts elsewhere are passed unread (an order that nothing matches takes a sixth); the free
//! bond beside the view of a provider, so that a grant copies neither; hosts changed in place;
//! half the allocations of a walk; entries of 64 rather than 72 bytes (no gain in time).

use super::Measurement;
use crate::printer::Printer;
use muster_market::{
    Book as _, Columns, GIB, HostView, IndexedBook, Prices, ProviderView, Request, Rules, Spread,
    Terms, clear,
};
use muster_types::{AccountId, Amount, Gpu, GpuRequest, Hash, HostId, Millis, Rate, Resources};
use rustix::time::{ClockId, clock_gettime};
use std::{
    collections::BTreeMap,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

const HOSTS_OF_A_PROVIDER: u64 = 4;
const NOW: Millis = Millis(1_000_000);
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
const SIZES: [Size; 4] = [
    Size { hosts: 1_000, names: ["mixed_1e3", "same_1e3", "nothing_1e3"] },
    Size { hosts: 10_000, names: ["mixed_1e4", "same_1e4", "nothing_1e4"] },
    Size { hosts: 100_000, names: ["mixed_1e5", "same_1e5", "nothing_1e5"] },
    Size { hosts: 1_000_000, names: ["mixed_1e6", "same_1e6", "nothing_1e6"] },
];
/// Every mix is measured over at least so many hosts in all, in rounds, of which the best counts,
/// because what else the machine does only ever adds.
const MEASURED: u64 = 3_000_000;
/// So many orders of which nothing matches are enough: each visits as many hosts as it may.
const HOPELESS: u64 = 200;
const QUOTES: u32 = 24;
const TIMES: u32 = 5;

const LOOKUPS: f64 = 20.0;
const GROWTH: f64 = 3.0;
const BYTES: f64 = 1024.0;
const EXPLAIN_MS: f64 = 50.0;

struct Size {
    hosts: u64,
    /// Of the figures, by mix.
    names: [&'static str; 3],
}

#[derive(Clone, Copy, PartialEq)]
enum Mix {
    /// Of everything.
    Mixed,
    /// Every order asks for the same.
    Same,
    /// Orders that no host can serve.
    Nothing,
}

const MIXES: [Mix; 3] = [Mix::Mixed, Mix::Same, Mix::Nothing];

/// Measures all figures.
pub(crate) fn measure(printer: &Printer) -> anyhow::Result<Vec<Measurement>> {
    let mut results = Vec::new();
    let mut curve = Vec::new();
    let mut smallest = 0.0;
    // The largest first: its memory is what the process grows by.
    for size in SIZES.iter().rev() {
        printer.note(format!("{} hosts", size.hosts));
        let random = &mut Random(size.hosts);
        let largest = size.hosts == SIZES[SIZES.len() - 1].hosts;
        if largest {
            standing(size.hosts, random, &mut results)?;
        }
        let lookup = micros(lookup(size.hosts, random));
        for (mix, name) in MIXES.into_iter().zip(size.names) {
            let cost = micros(cost(size.hosts, mix, random)?);
            if mix == Mix::Mixed && largest {
                results.push(Measurement::at_most(
                    "clear_over_lookup",
                    "us",
                    cost,
                    lookup,
                    LOOKUPS,
                ));
                smallest = cost;
            }
            if mix == Mix::Mixed && size.hosts == SIZES[0].hosts {
                results.push(Measurement::at_most("clear_growth", "us", smallest, cost, GROWTH));
            }
            curve.push(Measurement::shown(name, "us", cost, lookup));
        }
    }
    results.append(&mut curve);
    Ok(results)
}

/// The time that one lease takes from its order's turn until it is booked; of orders that get
/// nothing, the time of an order.
fn cost(hosts: u64, mix: Mix, random: &mut Random) -> anyhow::Result<Duration> {
    let rules = Rules::default();
    let orders = if mix == Mix::Nothing { HOPELESS.min(hosts / 10) } else { hosts / 10 };
    let mut best = Duration::MAX;
    for _ in 0..(MEASURED / hosts).clamp(2, 300) {
        let asked: Vec<Terms> = (0..orders).map(|_| terms(random, mix)).collect();
        // Not a copy, which would share hosts with what it was made from until they change.
        let mut book = market(hosts, random);
        let mut placed = 0u32;
        let begin = on_processor();
        for terms in &asked {
            let cleared = clear(&book, terms, &rules, NOW);
            placed += u32::try_from(cleared.placements.len())?;
            anyhow::ensure!(book.grant(&cleared.placements), "the auction sold what is not there");
        }
        let spent = on_processor().saturating_sub(begin);
        if mix == Mix::Nothing {
            anyhow::ensure!(placed == 0, "a host is nowhere");
            placed = u32::try_from(orders)?;
        }
        anyhow::ensure!(u64::from(placed) >= orders, "most orders got nothing");
        best = best.min(spent / placed);
    }
    Ok(best)
}

/// What standing hosts take up, and how long a quote over them takes.
fn standing(hosts: u64, random: &mut Random, results: &mut Vec<Measurement>) -> anyhow::Result<()> {
    let begin = resident_bytes()?;
    let bytes = |bytes: u64| bytes.saturating_sub(begin) as f64 / hosts as f64;
    let book = market(hosts, random);
    results.push(Measurement::within("bytes_per_host", "B", bytes(resident_bytes()?), BYTES));
    let mut columns = Columns::default();
    book.hosts().for_each(|host| columns.upsert(&host));
    results.push(Measurement::fact("with_columns", "B", bytes(resident_bytes()?)));
    let (slowest, dearest) = slowest_quote(&book, &columns, random);
    results.push(Measurement::within("explain_ms", "ms", slowest, EXPLAIN_MS));
    results.push(Measurement::fact("explain_cpu", "ms", dearest));
    Ok(())
}

/// Of several quotes the slowest, each by the best of a few times, in milliseconds: by the clock,
/// and by what it took of all processors.
fn slowest_quote(book: &IndexedBook, columns: &Columns, random: &mut Random) -> (f64, f64) {
    let (mut slowest, mut dearest) = (0.0f64, 0.0f64);
    for turn in 0..QUOTES {
        let mut asked = terms(random, Mix::Mixed);
        if turn % 4 == 0 {
            asked.attributes = [("tier".to_owned(), "1".to_owned())].into();
            asked.providers = vec![account(0)];
            asked.min_bond = Amount::from_units(1_000_000);
        }
        let (mut time, mut work) = (Duration::MAX, Duration::MAX);
        for _ in 0..TIMES {
            let (begin, worked) = (Instant::now(), processor(ClockId::ProcessCPUTime));
            black_box(columns.explain(book, &asked, &Rules::default(), NOW));
            time = time.min(begin.elapsed());
            work = work.min(processor(ClockId::ProcessCPUTime).saturating_sub(worked));
        }
        slowest = slowest.max(micros(time) / 1e3);
        dearest = dearest.max(micros(work) / 1e3);
    }
    (slowest, dearest)
}

/// The time of one look-up in a sorted map with an entry a host.
fn lookup(hosts: u64, random: &mut Random) -> Duration {
    let ids: Vec<HostId> = (0..hosts).map(host_id).collect();
    let map: BTreeMap<HostId, u64> = ids.iter().copied().zip(0..).collect();
    let times = 1_000_000u32;
    let asked: Vec<HostId> = (0..times).map(|_| random.pick(&ids)).collect();
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let begin = on_processor();
        for id in &asked {
            black_box(map.get(id));
        }
        best = best.min(on_processor().saturating_sub(begin) / times);
    }
    best
}

fn market(hosts: u64, random: &mut Random) -> IndexedBook {
    let mut book = IndexedBook::default();
    let mut provider = Arc::new(ProviderView::default());
    for number in 0..hosts {
        let id = host_id(number);
        if id.index == 0 {
            provider = Arc::new(ProviderView {
                operator: id.provider,
                region: random.pick(&REGIONS).into(),
                attributes: [("tier".to_owned(), random.below(3).to_string())].into(),
                bond_free: Amount::from_units(10_000),
                risk_bps: u32::try_from(random.below(2_000)).unwrap_or(0),
                ..ProviderView::default()
            });
        }
        book.insert(host(id, &provider, random));
    }
    book
}

fn host(id: HostId, provider: &Arc<ProviderView>, random: &mut Random) -> HostView {
    let threads = 4 << random.below(5);
    let mut gpus = Vec::new();
    if random.below(10) < 4 {
        let (model, gib) = random.pick(&GPUS);
        gpus.push(Gpu {
            vendor: "nvidia".into(),
            model: model.into(),
            memory_bytes: gib * GIB,
            interface: "sxm".into(),
            count: 1 << random.below(4),
        });
    }
    HostView {
        id,
        provider: Arc::clone(provider),
        attributes: BTreeMap::new(),
        verifies: Default::default(),
        free: Resources {
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
        interruptible: None,
        fuel_per_s: 0,
        offered_until: Millis::MAX,
    }
}

fn price(random: &mut Random, low: u64, high: u64) -> Rate {
    let micros = low + random.below(high - low);
    Rate::per_hour(Amount::from_nanos(u128::from(micros) * 1_000))
}

fn terms(random: &mut Random, mix: Mix) -> Terms {
    let request = |threads: u64| Request {
        cpu_milli: threads * 1_000,
        memory_bytes: threads * 2 * GIB,
        ..Request::default()
    };
    let max_rate = Rate::per_hour(Amount::from_units(100));
    if mix == Mix::Same {
        return Terms { request: request(2), count: 2, max_rate, ..Terms::default() };
    }
    let mut terms = Terms {
        request: request(1 << random.below(4)),
        count: 1 + random.pick(&[0, 1, 2]),
        max_rate,
        ..Terms::default()
    };
    if random.below(10) < 4 {
        terms.request.gpu = GpuRequest {
            vendor: "nvidia".into(),
            model: random.pick(&GPUS).0.into(),
            count: 1 << random.below(3),
            ..GpuRequest::default()
        };
    }
    if random.below(10) == 0 {
        terms.count = 8;
        terms.gang = random.below(2) == 0;
        terms.spread = Spread { per_provider: 1, ..Spread::default() };
    }
    if mix == Mix::Nothing {
        terms.regions = vec!["nowhere".into()];
    } else if random.below(4) == 0 {
        terms.regions = vec![random.pick(&REGIONS).into()];
    }
    terms
}

fn account(number: u64) -> AccountId {
    AccountId(Hash::of("muster bench market", &[&number.to_le_bytes()]))
}

fn host_id(number: u64) -> HostId {
    let index = u32::try_from(number % HOSTS_OF_A_PROVIDER).unwrap_or(0);
    HostId { provider: account(number / HOSTS_OF_A_PROVIDER), index }
}

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
        all[usize::try_from(self.below(all.len() as u64)).unwrap_or(0)]
    }
}

/// The time that this thread had a processor for: others may run beside it.
fn on_processor() -> Duration {
    processor(ClockId::ThreadCPUTime)
}

fn processor(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn resident_bytes() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
