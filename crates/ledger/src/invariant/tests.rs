use super::*;
use crate::{
    Action, MemoryState, Scratch,
    account::{Authority, DelegatedKey, Multisig, Scope, Scopes},
    bond::{Bond, Duty, DutyKind},
    dispute::{Challenge, ChallengeStatus},
    keys::Record,
    neutrality::Operator,
    stake::{Delegation, Unbonding, Validator, ValidatorStatus},
    tests::{World, chain, nanos, usd, world::id},
    view,
    vote::{Choice, ParamChange, Proposal, ProposalStatus},
};
use muster_types::{DisputeId, Millis, ProposalId, Rate};

/// A state with one of everything in which all holds.
fn sound() -> (World, EscrowId, JobId, LeaseId) {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let job = w.open_job("ann", escrow);
    let lease = w.active("ann", escrow, Some(job));
    w.beat(500);
    w.ok("bob", Action::EscrowOpen { deposit: usd(3) });
    let policy = Multisig { threshold: 1, members: vec![id("ann"), id("eve")] };
    w.ok("bob", Action::MultisigSet { policy: Some(policy) });
    w.ok("eve", Action::ValidatorSet { commission_bps: 0 });
    w.ok("eve", Action::StakeAdd { amount: usd(3) });
    w.ok("bob", Action::Delegate { validator: id("eve"), amount: usd(3) });
    w.ok("bob", Action::Unstake { validator: id("eve"), amount: usd(1) });
    w.ok("eve", Action::Unstake { validator: id("eve"), amount: usd(1) });
    let changes = vec![ParamChange { name: "visit_max".into(), value: 7 }];
    let (receipt, _) = w.ok("eve", Action::Propose { title: "t".into(), changes });
    let proposal = ProposalId::derive(&receipt.tx);
    w.ok("eve", Action::Vote { proposal, choice: Choice::Yes });
    let (key, scopes) = (id("eve"), Scopes::of(Scope::Serve));
    let (usd, mst, expires) = (usd(1), usd(1), Millis::MAX);
    w.ok("pat", Action::KeyGrant { key, scopes, usd, mst, expires });
    assert_eq!(check(&w.state), Ok(()));
    (w, escrow, job, lease)
}

fn changed<R: Record>(
    state: &MemoryState,
    key: &R::Key,
    change: impl FnOnce(&mut R),
) -> MemoryState {
    let mut record = R::TABLE.get(state, key).unwrap();
    change(&mut record);
    with(state, |scratch| keys::store(scratch, key, &record))
}

