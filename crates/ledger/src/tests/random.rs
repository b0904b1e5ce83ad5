//! Random blocks of all actions: after each, every invariant holds and the indexes are what
//! rebuilding them gives. Fixed seeds.

use super::world::{PEOPLE, START, World, hash, id, nanos, result, task, usd};
use crate::{
    dispute::Claim,
    job::{JobKind, JobSpec, Verification},
    *,
};
use muster_market::{Request, Spread, Terms};
use muster_types::*;
use std::collections::BTreeMap;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        let index = self.below(all.len() as u64);
        all.get(usize::try_from(index).unwrap()).cloned()
    }

    /// Most of them small, some of them beyond all bounds.
    fn amount(&mut self) -> Amount {
        match self.below(20) {
            0 => Amount::ZERO,
            1 => Amount::MAX,
            2..=9 => nanos(u128::from(self.below(2_000_000))),
            _ => nanos(u128::from(self.below(20_000_000_000))),
        }
    }
}

const PROVIDERS: [&str; 3] = ["pat", "quin", "rob"];
/// Records that left the state, by their tables from 3 on.
const LEFT: [&str; 5] = ["order left", "lease left", "escrow left", "job left", "dispute left"];
const TENANTS: [&str; 3] = ["ann", "bob", "pat"];

/// What exists, to act on.
struct Things {
    escrows: Vec<EscrowId>,
    jobs: Vec<JobId>,
    orders: Vec<OrderId>,
    leases: Vec<LeaseId>,
    disputes: Vec<DisputeId>,
}

impl Things {
    fn of(w: &World) -> Self {
        // Ids do not sort by age, so what is open is taken first.
        let state = &w.state;
        let mut leases: Vec<_> = keys::LEASES.scan(state, &(), None).collect();
        leases.retain(|(_, lease)| !lease.status.is_settled());
        let mut escrows: Vec<_> = keys::ESCROWS.scan(state, &(), None).collect();
        escrows.retain(|(_, escrow)| escrow.status != escrow::EscrowStatus::Closed);
        let mut jobs: Vec<_> = keys::JOBS.scan(state, &(), None).collect();
        jobs.retain(|(_, job)| !job.closed);
        Self {
            escrows: escrows.into_iter().map(|(id, _)| id).collect(),
            jobs: jobs.into_iter().map(|(id, _)| id).collect(),
            orders: view::waiting_orders(state).into_iter().map(|(id, _)| id).collect(),
            leases: leases.into_iter().map(|(id, _)| id).collect(),
            disputes: view::open_disputes(state).into_iter().map(|(id, _)| id).collect(),
        }
    }
}

fn terms(random: &mut Random) -> Terms {
    Terms {
        request: Request {
            cpu_milli: random.below(3_000),
            memory_bytes: random.below(4 << 30),
            ..Request::default()
        },
        count: u32::try_from(random.below(5)).unwrap(),
        gang: random.chance(30),
        spread: Spread {
            per_provider: u32::try_from(random.below(3)).unwrap(),
            per_host: u32::try_from(random.below(3)).unwrap(),
            per_region: 0,
        },
        max_rate: Rate::per_hour(usd(random.below(60))),
        ..Terms::default()
    }
}

