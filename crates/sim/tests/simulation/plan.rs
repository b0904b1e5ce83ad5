//! Plans: generated, written down, read.

use muster_sim::{Byzantine, Deed, Plan};

#[test]
fn a_plan_is_the_same_after_it_was_written_down_and_read() {
    for seed in 0..200 {
        let plan = Plan::of(seed);
        assert_eq!(Plan::of(seed), plan);
        assert_eq!(Plan::read(&plan.to_toml().unwrap()).unwrap(), plan);
        assert_eq!(Plan::read(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);
    }
}

#[test]
fn a_plan_that_names_who_is_not_there_is_refused_with_the_field() {
    let plan = Plan { byzantine: vec![Byzantine { node: 9, deed: Deed::Forge }], ..Plan::of(0) };
    let refused = Plan::read(&plan.to_toml().unwrap()).unwrap_err();
    assert!(refused.to_string().contains("byzantine"), "{refused}");
}

#[test]
fn seeds_bring_every_kind_of_fault() {
    let plans: Vec<Plan> = (0..200).map(Plan::of).collect();
    let has = |what: &dyn Fn(&Plan) -> bool| plans.iter().filter(|plan| what(plan)).count();
    let fault =
        |what: &str| has(&|plan| serde_json::to_string(&plan.faults).unwrap().contains(what));
    let deed =
        |what: &str| has(&|plan| serde_json::to_string(&plan.byzantine).unwrap().contains(what));
    for what in ["crash", "wipe", "late", "partition", "torn", "prefix", "lost"] {
        assert!(fault(what) >= 8, "{what}: {}", fault(what));
    }
    for what in [
        "equivocate",
        "withhold",
        "forge",
        "fake_state",
        "fake_events",
        "stop_time",
        "usurp",
        "rig",
        "censor",
    ] {
        assert!(deed(what) >= 4, "{what}: {}", deed(what));
    }
}
