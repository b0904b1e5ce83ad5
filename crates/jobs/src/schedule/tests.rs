use super::*;
use muster_ledger::job::TaskRef;
use muster_types::{Amount, JobId, Signature};

mod storm;

/// What a provider is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    Honest,
    /// Changes the output of every task whose index is a multiple.
    Lies(u64),
}

fn provider(number: u8) -> AccountId {
    AccountId(Hash([number; 32]))
}

fn lease(number: u8) -> LeaseId {
    LeaseId(Hash([number; 32]))
}

fn input(index: u64) -> Hash {
    Hash::of_content(format!("input {index}").as_bytes())
}

/// What a task really gives.
fn truth(index: u64, input: Hash) -> TaskOutput {
    let output = Hash::of("test output", &[&index.to_le_bytes(), input.as_bytes()]);
    TaskOutput { output, fuel: 100 + index }
}

fn claim(lease: LeaseId, index: u64, input: Hash, result: TaskOutput) -> Claim {
    let task = TaskRef {
        job: JobId::default(),
        index,
        module: Hash::ZERO,
        input,
        data: Hash::ZERO,
        fuel_limit: 1_000,
        memory_limit_bytes: 1,
    };
    Claim { lease, task, result, signature: Signature([0; 64]) }
}

fn answer(nature: Nature, kind: JobKind, run: &Assignment) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut state = run.inputs[0];
    for at in 0..u64::from(run.count) {
        let index = run.first + at;
        let input = match kind {
            JobKind::Batch => run.inputs[usize::try_from(at).unwrap()],
            JobKind::Chain => state,
        };
        let mut result = truth(index, input);
        if let Nature::Lies(every) = nature
            && index.is_multiple_of(every)
        {
            result.output = Hash::of_content(b"a lie");
        }
        claims.push(claim(run.lease, index, input, result));
        state = result.output;
    }
    claims
}

fn failure(deterministic: bool) -> Failure {
    Failure { deterministic, message: "trap".to_owned(), stderr: "boom".to_owned() }
}

fn rules(kind: JobKind, tasks: u64, sampled: &[u64]) -> Rules {
    Rules {
        kind,
        tasks,
        inputs: match kind {
            JobKind::Batch => (0..tasks).map(input).collect(),
            JobKind::Chain => vec![input(0)],
        },
        sampled: sampled.iter().copied().collect(),
        providers: 2,
        retries: 2,
        segment: 4,
    }
}

/// A schedule, and the effects that nobody has dealt with yet.
struct Desk {
    schedule: Schedule,
    log: Vec<Event>,
    effects: Vec<Effect>,
}

impl Desk {
    fn open(rules: Rules) -> Self {
        let mut desk =
            Self { schedule: Schedule::new(rules), log: Vec::new(), effects: Vec::new() };
        desk.on(Event::Started);
        desk
    }

    fn on(&mut self, event: Event) {
        self.log.push(event.clone());
        self.effects.extend(self.schedule.on(event));
    }

    /// Grants lease `number` of the provider with the same number, at a rate of as much.
    fn grant(&mut self, order: u32, number: u8) {
        let rate = Rate::per_hour(Amount::from_nanos(u128::from(number)));
        let (lease, provider) = (lease(number), provider(number));
        self.on(Event::Granted { lease, order, provider, rate, waited_ms: Some(7) });
        self.on(Event::Prepared { lease });
    }

    fn runs(&mut self) -> Vec<Assignment> {
        let (runs, rest): (Vec<_>, Vec<_>) =
            self.effects.drain(..).partition(|effect| matches!(effect, Effect::Run(_)));
        self.effects = rest;
        runs.into_iter()
            .filter_map(|effect| match effect {
                Effect::Run(run) => Some(run),
                _ => None,
            })
            .collect()
    }

