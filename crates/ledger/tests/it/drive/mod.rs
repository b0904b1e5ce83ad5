//! Random and hostile sequences, applied to the ledger and to the model.

mod bend;
mod bonded;
mod chain;
mod party;
mod provider;
mod tenant;

use crate::drive_stake;
use crate::model::{Model, Phase, Sent, Verdict, money};
use muster_ledger::{
    Action, BlockBuilder, BlockContext, Genesis, MemoryState, Params, Tx,
    genesis::{Balance, EPOCH_BLOCKS, PROTOCOL},
    invariant, rebuild_derived,
    stake::Views,
};
use muster_types::{
    AccountId, Amount, Asset, Auth, Envelope, Hash, LeaseId, Millis, Rate, SecretKey, Signature,
    codec,
};
use num_traits::Zero as _;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use std::collections::BTreeMap;

/// People of a run; the first of them are validators, the next tend to provide.
const PEOPLE: usize = 9;
const VALIDATORS: usize = 4;
const PROVIDERS: usize = 7;

/// What happened in some runs.
#[derive(Default)]
pub(crate) struct Seen {
    /// How many actions were tried, and how many of them applied, by the action's name.
    actions: BTreeMap<String, (u64, u64)>,
    /// How often things ended so.
    ends: BTreeMap<String, u64>,
}

impl Seen {
    fn tried(&self) -> u64 {
        self.actions.values().map(|(tried, _)| tried).sum()
    }

    fn action(&mut self, action: &Action, applied: bool) {
        let name = format!("{action:?}");
        let name = name.split([' ', '{']).next().unwrap_or_default().to_owned();
        let count = self.actions.entry(name).or_default();
        *count = (count.0 + 1, count.1 + u64::from(applied));
    }

    fn end(&mut self, how: String) {
        *self.ends.entry(how).or_default() += 1;
    }

    /// How things stand at the end of a run.
    fn all_of(&mut self, model: &Model) {
        for lease in model.leases.iter() {
            if let Phase::Closed { reason, .. } = lease.phase {
                self.end(format!("{reason:?}"));
                if lease.fuel_per_s > 0 && lease.paid < lease.accrued {
                    self.end("Metered".into());
                }
                if lease.is_drawn() && lease.commitment.is_none() && !lease.accrued.is_zero() {
                    self.end("NothingCommitted".into());
                }
            }
        }
        for dispute in model.disputes.iter() {
            match dispute.verdict {
                Verdict::None => {}
                Verdict::Judged(_) => self.end("Judged".into()),
                Verdict::Void => self.end("DisputeVoid".into()),
            }
        }
        for challenge in model.challenges.iter() {
            self.end(format!("{:?}", challenge.stage));
        }
        for provider in model.providers.iter() {
            let standing = format!("{:?}", provider.standing);
            self.end(standing.split(' ').next().unwrap_or_default().to_owned());
        }
    }

    fn add(&mut self, other: Self) {
        for (name, (tried, applied)) in other.actions {
            let count = self.actions.entry(name).or_default();
            *count = (count.0 + tried, count.1 + applied);
        }
        for (how, count) in other.ends {
            *self.ends.entry(how).or_default() += count;
        }
    }
}

/// What has to happen in a long test.
const ENDS: [&str; 24] = [
    "TenantClosed",
    "OutOfFunds",
    "ProviderNotReady",
    "ProviderStalled",
    "ProviderExit",
    "ProviderFraud",
    "ReadyRejected",
    "Undelivered",
    "Reclaimed",
    "OfferEnded",
    "Metered",
    "NothingCommitted",
    "Judged",
    "DisputeVoid",
    "Judged(Provider)",
    "Judged(Challenger)",
    "Void",
    "Voting",
    "Registered",
    "Active",
    "Draining",
    "Unbonding",
    "Gone",
    "Jailed",
];

struct Run {
    random: ChaCha8Rng,
    state: MemoryState,
    model: Model,
    keys: Vec<SecretKey>,
    chain: Hash,
    /// A provider that does nothing for a while.
    asleep: Option<AccountId>,
    /// Time of the block that is being made.
    block_now: u64,
}

/// Runs one sequence of `blocks` blocks; what differs is reported with the seed.
pub(crate) fn run(seed: u64, blocks: u64, seen: &mut Seen) -> Result<Model, String> {
    let mut run = Run::new(seed);
    for block in 0..blocks {
        run.block(seen).map_err(|error| format!("seed {seed}, block {block}: {error}"))?;
    }
    seen.all_of(&run.model);
    let mut rebuilt = run.state.clone();
    rebuilt.apply(rebuild_derived(&run.state));
    if rebuilt == run.state {
        return Ok(run.model);
    }
    Err(format!("seed {seed}: the indexes are not what rebuilding gives"))
}

