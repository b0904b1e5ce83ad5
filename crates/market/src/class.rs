//! Classes of hosts: what a book is indexed by, so that an order visits only hosts that could
//! serve it, the cheapest first.
//!
//! Within a class a host is listed at the [`Level`] of what it has free of the class's principal
//! resource (threads of CPU, GPUs of one kind) and of the one that goes with it (memory with CPU,
//! CPU with GPUs), each in powers of two. Of several kinds of GPU in one class the one with the
//! most free counts. A host with nothing of the principal resource free is not listed. An order
//! walks the levels that are at least that of its own request in both: what is not cannot fit, so
//! hosts that are full one way or the other are in nobody's way, and a request for powers of two
//! meets no host that lacks them.
//!
//! The CPU class goes by the price of a thread, so that a walk's floor says little about an order
//! that asks for much memory and few threads, and nothing about one for memory alone: such an order
//! may walk to its limit, and pays for that. Going by `u = thread + 2 x GiB` instead would be sound:
//! a request for `T` threads and `G` GiB costs
//! `thread x T + 2 x GiB x (G / 2) >= u x min(T, G / 2)`. But that floor is nothing for memory alone
//! too, and a sixteenth of the price for eight threads with one GiB, where it is all but the whole
//! now: what this market is for most, small tasks on many threads, would walk to its limit instead.
//! A list by the price of memory for the others would serve both, for an entry more for every host,
//! in the state and with every change of its level; that is more than they are worth.

use crate::{GIB, Prices, Request, Terms, host::part_ceil};
use muster_types::{Gpu, Rate, Resources};
use std::fmt;

/// How much a host has free, or an order asks for, of a class's two resources: 0 for less than
/// one piece, `n` for at least `2^(n-1)` and less than `2^n` pieces. A piece is a thread, a GPU,
/// or 2 GiB of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level {
    /// Of the principal resource; at most [`Level::MAX`].
    pub main: u8,
    /// Of the one that goes with it; at most [`Level::MAX_BESIDE`].
    pub beside: u8,
}

impl Level {
    /// The highest `main`: at least 16,384 pieces.
    pub const MAX: u8 = 15;
    /// The highest `beside`: at least 64 pieces.
    pub const MAX_BESIDE: u8 = 7;

    const fn of(main: u64, beside: u64) -> Self {
        Self { main: log(main, Self::MAX), beside: log(beside, Self::MAX_BESIDE) }
    }

    const fn of_cpu(cpu_milli: u64, memory_bytes: u64) -> Self {
        Self::of(cpu_milli / THREAD, memory_bytes / MEMORY)
    }

    const fn of_gpus(count: u32, cpu_milli: u64) -> Self {
        Self::of(count as u64, cpu_milli / THREAD)
    }

    /// Whether this is at least `other` in both.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.main >= other.main && self.beside >= other.beside
    }
}

/// A piece of CPU, in thousandths of a thread.
const THREAD: u64 = 1000;
/// A piece of memory, in bytes.
const MEMORY: u64 = 2 * GIB;

#[allow(clippy::cast_possible_truncation, reason = "at most 64, and `most` is less")]
const fn log(pieces: u64, most: u8) -> u8 {
    let bits = u64::BITS.saturating_sub(pieces.leading_zeros());
    if bits < most as u32 { bits as u8 } else { most }
}

/// A class of hosts, with the price that it is sorted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Every host, by the price of a CPU thread.
    Cpu,
    /// Every host with a GPU, by the price of a GPU.
    AnyGpu,
    /// Every host with this GPU, by the price of a GPU.
    Gpu {
        /// Lower case, e.g. `nvidia`.
        vendor: String,
        /// Lower case, e.g. `h200`.
        model: String,
    },
}

/// A [`Class`] by reference.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Borrowed<'a> {
    Cpu,
    AnyGpu,
    Gpu { vendor: &'a str, model: &'a str },
}

/// Which hosts of a book an order walks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Those of this class,
    pub class: Class,
    /// at a level that covers this one,
    pub level: Level,
    /// by the lower price of those with an interruptible offer.
    pub interruptible: bool,
}

impl Query {
    /// What an order walks.
    #[must_use]
    pub fn of(terms: &Terms) -> Self {
        let class = Class::of_request(&terms.request);
        let request = &terms.request;
        let level = match class {
            Class::Cpu => Level::of_cpu(request.cpu_milli, request.memory_bytes),
            Class::AnyGpu | Class::Gpu { .. } => {
                Level::of_gpus(request.gpu.count, request.cpu_milli)
            }
        };
        Self { class, level, interruptible: terms.interruptible }
    }
}

impl Class {
    /// The classes that list a host with so much free, each once, with its level there.
    #[must_use]
    pub fn of_host(free: &Resources) -> Vec<(Self, Level)> {
        let mut all = Vec::new();
        Self::each_of_host(free, |class, level| {
            let class = match class {
                Borrowed::Cpu => Self::Cpu,
                Borrowed::AnyGpu => Self::AnyGpu,
                Borrowed::Gpu { vendor, model } => {
                    Self::Gpu { vendor: vendor.to_owned(), model: model.to_owned() }
                }
            };
            all.push((class, level));
        });
        all.sort();
        all
    }