    fn orders(&mut self) -> Vec<(u32, u32, Vec<AccountId>)> {
        let (orders, rest): (Vec<_>, Vec<_>) =
            self.effects.drain(..).partition(|effect| matches!(effect, Effect::Order { .. }));
        self.effects = rest;
        orders
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Order { number, count, exclude } => Some((number, count, exclude)),
                _ => None,
            })
            .collect()
    }

    fn disputes(&mut self) -> Vec<(u32, [Claim; 2])> {
        let (disputes, rest): (Vec<_>, Vec<_>) =
            self.effects.drain(..).partition(|effect| matches!(effect, Effect::Dispute { .. }));
        self.effects = rest;
        disputes
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Dispute { number, claims } => Some((number, *claims)),
                _ => None,
            })
            .collect()
    }

    fn reply(&mut self, nature: Nature, run: &Assignment) {
        let claims = answer(nature, self.schedule.rules.kind, run);
        let (lease, ticket) = (run.lease, run.ticket);
        self.on(Event::Ran { lease, ticket, claims, failure: None, held: true });
    }

    fn fail(&mut self, run: &Assignment, done: usize, deterministic: bool) {
        let claims = answer(Nature::Honest, self.schedule.rules.kind, run);
        let (lease, ticket) = (run.lease, run.ticket);
        let claims = claims.into_iter().take(done).collect();
        let failure = Some(failure(deterministic));
        self.on(Event::Ran { lease, ticket, claims, failure, held: true });
    }

    /// Has every run answered, honestly or not, until nothing more is asked.
    fn work(&mut self, natures: &BTreeMap<LeaseId, Nature>) {
        loop {
            let runs = self.runs();
            if runs.is_empty() {
                return;
            }
            for run in runs {
                let nature = natures.get(&run.lease).copied().unwrap_or(Nature::Honest);
                self.reply(nature, &run);
            }
        }
    }

    /// The validators say what the disputed task gives.
    fn judge(&mut self, number: u32, claims: &[Claim; 2]) {
        let task = claims[0].task;
        let output = truth(task.index, task.input);
        let losers = claims.iter().filter(|claim| claim.result != output);
        let losers = losers.map(|claim| claim.lease).collect();
        let status = DisputeStatus::Judged { output };
        self.on(Event::Judged { dispute: number, status, losers });
    }

    fn outcome(&self) -> Option<&Outcome> {
        self.schedule.outcome()
    }

    fn results_are_true(&self) -> bool {
        self.schedule
            .results()
            .all(|claim| claim.result == truth(claim.task.index, claim.task.input))
    }
}

fn honest() -> BTreeMap<LeaseId, Nature> {
    BTreeMap::new()
}

#[test]
fn a_batch_is_done_when_every_task_has_a_result_and_every_sampled_one_a_second() {
    let mut desk = Desk::open(rules(JobKind::Batch, 20, &[0, 7, 19]));
    assert_eq!(desk.orders(), [(0, 2, vec![])]);
    desk.grant(0, 1);
    desk.grant(0, 2);
    desk.work(&honest());
    assert_eq!(desk.outcome(), Some(&Outcome::Done));
    assert_eq!((desk.schedule.done(), desk.schedule.verified()), (20, 3));
    assert_eq!(desk.effects.last(), Some(&Effect::Finish(Outcome::Done)));
    assert_eq!(desk.schedule.results().count(), 20);
    assert_eq!(desk.orders(), [], "nothing more was ordered");
    let waited: Vec<_> = desk.schedule.leases().map(|lease| lease.waited_ms).collect();
    assert_eq!(waited, [Some(7), Some(7)]);
}

#[test]
fn a_lease_has_two_requests_in_flight_and_no_task_is_in_two() {
    let mut desk = Desk::open(rules(JobKind::Batch, 40, &[]));
    desk.grant(0, 1);
    desk.grant(0, 2);
    let runs = desk.runs();
    let mut seen = BTreeSet::new();
    for run in &runs {
        assert!((1..=4).contains(&run.count), "{run:?}");
        for index in run.first..run.first + u64::from(run.count) {
            assert!(seen.insert(index), "task {index} twice");
        }
    }
    for number in [1, 2] {
        assert_eq!(runs.iter().filter(|run| run.lease == lease(number)).count(), 2);
    }
}

