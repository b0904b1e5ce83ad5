//! Random and hostile sequences, applied to the ledger and to the model.

use crate::model::{Model, Phase, Sent, money};
use muster_ledger::{
    Action, BlockBuilder, BlockContext, Genesis, MemoryState, Params, ProviderProfile, Tx,
    dispute::Claim,
    genesis::{Balance, PROTOCOL},
    invariant,
    job::{JobKind, JobSpec, TaskOutput, TaskRef, Verification},
    provider::HostSpec,
    rebuild_derived,
};
use muster_market::{GIB, Prices, Request, Spread, Terms};
use muster_types::{
    AccountId, Amount, Asset, Envelope, Hash, HostId, LeaseId, Millis, Rate, Resources, SecretKey,
    Signature, codec,
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use std::collections::BTreeMap;

/// People of a run; the first three are validators, the next three tend to provide.
const PEOPLE: usize = 8;
const VALIDATORS: usize = 3;
const PROVIDERS: usize = 6;

/// How many actions were tried, and how many of them applied, by the action's name.
pub(crate) type Tried = BTreeMap<String, (u64, u64)>;

struct Run {
    random: ChaCha8Rng,
    state: MemoryState,
    model: Model,
    keys: Vec<SecretKey>,
    chain: Hash,
}

/// Runs one sequence of `blocks` blocks; what differs is reported with the seed.
pub(crate) fn run(seed: u64, blocks: u64, tried: &mut Tried) -> Result<(), String> {
    let mut run = Run::new(seed);
    for block in 0..blocks {
        run.block(tried).map_err(|error| format!("seed {seed}, block {block}: {error}"))?;
    }
    let mut rebuilt = run.state.clone();
    rebuilt.apply(rebuild_derived(&run.state));
    if rebuilt == run.state {
        return Ok(());
    }
    Err(format!("seed {seed}: the indexes are not what rebuilding gives"))
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
            params: Params { unbonding_ms: Millis(80_000), retry_max: 10_000, ..Params::default() },
        };
        let mut state = MemoryState::default();
        state.apply(genesis.changes().unwrap());
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { random, state, model: Model::new(&genesis), keys, chain: genesis.id() }
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

    fn block(&mut self, tried: &mut Tried) -> Result<(), String> {
        let step = match self.below(100) {
            0..=2 => 1 + self.below(30_000),
            _ => 1 + self.below(900),
        };
        let context = BlockContext {
            height: self.model.height + 1,
            now: Millis(self.model.now + step),
            beacon: Hash(std::array::from_fn(|_| u8::try_from(self.below(256)).unwrap())),
            proposer: self.keys[0].account(),
        };
        let mut acts = Vec::new();
        if self.chance(60) {
            acts.extend(self.heartbeats());
        }
        for _ in 0..self.below(12) {
            acts.extend(self.act());
        }
        let state = std::mem::take(&mut self.state);
        let mut block = BlockBuilder::new(&state, context).unwrap();
        self.model.begin(&context);
        for (who, action) in acts {
            let tx = self.unsigned(who, action);
            let action = &tx.envelope.action;
            let by = self.sent(&tx);
            let expected = self.model.apply(tx.id(), &by, action);
            let applied = block.push_verified(&tx);
            let name = format!("{action:?}");
            let name = name.split([' ', '{']).next().unwrap_or_default().to_owned();
            let count = tried.entry(name).or_default();
            count.0 += 1;
            count.1 += u64::from(applied.is_ok());
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
        let used = self.model.people.get(&signer).map(|one| one.used.clone()).unwrap_or_default();
        let lowest = (0..).find(|nonce| !used.contains(nonce)).unwrap_or(0);
        let nonce = if self.chance(10) { lowest + self.below(70) } else { lowest };
        let max_fee = if self.chance(2) { Amount::ZERO } else { Amount::from_units(1) };
        let (chain, expires) = (self.chain, Millis::MAX);
        let envelope = Envelope { chain, signer, nonce, max_fee, expires, action };
        Tx { envelope, signature: Signature([0; 64]) }
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
        for lease in &self.model.leases {
            if matches!(lease.phase, Phase::Active | Phase::Stalled { .. }) {
                beats.entry(lease.host.provider).or_default().push(lease.id);
            }
        }
        beats.into_iter().map(|(who, leases)| (who, Action::Heartbeat { leases })).collect()
    }

    fn act(&mut self) -> Option<(AccountId, Action)> {
        let (rightful, action) = match self.below(20) {
            0..=7 => self.as_tenant()?,
            8..=15 => self.as_provider()?,
            16 => {
                let (to, amount) = (self.anybody(), self.amount());
                let asset = self.pick(&Asset::ALL)?;
                (self.anybody(), Action::Transfer { to, asset, amount })
            }
            _ => self.as_party()?,
        };
        Some((if self.chance(8) { self.anybody() } else { rightful }, action))
    }

    fn terms(&mut self) -> Terms {
        let small = |run: &mut Self, limit| u32::try_from(run.below(limit)).unwrap();
        let spread = if self.chance(30) {
            Spread {
                per_provider: small(self, 3),
                per_host: small(self, 3),
                per_region: small(self, 3),
            }
        } else {
            Spread::default()
        };
        Terms {
            request: Request {
                cpu_milli: self.below(3_000),
                memory_bytes: self.below(4 * GIB),
                ..Request::default()
            },
            count: small(self, 5),
            gang: self.chance(30),
            spread,
            max_rate: Rate::per_hour(Amount::from_units(self.below(60))),
            min_bond: Amount::from_units(self.below(4) * 20),
            max_risk_bps: small(self, 4) * 700,
            exclude: if self.chance(10) { vec![self.provider()] } else { Vec::new() },
            min_duration: Millis(self.below(70_000)),
            ..Terms::default()
        }
    }

    fn as_tenant(&mut self) -> Option<(AccountId, Action)> {
        let model = &self.model;
        let escrows: Vec<_> = model.escrows.iter().filter(|one| !one.closed).cloned().collect();
        let jobs: Vec<_> = model.jobs.iter().filter(|one| !one.closed).cloned().collect();
        let orders: Vec<_> =
            model.orders.iter().filter(|one| one.ended.is_none()).cloned().collect();
        let leases: Vec<_> = model.leases.iter().filter(|one| !one.is_settled()).cloned().collect();
        let escrow = self.pick(&escrows);
        Some(match self.below(12) {
            0 => (self.anybody(), Action::EscrowOpen { deposit: self.amount() }),
            1 => {
                let (escrow, amount) = (escrow?.id, self.amount());
                (self.anybody(), Action::EscrowDeposit { escrow, amount })
            }
            2 => (escrow.as_ref()?.owner, Action::EscrowClose { escrow: escrow?.id }),
            3 => {
                let escrow = escrow?;
                let verification = match self.below(3) {
                    0 => Verification::None,
                    1 => Verification::Replicate { sample_bps: 1_000 },
                    _ => Verification::Replicate {
                        sample_bps: u32::try_from(self.below(12_000)).ok()?,
                    },
                };
                let spec = JobSpec {
                    kind: JobKind::Batch,
                    escrow: escrow.id,
                    tasks: self.below(12),
                    verification,
                    manifest: Hash([1; 32]),
                    fuel_max: 1_000 * self.below(4),
                };
                (escrow.owner, Action::JobOpen { spec })
            }
            4 => {
                let job = self.pick(&jobs)?;
                (job.tenant, Action::JobClose { job: job.id })
            }
            5..=7 => {
                let job = if self.chance(70) { self.pick(&jobs) } else { None };
                let escrow = job.as_ref().map(|job| job.spec.escrow).or(escrow.map(|one| one.id))?;
                let owner = self.model.escrow(&escrow).ok()?.owner;
                let deadline = Millis(self.model.now + self.below(20_000));
                let (job, terms) = (job.map(|job| job.id), self.terms());
                let manifest = Hash([2; 32]);
                (owner, Action::OrderPlace { escrow, job, terms, deadline, manifest })
            }
            8 => {
                let order = self.pick(&orders)?;
                (order.tenant, Action::OrderCancel { order: order.id })
            }
            kind => {
                let lease = self.pick(&leases)?;
                let tenant = self.model.order(&lease.order).ok()?.tenant;
                let lease = lease.id;
                let accept = kind == 9;
                let action = if accept {
                    Action::ResultAccept { lease }
                } else {
                    Action::LeaseClose { lease }
                };
                (tenant, action)
            }
        })
    }

    fn as_provider(&mut self) -> Option<(AccountId, Action)> {
        let leases: Vec<_> =
            self.model.leases.iter().filter(|one| !one.is_settled()).cloned().collect();
        let lease = self.pick(&leases);
        let index = u32::try_from(self.below(3)).unwrap();
        let who = self.provider();
        Some(match self.below(14) {
            0 => {
                let region = format!("region-{}", self.below(2));
                (
                    who,
                    Action::ProviderSet {
                        profile: ProviderProfile { region, ..Default::default() },
                    },
                )
            }
            1 => (who, Action::BondAdd { amount: Amount::from_units(self.below(120)) }),
            2 if self.chance(6) => (who, Action::ProviderDrain {}),
            3 => (who, Action::BondWithdraw {}),
            4 | 5 => (who, Action::HostSet { index, spec: self.host_spec() }),
            6 if self.chance(40) => (who, Action::HostRemove { index }),
            7 | 8 => {
                let lease = lease?;
                (lease.host.provider, Action::LeaseReady { lease: lease.id })
            }
            9 if self.chance(15) => {
                let lease = lease?;
                (lease.host.provider, Action::LeaseClose { lease: lease.id })
            }
            10 => {
                let lease = lease?;
                let root = Hash([u8::try_from(self.below(256)).unwrap(); 32]);
                (lease.host.provider, Action::ResultCommit { lease: lease.id, root, count: 10 })
            }
            _ => {
                let mut leases: Vec<LeaseId> = leases
                    .iter()
                    .filter(|one| one.host.provider == who)
                    .map(|one| one.id)
                    .collect();
                if self.chance(10) {
                    leases.extend(lease.map(|lease| lease.id));
                }
                (who, Action::Heartbeat { leases })
            }
        })
    }

    fn host_spec(&mut self) -> HostSpec {
        let price = Rate::per_hour(Amount::from_nanos(u128::from(1 + self.below(4)) * 900_000_000));
        let odd = self.chance(3);
        HostSpec {
            capacity: Resources {
                cpu_milli: self.below(9_000),
                memory_bytes: self.below(16 * GIB),
                ..Resources::default()
            },
            prices: Prices {
                cpu: if odd { Rate::per_hour(Amount::from_nanos(7)) } else { price },
                memory_gib: Rate::per_hour(Amount::from_nanos(1_000 * u128::from(self.below(5)))),
                ..Prices::default()
            },
            offered_until: Millis(self.model.now + 50_000 + self.below(80_000)),
            ..HostSpec::default()
        }
    }

    /// Disputes and votes.
    fn as_party(&mut self) -> Option<(AccountId, Action)> {
        let open: Vec<_> = self.model.disputes.iter().filter(|one| one.open).cloned().collect();
        if self.chance(50) {
            let dispute = self.pick(&open)?.id;
            let output = u8::try_from(self.below(4)).unwrap();
            let output = (output < 3).then(|| result(output));
            let voter = usize::try_from(self.below(VALIDATORS as u64)).unwrap();
            return Some((self.keys[voter].account(), Action::DisputeVote { dispute, output }));
        }
        let leases: Vec<_> = self.model.leases.iter().map(|one| (one.id, one.host)).collect();
        let pair: [(LeaseId, HostId); 2] = [self.pick(&leases)?, self.pick(&leases)?];
        let order = self.model.lease(&pair[0].0).ok()?.order;
        let job = self.model.order(&order).ok()?.job?;
        let tenant = self.model.jobs.iter().find(|one| one.id == job)?.tenant;
        let task = TaskRef {
            job,
            index: self.below(11),
            module: Hash([3; 32]),
            input: Hash([4; 32]),
            data: Hash([5; 32]),
            fuel_limit: 1_000,
            memory_limit_bytes: 1 << 20,
        };
        let claims = pair.map(|(lease, host)| {
            let signer = if self.chance(3) { self.anybody() } else { host.provider };
            let key = self.keys.iter().find(|key| key.account() == signer).unwrap();
            let output = u8::try_from(lease.0.0[0] % 3).unwrap();
            Claim::sign(&self.chain, lease, task, result(output), key)
        });
        let evidence = "somewhere".to_owned();
        Some((tenant, Action::DisputeOpen { job, claims: Box::new(claims), evidence }))
    }
}

fn result(output: u8) -> TaskOutput {
    TaskOutput { output: Hash([output; 32]), fuel: 10 }
}

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
    let mut all = Tried::new();
    std::thread::scope(|scope| {
        let worker = |thread: u64| {
            let mut tried = Tried::new();
            let mut seed = first + thread;
            while tried.values().map(|(tried, _)| tried).sum::<u64>() < actions.div_ceil(threads) {
                if let Err(error) = run(seed, BLOCKS, &mut tried) {
                    panic!(
                        "{error}\nreplay: MUSTER_MODEL_SEED={seed} cargo test -p muster-ledger --test it"
                    );
                }
                seed += threads;
            }
            tried
        };
        let workers: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || worker(thread))).collect();
        for worker in workers {
            for (name, (tried, applied)) in worker.join().unwrap() {
                let count = all.entry(name).or_default();
                *count = (count.0 + tried, count.1 + applied);
            }
        }
    });
    for (name, (tried, applied)) in &all {
        assert!(*applied > 0, "{name} was tried {tried} times and never applied");
        assert!(applied < tried, "{name} was never refused");
    }
}