/// Short times and small sums, so that what is rare happens.
fn params(seed: u64) -> Params {
    Params {
        heartbeat_gap_max_ms: Millis(2_000),
        stall_gap_ms: Millis(2_000),
        stall_close_ms: Millis(1_500),
        challenge_window_ms: Millis(6_000),
        dispute_timeout_ms: Millis(8_000),
        dispute_clock_ms: Millis(6_000),
        unbonding_ms: Millis(40_000),
        ready_timeout_ms: Millis(12_000),
        overdrawn_grace_ms: Millis(4_000),
        offer_lifetime_min_ms: Millis(10_000),
        pledge_hours: 4,
        retry_max: 10_000,
        auditor_bond_min: Amount::from_units(5),
        jail_ms: Millis(8_000),
        jail_breaks: 2 + u32::from(seed.is_multiple_of(2)),
        share_fee_max_bps: if seed.is_multiple_of(4) { 0 } else { 5_000 },
        ready_window_ms: Millis(3_000),
        min_charge_ms: Millis(1_500 * (seed % 3)),
        challenge_bond: Amount::from_units(1),
        bisect_arity: 3,
        // Queues cost nothing here: the rest of an escrow's money is followed to the nano.
        fee_per_visit: Amount::ZERO,
        rent_per_lease: Rate::ZERO,
        ..Params::default()
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let keys: Vec<_> = (0..PEOPLE)
            .map(|person| SecretKey::from_seed([u8::try_from(person).unwrap() + 1; 32]))
            .collect();
        let balance = Balance { usd: Amount::from_units(1_000), mst: Amount::from_units(10) };
        let genesis = Genesis {
            name: "model".into(),
            time: Millis(1_000_000),
            protocol: PROTOCOL,
            validators: keys[..VALIDATORS].iter().map(SecretKey::account).collect(),
            balances: keys.iter().map(|key| (key.account(), balance)).collect(),
            stakes: drive_stake::stakes(&keys[..VALIDATORS]),
            epoch_blocks: EPOCH_BLOCKS,
            params: drive_stake::params(seed, params(seed)),
        };
        let mut state = MemoryState::default();
        state.apply(genesis.changes().unwrap());
        let random = ChaCha8Rng::seed_from_u64(seed);
        let (model, chain) = (Model::new(&genesis), genesis.id());
        Self { random, state, model, keys, chain, asleep: None, block_now: 0 }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        let place = self.below(all.len() as u64);
        all.get(usize::try_from(place).unwrap()).cloned()
    }

    fn anybody(&mut self) -> AccountId {
        let person = usize::try_from(self.below(PEOPLE as u64)).unwrap();
        self.keys[person].account()
    }

    fn provider(&mut self) -> AccountId {
        let person = self.below((PROVIDERS - VALIDATORS) as u64);
        self.keys[VALIDATORS + usize::try_from(person).unwrap()].account()
    }

    /// Most of them small, some of them beyond all bounds.
    fn amount(&mut self) -> Amount {
        match self.below(24) {
            0 => Amount::ZERO,
            1 => Amount::MAX,
            2..=9 => Amount::from_nanos(u128::from(self.below(2_000_000))),
            10 => Amount::from_units(self.below(2_000)),
            _ => Amount::from_nanos(u128::from(self.below(20_000_000_000))),
        }
    }

    fn block(&mut self, seen: &mut Seen) -> Result<(), String> {
        if self.chance(20) {
            self.bend();
        }
        if self.chance(5) {
            self.asleep = Some(self.provider()).filter(|_| self.asleep.is_none());
        }
        let step = match self.below(100) {
            0..=2 => 1 + self.below(30_000),
            _ => 1 + self.below(900),
        };
        let context = BlockContext {
            height: self.model.height + 1,
            now: Millis(self.model.now + step),
            beacon: Hash(std::array::from_fn(|_| u8::try_from(self.below(256)).unwrap())),
            proposer: drive_stake::proposer(&mut self.random, &self.model),
            views: Views::default(),
        };
        self.block_now = context.now.0;
        let mut acts = Vec::new();
        if self.chance(60) {
            acts.extend(self.heartbeats());
        }
        for _ in 0..self.below(14) {
            acts.extend(self.act());
        }
        acts.retain(|(who, _)| self.asleep != Some(*who));
        let state = std::mem::take(&mut self.state);
        let mut block = BlockBuilder::new(&state, context).unwrap();
        self.model.begin(&context);
        for (who, action) in acts {
            let tx = self.unsigned(who, action);
            let action = &tx.envelope.action;
            let by = self.sent(&tx);
            let expected = self.model.apply(tx.id(), &by, action);
            let applied = block.push_verified(&tx);
            seen.action(action, applied.is_ok());
            if applied.is_ok() != expected.is_ok() {
                return Err(format!("{action:?}: ledger {applied:?}, model {expected:?}"));
            }
        }
        let outcome = block.finish();
        self.model.end();
        self.state = state;
        self.state.apply(outcome.changes);
        invariant::check(&self.state).map_err(|broken| broken.to_string())?;
        self.model.agrees_with(&self.state)
    }

    /// Signatures are not what is tested here: see the tests of the envelope.
    fn unsigned(&mut self, signer: AccountId, action: Action) -> Tx {
        let person = self.model.people.find(|one| one.id == signer);
        let used = person.map(|one| one.used.clone()).unwrap_or_default();
        let lowest = (0..).find(|nonce| !used.contains(nonce)).unwrap_or(0);
        let nonce = if self.chance(10) { lowest + self.below(70) } else { lowest };
        let max_fee = if self.chance(2) { Amount::ZERO } else { Amount::from_units(1) };
        let (chain, expires) = (self.chain, Millis::MAX);
        let envelope = Envelope { chain, signer, nonce, max_fee, expires, action };
        Tx { envelope, auth: Auth::Own(Signature([0; 64])) }
    }

    fn sent(&self, tx: &Tx) -> Sent {
        let bytes = codec::encode(tx).len() as u64;
        let params = &self.model.params;
        let by_size = params.fee_per_byte.checked_mul(bytes).unwrap();
        let by_unit = params.fee_per_unit.checked_mul(tx.envelope.action.units()).unwrap();
        Sent {
            signer: tx.envelope.signer,
            nonce: tx.envelope.nonce,
            fee: money(by_size) + money(by_unit),
            max_fee: money(tx.envelope.max_fee),
        }
    }

    /// One transaction a provider for all its leases.
    fn heartbeats(&mut self) -> Vec<(AccountId, Action)> {
        let mut beats: BTreeMap<AccountId, Vec<LeaseId>> = BTreeMap::new();
        for lease in self.model.leases.iter() {
            if matches!(lease.phase, Phase::Serving(_) | Phase::Stalled { .. }) {
                beats.entry(lease.host.provider).or_default().push(lease.id);
            }
        }
        beats.into_iter().map(|(who, leases)| (who, Action::Heartbeat { leases })).collect()
    }

    fn act(&mut self) -> Option<(AccountId, Action)> {
        let (rightful, action) = match self.below(33) {
            0..=7 => self.as_tenant()?,
            8..=15 => self.as_provider()?,
            16 => {
                let (to, amount) = (self.anybody(), self.amount());
                let asset = self.pick(&Asset::ALL)?;
                (self.anybody(), Action::Transfer { to, asset, amount })
            }
            17..=19 => self.as_bonded()?,
            20..=23 => self.as_party()?,
            24..=26 => self.as_challenger()?,
            _ => drive_stake::act(&mut self.random, &self.model)?,
        };
        Some((if self.chance(8) { self.anybody() } else { rightful }, action))
    }
}

