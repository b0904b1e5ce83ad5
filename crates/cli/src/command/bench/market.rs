//! `muster bench market`: what clearing costs.
//!
//! Of the hosts four belong to a provider, of whom no two have the same prices; four in ten have
//! GPUs, of six models. Of the orders, a tenth of the hosts in number, four in ten ask for GPUs, a
//! quarter for one of eight regions, a tenth are gangs or spreads of eight leases, the others ask
//! for one to three. The offers are never renewed, so that the orders use up the cheap ones.
//!
//! The figures with targets are of the ledger's own block ends ([`ledger`]); beside them stands the
//! auction alone, in memory ([`auction`]). The baseline of every time is one look-up in a
//! `BTreeMap` with an entry for each host: the keys are hosts' ids, asked for in random order.

mod auction;
mod ledger;

use super::Measurement;
use crate::printer::Printer;
use ledger::{Chain, Cost};
use muster_market::{GIB, Prices, Request, Spread, Terms};
use muster_types::{AccountId, Amount, Gpu, GpuRequest, Hash, HostId, Millis, Rate, Resources};
use rustix::time::{ClockId, clock_gettime};
use std::{collections::BTreeMap, hint::black_box, time::Duration};

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
    Size {
        hosts: 1_000,
        names: ["mixed_1e3", "same_1e3", "nothing_1e3"],
        written: "write_1e3",
        auction: "auction_1e3",
    },
    Size {
        hosts: 10_000,
        names: ["mixed_1e4", "same_1e4", "nothing_1e4"],
        written: "write_1e4",
        auction: "auction_1e4",
    },
    Size {
        hosts: 100_000,
        names: ["mixed_1e5", "same_1e5", "nothing_1e5"],
        written: "write_1e5",
        auction: "auction_1e5",
    },
    Size {
        hosts: 1_000_000,
        names: ["mixed_1e6", "same_1e6", "nothing_1e6"],
        written: "write_1e6",
        auction: "auction_1e6",
    },
];
/// So many hosts in all are measured at least, in rounds, of which the best counts, because what
/// else the machine does only ever adds.
const MEASURED: u64 = 1_000_000;
/// So many orders of which nothing matches are enough: each visits as many hosts as it may.
const HOPELESS: u64 = 200;

const LOOKUPS: f64 = 20.0;
const GROWTH: f64 = 3.0;
const BYTES: f64 = 1024.0;
const EXPLAIN_MS: f64 = 50.0;

struct Size {
    hosts: u64,
    /// Of the figures, by mix.
    names: [&'static str; 3],
    written: &'static str,
    auction: &'static str,
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
    let (mut curve, mut alone) = (Vec::new(), Vec::new());
    // The largest first: its memory is what the process grows by.
    let [smallest, .., largest] = SIZES.each_ref().map(|size| size.hosts);
    let mut at_most = Duration::ZERO;
    for size in SIZES.iter().rev() {
        printer.note(format!("{} hosts", size.hosts));
        let random = &mut Random(size.hosts);
        let lookup = micros(lookup(size.hosts, random));
        let chain = Chain::new(size.hosts, random)?;
        if size.hosts == largest {
            chain.standing(random, &mut results)?;
        }
        for (mix, name) in MIXES.into_iter().zip(size.names) {
            let Cost { finish, write } = cost(&chain, mix, random)?;
            let (cost, written) = (micros(finish), micros(write));
            curve.push(Measurement::shown(name, "us", cost, lookup));
            if mix != Mix::Mixed {
                continue;
            }
            curve.push(Measurement::shown(size.written, "us", written, lookup));
            if size.hosts == largest {
                let name = "clear_over_lookup";
                results.push(Measurement::at_most(name, "us", cost, lookup, LOOKUPS));
                at_most = finish;
            }
            if size.hosts == smallest {
                let most = micros(at_most);
                results.push(Measurement::at_most("clear_growth", "us", most, cost, GROWTH));
            }
        }
        drop(chain);
        let auction = micros(auction::cost(size.hosts, random)?);
        if size.hosts == largest {
            let name = "auction_over_lookup";
            results.push(Measurement::shown(name, "us", auction, lookup));
        }
        alone.push(Measurement::shown(size.auction, "us", auction, lookup));
    }
    results.append(&mut curve);
    results.append(&mut alone);
    Ok(results)
}

/// The best of several rounds.
fn cost(chain: &Chain, mix: Mix, random: &mut Random) -> anyhow::Result<Cost> {
    let rounds = if mix == Mix::Mixed { (MEASURED / chain.hosts).clamp(2, 20) } else { 1 };
    let costs: anyhow::Result<Vec<Cost>> =
        (0..rounds).map(|_| chain.clone().clear(mix, random)).collect();
    costs?.into_iter().min_by_key(|cost| cost.finish).ok_or_else(|| anyhow::anyhow!("no round"))
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

fn capacity(random: &mut Random) -> Resources {
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
    Resources {
        cpu_milli: threads * 1_000,
        memory_bytes: threads * 4 * GIB,
        disk_bytes: 512 * GIB,
        bandwidth_bps: 1_000_000_000,
        gpus,
    }
}

fn prices(random: &mut Random) -> Prices {
    Prices {
        cpu: price(random, 5_000, 50_000),
        memory_gib: price(random, 500, 5_000),
        disk_gib: price(random, 10, 100),
        gpu: price(random, 300_000, 4_000_000),
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
