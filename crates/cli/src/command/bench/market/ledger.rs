//! The ledger's own block ends: what a lease costs when the rules grant it.
//!
//! Hosts, providers, tenants and escrows are made once by transactions, and their records copied
//! under other ids; the indexes are the ledger's own ([`rebuild_derived`]). Orders are transactions
//! of blocks of [`BLOCK`], each of a tenant of its own, and are applied before the clock runs:
//! measured is [`BlockBuilder::finish`], which gives every order of the block its turn, up to the
//! encoded changes and the root of the events. Writing these into the state in memory is measured
//! beside it.
//!
//! What a lease costs there beside the auction: each block reads what it looks at out of the state
//! anew, hosts and providers in full (but for hosts in regions that the order does not allow, of
//! which it reads the provider); and a lease writes its own record and five index entries, its
//! host, provider, bond and operator, and with its order and escrow two more records: a dozen
//! look-ups in maps too large for the caches, as many encodings and twice as many allocations.
//! With blocks of a thousand orders a lease costs a quarter less.
//!
//! An index beside the state ([`muster_market::IndexedBook`]) would save the reading; it would have
//! to follow the blocks that are not final yet, of which several compete.

use super::{
    BYTES, EXPLAIN_MS, HOPELESS, HOSTS_OF_A_PROVIDER, Measurement, Mix, NOW, REGIONS, Random,
    account, capacity, host_id, micros, on_processor, prices, processor, resident_bytes, terms,
};
use anyhow::Context as _;
use muster_ledger::{
    Action, BlockBuilder, BlockContext, Event, Genesis, MemoryState, Params, ProviderProfile,
    account::Account,
    bond::Bond,
    escrow::Escrow,
    genesis::{Balance, EPOCH_BLOCKS, PROTOCOL},
    keys,
    market::{Mode, QuoteBook},
    provider::{Host, HostSpec, Provider},
    rebuild_derived,
    stake::Views,
    view,
};
use muster_types::{
    AccountId, Amount, Envelope, EscrowId, Hash, HostId, Millis, SecretKey, codec::encode,
};
use rustix::time::ClockId;
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Orders of a block, whatever the number of hosts: what a block reads anew is the same share.
const BLOCK: usize = 100;
/// Providers whose indexes are made together.
const PART: u64 = 1024;
const STEP: Millis = Millis(400);
const QUOTES: u32 = 24;
const TIMES: u32 = 5;
/// No offer, no order and no lease ends while this is measured.
const LONG: Millis = Millis(86_400_000);

/// What a lease cost; of orders that got nothing, what an order did.
pub(super) struct Cost {
    /// Block ends.
    pub(super) finish: Duration,
    /// Writing what the blocks changed into the state in memory.
    pub(super) write: Duration,
}

/// A chain with standing hosts, and tenants that can pay.
#[derive(Clone)]
pub(super) struct Chain {
    id: Hash,
    pub(super) hosts: u64,
    /// How many bytes the process grew by while the hosts came into the state.
    grown: u64,
    state: MemoryState,
}

/// One record of each kind, as the rules made it.
struct Templates {
    provider: Provider,
    bond: Bond,
    account: Account,
    host: Host,
    escrow: Escrow,
}

impl Chain {
    /// A chain with so many hosts, and for each order a tenant with an escrow.
    pub(super) fn new(hosts: u64, random: &mut Random) -> anyhow::Result<Self> {
        let (owner, payer) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
        let balance = Balance { usd: Amount::from_units(1_000_000), mst: Amount::ZERO };
        let genesis = Genesis {
            name: "bench".into(),
            time: NOW,
            protocol: PROTOCOL,
            epoch_blocks: EPOCH_BLOCKS,
            validators: vec![AccountId::default()],
            balances: [(owner.account(), balance), (payer.account(), balance)].into(),
            params: Params { ready_timeout_ms: LONG, ..Params::default() },
            stakes: Default::default(),
        };
        let mut state = MemoryState::default();
        state.apply(genesis.changes()?);
        let mut chain = Self { id: genesis.id(), hosts, grown: 0, state };
        let templates = chain.clone().templates(&owner, &payer)?;
        let before = resident_bytes()?;
        let mut part = chain.part();
        for number in 0..hosts.div_ceil(HOSTS_OF_A_PROVIDER) {
            let first = number * HOSTS_OF_A_PROVIDER;
            templates.provider(&mut part, number, random);
            (first..hosts.min(first + HOSTS_OF_A_PROVIDER))
                .for_each(|host| templates.host(&mut part, host, random));
            if number % PART == PART - 1 {
                chain.take_over(part);
                part = chain.part();
            }
        }
        chain.take_over(part);
        chain.grown = resident_bytes()?.saturating_sub(before);
        for number in 0..hosts / 10 {
            let owner = tenant(number).account();
            chain.state.insert(keys::ACCOUNTS.key(&owner), encode(&templates.account));
            let escrow = Escrow { owner, ..templates.escrow.clone() };
            chain.state.insert(keys::ESCROWS.key(&escrow_id(number)), encode(&escrow));
        }
        Ok(chain)
    }

