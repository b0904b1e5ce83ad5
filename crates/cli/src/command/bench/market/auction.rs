//! The auction alone: [`clear`] and [`IndexedBook::grant`], with the book in memory.
//!
//! Orders are cleared one after the other against standing hosts, and what each wins is booked off
//! its hosts. What the ledger reads and writes for a lease beside that is not in it.
//!
//! [`Rules::look_ahead_slack_bps`] decides what it costs. A walk is by the price of a
//! thread, and orders leave behind the hosts whose thread is cheap and whose memory is dear, so that
//! these gather at its front. At its default, four times what could follow, a walk seldom goes on
//! for that; at twice, an order of this mix passes some six hundred of them with a million hosts, and
//! pays two per cent less.
//!
//! What makes it grow beside that: with a thousand hosts all of the book is in the
//! processor's nearest caches, with a million each lease reads a host, its provider and its entries
//! for the first time, and a look-up grows eightfold for the same reason.
//! Two fifths of a million-host lease is booking it: a host with GPUs is in three lists, and where
//! what it has left is of another level, two of its entries are taken out and put in again far from
//! where the walk was. An order for one of eight regions passes about seven hosts for each that it
//! looks at; a thousand hosts have not so many at a level. What was tried: regions in the entries,
//! so that hosts elsewhere are passed unread (an order that nothing matches takes a sixth); the free
//! bond beside the view of a provider, so that a grant copies neither; hosts changed in place;
//! half the allocations of a walk; entries of 64 rather than 72 bytes (no gain in time).

use super::{MEASURED, Mix, NOW, REGIONS, Random, capacity, host_id, on_processor, prices, terms};
use muster_market::{HostView, IndexedBook, ProviderView, Rules, Terms, clear};
use muster_types::{Amount, HostId, Millis};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The time that one lease of mixed orders takes from its order's turn until it is booked.
pub(super) fn cost(hosts: u64, random: &mut Random) -> anyhow::Result<Duration> {
    let rules = Rules::default();
    let mut best = Duration::MAX;
    for _ in 0..(MEASURED / hosts).clamp(2, 20) {
        let asked: Vec<Terms> = (0..hosts / 10).map(|_| terms(random, Mix::Mixed)).collect();
        // Not a copy, which would share hosts with what it was made from until they change.
        let mut book = market(hosts, random);
        let mut placed = 0usize;
        let begin = on_processor();
        for terms in &asked {
            let cleared = clear(&book, terms, &rules, NOW);
            placed += cleared.placements.len();
            anyhow::ensure!(book.grant(&cleared.placements), "the auction sold what is not there");
        }
        let spent = on_processor().saturating_sub(begin);
        anyhow::ensure!(placed >= asked.len(), "most orders got nothing");
        best = best.min(spent / u32::try_from(placed)?);
    }
    Ok(best)
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
    HostView {
        id,
        provider: Arc::clone(provider),
        attributes: BTreeMap::new(),
        verifies: Default::default(),
        free: capacity(random),
        prices: prices(random),
        interruptible: None,
        fuel_per_s: 0,
        offered_until: Millis::MAX,
    }
}
