//! A simulation from its first moment to its last.

mod network;
mod seat;
mod users;

use crate::{
    chronicle::{Accepted, Chronicle, Violation, state_digest},
    disk::Unsynced,
    life::Life,
    plan::{Bug, Deed, Fault, Jail, Plan, Property},
};
use commonware_runtime::{Clock as _, Runner as _, deterministic};
use futures::{
    FutureExt as _,
    future::{join_all, select},
};
use muster_ledger::{
    Genesis, Params, State,
    genesis::{Balance, PROTOCOL},
    view,
};
use muster_node::{
    consensus::Consensus,
    planted::{self, Faults, Mischief},
};
use muster_types::{AccountId, Amount, Hash, Millis, SecretKey};
use network::Net;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};
use seat::Seat;
use serde::Serialize;
use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use users::Users;

/// When simulations begin, in milliseconds since the Unix epoch.
const START: Millis = Millis(1_800_000_000_000);
/// What each validator stakes: enough for one vote.
const STAKE: Amount = Amount::from_units(1_500);
/// How many blocks correct validators must make after healing.
const PROGRESS: u64 = 4;
/// How many rounds of the beacon they must make.
const ROUNDS: u64 = 2;
/// Within how many blocks, for each validator, a transaction of anybody is in one.
const TURNS: u64 = 4;
/// How often conditions are looked at.
const LOOK: Duration = Duration::from_millis(25);

/// What a simulation came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The plan's seed.
    pub seed: u64,
    /// What did not hold, in the order in which it was found.
    pub violations: Vec<Violation>,
    /// The height that every correct validator reached.
    pub height: u64,
    /// Transactions in final blocks.
    pub applied: usize,
    /// How often a validator's process was started again while faults lasted.
    pub restarts: u64,
    /// How often a validator was jailed.
    pub jailed: usize,
    /// How many rounds of the beacon its validators have signed.
    pub signed_rounds: usize,
    /// How long it took, in simulated milliseconds.
    pub simulated_ms: u64,
    /// A hash of every event, of the final state, and of what is on the disks.
    pub trace: Hash,
}

impl Report {
    /// Whether everything held.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

/// Simulates a plan on this thread, which needs a stack of tens of megabytes where code is not
/// optimized.
#[must_use]
pub fn run(plan: &Plan) -> Report {
    let chronicle = Arc::new(Chronicle::new(&plan.properties));
    planted::plant(faults(plan));
    let start = UNIX_EPOCH + Duration::from_millis(START.0);
    let limit = plan.fault_ms.saturating_add(plan.settle_ms.saturating_mul(5));
    let runtime = deterministic::Config::new()
        .with_seed(plan.seed)
        .with_start_time(start)
        .with_timeout(Some(Duration::from_millis(limit)));
    let simulation = || {
        let chronicle = chronicle.clone();
        deterministic::Runner::new(runtime).start(async move |context| {
            let world = World::new(context, plan, chronicle);
            world.run().await
        })
    };
    let ended = catch_unwind(AssertUnwindSafe(simulation));
    planted::plant(Faults::default());
    let mut report = ended.unwrap_or_else(|panic| {
        chronicle.violate(Property::Soundness, format!("a panic: {}", text_of(panic.as_ref())));
        Report {
            seed: plan.seed,
            violations: Vec::new(),
            height: 0,
            applied: chronicle.applied(),
            restarts: 0,
            jailed: 0,
            signed_rounds: 0,
            simulated_ms: 0,
            trace: Hash::ZERO,
        }
    });
    report.violations = chronicle.violations();
    report
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it did not say why".into())
}

fn validator(index: u8) -> SecretKey {
    let mut seed = [1; 32];
    seed[0] = index;
    SecretKey::from_seed(seed)
}

fn payer(index: u8) -> SecretKey {
    let mut seed = [2; 32];
    seed[0] = index;
    SecretKey::from_seed(seed)
}

fn genesis(plan: &Plan) -> Genesis {
    let validators: Vec<AccountId> =
        (0..plan.validators).map(|index| validator(index).account()).collect();
    let fees = Balance { usd: Amount::from_units(10), ..Balance::default() };
    let funds = Balance { usd: Amount::from_units(1_000), ..Balance::default() };
    let payers = (0..plan.workload.payers).map(|index| (payer(index).account(), funds));
    let jail = plan.jail.unwrap_or(Jail { turns: 1_000_000, for_ms: 0 });
    let params = Params {
        downtime_turns_min: jail.turns,
        validator_jail_ms: Millis(jail.for_ms),
        ..Params::default()
    };
    Genesis {
        name: "simulated".into(),
        time: START,
        protocol: PROTOCOL,
        balances: validators.iter().map(|account| (*account, fees)).chain(payers).collect(),
        stakes: validators.iter().map(|account| (*account, STAKE)).collect(),
        validators,
        epoch_blocks: plan.epoch_blocks,
        params,
    }
}

/// What is wrong with the validators' code.
fn faults(plan: &Plan) -> Faults {
    let mut faults = Faults::default();
    for bug in &plan.bugs {
        match bug {
            Bug::UnsignedBlocks => faults.unsigned_blocks = true,
            Bug::AnyEvents => faults.any_events = true,
            Bug::AnyBeacon => faults.any_beacon = true,
            Bug::HastyBeacon => faults.hasty_beacon = true,
            Bug::KeepDeleted => faults.keep_deleted = true,
            Bug::DropSync { .. } | Bug::AbsentOwners => {}
        }
    }
    for byzantine in &plan.byzantine {
        let mischief = match byzantine.deed {
            Deed::Forge => Mischief::Forgery(Box::new(users::forgery(&genesis(plan)))),
            Deed::FakeState => Mischief::State,
            Deed::FakeEvents => Mischief::Events,
            Deed::StopTime => Mischief::Time,
            Deed::Usurp => Mischief::Validators,
            Deed::Rig => Mischief::Beacon,
            Deed::Equivocate { .. } | Deed::Withhold { .. } | Deed::Censor => continue,
        };
        faults.mischief.insert(validator(byzantine.node).account(), mischief);
    }
    faults
}

struct World<'a> {
    context: deterministic::Context,
    plan: &'a Plan,
    genesis: Genesis,
    net: Net,
    chronicle: Arc<Chronicle>,
    /// A validator each; one that equivocates has a second at the end.
    seats: Vec<Seat>,
    dice: RefCell<ChaCha8Rng>,
    users: Users,
    /// States that were read from disk: whose, at which height, and a hash.
    stored: RefCell<Vec<(u8, u64, Hash)>>,
    /// When all had started.
    begun: Cell<SystemTime>,
    /// How many processes were started again while faults lasted.
    restarts: Cell<u64>,
}