#[test]
fn runs_get_shorter_towards_the_end() {
    let mut desk = Desk::open(rules(JobKind::Batch, 20, &[]));
    desk.grant(0, 1);
    let mut counts = Vec::new();
    loop {
        let runs = desk.runs();
        if runs.is_empty() {
            break;
        }
        for run in runs {
            counts.push(run.count);
            desk.reply(Nature::Honest, &run);
        }
    }
    assert_eq!(counts.iter().sum::<u32>(), 20);
    assert_eq!((counts[0], counts.last()), (4, Some(&1)));
}

#[test]
fn a_check_goes_to_another_provider_than_the_result() {
    let mut desk = Desk::open(rules(JobKind::Batch, 4, &[0, 1, 2, 3]));
    desk.grant(0, 1);
    let runs = desk.runs();
    for run in &runs {
        desk.reply(Nature::Honest, run);
    }
    desk.work(&honest());
    assert_eq!(desk.schedule.done(), 4);
    assert_eq!(desk.schedule.verified(), 0, "nobody is there to check");
    desk.grant(0, 2);
    let checks = desk.runs();
    assert!(checks.iter().all(|run| run.check && run.count == 1 && run.lease == lease(2)));
    for check in &checks {
        desk.reply(Nature::Honest, check);
    }
    desk.work(&honest());
    assert_eq!(desk.outcome(), Some(&Outcome::Done));
    assert_eq!(desk.schedule.verified(), 4);
}

#[test]
fn the_tasks_of_a_lost_provider_go_elsewhere_and_a_new_one_is_ordered() {
    let ends: [fn(LeaseId) -> Event; 6] = [
        |lease| Event::Gone { lease, cause: Cause::Silent("no answer".to_owned()) },
        |lease| Event::Closed { lease, reason: CloseReason::ProviderStalled },
        |lease| Event::Closed { lease, reason: CloseReason::ProviderExit },
        |lease| Event::Closed { lease, reason: CloseReason::Undelivered },
        |lease| Event::Closed { lease, reason: CloseReason::Reclaimed },
        |lease| Event::Closed { lease, reason: CloseReason::OfferEnded },
    ];
    for end in ends {
        let mut desk = Desk::open(rules(JobKind::Batch, 40, &[]));
        desk.grant(0, 1);
        desk.grant(0, 2);
        desk.orders();
        let runs = desk.runs();
        let lost: u64 =
            runs.iter().filter(|run| run.lease == lease(1)).map(|run| u64::from(run.count)).sum();
        desk.on(end(lease(1)));
        assert_eq!(desk.schedule.counts().failed_over, lost);
        assert!(desk.effects.contains(&Effect::Abandon { lease: lease(1) }));
        let exclude = vec![provider(1), provider(2)];
        assert_eq!(desk.orders(), [(1, 1, exclude)]);
        for run in runs.iter().filter(|run| run.lease == lease(1)) {
            desk.reply(Nature::Honest, run);
        }
        assert_eq!(desk.schedule.done(), 0, "a late answer does not count");
        for run in runs.iter().filter(|run| run.lease == lease(2)) {
            desk.reply(Nature::Honest, run);
        }
        desk.work(&honest());
        assert_eq!(desk.outcome(), Some(&Outcome::Done));
    }
}

#[test]
fn an_interrupted_lease_gets_tasks_again_when_it_is_prepared_again() {
    let mut desk = Desk::open(rules(JobKind::Batch, 8, &[]));
    desk.grant(0, 1);
    let before = desk.runs();
    desk.on(Event::Interrupted { lease: lease(1) });
    assert_eq!(desk.runs(), []);
    desk.on(Event::Prepared { lease: lease(1) });
    let after = desk.runs();
    assert_eq!(before[0].first, after[0].first);
    assert_ne!(before[0].ticket, after[0].ticket);
    desk.reply(Nature::Honest, &before[0]);
    assert_eq!(desk.schedule.done(), 0);
    for run in &after {
        desk.reply(Nature::Honest, run);
    }
    desk.work(&honest());
    assert_eq!(desk.outcome(), Some(&Outcome::Done));
}

