//! Whole jobs: a conductor against the real ledger and real wires, with toy providers.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod node;
mod program;
mod provider;
mod services;

use crate::{
    node::{Node, validator},
    provider::{Fault, Provider, key},
};
use muster_api::receipt::Receipt;
use muster_jobs::{Conductor, Config, JobError, Progress, Report};
use muster_ledger::{Event, escrow::EscrowStatus, market::CloseReason, view};
use muster_market::Request;
use muster_spec::{Chain, Constraints, Input, Kind, Price, Run, TaskLimits, Verify, Workload};
use muster_types::{AccountId, Amount, Asset, Millis, Rate, SecretKey};
use std::{collections::BTreeMap, fs, path::Path, time::Duration};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

const TASKS: u64 = 30;

fn tenant() -> SecretKey {
    SecretKey::from_seed([100; 32])
}

/// A network of these providers, and a directory for the tenant.
struct World {
    node: Node,
    providers: Vec<Provider>,
    dir: TempDir,
}

impl World {
    async fn new(faults: &[Fault]) -> Self {
        let keys: Vec<AccountId> = (1..=20).map(|number| key(number).account()).collect();
        let accounts: Vec<AccountId> = keys.into_iter().chain([tenant().account()]).collect();
        let node = Node::start(&accounts).await;
        let mut providers = Vec::new();
        for (number, fault) in (1..).zip(faults) {
            providers.push(Provider::start(&node, number, *fault).await);
        }
        Self { node, providers, dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn workload(&self, kind: Kind) -> Workload {
        fs::write(self.path().join("code.wasm"), b"a module").unwrap();
        fs::write(self.path().join("model.bin"), b"a model").unwrap();
        Workload {
            name: "test".into(),
            kind,
            wasm: self.path().join("code.wasm"),
            data: BTreeMap::from([("model".into(), self.path().join("model.bin"))]),
            output_dir: self.path().join("out"),
            resources: Request { cpu_milli: 1_000, memory_bytes: 1 << 20, ..Request::default() },
            limits: TaskLimits {
                fuel: 1_000_000,
                memory_bytes: 1 << 20,
                output_bytes: 1 << 10,
                wall: Millis(5_000),
            },
            price: Price { max_rate: Rate::MAX, budget: Amount::from_units(5) },
            run: Run { providers: 2, retries: 2, deadline: Millis::from_secs(600) },
            verify: Verify::Replicate { sample_bps: 5_000 },
            constraints: Constraints::default(),
        }
    }

    fn batch(&self) -> Workload {
        self.workload(Kind::Batch(Input::Range { count: TASKS }))
    }

    fn chain(&self) -> Workload {
        let chain = Chain { steps: TASKS, initial: None, checkpoint_every: 7 };
        let mut workload = self.workload(Kind::Chain(chain));
        workload.verify = Verify::Replicate { sample_bps: 10_000 };
        workload
    }

    fn config(&self) -> Config {
        Config {
            dir: self.path().join("job"),
            key: tenant(),
            node: self.node.url.clone(),
            bind: "127.0.0.1:0".parse().unwrap(),
            progress: None,
            cancel: CancellationToken::new(),
        }
    }

    async fn open(&self) -> (Conductor, UnboundedReceiver<Progress>, CancellationToken) {
        let (progress, received) = unbounded_channel();
        let config = Config { progress: Some(progress), ..self.config() };
        let cancel = config.cancel.clone();
        (Conductor::open(config).await.unwrap(), received, cancel)
    }

    /// Opens the directory as soon as the tasks of the conductor before have let go of it.
    async fn reopen(&self) -> Conductor {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        loop {
            ticks.tick().await;
            match Conductor::open(self.config()).await {
                Err(JobError::Locked { .. }) => {}
                opened => return opened.unwrap(),
            }
        }
    }

    async fn run(&self, workload: &Workload) -> Result<Report, JobError> {
        self.open().await.0.run(workload).await
    }

    fn usd(&self) -> Amount {
        let account = self.node.read(|state| view::account(state, &tenant().account()));
        account.unwrap().balance(Asset::Usd)
    }

    /// Everything is settled: every escrow is closed and adds up, no lease is open, and the
    /// results and the receipt are what they must be.
    fn check_settled(&self) {
        let tenant = tenant().account();
        self.node.read(|state| {
            for (_, escrow) in view::escrows_of_owner(state, &tenant) {
                assert_eq!(escrow.status, EscrowStatus::Closed);
                let out = escrow.paid.checked_add(escrow.refunded).unwrap();
                let out = out.checked_add(escrow.fees).unwrap();
                assert_eq!(escrow.deposited, out);
            }
            for (_, lease) in view::leases_of_tenant(state, &tenant) {
                assert!(lease.status.is_settled(), "{lease:?}");
            }
            muster_ledger::invariant::check(state).unwrap();
        });
    }

    fn check_receipt(&self, report: &Report) -> Receipt {
        let receipt: Receipt = serde_json::from_slice(&fs::read(&report.receipt).unwrap()).unwrap();
        assert_eq!(receipt.results.len() as u64, report.tasks);
        assert_eq!(receipt.manifest.commitment(), receipt.job.record.spec.manifest);
        let events: Vec<&Event> = receipt
            .blocks
            .iter()
            .flat_map(|block| &block.events)
            .map(|proved| &proved.event)
            .collect();
        let has = |found: fn(&Event) -> bool| events.iter().any(|event| found(event));
        assert!(has(|event| matches!(event, Event::JobOpened { .. })));
        assert!(has(|event| matches!(event, Event::EscrowClosed { .. })));
        let granted = events.iter().filter(|event| matches!(event, Event::LeaseGranted { .. }));
        assert_eq!(granted.count(), report.leases.len());
        for claim in &receipt.results {
            let lease = receipt.leases.iter().find(|lease| lease.id == claim.lease).unwrap();
            let provider = lease.record.host.provider;
            assert!(claim.is_signed_by(&receipt.chain, &provider));
        }
        receipt
    }
}

fn batch_outputs() -> Vec<u8> {
    (0..TASKS).flat_map(|index| program::run(index, index.to_string().as_bytes()).0).collect()
}

fn chain_output() -> Vec<u8> {
    (0..TASKS).fold(Vec::new(), |state, index| program::run(index, &state).0)
}

fn all(error: &JobError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
}

fn unwrap(result: Result<Report, JobError>) -> Report {
    result.unwrap_or_else(|error| panic!("{}", all(&error)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_runs_on_the_cheapest_and_its_receipt_proves_it() {
    let world = World::new(&[Fault::None; 3]).await;
    let (conductor, mut progress, _) = world.open().await;
    let report = unwrap(conductor.run(&world.batch()).await);
    assert_eq!((report.tasks, report.completed), (TASKS, TASKS));
    assert_eq!((report.mismatches, report.failed_over, report.retried), (0, 0, 0));
    assert!(report.verified > 0);
    assert_eq!(report.order_to_lease_ms.len(), 2);
    let mut leased: Vec<AccountId> = report.leases.iter().map(|lease| lease.provider).collect();
    leased.sort_unstable();
    let mut cheapest = vec![key(1).account(), key(2).account()];
    cheapest.sort_unstable();
    assert_eq!(leased, cheapest);
    assert_eq!(fs::read(&report.result).unwrap(), batch_outputs());
    let first = fs::read(report.output.join("tasks/000000")).unwrap();
    assert_eq!(first, program::run(0, b"0").0);
    world.check_settled();
    let receipt = world.check_receipt(&report);
    for lease in &receipt.leases {
        assert!(lease.record.commitment.is_some());
    }
    let mut told = Vec::new();
    while let Ok(item) = progress.try_recv() {
        told.push(item);
    }
    assert!(matches!(told.first(), Some(Progress::Quoted { .. })));
    assert!(matches!(told.last(), Some(Progress::Receipt { .. })));
    let done = told.iter().filter(|item| matches!(item, Progress::TaskDone { .. })).count();
    assert_eq!(done as u64, TASKS);
    assert!(!world.path().join("job/objects").exists(), "what is not needed any more is cleared");
    let again = unwrap(world.open().await.0.resume().await);
    assert_eq!(again, report);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_survives_a_liar_and_a_death_and_they_pay_for_it() {
    let faults = [Fault::Lies(3), Fault::Dies(3), Fault::None, Fault::None];
    let world = World::new(&faults).await;
    let mut workload = world.batch();
    workload.verify = Verify::Replicate { sample_bps: 10_000 };
    workload.run.providers = 3;
    let report = unwrap(world.run(&workload).await);
    assert_eq!(report.completed, TASKS);
    assert_eq!(report.verified, TASKS);
    assert!(report.mismatches > 0 && report.failed_over > 0, "{report:?}");
    assert_eq!(fs::read(&report.result).unwrap(), batch_outputs());
    world.check_settled();
    world.check_receipt(&report);
    let reason = |number: usize| {
        let provider = world.providers[number].account;
        let mut leases = report.leases.iter().filter(|lease| lease.provider == provider);
        leases.next().and_then(|lease| lease.reason)
    };
    assert_eq!(reason(0), Some(CloseReason::ProviderFraud));
    assert_eq!(reason(1), Some(CloseReason::ProviderStalled));
    for (provider, guilty) in world.providers.iter().zip([true, true, false, false]) {
        let bond = world.node.read(|state| view::bond(state, &provider.account));
        assert_eq!(!bond.slashed.is_zero(), guilty, "{}", provider.account);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_goes_on_after_its_provider_died() {
    let world = World::new(&[Fault::Dies(3), Fault::None, Fault::None]).await;
    let report = unwrap(world.run(&world.chain()).await);
    assert_eq!((report.completed, report.verified), (TASKS, TASKS));
    assert!(report.failed_over > 0);
    assert_eq!(fs::read(&report.result).unwrap(), chain_output());
    world.check_settled();
    world.check_receipt(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_whose_provider_lies_is_run_by_others() {
    let world = World::new(&[Fault::Lies(11), Fault::None, Fault::None]).await;
    let report = unwrap(world.run(&world.chain()).await);
    assert_eq!((report.completed, report.verified), (TASKS, TASKS));
    assert!(report.mismatches > 0);
    assert_eq!(fs::read(&report.result).unwrap(), chain_output());
    world.check_settled();
    world.check_receipt(&report);
}

/// Runs until `enough` says so, then drops everything as a crash would; then goes on.
async fn crash_and_resume(
    world: &World,
    workload: &Workload,
    enough: fn(&Progress) -> bool,
) -> Report {
    let (conductor, mut progress, _) = world.open().await;
    let seen = async {
        while let Some(item) = progress.recv().await {
            if enough(&item) {
                return;
            }
        }
    };
    tokio::select! {
        done = conductor.run(workload) => panic!("it ended before the crash: {done:?}"),
        () = seen => {}
    }
    unwrap(world.reopen().await.resume().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_conductor_goes_on_without_opening_anything_twice() {
    type Moment = fn(&Progress) -> bool;
    let moments: [Moment; 7] = [
        |item| matches!(item, Progress::Escrowed { .. }),
        |item| matches!(item, Progress::Opened { .. }),
        |item| matches!(item, Progress::Ordered { .. }),
        |item| matches!(item, Progress::Leased { .. }),
        |item| matches!(item, Progress::Prepared { .. }),
        |item| matches!(item, Progress::TaskDone { done, .. } if *done >= 5),
        |item| matches!(item, Progress::Closing),
    ];
    for moment in moments {
        let world = World::new(&[Fault::None; 3]).await;
        let mut workload = world.batch();
        workload.verify = Verify::None;
        let report = crash_and_resume(&world, &workload, moment).await;
        assert_eq!(report.completed, TASKS);
        assert_eq!(fs::read(&report.result).unwrap(), batch_outputs());
        world.check_settled();
        world.check_receipt(&report);
        let tenant = tenant().account();
        world.node.read(|state| {
            assert_eq!(view::escrows_of_owner(state, &tenant).len(), 1);
            assert_eq!(view::jobs_of_tenant(state, &tenant).len(), 1);
            assert_eq!(view::orders_of_tenant(state, &tenant).len(), 1);
            assert_eq!(view::leases_of_tenant(state, &tenant).len(), 2);
        });
        let mut ran: BTreeMap<u64, u32> = BTreeMap::new();
        for provider in &world.providers {
            for (index, times) in provider.ran() {
                *ran.entry(index).or_insert(0) += times;
            }
        }
        let again = ran.values().filter(|times| **times > 1).count();
        // Two leases with two requests of at most four tasks each may have been in flight.
        assert!(again <= 16, "{again} tasks were repeated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_was_killed_goes_on_from_its_checkpoint() {
    let world = World::new(&[Fault::None; 3]).await;
    let moment = |item: &Progress| matches!(item, Progress::Checkpoint { step, .. } if *step >= 14);
    let report = crash_and_resume(&world, &world.chain(), moment).await;
    assert_eq!(fs::read(&report.result).unwrap(), chain_output());
    world.check_settled();
    let worked = world.providers.iter().map(Provider::ran);
    let first: u32 = worked.filter_map(|ran| ran.get(&0).copied()).sum();
    assert_eq!(first, 2, "step 0 was run once and checked once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_away_for_a_while_ends_no_job() {
    let world = World::new(&[Fault::None; 3]).await;
    let (conductor, mut progress, _) = world.open().await;
    let node = world.node.clone();
    let outage = async {
        while let Some(item) = progress.recv().await {
            if matches!(item, Progress::TaskDone { done: 8.., .. }) {
                node.turn_away(12).await;
                break;
            }
        }
        while progress.recv().await.is_some() {}
    };
    let workload = world.batch();
    let (result, ()) = tokio::join!(conductor.run(&workload), outage);
    let report = unwrap(result);
    assert_eq!(report.completed, TASKS);
    world.check_settled();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_be_done_says_why_and_gets_its_money_back() {
    let world = World::new(&[Fault::Traps(4), Fault::Traps(4), Fault::None]).await;
    let before = world.usd();
    let error = world.run(&world.batch()).await.unwrap_err();
    match &error {
        JobError::Task { index: 4, message, stderr } => {
            assert_eq!((message.as_str(), stderr.as_str()), ("it traps", "out of luck\n"));
        }
        other => panic!("{}", all(other)),
    }
    world.check_settled();
    let spent = before.checked_sub(world.usd()).unwrap();
    assert!(spent < Amount::from_units(1), "{spent} of 5 usd spent");
    assert!(world.path().join("out/receipt.json").exists());
    assert!(!world.path().join("out/output.bin").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_is_settled() {
    let world = World::new(&[Fault::None; 2]).await;
    let (conductor, mut progress, cancel) = world.open().await;
    let watch = async {
        while let Some(item) = progress.recv().await {
            if matches!(item, Progress::Leased { .. }) {
                cancel.cancel();
            }
        }
    };
    let workload = world.batch();
    let (result, ()) = tokio::join!(conductor.run(&workload), watch);
    assert!(matches!(result, Err(JobError::Cancelled { .. })));
    world.check_settled();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_spends_nothing() {
    let world = World::new(&[Fault::None; 2]).await;
    let before = world.usd();
    let mut workload = world.batch();
    workload.price.max_rate = Rate::ZERO;
    let error = world.run(&workload).await.unwrap_err();
    assert!(matches!(&error, JobError::NoMatch { .. }), "{}", all(&error));
    assert!(error.to_string().contains("`max_rate`"), "{error}");
    assert_eq!(world.usd(), before);
    let mut workload = world.batch();
    workload.price.budget = Amount::from_units(5_000);
    let error = world.run(&workload).await.unwrap_err();
    assert!(matches!(&error, JobError::Refused { .. }), "{}", all(&error));
    assert!(all(&error).contains("add funds"), "{}", all(&error));
    world.check_settled();
    assert_eq!(world.usd(), before);
    let nobody = world.open().await.0;
    assert!(matches!(nobody.run(&world.batch()).await, Err(JobError::Occupied { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_belongs_to_one_conductor_and_one_key() {
    let world = World::new(&[Fault::None; 2]).await;
    let (first, _, _) = world.open().await;
    let config = world.config();
    assert!(matches!(Conductor::open(config.clone()).await, Err(JobError::Locked { .. })));
    assert!(matches!(first.resume().await, Err(JobError::Nothing { .. })));
    unwrap(world.run(&world.batch()).await);
    let other = Config { key: validator(), ..config };
    let other = Conductor::open(other).await.unwrap();
    assert!(matches!(other.resume().await, Err(JobError::Foreign { what: "account", .. })));
}
