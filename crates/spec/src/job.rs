//! The job file.
//!
//! TOML. Paths are relative to the file's own directory. Everything with a default may be left out.
//!
//! ```toml
//! name = "digits-classify"     # letters, digits, . _ -
//! kind = "batch"               # "batch": independent tasks; "chain": step after step
//!
//! [code]
//! wasm = "classify.wasm"       # a wasm32-wasip1 filter: input on stdin, output on stdout
//!
//! [data]                       # files that it sees read-only: name in /data = path here
//! model = "out/digits-train/state.bin"
//!
//! [input]                      # batch only; exactly one of `file`, `glob`, `range`
//! file = "held-out.bin"        # split into tasks: with `record_bytes`, or with `lines = true`
//! record_bytes = 64
//! records_per_task = 8         # or lines; default 1
//! # glob = "pages/*.txt"       # one task a file, by name; * and ? in the last part only
//! # range = 100                # task i gets the digits of i, from 0
//!
//! [output]
//! dir = "out"                  # default "out/<name>"; a batch's `output.bin` is there afterwards
//!
//! [resources]                  # of each provider
//! cpu = 1                      # threads, at most 3 decimals; default 1
//! memory = "256MiB"            # default 256MiB, or limits.memory if that is more
//! disk = "1GiB"                # default 1GiB
//! # gpu = { vendor = "nvidia", model = "h100", memory = "80GiB", interface = "sxm", count = 1 }
//!
//! [limits]                     # of each task
//! fuel = 5_000_000_000         # default 20_000_000_000; about 3_000_000_000 a second
//! memory = "128MiB"            # default 128MiB
//! output = "16MiB"             # default 16MiB
//! wall = "30s"                 # default 60s
//!
//! [price]                      # in usd
//! max_per_hour = "0.60"        # for each provider
//! budget = "1.00"              # for the whole job: the deposit, never exceeded
//!
//! [run]
//! providers = 3                # at once at most; default 2, or 1 without verification
//! retries = 3                  # of a task; default 3
//! deadline = "10m"             # given up after so long; default 1h
//!
//! [verify]
//! level = "replicate"          # default; "none": results are taken as they come
//! sample = "25%"               # of the tasks are run again by another provider; default 10%
//!
//! [constraints]                # hosts that may serve; each may be left out
//! regions = ["eu-central"]     # one of these
//! attributes = { tier = "gold" }  # all of these
//! providers = []               # only these accounts; empty allows all
//! exclude = []                 # none of these accounts
//! min_bond = "5"               # usd of bond beside what the lease itself locks
//! max_risk = "20%"             # the highest risk premium
//! risk_weight = "50%"          # how much of it counts when hosts are compared; else all of it
//! min_duration = "30m"         # offers that stand at least so much longer
//! ```
//!
//! A chain job has a `[chain]` in place of `[input]`, and its last state is `state.bin` in the
//! output directory:
//!
//! ```toml
//! [chain]
//! steps = 200
//! checkpoint_every = 10        # the state is fetched and kept; default 10
//! # initial = "state0.bin"     # the state before step 0; default empty
//! ```
//!
//! Step `i` gets `i` as 8 bytes, little-endian, then the state before it, and writes
//! the next state.
//!
//! Sizes have a unit (`B`, `KiB`, `MiB`, `GiB`, `TiB`, or the decimal `kB`, `MB`, `GB`, `TB`), so
//! have lengths of time (`ms`, `s`, `m`, `h`, `d`; `"1h30m"` adds up). Amounts are exact decimals,
//! as text or as a number.

use crate::{
    Chain, Constraints, Defects, Input, Kind, Price, Run, TaskLimits, Verify, Workload,
    input::MAX_TASKS,
    reader::{Reader, Section, one_of},
    value,
};
use muster_market::{Constraint, MAX_RISK_WEIGHT_BPS, Request};
use muster_types::{Amount, GpuRequest, Millis};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use toml::de::DeTable;

#[cfg(test)]
mod tests;

/// The largest job file, in bytes.
pub const MAX_JOB_BYTES: usize = 1 << 20;

/// The most files in `/data`.
const MAX_DATA_FILES: usize = 1024;
/// The longest name of a file in `/data`, in bytes.
const MAX_DATA_NAME: usize = 255;
/// The most providers at once.
const MAX_PROVIDERS: u32 = 1000;
/// The most retries of a task.
const MAX_RETRIES: u32 = 100;