#[test]
fn a_task_that_a_host_fails_is_run_elsewhere_and_too_many_faults_end_the_lease() {
    let mut desk = Desk::open(rules(JobKind::Batch, 60, &[]));
    desk.grant(0, 1);
    desk.grant(0, 2);
    let mut faults = 0;
    for _ in 0..20 {
        for run in desk.runs() {
            if run.lease == lease(1) {
                faults += 1;
                desk.fail(&run, 0, false);
            } else {
                desk.reply(Nature::Honest, &run);
            }
        }
    }
    assert_eq!(desk.outcome(), Some(&Outcome::Done));
    assert!(faults >= FAULTS_MAX);
    assert!(desk.effects.contains(&Effect::Abandon { lease: lease(1) }));
    assert_eq!(desk.schedule.counts().retried, u64::from(FAULTS_MAX));
}

#[test]
fn what_ran_before_a_failure_counts() {
    let mut desk = Desk::open(rules(JobKind::Batch, 40, &[]));
    desk.grant(0, 1);
    let runs = desk.runs();
    assert_eq!(runs[0].count, 4);
    desk.fail(&runs[0], 3, false);
    assert_eq!(desk.schedule.done(), 3);
    desk.grant(0, 2);
    assert!(desk.runs().iter().any(|run| run.lease == lease(2) && run.first == 3));
}

#[test]
fn a_task_that_two_providers_fail_in_the_same_way_fails_the_job() {
    let mut desk = Desk::open(rules(JobKind::Batch, 1, &[]));
    desk.grant(0, 1);
    let run = desk.runs().remove(0);
    desk.fail(&run, 0, true);
    assert_eq!(desk.outcome(), None);
    assert_eq!(desk.runs(), [], "it waits for another provider");
    desk.grant(0, 2);
    let run = desk.runs().remove(0);
    assert_eq!(run.lease, lease(2));
    desk.fail(&run, 0, true);
    let failure = failure(true);
    assert_eq!(desk.outcome(), Some(&Outcome::TaskFailed { index: 0, failure }));
}

#[test]
fn a_task_that_a_single_provider_fails_is_tried_as_often_as_allowed() {
    for deterministic in [true, false] {
        let one = Rules { providers: 1, ..rules(JobKind::Batch, 1, &[]) };
        let mut desk = Desk::open(one);
        desk.grant(0, 1);
        for _ in 0..3 {
            assert_eq!(desk.outcome(), None);
            let run = desk.runs().remove(0);
            desk.fail(&run, 0, deterministic);
        }
        let failure = failure(deterministic);
        assert_eq!(desk.outcome(), Some(&Outcome::TaskFailed { index: 0, failure }));
    }
}

#[test]
fn a_liar_loses_all_its_results_and_gets_no_further_lease() {
    let mut desk = Desk::open(rules(JobKind::Batch, 24, &[0, 5, 10, 15, 20]));
    desk.grant(0, 1);
    desk.grant(0, 2);
    desk.orders();
    let natures = BTreeMap::from([(lease(1), Nature::Lies(5))]);
    desk.work(&natures);
    let disputes = desk.disputes();
    assert!(!disputes.is_empty());
    assert_eq!(desk.schedule.counts().mismatches, disputes.len() as u64);
    let mut judged = 0;
    for (number, claims) in &disputes {
        desk.judge(*number, claims);
        judged += 1;
    }
    assert!(desk.schedule.results().all(|claim| claim.lease == lease(2)));
    let told = |effect: &&Effect| matches!(effect, Effect::Tell(Progress::Judged { loser, .. }) if *loser == provider(1));
    assert_eq!(desk.effects.iter().filter(told).count(), 1);
    let orders = desk.orders();
    assert_eq!(orders, [(1, 1, vec![provider(1), provider(2)])], "after {judged} verdicts");
    desk.grant(1, 3);
    desk.work(&natures);
    assert_eq!(desk.outcome(), Some(&Outcome::Done));
    assert!(desk.results_are_true());
    assert_eq!(desk.schedule.verified(), 5);
}

