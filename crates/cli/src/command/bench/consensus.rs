//! `muster bench consensus`: validators on this machine.
//!
//! | figure | of |
//! |---|---|
//! | `finality_1_ms` | one process of `muster node run`, without peers |
//! | `idle_rss_mib`, `idle_cpu_pct` | four such processes on loopback: the one that takes most |
//! | `finality_4_ms` | the same four, with a transfer in every block |
//! | `catch_up_blocks_s` | a fifth one without a vote that was away meanwhile |
//! | `finality_4_wan_over_delay` | four again, through [`relay`]s that hold back what they pass on |
//! | `tps_4` | four nodes in this process, connected over loopback ([`flood`]) |
//!
//! Finality is the time from when a proposer has built a block, to send it, until a validator has
//! executed it as final: of every block on every validator ([`timing`]).

mod flood;
mod relay;
mod timing;
mod validators;

use super::Measurement;
use crate::{command::interrupted, network, printer::Printer};
use anyhow::Context as _;
use muster_api::{Client, Wallet};
use muster_ledger::{
    Action, Genesis, Params,
    genesis::{Balance, EPOCH_BLOCKS, PROTOCOL},
};
use muster_types::{AccountId, Amount, Asset, SecretKey};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use timing::Finality;
use validators::{Process, Validators};

const MANY: usize = 4;
/// The simulated one-way delay.
const DELAY: Duration = Duration::from_millis(50);
/// The most one-way delays that half of the blocks may take.
const DELAYS_MAX: f64 = 3.5;
const RSS_MAX_MIB: f64 = 200.0;
const CPU_MAX_PCT: f64 = 2.0;
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// How much is measured.
struct Extent {
    /// Transfers, one after the other, to measure finality with.
    transfers: u64,
    /// The same, where each takes several delays.
    far_transfers: u64,
    /// Blocks that a node that was away is behind by at least.
    behind: u64,
    /// How long validators are watched doing nothing.
    idle: Duration,
    /// How long transactions flood in, after a fifth of that has passed.
    flood: Duration,
}

const FULL: Extent = Extent {
    transfers: 300,
    far_transfers: 60,
    behind: 1_000,
    idle: Duration::from_secs(15),
    flood: Duration::from_secs(15),
};
const QUICK: Extent = Extent {
    transfers: 10,
    far_transfers: 5,
    behind: 40,
    idle: Duration::from_secs(2),
    flood: Duration::from_secs(2),
};

/// Measures all of it.
pub(super) async fn measure(printer: &Printer, quick: bool) -> anyhow::Result<Vec<Measurement>> {
    let extent = if quick { QUICK } else { FULL };
    tokio::select! {
        measured = all(printer, &extent) => measured,
        stopped = interrupted() => stopped.and_then(|()| anyhow::bail!("interrupted")),
    }
}

async fn all(printer: &Printer, extent: &Extent) -> anyhow::Result<Vec<Measurement>> {
    let mut results = Vec::new();
    let one = alone(printer, extent).await?;
    results.push(finality("finality_1_ms", &one, ONE));
    near(printer, extent, &mut results).await?;
    results.push(far(printer, extent).await?);
    let rate = flood::measure(printer, extent.flood).await?;
    results.push(noted(Measurement::fact("tps_4", "tx/s", rate), FLOOD));
    Ok(results)
}

const ONE: &str = "one process of `muster node run`; from a block built until it is executed as \
                   final (median; p99 beside it)";
const FOUR: &str = "four processes on loopback, a transfer in each block; on every validator";
const WAN: &str = "four processes; every message between them is held back for 50 ms by a relay on \
                   loopback: the delay is simulated, and so is neither loss nor bandwidth";
const FLOOD: &str = "transactions of 1 KiB, four validators in this one process over loopback, and \
                     who signs and sends them beside; final on the validator that was given them. \
                     CometBFT's published saturation, about 430 tx/s of 1 KiB, is of 200 far larger \
                     machines on several continents: another setting, not a comparison";
