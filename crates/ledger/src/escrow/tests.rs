use crate::{
    Action, Event, Reject,
    escrow::EscrowStatus,
    event::Refund,
    market::{CloseReason, LeaseStatus},
    tests::{World, nanos, usd, world::id},
};
use muster_market::{Request, Terms};
use muster_types::*;

/// A millionth of a usd thousandfold: what a rate of 3.6 usd an hour earns in a second.
const UNIT: u128 = 1_000_000;

/// A world with one lease a provider on one escrow, active since the same block; rates in units
/// a second.
fn streams(balance: u128, rates: &[u64]) -> (World, EscrowId, Vec<LeaseId>) {
    let mut w = World::with(&["val"], |params| params.pledge_hours = 1);
    let providers = ["pat", "quin", "rob"];
    let escrow = w.open_escrow("ann", nanos(balance * UNIT));
    let mut leases = Vec::new();
    for (who, rate) in providers.into_iter().zip(rates) {
        let price = nanos(u128::from(*rate) * UNIT * 3_600);
        w.provider(who, &price.to_string());
        let terms = Terms {
            request: Request { cpu_milli: 1_000, ..Request::default() },
            count: 1,
            max_rate: Rate::MAX,
            providers: vec![id(who)],
            ..Terms::default()
        };
        let order = w.order_with(escrow, None, terms);
        let order = w.place("ann", order);
        leases.extend(w.order(&order).leases);
    }
    let ready =
        |(who, lease): (&'static str, &LeaseId)| (who, Action::LeaseReady { lease: *lease });
    let acts = providers.into_iter().zip(&leases).map(ready).collect();
    assert!(w.block(500, acts).results.iter().all(Result::is_ok));
    (w, escrow, leases)
}

fn accrued(w: &World, leases: &[LeaseId]) -> Vec<u128> {
    leases.iter().map(|lease| w.lease(lease).accrued.nanos()).collect()
}

/// A settlement case: whole blocks of a second, one stream a rate, money in units, rates in units
/// a second; `ours` is what each stream is paid pro rata.
#[derive(serde::Deserialize)]
struct Settlement {
    name: String,
    elapsed: u64,
    balance: u128,
    rates: Vec<u64>,
    ours: Vec<u128>,
    overdrawn: bool,
    #[serde(default)]
    unpaid: u128,
}

impl Settlement {
    fn play(&self) {
        let name = &self.name;
        let (mut w, escrow, leases) = streams(self.balance, &self.rates);
        for _ in 0..self.elapsed {
            w.beat(1_000);
        }
        let expected: Vec<u128> = self.ours.iter().map(|units| units * UNIT).collect();
        assert_eq!(accrued(&w, &leases), expected, "{name}");
        let record = w.escrow(&escrow);
        let is_overdrawn = matches!(record.status, EscrowStatus::Overdrawn { .. });
        assert_eq!(is_overdrawn, self.overdrawn, "{name}");
        let short: u128 = leases.iter().map(|lease| w.lease(lease).shortfall.nanos()).sum();
        assert_eq!(short, self.unpaid * UNIT, "{name}");
        assert_eq!(record.paid.nanos(), expected.iter().sum::<u128>(), "{name}");
    }
}

#[test]
fn streams_share_pro_rata_what_the_escrow_has() {
    // (name, seconds, balance, rates, paid, overdrawn, unpaid)
    type Row = (&'static str, u64, u128, &'static [u64], &'static [u128], bool, u128);
    let table: [Row; 8] = [
        ("plenty left", 5, 100, &[1, 2], &[5, 10], false, 0),
        ("use it all", 5, 100, &[10, 10], &[50, 50], false, 0),
        ("runs short", 6, 100, &[10, 10], &[50, 50], true, 20),
        ("use all funds", 5, 200, &[10, 10], &[50, 50], false, 0),
        ("use all funds with some balance", 6, 200, &[10, 10], &[60, 60], false, 0),
        ("use all funds and balance", 10, 200, &[10, 10], &[100, 100], false, 0),
        ("overdrawn", 11, 200, &[10, 10], &[100, 100], true, 20),
        ("unequal rates", 10, 90, &[6, 3, 1], &[54, 27, 9], true, 10),
    ];
    for (name, elapsed, balance, rates, ours, overdrawn, unpaid) in table {
        let (name, rates, ours) = (name.to_owned(), rates.to_vec(), ours.to_vec());
        Settlement { name, elapsed, balance, rates, ours, overdrawn, unpaid }.play();
    }
}

/// The settlement cases of another network, with its results and with ours; kept beside the
/// repository.
#[test]
fn the_settlement_cases_of_akash_come_out_pro_rata() {
    #[derive(serde::Deserialize)]
    struct Vectors {
        cases: Vec<Settlement>,
    }
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/escrow/akash_settle.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: there is no {path}");
        return;
    };
    let vectors: Vectors = serde_json::from_str(&text).unwrap();
    assert!(!vectors.cases.is_empty());
    for case in vectors.cases {
        case.play();
    }
}

#[test]
fn one_heartbeat_covers_the_leases_of_all_tenants_and_escrows() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let mut leases = Vec::new();
    for tenant in ["ann", "bob"] {
        for _ in 0..2 {
            let escrow = w.open_escrow(tenant, usd(1));
            leases.extend(w.grant(tenant, escrow, None, 1));
        }
    }
    let ready = leases.iter().map(|lease| ("pat", Action::LeaseReady { lease: *lease })).collect();
    w.block(500, ready);
    w.ok("pat", Action::Heartbeat { leases: leases.clone() });
    assert_eq!(accrued(&w, &leases), [500_000; 4]);
}

