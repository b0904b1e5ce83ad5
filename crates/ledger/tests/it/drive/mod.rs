//! Random and hostile sequences, applied to the ledger and to the model.

mod bonded;
mod chain;
mod market;
mod owner;
mod party;
mod past;
mod provider;
mod seats;
mod tenant;

use crate::drive_stake;
use crate::model::{Model, Phase, Sent, Signers, Verdict, lowest_unused, money};
use muster_ledger::{
    Action, BlockBuilder, BlockContext, BlockOutcome, Event, Genesis, MemoryState, Params, Reject,
    Tx,
    genesis::{Balance, PROTOCOL},
    invariant, rebuild_derived,
};
use muster_types::{
    AccountId, Amount, Asset, Auth, Envelope, Hash, LeaseId, Millis, Rate, SecretKey, codec,
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

    fn action(&mut self, tx: &Tx, reject: Option<&Reject>) {
        let count = self.actions.entry(first_word(&tx.envelope.action)).or_default();
        *count = (count.0 + 1, count.1 + u64::from(reject.is_none()));
        self.end(match (reject, &tx.auth) {
            (Some(reject), _) => format!("refused: {}", first_word(reject)),
            (None, auth) => format!("by: {}", first_word(auth)),
        });
    }

    /// What was done is told, and a heartbeat's event says how much time it proved.
    fn says(&mut self, tx: &Tx, events: &[Event], covered: u64) -> Result<(), String> {
        let (action, signer) = (&tx.envelope.action, tx.envelope.signer);
        if events.is_empty() {
            return Err(format!("{action:?} yields no event"));
        }
        if !tx.envelope.tip.is_zero() {
            self.end("tipped".into());
        }
        for event in events {
            self.end(format!("event: {}", event.kind()));
            if let Event::Covered { provider, covered: told, .. } = event
                && (*provider, told.0) != (signer, covered)
            {
                return Err(format!("{event:?}, in the model {covered} ms"));
            }
        }
        Ok(())
    }

    fn end(&mut self, how: String) {
        *self.ends.entry(how).or_default() += 1;
    }

    /// What the market did in a block.
    fn events_of(&mut self, outcome: &BlockOutcome) {
        for event in outcome.all_events() {
            if let Event::EscrowReopened { .. } | Event::FeesPaid { .. } = event {
                self.end(event.kind().into());
            }
            match event {
                Event::BidEnded { outcome, .. } => self.end(format!("Bid{outcome:?}")),
                Event::OrderEnded { status, .. } => self.end(format!("Order{status:?}")),
                Event::OrderReopened { .. } => self.end("Reopened".into()),
                Event::OrderPicking { .. } => self.end("Picking".into()),
                Event::BeaconKeyChanged { key } => {
                    self.end(key.map_or("NoBeaconKey", |_| "BeaconKey").into());
                }
                _ => {}
            }
        }
    }

    /// How things stand at the end of a run.
    fn all_of(&mut self, model: &Model) {
        for lease in model.all_leases() {
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
        let past = &model.past;
        for dispute in model.disputes.iter().chain(past.disputes.iter()) {
            match dispute.verdict {
                Verdict::None => {}
                Verdict::Judged(_) => self.end("Judged".into()),
                Verdict::Void => self.end("DisputeVoid".into()),
            }
        }
        for challenge in model.challenges.iter().chain(past.challenges.iter()) {
            self.end(format!("{:?}", challenge.stage));
        }
        let left = [
            ("dispute left", past.disputes.len()),
            ("challenge left", past.challenges.len()),
            ("lease left", past.leases.len()),
            ("order left", past.orders.len()),
            ("job left", past.jobs.len()),
            ("escrow left", past.escrows.len()),
            ("proposal left", past.proposals.len()),
        ];
        for (what, _) in left.into_iter().filter(|(_, count)| *count > 0) {
            self.end(what.into());
        }
        let committee = &model.committee;
        let of_several = |owner| committee.seats.iter().filter(|(_, of)| of == owner).count() > 1;
        let epochs = [
            ("CommitteeChanged", committee.changed > 0),
            ("MissedTurns", committee.jailed > 0),
            ("Equivocated", !committee.offences.is_empty()),
            ("SeveralSeats", committee.seats.iter().any(|(_, owner)| of_several(owner))),
        ];
        for (what, _) in epochs.into_iter().filter(|(_, happened)| *happened) {
            self.end(what.into());
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

/// The name of a variant.
fn first_word(of: &impl std::fmt::Debug) -> String {
    let text = format!("{of:?}");
    let name = text.split(|letter: char| !letter.is_alphanumeric()).next();
    name.unwrap_or_default().to_owned()
}

/// What has to happen in a long test.
const ENDS: [&str; 60] = [
    "tipped",
    "EscrowReopened",
    "FeesPaid",
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
    "dispute left",
    "challenge left",
    "lease left",
    "order left",
    "job left",
    "escrow left",
    "proposal left",
    "BidWon",
    "BidLost",
    "BidWithdrawn",
    "BidDisplaced",
    "BidBroken",
    "OrderLeased",
    "OrderExpired",
    "OrderCancelled",
    "OrderOutOfFunds",
    "Reopened",
    "Picking",
    "by: Own",
    "by: Key",
    "by: Members",
    "refused: BadNonce",
    "refused: FeeTooHigh",
    "refused: OutOfScope",
    "refused: SpendLimit",
    "refused: Signatures",
    "refused: NotYours",
    "CommitteeChanged",
    "MissedTurns",
    "Equivocated",
    "SeveralSeats",
    "BeaconKey",
    "NoBeaconKey",
];

struct Run {
    random: ChaCha8Rng,
    state: MemoryState,
    model: Model,
    keys: Vec<SecretKey>,
    /// Their accounts.
    people: Vec<AccountId>,
    hot_keys: Vec<AccountId>,
    seat_keys: Vec<SecretKey>,
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

/// Which of so many values a seed has.
fn which(seed: u64, of: u64) -> usize {
    usize::try_from(seed % of).unwrap()
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
        retention_ms: Millis(40_000),
        ready_timeout_ms: Millis(12_000),
        overdrawn_grace_ms: Millis(4_000),
        offer_lifetime_min_ms: Millis([10_000, 1, 2_000][which(seed, 3)]),
        risk_leases_min: [10, 1][which(seed, 2)],
        pledge_hours: 4,
        auditor_bond_min: Amount::from_units(5),
        jail_ms: Millis(8_000),
        jail_breaks: 2 + u32::from(seed.is_multiple_of(2)),
        share_fee_max_bps: if seed.is_multiple_of(4) { 0 } else { 5_000 },
        ready_window_ms: Millis(3_000),
        min_charge_ms: Millis(1_500 * (seed % 3)),
        challenge_bond: Amount::from_units(1),
        bisect_arity: 3,
        // What waiting and looking cost, from nothing to more than an escrow has.
        fee_per_visit: Amount::from_nanos([0, 10, 3_000_000][which(seed, 3)]),
        rent_per_lease: Rate::per_hour(Amount::from_nanos([0, 7, 900_000_000_000][which(seed, 3)])),
        look_ahead: [0, 1, 2, 8, 1_000_000][which(seed, 5)],
        look_ahead_slack_bps: [10_000, 0, 1_500, 1_000_000][which(seed, 4)],
        visit_max: [1_000, 1, 2, 5, 1_000, 1_000, 4][which(seed, 7)],
        retry_max: [10_000, 1, 3][which(seed / 2, 3)],
        bid_deposit: Amount::from_nanos(300_000_000),
        pick_window_ms: Millis(3_000),
        reauction_ms: Millis(9_000),
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
            epoch_blocks: [4, 9, 16][which(seed, 3)],
            params: drive_stake::params(seed, params(seed)),
        };
        let mut state = MemoryState::default();
        state.apply(genesis.changes().unwrap());
        let random = ChaCha8Rng::seed_from_u64(seed);
        let (model, chain) = (Model::new(&genesis), genesis.id());
        let people = keys.iter().map(SecretKey::account).collect();
        let (hot_keys, seat_keys) = (owner::keys(), seats::keys());
        let (asleep, block_now) = (None, 0);
        Self { random, state, model, keys, people, hot_keys, seat_keys, chain, asleep, block_now }
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
        self.people[person]
    }

    fn provider(&mut self) -> AccountId {
        let person = self.below((PROVIDERS - VALIDATORS) as u64);
        self.people[VALIDATORS + usize::try_from(person).unwrap()]
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
            beacon_round: self.model.height + 1,
            beacon_key: self.beacon_key(),
            proposer: drive_stake::proposer(&mut self.random, &self.model),
            views: self.views(),
        };
        self.block_now = context.now.0;
        let mut acts = self.openings(context.height);
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
        let mut applied_txs = Vec::new();
        for (who, action) in acts {
            let tx = self.unsigned(who, action);
            let action = &tx.envelope.action;
            let by = self.sent(&tx);
            let before = self.covered(&by.signer);
            let expected = self.model.apply(tx.id(), &by, action);
            let covered = self.covered(&by.signer) - before;
            let applied = block.push_verified(&tx);
            if let Ok(receipt) = &applied {
                seen.says(&tx, &receipt.events, covered)?;
            }
            seen.action(&tx, applied.as_ref().err());
            if applied.is_ok() != expected.is_ok() {
                return Err(format!("{action:?}: ledger {applied:?}, model {expected:?}"));
            }
            if applied.is_ok() {
                applied_txs.push(tx);
            }
        }
        let outcome = block.finish();
        seen.events_of(&outcome);
        if context.height.is_multiple_of(8) {
            let mut alone = BlockBuilder::new(&state, context).unwrap();
            for tx in &applied_txs {
                alone.push_verified(tx).map_err(|error| format!("without the refused: {error}"))?;
            }
            if alone.finish() != outcome {
                return Err("what was refused left something behind".to_owned());
            }
        }
        self.model.end();
        let left: Vec<_> = outcome.archived.iter().map(|(key, _)| &key[2..]).collect();
        let expected: Vec<_> = self.model.past.last.iter().map(|id| &id.0[..]).collect();
        if left != expected {
            return Err(format!("there left {left:?}, in the model {expected:?}"));
        }
        self.state = state;
        self.state.apply(outcome.changes);
        invariant::check(&self.state).map_err(|broken| broken.to_string())?;
        self.model.agrees_with(&self.state)
    }

    /// Signatures are not what is tested here: see the tests of the envelope.
    fn unsigned(&mut self, signer: AccountId, action: Action) -> Tx {
        let auth = self.auth(&signer, &action);
        let lowest = match &auth {
            Auth::Key(by) => {
                let known = self.model.delegated_to(&signer, &by.key);
                known.map_or(0, |known| lowest_unused(known.first, &known.used))
            }
            Auth::Own(_) | Auth::Members(_) => {
                let person = self.model.people.find(|one| one.id == signer);
                person.map_or(0, |person| lowest_unused(0, &person.used))
            }
        };
        let nonce = if self.chance(10) { lowest + self.below(70) } else { lowest };
        let max_fee = if self.chance(2) { Amount::ZERO } else { Amount::from_units(1) };
        let tip = match self.below(40) {
            0 => self.amount(),
            1..=9 => Amount::from_nanos(u128::from(self.below(5_000_000))),
            _ => Amount::ZERO,
        };
        let (chain, expires) = (self.chain, Millis::MAX);
        let envelope = Envelope { chain, signer, nonce, max_fee, tip, expires, action };
        Tx { envelope, auth }
    }

    fn sent(&self, tx: &Tx) -> Sent {
        let (signers, signatures) = match &tx.auth {
            Auth::Own(_) => (Signers::Own, 1),
            Auth::Key(by) => (Signers::Key(by.key), 1),
            Auth::Members(by) => (Signers::Members(by.iter().map(|by| by.key).collect()), by.len()),
        };
        let bytes = codec::encode(tx).len();
        Sent {
            signer: tx.envelope.signer,
            signers,
            nonce: tx.envelope.nonce,
            floor: self.model.floor(&tx.envelope.action, bytes, signatures),
            max_fee: money(tx.envelope.max_fee),
            tip: money(tx.envelope.tip),
        }
    }

    /// All time that a provider's leases are paid for, in the model.
    fn covered(&self, provider: &AccountId) -> u64 {
        let leases = self.model.leases.iter().filter(|lease| lease.host.provider == *provider);
        leases.map(|lease| lease.covered).sum()
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

    /// What a sequence begins with, so that most of it is about leases: some provide, some audit,
    /// some have money set aside.
    fn openings(&mut self, height: u64) -> Vec<(AccountId, Action)> {
        let mut acts = Vec::new();
        match height {
            1 => {
                for (place, who) in self.people.clone().into_iter().enumerate() {
                    let amount = Amount::from_units(30 + self.below(150));
                    acts.push((who, Action::BondAdd { amount }));
                    if (VALIDATORS..PROVIDERS).contains(&place) {
                        acts.push((who, Action::ProviderSet { profile: self.profile() }));
                    } else if place < 2 {
                        acts.push((who, Action::AuditorRegister {}));
                    }
                    let deposit = Amount::from_units(1 + self.below(40));
                    acts.push((who, Action::EscrowOpen { deposit }));
                }
            }
            2 => {
                for who in self.people.clone().drain(VALIDATORS..PROVIDERS) {
                    for index in 0..=u32::try_from(self.below(3)).unwrap() {
                        acts.push((who, Action::HostSet { index, spec: self.host_spec() }));
                    }
                }
            }
            _ => {}
        }
        acts
    }

    fn act(&mut self) -> Option<(AccountId, Action)> {
        let (rightful, action) = match self.below(45) {
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
            27..=32 => self.as_trader()?,
            33 => self.as_owner()?,
            34 => self.on_what_has_left()?,
            35 | 36 => self.as_voter()?,
            37 | 38 => self.as_dealer()?,
            _ => drive_stake::act(&mut self.random, &self.model)?,
        };
        Some((if self.chance(8) { self.anybody() } else { rightful }, action))
    }
}

/// How many kinds of actions are tried: all.
const KINDS: usize = 56;

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
