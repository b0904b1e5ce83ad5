use super::*;
use muster_spec::{Chain, Constraints, Price, Run};
use muster_types::{Millis, Rate};

const SECRETS: [Hash; 2] = [Hash([1; 32]), Hash([2; 32])];

fn workload(dir: &Path, kind: Kind) -> Workload {
    fs::write(dir.join("code.wasm"), b"module").unwrap();
    fs::write(dir.join("model.bin"), b"model").unwrap();
    Workload {
        name: "test".to_owned(),
        kind,
        wasm: dir.join("code.wasm"),
        data: BTreeMap::from([("model".to_owned(), dir.join("model.bin"))]),
        output_dir: dir.join("out"),
        resources: muster_market::Request::default(),
        limits: muster_spec::TaskLimits {
            fuel: 1_000,
            memory_bytes: 1 << 20,
            output_bytes: 1 << 10,
            wall: Millis(500),
        },
        price: Price { max_rate: Rate::MAX, budget: Amount::from_units(1) },
        run: Run { providers: 3, retries: 2, deadline: Millis::from_secs(60) },
        verify: Verify::Replicate { sample_bps: 2_500 },
        constraints: Constraints::default(),
    }
}

fn records(dir: &Path, content: &[u8]) -> Kind {
    let file = dir.join("input.bin");
    fs::write(&file, content).unwrap();
    Kind::Batch(Input::Records { file, record_bytes: 2, records_per_task: 2 })
}

fn plan(workload: &Workload) -> Result<(Plan, Objects), JobError> {
    let objects = Objects::new(workload.output_dir.join("objects"));
    Plan::make(workload, &objects, SECRETS).map(|plan| (plan, objects))
}

#[test]
fn every_kind_of_input_becomes_one_object_a_task() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::write(at.join("lines"), "a\nb\nc").unwrap();
    for name in ["2.txt", "10.txt", "1.txt", ".0.txt", "1.bin"] {
        fs::write(at.join(name), name).unwrap();
    }
    let lines = Input::Lines { file: at.join("lines"), lines_per_task: 2 };
    let files = Input::Files { dir: at.to_owned(), pattern: "*.txt".to_owned() };
    let table: [(Kind, &[&str]); 4] = [
        (records(at, b"aabbcc"), &["aabb", "cc"]),
        (Kind::Batch(lines), &["a\nb\n", "c"]),
        (Kind::Batch(files), &["1.txt", "10.txt", "2.txt"]),
        (Kind::Batch(Input::Range { count: 3 }), &["0", "1", "2"]),
    ];
    for (kind, expected) in table {
        let (plan, objects) = plan(&workload(at, kind)).unwrap();
        let inputs: Vec<String> = plan
            .inputs
            .iter()
            .map(|hash| String::from_utf8(objects.get(*hash).unwrap()).unwrap())
            .collect();
        assert_eq!(inputs, expected);
        assert_eq!(plan.tasks, expected.len() as u64);
        assert_eq!(plan.kind, JobKind::Batch);
    }
}

#[test]
fn a_chain_starts_from_its_first_state_or_from_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("state0"), b"state").unwrap();
    let table =
        [(None, 10, 10, b"".as_slice()), (Some(dir.path().join("state0")), 10_000, 256, b"state")];
    for (initial, checkpoint_every, segment, content) in table {
        let chain = Chain { steps: 20, initial, checkpoint_every };
        let (plan, objects) = plan(&workload(dir.path(), Kind::Chain(chain))).unwrap();
        assert_eq!((plan.tasks, plan.segment), (20, segment));
        assert_eq!(objects.get(plan.inputs[0]).unwrap(), content);
        assert_eq!(plan.inputs.len(), 1);
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_field() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let good = workload(at, records(at, b"aabb"));
    let missing = at.join("missing");
    let files = |pattern: &str| {
        Kind::Batch(Input::Files { dir: at.to_owned(), pattern: pattern.to_owned() })
    };
    let chain = Chain { steps: 1, initial: Some(missing.clone()), checkpoint_every: 1 };
    let data = BTreeMap::from([("model".to_owned(), at.to_owned())]);
    let table = [
        (Workload { wasm: missing.clone(), ..good.clone() }, "code.wasm"),
        (Workload { data, ..good.clone() }, "data"),
        (Workload { kind: records(at, b"aab"), ..good.clone() }, "input.file"),
        (Workload { kind: records(at, b""), ..good.clone() }, "input.file"),
        (Workload { kind: files("*.none"), ..good.clone() }, "input.glob"),
        (Workload { kind: Kind::Chain(chain), ..good.clone() }, "chain.initial"),
    ];
    for (workload, expected) in table {
        match plan(&workload) {
            Err(error @ JobError::Input { field, .. }) => {
                assert_eq!(field, expected);
                assert!(error.to_string().ends_with(&format!("correct `{field}` in the job file")));
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn verification_takes_at_least_two_providers_and_a_chain_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let batch = || Kind::Batch(Input::Range { count: 3 });
    let chain = || Kind::Chain(Chain { steps: 1, initial: None, checkpoint_every: 1 });
    let replicate = Verify::Replicate { sample_bps: 1 };
    let table = [
        (batch(), Verify::None, 1, 1),
        (batch(), Verify::None, 3, 3),
        (batch(), replicate, 1, 2),
        (batch(), replicate, 3, 3),
        (chain(), Verify::None, 3, 1),
        (chain(), replicate, 3, 2),
    ];
    for (kind, verify, providers, expected) in table {
        let mut workload = workload(dir.path(), kind);
        workload.verify = verify;
        workload.run.providers = providers;
        let terms = terms(&workload);
        assert_eq!(terms.count, expected, "{:?} {verify:?} {providers}", workload.kind);
        assert_eq!((terms.spread.per_provider, terms.gang), (1, false));
    }
}

#[test]
fn the_sample_is_secret_fixed_and_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    let batch = Kind::Batch(Input::Range { count: 40 });
    let (mut plan, _) = plan(&workload(dir.path(), batch)).unwrap();
    let job = JobId(Hash([7; 32]));
    let sampled = plan.sampled(&job);
    assert_eq!(sampled, plan.sampled(&job));
    assert!((3..=20).contains(&sampled.len()), "{sampled:?}");
    let mut other = plan.clone();
    other.seed = Hash([9; 32]);
    assert_ne!(sampled, other.sampled(&job));
    other.salt = Hash([9; 32]);
    assert_ne!(plan.manifest().commitment(), other.manifest().commitment());
    plan.tasks = 2;
    plan.sample_bps = 1;
    let least = plan.sampled(&job);
    assert_eq!(least.len(), 1);
    assert!(least.iter().all(|index| *index < 2));
    plan.sample_bps = 0;
    assert!(plan.sampled(&job).is_empty());
    assert_eq!(plan.job_spec(EscrowId::default()).verification, Verification::None);
}
