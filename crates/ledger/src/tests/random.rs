//! Random blocks of all actions: after each, every invariant holds and the indexes are what
//! rebuilding them gives. Fixed seeds.

use super::chain::{self, Run};
use super::world::{PEOPLE, START, World, hash, id, key, nanos, result, task, usd};
use crate::{
    account::{Multisig, Scope},
    dispute::{ChallengeStatus, Claim, Finding, Side},
    job::{JobKind, JobSpec, Verification},
    market::{Lease, Mode, Offers, OrderChange, Pick},
    stake::{
        Equivocation,
        equivocation::{Ballot, Proposal, SignedBallot, vote_message},
    },
    *,
};
use muster_market::{
    Book, HostView, Interruptible, MemoryBook, Prices, Progress, Request, Rules, Spread, Terms,
    Together, clear_on,
};
use muster_types::*;
use std::{cell::RefCell, collections::BTreeMap};

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
/// Records that left the state, with their tables.
const LEFT: [(u8, &str); 7] = [
    (3, "order left"),
    (4, "lease left"),
    (5, "escrow left"),
    (6, "job left"),
    (7, "dispute left"),
    (8, "challenge left"),
    (43, "proposal left"),
];
const TENANTS: [&str; 3] = ["ann", "bob", "pat"];
const COMMITTEE: [&str; 4] = ["val", "eve", "bob", "rob"];

/// Acts of any account on its bond, and of auditors and operators.
fn by_bonded(w: &World, random: &mut Random) -> Option<(&'static str, Action)> {
    let who = random.pick(&["pat", "quin", "rob", "eve", "eve"])?;
    let provider = id(random.pick(&PROVIDERS)?);
    let name = random.pick(&["gateway", "relay"])?.to_owned();
    Some(match random.below(10) {
        0 => (who, Action::BondAdd { amount: random.amount() }),
        1 => (who, Action::BondUnbond { amount: random.amount() }),
        2 => (who, Action::BondWithdraw {}),
        3 => (who, Action::AffiliateSet { provider, affiliated: random.chance(70) }),
        4 => (who, Action::AuditorRegister {}),
        5 if random.chance(30) => (who, Action::AuditorLeave {}),
        6 => (who, Action::AttributeRevoke { provider, auditor: id(who) }),
        7 => (who, Action::ServiceRegister { name, pledge: random.amount() }),
        8 => (who, Action::ServiceUnregister { name }),
        _ => {
            let attributes = [("tier".to_owned(), random.below(3).to_string())].into();
            let until = w.head().now.after(Millis(random.below(60_000)));
            (who, Action::AttributeSign { provider, attributes, until })
        }
    })
}

/// What exists, to act on.
struct Things {
    escrows: Vec<EscrowId>,
    jobs: Vec<JobId>,
    orders: Vec<OrderId>,
    bidding: Vec<OrderId>,
    picking: Vec<OrderId>,
    leases: Vec<LeaseId>,
    disputes: Vec<DisputeId>,
    unbondings: Vec<(AccountId, UnbondingId)>,
    proposals: Vec<ProposalId>,
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
        let windows = keys::WINDOWS_DUE.scan(state, &(), None).map(|((_, order), ())| order);
        let is_open = |order: &OrderId| w.order(order).status == market::OrderStatus::Open;
        let (bidding, picking) = windows.partition(is_open);
        Self {
            escrows: escrows.into_iter().map(|(id, _)| id).collect(),
            jobs: jobs.into_iter().map(|(id, _)| id).collect(),
            orders: view::waiting_orders(state).into_iter().map(|(id, _)| id).collect(),
            bidding,
            picking,
            leases: leases.into_iter().map(|(id, _)| id).collect(),
            disputes: view::open_disputes(state).into_iter().map(|(id, _)| id).collect(),
            unbondings: keys::UNBONDINGS_BY_OWNER
                .scan(state, &(), None)
                .map(|(key, ())| key)
                .collect(),
            proposals: keys::VOTING_DUE.scan(state, &(), None).map(|((_, id), ())| id).collect(),
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
            per_operator: u32::try_from(random.below(3)).unwrap(),
        },
        max_rate: Rate::per_hour(usd(random.below(60))),
        together: match random.below(40) {
            0 => Together::Region,
            1 => Together::Provider,
            2 => Together::Host,
            _ => Together::No,
        },
        interruptible: random.chance(50),
        metered: random.chance(5),
        ..Terms::default()
    }
}

