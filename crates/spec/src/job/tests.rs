use super::*;

const BATCH: &str = r#"
name = "digits-classify"
kind = "batch"
[code]
wasm = "../classify.wasm"
[data]
model = "out/state.bin"
"read me" = "/etc/readme"
[input]
file = "held-out.bin"
record_bytes = 64
records_per_task = 8
[output]
dir = "results"
[resources]
cpu = 1.5
memory = "512MiB"
disk = "2GiB"
gpu = { vendor = "NVIDIA", model = "h100", memory = "80GiB", interface = "sxm", count = 2 }
[limits]
fuel = 5_000_000_000
memory = "64MiB"
output = "1MiB"
wall = "30s"
[price]
max_per_hour = "0.60"
budget = 1.25
[run]
providers = 3
retries = 0
deadline = "10m"
[verify]
level = "replicate"
sample = "25%"
[constraints]
regions = ["eu", "us"]
attributes = { tier = "gold", "a.b" = "c" }
exclude = ["1111111111111111111111111111111111111111111111111111111111111111"]
providers = ["2222222222222222222222222222222222222222222222222222222222222222"]
min_bond = "5"
max_risk = "20%"
risk_weight = "50%"
min_duration = "30m"
"#;

/// The least that is a job; `{}` is where the tests add to it.
const LEAST: &str = "name = 'a'\nkind = 'batch'\ncode.wasm = 'a.wasm'\ninput.range = 3\n\
                     price = { max_per_hour = '0.5', budget = '1' }\n";

fn job(text: &str) -> Workload {
    parse(Path::new("jobs/job.toml"), text).unwrap_or_else(|defects| panic!("{defects}"))
}