impl<'a> World<'a> {
    fn new(context: deterministic::Context, plan: &'a Plan, chronicle: Arc<Chronicle>) -> Self {
        let net = Net::new(&context, plan);
        let mut seats: Vec<Seat> = (0..plan.validators).map(|node| Seat::new(plan, node)).collect();
        for byzantine in &plan.byzantine {
            if matches!(byzantine.deed, Deed::Equivocate { .. }) {
                seats.push(Seat::new(plan, byzantine.node));
            }
        }
        let dice = RefCell::new(ChaCha8Rng::seed_from_u64(plan.seed.wrapping_add(1)));
        let users = Users::new(plan.seed);
        Self {
            context,
            plan,
            genesis: genesis(plan),
            net,
            chronicle,
            seats,
            dice,
            users,
            stored: RefCell::default(),
            begun: Cell::new(UNIX_EPOCH),
            restarts: Cell::new(0),
        }
    }

    async fn run(self) -> Report {
        // Who begins while the others have blocks already does not vote before the next epoch,
        // and would count as faulty until then: all begin before anybody reaches anybody.
        self.start_all().await;
        self.net.open().await;
        self.begun.set(self.context.current());
        let faults = join_all(self.plan.faults.iter().map(|fault| self.inflict(fault)));
        let users = self.spend(self.plan.workload.txs, self.plan.fault_ms);
        let acts = async {
            futures::join!(faults, users, self.sleep_until(self.plan.fault_ms));
            self.net.heal().await;
            self.settle().await;
            self.resume().await;
            self.probe().await;
        };
        select(pin!(acts), pin!(self.care())).await;
        self.audit().await;
        self.report()
    }

    async fn sleep_until(&self, at_ms: u64) {
        self.context.sleep_until(self.begun.get() + Duration::from_millis(at_ms)).await;
    }