const IDLE: &str = "of four idle processes the one that takes most";
const CATCH_UP: &str = "a node without a vote that was away, from the start of its process until \
                        it has executed the block that was the latest then";

fn noted(measurement: Measurement, note: &'static str) -> Measurement {
    Measurement { note: Some(note), ..measurement }
}

fn finality(name: &'static str, found: &Finality, note: &'static str) -> Measurement {
    let value = Measurement::fact(name, "ms", found.percentile(50));
    Measurement { p99: Some(found.percentile(99)), ..noted(value, note) }
}

/// One validator without peers.
async fn alone(printer: &Printer, extent: &Extent) -> anyhow::Result<Finality> {
    printer.note("one validator");
    let validators = Validators::new(1, 0, None).await?;
    let process = validators.start(0).await?;
    let client = process.client()?;
    transfer(printer, "finality", &client, validators.key(0), extent.transfers).await?;
    process.stop().await?;
    timing::read(&[validators.log(0)], 0)
}

/// Four validators on loopback, and a node that follows, which is away while they are measured.
async fn near(
    printer: &Printer,
    extent: &Extent,
    results: &mut Vec<Measurement>,
) -> anyhow::Result<()> {
    printer.note("four validators on loopback");
    let validators = Validators::new(MANY, 1, None).await?;
    let processes = validators.start_all(MANY).await?;
    let follower = validators.start(MANY).await?;
    let met = reach(&follower.client()?, 3).await?;
    follower.stop().await?;

    let first = processes.first().context("there are four")?.client()?;
    // What starting took is over when every validator has led a few blocks.
    let settled = reach(&first, met + 3 * MANY as u64).await?;
    printer.note(format!("watching them idle for {} s", extent.idle.as_secs()));
    let (memory, processor) = watch_idle(&processes, extent.idle).await?;
    let memory = Measurement::within("idle_rss_mib", "MiB", memory, RSS_MAX_MIB);
    let processor = Measurement::within("idle_cpu_pct", "%", processor, CPU_MAX_PCT);

    let begin = first.status().await?.height;
    transfer(printer, "finality", &first, validators.key(0), extent.transfers).await?;
    let end = first.status().await?.height;
    hurry(printer, &validators, &processes, settled + extent.behind).await?;
    let (blocks, taken) = catch_up(&validators, &first, met).await?;
    for process in processes {
        process.stop().await?;
    }
    let logs: Vec<_> = (0..MANY).map(|index| validators.log(index)).collect();
    let found = timing::between(&logs, begin, end)?;
    results.push(finality("finality_4_ms", &found, FOUR));
    let rate = blocks as f64 / taken.as_secs_f64();
    printer.note(format!("{blocks} blocks in {:.1} s", taken.as_secs_f64()));
    let rate = Measurement::fact("catch_up_blocks_s", "blocks/s", rate);
    results.extend([noted(memory, IDLE), noted(processor, IDLE), noted(rate, CATCH_UP)]);
    Ok(())
}

/// Four validators, each behind a relay.
async fn far(printer: &Printer, extent: &Extent) -> anyhow::Result<Measurement> {
    printer.note(format!("four validators, {} ms from each other", DELAY.as_millis()));
    let validators = Validators::new(MANY, 0, Some(DELAY)).await?;
    let processes = validators.start_all(MANY).await?;
    let first = processes.first().context("there are four")?.client()?;
    let begin = reach(&first, 2 * MANY as u64).await?;
    transfer(printer, "finality", &first, validators.key(0), extent.far_transfers).await?;
    for process in processes {
        process.stop().await?;
    }
    let logs: Vec<_> = (0..MANY).map(|index| validators.log(index)).collect();
    let found = timing::read(&logs, begin)?;
    let delays = |percent| found.percentile(percent) / (DELAY.as_secs_f64() * 1e3);
    let measured =
        Measurement::within("finality_4_wan_over_delay", "delays", delays(50), DELAYS_MAX);
    Ok(Measurement { p99: Some(delays(99)), ..noted(measured, WAN) })
}

