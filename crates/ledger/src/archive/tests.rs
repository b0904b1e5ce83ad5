use crate::State as _;
use crate::{
    Action, BlockBuilder, MemoryState, Params, Reject, Scratch,
    archive::{Kind, Leaving},
    dispute::ChallengeStatus,
    escrow::EscrowStatus,
    keys::{self, Key as _},
    limits,
    market::{Order, OrderChange, OrderStatus},
    rebuild_derived,
    tests::{
        World, chain, usd,
        world::{hash, id, result},
    },
    view,
    vote::{Choice, ParamChange, ProposalStatus},
};
use muster_market::{Request, Terms};
use muster_types::*;

/// The least that these tests' parameters allow.
const RETENTION: u64 = 75_000;

fn short(params: &mut Params) {
    params.challenge_window_ms = Millis(3_500);
    params.dispute_clock_ms = Millis(500);
    params.retention_ms = Millis(RETENTION);
}

fn world() -> World {
    World::with(&["val"], short)
}

/// Blocks of a second each, without transactions.
fn seconds(w: &mut World, count: u64) {
    w.pass(count, 1_000);
}

/// A job of ann's in its life: an honest lease, a slashed one, a judged dispute; all closed.
struct Done {
    w: World,
    escrow: EscrowId,
    job: JobId,
    orders: [OrderId; 2],
    leases: [LeaseId; 2],
    dispute: DisputeId,
}

fn done() -> Done {
    let mut w = world();
    let escrow = w.open_escrow("ann", usd(10));
    let job = w.open_job("ann", escrow);
    let mut leases = Vec::new();
    for who in ["pat", "quin"] {
        w.provider(who, "3.6");
        let terms = Terms {
            request: Request { cpu_milli: 1_000, ..Request::default() },
            count: 1,
            max_rate: Rate::MAX,
            providers: vec![id(who)],
            ..Terms::default()
        };
        let order = w.order_with(escrow, Some(job), terms);
        let order = w.place("ann", order);
        let lease = w.order(&order).leases[0];
        w.by_provider(&lease, Action::LeaseReady { lease });
        leases.push(lease);
    }
    w.beat(1_000);
    let leases = [leases[0], leases[1]];
    let claims = Box::new([w.claim(leases[0], 3, 1), w.claim(leases[1], 3, 2)]);
    let open = Action::DisputeOpen { job, claims, evidence: "there".into() };
    let dispute = DisputeId::derive(&w.ok("ann", open).0.tx);
    w.ok("val", Action::DisputeVote { dispute, output: Some(result(1)) });
    w.ok("ann", Action::LeaseClose { lease: leases[0] });
    w.ok("ann", Action::ResultAccept { lease: leases[0] });
    w.ok("ann", Action::JobClose { job });
    w.ok("ann", Action::EscrowClose { escrow });
    let orders = leases.map(|lease| w.lease(&lease).order);
    Done { w, escrow, job, orders, leases, dispute }
}

