//! The simulator finds nothing in the node, and what is planted there it finds.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

mod disk;
mod plan;

use muster_sim::{Bug, Deed, Fault, Plan, Property, Report, each, replay, swarm};

/// Seeds that every test run simulates.
const SEEDS: u64 = 200;
/// Within how many seeds a planted bug must be found.
const PATIENCE: u64 = 150;

fn describe(report: &Report) -> String {
    describe_of(report, &Plan::of(report.seed))
}

/// What was found, and how to see it again.
fn describe_of(report: &Report, plan: &Plan) -> String {
    format!("{:#?}\n{}", report.violations, replay(plan))
}

#[test]
fn two_hundred_seeds_break_no_property() {
    let reports = each((0..SEEDS).map(Plan::of).collect());
    let broken: Vec<String> =
        reports.iter().filter(|report| !report.is_clean()).map(describe).collect();
    assert!(broken.is_empty(), "{} of {SEEDS} seeds:\n{}", broken.len(), broken.join("\n"));
    // Something happened in each, and crashes among it.
    assert!(reports.iter().all(|report| report.height > 5 && report.applied > 5));
    assert!(reports.iter().filter(|report| report.restarts > 0).count() > 40);
    assert!(reports.iter().filter(|report| report.jailed > 0).count() > 10);
    assert!(reports.iter().filter(|report| report.signed_rounds > 0).count() > 150);
}

#[test]
fn the_same_plan_gives_the_same_trace_and_another_seed_another() {
    for seed in [3, 8, 21] {
        let reports = each(vec![Plan::of(seed), Plan::of(seed)]);
        assert_eq!(reports[0], reports[1], "seed {seed}");
        assert_ne!(each(vec![Plan::of(seed + 1)])[0].trace, reports[0].trace);
    }
}

/// The first seed, among those where it can show, under which a bug breaks a property.
fn first_seed_that_finds(bug: &Bug, shows: fn(&Plan) -> bool) -> Option<Report> {
    let plans = (0..PATIENCE).map(Plan::of).filter(shows);
    let mut found = None;
    swarm(plans.map(|plan| Plan { bugs: vec![bug.clone()], ..plan }), |_, report| {
        if !report.is_clean() {
            found = Some(report.clone());
        }
        found.is_none()
    });
    found
}

/// Where a bug can show, and what it breaks there.
type Row = (Bug, fn(&Plan) -> bool, &'static [Property]);

fn crashes(plan: &Plan) -> bool {
    plan.faults.iter().any(|fault| matches!(fault, Fault::Crash { .. }))
}

/// Whether somebody is down long enough to be jailed.
fn jails(plan: &Plan) -> bool {
    let is_long = |fault: &Fault| matches!(fault, Fault::Late { .. } | Fault::Wipe { .. });
    plan.jail.is_some() && plan.faults.iter().any(is_long)
}

fn does(plan: &Plan, deed: &Deed) -> bool {
    plan.byzantine.iter().any(|byzantine| byzantine.deed == *deed)
}

#[test]
fn a_bug_is_found_that_is_planted() {
    let all_disks = Bug::DropSync { partition: String::new() };
    let table: [Row; 7] = [
        (Bug::UnsignedBlocks, |plan| does(plan, &Deed::Forge), &[Property::Validity]),
        (Bug::AnyEvents, |plan| does(plan, &Deed::FakeEvents), &[Property::Validity]),
        (Bug::AnyBeacon, |plan| does(plan, &Deed::Rig), &[Property::Beacon]),
        (Bug::HastyBeacon, |_| true, &[Property::Beacon]),
        (Bug::KeepDeleted, |_| true, &[Property::Storage]),
        (Bug::AbsentOwners, jails, &[Property::Comeback]),
        (all_disks, crashes, &[Property::Durability, Property::Soundness, Property::Honesty]),
    ];
    for (bug, shows, breaks) in table {
        let found = first_seed_that_finds(&bug, shows);
        let found = found.unwrap_or_else(|| panic!("{bug:?} stays unnoticed in {PATIENCE} seeds"));
        let as_meant = |property| breaks.contains(&property);
        assert!(
            found.violations.iter().any(|violation| as_meant(violation.property)),
            "{bug:?} shows elsewhere: {}",
            describe_of(&found, &Plan { bugs: vec![bug.clone()], ..Plan::of(found.seed) })
        );
        // The same seed without the bug is clean: it is the bug that was found.
        let without = &each(vec![Plan::of(found.seed)])[0];
        assert!(without.is_clean(), "without the bug: {}", describe(without));
    }
}

#[test]
fn what_is_printed_to_see_a_plan_again_says_all_of_it() {
    let plan = Plan::of(5);
    assert!(replay(&plan).ends_with(" sim run --seed 5"), "{}", replay(&plan));
    let planted = Plan { bugs: vec![Bug::UnsignedBlocks], ..plan };
    let said = replay(&planted);
    let (file, command) = said.split_once("'END'\n").unwrap().1.split_once("END\n").unwrap();
    assert_eq!(Plan::read(file).unwrap(), planted);
    assert!(command.ends_with(" sim run --seed 5 --plan plan.toml"), "{command}");
}

#[test]
fn a_plan_of_a_file_is_simulated_like_that_of_a_seed() {
    let plan = Plan::of(5);
    let read = Plan::read(&plan.to_toml().unwrap()).unwrap();
    let reports = each(vec![plan, read]);
    assert_eq!(reports[0], reports[1]);
}