fn with(state: &MemoryState, write: impl FnOnce(&mut Scratch<'_>)) -> MemoryState {
    let mut scratch = Scratch::new(state);
    write(&mut scratch);
    let changes = scratch.into_changes();
    let mut state = state.clone();
    state.apply(changes);
    state
}

#[test]
fn every_broken_invariant_is_found_and_named() {
    let (w, escrow_id, job_id, lease_id) = sound();
    let (state, pat) = (&w.state, id("pat"));
    let host_id = HostId { provider: pat, index: 0 };
    let account = |change: fn(&mut crate::account::Account)| changed(state, &id("ann"), change);
    let provider = |change: fn(&mut Provider)| changed(state, &pat, change);
    let bond = |change: fn(&mut Bond)| changed(state, &pat, change);
    const PART: crate::bond::Unbonding =
        crate::bond::Unbonding { amount: Amount::from_nanos(1), until: Millis(0) };
    let duty = Duty { kind: DutyKind::Auditor, pledge: nanos(1), since: Millis(0), leaving: None };
    let registered = with(state, |scratch| {
        keys::DUTIES.put(scratch, &(id("eve"), duty.kind.id()), &duty);
    });
    let some = Operator { open_rate: Rate::per_hour(nanos(1)) };
    let operator = with(state, |scratch| keys::OPERATORS.put(scratch, &pat, &some));
    let strange_operator = with(state, |scratch| keys::OPERATORS.put(scratch, &id("eve"), &some));
    let all_leased = with(state, |scratch| keys::OPEN_RATE.put(scratch, &(), &Rate::ZERO));
    let host = |change: fn(&mut Host)| changed(state, &host_id, change);
    let escrow = |change: fn(&mut Escrow)| changed(state, &escrow_id, change);
    let job = |change: fn(&mut Job)| changed(state, &job_id, change);
    let lease = |change: fn(&mut Lease)| changed(state, &lease_id, change);
    let order_id = w.lease(&lease_id).order;
    let order = |change: fn(&mut Order)| changed(state, &order_id, change);
    let without = |key: Vec<u8>| {
        let mut state = state.clone();
        state.remove(&key).unwrap();
        state
    };
    let mut unstamped = state.clone();
    let stamped = Order { final_at: Some(Millis(1)), ..w.order(&order_id) };
    unstamped.insert(keys::ORDERS.key(&order_id), muster_types::codec::encode(&stamped));
    let authority = |change: fn(&mut Authority)| changed(state, &id("bob"), change);
    let delegated = |change: fn(&mut DelegatedKey)| changed(state, &(pat, id("eve")), change);
    let table = [
        (AUTHORITY, account(|account| account.multisig = true)),
        (AUTHORITY, account(|account| account.nonces_used = 1)),
        (AUTHORITY, authority(|authority| authority.policy = None)),
        (AUTHORITY, authority(|authority| authority.policy.as_mut().unwrap().threshold = 0)),
        (AUTHORITY, authority(|authority| authority.policy.as_mut().unwrap().threshold = 3)),
        (AUTHORITY, authority(|authority| authority.policy.as_mut().unwrap().members.reverse())),
        (AUTHORITY, delegated(|key| key.nonces_used = 1)),
        (MONEY, account(|account| account.usd = usd(1_000_000))),
        (MONEY, account(|account| account.mst = usd(1))),
        (MONEY, bond(|bond| bond.amount = usd(401))),
        (MONEY, bond(|bond| bond.unbonding.push(PART))),
        (PLEDGES, bond(|bond| bond.pledged = nanos(1))),
        (PLEDGES, registered),
        (LEASED, provider(|provider| provider.open_rate = Rate::ZERO)),
        (LEASED, operator),
        (LEASED, strange_operator),
        (LEASED, all_leased),
        (COUNTERS, provider(|provider| provider.open_leases = 0)),
        (COUNTERS, provider(|provider| provider.paid = nanos(1))),
        (CAPACITY, host(|host| host.used.cpu_milli = 0)),
        (CAPACITY, host(|host| host.spec.capacity.cpu_milli = 999)),
        (ESCROW, escrow(|escrow| escrow.deposited = usd(11))),
        (ESCROW, escrow(|escrow| escrow.compensated = nanos(1))),
        (ESCROW, escrow(|escrow| escrow.deposits[0].amount = usd(11))),
        (ESCROW, escrow(|escrow| escrow.deposits[0].left = usd(9))),
        (ESCROW, escrow(|escrow| escrow.deposits[0].refunded = usd(9))),
        (ESCROW, escrow(|escrow| escrow.status = EscrowStatus::Closed)),
        (COUNTERS, escrow(|escrow| escrow.open_orders = 1)),
        (COUNTERS, escrow(|escrow| escrow.open_leases = 0)),
        (COUNTERS, escrow(|escrow| escrow.open_rate = Rate::ZERO)),
        (COUNTERS, job(|job| job.open_orders = 1)),
        (COUNTERS, job(|job| job.open_leases = 0)),
        (COUNTERS, lease(|lease| lease.disputes = 1)),
        (PLEDGES, lease(|lease| lease.pledge = nanos(1))),
        (PAY, lease(|lease| lease.covered = Millis(499))),
        (ESCROW, lease(|lease| lease.compensated = usd(1))),
        (ESCROW, lease(|lease| lease.accrued = nanos(1))),
        (CAPACITY, lease(|lease| lease.takes.cpu_milli = 2_000)),
        (COUNTERS, order(|order| order.open_leases = 0)),
        (NAMED, without(keys::ORDERS.key(&order_id))),
        (NAMED, without(keys::JOBS.key(&job_id))),
        (FINAL, unstamped),
    ];
    for (index, (invariant, broken)) in table.into_iter().enumerate() {
        let found = check(&broken).and_then(|()| check_whole(&broken));
        let found = found.map_err(|broken| broken.invariant);
        assert_eq!(found, Err(invariant), "row {index}");
    }
}

#[test]
fn what_has_left_is_missing_from_sums_only_until_it_is_added() {
    let (mut w, escrow_id, _, lease_id) = sound();
    w.ok("ann", Action::LeaseClose { lease: lease_id });
    w.ok("ann", Action::ResultAccept { lease: lease_id });
    assert!(!w.escrow(&escrow_id).paid.is_zero());
    assert_eq!(check_whole(&w.state), Ok(()));
    let mut state = w.state.clone();
    state.remove(&keys::LEASES.key(&lease_id)).unwrap();
    assert_eq!(check(&state), Ok(()));
    assert_eq!(check_whole(&state).unwrap_err().invariant, COUNTERS);
    let less = changed(&w.state, &escrow_id, |escrow: &mut Escrow| escrow.paid = Amount::ZERO);
    assert_eq!(check(&less).unwrap_err().invariant, ESCROW);
}

#[test]
fn a_challengers_bond_is_money_and_an_open_challenge_is_counted() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let job = w.open_job_of("ann", chain::spec(escrow, 4));
    let lease = w.active("ann", escrow, Some(job));
    let root = chain::Run::new(job, 4, 2).root();
    w.ok("pat", Action::ResultCommit { lease, root, count: 5, fuel: 0 });
    w.beat(500);
    w.beat(500);
    let last = chain::right(4);
    let open = Action::ChallengeOpen { lease, last, evidence: String::new() };
    let dispute = DisputeId::derive(&w.ok("eve", open).0.tx);
    let challenge = |change: fn(&mut Challenge)| changed(&w.state, &dispute, change);
    let table = [
        (MONEY, challenge(|challenge| challenge.bond = usd(4))),
        (COUNTERS, challenge(|challenge| challenge.status = ChallengeStatus::Void)),
    ];
    for (invariant, broken) in table {
        assert_eq!(check(&broken).map_err(|broken| broken.invariant), Err(invariant));
    }
}