fn by_tenant(w: &World, random: &mut Random, things: &Things) -> Option<(&'static str, Action)> {
    let who = random.pick(&TENANTS)?;
    let escrow = random.pick(&things.escrows);
    let owner = |account: AccountId| PEOPLE.into_iter().find(|who| id(who) == account);
    Some(match random.below(11) {
        0 => (who, Action::EscrowOpen { deposit: random.amount() }),
        1 => (who, Action::EscrowDeposit { escrow: escrow?, amount: random.amount() }),
        2 => (owner(w.escrow(&escrow?).owner)?, Action::EscrowClose { escrow: escrow? }),
        3 => {
            let escrow = escrow?;
            let verification = match random.below(3) {
                0 => Verification::None,
                _ => Verification::Replicate { sample_bps: 1_000 },
            };
            let (kind, manifest) = (JobKind::Batch, hash(1));
            let spec = JobSpec { kind, escrow, tasks: 10, verification, manifest, fuel_max: 1_000 };
            (owner(w.escrow(&escrow).owner)?, Action::JobOpen { spec })
        }
        4 => {
            let job = random.pick(&things.jobs)?;
            (owner(w.job(&job).tenant)?, Action::JobClose { job })
        }
        5..=7 => {
            let job = random.pick(&things.jobs).filter(|_| random.chance(80));
            let escrow = job.map(|job| w.job(&job).spec.escrow).or(escrow)?;
            let deadline = w.head().now.after(Millis(random.below(20_000)));
            let terms = terms(random);
            let order = Action::OrderPlace { escrow, job, terms, deadline, manifest: hash(2) };
            (owner(view::escrow(&w.state, &escrow)?.owner)?, order)
        }
        8 => {
            let order = random.pick(&things.orders)?;
            (owner(w.order(&order).tenant)?, Action::OrderCancel { order })
        }
        9 => {
            let lease = random.pick(&things.leases)?;
            (owner(w.lease(&lease).tenant)?, Action::LeaseClose { lease })
        }
        _ => {
            let lease = random.pick(&things.leases)?;
            (owner(w.lease(&lease).tenant)?, Action::ResultAccept { lease })
        }
    })
}

fn by_provider(w: &World, random: &mut Random, things: &Things) -> Option<(&'static str, Action)> {
    let who = random.pick(&PROVIDERS)?;
    let lease = random.pick(&things.leases);
    let of =
        |lease: &LeaseId| PROVIDERS.into_iter().find(|who| id(who) == w.lease(lease).provider());
    let index = u32::try_from(random.below(3)).unwrap();
    Some(match random.below(12) {
        0 => (who, Action::ProviderSet { profile: Default::default() }),
        1 => (who, Action::BondAdd { amount: random.amount() }),
        2 if random.chance(10) => (who, Action::ProviderDrain {}),
        3 => (who, Action::BondWithdraw {}),
        4 => {
            let mut spec = w.spec(random.pick(&["1", "2", "3.5"])?);
            spec.capacity.cpu_milli = random.below(9_000);
            spec.offered_until = w.head().now.after(Millis(60_000 + random.below(20_000)));
            (who, Action::HostSet { index, spec })
        }
        5 => (who, Action::HostRemove { index }),
        6 | 7 => (of(&lease?)?, Action::LeaseReady { lease: lease? }),
        8 if random.chance(10) => (of(&lease?)?, Action::LeaseClose { lease: lease? }),
        9 => {
            let root = hash(u8::try_from(random.below(256)).unwrap());
            (of(&lease?)?, Action::ResultCommit { lease: lease?, root, count: 10 })
        }
        _ => {
            let leases = things.leases.iter().filter(|lease| of(lease) == Some(who)).copied();
            (who, Action::Heartbeat { leases: leases.collect() })
        }
    })
}

fn by_anybody(w: &World, random: &mut Random, things: &Things) -> Option<(&'static str, Action)> {
    let who = random.pick(&PEOPLE)?;
    let to = id(random.pick(&PEOPLE)?);
    let asset = random.pick(&Asset::ALL)?;
    Some(match random.below(4) {
        0 => (who, Action::Transfer { to, asset, amount: random.amount() }),
        1 | 2 => {
            let leases = [random.pick(&things.leases)?, random.pick(&things.leases)?];
            let job = w.lease(&leases[0]).job?;
            let tenant = w.job(&job).tenant;
            let index = random.below(11);
            let mut output = 0;
            let claims = leases.map(|lease| {
                output += u8::try_from(random.below(3)).unwrap();
                let provider = w.lease(&lease).provider();
                let signer = PEOPLE.into_iter().find(|who| id(who) == provider).unwrap();
                let key = super::world::key(signer);
                Claim::sign(&w.chain, lease, task(job, index), result(output), &key)
            });
            let who = PEOPLE.into_iter().find(|who| id(who) == tenant)?;
            (who, Action::DisputeOpen { job, claims: Box::new(claims), evidence: "x".into() })
        }
        _ => {
            let dispute = random.pick(&things.disputes)?;
            let output = u8::try_from(random.below(4)).unwrap();
            let output = (output < 3).then(|| result(output));
            let who = random.pick(&["val", "eve", "bob"])?;
            (who, Action::DisputeVote { dispute, output })
        }
    })
}

