//! How long blocks took, read from the validators' logs: when a proposer had built a block, and
//! when a validator had executed it as final. All on the clock of this machine.

use anyhow::Context as _;
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

/// What a node's `MUSTER_LOG` must be for its log to be read here.
pub(super) const LOG: &str = "muster_node::timing=debug";

/// How long each block took on each validator, in milliseconds, sorted.
pub(super) struct Finality(Vec<f64>);

impl Finality {
    /// The time that `percent` of the blocks did not exceed.
    pub(super) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(rank).copied().unwrap_or(f64::NAN)
    }
}

/// Of all blocks above height `begin`.
pub(super) fn read(logs: &[PathBuf], begin: u64) -> anyhow::Result<Finality> {
    between(logs, begin, u64::MAX)
}

/// Of the blocks above height `begin` and up to `end`.
pub(super) fn between(logs: &[PathBuf], begin: u64, end: u64) -> anyhow::Result<Finality> {
    let (mut proposed, mut finals) = (BTreeMap::new(), Vec::new());
    for log in logs {
        for mark in marks(log)? {
            match mark.step.as_str() {
                "proposed" => drop(proposed.insert(mark.digest, mark.at)),
                _ if mark.height > begin && mark.height <= end => finals.push(mark),
                _ => {}
            }
        }
    }
    let taken = |mark: &Mark| Some(mark.at.checked_sub(*proposed.get(&mark.digest)?)? as f64 / 1e3);
    let mut times: Vec<f64> = finals.iter().filter_map(taken).collect();
    anyhow::ensure!(!times.is_empty(), "the validators' logs tell of no final block");
    times.sort_by(f64::total_cmp);
    Ok(Finality(times))
}

/// A line of the log.
#[derive(Debug, Default, PartialEq)]
struct Mark {
    step: String,
    height: u64,
    digest: String,
    /// Microseconds since the Unix epoch.
    at: u64,
}

fn marks(log: &Path) -> anyhow::Result<Vec<Mark>> {
    let context = || format!("the log {} cannot be read", log.display());
    let file = std::fs::File::open(log).with_context(context)?;
    let mut marks = Vec::new();
    for line in BufReader::new(file).lines() {
        marks.extend(mark(&line.with_context(context)?));
    }
    Ok(marks)
}

/// What a line says; nothing where it is about something else.
fn mark(line: &str) -> Option<Mark> {
    let mut fields: BTreeMap<&str, &str> =
        line.split_whitespace().filter_map(|word| word.split_once('=')).collect();
    let mut take = |name| fields.remove(name);
    Some(Mark {
        step: take("step")?.trim_matches('"').to_owned(),
        height: take("height")?.parse().ok()?,
        digest: take("digest")?.to_owned(),
        at: take("at")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: &str, height: u64, digest: &str, at: u64) -> String {
        format!(
            "2026-11-01T00:00:00.000000Z DEBUG muster_node::timing: step=\"{step}\" \
             height={height} digest={digest} at={at}\n"
        )
    }

    #[test]
    fn a_block_counts_on_every_validator_that_says_it_is_final() {
        let dir = tempfile::tempdir().unwrap();
        let logs = [dir.path().join("a"), dir.path().join("b")];
        let a = [
            line("proposed", 7, "aa", 1_000),
            line("final", 7, "aa", 4_000),
            line("final", 8, "bb", 9_000),
            line("final", 9, "of_nobody", 9_000),
        ];
        let b = [
            "something else\n".to_owned(),
            line("proposed", 8, "bb", 5_000),
            line("proposed", 8, "lost", 5_500),
            line("final", 7, "aa", 6_000),
            line("final", 8, "bb", 15_000),
        ];
        std::fs::write(&logs[0], a.concat()).unwrap();
        std::fs::write(&logs[1], b.concat()).unwrap();
        let table = [(0, u64::MAX, vec![3.0, 4.0, 5.0, 10.0]), (7, 8, vec![4.0, 10.0])];
        for (begin, end, times) in table {
            assert_eq!(between(&logs, begin, end).unwrap().0, times);
        }
        assert!(between(&logs, 9, u64::MAX).is_err());
    }

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let found = Finality((1..=200).map(f64::from).collect());
        let table = [(50, 100.0), (99, 198.0), (100, 200.0)];
        for (percent, time) in table {
            assert_eq!(found.percentile(percent), time);
        }
    }
}
