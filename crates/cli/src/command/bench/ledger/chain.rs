//! A chain in memory that is ready to be measured: accounts that pay each other, and providers
//! that serve leases of many tenants. It is set up by the rules themselves, block by block.

use anyhow::Context as _;
use muster_ledger::{
    Action, BlockBuilder, BlockContext, BlockOutcome, Event, Genesis, MemoryState, Params,
    ProviderProfile, State, Tx, execute_block,
    genesis::{Balance, EPOCH_BLOCKS, PROTOCOL},
    market::Mode,
    provider::HostSpec,
    stake::Views,
    view,
};
use muster_market::{GIB, Prices, Request, Spread, Terms};
use muster_types::{
    AccountId, Amount, Asset, EscrowId, Hash, LeaseId, Millis, Rate, Resources, SecretKey,
};
use std::collections::BTreeMap;

/// Leases that one order asks for, each on another provider's host.
const ORDER: usize = 64;
/// So many blocks have everybody's turn once.
pub(super) const TURNS: usize = 4;
/// Block time from one block to the next: everybody's turn comes within what a heartbeat covers.
const STEP: Millis = Millis(500);
const START: Millis = Millis(1_000_000);
const ENOUGH: Amount = Amount::from_units(1_000_000);
/// No offer and no order ends while this is measured.
const LONG: Millis = Millis(30 * 24 * 3_600_000);

/// Somebody who signs.
pub(super) struct Person {
    key: SecretKey,
    nonce: u64,
}

/// The chain and who acts on it.
pub(super) struct Chain {
    pub(super) state: MemoryState,
    id: Hash,
    height: u64,
    now: Millis,
    validator: AccountId,
    payers: Vec<Person>,
    providers: Vec<Person>,
    /// Of each provider.
    leases: Vec<Vec<LeaseId>>,
}

impl Chain {
    /// Every provider serves `leases` leases, each for another tenant's escrow. `half` is both the
    /// number of providers and that of accounts that pay: a multiple of [`ORDER`].
    pub(super) fn new(half: usize, leases: usize) -> anyhow::Result<Self> {
        let payers = people("payer", half);
        let mut providers = people("provider", half);
        let orders = half * leases / ORDER;
        let mut tenants = people("tenant", orders);
        let validator = SecretKey::from_seed([7; 32]).account();
        let everybody = payers.iter().chain(&providers).chain(&tenants);
        let balance = Balance { usd: ENOUGH, mst: Amount::ZERO };
        let mut balances: BTreeMap<_, _> =
            everybody.map(|person| (person.key.account(), balance)).collect();
        balances.insert(validator, balance);
        let genesis = Genesis {
            name: "bench".into(),
            time: START,
            protocol: PROTOCOL,
            epoch_blocks: EPOCH_BLOCKS,
            validators: vec![validator],
            balances,
            stakes: BTreeMap::new(),
            // Leases pay from their first heartbeat on: what a block costs when a network runs.
            params: Params { ready_window_ms: Millis::ZERO, ..Params::default() },
        };
        let mut state = MemoryState::default();
        state.apply(genesis.changes()?);
        let mut chain = Self {
            state,
            id: genesis.id(),
            height: 0,
            now: START,
            validator,
            payers: Vec::new(),
            providers: Vec::new(),
            leases: Vec::new(),
        };
        chain.offer(&mut providers, leases)?;
        let granted = chain.lease(&mut tenants)?;
        chain.leases = providers
            .iter()
            .map(|one| granted.get(&one.key.account()).cloned())
            .collect::<Option<_>>()
            .context("a provider got no lease")?;
        anyhow::ensure!(
            chain.leases.iter().all(|granted| granted.len() == leases),
            "the leases are not spread evenly"
        );
        let ready = providers.iter_mut().zip(&chain.leases).flat_map(|(provider, leases)| {
            let id = chain.id;
            leases.iter().map(move |lease| provider.sign(id, Action::LeaseReady { lease: *lease }))
        });
        let ready: Vec<Tx> = ready.collect();
        chain.set_up(&ready)?;
        (chain.payers, chain.providers) = (payers, providers);
        Ok(chain)
    }

    fn offer(&mut self, providers: &mut [Person], leases: usize) -> anyhow::Result<()> {
        let threads = u64::try_from(leases)?;
        let spec = HostSpec {
            capacity: Resources {
                cpu_milli: 1_000 * threads,
                memory_bytes: GIB * threads,
                ..Resources::default()
            },
            prices: Prices { cpu: cents(10), memory_gib: cents(1), ..Prices::default() },
            offered_until: self.now.after(LONG),
            ..HostSpec::default()
        };
        let mut txs = Vec::new();
        for provider in providers {
            let attributes = [("tier", "gold"), ("network", "fibre")];
            let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
            let profile = ProviderProfile {
                region: "eu-central".into(),
                attributes: attributes.into(),
                ..ProviderProfile::default()
            };
            txs.push(provider.sign(self.id, Action::ProviderSet { profile }));
            let amount = Amount::from_units(1_000);
            txs.push(provider.sign(self.id, Action::BondAdd { amount }));
            txs.push(provider.sign(self.id, Action::HostSet { index: 0, spec: spec.clone() }));
        }
        self.set_up(&txs).map(|_| ())
    }

