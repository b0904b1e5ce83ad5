//! Classes of hosts: what a book is indexed by, so that an order visits only hosts that could
//! serve it, the cheapest first.

use crate::{Prices, Request, terms::part_ceil};
use muster_types::{Rate, Resources};
use std::fmt;

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

impl Class {
    /// The classes of a host with this capacity, each once.
    #[must_use]
    pub fn of_host(capacity: &Resources) -> Vec<Self> {
        let mut classes = vec![Self::Cpu];
        for gpu in capacity.gpus.iter().filter(|gpu| gpu.count > 0) {
            classes.push(Self::AnyGpu);
            classes.push(Self::Gpu { vendor: gpu.vendor.clone(), model: gpu.model.clone() });
        }
        classes.sort();
        classes.dedup();
        classes
    }

    /// The class to walk for a request: a superset of the hosts that fit it. A GPU request that
    /// does not name both vendor and model walks [`Class::AnyGpu`].
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
