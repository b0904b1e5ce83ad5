//! A chain in memory whose people go by name. After every block it checks the invariants.

use super::kinds::name_of;
use crate::{
    account::Account,
    bond::Bond,
    ctx::{Ctx, Env},
    dispute::{Challenge, Claim, Dispute},
    escrow::Escrow,
    genesis::{Balance, EPOCH_BLOCKS, PROTOCOL},
    job::{Job, JobKind, JobSpec, TaskOutput, TaskRef, Verification},
    keys::Record,
    market::{Lease, LeaseStatus, Mode, Order},
    provider::{Host, HostSpec, Provider},
    stake::Views,
    *,
};
use muster_market::{GIB, Prices, Request, Terms, Verifies};
use muster_types::*;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const START: u64 = 1_000_000;
pub(crate) const STEP: u64 = 500;
pub(crate) const PEOPLE: [&str; 7] = ["ann", "bob", "eve", "pat", "quin", "rob", "val"];

pub(crate) fn usd(units: u64) -> Amount {
    Amount::from_units(units)
}

pub(crate) fn nanos(nanos: u128) -> Amount {
    Amount::from_nanos(nanos)
}

pub(crate) fn key(name: &str) -> SecretKey {
    SecretKey::from_seed(Hash::of_content(name.as_bytes()).0)
}

pub(crate) fn id(name: &str) -> AccountId {
    key(name).account()
}

pub(crate) fn hash(byte: u8) -> Hash {
    Hash([byte; 32])
}

/// What a block did, its refusals included.
pub(crate) struct Done {
    pub(crate) results: Vec<Result<Receipt, Reject>>,
    pub(crate) events: Vec<Event>,
}

pub(crate) struct World {
    pub(crate) state: MemoryState,
    pub(crate) chain: Hash,
    pub(crate) proposer: AccountId,
    /// What the last block wrote.
    pub(crate) changes: Changes,
    /// What has left the state, as its host keeps it.
    pub(crate) archive: MemoryState,
    pub(crate) views: Views,
    /// The beacon's round stays, and its key is this one.
    pub(crate) beacon_stays: bool,
    pub(crate) beacon_key: Option<u64>,
    /// A hash over what every block told: its event root and its receipts.
    pub(crate) told: Hash,
    /// The kinds of actions that were applied.
    pub(crate) applied: BTreeSet<String>,
    /// Nonces of transactions that were signed and are in no block yet.
    pending: BTreeSet<(AccountId, u64)>,
    /// The same of delegated keys: account, key, nonce.
    pending_by_key: BTreeSet<(AccountId, AccountId, u64)>,
}

impl World {
    /// Everybody has 1000 usd; nothing costs a fee; what is ready is accepted at once, and closing
    /// costs nothing; `val` is the validator and proposer.
    pub(crate) fn new() -> Self {
        Self::with(&["val"], |_| ())
    }

    pub(crate) fn with(validators: &[&str], change: impl FnOnce(&mut Params)) -> Self {
        let mut params = Params {
            fee_per_byte: Amount::ZERO,
            fee_per_unit: Amount::ZERO,
            fee_per_visit: Amount::ZERO,
            rent_per_lease: Rate::ZERO,
            ready_window_ms: Millis::ZERO,
            min_charge_ms: Millis::ZERO,
            // Over by the next block.
            offer_lifetime_min_ms: Millis(1),
            ..Params::default()
        };
        change(&mut params);
        let genesis = Genesis {
            name: "test".into(),
            time: Millis(START),
            protocol: PROTOCOL,
            validators: validators.iter().map(|name| id(name)).collect(),
            balances: PEOPLE
                .iter()
                .map(|name| (id(name), Balance { usd: usd(1_000), mst: usd(10) }))
                .collect(),
            stakes: BTreeMap::new(),
            epoch_blocks: EPOCH_BLOCKS,
            params,
        };
        let mut state = MemoryState::default();
        state.apply(genesis.changes().unwrap());
        let (chain, proposer) = (genesis.id(), id("val"));
        Self {
            state,
            chain,
            proposer,
            changes: Changes::default(),
            archive: MemoryState::default(),
            views: Views::default(),
            beacon_stays: false,
            beacon_key: None,
            told: Hash::ZERO,
            applied: BTreeSet::new(),
            pending: BTreeSet::new(),
            pending_by_key: BTreeSet::new(),
        }
    }

    pub(crate) fn head(&self) -> Head {
        view::head(&self.state).unwrap()
    }

    pub(crate) fn context(&self, step: u64) -> BlockContext {
        let head = self.head();
        let height = head.height + 1;
        let (beacon, beacon_round) = match self.beacon_stays {
            true => (head.beacon, head.beacon_round),
            false => {
                let round = head.beacon_round + 1;
                (Hash::of("test beacon", &[&round.to_le_bytes()]), round)
            }
        };
        BlockContext {
            height,
            now: head.now.after(Millis(step)),
            beacon,
            beacon_round,
            beacon_key: self.beacon_key,
            proposer: self.proposer,
            views: self.views,
        }
    }