const TOP: &[&str] = &[
    "name",
    "kind",
    "code",
    "data",
    "input",
    "chain",
    "output",
    "resources",
    "limits",
    "price",
    "run",
    "verify",
    "constraints",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KindName {
    Batch,
    Chain,
}

/// Parses and checks a job file. `path` is the file's: it names the file in defects, and its
/// directory is what relative paths are resolved against.
///
/// # Errors
/// [`Defects`]: all that is wrong, in the order of the text.
pub fn parse(path: &Path, text: &str) -> Result<Workload, Defects> {
    let mut reader = Reader::new(text);
    let defects =
        |reader: Reader<'_>| Defects { file: path.to_owned(), list: reader.into_defects() };
    if text.len() > MAX_JOB_BYTES {
        let problem = format!("{} bytes, at most {MAX_JOB_BYTES} are allowed", text.len());
        reader.note(0, "", problem, "keep data in files and name them in [data]");
        return Err(defects(reader));
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            let fix = syntax_fix(error.message());
            reader.note(at, "", format!("this is not TOML: {}", error.message()), fix);
        }
        return Err(defects(reader));
    }
    let mut root = Section::root(table.get_ref());
    reader.check_keys(&mut root, TOP);
    let mut job = Job { reader, dir: path.parent().unwrap_or(Path::new("")) };
    let workload = job.workload(&root);
    let found = defects(job.reader);
    if found.list.is_empty() { Ok(workload) } else { Err(found) }
}

fn syntax_fix(message: &str) -> &'static str {
    if message.contains("duplicate key") {
        "keep one of the two"
    } else {
        "write `field = value`, text in quotes, sections as [name]"
    }
}

/// The field of a job file that sets a constraint of the market, for hints.
#[must_use]
pub fn field_of(constraint: &Constraint) -> String {
    match constraint {
        Constraint::Cpu => "resources.cpu",
        Constraint::Memory => "resources.memory",
        Constraint::Disk => "resources.disk",
        Constraint::Bandwidth => "resources.bandwidth",
        Constraint::Gpu => "resources.gpu",
        Constraint::Region => "constraints.regions",
        Constraint::Attribute { key } => return format!("constraints.attributes.{key}"),
        Constraint::Provider => "constraints.providers",
        Constraint::Exclude => "constraints.exclude",
        Constraint::MaxRate => "price.max_per_hour",
        Constraint::MinBond => "constraints.min_bond",
        Constraint::MaxRisk => "constraints.max_risk",
        Constraint::Duration => "constraints.min_duration",
        Constraint::Jurisdiction => "constraints.jurisdictions",
        Constraint::ExcludeJurisdiction => "constraints.exclude_jurisdictions",
        Constraint::SignedByAny => "constraints.signed_by_any",
        Constraint::SignedByAll => "constraints.signed_by_all",
        Constraint::Verifies { .. } => "constraints.verifies",
        Constraint::Metered => "constraints.metered",
    }
    .to_owned()
}

/// A job file being read.
struct Job<'t, 'd> {
    reader: Reader<'t>,
    dir: &'d Path,
}