#[test]
fn what_is_final_leaves_after_its_retention_and_is_handed_over_as_it_stood() {
    let Done { mut w, escrow, job, orders, leases, dispute } = done();
    let mut records = vec![
        keys::DISPUTES.key(&dispute),
        keys::LEASES.key(&leases[1]),
        keys::ORDERS.key(&orders[1]),
        keys::LEASES.key(&leases[0]),
        keys::ORDERS.key(&orders[0]),
        keys::JOBS.key(&job),
        keys::ESCROWS.key(&escrow),
    ];
    let stood: Vec<_> = records.iter().map(|key| w.state.get(key).unwrap()).collect();
    let since = [
        w.dispute(&dispute).final_at,
        w.lease(&leases[1]).final_at,
        w.order(&orders[1]).final_at,
        w.lease(&leases[0]).final_at,
        w.order(&orders[0]).final_at,
        w.job(&job).final_at,
        w.escrow(&escrow).final_at,
    ];
    let since = since.map(Option::unwrap);
    assert!(since.is_sorted() && since[6] == w.head().steady, "{since:?}");
    let accounts = w.account("ann");

    let mut left = Vec::new();
    while left.len() < records.len() {
        let block = BlockBuilder::new(&w.state, w.context(499)).unwrap().finish();
        let steady = w.head().steady.after(Millis(499));
        for (key, value) in block.archived {
            let at = records.iter().position(|record| *record == key).unwrap();
            assert_eq!(value, stood[at]);
            let age = steady.since(since[at]).0;
            assert!((RETENTION..RETENTION + 499).contains(&age), "record {at} left after {age}");
            left.push(key);
        }
        w.pass(1, 499);
    }
    assert_eq!(left, records, "what names others leaves before them");
    assert_eq!(w.account("ann"), accounts);
    assert_eq!(keys::ARCHIVE_DUE.scan(&w.state, &(), None).count(), 0);
    assert_eq!(view::leases_of_tenant(&w.state, &id("ann")), []);

    // What is kept answers the same look-ups.
    let kept = &w.archive;
    assert_eq!(view::escrow(kept, &escrow).unwrap().status, EscrowStatus::Closed);
    assert_eq!(view::leases_of_tenant(kept, &id("ann")).len(), 2);
    assert_eq!(view::leases_of_provider(kept, &id("pat")).len(), 1);
    assert_eq!(view::leases_of_job(kept, &job).len(), 2);
    assert_eq!(view::leases_of_escrow(kept, &escrow).len(), 2);
    assert_eq!(view::orders_of_escrow(kept, &escrow).len(), 2);
    assert_eq!(view::jobs_of_tenant(kept, &id("ann")).len(), 1);
    assert_eq!(view::escrows_of_owner(kept, &id("ann")).len(), 1);
    assert_eq!(view::disputes_of_job(kept, &job).len(), 1);
    records.sort_unstable();
    let keys = kept.iter().map(|(key, _)| key.to_vec()).filter(|key| key[0] < keys::DERIVED);
    let keys: Vec<_> = keys.collect();
    assert_eq!(keys, records);
    assert_eq!(super::entries(b"no record", b""), Vec::<Vec<u8>>::new());
}

#[test]
fn to_an_action_what_has_left_is_not_there() {
    let Done { mut w, escrow, job, orders, leases, dispute } = done();
    let claims = Box::new([w.claim(leases[0], 4, 1), w.claim(leases[1], 4, 2)]);
    seconds(&mut w, 80);
    let (lease, order) = (leases[0], orders[0]);
    let spec = view::job(&w.archive, &job).unwrap().spec;
    let root = hash(1);
    let table = [
        ("ann", "order", Action::OrderCancel { order }),
        ("pat", "lease", Action::LeaseReady { lease }),
        ("pat", "lease", Action::ResultCommit { lease, root, count: 1, fuel: 0 }),
        ("ann", "lease", Action::LeaseClose { lease }),
        ("ann", "lease", Action::ResultAccept { lease }),
        ("ann", "escrow", Action::EscrowDeposit { escrow, amount: usd(1) }),
        ("ann", "escrow", Action::EscrowClose { escrow }),
        ("ann", "escrow", Action::JobOpen { spec }),
        ("ann", "job", Action::JobClose { job }),
        ("ann", "job", Action::DisputeOpen { job, claims, evidence: String::new() }),
        ("val", "dispute", Action::DisputeVote { dispute, output: None }),
    ];
    for (who, kind, act) in table {
        assert_eq!(w.refused(who, act.clone()), Reject::not_found(kind), "{act:?}");
    }
}