/// Waits until a node is at `height`; gives where it is.
async fn reach(client: &Client, height: u64) -> anyhow::Result<u64> {
    let begin = Instant::now();
    loop {
        if let Ok(status) = client.status().await
            && status.height >= height
        {
            return Ok(status.height);
        }
        anyhow::ensure!(begin.elapsed() < PATIENCE, "{} is not at block {height}", client.url());
        tokio::time::sleep(POLL).await;
    }
}

/// Sends transfers, each when the one before is final.
async fn transfer(
    printer: &Printer,
    label: &str,
    client: &Client,
    key: &SecretKey,
    count: u64,
) -> anyhow::Result<()> {
    let wallet = Wallet::new(client.clone(), key.clone()).await?;
    let bar = printer.bar(label, count);
    for _ in 0..count {
        wallet.act(pay()).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

fn pay() -> Action {
    let to = SecretKey::from_seed([1; 32]).account();
    Action::Transfer { to, asset: Asset::Usd, amount: Amount::from_nanos(1) }
}

/// The memory (MiB) and processor time (% of a core) of the process that takes most.
async fn watch_idle(processes: &[Process], time: Duration) -> anyhow::Result<(f64, f64)> {
    let used = || processes.iter().map(Process::processor_time).collect::<Result<Vec<_>, _>>();
    let (before, begin) = (used()?, Instant::now());
    tokio::time::sleep(time).await;
    let (after, taken) = (used()?, begin.elapsed());
    let mut most = (0.0f64, 0.0f64);
    for ((process, before), after) in processes.iter().zip(before).zip(after) {
        let share = after.saturating_sub(before).as_secs_f64() / taken.as_secs_f64();
        most = (most.0.max(process.resident_mib()?), most.1.max(share * 100.0));
    }
    Ok(most)
}

/// Lets every validator's own transfers hurry the chain until it is at `height`.
async fn hurry(
    printer: &Printer,
    validators: &Validators,
    processes: &[Process],
    height: u64,
) -> anyhow::Result<()> {
    let first = processes.first().context("there are four")?.client()?;
    let begin = first.status().await?.height;
    let bar = printer.bar("blocks", height.saturating_sub(begin));
    let mut sent = Vec::new();
    for (index, process) in processes.iter().enumerate() {
        let wallet = Wallet::new(process.client()?, validators.key(index).clone()).await?;
        sent.push(async move {
            loop {
                wallet.act(pay()).await?;
            }
        });
    }
    let grown = async {
        loop {
            let now = first.status().await?.height;
            bar.set_position(now.saturating_sub(begin));
            if now >= height {
                return anyhow::Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let failed = futures::future::try_join_all(sent);
    let result: anyhow::Result<()> = tokio::select! {
        grown = grown => grown,
        failed = failed => failed.map(|_: Vec<()>| ()),
    };
    bar.finish_and_clear();
    result
}

/// Starts the node that was away since block `met`: how many blocks it took over in what time.
async fn catch_up(
    validators: &Validators,
    first: &Client,
    met: u64,
) -> anyhow::Result<(u64, Duration)> {
    let target = first.status().await?.height;
    let begin = Instant::now();
    let follower = validators.start(MANY).await?;
    reach(&follower.client()?, target).await?;
    let taken = begin.elapsed();
    follower.stop().await?;
    Ok((target - met, taken))
}

/// The genesis of a chain to measure: these accounts have money for fees.
fn genesis(
    mut validators: Vec<AccountId>,
    funded: impl Iterator<Item = AccountId>,
    stakes: BTreeMap<AccountId, Amount>,
) -> anyhow::Result<Genesis> {
    validators.sort_unstable();
    let balance = Balance { usd: Amount::from_units(1_000), mst: Amount::ZERO };
    let genesis = Genesis {
        name: "muster-bench".to_owned(),
        time: network::now()?,
        protocol: PROTOCOL,
        epoch_blocks: EPOCH_BLOCKS,
        validators,
        balances: funded.map(|account| (account, balance)).collect(),
        stakes,
        params: Params::default(),
    };
    genesis.check()?;
    Ok(genesis)
}