    fn now_ms(&self) -> u64 {
        let since = self.context.current().duration_since(self.begun.get()).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    async fn inflict(&self, fault: &Fault) {
        match fault {
            Fault::Crash { node, at_ms, change, unsynced, down_ms } => {
                self.sleep_until(*at_ms).await;
                let seat = usize::from(*node);
                let Some(life) = self.seats[seat].life() else { return };
                life.end_with(*change);
                let waited = self.context.sleep(Duration::from_millis(1_000));
                futures::future::select(Box::pin(life.ended()), Box::pin(waited)).await;
                if !self.kill(seat, &life).await {
                    return;
                }
                self.seats[seat].disk.crash(*unsynced, &mut *self.dice.borrow_mut());
                self.context.sleep(Duration::from_millis(*down_ms)).await;
                self.restart(seat).await;
            }
            Fault::Wipe { node, at_ms, down_ms, state_sync } => {
                self.sleep_until(*at_ms).await;
                let seat = usize::from(*node);
                let Some(life) = self.seats[seat].life() else { return };
                if !self.kill(seat, &life).await {
                    return;
                }
                self.seats[seat].disk.wipe();
                self.context.sleep(Duration::from_millis(*down_ms)).await;
                self.start(seat, *state_sync).await;
            }
            Fault::Late { node, at_ms, state_sync } => {
                self.sleep_until(*at_ms).await;
                self.start(usize::from(*node), *state_sync).await;
            }
            Fault::Partition { at_ms, for_ms, side, one_way } => {
                self.sleep_until(*at_ms).await;
                self.net.part(side, *one_way).await;
                self.context.sleep(Duration::from_millis(*for_ms)).await;
                self.net.join(side, *one_way).await;
            }
        }
    }

    /// The highest head of a correct validator.
    fn highest(&self) -> u64 {
        self.correct().map(|(_, head)| head).max().unwrap_or(0)
    }

    /// The correct validators that are up.
    fn correct_nodes(&self) -> impl Iterator<Item = Consensus> + '_ {
        self.seats.iter().filter(|seat| seat.is_correct).filter_map(Seat::consensus)
    }

    /// Reads the latest state that a correct validator has.
    fn in_final_state<T>(&self, read: impl FnOnce(&dyn State) -> Option<T>) -> Option<T> {
        let latest = self.correct_nodes().max_by_key(|node| node.head().height)?;
        latest.read(|state, _| read(state))
    }

