//! From a workload and the files that it names to tasks.

use crate::{JobError, files::Objects};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_api::{provider::TaskLimits, receipt::Manifest};
use muster_ledger::job::{JobKind, JobSpec, TaskRef, Verification};
use muster_market::Terms;
use muster_spec::{Input, Kind, Verify, Workload, input};
use muster_types::{Amount, EscrowId, Hash, JobId};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Most steps between two checkpoints: what one request may ask for.
const MAX_SEGMENT: u64 = 256;

/// Largest file that a job may name, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// Everything that a job's run depends on, by hash.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) kind: JobKind,
    /// Content hash of the module.
    pub(crate) module: Hash,
    /// The data directory: name to content hash.
    pub(crate) data: BTreeMap<String, Hash>,
    /// Content hash of each task's input, or of a chain's first state.
    pub(crate) inputs: Vec<Hash>,
    pub(crate) tasks: u64,
    pub(crate) segment: u64,
    pub(crate) limits: TaskLimits,
    pub(crate) retries: u32,
    /// The sampled part of the tasks, in hundredths of a per cent; zero: no verification.
    pub(crate) sample_bps: u32,
    pub(crate) terms: Terms,
    pub(crate) budget: Amount,
    pub(crate) deadline_ms: u64,
    /// Hides the manifest.
    pub(crate) salt: Hash,
    /// Draws the sample. Secret until the job is over, so that no provider knows which of its
    /// tasks another one will run again.
    pub(crate) seed: Hash,
    /// Where the results go, an absolute path as text.
    pub(crate) output: String,
}

/// The terms of a job's first order: a lease with each of so many providers as the job can use.
pub(crate) fn terms(workload: &Workload) -> Terms {
    let replicated = matches!(workload.verify, Verify::Replicate { .. });
    let count = match (&workload.kind, replicated) {
        (Kind::Batch(_), false) => workload.run.providers.max(1),
        (Kind::Batch(_), true) => workload.run.providers.max(2),
        // One that runs it, one that checks it.
        (Kind::Chain(_), false) => 1,
        (Kind::Chain(_), true) => 2,
    };
    let mut terms = workload.terms();
    terms.count = count;
    terms.spread.per_provider = 1;
    terms
}

impl Plan {
    /// Reads what the workload names, keeps it in `objects`, and makes the plan. `secrets` are
    /// salt and seed.
    pub(crate) fn make(
        workload: &Workload,
        objects: &Objects,
        secrets: [Hash; 2],
    ) -> Result<Self, JobError> {
        let [salt, seed] = secrets;
        let module = objects.put(&read(&workload.wasm, "code.wasm")?)?;
        let mut data = BTreeMap::new();
        for (name, path) in &workload.data {
            data.insert(name.clone(), objects.put(&read(path, "data")?)?);
        }
        let (kind, inputs, tasks, segment) = match &workload.kind {
            Kind::Batch(input) => {
                let inputs = batch_inputs(input, objects)?;
                let tasks = inputs.len() as u64;
                (JobKind::Batch, inputs, tasks, 1)
            }
            Kind::Chain(chain) => {
                let state = match &chain.initial {
                    Some(path) => read(path, "chain.initial")?,
                    None => Vec::new(),
                };
                let segment = chain.checkpoint_every.clamp(1, MAX_SEGMENT);
                (JobKind::Chain, vec![objects.put(&state)?], chain.steps, segment)
            }
        };
        let sample_bps = match workload.verify {
            Verify::None => 0,
            Verify::Replicate { sample_bps } => sample_bps,
        };
        let output = std::path::absolute(&workload.output_dir).map_err(|source| {
            JobError::File { path: workload.output_dir.clone(), action: "written", source }
        })?;
        Ok(Self {
            name: workload.name.clone(),
            kind,
            module,
            data,
            inputs,
            tasks,
            segment,
            limits: TaskLimits {
                fuel: workload.limits.fuel,
                memory_bytes: workload.limits.memory_bytes,
                output_bytes: workload.limits.output_bytes,
                wall_ms: workload.limits.wall.0,
            },
            retries: workload.run.retries,
            sample_bps,
            terms: terms(workload),
            budget: workload.price.budget,
            deadline_ms: workload.run.deadline.0,
            salt,
            seed,
            output: output.to_string_lossy().into_owned(),
        })
    }