#[test]
fn a_judged_task_takes_the_second_result_only_where_its_output_is_held() {
    for held in [true, false] {
        let mut desk = Desk::open(rules(JobKind::Batch, 1, &[0]));
        desk.grant(0, 1);
        let run = desk.runs().remove(0);
        desk.reply(Nature::Lies(1), &run);
        desk.grant(0, 2);
        let check = desk.runs().remove(0);
        let claims = answer(Nature::Honest, JobKind::Batch, &check);
        let (lease, ticket) = (check.lease, check.ticket);
        desk.on(Event::Ran { lease, ticket, claims, failure: None, held });
        let (number, claims) = desk.disputes().remove(0);
        desk.judge(number, &claims);
        assert_eq!(desk.outcome().is_some(), held);
        assert_eq!(desk.schedule.done(), u64::from(held));
        assert_eq!(desk.runs().len(), usize::from(!held), "else it is run again");
    }
}

#[test]
fn a_check_that_lied_costs_the_checker_and_its_word_on_other_tasks() {
    let mut desk = Desk::open(rules(JobKind::Batch, 12, &(0..12).collect::<Vec<_>>()));
    desk.grant(0, 1);
    desk.grant(0, 2);
    let natures = BTreeMap::from([(lease(2), Nature::Lies(6))]);
    desk.work(&natures);
    for (number, claims) in desk.disputes() {
        desk.judge(number, &claims);
    }
    assert!(desk.schedule.results().all(|claim| claim.lease == lease(1)));
    for task in &desk.schedule.tasks {
        assert_ne!(task.check, Some(Check::Passed(lease(2))));
    }
    desk.grant(1, 3);
    desk.work(&natures);
    assert_eq!(desk.outcome(), Some(&Outcome::Done));
    assert_eq!(desk.schedule.verified(), 12);
    assert!(desk.results_are_true());
}

#[test]
fn without_a_verdict_the_task_is_run_anew_by_others() {
    let mut desk = Desk::open(rules(JobKind::Batch, 1, &[0]));
    desk.grant(0, 1);
    let run = desk.runs().remove(0);
    desk.reply(Nature::Lies(1), &run);
    desk.grant(0, 2);
    let check = desk.runs().remove(0);
    desk.reply(Nature::Honest, &check);
    let (number, _) = desk.disputes().remove(0);
    desk.on(Event::Judged { dispute: number, status: DisputeStatus::Void, losers: vec![] });
    assert_eq!((desk.schedule.done(), desk.schedule.counts().retried), (0, 1));
    assert_eq!(desk.outcome(), None);
}

#[test]
fn a_chain_runs_segment_by_segment_on_one_lease_and_keeps_what_checks_start_from() {
    let segments = honest_segments(rules(JobKind::Chain, 10, &[0, 3, 6]));
    assert_eq!(segments, [(0, 4, vec![2, 3]), (4, 4, vec![5, 7]), (8, 2, vec![9])]);
}

#[test]
fn a_chain_may_be_checkpointed_at_every_step() {
    let every = Rules { segment: 1, ..rules(JobKind::Chain, 3, &[0, 1, 2]) };
    assert_eq!(honest_segments(every), [(0, 1, vec![0]), (1, 1, vec![1]), (2, 1, vec![2])]);
}

/// Runs a chain with honest providers to its end; gives each segment's first step, its length and
/// the states that are kept of it.
fn honest_segments(rules: Rules) -> Vec<(u64, u64, Vec<u64>)> {
    let sampled = rules.sampled.len() as u64;
    let mut desk = Desk::open(rules);
    desk.grant(0, 1);
    desk.grant(0, 2);
    let mut segments = Vec::new();
    loop {
        let runs = desk.runs();
        if runs.is_empty() {
            break;
        }
        for run in runs {
            if run.check {
                assert_eq!((run.count, run.lease), (1, lease(2)));
                assert!(run.keep.is_empty());
            } else {
                assert_eq!(run.lease, lease(1));
                let keep = run.keep.iter().copied().collect();
                segments.push((run.first, u64::from(run.count), keep));
            }
            desk.reply(Nature::Honest, &run);
        }
    }
    assert_eq!(desk.outcome(), Some(&Outcome::Done));
    assert_eq!(desk.schedule.verified(), sampled);
    segments
}