#[test]
fn stake_that_does_not_add_up_is_found_and_named() {
    let (w, ..) = sound();
    let (state, eve, bob) = (&w.state, id("eve"), id("bob"));
    let validator = |change: fn(&mut Validator)| changed(state, &eve, change);
    let delegation = |change: fn(&mut Delegation)| changed(state, &(bob, eve), change);
    let bobs = view::unbondings_of(state, &bob)[0].0;
    let unbonding = |change: fn(&mut Unbonding)| changed(state, &bobs, change);
    let proposal = view::proposals(state)[0].0;
    let proposals = |change: fn(&mut Proposal)| changed(state, &proposal, change);
    let without = |key: Vec<u8>| {
        let mut state = state.clone();
        state.remove(&key);
        state
    };
    let table = [
        (MONEY, validator(|validator| validator.own = usd(7))),
        (MONEY, validator(|validator| validator.delegated.tokens = usd(1))),
        (MONEY, validator(|validator| validator.own_unbonding.tokens = usd(2))),
        (MONEY, validator(|validator| validator.delegated_unbonding.tokens = usd(2))),
        (MONEY, validator(|validator| validator.rewards.held = nanos(1))),
        (stake::STAKE, validator(|validator| validator.rewards.carried = nanos(1))),
        (stake::STAKE, validator(|validator| validator.rewards.per_share = 1 << 64)),
        (stake::STAKE, validator(|validator| validator.delegated.shares += 1)),
        (stake::STAKE, validator(|validator| validator.delegated.epoch = 1)),
        (stake::STAKE, validator(|validator| validator.own_unbonding.shares += 1)),
        (stake::STAKE, validator(|validator| validator.delegated_unbonding.shares -= 1)),
        (stake::STAKE, validator(|validator| validator.status = ValidatorStatus::Registered)),
        (stake::STAKE, delegation(|delegation| delegation.part.shares -= 1)),
        (stake::STAKE, delegation(|delegation| delegation.part.shares = u128::MAX)),
        (stake::STAKE, unbonding(|unbonding| unbonding.part.epoch = 1)),
        (stake::STAKE, unbonding(|unbonding| unbonding.owner = unbonding.validator)),
        (stake::STAKE, unbonding(|unbonding| unbonding.validator = AccountId::default())),
        (stake::STAKE, without(keys::DELEGATIONS.key(&(bob, eve)))),
        (stake::STAKE, without(keys::STAKE.key(&()))),
        (stake::VOTES, proposals(|proposal| proposal.votes = 2)),
        (stake::VOTES, proposals(|proposal| proposal.status = ProposalStatus::Rejected)),
        (stake::VOTES, without(keys::BALLOTS.key(&(proposal, eve)))),
        (stake::VOTES, without(keys::PROPOSALS.key(&proposal))),
    ];
    for (index, (invariant, broken)) in table.into_iter().enumerate() {
        let found = check(&broken).map_err(|broken| broken.invariant);
        assert_eq!(found, Err(invariant), "row {index}");
    }
    // Shares and tokens that agree with their parts and not with each other.
    for change in [(0, 0, 1), (5, 5, 4), (0, 5, 5), (6, 5, 5)] {
        let (tokens, shares, parts) = change;
        let mut state = changed::<Validator>(state, &eve, |validator| {
            validator.delegated.tokens = nanos(tokens);
            validator.delegated.shares = shares;
            validator.own = usd(2).checked_add(usd(2)).unwrap().checked_sub(nanos(tokens)).unwrap();
        });
        state = changed::<Delegation>(&state, &(bob, eve), |delegation| {
            delegation.part.shares = parts;
        });
        assert_eq!(check(&state).map_err(|broken| broken.invariant), Err(stake::STAKE));
    }
}