    /// The correct validators that are up, and their heads.
    fn correct(&self) -> impl Iterator<Item = (u8, u64)> + '_ {
        let up = self.seats.iter().filter(|seat| seat.is_correct);
        up.filter_map(|seat| Some((seat.node, seat.consensus()?.head().height)))
    }

    fn lives(&self) -> BTreeMap<u8, u64> {
        let correct = self.seats.iter().filter(|seat| seat.is_correct);
        correct.filter_map(|seat| Some((seat.node, seat.life_number()?))).collect()
    }

    /// Waits until something holds, at most as long as the plan says.
    async fn wait_until(&self, mut holds: impl FnMut() -> bool) -> bool {
        let end = self.now_ms().saturating_add(self.plan.settle_ms);
        while !holds() {
            if self.now_ms() >= end {
                return false;
            }
            self.context.sleep(LOOK).await;
        }
        true
    }

    /// After healing, everybody goes on, and what was accepted is applied.
    async fn settle(&self) {
        let target = self.highest().saturating_add(PROGRESS);
        let all = self.plan.byzantine.len();
        let correct = usize::from(self.plan.validators).saturating_sub(all);
        let arrived = || self.correct().filter(|(_, head)| *head >= target).count() == correct;
        if !self.wait_until(arrived).await {
            let heads: Vec<(u8, u64)> = self.correct().collect();
            let found = format!("{target} is not reached: (validator, height) {heads:?}");
            self.chronicle.violate(Property::Liveness, found);
            return;
        }
        let lives = self.lives();
        if !self.wait_until(|| self.chronicle.waiting(&lives).is_empty()).await {
            for Accepted { id, node, .. } in self.chronicle.waiting(&lives) {
                let found = format!("{id}, accepted by validator {node}, is in no block");
                self.chronicle.violate(Property::Once, found);
            }
        }
    }

    /// Whoever was jailed for being down is let in again, and the beacon goes on.
    async fn resume(&self) {
        let correct = (0..self.plan.validators).filter(|node| self.plan.is_correct(*node));
        let correct: Vec<AccountId> = correct.map(|node| validator(node).account()).collect();
        let missing = || {
            let votes = self.in_final_state(|state| Some(view::validators(state)));
            let votes = votes.unwrap_or_default();
            correct.iter().filter(|key| !votes.contains(key)).copied().collect::<Vec<_>>()
        };
        if !self.wait_until(|| missing().is_empty()).await {
            let found = format!("no vote any more, long after healing: {:?}", missing());
            self.chronicle.violate(Property::Comeback, found);
        }
        let round = |node: &Consensus| node.head().beacon_round;
        let target = self.correct_nodes().map(|node| round(&node)).max().unwrap_or(0) + ROUNDS;
        if !self.wait_until(|| self.correct_nodes().all(|node| round(&node) >= target)).await {
            let rounds: Vec<u64> = self.correct_nodes().map(|node| round(&node)).collect();
            let found = format!("round {target} is not reached after healing: {rounds:?}");
            self.chronicle.violate(Property::Beacon, found);
        }
    }

    /// In a healed network, everybody's transactions get in within a bound of blocks.
    async fn probe(&self) {
        let bound = TURNS.saturating_mul(self.plan.validators.into());
        self.submit_everywhere(bound);
        let lives = self.lives();
        let applied = self.wait_until(|| self.chronicle.waiting(&lives).is_empty()).await;
        for Accepted { id, node, .. } in self.chronicle.waiting(&lives) {
            let found = format!("{id}, accepted by validator {node} after healing, never got in");
            self.chronicle.violate(Property::Inclusion, found);
        }
        for (Accepted { id, until, .. }, height) in self.chronicle.late() {
            let until = until.unwrap_or(0);
            let found = format!("{id} got in at height {height}, not until {until}");
            self.chronicle.violate(Property::Inclusion, found);
        }
        if applied {
            // The others catch up, so that all states can be compared.
            let target = self.highest();
            let arrived = || self.correct().all(|(_, head)| head >= target);
            if !self.wait_until(arrived).await {
                let found = format!("{target} is not reached by all after the last payments");
                self.chronicle.violate(Property::Liveness, found);
            }
        }
    }

    /// Executes everything again and compares.
    async fn audit(&self) {
        let correct: Vec<AccountId> = (0..self.plan.validators)
            .filter(|node| self.plan.is_correct(*node))
            .map(|node| validator(node).account())
            .collect();
        let mut live = Vec::new();
        for seat in self.seats.iter().filter(|seat| seat.is_correct) {
            let Some(consensus) = seat.consensus() else { continue };
            let (height, digest) = consensus.read(|state, head| (head.height, state_digest(state)));
            live.push((seat.node, height, digest));
            if let Some(error) = consensus.failed().now_or_never() {
                let found = format!("validator {}: {error}", seat.node);
                self.chronicle.violate(Property::Soundness, found);
            }
        }
        for (by, whom) in self.net.blocked().await {
            if self.plan.is_correct(by) && self.plan.is_correct(whom) {
                let found = format!("validator {by} has cut off validator {whom}");
                self.chronicle.violate(Property::Soundness, found);
            }
        }
        let again = self.seats.iter().map(|seat| seat.lives().saturating_sub(1));
        self.restarts.set(again.sum());
        self.reopen().await;
        let digests = self.chronicle.replay(&self.genesis, |account| correct.contains(account));
        let stored = self.stored.borrow();
        let states = live.iter().map(|found| (found, Property::Validity, "state"));
        let stores = stored.iter().map(|found| (found, Property::Storage, "state on disk"));
        for ((node, height, digest), property, what) in states.chain(stores) {
            if digests.get(height).is_some_and(|expected| expected != digest) {
                let found = format!("validator {node}'s {what} at {height} is another");
                self.chronicle.violate(property, found);
            }
        }
    }

    /// Ends everybody at once, and starts the correct ones again, each by itself.
    async fn reopen(&self) {
        for seat in 0..self.seats.len() {
            let node = self.seats[seat].node;
            self.net.part(&[node], false).await;
            let Some(life) = self.seats[seat].life() else { continue };
            if self.kill(seat, &life).await {
                self.seats[seat].disk.crash(Unsynced::Lost, &mut *self.dice.borrow_mut());
            }
        }
        for seat in (0..self.seats.len()).filter(|seat| self.seats[*seat].is_correct) {
            self.restart(seat).await;
        }
    }

    fn report(&self) -> Report {
        let mut parts = vec![self.context.auditor().state().into_bytes()];
        for seat in &self.seats {
            parts.push(seat.disk.digest().as_bytes().to_vec());
            let state = seat
                .consensus()
                .map(|consensus| consensus.read(|state, head| (head.digest, state_digest(state))));
            if let Some((head, state)) = state {
                parts.push([head.0, state.0].concat());
            }
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        Report {
            seed: self.plan.seed,
            violations: Vec::new(),
            height: self.correct().map(|(_, head)| head).min().unwrap_or(0),
            applied: self.chronicle.applied(),
            restarts: self.restarts.get(),
            jailed: self.chronicle.jailed(),
            signed_rounds: self.chronicle.signed_rounds(),
            simulated_ms: self.now_ms(),
            trace: Hash::of("muster simulation v1", &parts),
        }
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        for seat in &self.seats {
            if let Some(life) = seat.life() {
                life.end();
            }
        }
    }
}

impl World<'_> {
    /// Ends a process for good; says whether it was still there.
    async fn kill(&self, seat: usize, life: &Arc<Life>) -> bool {
        let Some(task) = self.seats[seat].take(life) else { return false };
        life.end();
        task.abort();
        // However it ended, it is gone.
        let _ = task.await;
        true
    }
}