    /// Each tenant's order is granted; gives the leases of each provider.
    fn lease(
        &mut self,
        tenants: &mut [Person],
    ) -> anyhow::Result<BTreeMap<AccountId, Vec<LeaseId>>> {
        let deposit = Amount::from_units(10_000);
        let opened: Vec<Tx> = tenants
            .iter_mut()
            .map(|one| one.sign(self.id, Action::EscrowOpen { deposit }))
            .collect();
        self.set_up(&opened)?;
        let mut orders = Vec::new();
        for (tenant, opened) in tenants.iter_mut().zip(&opened) {
            let terms = Terms {
                request: Request { cpu_milli: 1_000, memory_bytes: GIB, ..Request::default() },
                count: u32::try_from(ORDER)?,
                spread: Spread { per_host: 1, ..Spread::default() },
                max_rate: cents(100),
                ..Terms::default()
            };
            let order = Action::OrderPlace {
                escrow: EscrowId::derive(&opened.id()),
                job: None,
                terms,
                deadline: self.now.after(LONG),
                manifest: Hash::ZERO,
                mode: Mode::Standing,
                reauction: false,
            };
            orders.push(tenant.sign(self.id, order));
        }
        let mut granted: BTreeMap<AccountId, Vec<LeaseId>> = BTreeMap::new();
        for event in self.set_up(&orders)? {
            if let Event::LeaseGranted { lease, host, .. } = event {
                granted.entry(host.provider).or_default().push(lease);
            }
        }
        Ok(granted)
    }

    /// A block whose signatures nobody checks.
    fn set_up(&mut self, txs: &[Tx]) -> anyhow::Result<Vec<Event>> {
        let context = self.next();
        let mut block = BlockBuilder::new(&self.state, context)?;
        for tx in txs {
            block.push_verified(tx)?;
        }
        let outcome = block.finish();
        let events = outcome.all_events().cloned().collect();
        self.state.apply(outcome.changes);
        self.advance();
        Ok(events)
    }

    fn next(&self) -> BlockContext {
        let height = self.height + 1;
        BlockContext {
            height,
            now: self.now.after(STEP),
            beacon: Hash::of("muster bench beacon", &[&height.to_le_bytes()]),
            beacon_round: height,
            beacon_key: None,
            proposer: self.validator,
            views: Views::default(),
        }
    }

    /// The transactions of the next block. It is the turn of every [`TURNS`]-th account that pays,
    /// which pays another one, and of every such provider, whose heartbeat covers all its leases.
    pub(super) fn sign(&mut self) -> Vec<Tx> {
        let accounts: Vec<AccountId> =
            self.payers.iter().map(|payer| payer.key.account()).collect();
        let mut txs = Vec::with_capacity(2 * self.payers.len() / TURNS);
        let first = usize::try_from(self.height).unwrap_or_default() % TURNS;
        let sides = self.payers.iter_mut().zip(&mut self.providers).zip(&self.leases);
        for (index, ((payer, provider), leases)) in sides.enumerate().skip(first).step_by(TURNS) {
            // Some other place in the state.
            let to = accounts[(index * 7 + 1) % accounts.len()];
            let amount = Amount::from_nanos(1_000);
            let transfer = Action::Transfer { to, asset: Asset::Usd, amount };
            txs.push(payer.sign(self.id, transfer));
            txs.push(provider.sign(self.id, Action::Heartbeat { leases: leases.clone() }));
        }
        txs
    }

    /// Executes the next block on `state`, as a validator does that did not make it. All of `txs`
    /// must apply.
    pub(super) fn execute(
        &self,
        state: &dyn State,
        txs: &[Tx],
        threads: usize,
    ) -> anyhow::Result<BlockOutcome> {
        Ok(execute_block(state, self.next(), txs, threads)?)
    }

    /// Goes on to the next block; its changes are in the state.
    pub(super) fn advance(&mut self) {
        self.height += 1;
        self.now = self.now.after(STEP);
    }

    /// What the providers have earned.
    pub(super) fn paid(&self, state: &dyn State) -> Amount {
        let paid = self.providers.iter().filter_map(|provider| {
            view::provider(state, &provider.key.account()).map(|record| record.paid)
        });
        paid.fold(Amount::ZERO, |total, paid| total.checked_add(paid).unwrap_or(Amount::MAX))
    }
}

impl Person {
    fn sign(&mut self, chain: Hash, action: Action) -> Tx {
        let nonce = self.nonce;
        self.nonce += 1;
        let (signer, max_fee) = (self.key.account(), Amount::from_units(1));
        let envelope = muster_types::Envelope {
            chain,
            signer,
            nonce,
            max_fee,
            tip: Amount::ZERO,
            expires: Millis::MAX,
            action,
        };
        envelope.sign(&self.key)
    }
}

fn people(role: &str, count: usize) -> Vec<Person> {
    let seed =
        |index: usize| Hash::of("muster bench key", &[role.as_bytes(), &index.to_le_bytes()]);
    (0..count).map(|index| Person { key: SecretKey::from_seed(seed(index).0), nonce: 0 }).collect()
}

fn cents(count: u64) -> Rate {
    Rate::per_hour(Amount::from_nanos(10_000_000 * u128::from(count)))
}