#[test]
fn pay_beyond_what_was_earned_is_found() {
    let (w, _, _, lease_id) = sound();
    let books = Books::of(&w.state).unwrap();
    let changes: [fn(&mut Lease); 5] = [
        |lease| lease.paid = nanos(500_001),
        |lease| lease.compensated = nanos(500_001),
        |lease| lease.accrued = nanos(500_001),
        |lease| lease.shortfall = nanos(1),
        |lease| lease.shortfall = Amount::MAX,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut lease = w.lease(&lease_id);
        change(&mut lease);
        let broken = books.check_lease(&w.state, &lease_id, &lease).unwrap_err();
        let overflow = index == 4;
        assert_eq!(broken.invariant, if overflow { ESCROW } else { PAY }, "change {index}");
    }
}

#[test]
fn pay_before_acceptance_or_beyond_the_fuel_is_found() {
    let (mut w, _, _, lease_id) = sound();
    w.ok("ann", Action::LeaseClose { lease: lease_id });
    w.ok("ann", Action::ResultAccept { lease: lease_id });
    let books = Books::of(&w.state).unwrap();
    type Change = fn(&mut Lease);
    let active: Change = |lease| lease.status = LeaseStatus::Active;
    let table: [(Change, bool); 5] = [
        (|_| (), true),
        (|lease| lease.rejectable_until = Millis(u64::MAX), false),
        (|lease| lease.rejectable_until = Millis(1), true),
        (|lease| lease.fuel_per_s = 1, false),
        (
            |lease| {
                let (reason, at) = (CloseReason::TenantClosed, Millis(1));
                lease.status = LeaseStatus::Closed { reason, at, settled: true };
                lease.fuel_per_s = 1;
            },
            true,
        ),
    ];
    for (index, (change, holds)) in table.into_iter().enumerate() {
        let mut lease = w.lease(&lease_id);
        active(&mut lease);
        change(&mut lease);
        lease.final_at = lease.is_final().then_some(Millis(1));
        let found = books.check_lease(&w.state, &lease_id, &lease);
        let expected = if holds { Ok(()) } else { Err(PAY) };
        assert_eq!(found.map_err(|broken| broken.invariant), expected, "change {index}");
    }
}

#[test]
fn a_lease_without_backing_is_found() {
    let (w, escrow_id, _, lease_id) = sound();
    let mut state = w.state.clone();
    let mut books = Books::of(&state).unwrap();
    let lease = keys::LEASES.get(&state, &lease_id).unwrap();
    assert_eq!(books.check_lease(&state, &lease_id, &lease), Ok(()));
    books.disputes.insert(lease_id, 1);
    assert_eq!(books.check_lease(&state, &lease_id, &lease).unwrap_err().invariant, COUNTERS);
    books.disputes.clear();
    state.remove(&keys::ESCROWS.key(&escrow_id));
    assert_eq!(books.check_lease(&state, &lease_id, &lease).unwrap_err().invariant, BACKED);
    let mut state = w.state.clone();
    state.remove(&keys::PROVIDERS.key(&id("pat")));
    let broken = books.check_lease(&state, &lease_id, &lease).unwrap_err();
    assert_eq!(broken.invariant, BACKED);
    assert!(broken.to_string().contains("invariant `open leases are backed` is broken at"));
}

#[test]
fn steady_time_ahead_of_block_time_is_found() {
    let (mut w, ..) = sound();
    let mut head = w.head();
    head.steady = head.now.after(Millis(1));
    let mut scratch = Scratch::new(&w.state);
    keys::HEAD.put(&mut scratch, &(), &head);
    let changes = scratch.into_changes();
    w.state.apply(changes);
    assert_eq!(check(&w.state).unwrap_err().invariant, STEADY);
}