    /// The same one by one, in an order of their own.
    pub(crate) fn each_of_host<'a>(free: &'a Resources, mut each: impl FnMut(Borrowed<'a>, Level)) {
        if free.cpu_milli > 0 {
            each(Borrowed::Cpu, Level::of_cpu(free.cpu_milli, free.memory_bytes));
        }
        let gpus = || free.gpus.iter().filter(|gpu| gpu.count > 0);
        if let Some(count) = gpus().map(|gpu| gpu.count).max() {
            each(Borrowed::AnyGpu, Level::of_gpus(count, free.cpu_milli));
        }
        for (at, gpu) in gpus().enumerate() {
            let same = |other: &&Gpu| other.vendor == gpu.vendor && other.model == gpu.model;
            if gpus().take(at).any(|before| same(&before)) {
                continue;
            }
            let count = gpus().filter(same).map(|gpu| gpu.count).max().unwrap_or(gpu.count);
            let class = Borrowed::Gpu { vendor: &gpu.vendor, model: &gpu.model };
            each(class, Level::of_gpus(count, free.cpu_milli));
        }
    }

    /// The class to walk for a request: a superset of the hosts that fit it and have some of its
    /// principal resource free. A GPU request that does not name both vendor and model walks
    /// [`Class::AnyGpu`].
    #[must_use]
    pub fn of_request(request: &Request) -> Self {
        let gpu = &request.gpu;
        if gpu.count == 0 {
            Self::Cpu
        } else if gpu.vendor.is_empty() || gpu.model.is_empty() {
            Self::AnyGpu
        } else {
            Self::Gpu { vendor: gpu.vendor.clone(), model: gpu.model.clone() }
        }
    }

    /// The price that the class is sorted by.
    #[must_use]
    pub const fn unit_price(&self, prices: &Prices) -> Rate {
        match self {
            Self::Cpu => prices.cpu,
            Self::AnyGpu | Self::Gpu { .. } => prices.gpu,
        }
    }

    /// The least rate that `request` can have on a host of this class whose unit price is
    /// `unit_price`, whatever its other prices; never falls as the unit price rises. `None` where
    /// it is too large to be written.
    #[must_use]
    pub fn rate_floor(&self, unit_price: Rate, request: &Request) -> Option<Rate> {
        match self {
            Self::Cpu => part_ceil(unit_price, request.cpu_milli, 1000),
            Self::AnyGpu | Self::Gpu { .. } => {
                part_ceil(unit_price, u64::from(request.gpu.count), 1)
            }
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::AnyGpu => f.write_str("any gpu"),
            Self::Gpu { vendor, model } => write!(f, "{vendor}/{model}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn levels_are_powers_of_two_and_what_is_below_a_request_cannot_fit_it() {
        let threads = [(1, 0), (999, 0), (1000, 1), (1999, 1), (2000, 2), (4000, 3), (4001, 3)];
        for (milli, expected) in threads {
            assert_eq!(Level::of_cpu(milli, 0), Level { main: expected, beside: 0 }, "{milli}");
            assert_eq!(Level::of_gpus(0, milli), Level { main: 0, beside: expected }, "{milli}");
        }
        assert_eq!([1, 2, 3, 4, 7, 8].map(|pieces| log(pieces, 15)), [1, 2, 2, 3, 3, 4]);
        let most = Level { main: Level::MAX, beside: Level::MAX_BESIDE };
        assert_eq!(Level::of_cpu(u64::MAX, u64::MAX), most);
        for have in 0..20_000 {
            assert!(Level::of(have + 1, 7 * have + 3).covers(Level::of(have, 7 * have)));
        }
        assert!(!Level::of(4, 1).covers(Level::of(2, 2)));
    }

    #[test]
    fn a_host_is_listed_by_what_it_has_free() {
        let mut free = host(1, "0").free;
        let listed = |free: &Resources| {
            let all = Class::of_host(free).into_iter();
            let text = |(class, Level { main, beside })| format!("{class} {main} {beside}");
            all.map(text).collect::<Vec<_>>()
        };
        assert_eq!(listed(&free), ["cpu 3 3"]);
        free.gpus = vec![gpu("h100", 80, 2), gpu("h100", 94, 4), gpu("a100", 40, 1)];
        let all = ["cpu 3 3", "any gpu 3 3", "nvidia/a100 1 3", "nvidia/h100 3 3"];
        assert_eq!(listed(&free), all);
        free.cpu_milli = 0;
        assert_eq!(listed(&free), ["any gpu 3 0", "nvidia/a100 1 0", "nvidia/h100 3 0"]);
        free.gpus.iter_mut().for_each(|gpu| gpu.count = 0);
        assert!(listed(&free).is_empty());
    }
}