#[test]
fn a_chain_goes_on_from_the_last_checkpoint_on_another_provider() {
    let mut desk = Desk::open(rules(JobKind::Chain, 12, &[]));
    desk.grant(0, 1);
    desk.grant(0, 2);
    let first = desk.runs().remove(0);
    desk.reply(Nature::Honest, &first);
    let second = desk.runs().remove(0);
    assert_eq!((second.lease, second.first), (lease(1), 4));
    desk.on(Event::Gone { lease: lease(1), cause: Cause::Silent(String::new()) });
    assert_eq!(desk.schedule.counts().failed_over, 4);
    let again = desk.runs().remove(0);
    assert_eq!((again.lease, again.first, &again.inputs), (lease(2), 4, &second.inputs));
    desk.reply(Nature::Honest, &again);
    desk.work(&honest());
    assert_eq!(desk.outcome(), Some(&Outcome::Done));
    assert!(desk.results_are_true());
}

#[test]
fn a_chain_goes_back_to_before_its_liar_and_ignores_what_builds_on_the_lie() {
    let mut desk = Desk::open(rules(JobKind::Chain, 12, &[1, 6]));
    desk.grant(0, 1);
    desk.grant(0, 2);
    let run = desk.runs().remove(0);
    assert_eq!(run.lease, lease(1));
    desk.reply(Nature::Honest, &run);
    let runs = desk.runs();
    let check = runs.iter().find(|run| run.check).unwrap().clone();
    let next = runs.iter().find(|run| !run.check).unwrap().clone();
    assert_eq!((check.first, next.first), (1, 4));
    desk.reply(Nature::Honest, &check);
    desk.reply(Nature::Lies(6), &next);
    let runs = desk.runs();
    let check = runs.iter().find(|run| run.check).unwrap().clone();
    let built = runs.iter().find(|run| !run.check).unwrap().clone();
    assert_eq!((check.first, built.first), (6, 8));
    desk.reply(Nature::Honest, &check);
    let (number, claims) = desk.disputes().remove(0);
    desk.judge(number, &claims);
    assert_eq!(desk.schedule.done(), 0, "everything of the liar's is thrown away");
    desk.reply(Nature::Honest, &built);
    assert_eq!(desk.schedule.done(), 0, "what builds on it too");
    desk.grant(1, 3);
    desk.work(&honest());
    assert_eq!(desk.outcome(), Some(&Outcome::Done));
    assert!(desk.results_are_true());
    assert_eq!(desk.schedule.verified(), 2);
}

#[test]
fn the_job_goes_on_with_those_left_and_ends_when_nobody_is() {
    let mut desk = Desk::open(rules(JobKind::Batch, 40, &[]));
    desk.grant(0, 1);
    desk.on(Event::OrderEnded { order: 0 });
    assert_eq!(desk.outcome(), None);
    let runs = desk.runs();
    assert_eq!(runs.len(), 2);
    desk.orders();
    desk.on(Event::Gone { lease: lease(1), cause: Cause::Silent(String::new()) });
    assert_eq!(desk.outcome(), None);
    assert_eq!(desk.orders(), [(1, 2, vec![provider(1)])]);
    desk.on(Event::OrderEnded { order: 1 });
    assert_eq!(desk.outcome(), None, "who was only silent is asked once more");
    assert_eq!(desk.orders(), [(2, 2, vec![])]);
    desk.on(Event::OrderEnded { order: 2 });
    assert_eq!(desk.outcome(), Some(&Outcome::NoProvider));
}

#[test]
fn who_was_only_silent_finishes_the_job_when_it_is_back() {
    let mut desk = Desk::open(rules(JobKind::Batch, 6, &[]));
    desk.grant(0, 1);
    desk.on(Event::OrderEnded { order: 0 });
    desk.on(Event::Gone { lease: lease(1), cause: Cause::Silent(String::new()) });
    desk.on(Event::OrderEnded { order: 1 });
    desk.effects.clear();
    let back = Event::Granted {
        lease: lease(9),
        order: 2,
        provider: provider(1),
        rate: Rate::ZERO,
        waited_ms: None,
    };
    desk.on(back);
    desk.on(Event::Prepared { lease: lease(9) });
    desk.work(&honest());
    assert_eq!(desk.outcome(), Some(&Outcome::Done));
}