#[test]
fn a_settled_lease_that_a_new_dispute_names_stays_until_it_is_judged() {
    let mut w = world();
    w.provider("pat", "3.6");
    w.provider("quin", "7.2");
    let escrow = w.open_escrow("ann", usd(100));
    let job = w.open_job("ann", escrow);
    // Pat's bond is good for four.
    let leases = w.grant("ann", escrow, Some(job), 5);
    let (old, open) = (leases[0], leases[4]);
    w.ok("ann", Action::LeaseClose { lease: old });
    assert!(w.lease(&old).status.is_settled());
    let first = w.lease(&old).final_at.unwrap();
    w.by_provider(&open, Action::LeaseReady { lease: open });
    for _ in 0..70 {
        w.beat(1_000);
    }
    let claims = Box::new([w.claim(old, 3, 1), w.claim(open, 3, 2)]);
    let act = Action::DisputeOpen { job, claims, evidence: "there".into() };
    let dispute = DisputeId::derive(&w.ok("ann", act).0.tx);
    assert_eq!(w.lease(&old).final_at, None);
    for _ in 0..20 {
        w.beat(1_000);
    }
    assert!(w.head().steady.since(first) > Millis(RETENTION));
    assert_eq!(w.lease(&old).disputes, 1);
    w.ok("val", Action::DisputeVote { dispute, output: Some(result(2)) });
    let again = w.lease(&old).final_at.unwrap();
    assert_eq!(again, w.head().steady);
    // Its order was ended long before, and outlives it: other leases of it are open.
    for _ in 0..76 {
        w.beat(1_000);
    }
    assert_eq!(view::lease(&w.state, &old), None);
    assert_eq!(view::dispute(&w.state, &dispute), None);
    assert_eq!(w.order(&w.lease(&open).order).leases, leases);
    // Who loses when its lease has left loses nothing more than its record says.
    assert_eq!(w.provider_of("pat").conduct.disputes_lost, 1);
}

#[test]
fn a_challenge_leaves_after_it_has_ended_and_its_lease_not_before_it() {
    let mut w = world();
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
    assert_eq!((w.lease(&lease).final_at, w.challenge(&dispute).final_at), (None, None));
    // Pat does not move, and loses.
    w.pass(2, 500);
    let ended = w.challenge(&dispute);
    assert!(matches!(ended.status, ChallengeStatus::Judged { .. }) && ended.bond.is_zero());
    assert!(ended.final_at.is_some());
    assert_eq!(w.lease(&lease).final_at, ended.final_at);
    seconds(&mut w, 74);
    assert!(view::challenge(&w.state, &dispute).is_some());
    seconds(&mut w, 2);
    assert_eq!(view::challenge(&w.state, &dispute), None);
    assert_eq!(view::lease(&w.state, &lease), None);
    assert_eq!(view::challenges_of_lease(&w.archive, &lease), [(dispute, ended)]);
    let act = Action::BisectReveal { dispute, openings: Vec::new() };
    assert_eq!(w.refused("pat", act), Reject::not_found("challenge"));
}

#[test]
fn a_proposal_leaves_after_it_is_decided() {
    let mut w = World::with(&["val"], |params| {
        short(params);
        params.vote_period_ms = Millis(1_000);
    });
    w.ok("val", Action::ValidatorSet { commission_bps: 0 });
    w.ok("val", Action::StakeAdd { amount: usd(3) });
    let changes = vec![ParamChange { name: "visit_max".into(), value: 7 }];
    let act = Action::Propose { title: "Less".into(), changes };
    let proposal = ProposalId::derive(&w.ok("val", act).0.tx);
    assert_eq!(view::proposal(&w.state, &proposal).unwrap().final_at, None);
    seconds(&mut w, 2);
    let rejected = view::proposal(&w.state, &proposal).unwrap();
    assert_eq!(rejected.status, ProposalStatus::Rejected);
    seconds(&mut w, 76);
    assert_eq!(view::proposal(&w.state, &proposal), None);
    assert_eq!(view::proposal(&w.archive, &proposal), Some(rejected));
    let act = Action::Vote { proposal, choice: Choice::Yes };
    assert_eq!(w.refused("val", act), Reject::not_found("proposal"));
}

#[test]
fn an_order_that_is_grown_is_not_final_any_more() {
    let mut w = world();
    w.provider("pat", "0.36");
    let escrow = w.open_escrow("ann", usd(10));
    let order = w.order_for(escrow, None, 1);
    let order = w.place("ann", order);
    let lease = w.order(&order).leases[0];
    w.ok("ann", Action::LeaseClose { lease });
    let first = w.order(&order).final_at.unwrap();
    assert_eq!(first, w.head().steady);
    seconds(&mut w, 74);
    // What the order looks at of its leases may have left by then.
    let change = OrderChange::Grow { count: 1 };
    w.ok("ann", Action::OrderUpdate { order, change });
    assert_eq!((w.order(&order).final_at, w.order(&order).open_leases), (None, 1));
    seconds(&mut w, 2);
    assert_eq!(view::lease(&w.state, &lease), None);
    let change = OrderChange::Manifest { hash: hash(9) };
    w.ok("ann", Action::OrderUpdate { order, change });
    let deadline = w.head().now.after(Millis(86_400_000));
    let change = OrderChange::Extend { deadline };
    w.ok("ann", Action::OrderUpdate { order, change });
    assert_eq!(w.order(&order).leases.len(), 2);
}