#[test]
fn what_has_vested_is_in_the_providers_account_in_the_block_in_which_it_vests() {
    let earned = |w: &World| w.usd_of("pat").checked_sub(usd(600)).unwrap();
    let second = nanos(1_000_000);
    // At level none: in the block of the heartbeat that covers it.
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let lease = w.active("ann", escrow, None);
    w.beat(1_000);
    assert_eq!(earned(&w), second);
    // And it is free at once.
    let spend = Action::Transfer { to: id("bob"), asset: Asset::Usd, amount: w.usd_of("pat") };
    w.block(1, vec![("pat", spend)]);
    assert_eq!(w.usd_of("pat"), Amount::ZERO);
    w.ok("ann", Action::LeaseClose { lease });
    // At every other: in the block in which it is accepted, or the window ends, or the verdict
    // that came after it falls.
    for end in ["accepted", "unchallenged", "judged"] {
        let mut w = World::new();
        w.provider("pat", "3.6");
        w.provider("quin", "3.7");
        let escrow = w.open_escrow("ann", usd(10));
        let job = w.open_job("ann", escrow);
        let order = w.order_for(escrow, Some(job), 6);
        let order = w.place("ann", order);
        let by = |w: &World, who: &str| {
            let leases = w.order(&order).leases;
            leases.into_iter().find(|lease| w.lease(lease).provider() == id(who)).unwrap()
        };
        let (lease, other) = (by(&w, "pat"), by(&w, "quin"));
        w.ok("pat", Action::LeaseReady { lease });
        w.beat(1_000);
        w.block(1, vec![("ann", Action::LeaseClose { lease })]);
        let due = w.lease(&lease).accrued;
        assert_eq!((due, earned(&w)), (nanos(1_001_000), Amount::ZERO), "{end}");
        match end {
            "accepted" => drop(w.ok("ann", Action::ResultAccept { lease })),
            "unchallenged" => {
                w.pass(9, 1_000);
                w.pass(1, 999);
                assert_eq!(earned(&w), Amount::ZERO);
                w.pass(1, 1);
            }
            _ => {
                let claims = Box::new([w.claim(lease, 0, 1), w.claim(other, 0, 2)]);
                let evidence = String::new();
                let (receipt, _) = w.ok("ann", Action::DisputeOpen { job, claims, evidence });
                w.pass(12, 1_000);
                assert_eq!(earned(&w), Amount::ZERO, "held by the dispute");
                let dispute = DisputeId::derive(&receipt.tx);
                let output = Some(crate::tests::world::result(1));
                w.ok("val", Action::DisputeVote { dispute, output });
            }
        }
        assert_eq!(earned(&w), due, "{end}");
    }
}

