//! Many plans at once: every core simulates.

use crate::{
    plan::Plan,
    world::{Report, run},
};
use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// The stack of a simulation: the future that starts a validator is large where code is not
/// optimized.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Runs plans on all cores until there are no more, and tells each report as it comes, in no
/// order, until `told` says that it has heard enough.
///
/// # Panics
/// Where the system has no thread to spare.
pub fn swarm(
    plans: impl Iterator<Item = Plan> + Send,
    told: impl FnMut(&Plan, &Report) -> bool + Send,
) {
    let plans = Mutex::new(plans);
    let told = Mutex::new(told);
    let enough = AtomicBool::new(false);
    let work = || {
        while !enough.load(Ordering::Relaxed) {
            let next = plans.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(plan) = next else { return };
            let report = run(&plan);
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if !told(&plan, &report) {
                enough.store(true, Ordering::Relaxed);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            let builder = thread::Builder::new().name("simulation".into()).stack_size(STACK_BYTES);
            builder.spawn_scoped(scope, work).expect("a thread can be started");
        }
    });
}

/// Runs plans on all cores; gives the reports in the order of the plans.
///
/// # Panics
/// Where the system has no thread to spare.
#[must_use]
pub fn each(plans: Vec<Plan>) -> Vec<Report> {
    let mut reports: Vec<(usize, Report)> = Vec::new();
    let places: Vec<Plan> = plans.clone();
    swarm(plans.into_iter(), |plan, report| {
        let taken = |place: &usize| reports.iter().any(|(found, _)| found == place);
        let place = (0..places.len()).find(|place| places[*place] == *plan && !taken(place));
        reports.push((place.unwrap_or(usize::MAX), report.clone()));
        true
    });
    reports.sort_by_key(|(place, _)| *place);
    reports.into_iter().map(|(_, report)| report).collect()
}