    fn templates(mut self, owner: &SecretKey, payer: &SecretKey) -> anyhow::Result<Templates> {
        let spec = HostSpec { offered_until: NOW.after(LONG), ..HostSpec::default() };
        let (profile, amount) = (ProviderProfile::default(), Amount::from_units(10_000));
        let (acts, id) = (
            [
                Action::ProviderSet { profile },
                Action::BondAdd { amount },
                Action::HostSet { index: 0, spec },
            ],
            owner.account(),
        );
        let mut block = self.begin()?;
        for (action, nonce) in acts.into_iter().zip(0..) {
            block.push_verified(&sign(self.id, owner, nonce, action))?;
        }
        let opened = Action::EscrowOpen { deposit: Amount::from_units(1_000) };
        let opened = sign(self.id, payer, 0, opened);
        block.push_verified(&opened)?;
        let changes = block.finish().changes;
        self.state.apply(changes);
        let state = &self.state;
        let missing = "the rules made no such record";
        Ok(Templates {
            provider: view::provider(state, &id).context(missing)?,
            bond: keys::BONDS.get(state, &id).context(missing)?,
            account: Account {
                nonce: 0,
                ..view::account(state, &payer.account()).context(missing)?
            },
            host: view::host(state, &HostId { provider: id, index: 0 }).context(missing)?,
            escrow: view::escrow(state, &EscrowId::derive(&opened.id())).context(missing)?,
        })
    }

    /// An empty state of the same chain.
    fn part(&self) -> MemoryState {
        let (head, params) = (view::head(&self.state), view::params(&self.state));
        let head = head.map(|head| (keys::HEAD.key(&()), encode(&head)));
        head.into_iter().chain([(keys::PARAMS.key(&()), encode(&params))]).collect()
    }

    /// Takes over a part's records, and lists them.
    fn take_over(&mut self, mut part: MemoryState) {
        let derived = rebuild_derived(&part);
        part.apply(derived);
        for (key, value) in part.iter() {
            self.state.insert(key.to_vec(), value.to_vec());
        }
    }