#[test]
fn who_comes_first_does_not_get_more() {
    // 15 units for two streams of 10 a second: both are paid up to 0.75 s, whoever beats when.
    let (mut w, escrow, leases) = streams(15, &[10, 10]);
    let [first, second] = leases[..] else { panic!() };
    w.block(1_000, vec![("pat", Action::Heartbeat { leases: vec![first] })]);
    assert_eq!(accrued(&w, &leases), [7_500_000, 0]);
    assert_eq!(w.escrow(&escrow).balance, nanos(7_500_000), "kept for the other");
    w.block(500, vec![("pat", Action::Heartbeat { leases: vec![first] })]);
    assert_eq!(accrued(&w, &leases), [7_500_000, 0]);
    w.block(500, vec![("quin", Action::Heartbeat { leases: vec![second] })]);
    assert_eq!(accrued(&w, &leases), [7_500_000, 7_500_000]);
    let shortfalls = [first, second].map(|lease| w.lease(&lease).shortfall.nanos());
    assert_eq!(shortfalls, [7_500_000, 12_500_000]);
}

#[test]
fn what_is_not_claimed_goes_to_those_who_served() {
    let (mut w, escrow, leases) = streams(15, &[10, 10]);
    for _ in 0..8 {
        w.block(500, vec![("pat", Action::Heartbeat { leases: vec![leases[0]] })]);
    }
    // The second stream was silent for too long: its claim is gone.
    assert_eq!(accrued(&w, &leases), [15_000_000, 0]);
    assert_eq!(w.escrow(&escrow).balance, Amount::ZERO);
}

#[test]
fn later_deposits_pay_the_shortfall_first_and_reopen_the_escrow() {
    let (mut w, escrow, leases) = streams(20, &[10, 10]);
    for _ in 0..2 {
        w.beat(1_000);
    }
    let since = w.head().steady;
    assert_eq!(w.escrow(&escrow).status, EscrowStatus::Overdrawn { since });
    // (deposit in units, who pays, accrued after, shortfalls after, open)
    let table = [
        (8_u128, "bob", [14_u128, 14], [6_u128, 6], false),
        (12, "ann", [20, 20], [0, 0], true),
        (5, "ann", [20, 20], [0, 0], true),
    ];
    for (units, who, paid, short, open) in table {
        let amount = nanos(units * UNIT);
        w.block(1, vec![(who, Action::EscrowDeposit { escrow, amount })]);
        assert_eq!(accrued(&w, &leases), paid.map(|units| units * UNIT));
        let shortfalls: Vec<_> =
            leases.iter().map(|lease| w.lease(lease).shortfall.nanos()).collect();
        assert_eq!(shortfalls, short.map(|units| units * UNIT));
        assert_eq!(w.escrow(&escrow).status == EscrowStatus::Open, open);
    }
    let short = Action::EscrowDeposit { escrow, amount: Amount::ZERO };
    assert_eq!(w.refused("ann", short), Reject::ZeroAmount);
}

#[test]
fn an_escrow_that_stays_short_closes_its_leases() {
    let (mut w, escrow, leases) = streams(20, &[10, 10]);
    let mut events = Vec::new();
    for _ in 0..13 {
        events.extend(w.beat(1_000).events);
    }
    assert!(events.contains(&Event::EscrowOverdrawn { escrow, owner: id("ann") }));
    for lease in &leases {
        let record = w.lease(lease);
        let LeaseStatus::Closed { reason, settled, .. } = record.status else { panic!() };
        assert_eq!((reason, settled), (CloseReason::OutOfFunds, true));
        assert_eq!(record.covered, Millis(12_000));
        assert_eq!(record.accrued, nanos(10 * UNIT));
        assert_eq!(w.bond_of("pat").slashed, Amount::ZERO, "nobody is to blame");
    }
    w.ok("ann", Action::EscrowClose { escrow });
}