impl<'t> Job<'t, '_> {
    fn workload(&mut self, root: &Section<'_, 't>) -> Workload {
        let name = self.reader.required(root, "name", "name = \"my-job\"", value::name);
        let kind = self.kind(root);
        let code = self.reader.section(root, "code", &["wasm"]);
        let wasm = self.reader.required(&code, "wasm", "wasm = \"program.wasm\"", value::path);
        let data = self.data(root);
        let output = self.reader.section(root, "output", &["dir"]);
        let default_dir = Path::new("out").join(&name);
        let output_dir = self.reader.optional(&output, "dir", default_dir, value::path);
        let limits = self.limits(root);
        let resources = self.resources(root, &limits);
        let price = self.price(root);
        let verify = self.verify(root);
        let run = self.run(root, verify);
        let constraints = self.constraints(root);
        let workload = Workload {
            name,
            kind,
            wasm: self.dir.join(wasm),
            data,
            output_dir: self.dir.join(output_dir),
            resources,
            limits,
            price,
            run,
            verify,
            constraints,
        };
        self.check_terms(root, &workload);
        workload
    }

    fn kind(&mut self, root: &Section<'_, 't>) -> Kind {
        let words = [("batch", KindName::Batch), ("chain", KindName::Chain)];
        let example = "kind = \"batch\" or kind = \"chain\"";
        let name =
            self.reader.required(root, "kind", example, |value| one_of(value, &words).map(Some));
        match name {
            Some(KindName::Batch) => {
                let fix = "remove [chain], or write kind = \"chain\"";
                self.reject_section(root, "chain", "a batch job has no steps", fix);
                Kind::Batch(self.input(root))
            }
            Some(KindName::Chain) => {
                let fix = "remove [input] (a first state is chain.initial), or write kind = \
                           \"batch\"";
                self.reject_section(root, "input", "a chain job has no task inputs", fix);
                Kind::Chain(self.chain(root))
            }
            // Already noted; the kind's own section is checked once the kind is known.
            None => Kind::Batch(Input::Range { count: 1 }),
        }
    }

    fn reject_section(&mut self, root: &Section<'_, 't>, key: &str, problem: &str, fix: &str) {
        if root.has(key) {
            self.reader.note(root.at_field(key), key, problem, fix);
        }
    }

    fn chain(&mut self, root: &Section<'_, 't>) -> Chain {
        let keys = ["steps", "initial", "checkpoint_every"];
        let section = self.reader.section(root, "chain", &keys);
        let steps = self
            .reader
            .required(&section, "steps", "steps = 100", |value| value::count(value, 1, MAX_TASKS));
        let initial = self.reader.maybe(&section, "initial", value::path);
        let checkpoint_every = self
            .reader
            .optional(&section, "checkpoint_every", 10, |value| value::count(value, 1, MAX_TASKS));
        Chain { steps, initial: initial.map(|path| self.dir.join(path)), checkpoint_every }
    }

    fn input(&mut self, root: &Section<'_, 't>) -> Input {
        const SOURCES: [&str; 3] = ["file", "glob", "range"];
        let keys = ["file", "glob", "range", "record_bytes", "records_per_task", "lines"];
        let section = self.reader.section(root, "input", &keys);
        let given: Vec<&str> = SOURCES.into_iter().filter(|key| section.has(key)).collect();
        let [source] = given.as_slice() else {
            if !section.is_noted(&SOURCES) {
                let problem = match given.as_slice() {
                    [] => "names no source of tasks".to_owned(),
                    several => format!("{} are given, a job has one", several.join(" and ")),
                };
                let place = if section.exists() { "" } else { "add a section [input] with " };
                let fix =
                    format!("{place}one of file = \"tasks.bin\", glob = \"tasks/*\" or range = 10");
                self.reader.note(section.at(), "input", problem, fix);
            }
            return Input::Range { count: 1 };
        };
        if *source != "file" {
            for key in ["record_bytes", "records_per_task", "lines"] {
                if section.has(key) {
                    let problem = format!("says how a file is split, but the source is {source}");
                    let fix = "remove it, or write file = \"tasks.bin\"";
                    self.reader.note(section.at_field(key), section.path(key), problem, fix);
                }
            }
        }
        let dir = self.dir;
        match *source {
            "file" => self.file_input(&section),
            "glob" => self.reader.required(&section, "glob", "", |value| {
                value::path(value).and_then(|path| glob(dir, &path))
            }),
            _ => self.reader.required(&section, "range", "", |value| {
                value::count(value, 1, MAX_TASKS).map(|count| Some(Input::Range { count }))
            }),
        }
        .unwrap_or(Input::Range { count: 1 })
    }

    fn file_input(&mut self, section: &Section<'_, 't>) -> Option<Input> {
        let file = self.reader.required(section, "file", "", value::path);
        let file = self.dir.join(file);
        let per_task = self
            .reader
            .optional(section, "records_per_task", 1, |value| value::count(value, 1, u64::MAX));
        let record_bytes =
            self.reader.maybe(section, "record_bytes", |value| value::count(value, 1, u64::MAX));
        let lines = self.reader.optional(section, "lines", false, value::flag);
        let at = section.at_field("file");
        match (section.has("record_bytes"), lines) {
            (true, true) => {
                let problem = "is given beside lines = true";
                let fix = "keep one of the two";
                let at = section.at_field("record_bytes");
                self.reader.note(at, section.path("record_bytes"), problem, fix);
                None
            }
            (true, false) => {
                let record_bytes = record_bytes?;
                Some(Input::Records { file, record_bytes, records_per_task: per_task })
            }
            (false, true) => Some(Input::Lines { file, lines_per_task: per_task }),
            (false, false) => {
                let fix = "add record_bytes = 64 (the bytes of one record) or lines = true";
                self.reader.note(at, section.path("file"), "does not say what a record is", fix);
                None
            }
        }
    }

    fn data(&mut self, root: &Section<'_, 't>) -> BTreeMap<String, PathBuf> {
        let section = self.reader.open_section(root, "data");
        let mut files = BTreeMap::new();
        for (key, value) in section.entries() {
            let name = key.get_ref().as_ref();
            let field = section.path(name);
            let reserved = matches!(name, "" | "." | "..");
            if reserved || name.len() > MAX_DATA_NAME || name.contains(['/', '\0']) {
                let problem = "is no file name in /data";
                let fix = format!("use 1 to {MAX_DATA_NAME} bytes without `/`, not `.` or `..`");
                self.reader.note(key.span().start, field.clone(), problem, fix);
            }
            if let Some(path) = self.reader.read(value, field, value::path) {
                files.insert(name.to_owned(), self.dir.join(path));
            }
        }
        if files.len() > MAX_DATA_FILES {
            let problem = format!("{} files, at most {MAX_DATA_FILES} are allowed", files.len());
            self.reader.note(section.at(), "data", problem, "pack them into fewer");
        }
        files
    }

    fn limits(&mut self, root: &Section<'_, 't>) -> TaskLimits {
        let section = self.reader.section(root, "limits", &["fuel", "memory", "output", "wall"]);
        let fuel = self
            .reader
            .optional(&section, "fuel", 20_000_000_000, |value| value::count(value, 1, u64::MAX));
        TaskLimits {
            fuel,
            memory_bytes: self.reader.optional(&section, "memory", 128 << 20, value::some_size),
            output_bytes: self.reader.optional(&section, "output", 16 << 20, value::some_size),
            wall: self.reader.optional(&section, "wall", Millis::from_secs(60), value::duration),
        }
    }

    fn resources(&mut self, root: &Section<'_, 't>, limits: &TaskLimits) -> Request {
        let keys = ["cpu", "memory", "disk", "gpu"];
        let section = self.reader.section(root, "resources", &keys);
        let memory_default = (256 << 20).max(limits.memory_bytes);
        let request = Request {
            cpu_milli: self.reader.optional(&section, "cpu", 1000, value::cpu_milli),
            memory_bytes: self.reader.optional(
                &section,
                "memory",
                memory_default,
                value::some_size,
            ),
            disk_bytes: self.reader.optional(&section, "disk", 1 << 30, value::size),
            bandwidth_bps: 0,
            gpu: self.gpu(&section),
        };
        if request.memory_bytes < limits.memory_bytes {
            self.reader.note(
                section.at_field("memory"),
                section.path("memory"),
                "is less than limits.memory, which one task may use",
                "raise it, or lower limits.memory",
            );
        }
        request
    }

    fn gpu(&mut self, resources: &Section<'_, 't>) -> GpuRequest {
        let keys = ["vendor", "model", "memory", "interface", "count"];
        let section = self.reader.section(resources, "gpu", &keys);
        if !section.exists() {
            return GpuRequest::default();
        }
        let mut word = |key: &str| {
            let lower = |value: &_| value::name(value).map(|name| name.to_ascii_lowercase());
            self.reader.optional(&section, key, String::new(), lower)
        };
        GpuRequest {
            vendor: word("vendor"),
            model: word("model"),
            interface: word("interface"),
            memory_bytes: self.reader.optional(&section, "memory", 0, value::size),
            count: self
                .reader
                .optional(&section, "count", 1, |value| value::count_u32(value, 1, 1024)),
        }
    }

    fn price(&mut self, root: &Section<'_, 't>) -> Price {
        let section = self.reader.section(root, "price", &["max_per_hour", "budget"]);
        let example = "max_per_hour = \"0.60\" (usd, for each provider)";
        let max_rate = self.reader.required(&section, "max_per_hour", example, value::rate);
        let example = "budget = \"1.00\" (usd, for the whole job)";
        let budget = self.reader.required(&section, "budget", example, value::price);
        Price { max_rate, budget }
    }

    fn verify(&mut self, root: &Section<'_, 't>) -> Verify {
        let section = self.reader.section(root, "verify", &["level", "sample"]);
        let words = [("replicate", true), ("none", false)];
        let replicate =
            self.reader.optional(&section, "level", true, |value| one_of(value, &words));
        let sample_bps =
            self.reader.optional(&section, "sample", 1_000, |value| value::percent_bps(value, 100));
        if replicate {
            return Verify::Replicate { sample_bps };
        }
        if section.has("sample") {
            self.reader.note(
                section.at_field("sample"),
                section.path("sample"),
                "means nothing at level \"none\"",
                "remove it, or write level = \"replicate\"",
            );
        }
        Verify::None
    }

    fn run(&mut self, root: &Section<'_, 't>, verify: Verify) -> Run {
        let section = self.reader.section(root, "run", &["providers", "retries", "deadline"]);
        let least = if verify == Verify::None { 1 } else { 2 };
        let providers = self.reader.optional(&section, "providers", least, |value| {
            value::count_u32(value, 1, MAX_PROVIDERS)
        });
        if providers < least {
            self.reader.note(
                section.at_field("providers"),
                section.path("providers"),
                "one provider cannot be checked by another",
                "write 2 or more, or set verify.level = \"none\"",
            );
        }
        Run {
            providers,
            retries: self
                .reader
                .optional(&section, "retries", 3, |value| value::count_u32(value, 0, MAX_RETRIES)),
            deadline: self.reader.optional(
                &section,
                "deadline",
                Millis::from_secs(3600),
                value::duration,
            ),
        }
    }

    fn constraints(&mut self, root: &Section<'_, 't>) -> Constraints {
        let keys = [
            "regions",
            "attributes",
            "providers",
            "exclude",
            "min_bond",
            "max_risk",
            "risk_weight",
            "min_duration",
        ];
        let section = self.reader.section(root, "constraints", &keys);
        let wanted = self.reader.open_section(&section, "attributes");
        let mut attributes = BTreeMap::new();
        for (key, value) in wanted.entries() {
            let name = key.get_ref().as_ref();
            if let Some(text) = self.reader.read(value, wanted.path(name), value::text) {
                attributes.insert(name.to_owned(), text);
            }
        }
        Constraints {
            regions: self.reader.list(&section, "regions", value::text),
            attributes,
            providers: self.reader.list(&section, "providers", value::account),
            exclude: self.reader.list(&section, "exclude", value::account),
            min_bond: self.reader.optional(&section, "min_bond", Amount::ZERO, value::amount),
            max_risk_bps: self
                .reader
                .optional(&section, "max_risk", 0, |value| value::percent_bps(value, 1_000_000)),
            risk_weight_bps: self.reader.optional(&section, "risk_weight", None, |value| {
                value::percent_bps(value, MAX_RISK_WEIGHT_BPS / 100).map(Some)
            }),
            min_duration: self.reader.optional(
                &section,
                "min_duration",
                Millis::ZERO,
                value::duration,
            ),
        }
    }

    /// The limits that the ledger sets to any order, so that none is refused there.
    fn check_terms(&mut self, root: &Section<'_, 't>, workload: &Workload) {
        let Err(field) = workload.terms().check() else { return };
        let Some(name) = field.strip_prefix("terms.") else { return };
        let constraints = self.reader.open_section(root, "constraints");
        if !constraints.has(name) {
            // Fields outside [constraints] have narrower limits of their own.
            return;
        }
        self.reader.note(
            constraints.at_field(name),
            constraints.path(name),
            "is longer than an order may have",
            "use at most 64 regions or attributes and 256 accounts; names of 1 to 64 bytes, \
             attribute values of at most 256",
        );
    }
}

/// A pattern for file names under a directory.
fn glob(dir: &Path, path: &Path) -> value::Reading<Option<Input>> {
    let wild = |part: &Path| part.to_string_lossy().contains(['*', '?']);
    let parent = path.parent().unwrap_or(Path::new(""));
    let pattern = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if pattern.is_empty() || wild(parent) {
        return value::refuse(
            format!(
                "{} has its pattern not in the last part",
                value::echo(&path.to_string_lossy())
            ),
            "write e.g. \"inputs/*.txt\"",
        );
    }
    Ok(Some(Input::Files { dir: dir.join(parent), pattern: pattern.to_owned() }))
}