#[test]
fn an_order_goes_on_when_leases_of_it_have_left() {
    let mut w = world();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(100));
    // Pat's bond is good for four, so the order stays open for the fifth.
    let order = w.order_for(escrow, None, 5);
    let order = w.place("ann", order);
    let leases = w.order(&order).leases;
    let spec = w.spec("3.6");
    let capacity = Resources { cpu_milli: 3_000, ..spec.capacity.clone() };
    let full = crate::provider::HostSpec { capacity, ..spec };
    w.block(
        500,
        vec![
            ("ann", Action::LeaseClose { lease: leases[0] }),
            ("pat", Action::HostSet { index: 0, spec: full }),
        ],
    );
    for lease in &leases[1..] {
        w.by_provider(lease, Action::LeaseReady { lease: *lease });
    }
    for _ in 0..80 {
        w.beat(1_000);
    }
    assert_eq!(view::lease(&w.state, &leases[0]), None);
    assert_eq!((w.order(&order).status, w.order(&order).open_leases), (OrderStatus::Open, 3));
    w.provider("quin", "3.6");
    w.pass(1, 500);
    assert_eq!((w.order(&order).status, w.order(&order).open_leases), (OrderStatus::Leased, 4));
    assert_eq!(w.order(&order).leases.len(), 5);
    assert_eq!(w.order(&order).final_at, None);
}

#[test]
fn no_more_leave_with_one_block_than_it_may_do_of_a_kind() {
    let mut w = world();
    let escrow = w.open_escrow("ann", usd(10));
    let order = w.order_for(escrow, None, 1);
    let order = w.place("ann", order);
    w.ok("ann", Action::OrderCancel { order });
    let record = w.order(&order);
    let mut scratch = Scratch::new(&w.state);
    for number in 0..limits::DUE_PER_BLOCK as u64 {
        let id = OrderId(Hash::of_content(&number.to_le_bytes()));
        keys::store(&mut scratch, &id, &Order { final_at: None, ..record.clone() });
    }
    let changes = scratch.into_changes();
    w.state.apply(changes);
    w.head();
    let left = |w: &World| keys::ORDERS.scan(&w.state, &(), None).count();
    assert_eq!(left(&w), limits::DUE_PER_BLOCK + 1);
    let mut state = w.state.clone();
    state.apply(rebuild_derived(&state));
    assert_eq!(state, w.state, "the index of what is to leave is rebuilt as it was kept");
    seconds(&mut w, 75);
    assert_eq!(left(&w), 1);
    seconds(&mut w, 1);
    assert_eq!(left(&w), 0);
}

#[test]
fn nothing_leaves_a_chain_that_stands_still_or_is_younger_than_the_retention() {
    let mut w = world();
    let escrow = w.open_escrow("ann", usd(10));
    w.ok("ann", Action::EscrowClose { escrow });
    w.pass(3, 3_600_000);
    assert_eq!(w.escrow(&escrow).status, EscrowStatus::Closed);
    let mut least = Params::default();
    short(&mut least);
    assert_eq!(least.check(), Ok(()));
    least.retention_ms = Millis(RETENTION - 1);
    assert_eq!(least.check().map_err(|error| error.name), Err("retention_ms"));
    assert!(Params::default().retention_ms > Millis(RETENTION));
}

#[test]
fn what_is_to_leave_sorts_by_kind_and_reads_back() {
    let kinds = Kind::ALL;
    let encoded = kinds.map(|kind| {
        let mut bytes = Vec::new();
        let leaving = Leaving { kind, id: hash(9) };
        leaving.write(&mut bytes);
        assert_eq!(Leaving::read(&mut bytes.as_slice()), Some(leaving));
        bytes
    });
    assert!(encoded.is_sorted() && kinds.is_sorted());
    assert_eq!(Leaving::read(&mut [7; 33].as_slice()), None);
    let nothing = MemoryState::default();
    assert_eq!(super::stamped(&crate::account::Account::default(), &nothing), None);
}