fn run(seed: u64, blocks: u64, kinds: &mut BTreeMap<&'static str, u64>) {
    let mut random = Random(seed);
    let mut w = World::with(&["val", "eve", "bob"], |params| {
        let defaults = Params::default();
        params.fee_per_byte = defaults.fee_per_byte;
        params.fee_per_unit = defaults.fee_per_unit;
        params.unbonding_ms = Millis(80_000);
        params.retry_max = 3;
        params.dispute_timeout_ms = Millis(10_000);
        params.retention_ms = Millis(25_000);
    });
    for (who, price) in PROVIDERS.into_iter().zip(["1", "2", "3.5"]) {
        w.provider(who, price);
    }
    for _ in 0..blocks {
        if random.chance(60) {
            w.beat(random.below(700) + 1);
        }
        let things = Things::of(&w);
        let mut acts = Vec::new();
        for _ in 0..random.below(8) {
            let act = match random.below(10) {
                0..=3 => by_tenant(&w, &mut random, &things),
                4..=8 => by_provider(&w, &mut random, &things),
                _ => by_anybody(&w, &mut random, &things),
            };
            acts.extend(act);
        }
        let step = if random.chance(3) { random.below(30_000) + 1 } else { random.below(900) + 1 };
        let done = w.block(step, acts);
        for event in &done.events {
            crate::event::tests::assert_all_named(event);
            let text = format!("{event:?}");
            let kind = text.split([' ', '{', '(']).next().unwrap_or_default().to_owned();
            *kinds.entry(Box::leak(kind.into_boxed_str())).or_default() += 1;
        }
        if w.head().height.is_multiple_of(16) {
            let mut rebuilt = w.state.clone();
            rebuilt.apply(rebuild_derived(&w.state));
            assert_eq!(rebuilt, w.state, "the indexes are not what rebuilding gives");
        }
    }
    assert!(w.head().now.0 > START + blocks);
    for table in [3, 4, 5, 6, 7] {
        let left = w.archive.0.keys().filter(|key| key.starts_with(&[1, table])).count();
        *kinds.entry(LEFT[usize::from(table) - 3]).or_default() += u64::try_from(left).unwrap();
    }
}

#[test]
fn invariants_hold_after_every_block_of_random_actions() {
    let mut kinds = BTreeMap::new();
    for seed in 0..16 {
        run(seed, 250, &mut kinds);
    }
    for kind in [
        "Transferred",
        "ProviderChanged",
        "HostOffered",
        "HostRemoved",
        "EscrowDeposited",
        "EscrowOverdrawn",
        "EscrowClosed",
        "JobOpened",
        "JobClosed",
        "OrderPlaced",
        "OrderEnded",
        "LeaseGranted",
        "LeaseStarted",
        "LeaseStalled",
        "LeaseResumed",
        "LeaseClosed",
        "LeaseSettled",
        "ResultCommitted",
        "DisputeOpened",
        "DisputeVoted",
        "DisputeClosed",
        "Slashed",
    ]
    .into_iter()
    .chain(LEFT)
    {
        assert!(kinds.contains_key(kind), "{kind} never happened: {kinds:?}");
    }
}
