use super::*;
use crate::{
    Action, MemoryState, Scratch,
    keys::Record,
    tests::{World, nanos, usd, world::id},
};
use muster_types::{Millis, Rate};

/// A state with one of everything in which all holds.
fn sound() -> (World, EscrowId, JobId, LeaseId) {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let job = w.open_job("ann", escrow);
    let lease = w.active("ann", escrow, Some(job));
    w.beat(500);
    w.ok("bob", Action::EscrowOpen { deposit: usd(3) });
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
    let mut scratch = Scratch::new(state);
    keys::store(&mut scratch, key, &record);
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
    let host = |change: fn(&mut Host)| changed(state, &host_id, change);
    let escrow = |change: fn(&mut Escrow)| changed(state, &escrow_id, change);
    let job = |change: fn(&mut Job)| changed(state, &job_id, change);
    let lease = |change: fn(&mut Lease)| changed(state, &lease_id, change);
    let order_id = w.lease(&lease_id).order;
    let order = |change: fn(&mut Order)| changed(state, &order_id, change);
    let without = |key: Vec<u8>| {
        let mut state = state.clone();
        state.0.remove(&key).unwrap();
        state
    };
    let mut unstamped = state.clone();
    let stamped = Order { final_at: Some(Millis(1)), ..w.order(&order_id) };
    unstamped.0.insert(keys::ORDERS.key(&order_id), muster_types::codec::encode(&stamped));
    let table = [
        (MONEY, account(|account| account.usd = usd(1_000_000))),
        (MONEY, account(|account| account.mst = usd(1))),
        (MONEY, provider(|provider| provider.bond = usd(401))),
        (PLEDGES, provider(|provider| provider.pledged = nanos(1))),
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
    state.0.remove(&keys::LEASES.key(&lease_id)).unwrap();
    assert_eq!(check(&state), Ok(()));
    assert_eq!(check_whole(&state).unwrap_err().invariant, COUNTERS);
    let less = changed(&w.state, &escrow_id, |escrow: &mut Escrow| escrow.paid = Amount::ZERO);
    assert_eq!(check(&less).unwrap_err().invariant, ESCROW);
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
fn a_lease_without_backing_is_found() {
    let (w, escrow_id, _, lease_id) = sound();
    let mut state = w.state.clone();
    let mut books = Books::of(&state).unwrap();
    let lease = keys::LEASES.get(&state, &lease_id).unwrap();
    assert_eq!(books.check_lease(&state, &lease_id, &lease), Ok(()));
    books.disputes.insert(lease_id, 1);
    assert_eq!(books.check_lease(&state, &lease_id, &lease).unwrap_err().invariant, COUNTERS);
    books.disputes.clear();
    state.0.remove(&keys::ESCROWS.key(&escrow_id));
    assert_eq!(books.check_lease(&state, &lease_id, &lease).unwrap_err().invariant, BACKED);
    let mut state = w.state.clone();
    state.0.remove(&keys::PROVIDERS.key(&id("pat")));
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