/// How many kinds of actions are tried.
const KINDS: usize = 46;

/// From so many actions on, everything in [`ENDS`] happens.
const LONG: u64 = 100_000;

/// How many actions a run tries about.
const ACTIONS: u64 = 1_000_000;

/// Sequences of so many blocks.
const BLOCKS: u64 = 150;

#[test]
fn the_ledger_does_what_an_independent_model_does_over_a_million_actions() {
    let actions: u64 = match std::env::var("MUSTER_MODEL_ACTIONS") {
        Ok(text) => text.parse().expect("MUSTER_MODEL_ACTIONS is a number"),
        Err(_) => ACTIONS,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let first: u64 = std::env::var("MUSTER_MODEL_SEED").map_or(0, |text| text.parse().unwrap());
    let mut all = Seen::default();
    std::thread::scope(|scope| {
        let worker = |thread: u64| {
            let mut seen = Seen::default();
            let mut seed = first + thread;
            while seen.tried() < actions.div_ceil(threads) {
                if let Err(error) = run(seed, BLOCKS, &mut seen) {
                    panic!(
                        "{error}\nreplay: MUSTER_MODEL_SEED={seed} cargo test -p muster-ledger --test it"
                    );
                }
                seed += threads;
            }
            seen
        };
        let workers: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || worker(thread))).collect();
        for worker in workers {
            all.add(worker.join().unwrap());
        }
    });
    assert_eq!(all.actions.len(), KINDS, "{:?}", all.actions);
    for how in ENDS.into_iter().filter(|_| actions >= LONG) {
        assert!(all.ends.contains_key(how), "{how} never happened: {:?}", all.ends);
    }
    for (name, (tried, applied)) in &all.actions {
        assert!(*applied > 0, "{name} was tried {tried} times and never applied");
        assert!(applied < tried, "{name} was never refused");
    }
}