    fn begin(&self) -> anyhow::Result<BlockBuilder<'_>> {
        let head = view::head(&self.state).context("no chain")?;
        let height = head.height + 1;
        let context = BlockContext {
            height,
            now: head.now.after(STEP),
            beacon: Hash::of("muster bench beacon", &[&height.to_le_bytes()]),
            beacon_round: height,
            beacon_key: None,
            proposer: AccountId::default(),
            views: Views::default(),
        };
        Ok(BlockBuilder::new(&self.state, context)?)
    }

    /// Orders a tenth of the hosts in number, or few where they get nothing: what each lease cost
    /// or each of those orders.
    pub(super) fn clear(mut self, mix: Mix, random: &mut Random) -> anyhow::Result<Cost> {
        let hopeless = mix == Mix::Nothing;
        let all = self.hosts / 10;
        let orders = if hopeless { HOPELESS.min(all) } else { all };
        let (mut finish, mut write, mut granted) = (Duration::ZERO, Duration::ZERO, 0u64);
        let numbers: Vec<u64> = (0..orders).collect();
        for escrows in numbers.chunks(BLOCK) {
            let mut block = self.begin()?;
            for number in escrows {
                let placed = Action::OrderPlace {
                    escrow: escrow_id(*number),
                    job: None,
                    terms: terms(random, mix),
                    deadline: NOW.after(LONG),
                    manifest: Hash::ZERO,
                    mode: Mode::Standing,
                    reauction: false,
                };
                block.push_verified(&sign(self.id, &tenant(*number), 0, placed))?;
            }
            let begin = on_processor();
            let outcome = block.finish();
            let ended = on_processor();
            let leases = |event: &&Event| matches!(event, Event::LeaseGranted { .. });
            granted += u64::try_from(outcome.events.iter().filter(leases).count())?;
            let written = on_processor();
            self.state.apply(outcome.changes);
            write += on_processor().saturating_sub(written);
            finish += ended.saturating_sub(begin);
        }
        if hopeless {
            anyhow::ensure!(granted == 0, "a host is nowhere");
            granted = orders;
        }
        anyhow::ensure!(granted >= orders, "most orders got nothing");
        let each = u32::try_from(granted)?;
        Ok(Cost { finish: finish / each, write: write / each })
    }

    /// What standing hosts take up, and how long a quote over them takes.
    pub(super) fn standing(
        &self,
        random: &mut Random,
        results: &mut Vec<Measurement>,
    ) -> anyhow::Result<()> {
        let bytes = |grown: u64| grown as f64 / self.hosts as f64;
        results.push(Measurement::within("bytes_per_host", "B", bytes(self.grown), BYTES));
        let before = resident_bytes()?;
        let quotes = view::quote_book(&self.state);
        let grown = self.grown + resident_bytes()?.saturating_sub(before);
        results.push(Measurement::fact("with_quotes", "B", bytes(grown)));
        let (slowest, dearest) = self.slowest_quote(&quotes, random);
        results.push(Measurement::within("explain_ms", "ms", slowest, EXPLAIN_MS));
        results.push(Measurement::fact("explain_cpu", "ms", dearest));
        Ok(())
    }

    /// Of several quotes the slowest, each by the best of a few times, in milliseconds: by the
    /// clock, and by what it took of all processors.
    fn slowest_quote(&self, quotes: &QuoteBook, random: &mut Random) -> (f64, f64) {
        let (mut slowest, mut dearest) = (0.0f64, 0.0f64);
        for turn in 0..QUOTES {
            let mut asked = terms(random, Mix::Mixed);
            if turn % 4 == 0 {
                asked.attributes = [("tier".to_owned(), "1".to_owned())].into();
                asked.providers = vec![account(0)];
                asked.min_bond = Amount::from_units(1_000_000);
            }
            let (mut time, mut work) = (Duration::MAX, Duration::MAX);
            for _ in 0..TIMES {
                let (begin, worked) = (Instant::now(), processor(ClockId::ProcessCPUTime));
                black_box(quotes.explain(&self.state, &asked));
                time = time.min(begin.elapsed());
                work = work.min(processor(ClockId::ProcessCPUTime).saturating_sub(worked));
            }
            slowest = slowest.max(micros(time) / 1e3);
            dearest = dearest.max(micros(work) / 1e3);
        }
        (slowest, dearest)
    }
}

impl Templates {
    fn provider(&self, part: &mut MemoryState, number: u64, random: &mut Random) {
        let id = account(number);
        let mut provider = self.provider.clone();
        provider.profile.region = random.pick(&REGIONS).into();
        provider.profile.attributes = [("tier".to_owned(), random.below(3).to_string())].into();
        // Half of them are newcomers, more or less so.
        provider.conduct.fees_paid = Amount::from_nanos(u128::from(random.below(2_000_000_000)));
        part.insert(keys::PROVIDERS.key(&id), encode(&provider));
        part.insert(keys::BONDS.key(&id), encode(&self.bond));
    }

    fn host(&self, part: &mut MemoryState, number: u64, random: &mut Random) {
        let mut host = self.host.clone();
        host.offered_at_height = 0;
        host.spec.capacity = capacity(random);
        host.spec.prices = prices(random);
        part.insert(keys::HOSTS.key(&host_id(number)), encode(&host));
    }
}

fn sign(chain: Hash, key: &SecretKey, nonce: u64, action: Action) -> muster_ledger::Tx {
    let (signer, max_fee, expires) = (key.account(), Amount::from_units(1), Millis::MAX);
    Envelope { chain, signer, nonce, max_fee, tip: Amount::ZERO, expires, action }.sign(key)
}

fn tenant(number: u64) -> SecretKey {
    SecretKey::from_seed(Hash::of("muster bench market tenant", &[&number.to_le_bytes()]).0)
}

fn escrow_id(number: u64) -> EscrowId {
    EscrowId(Hash::of("muster bench market escrow", &[&number.to_le_bytes()]))
}