    /// As if a vote had changed them.
    pub(crate) fn set_params(&mut self, params: &Params) {
        let mut scratch = Scratch::new(&self.state);
        keys::PARAMS.put(&mut scratch, &(), params);
        let changes = scratch.into_changes();
        self.state.apply(changes);
    }

    pub(crate) fn envelope(&mut self, who: &str, action: Action) -> Envelope<Action> {
        let signer = id(who);
        let account = view::account(&self.state, &signer).unwrap_or_default();
        let unused = |ahead: &u64| *ahead >= 64 || account.nonces_used >> ahead & 1 == 0;
        let nonce = (0..)
            .filter(unused)
            .map(|ahead| account.nonce + ahead)
            .find(|nonce| self.pending.insert((signer, *nonce)))
            .unwrap();
        let (max_fee, expires) = (usd(1), Millis::MAX);
        Envelope { chain: self.chain, signer, nonce, max_fee, tip: Amount::ZERO, expires, action }
    }

    /// As `who` acts: by its own key, or by the first of its members.
    pub(crate) fn sign(&mut self, who: &str, action: Action) -> Tx {
        let envelope = self.envelope(who, action);
        let authority = view::authority(&self.state, &id(who));
        let Some(policy) = authority.policy else { return envelope.sign(&key(who)) };
        let members = PEOPLE.into_iter().filter(|who| policy.members.contains(&id(who)));
        let members = members.take(usize::from(policy.threshold));
        let signatures = members.map(|member| envelope.sign_member(&key(member))).collect();
        envelope.gather(signatures)
    }

    /// Signed for `who` by a key that it has delegated to.
    pub(crate) fn sign_as(&mut self, by: &str, who: &str, action: Action) -> Tx {
        let record = view::delegated_key(&self.state, &id(who), &id(by));
        let (mut nonce, used) = record.map_or((0, 0), |record| (record.nonce, record.nonces_used));
        let first = nonce;
        while nonce - first < 64 && used >> (nonce - first) & 1 == 1
            || !self.pending_by_key.insert((id(who), id(by), nonce))
        {
            nonce += 1;
        }
        let envelope = Envelope {
            chain: self.chain,
            signer: id(who),
            nonce,
            max_fee: usd(1),
            tip: Amount::ZERO,
            expires: Millis::MAX,
            action,
        };
        envelope.sign_as(&key(by))
    }

    /// One block, `step` milliseconds after the last, with transactions that may be refused.
    pub(crate) fn block_of(&mut self, step: u64, txs: &[Tx]) -> Done {
        let mut block = BlockBuilder::new(&self.state, self.context(step)).unwrap();
        let results: Vec<_> = txs.iter().map(|tx| block.push(tx).cloned()).collect();
        for (tx, receipt) in txs.iter().zip(&results) {
            let Ok(receipt) = receipt else { continue };
            assert!(!receipt.events.is_empty(), "what was done is not told");
            self.applied.insert(name_of(&tx.envelope.action));
        }
        let outcome = block.finish();
        let receipts = codec::encode(&outcome.receipts);
        let told: [&[u8]; 3] = [self.told.as_bytes(), outcome.event_root.as_bytes(), &receipts];
        self.told = Hash::of("test told", &told);
        let events = outcome.all_events().cloned().collect();
        self.changes = outcome.changes.clone();
        self.state.apply(outcome.changes);
        self.pending.clear();
        self.pending_by_key.clear();
        for (key, value) in outcome.archived {
            for entry in archive::entries(&key, &value) {
                self.archive.insert(entry, Vec::new());
            }
            assert_eq!(self.state.get(&key), None, "what is archived has left the state");
            let before = self.archive.insert(key, value);
            assert_eq!(before, None, "a record leaves once");
        }
        let mut whole = Scratch::new(&self.state);
        for (key, value) in self.archive.iter() {
            whole.put(key.to_vec(), value.to_vec());
        }
        let checked = invariant::check(&self.state).and_then(|()| invariant::check_whole(&whole));
        if let Err(broken) = checked {
            panic!("after block {}: {broken}", self.head().height);
        }
        Done { results, events }
    }

    pub(crate) fn block(&mut self, step: u64, acts: Vec<(&str, Action)>) -> Done {
        let txs: Vec<Tx> = acts.into_iter().map(|(who, action)| self.sign(who, action)).collect();
        self.block_of(step, &txs)
    }