    /// What the manifest commitment hides.
    pub(crate) fn manifest(&self) -> Manifest {
        Manifest { salt: self.salt, module: self.module, data: self.data.clone() }
    }

    /// The job's terms on the ledger.
    pub(crate) fn job_spec(&self, escrow: EscrowId) -> JobSpec {
        let verification = match self.sample_bps {
            0 => Verification::None,
            sample_bps => Verification::Replicate { sample_bps },
        };
        JobSpec {
            kind: self.kind,
            escrow,
            tasks: self.tasks,
            verification,
            manifest: self.manifest().commitment(),
            fuel_max: self.limits.fuel,
            chain: None,
            metered: false,
        }
    }

    /// What a claim about task `index` on `input` must name.
    pub(crate) fn task(&self, job: JobId, index: u64, input: Hash) -> TaskRef {
        TaskRef {
            job,
            index,
            module: self.module,
            input,
            data: muster_verify::data_listing_hash(&self.data),
            fuel_limit: self.limits.fuel,
            memory_limit_bytes: self.limits.memory_bytes,
        }
    }

    /// The tasks that a second provider runs again; with verification at least one.
    pub(crate) fn sampled(&self, job: &JobId) -> BTreeSet<u64> {
        let drawn = muster_verify::sample(&self.seed, job, self.tasks, self.sample_bps);
        let mut sampled: BTreeSet<u64> = drawn.into_iter().collect();
        if sampled.is_empty() && self.sample_bps > 0 {
            let hash = Hash::of("muster least sample v1", &[self.seed.as_bytes(), job.as_bytes()]);
            let draw = hash.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
            sampled.extend(draw.checked_rem(self.tasks));
        }
        sampled
    }

    /// Every content that a provider or a referee may need, from the start.
    pub(crate) fn contents(&self) -> BTreeSet<Hash> {
        let data = self.data.values().copied();
        data.chain([self.module]).chain(self.inputs.iter().copied()).collect()
    }

    /// Where the results go.
    pub(crate) fn output(&self) -> PathBuf {
        PathBuf::from(&self.output)
    }
}

fn batch_inputs(input: &Input, objects: &Objects) -> Result<Vec<Hash>, JobError> {
    match input {
        Input::Records { file, .. } | Input::Lines { file, .. } => {
            let content = read(file, "input.file")?;
            let ranges = input
                .split(&content)
                .map_err(|error| unusable(file, "input.file", error.to_string()))?;
            let parts = ranges.into_iter().filter_map(|range| content.get(range));
            parts.map(|part| objects.put(part)).collect()
        }
        Input::Files { dir, pattern } => {
            let names = matching(dir, pattern)?;
            names.iter().map(|name| objects.put(&read(&dir.join(name), "input.glob")?)).collect()
        }
        Input::Range { count } => {
            (0..*count).map(|index| objects.put(&input::range_input(index))).collect()
        }
    }
}

/// The files in `dir` whose names fit, in the order of the names' bytes.
fn matching(dir: &Path, pattern: &str) -> Result<Vec<String>, JobError> {
    let failed = |error: std::io::Error| unusable(dir, "input.glob", error.to_string());
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if input::matches(pattern, &name) && entry.path().is_file() {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(unusable(dir, "input.glob", format!("no file fits `{pattern}`")));
    }
    if names.len() as u64 > input::MAX_TASKS {
        let reason = format!("{} files, at most {} are allowed", names.len(), input::MAX_TASKS);
        return Err(unusable(dir, "input.glob", reason));
    }
    names.sort_unstable();
    Ok(names)
}

fn read(path: &Path, field: &'static str) -> Result<Vec<u8>, JobError> {
    let refuse = |reason| unusable(path, field, reason);
    let metadata = fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
    if !metadata.is_file() {
        return Err(refuse("not a file".to_owned()));
    }
    if metadata.len() > MAX_FILE_BYTES {
        let reason = format!("{} bytes, at most {MAX_FILE_BYTES} are allowed", metadata.len());
        return Err(refuse(reason));
    }
    fs::read(path).map_err(|error| refuse(error.to_string()))
}

fn unusable(path: &Path, field: &'static str, reason: String) -> JobError {
    JobError::Input { path: path.to_owned(), field, reason }
}

#[cfg(test)]
mod tests;