fn defects(text: &str) -> Vec<String> {
    let defects = parse(Path::new("jobs/job.toml"), text).expect_err(text);
    defects.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn a_job_file_says_everything_that_a_workload_holds() {
    let account = |digit: &str| digit.repeat(64).parse().unwrap();
    let expected = Workload {
        name: "digits-classify".into(),
        kind: Kind::Batch(Input::Records {
            file: "jobs/held-out.bin".into(),
            record_bytes: 64,
            records_per_task: 8,
        }),
        wasm: "jobs/../classify.wasm".into(),
        data: [
            ("model".into(), "jobs/out/state.bin".into()),
            ("read me".into(), "/etc/readme".into()),
        ]
        .into(),
        output_dir: "jobs/results".into(),
        resources: Request {
            cpu_milli: 1500,
            memory_bytes: 512 << 20,
            disk_bytes: 2 << 30,
            bandwidth_bps: 0,
            gpu: GpuRequest {
                vendor: "nvidia".into(),
                model: "h100".into(),
                memory_bytes: 80 << 30,
                interface: "sxm".into(),
                count: 2,
            },
        },
        limits: TaskLimits {
            fuel: 5_000_000_000,
            memory_bytes: 64 << 20,
            output_bytes: 1 << 20,
            wall: Millis(30_000),
        },
        price: Price { max_rate: "0.6".parse().unwrap(), budget: "1.25".parse().unwrap() },
        run: Run { providers: 3, retries: 0, deadline: Millis(600_000) },
        verify: Verify::Replicate { sample_bps: 2_500 },
        constraints: Constraints {
            regions: vec!["eu".into(), "us".into()],
            attributes: [("tier".into(), "gold".into()), ("a.b".into(), "c".into())].into(),
            providers: vec![account("2")],
            exclude: vec![account("1")],
            min_bond: Amount::from_units(5),
            max_risk_bps: 2_000,
            risk_weight_bps: Some(5_000),
            min_duration: Millis(1_800_000),
        },
    };
    assert_eq!(job(BATCH), expected);
    assert_eq!(expected.result_file(), Path::new("jobs/results/output.bin"));
}

#[test]
fn what_is_left_out_has_a_default() {
    let least = job(LEAST);
    assert_eq!(least.kind, Kind::Batch(Input::Range { count: 3 }));
    assert_eq!(least.output_dir, Path::new("jobs/out/a"));
    assert_eq!(least.resources.cpu_milli, 1000);
    assert_eq!(least.resources.memory_bytes, 256 << 20);
    assert_eq!(least.resources.disk_bytes, 1 << 30);
    assert_eq!(least.resources.gpu, GpuRequest::default());
    assert_eq!(
        least.limits,
        TaskLimits {
            fuel: 20_000_000_000,
            memory_bytes: 128 << 20,
            output_bytes: 16 << 20,
            wall: Millis(60_000)
        }
    );
    assert_eq!(least.run, Run { providers: 2, retries: 3, deadline: Millis(3_600_000) });
    assert_eq!(least.verify, Verify::Replicate { sample_bps: 1_000 });
    assert_eq!(least.constraints, Constraints::default());
    let unchecked = job(&format!("{LEAST}verify.level = 'none'\n"));
    assert_eq!((unchecked.verify, unchecked.run.providers), (Verify::None, 1));
    let large = job(&format!("{LEAST}limits.memory = '1GiB'\n"));
    assert_eq!(large.resources.memory_bytes, 1 << 30, "at least what a task may use");
}

#[test]
fn a_chain_has_steps() {
    let text = LEAST.replace("'batch'", "'chain'").replace("input.range = 3", "chain.steps = 200");
    let chain = job(&text);
    assert_eq!(chain.kind, Kind::Chain(Chain { steps: 200, initial: None, checkpoint_every: 10 }));
    assert_eq!(chain.result_file(), Path::new("jobs/out/a/state.bin"));
    let more = "chain = { steps = 7, initial = 'state0.bin', checkpoint_every = 3 }";
    assert_eq!(
        job(&text.replace("chain.steps = 200", more)).kind,
        Kind::Chain(Chain {
            steps: 7,
            initial: Some("jobs/state0.bin".into()),
            checkpoint_every: 3
        })
    );
}

#[test]
fn a_batch_takes_records_lines_files_or_a_range() {
    let cases = [
        (
            "{ file = 'f', record_bytes = 8 }",
            Input::Records { file: "jobs/f".into(), record_bytes: 8, records_per_task: 1 },
        ),
        (
            "{ file = 'f', lines = true, records_per_task = 5 }",
            Input::Lines { file: "jobs/f".into(), lines_per_task: 5 },
        ),
        ("{ glob = 'in/*.txt' }", Input::Files { dir: "jobs/in".into(), pattern: "*.txt".into() }),
        ("{ glob = '*' }", Input::Files { dir: "jobs/".into(), pattern: "*".into() }),
        ("{ range = 1_000_000 }", Input::Range { count: 1_000_000 }),
    ];
    for (input, expected) in cases {
        let text = LEAST.replace("input.range = 3", &format!("input = {input}"));
        assert_eq!(job(&text).kind, Kind::Batch(expected), "{input}");
    }
}

#[test]
fn an_order_asks_for_one_lease_a_provider() {
    let terms = job(BATCH).terms();
    assert_eq!(terms.check(), Ok(()));
    assert_eq!((terms.count, terms.spread.per_provider, terms.gang), (3, 1, false));
    assert_eq!(terms.max_rate, "0.6".parse().unwrap());
    assert_eq!(terms.regions, ["eu", "us"]);
    assert_eq!(terms.request, job(BATCH).resources);
    assert_eq!((terms.max_risk_bps, terms.risk_weight_bps), (2_000, Some(5_000)));
    assert_eq!(terms.min_duration, Millis(1_800_000));
}

/// A defect in a file that is otherwise [`LEAST`]: `from` in it becomes `to`.
struct Case {
    from: &'static str,
    to: &'static str,
    /// As displayed, without the file.
    defect: &'static str,
}

/// Makes each change to the least job file and expects its one defect.
fn check_each(cases: &[Case]) {
    for Case { from, to, defect } in cases {
        let text = LEAST.replacen(from, to, 1);
        assert_ne!(text, LEAST, "{from} is not in the file");
        assert_eq!(defects(&text), [format!("jobs/job.toml:{defect}")], "{text}");
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn each_defect_names_line_column_field_and_fix() {
    let case = |from, to, defect| Case { from, to, defect };
    let end = "budget = '1' }\n";
    check_each(&[
        case("name = 'a'\n", "", "1:1 name: is missing — fix: add at the top: name = \"my-job\""),
        case(
            "'a'",
            "'ä/b'",
            "1:8 name: `ä/b` is not a name — fix: use 1 to 64 letters, digits, `.`, `_` or `-`, \
             starting with a letter or digit",
        ),
        case(
            "'a'",
            "7",
            "1:8 name: expected text, found a whole number — fix: write it in quotes, e.g. \
             \"my-job\"",
        ),
        case("'batch'", "'bacth'", "2:8 kind: `bacth` is unknown — fix: write \"batch\""),
        case("'batch'", "'x'", "2:8 kind: `x` is unknown — fix: write \"batch\" or \"chain\""),
        case(
            "code.wasm = 'a.wasm'\n",
            "",
            "1:1 code.wasm: is missing — fix: add a section [code] with wasm = \"program.wasm\"",
        ),
        case(
            "code.wasm = 'a.wasm'",
            "code = {}",
            "3:8 code.wasm: is missing — fix: add to [code]: wasm = \"program.wasm\"",
        ),
        case(
            "code.wasm = 'a.wasm'",
            "code = 'a.wasm'",
            "3:8 code: expected a section, found text — fix: write [code] on a line of its own",
        ),
        case(
            "'a.wasm'",
            "''",
            "3:13 code.wasm: is empty — fix: write a path, relative to the job file",
        ),
        case(
            "input.range = 3\n",
            "",
            "1:1 input: names no source of tasks — fix: add a section [input] with one of file = \
             \"tasks.bin\", glob = \"tasks/*\" or range = 10",
        ),
        case(
            "input.range = 3",
            "input = {}",
            "4:9 input: names no source of tasks — fix: one of file = \"tasks.bin\", glob = \
             \"tasks/*\" or range = 10",
        ),
        case(
            "input.range = 3",
            "input = { range = 3, glob = '*' }",
            "4:9 input: glob and range are given, a job has one — fix: one of file = \
             \"tasks.bin\", glob = \"tasks/*\" or range = 10",
        ),
        case("input.range = 3", "inptu.range = 3", "4:1 inptu: unknown field — fix: write input"),
        case(
            "input.range = 3",
            "input.rnage = 3",
            "4:7 input.rnage: unknown field — fix: write range",
        ),
        case(
            "input.range = 3",
            "input = 3",
            "4:9 input: expected a section, found a whole number — fix: write [input] on a line \
             of its own",
        ),
        case(
            "input.range = 3",
            "input.range = 0",
            "4:15 input.range: `0` is out of range — fix: write 1 to 1000000",
        ),
        case(
            "input.range = 3",
            "input.file = 'f'",
            "4:14 input.file: does not say what a record is — fix: add record_bytes = 64 (the \
             bytes of one record) or lines = true",
        ),
        case(
            "input.range = 3",
            "input = { file = 'f', lines = true, record_bytes = 3 }",
            "4:52 input.record_bytes: is given beside lines = true — fix: keep one of the two",
        ),
        case(
            "input.range = 3",
            "input = { range = 3, lines = true }",
            "4:30 input.lines: says how a file is split, but the source is range — fix: remove \
             it, or write file = \"tasks.bin\"",
        ),
        case(
            "input.range = 3",
            "input.glob = 'a*/b'",
            "4:14 input.glob: `a*/b` has its pattern not in the last part — fix: write e.g. \
             \"inputs/*.txt\"",
        ),
        case(
            end,
            "budget = '1' }\n[chain]\n",
            "6:1 chain: a batch job has no steps — fix: remove [chain], or write kind = \"chain\"",
        ),
        case(
            "'0.5'",
            "'0'",
            "5:26 price.max_per_hour: nothing can be had for zero — fix: write what you would \
             pay, e.g. \"0.60\"",
        ),
        case(
            "'1'",
            "-1",
            "5:42 price.budget: `-1` is not an amount of usd — fix: write units with at most 9 \
             decimals, e.g. \"0.60\"",
        ),
        case("budget", "bugdet", "5:33 price.bugdet: unknown field — fix: write budget"),
    ]);
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn each_defect_of_a_value_names_line_column_field_and_fix() {
    let case = |from, to, defect| Case { from, to, defect };
    let end = "budget = '1' }\n";
    check_each(&[
        case(
            end,
            "budget = '1' }\ncolour = 1\n",
            "6:1 colour: unknown field — fix: remove it; allowed here: name, kind, code, data, \
             input, chain, output, resources, limits, price, run, verify, constraints",
        ),
        case(
            end,
            "budget = '1' }\n[resources]\n  cpu = 0\n",
            "7:9 resources.cpu: `0` is not a number of CPU threads — fix: write threads with at \
             most 3 decimals, e.g. 1 or 0.5",
        ),
        case(
            end,
            "budget = '1' }\n[resources]\nmemory = 256\n",
            "7:10 resources.memory: `256` has no unit — fix: write a number and a unit: B, KiB, \
             MiB, GiB or TiB, e.g. \"256MiB\"",
        ),
        case(
            end,
            "budget = '1' }\n[resources]\nmemory = '1MiB'\n",
            "7:10 resources.memory: is less than limits.memory, which one task may use — fix: \
             raise it, or lower limits.memory",
        ),
        case(
            end,
            "budget = '1' }\nresources.gpu.count = 0\n",
            "6:23 resources.gpu.count: `0` is out of range — fix: write 1 to 1024",
        ),
        case(
            end,
            "budget = '1' }\nlimits.fuel = 1.5\n",
            "6:15 limits.fuel: expected a whole number, found a decimal number — fix: write a \
             whole number, e.g. 1",
        ),
        case(
            end,
            "budget = '1' }\nlimits.memory = '0B'\n",
            "6:17 limits.memory: nothing runs in zero bytes — fix: write a size, e.g. \"256MiB\"",
        ),
        case(
            end,
            "budget = '1' }\nlimits.wall = '30'\n",
            "6:15 limits.wall: `30` is not a length of time — fix: write numbers with units: ms, \
             s, m, h or d, e.g. \"30s\" or \"1h30m\"",
        ),
        case(
            end,
            "budget = '1' }\nrun.providers = 1\n",
            "6:17 run.providers: one provider cannot be checked by another — fix: write 2 or \
             more, or set verify.level = \"none\"",
        ),
        case(
            end,
            "budget = '1' }\nverify.sample = '101%'\n",
            "6:17 verify.sample: `101%` is not a per cent above 0% and up to 100% — fix: write a \
             number with at most 2 decimals and a per cent sign, e.g. \"25%\"",
        ),
        case(
            end,
            "budget = '1' }\nverify = { level = 'none', sample = '9%' }\n",
            "6:37 verify.sample: means nothing at level \"none\" — fix: remove it, or write level \
             = \"replicate\"",
        ),
        case(
            end,
            "budget = '1' }\ndata.'a/b' = 'f'\n",
            "6:6 data.\"a/b\": is no file name in /data — fix: use 1 to 255 bytes without `/`, \
             not `.` or `..`",
        ),
        case(
            end,
            "budget = '1' }\ndata = { a = [] }\n",
            "6:14 data.a: expected text, found a list — fix: write it in quotes, e.g. \
             \"folder/file\"",
        ),
        case(
            end,
            "budget = '1' }\nconstraints.regions = 'eu'\n",
            "6:23 constraints.regions: expected a list, found text — fix: write a list, e.g. \
             [\"…\"]",
        ),
        case(
            end,
            "budget = '1' }\nconstraints.regions = ['eu', '']\n",
            "6:30 constraints.regions[1]: is empty — fix: write a value or leave the field out",
        ),
        case(
            end,
            "budget = '1' }\nconstraints.exclude = ['abc']\n",
            "6:24 constraints.exclude[0]: `abc` is not an account — fix: write the 64 hexadecimal \
             digits that `muster wallet show` or `muster ps` prints",
        ),
        case(
            end,
            "budget = '1' }\nconstraints.attributes.'' = 'x'\n",
            "6:13 constraints.attributes: is longer than an order may have — fix: use at most 64 \
             regions or attributes and 256 accounts; names of 1 to 64 bytes, attribute values of \
             at most 256",
        ),
        case(
            end,
            "budget = '1' }\n[[run]]\n",
            "6:1 run: expected a section, found a list — fix: write [run] on a line of its own",
        ),
        case(
            "'a'\n",
            "a\n",
            "1:8: this is not TOML: string values must be quoted, expected literal string — fix: \
             write `field = value`, text in quotes, sections as [name]",
        ),
        case("kind", "name", "2:1: this is not TOML: duplicate key — fix: keep one of the two"),
    ]);
}

#[test]
fn all_defects_are_listed_at_once_in_the_order_of_the_text() {
    let text = "kind = 'chain'\r\n\
                [code]\r\n\
                wasm = 3\r\n\
                [chian]\r\n\
                [resources]\r\n\
                \t\"cpu\" = 'ö', memry = 3\r\n"
        .replace(", ", "\r\n");
    let places: Vec<String> = parse(Path::new("j"), &text)
        .unwrap_err()
        .list
        .iter()
        .map(|defect| {
            format!("{}:{} {} ({})", defect.line, defect.column, defect.field, defect.fix)
        })
        .collect();
    assert_eq!(
        places,
        [
            "1:1 name (add at the top: name = \"my-job\")",
            "1:1 price.max_per_hour (add a section [price] with max_per_hour = \"0.60\" (usd, for \
             each provider))",
            "1:1 price.budget (add a section [price] with budget = \"1.00\" (usd, for the whole \
             job))",
            "3:8 code.wasm (write it in quotes, e.g. \"folder/file\")",
            "4:2 chian (write chain)",
            "6:10 resources.cpu (write threads with at most 3 decimals, e.g. 1 or 0.5)",
            "7:1 resources.memry (write memory)",
        ]
    );
}

#[test]
fn columns_count_characters() {
    let text = LEAST.replace("'0.5', budget = '1'", "'ööö', budget = 'x'");
    assert_eq!(
        defects(&text),
        [
            "jobs/job.toml:5:26 price.max_per_hour: `ööö` is not an amount of usd — fix: write \
             units with at most 9 decimals, e.g. \"0.60\"",
            "jobs/job.toml:5:42 price.budget: `x` is not an amount of usd — fix: write units with \
             at most 9 decimals, e.g. \"0.60\"",
        ]
    );
}

#[test]
fn hostile_files_are_refused_without_a_panic() {
    let deep = format!("a = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let huge = "#".repeat(MAX_JOB_BYTES + 1);
    let dotted = format!("{} = 1", vec!["a"; 50_000].join("."));
    let long_key = format!("{} = 1", "a".repeat(100_000));
    for text in [deep.as_str(), &huge, &dotted, &long_key, "\u{feff}", "\0", "[", "=", "a.b.c.=\n["]
    {
        let found = defects(text);
        assert!(!found.is_empty());
        assert!(found.iter().all(|line| line.len() < 1_000), "{found:?}");
    }
}

#[test]
fn every_constraint_of_the_market_has_its_field() {
    let key = "tier".to_owned();
    for (constraint, field) in [
        (Constraint::MaxRate, "price.max_per_hour"),
        (Constraint::Memory, "resources.memory"),
        (Constraint::Region, "constraints.regions"),
        (Constraint::Attribute { key }, "constraints.attributes.tier"),
    ] {
        assert_eq!(field_of(&constraint), field);
    }
}

#[test]
fn the_documented_files_are_jobs() {
    let blocks: Vec<String> = include_str!("../job.rs")
        .split("//! ```")
        .filter_map(|block| block.strip_prefix("toml\n"))
        .map(|block| block.replace("//! ", "").replace("//!", ""))
        .collect();
    let [batch, chain] = blocks.as_slice() else { panic!("{} blocks", blocks.len()) };
    let whole = job(batch);
    assert_eq!(whole.run.providers, 3);
    // What is commented out works too.
    assert_eq!(job(&batch.replace("# gpu", "gpu")).resources.gpu.count, 1);
    let head = LEAST.replace("'batch'", "'chain'").replace("input.range = 3\n", "");
    let chain = job(&format!("{head}{}", chain.replace("# initial", "initial")));
    assert!(matches!(chain.kind, Kind::Chain(Chain { steps: 200, initial: Some(_), .. })));
}

#[test]
fn the_examples_are_jobs_and_the_classifier_takes_the_model_that_training_makes() {
    let example = |path: &str, text| parse(Path::new(path), text).unwrap();
    let train =
        example("digits/train.toml", include_str!("../../../../examples/digits/train.toml"));
    let classify =
        example("digits/classify.toml", include_str!("../../../../examples/digits/classify.toml"));
    let hello = example("hello/hello.toml", include_str!("../../../../examples/hello/hello.toml"));
    for job in [&train, &classify, &hello] {
        assert_eq!(job.terms().check(), Ok(()));
    }
    assert_eq!(classify.data["model"], train.result_file());
    assert!(matches!(train.kind, Kind::Chain(Chain { steps: 200.., .. })));
    let Kind::Batch(images) = &classify.kind else { panic!("not a batch") };
    let held_out = include_bytes!("../../../../examples/digits/held-out.bin");
    assert_eq!(images.split(held_out).unwrap().len(), 45);
    let Kind::Batch(names) = &hello.kind else { panic!("not a batch") };
    let text = include_bytes!("../../../../examples/hello/names.txt");
    assert_eq!(names.split(text).unwrap().len(), 6);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 20_000,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn arbitrary_text_is_refused_with_reasons(text in "\\PC{0,200}") {
        if let Err(defects) = parse(Path::new("job.toml"), &text) {
            proptest::prop_assert!(!defects.to_string().is_empty());
        }
    }

    #[test]
    fn a_bent_job_file_is_understood_or_refused_with_reasons(
        at in 0usize..2_000, cut in 0usize..12, put in "[\\[\\]{}=\"',.#\n \\-0-9a-z]{0,6}",
    ) {
        let mut text: Vec<char> = BATCH.chars().collect();
        let at = at % text.len();
        let end = text.len().min(at + cut);
        text.splice(at..end, put.chars());
        let text: String = text.into_iter().collect();
        if let Err(defects) = parse(Path::new("job.toml"), &text) {
            proptest::prop_assert!(!defects.to_string().is_empty());
        }
    }
}
