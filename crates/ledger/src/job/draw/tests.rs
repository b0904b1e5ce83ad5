use super::*;
use crate::{
    Action, Reject,
    job::{JobKind, JobSpec, Verification},
    market::LeaseStatus,
    tests::{
        World, nanos, usd,
        world::{hash, id},
    },
};
use muster_types::EscrowId;
use std::collections::BTreeMap;

fn seed(number: u64) -> Hash {
    Hash::of("test beacon", &[&number.to_le_bytes()])
}

#[test]
fn a_place_is_drawn_at_its_rate_and_by_beacon_lease_and_root() {
    let (lease, root) = (LeaseId(hash(1)), hash(2));
    assert_eq!(draws(seed(0), lease, root, 5, 10_000).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(draws(seed(0), lease, root, 5, 0).count(), 0);
    // 20,000 draws at 5 %: a mean of 1,000 and a standard deviation of 31.
    let all: Vec<u64> = draws(seed(0), lease, root, 20_000, 500).collect();
    assert!(all.len().abs_diff(1_000) < 150, "{}", all.len());
    assert!(all.iter().all(|index| drawn(&seed(0), &lease, &root, *index, 500)));
    let apart = [
        draws(seed(1), lease, root, 20_000, 500).collect::<Vec<_>>(),
        draws(seed(0), LeaseId(hash(3)), root, 20_000, 500).collect(),
        draws(seed(0), lease, hash(3), 20_000, 500).collect(),
        draws(root, lease, seed(0), 20_000, 500).collect(),
    ];
    for other in apart {
        assert!(other.len().abs_diff(1_000) < 150);
        // Two draws that know nothing of each other share 50.
        assert!(other.iter().filter(|index| all.contains(index)).count() < 150);
    }
}

#[test]
fn auditors_are_drawn_by_stake_and_never_of_the_excluded_operator() {
    let auditor = |name: &str, stake, operator| Auditor {
        account: id(name),
        stake: nanos(stake),
        operator: id(operator),
    };
    let all = [
        auditor("ann", 100, "ann"),
        auditor("bob", 300, "bob"),
        auditor("eve", 600, "eve"),
        auditor("pat", 5_000, "pat"),
        auditor("quin", 5_000, "pat"),
        auditor("rob", 0, "rob"),
    ];
    let (lease, root, pat) = (LeaseId(hash(1)), hash(2), id("pat"));
    let draw = |index, wanted| auditors(&seed(7), &lease, &root, index, &all, &pat, wanted);
    let mut counts: BTreeMap<AccountId, u64> = BTreeMap::new();
    for index in 0..10_000 {
        let [one] = draw(index, 1)[..] else { panic!("one") };
        *counts.entry(one).or_default() += 1;
        let three = draw(index, 5);
        assert_eq!((three.len(), three[0]), (3, one), "no others, and the first stays the first");
    }
    for (name, share) in [("ann", 1_000), ("bob", 3_000), ("eve", 6_000)] {
        // Five standard deviations are at most 245.
        assert!(counts[&id(name)].abs_diff(share) < 245, "{name}: {counts:?}");
    }
    assert_eq!(counts.len(), 3);
    // Nobody is left; an account is its own operator too.
    assert!(auditors(&seed(7), &lease, &root, 0, &all[3..], &pat, 1).is_empty());
    assert!(auditors(&seed(7), &lease, &root, 0, &all[2..3], &id("eve"), 1).is_empty());
    let hidden = [auditor("pat", 10, "eve")];
    assert!(auditors(&seed(7), &lease, &root, 0, &hidden, &pat, 1).is_empty());
    let rich = [Auditor { stake: Amount::MAX, ..all[0] }];
    assert_eq!(auditors(&seed(7), &lease, &root, 0, &rich, &pat, 2), [id("ann")]);
}

/// A lease of pat for ann at a level, active for a second.
fn world(verification: Verification) -> (World, EscrowId, LeaseId) {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let spec = JobSpec {
        kind: JobKind::Batch,
        escrow,
        tasks: 10,
        verification,
        manifest: hash(1),
        fuel_max: 1_000,
        metered: false,
        chain: None,
    };
    let job = w.open_job_of("ann", spec);
    let lease = w.active("ann", escrow, Some(job));
    w.beat(1_000);
    (w, escrow, lease)
}

const AUDIT: Verification = Verification::Audit { rate_bps: 500 };

fn commit(lease: LeaseId, root: u8, count: u64) -> Action {
    Action::ResultCommit { lease, root: hash(root), count, fuel: 0 }
}

#[test]
fn a_commitment_is_made_final_by_the_beacon_of_the_second_block_after_it() {
    let (mut w, _, lease) = world(AUDIT);
    let made = |w: &World| w.lease(&lease).commitment.unwrap();
    w.ok("pat", commit(lease, 1, 10));
    let first = w.head().height;
    assert_eq!((made(&w).height, made(&w).draw), (first, None));
    // Replaced in the next block, it begins anew and loses nothing.
    w.ok("pat", commit(lease, 2, 9));
    assert_eq!((made(&w).root, made(&w).height, made(&w).draw), (hash(2), first + 1, None));
    w.pass(1, 500);
    assert_eq!(made(&w).draw, None);
    // The next block's beacon is known before the block is made, so it takes no other one.
    assert_eq!(w.refused("pat", commit(lease, 3, 8)), Reject::Duplicate);
    let beacon = w.context(500).beacon;
    let events = w.pass(1, 500);
    let (provider, of) = (id("pat"), w.lease(&lease).parties());
    assert!(events.contains(&Event::CommitmentDrawn { lease, provider, of, beacon }));
    assert_eq!(made(&w).draw, Some(Draw { beacon, steady: w.head().steady }));
    assert_eq!(w.head().height, first + 3);
    assert_eq!(w.refused("pat", commit(lease, 3, 8)), Reject::Duplicate);
    let after = w.pass(3, 500);
    assert!(!after.iter().any(|event| matches!(event, Event::CommitmentDrawn { .. })));
}

#[test]
fn a_draw_counts_rounds_and_waits_for_them_while_the_beacon_stays() {
    let (mut w, _, lease) = world(AUDIT);
    let made = |w: &World| w.lease(&lease).commitment.unwrap();
    w.ok("pat", commit(lease, 1, 10));
    let round = w.head().beacon_round;
    // Blocks without a new round draw nothing, and let it be replaced.
    w.beacon_stays = true;
    w.pass(3, 500);
    w.ok("pat", commit(lease, 2, 10));
    assert_eq!((made(&w).round, made(&w).draw), (round, None));
    w.beacon_stays = false;
    w.pass(1, 500);
    // That block may be final, and then the draw's value known before a block carries it.
    w.beacon_stays = true;
    assert_eq!(w.refused("pat", commit(lease, 3, 10)), Reject::Duplicate);
    w.pass(2, 500);
    assert_eq!(made(&w).draw, None);
    w.beacon_stays = false;
    let beacon = w.context(500).beacon;
    w.pass(1, 500);
    assert_eq!(w.head().beacon_round, round + 2);
    assert_eq!(made(&w).draw, Some(Draw { beacon, steady: w.head().steady }));
}

#[test]
fn a_commitment_in_the_block_of_the_next_round_takes_the_first_ones_place() {
    let (mut w, _, lease) = world(AUDIT);
    w.ok("pat", commit(lease, 1, 10));
    let round = w.head().beacon_round;
    w.ok("pat", commit(lease, 2, 9));
    let made = w.lease(&lease).commitment.unwrap();
    assert_eq!((made.root, made.round, made.draw), (hash(2), round + 1, None));
    w.pass(1, 500);
    assert_eq!(w.lease(&lease).commitment.unwrap().draw, None, "it waits for its own round");
    w.pass(1, 500);
    assert!(w.lease(&lease).commitment.unwrap().draw.is_some());
}

#[test]
fn other_levels_draw_nothing_and_replace_while_the_lease_is_open() {
    for level in [Verification::None, Verification::Replicate { sample_bps: 500 }] {
        let (mut w, _, lease) = world(level);
        for root in 1..5 {
            w.ok("pat", commit(lease, root, 1 << 32));
            for _ in 0..3 {
                w.beat(500);
            }
            assert_eq!(w.lease(&lease).commitment.unwrap().draw, None);
        }
        let many = commit(lease, 1, (1 << 32) + 1);
        assert_eq!(w.refused("pat", many), Reject::bad_field("count"));
    }
}

#[test]
fn an_audited_commitment_has_at_most_a_leaf_a_task() {
    let (mut w, _, lease) = world(AUDIT);
    assert_eq!(w.refused("pat", commit(lease, 1, 11)), Reject::bad_field("count"));
    assert_eq!(w.refused("ann", commit(lease, 1, 10)), Reject::not_yours("provider"));
    w.ok("pat", commit(lease, 1, 0));
}

#[test]
fn the_window_runs_from_the_draw_where_that_is_later_than_the_end() {
    let (mut w, _, lease) = world(AUDIT);
    w.ok("ann", Action::LeaseClose { lease });
    // The default window is ten seconds: commits at the last moment.
    for _ in 0..9 {
        w.pass(1, 1_000);
    }
    w.ok("pat", commit(lease, 1, 10));
    assert_eq!(w.lease(&lease).window_from(), None);
    w.pass(2, 1_000);
    assert_eq!(w.lease(&lease).window_from(), Some(w.head().steady));
    w.pass(9, 1_000);
    assert!(!w.lease(&lease).status.is_settled());
    w.pass(1, 1_000);
    let settled = w.lease(&lease);
    assert!(settled.status.is_settled());
    assert_eq!(settled.paid, settled.accrued);
    assert!(!settled.paid.is_zero());
}

#[test]
fn an_early_draw_does_not_shorten_the_window() {
    let (mut w, _, lease) = world(AUDIT);
    w.ok("pat", commit(lease, 1, 10));
    for _ in 0..4 {
        w.beat(1_000);
    }
    w.ok("ann", Action::LeaseClose { lease });
    assert_eq!(w.lease(&lease).window_from(), Some(w.head().steady));
    w.pass(9, 1_000);
    assert!(!w.lease(&lease).status.is_settled());
    w.pass(1, 1_000);
    assert!(w.lease(&lease).status.is_settled());
}

#[test]
fn without_a_commitment_nothing_is_paid_unless_the_tenant_accepts() {
    // (level, accepted, what is paid of what was earned)
    let table = [
        (AUDIT, false, false),
        (AUDIT, true, true),
        (Verification::Replicate { sample_bps: 500 }, false, true),
    ];
    for (level, accepted, paid) in table {
        let (mut w, escrow, lease) = world(level);
        w.ok("ann", Action::LeaseClose { lease });
        let balance = w.escrow(&escrow).balance;
        if accepted {
            w.ok("ann", Action::ResultAccept { lease });
        }
        w.pass(11, 1_000);
        let record = w.lease(&lease);
        assert!(record.status.is_settled());
        let earned = record.accrued;
        assert!(!earned.is_zero());
        assert_eq!(record.paid, if paid { earned } else { Amount::ZERO }, "{level:?}");
        let back = if paid { Amount::ZERO } else { earned };
        assert_eq!(w.escrow(&escrow).balance, balance.checked_add(back).unwrap());
        assert_eq!(w.bond_of("pat").slashed, Amount::ZERO, "it is no proof of fraud");
    }
}

#[test]
fn a_lease_that_is_settled_before_its_draw_is_not_drawn() {
    let (mut w, _, lease) = world(AUDIT);
    w.ok("ann", Action::LeaseClose { lease });
    w.ok("pat", commit(lease, 1, 10));
    assert_eq!(w.refused("pat", commit(lease, 2, 10)), Reject::Duplicate);
    w.ok("ann", Action::ResultAccept { lease });
    w.pass(3, 1_000);
    assert!(matches!(w.lease(&lease).status, LeaseStatus::Closed { settled: true, .. }));
    assert_eq!(w.lease(&lease).commitment.unwrap().draw, None);
}