#[test]
fn refunds_follow_what_is_left_of_each_deposit() {
    // Ann's 40 are half spent when bob adds 20; then 10 more are spent.
    let (mut w, escrow, leases) = streams(40, &[10]);
    w.beat(1_000);
    w.beat(1_000);
    let amount = nanos(20 * UNIT);
    w.block(1, vec![("bob", Action::EscrowDeposit { escrow, amount })]);
    w.beat(999);
    let (ann, bob) = (w.usd_of("ann"), w.usd_of("bob"));
    w.block(1, vec![("ann", Action::LeaseClose { lease: leases[0] })]);
    let (receipt, _) = w.ok("ann", Action::EscrowClose { escrow });
    let record = w.escrow(&escrow);
    let spent = w.lease(&leases[0]).accrued;
    assert_eq!(spent, nanos(30_010_000));
    let left = nanos(60 * UNIT).checked_sub(spent).unwrap();
    assert_eq!((record.status, record.refunded), (EscrowStatus::Closed, left));
    // Both had 20 left when bob came, so they share alike what is left now.
    assert_eq!(w.usd_of("ann"), ann.checked_add(nanos(14_995_000)).unwrap());
    assert_eq!(w.usd_of("bob"), bob.checked_add(nanos(14_995_000)).unwrap());
    assert_eq!(record.deposited, record.paid.checked_add(record.refunded).unwrap());
    let half = nanos(14_995_000);
    let refund = |depositor| Refund { depositor, amount: half };
    let closed = Event::EscrowClosed {
        escrow,
        owner: id("ann"),
        refunds: vec![refund(id("ann")), refund(id("bob"))],
        deposited: nanos(60 * UNIT),
        paid: spent,
        refunded: left,
        compensated: Amount::ZERO,
        fees: Amount::ZERO,
    };
    assert_eq!(receipt.events, [closed]);
}

#[test]
fn an_escrow_closes_once_for_its_owner_when_nothing_draws_from_it() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let close = Action::EscrowClose { escrow };
    assert_eq!(w.refused("bob", close.clone()), Reject::not_yours("owner"));
    let missing = Action::EscrowClose { escrow: EscrowId::default() };
    assert_eq!(w.refused("ann", missing), Reject::not_found("escrow"));
    let order = w.order_for(escrow, None, 9);
    let order = w.place("ann", order);
    assert_eq!(w.order(&order).leases.len(), 4, "the bond covers four pledges");
    let waiting = Reject::wrong_state("escrow", "waiting for open orders");
    assert_eq!(w.refused("ann", close.clone()), waiting);
    w.ok("ann", Action::OrderCancel { order });
    let paying = Reject::wrong_state("escrow", "paying leases that are not settled");
    assert_eq!(w.refused("ann", close.clone()), paying);
    for lease in w.order(&order).leases {
        w.ok("ann", Action::LeaseClose { lease });
    }
    w.ok("ann", close.clone());
    assert_eq!(w.usd_of("ann"), usd(1_000), "granted leases cost nothing");
    let closed = Reject::wrong_state("escrow", "closed");
    assert_eq!(w.refused("ann", close), closed);
    let deposit = Action::EscrowDeposit { escrow, amount: usd(1) };
    assert_eq!(w.refused("ann", deposit), closed);
    let order = w.order_for(escrow, None, 1);
    assert_eq!(w.refused("ann", order), closed);
    assert_eq!(w.refused("ann", Action::EscrowOpen { deposit: Amount::ZERO }), Reject::ZeroAmount);
}

#[test]
fn an_escrow_takes_a_bounded_number_of_depositors_and_always_its_owner() {
    let mut w = World::new();
    let escrow = w.open_escrow("ann", usd(1));
    let deposit = |who: &str| (who.to_owned(), Action::EscrowDeposit { escrow, amount: nanos(7) });
    for n in 0..64 {
        let name = format!("friend {n}");
        let amount = nanos(10);
        w.ok("bob", Action::Transfer { to: id(&name), asset: Asset::Usd, amount });
        let (who, act) = deposit(&name);
        if n < 63 {
            w.ok(&who, act);
        } else {
            let reject = Reject::wrong_state("escrow", "shared by too many depositors");
            assert_eq!(w.refused(&who, act), reject);
        }
    }
    w.ok("ann", Action::EscrowDeposit { escrow, amount: usd(1) });
    assert_eq!(w.escrow(&escrow).deposits.len(), 64);
    w.ok("ann", Action::EscrowClose { escrow });
    assert_eq!(w.usd_of("friend 62"), nanos(10));
    assert_eq!(w.usd_of("ann"), usd(1_000));
}