    /// A block with one transaction, which must apply.
    pub(crate) fn ok(&mut self, who: &str, action: Action) -> (Receipt, Vec<Event>) {
        let mut done = self.block(STEP, vec![(who, action.clone())]);
        match done.results.remove(0) {
            Ok(receipt) => (receipt, done.events),
            Err(reject) => panic!("{who} was refused {action:?}: {reject}"),
        }
    }

    /// A block with one transaction, which must be refused and change nothing.
    pub(crate) fn refused(&mut self, who: &str, action: Action) -> Reject {
        let tx = self.sign(who, action);
        self.refused_tx(&tx)
    }

    pub(crate) fn refused_tx(&mut self, tx: &Tx) -> Reject {
        let empty = BlockBuilder::new(&self.state, self.context(STEP)).unwrap().finish();
        let mut with = BlockBuilder::new(&self.state, self.context(STEP)).unwrap();
        let Err(reject) = with.push(tx) else { panic!("{:?} was applied", tx.envelope.action) };
        assert_eq!(with.finish(), empty, "a refused transaction left a trace");
        self.pending.clear();
        self.pending_by_key.clear();
        reject
    }

    pub(crate) fn get<R: Record>(&self, key: &R::Key) -> R {
        R::TABLE.get(&self.state, key).unwrap()
    }

    /// Changes a record from outside of the rules.
    pub(crate) fn change<R: Record>(&mut self, key: &R::Key, change: impl FnOnce(&mut R)) {
        let mut record: R = self.get(key);
        change(&mut record);
        let mut scratch = Scratch::new(&self.state);
        keys::store(&mut scratch, key, &record);
        let changes = scratch.into_changes();
        self.state.apply(changes);
    }

