//! `muster bench ledger`: what applying signed transactions costs beside checking their signatures.
//!
//! Half of a block is transfers, half heartbeats, each provider's every fourth block. A provider
//! sends one heartbeat for all its leases, so there are two cases: one lease each, and eight, each
//! of another tenant. Both sides use the same threads on the same signatures, in turn, in the same
//! run; the median of the rounds' ratios counts. Applying begins with decoded transactions and
//! ends when the state in memory holds what the block changed: signatures, ids, fees, rules, the
//! block's end, the root of its events. The root of the state and the durable commit of it are
//! measured beside it.
//!
//! What limits it. A signature that is checked in a batch takes some 20 us of a core, so that 0.7
//! leaves 9 us for all else that a transaction costs. That is memory: each record that it touches
//! is found in a map too large for the caches, and what a block holds until its end comes from the
//! allocator: with the C library's all of that would cost two thirds more. A heartbeat for eight
//! leases has one signature but writes eight leases, each of them a record and its place in the
//! index of leases by their last heartbeat: three entries to be found, encoded and written into the
//! state, 10 to 15 us a lease, which no signature pays for. And the end of a block, and writing its
//! changes into the state, are the work of one thread.

mod chain;
mod durable;

use super::Measurement;
use crate::printer::Printer;
use anyhow::Context as _;
use chain::Chain;
use muster_ledger::Tx;
use muster_types::{Encoded, Signing, verify_batch};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Accounts that pay, and providers.
const PEOPLE: usize = 4096;
/// Transactions in a block.
const BLOCK: usize = 2 * PEOPLE / chain::TURNS;
const ROUNDS: usize = 15;
/// Signatures that are checked together when they are checked alone: as many as a block's are.
const BATCH: usize = 128;
const FLOOR: f64 = 0.7;

/// Measures both cases, in memory and on disk.
pub(super) fn measure(printer: &Printer) -> anyhow::Result<Vec<Measurement>> {
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    printer.note(format!(
        "blocks of {BLOCK} transactions, {ROUNDS} rounds, {threads} threads; the median counts"
    ));
    let mut results = Vec::new();
    for (leases, names) in [
        (1, ["apply_over_verify", "apply_with_root_over_verify"]),
        (8, ["apply_8_leases_over_verify", "apply_8_leases_with_root_over_verify"]),
    ] {
        let [in_memory, with_root] = names;
        let mut chain = Chain::new(PEOPLE, leases)?;
        let times = run(&mut chain, threads)?;
        results.push(compared(in_memory, times, Some(FLOOR)));
        let times = durable::run(&mut chain, ROUNDS, threads)?;
        results.push(compared(with_root, times, None));
    }
    Ok(results)
}

/// The blocks in memory: how long each took beside how long its signatures do alone.
fn run(chain: &mut Chain, threads: usize) -> anyhow::Result<Vec<(Duration, Duration)>> {
    let before = chain.paid(&chain.state);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let block = Block::sign(chain)?;
        let alone = block.verify(threads)?;
        let began = Instant::now();
        let outcome = chain.execute(&chain.state, &block.txs, threads)?;
        chain.state.apply(outcome.changes);
        times.push((began.elapsed(), alone));
        chain.advance();
    }
    anyhow::ensure!(chain.paid(&chain.state) > before, "no lease was paid");
    Ok(times)
}

/// The median ratio of the rates, with the medians of both.
fn compared(
    name: &'static str,
    times: Vec<(Duration, Duration)>,
    floor: Option<f64>,
) -> Measurement {
    let rate = |time: Duration| BLOCK as f64 / time.as_secs_f64();
    let rates = times.iter().map(|(applied, alone)| (rate(*applied), rate(*alone)));
    let (applied, alone): (Vec<_>, Vec<_>) = rates.unzip();
    let ratios = applied.iter().zip(&alone).map(|(applied, alone)| applied / alone).collect();
    Measurement::at_least(name, "tx/s", (median(applied), median(alone)), median(ratios), floor)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A block's transactions, and their bytes for those who check signatures only.
struct Block {
    txs: Vec<Tx>,
    encoded: Vec<Encoded>,
}

impl Block {
    fn sign(chain: &mut Chain) -> anyhow::Result<Self> {
        let txs = chain.sign();
        let encoded = txs.iter().map(Tx::encoded).collect();
        Ok(Self { txs, encoded })
    }

    /// How long checking the signatures takes and nothing else.
    fn verify(&self, threads: usize) -> anyhow::Result<Duration> {
        let mut signings: Vec<Signing<'_>> = Vec::with_capacity(self.txs.len());
        for (tx, encoded) in self.txs.iter().zip(&self.encoded) {
            tx.signings(encoded, &mut signings)?;
        }
        let batches: Vec<_> = signings.chunks(BATCH).collect();
        let taken = AtomicUsize::new(0);
        let began = Instant::now();
        let wrong = thread::scope(|scope| {
            let check = || {
                let take = || batches.get(taken.fetch_add(1, Ordering::Relaxed));
                std::iter::from_fn(take).any(|batch| verify_batch(batch).is_err())
            };
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(check)).collect();
            let here = check();
            others.into_iter().fold(here, |wrong, other| other.join().unwrap_or(true) || wrong)
        });
        let took = began.elapsed();
        (!wrong).then_some(took).context("a signature is wrong")
    }
}