fn mode(random: &mut Random) -> Mode {
    let pick = if random.chance(50) { Pick::Lowest } else { Pick::Tenant };
    match random.below(3) {
        0 => Mode::Bids { window_ms: Millis(random.below(6_000)), bids_max: 2, pick },
        _ => Mode::Standing,
    }
}

fn change(w: &World, random: &mut Random, order: &OrderId, lease: Option<LeaseId>) -> OrderChange {
    let record = w.order(order);
    match random.below(5) {
        0 => OrderChange::Grow { count: u32::try_from(random.below(3)).unwrap() },
        1 => OrderChange::Shrink { leases: lease.into_iter().collect() },
        2 => OrderChange::Count { count: record.terms.count.saturating_sub(1) },
        3 => OrderChange::Extend { deadline: record.deadline.after(Millis(random.below(5_000))) },
        _ => OrderChange::Manifest { hash: hash(u8::try_from(random.below(3)).unwrap()) },
    }
}

fn by_tenant(w: &World, random: &mut Random, things: &Things) -> Option<(&'static str, Action)> {
    let who = random.pick(&TENANTS)?;
    let escrow = random.pick(&things.escrows);
    let owner = |account: AccountId| PEOPLE.into_iter().find(|who| id(who) == account);
    Some(match random.below(15) {
        0 => (who, Action::EscrowOpen { deposit: random.amount() }),
        1 => (who, Action::EscrowDeposit { escrow: escrow?, amount: random.amount() }),
        2 => (owner(w.escrow(&escrow?).owner)?, Action::EscrowClose { escrow: escrow? }),
        3 => {
            let escrow = escrow?;
            let verification = match random.below(6) {
                0 => Verification::None,
                1 | 2 => Verification::Replicate { sample_bps: 1_000 },
                _ => Verification::Audit { rate_bps: 500 },
            };
            let (kind, manifest) = (JobKind::Batch, hash(1));
            let (tasks, fuel_max, chain) = (10, 1_000, None);
            let metered = verification != Verification::None;
            let spec =
                JobSpec { kind, escrow, tasks, verification, manifest, fuel_max, metered, chain };
            let spec = if random.chance(40) { chain::spec(escrow, 10) } else { spec };
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
            let (mode, reauction) = (mode(random), random.chance(50));
            let manifest = hash(2);
            let order =
                Action::OrderPlace { escrow, job, terms, deadline, manifest, mode, reauction };
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
        10 => {
            let order = random.pick(&things.picking)?;
            let mut hosts: Vec<_> = view::bids_of_order(&w.state, &order);
            hosts.truncate(usize::try_from(random.below(3)).unwrap() + 1);
            let hosts = hosts.into_iter().map(|(host, _)| host).collect();
            (owner(w.order(&order).tenant)?, Action::BidAccept { order, hosts })
        }
        11 | 12 => {
            let lease = random.pick(&things.leases);
            let order = lease.map(|lease| w.lease(&lease).order).filter(|_| random.chance(70));
            let order = order.or_else(|| random.pick(&things.orders))?;
            let change = change(w, random, &order, lease);
            (owner(w.order(&order).tenant)?, Action::OrderUpdate { order, change })
        }
        13 => {
            let lease = random.pick(&things.leases)?;
            (owner(w.lease(&lease).tenant)?, Action::ReadyReject { lease })
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
    Some(match random.below(22) {
        0 => {
            let operator = random.pick(&PROVIDERS).map(id).filter(|operator| *operator != id(who));
            let profile = ProviderProfile { operator, ..Default::default() };
            (who, Action::ProviderSet { profile })
        }
        1 => (who, Action::BondAdd { amount: random.amount() }),
        2 if random.chance(4) => (who, Action::ProviderDrain {}),
        3 => (who, Action::BondWithdraw {}),
        4 => {
            let mut spec = w.spec(random.pick(&["1", "2", "3.5"])?);
            spec.capacity.cpu_milli = random.below(9_000);
            spec.fuel_per_s = random.below(2);
            if random.chance(40) {
                let cpu = Rate::per_hour(usd(1 + random.below(3)));
                let prices = Prices { cpu, ..Prices::default() };
                spec.interruptible = Some(Interruptible { prices, notice_ms: Millis(1_000) });
            }
            spec.offered_until = w.head().now.after(Millis(60_000 + random.below(20_000)));
            (who, Action::HostSet { index, spec })
        }
        5 => (who, Action::HostRemove { index }),
        6 | 7 => (of(&lease?)?, Action::LeaseReady { lease: lease? }),
        8 if random.chance(10) => (of(&lease?)?, Action::LeaseClose { lease: lease? }),
        13 => {
            let record = w.lease(&lease?);
            let (mut root, mut count) = (hash(u8::try_from(random.below(256)).unwrap()), 10);
            if let (Verification::Dispute, Some(job)) = (record.verification, record.job) {
                let run = run_of(&record, job);
                (root, count) = (run.root(), run.count());
            }
            let fuel = random.below(10_000);
            (of(&lease?)?, Action::ResultCommit { lease: lease?, root, count, fuel })
        }
        16 if random.chance(60) => (who, Action::ProviderUnjail {}),
        17 if random.chance(30) => (who, Action::BondUnbond { amount: random.amount() }),
        9..=11 => {
            let order = random.pick(&things.bidding)?;
            let hosts: Vec<_> = keys::HOSTS.scan(&w.state, &(), None).collect();
            let (HostId { provider, index: host }, _) = random.pick(&hosts)?;
            let who = PROVIDERS.into_iter().find(|who| id(who) == provider)?;
            let rate = Rate::per_hour(nanos(u128::from(random.below(4_000)) * 1_000_000));
            let count = u32::try_from(random.below(2) + 1).unwrap();
            (who, Action::BidPlace { order, host, rate, count })
        }
        12 if random.chance(30) => {
            let order = random.pick(&things.bidding)?;
            (who, Action::BidWithdraw { order, host: index })
        }
        14 if random.chance(30) => (of(&lease?)?, Action::LeaseDecline { lease: lease? }),
        15 if random.chance(30) => (of(&lease?)?, Action::LeaseReclaim { lease: lease? }),
        _ => {
            let leases = things.leases.iter().filter(|lease| of(lease) == Some(who)).copied();
            (who, Action::Heartbeat { leases: leases.collect() })
        }
    })
}

/// The run of a lease of a chain: wrong from a step on that its grant decides, or right.
fn run_of(lease: &Lease, job: JobId) -> Run {
    Run::new(job, 10, lease.granted_at.0 % 15)
}

/// Moves in challenges, most of them good ones.
fn in_challenge(w: &World, random: &mut Random) -> Option<(&'static str, Action)> {
    let name = |account: AccountId| PEOPLE.into_iter().find(|who| id(who) == account);
    let (dispute, challenge) = random.pick(&view::open_challenges(&w.state))?;
    let lease = w.lease(&challenge.lease);
    Some(match challenge.status {
        ChallengeStatus::Bisecting { turn: Side::Provider } => {
            let mut openings = run_of(&lease, challenge.job).openings(&challenge.game);
            if random.chance(10) {
                openings.pop();
            }
            (name(lease.provider())?, Action::BisectReveal { dispute, openings })
        }
        ChallengeStatus::Bisecting { turn: Side::Challenger } => {
            let part = challenge.game.first_wrong(chain::right).filter(|_| random.chance(80));
            let segment = part.unwrap_or_else(|| u32::try_from(random.below(4)).unwrap());
            (name(challenge.challenger)?, Action::BisectPick { dispute, segment })
        }
        ChallengeStatus::Voting => {
            let hash = chain::right(challenge.game.step()?.index + 1);
            let finding = match random.below(12) {
                0 => Finding::Missing,
                1 => Finding::Fails,
                _ => Finding::State { hash },
            };
            (random.pick(&["val", "eve", "bob"])?, Action::StepVote { dispute, finding })
        }
        ChallengeStatus::Judged { .. } | ChallengeStatus::Void => return None,
    })
}

fn by_anybody(w: &World, random: &mut Random, things: &Things) -> Option<(&'static str, Action)> {
    let who = random.pick(&PEOPLE)?;
    let to = id(random.pick(&PEOPLE)?);
    let asset = random.pick(&Asset::ALL)?;
    Some(match random.below(10) {
        4 | 5 => {
            let is_chain = |lease: &&LeaseId| w.lease(lease).verification == Verification::Dispute;
            let leases: Vec<_> = things.leases.iter().filter(is_chain).copied().collect();
            let lease = random.pick(&leases)?;
            let last = chain::right(10 + random.below(2));
            (who, Action::ChallengeOpen { lease, last, evidence: "x".into() })
        }
        6 | 7 => return in_challenge(w, random),
        8 if random.chance(60) => {
            let key = id(random.pick(&PEOPLE)?);
            let scopes: Vec<Scope> = Scope::ALL.into_iter().filter(|_| random.chance(70)).collect();
            let (scopes, usd, mst) = (scopes.into(), random.amount(), random.amount());
            let expires = w.head().now.after(Millis(random.below(40_000)));
            match random.below(4) {
                0 => (who, Action::KeyRevoke { key }),
                _ => (who, Action::KeyGrant { key, scopes, usd, mst, expires }),
            }
        }
        9 if random.chance(40) => {
            let members: Vec<AccountId> =
                PEOPLE.into_iter().filter(|_| random.chance(30)).map(id).collect();
            let threshold = u8::try_from(random.below(4)).unwrap();
            let policy = Multisig { threshold, members };
            (who, Action::MultisigSet { policy: Some(policy).filter(|_| random.chance(40)) })
        }
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
            // One of four is mostly wrong, and slashed for it.
            let who = random.pick(&COMMITTEE)?;
            let right = if who == COMMITTEE[3] { 20 } else { 80 };
            let output = if random.chance(right) { 1 } else { random.below(4) };
            let output = (output < 3).then(|| result(u8::try_from(output).unwrap()));
            (who, Action::DisputeVote { dispute, output })
        }
    })
}

/// Clearing over the indexes in the state gives what clearing over all hosts in memory does.
fn the_index_serves_as_a_plain_list_would(w: &World, asked: &Terms) {
    let (params, head) = (view::params(&w.state), w.head());
    let seen = RefCell::default();
    let block = Scratch::new(&w.state);
    let book = Offers::in_block(&block, &params, head.height + 1, &seen);
    let plain: MemoryBook = book.hosts().map(|host| HostView::clone(&host)).collect();
    let rules = Rules { visit_max: 2, ..params.rules() };
    let (mut here, mut there) = (Progress::default(), Progress::default());
    for _ in 0..3 {
        let cleared = clear_on(&book, asked, &rules, head.now, &here);
        assert_eq!(cleared, clear_on(&plain, asked, &rules, head.now, &there), "{asked:?}");
        here.after = cleared.cursor;
        there.after = cleared.cursor;
    }
}

/// Counts events by kind.
fn note(kinds: &mut BTreeMap<&'static str, u64>, events: &[Event]) {
    for event in events {
        if let Event::LeaseClosed { reason, .. } = event {
            let kind = format!("{reason:?}");
            *kinds.entry(Box::leak(kind.into_boxed_str())).or_default() += 1;
        }
        let text = format!("{event:?}");
        let kind = text.split([' ', '{', '(']).next().unwrap_or_default().to_owned();
        *kinds.entry(Box::leak(kind.into_boxed_str())).or_default() += 1;
    }
}

/// Evidence that a validator signed two blocks in a view, now and then of a view long gone.
fn contradiction(w: &World, who: &str, random: &mut Random) -> Action {
    let (epoch, view) = (0, random.below(4));
    let vote = |block| {
        let ballot = Ballot::Finalize(Proposal { parent: 0, block: hash(block) });
        let message = vote_message(&w.chain, epoch, view, &ballot);
        SignedBallot { ballot, signature: key(who).sign(&message) }
    };
    let evidence = Equivocation { key: id(who), epoch, view, first: vote(1), second: vote(2) };
    Action::EquivocationReport { evidence: Box::new(evidence) }
}

fn by_staker(w: &World, random: &mut Random, things: &Things) -> Option<(&'static str, Action)> {
    let who = random.pick(&PEOPLE)?;
    let staker = random.pick(&COMMITTEE)?;
    let validator = id(staker);
    let owner = |account: AccountId| PEOPLE.into_iter().find(|who| id(who) == account);
    // Half of it at most, so that something is left to go on with.
    let some = |all: Amount, random: &mut Random| {
        all.mul_div_floor(u128::from(random.below(1_000)) + 1, 2_000).unwrap()
    };
    Some(match random.below(13) {
        12 if random.chance(10) => (who, contradiction(w, staker, random)),
        0 => {
            let commission_bps = u32::try_from(random.below(10_050)).unwrap();
            (staker, Action::ValidatorSet { commission_bps })
        }
        1 => (staker, Action::StakeAdd { amount: some(w.account(staker).mst, random) }),
        2 => (staker, Action::ValidatorUnjail {}),
        3 | 4 => {
            let amount = some(w.account(who).mst, random);
            (who, Action::Delegate { validator, amount })
        }
        5 | 6 => {
            let record = view::validator(&w.state, &validator)?;
            let delegation = keys::DELEGATIONS.get(&w.state, &(id(who), validator));
            let all = match delegation {
                Some(delegation) => record.worth(&delegation),
                None => record.own,
            };
            let who = if delegation.is_some() { who } else { staker };
            (who, Action::Unstake { validator, amount: some(all, random) })
        }
        7 => {
            let (account, entry) = random.pick(&things.unbondings)?;
            (owner(account)?, Action::UnstakeClaim { entry })
        }
        8 => (who, Action::RewardClaim { validator }),
        9 => {
            let names = ["retry_max", "slash_wrong_vote_bps", "newcomer_premium_bps", "none_such"];
            let change = |random: &mut Random| vote::ParamChange {
                name: random.pick(&names).unwrap_or_default().to_owned(),
                value: u128::from(random.below(12_000)),
            };
            let changes = (0..random.below(3)).map(|_| change(random)).collect();
            (who, Action::Propose { title: "other numbers".into(), changes })
        }
        _ => {
            let proposal = random.pick(&things.proposals)?;
            let choices = [vote::Choice::Yes, vote::Choice::Yes, vote::Choice::No];
            let choice = random.pick(&choices)?;
            (random.pick(&[who, staker])?, Action::Vote { proposal, choice })
        }
    })
}

/// Gives some leases terms that no action of these people brings about: a notice, a meter, an offer
/// that has ended.
fn bend(w: &mut World, random: &mut Random, things: &Things) {
    let Some(lease) = random.pick(&things.leases).filter(|_| random.chance(30)) else { return };
    let before = w.lease(&lease);
    if before.status.is_closed() {
        return;
    }
    let metered = before.job.is_some_and(|job| w.job(&job).spec.metered);
    let (notice, fuel) = (Millis(random.below(5_000)), random.below(200));
    match random.below(3) {
        0 => w.change(&lease, |lease: &mut Lease| lease.reclaim_notice = Some(notice)),
        1 if metered => w.change(&lease, |lease: &mut Lease| lease.fuel_per_s = fuel),
        2 => w.change(&lease, |lease: &mut Lease| lease.guaranteed_until = Millis::ZERO),
        _ => {}
    }
}

/// A sequence of random blocks; counts the events of each kind.
pub(super) fn run(seed: u64, blocks: u64, kinds: &mut BTreeMap<&'static str, u64>) -> World {
    let mut random = Random(seed);
    let mut w = World::with(&COMMITTEE, |params| {
        let defaults = Params::default();
        params.fee_per_byte = defaults.fee_per_byte;
        params.fee_per_unit = defaults.fee_per_unit;
        params.challenge_bond = usd(1);
        params.bisect_arity = 3;
        params.dispute_clock_ms = Millis(8_000);
        params.unbonding_ms = Millis(110_000);
        params.fee_per_visit = nanos(50);
        params.rent_per_lease = Rate::per_hour(usd(1));
        params.visit_max = 4;
        params.pick_window_ms = Millis(3_000);
        params.reauction_ms = Millis(5_000);
        params.ready_window_ms = defaults.ready_window_ms;
        params.min_charge_ms = defaults.min_charge_ms;
        params.retry_max = 3;
        params.dispute_timeout_ms = Millis(25_000);
        params.retention_ms = Millis(68_000);
        params.stake_unbonding_ms = Millis(110_000);
        params.vote_period_ms = Millis(5_000);
        params.vote_delay_ms = Millis(2_000);
        params.validator_jail_ms = Millis(2_000);
        params.commission_interval_ms = Millis(2_000);
        params.commission_step_bps = 5_000;
        params.auditor_bond_min = usd(1);
        params.share_fee_max_bps = 5_000;
    });
    for who in COMMITTEE {
        w.ok(who, Action::ValidatorSet { commission_bps: 500 });
        w.ok(who, Action::StakeAdd { amount: usd(3) });
    }
    for (who, price) in PROVIDERS.into_iter().zip(["1", "2", "3.5"]) {
        w.provider(who, price);
    }
    let mut quotes = view::quote_book(&w.state);
    for _ in 0..blocks {
        if random.chance(1) {
            // A silence in which leases stall.
            note(kinds, &w.pass(5, 900));
            quotes = view::quote_book(&w.state);
        }
        if random.chance(60) {
            let done = w.beat(random.below(700) + 1);
            note(kinds, &done.events);
            quotes.update(&w.state, &w.changes);
        }
        let things = Things::of(&w);
        bend(&mut w, &mut random, &things);
        let mut acts = Vec::new();
        for _ in 0..random.below(10) {
            let act = match random.below(20) {
                0..=3 => by_tenant(&w, &mut random, &things),
                4..=8 => by_provider(&w, &mut random, &things),
                10..=12 => by_staker(&w, &mut random, &things),
                13 | 14 => by_bonded(&w, &mut random),
                _ => by_anybody(&w, &mut random, &things),
            };
            acts.extend(act);
        }
        let step = if random.chance(3) { random.below(30_000) + 1 } else { random.below(900) + 1 };
        let txs: Vec<Tx> = acts
            .into_iter()
            .map(|(who, action)| {
                let keys = view::delegated_keys(&w.state, &id(who));
                let by = random.pick(&keys).filter(|_| random.chance(20)).map(|(key, _)| key);
                match PEOPLE.into_iter().find(|who| by == Some(id(who))) {
                    Some(by) => w.sign_as(by, who, action),
                    None => w.sign(who, action),
                }
            })
            .collect();
        let done = w.block_of(step, &txs);
        done.events.iter().for_each(crate::event::tests::assert_all_named);
        note(kinds, &done.events);
        quotes.update(&w.state, &w.changes);
        let asked = terms(&mut random);
        assert_eq!(quotes.explain(&w.state, &asked), view::quote(&w.state, &asked), "{asked:?}");
        the_index_serves_as_a_plain_list_would(&w, &asked);
        if w.head().height.is_multiple_of(16) {
            let mut rebuilt = w.state.clone();
            rebuilt.apply(rebuild_derived(&w.state));
            assert_eq!(rebuilt, w.state, "the indexes are not what rebuilding gives");
        }
    }
    assert!(w.head().now.0 > START + blocks);
    for (table, left) in LEFT {
        if w.archive.iter().any(|(key, _)| key.starts_with(&[1, table])) {
            *kinds.entry(left).or_default() += 1;
        }
    }
    w
}

#[test]
fn invariants_hold_after_every_block_of_random_actions() {
    let mut kinds = BTreeMap::new();
    for seed in 0..40 {
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
        "EscrowReopened",
        "Covered",
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
        "CommitmentDrawn",
        "ChallengeOpened",
        "BisectRevealed",
        "BisectPicked",
        "StepCalled",
        "StepVoted",
        "ChallengeClosed",
        "ValidatorChanged",
        "Delegated",
        "Unstaked",
        "UnstakeClaimed",
        "RewardPaid",
        "ValidatorSlashed",
        "ProposalMade",
        "Voted",
        "ProposalChanged",
        "BondChanged",
        "DutyChanged",
        "DutyEnded",
        "AttributesSigned",
        "AttributesRevoked",
        "AffiliationSet",
        "BidPlaced",
        "BidEnded",
        "OrderPicking",
        "OrderUpdated",
        "OrderReopened",
        "LeaseUpdated",
        "LeaseReclaiming",
        "TenantClosed",
        "OutOfFunds",
        "ProviderNotReady",
        "ProviderExit",
        "ReadyRejected",
        "Undelivered",
        "Reclaimed",
        "OfferEnded",
        "KeyGranted",
        "KeyRevoked",
        "PolicyChanged",
    ]
    .into_iter()
    .chain(LEFT.map(|(_, left)| left))
    {
        assert!(kinds.contains_key(kind), "{kind} never happened: {kinds:?}");
    }
}