    /// Runs a rule that is part of another action, at the time of the head.
    pub(crate) fn rule(
        &mut self,
        rule: impl FnOnce(&mut Ctx<'_>) -> Result<(), Reject>,
    ) -> Result<Vec<Event>, Reject> {
        let head = self.head();
        let env = Env {
            head,
            previous: head,
            params: view::params(&self.state),
            proposer: self.proposer,
            views: Views::default(),
        };
        let mut ctx = Ctx::new(Scratch::new(&self.state), &env);
        rule(&mut ctx)?;
        let effects = ctx.into_effects();
        self.state.apply(effects.changes);
        Ok(effects.events)
    }

    pub(crate) fn account(&self, who: &str) -> Account {
        view::account(&self.state, &id(who)).unwrap_or_default()
    }

    pub(crate) fn usd_of(&self, who: &str) -> Amount {
        self.account(who).usd
    }

    pub(crate) fn provider_of(&self, who: &str) -> Provider {
        self.get(&id(who))
    }

    pub(crate) fn bond_of(&self, who: &str) -> Bond {
        view::bond(&self.state, &id(who))
    }

    pub(crate) fn host_of(&self, who: &str, index: u32) -> Host {
        self.get(&HostId { provider: id(who), index })
    }

    pub(crate) fn lease(&self, lease: &LeaseId) -> Lease {
        self.get(lease)
    }

    pub(crate) fn escrow(&self, escrow: &EscrowId) -> Escrow {
        self.get(escrow)
    }

    pub(crate) fn order(&self, order: &OrderId) -> Order {
        self.get(order)
    }

    pub(crate) fn job(&self, job: &JobId) -> Job {
        self.get(job)
    }

    pub(crate) fn challenge(&self, challenge: &DisputeId) -> Challenge {
        self.get(challenge)
    }

    pub(crate) fn dispute(&self, dispute: &DisputeId) -> Dispute {
        self.get(dispute)
    }

    /// A host of eight threads and 16 GiB whose thread costs so much an hour.
    pub(crate) fn spec(&self, thread: &str) -> HostSpec {
        let price = |text: &str| Rate::per_hour(text.parse().unwrap());
        HostSpec {
            capacity: Resources {
                cpu_milli: 8_000,
                memory_bytes: 16 * GIB,
                ..Resources::default()
            },
            prices: Prices { cpu: price(thread), ..Prices::default() },
            offered_until: self.head().now.after(Millis(86_400_000)),
            verifies: Verifies::ALL.into(),
            fuel_per_s: 1_000,
            ..HostSpec::default()
        }
    }

    /// An active provider with 400 usd of bond and one host; a thread costs so much an hour.
    pub(crate) fn provider(&mut self, who: &str, thread: &str) {
        let profile = ProviderProfile { region: format!("{who}-land"), ..Default::default() };
        let spec = self.spec(thread);
        let done = self.block(
            STEP,
            vec![
                (who, Action::ProviderSet { profile }),
                (who, Action::BondAdd { amount: usd(400) }),
                (who, Action::HostSet { index: 0, spec }),
            ],
        );
        assert!(done.results.iter().all(Result::is_ok), "{:?}", done.results);
    }

    pub(crate) fn open_escrow(&mut self, who: &str, deposit: Amount) -> EscrowId {
        let (receipt, _) = self.ok(who, Action::EscrowOpen { deposit });
        EscrowId::derive(&receipt.tx)
    }

    pub(crate) fn open_job(&mut self, who: &str, escrow: EscrowId) -> JobId {
        let spec = JobSpec {
            kind: JobKind::Batch,
            escrow,
            tasks: 10,
            verification: Verification::Replicate { sample_bps: 1_000 },
            manifest: hash(1),
            fuel_max: 1_000,
            chain: None,
            metered: false,
        };
        self.open_job_of(who, spec)
    }

    pub(crate) fn open_job_of(&mut self, who: &str, spec: JobSpec) -> JobId {
        let (receipt, _) = self.ok(who, Action::JobOpen { spec });
        JobId::derive(&receipt.tx)
    }

    /// An order for `count` leases of a thread each at any price, good for an hour.
    pub(crate) fn order_for(&self, escrow: EscrowId, job: Option<JobId>, count: u32) -> Action {
        let terms = Terms {
            request: Request { cpu_milli: 1_000, ..Request::default() },
            count,
            max_rate: Rate::per_hour(usd(100)),
            ..Terms::default()
        };
        self.order_with(escrow, job, terms)
    }

    pub(crate) fn order_with(&self, escrow: EscrowId, job: Option<JobId>, terms: Terms) -> Action {
        let deadline = self.head().now.after(Millis(3_600_000));
        let (mode, reauction) = (Mode::Standing, false);
        Action::OrderPlace { escrow, job, terms, deadline, manifest: hash(2), mode, reauction }
    }

    pub(crate) fn place(&mut self, who: &str, action: Action) -> OrderId {
        let (receipt, _) = self.ok(who, action);
        OrderId::derive(&receipt.tx)
    }

    /// Orders `count` leases, which must be granted at once.
    pub(crate) fn grant(
        &mut self,
        who: &str,
        escrow: EscrowId,
        job: Option<JobId>,
        count: u32,
    ) -> Vec<LeaseId> {
        let action = self.order_for(escrow, job, count);
        let order = self.place(who, action);
        let leases = self.order(&order).leases;
        assert_eq!(leases.len(), count as usize, "not all were granted");
        leases
    }

    /// A lease that is active from the end of this call on.
    pub(crate) fn active(&mut self, who: &str, escrow: EscrowId, job: Option<JobId>) -> LeaseId {
        let [lease] = self.grant(who, escrow, job, 1)[..] else { panic!("one lease") };
        self.by_provider(&lease, Action::LeaseReady { lease });
        lease
    }

    /// The provider of a lease acts, in a block of its own.
    pub(crate) fn by_provider(&mut self, lease: &LeaseId, action: Action) {
        let provider = self.lease(lease).provider();
        let who = PEOPLE.into_iter().find(|who| id(who) == provider).unwrap();
        self.ok(who, action);
    }

    /// One block in which every provider's heartbeat covers all its leases that can be.
    pub(crate) fn beat(&mut self, step: u64) -> Done {
        let mut beats: BTreeMap<AccountId, Vec<LeaseId>> = BTreeMap::new();
        for (lease, record) in crate::keys::LEASES.scan(&self.state, &(), None) {
            if !matches!(record.status, LeaseStatus::Granted | LeaseStatus::Closed { .. }) {
                beats.entry(record.provider()).or_default().push(lease);
            }
        }
        let acts = PEOPLE
            .into_iter()
            .filter_map(|who| {
                beats.remove(&id(who)).map(|leases| (who, Action::Heartbeat { leases }))
            })
            .collect();
        let done = self.block(step, acts);
        assert!(done.results.iter().all(Result::is_ok), "{:?}", done.results);
        done
    }

    /// `count` blocks without transactions.
    pub(crate) fn pass(&mut self, count: u64, step: u64) -> Vec<Event> {
        (0..count).flat_map(|_| self.block_of(step, &[]).events).collect()
    }

    /// A claim by the provider of `lease` on task `index`, with an output made of one byte.
    pub(crate) fn claim(&self, lease: LeaseId, index: u64, output: u8) -> Claim {
        let record = self.lease(&lease);
        let who = PEOPLE.into_iter().find(|who| id(who) == record.provider()).unwrap();
        let task = task(record.job.unwrap_or_default(), index);
        Claim::sign(&self.chain, lease, task, result(output), &key(who))
    }
}

pub(crate) fn task(job: JobId, index: u64) -> TaskRef {
    TaskRef {
        job,
        index,
        module: hash(3),
        input: hash(4),
        data: hash(5),
        fuel_limit: 1_000,
        memory_limit_bytes: 1 << 20,
    }
}

pub(crate) fn result(output: u8) -> TaskOutput {
    TaskOutput { output: hash(output), fuel: 10 }
}