#[test]
fn where_one_provider_has_every_lease_another_is_ordered_to_check_its_work() {
    let mut desk = Desk::open(rules(JobKind::Batch, 6, &[0, 3]));
    assert_eq!(desk.orders(), [(0, 2, vec![])]);
    let twice = |number: u8| Event::Granted {
        lease: lease(number),
        order: 0,
        provider: provider(1),
        rate: Rate::ZERO,
        waited_ms: None,
    };
    desk.on(twice(1));
    assert_eq!(desk.orders(), [], "the order may still bring somebody else");
    desk.on(twice(2));
    assert_eq!(desk.orders(), [(1, 1, vec![provider(1)])]);
    for number in [1, 2] {
        desk.on(Event::Prepared { lease: lease(number) });
    }
    desk.work(&honest());
    assert_eq!(desk.outcome(), None, "done, and waiting for who checks it");
    desk.grant(1, 3);
    desk.work(&honest());
    assert_eq!(desk.outcome(), Some(&Outcome::Done));
    assert_eq!(desk.schedule.verified(), 2);
}

#[test]
fn who_misbehaved_is_not_let_back() {
    let mut desk = Desk::open(rules(JobKind::Batch, 6, &[]));
    desk.grant(0, 1);
    desk.on(Event::OrderEnded { order: 0 });
    desk.on(Event::Gone { lease: lease(1), cause: Cause::Misbehaved(String::new()) });
    desk.on(Event::OrderEnded { order: 1 });
    assert_eq!(desk.outcome(), Some(&Outcome::NoProvider));
}

#[test]
fn every_other_end_is_told_apart() {
    let cases: [(Event, Outcome); 3] = [
        (Event::Closed { lease: lease(1), reason: CloseReason::OutOfFunds }, Outcome::OutOfFunds),
        (Event::Stop { cause: Stop::Deadline }, Outcome::Stopped(Stop::Deadline)),
        (Event::Stop { cause: Stop::Cancelled }, Outcome::Stopped(Stop::Cancelled)),
    ];
    for (event, outcome) in cases {
        let mut desk = Desk::open(rules(JobKind::Batch, 4, &[]));
        desk.grant(0, 1);
        desk.on(event);
        assert_eq!(desk.outcome(), Some(&outcome));
        desk.effects.clear();
        desk.on(Event::Prepared { lease: lease(1) });
        assert_eq!(desk.effects, [], "nothing follows the end");
    }
    let mut desk = Desk::open(rules(JobKind::Batch, 4, &[]));
    for number in [1, 2] {
        desk.grant(0, number);
        let cause = Cause::BadModule("no _start".to_owned());
        desk.on(Event::Gone { lease: lease(number), cause });
    }
    assert_eq!(desk.outcome(), Some(&Outcome::BadModule("no _start".to_owned())));
}

#[test]
fn a_restart_asks_again_for_what_was_under_way_and_for_nothing_that_was_done() {
    let mut desk = Desk::open(rules(JobKind::Batch, 12, &[0]));
    desk.grant(0, 1);
    let runs = desk.runs();
    desk.reply(Nature::Lies(1), &runs[0]);
    let done = desk.schedule.done();
    let mut replayed = Desk {
        schedule: Schedule::new(desk.schedule.rules.clone()),
        log: Vec::new(),
        effects: Vec::new(),
    };
    for event in desk.log {
        replayed.on(event);
    }
    replayed.effects.clear();
    replayed.on(Event::Started);
    let prepare = Effect::Prepare { lease: lease(1), provider: provider(1) };
    let order = Effect::Order { number: 0, count: 2, exclude: vec![] };
    assert_eq!(replayed.effects, [prepare, order]);
    assert_eq!(replayed.schedule.done(), done);
    replayed.on(Event::Prepared { lease: lease(1) });
    let again = replayed.runs();
    assert!(again.iter().all(|run| run.first >= done), "{again:?}");
    replayed.grant(0, 2);
    let check = replayed.runs().into_iter().find(|run| run.check).unwrap();
    replayed.reply(Nature::Honest, &check);
    let opened = replayed.disputes();
    replayed.effects.clear();
    replayed.on(Event::Started);
    assert_eq!(replayed.disputes(), opened, "an open dispute is opened again");
}
