//! What happens in the demo, in order.

use super::cast::Cast;
use crate::{
    command::{data_dir, quote::read_job, run::explain},
    error::{Exit, Failure},
    follow::Follower,
    keyfile,
    network::Home,
    printer::Printer,
};
use anyhow::Context as _;
use muster_api::Client;
use muster_jobs::{Conductor, Config, Progress, Report};
use muster_market::Explanation;
use muster_spec::Workload;
use muster_types::AccountId;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The kill comes after at least so many tasks, and at most so many more: early, while every
/// provider has work in hand.
const KILL_AFTER: u64 = 3;
const KILL_SPREAD: u64 = 4;

/// The two jobs and what is needed to judge them.
pub(crate) struct Story {
    train: Workload,
    classify: Workload,
    labels: String,
}

/// How it went.
pub(crate) struct Played {
    pub(crate) quote: Explanation,
    pub(crate) train: Report,
    pub(crate) classify: Report,
    pub(crate) accuracy: f64,
}

/// Who is killed, and when.
struct Kill<'a> {
    cast: &'a mut Cast,
    seed: u64,
    done: bool,
}

impl Story {
    /// Reads the job files and the labels in `examples`.
    pub(crate) fn read(examples: &Path) -> anyhow::Result<Self> {
        let train = read_job(&examples.join("train.toml"))?;
        let classify = read_job(&examples.join("classify.toml"))?;
        let labels = examples.join("held-out.labels");
        let labels = std::fs::read_to_string(&labels)
            .with_context(|| format!("{} cannot be read", labels.display()))?;
        for module in [&train.wasm, &classify.wasm] {
            if !module.exists() {
                return Err(Failure::error(
                    Exit::BadInput,
                    format!("the module {} is not built", module.display()),
                    "make demo   # builds it first; or cargo xtask guests",
                ));
            }
        }
        Ok(Self { train, classify, labels })
    }

    /// Trains, then classifies while a provider is killed and another lies.
    pub(crate) async fn play(
        &self,
        home: &Home,
        client: &Client,
        cast: &mut Cast,
        seed: u64,
        printer: &Printer,
    ) -> anyhow::Result<Played> {
        let chain = client.status().await?.chain;
        let out = data_dir()?.join("demo").join(chain.short());
        let mut train = self.train.clone();
        train.output_dir = out.join("train");
        let mut classify = self.classify.clone();
        classify.output_dir = out.join("classify");
        classify.data.insert("model".to_owned(), train.result_file());

        let quote = client.quote(&classify.terms()).await?;
        let node = client.url();
        let trained = conduct(home, node, &train, printer, cast, None).await?;
        let classified = conduct(home, node, &classify, printer, cast, Some(seed)).await?;
        let accuracy = accuracy(&classify.result_file(), &self.labels)?;
        Ok(Played { quote, train: trained, classify: classified, accuracy })
    }
}

async fn conduct(
    home: &Home,
    node: &str,
    workload: &Workload,
    printer: &Printer,
    cast: &mut Cast,
    kill_seed: Option<u64>,
) -> anyhow::Result<Report> {
    let (progress, mut seen) = mpsc::unbounded_channel();
    let conductor = Conductor::open(Config {
        dir: home.job_dir(&workload.name),
        key: keyfile::load(&home.tenant_key_path())?,
        node: node.to_owned(),
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        progress: Some(progress),
        cancel: CancellationToken::new(),
    })
    .await
    .map_err(explain)?;
    let names: Vec<_> = cast.0.iter().map(|member| (member.account, member.plan.name)).collect();
    let name = move |account: &AccountId| {
        let known = names.iter().find(|(known, _)| known == account);
        known.map_or_else(|| account.short(), |(_, name)| (*name).to_owned())
    };
    let label = workload.name.trim_start_matches("digits-");
    let mut follower = Follower::new(printer, label, name);
    let mut kill = kill_seed.map(|seed| Kill { cast, seed, done: false });
    let follow = async {
        while let Some(progress) = seen.recv().await {
            follower.see(&progress);
            if let (Some(kill), Progress::TaskDone { done, provider, .. }) = (&mut kill, &progress)
            {
                kill.perhaps(*done, provider, printer)?;
            }
        }
        anyhow::Ok(())
    };
    let (report, followed) = tokio::join!(conductor.run(workload), follow);
    followed?;
    report.map_err(explain)
}

impl Kill<'_> {
    /// Kills the honest provider that has just delivered, once enough is done.
    fn perhaps(
        &mut self,
        done: u64,
        provider: &AccountId,
        printer: &Printer,
    ) -> anyhow::Result<()> {
        let due = KILL_AFTER.saturating_add(self.seed % KILL_SPREAD);
        if self.done || done < due || self.cast.is_liar(provider) {
            return Ok(());
        }
        printer
            .note(format!("     kill  SIGKILL to {} after {done} tasks", self.cast.name(provider)));
        self.cast.kill(provider)?;
        self.done = true;
        Ok(())
    }
}

/// The part of the labels that are right.
fn accuracy(output: &PathBuf, labels: &str) -> anyhow::Result<f64> {
    let given = std::fs::read_to_string(output)
        .with_context(|| format!("{} cannot be read", output.display()))?;
    let (given, wanted): (Vec<_>, Vec<_>) = (given.lines().collect(), labels.lines().collect());
    anyhow::ensure!(
        given.len() == wanted.len(),
        "{} labels for {} images",
        given.len(),
        wanted.len()
    );
    let right = given.iter().zip(&wanted).filter(|(given, wanted)| given == wanted).count();
    Ok(f64::from(u32::try_from(right)?) / f64::from(u32::try_from(wanted.len())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_counts_the_labels_that_are_right_and_refuses_missing_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output");
        std::fs::write(&path, "1\n2\n3\n4\n").unwrap();
        assert!((accuracy(&path, "1\n2\n3\n5\n").unwrap() - 0.75).abs() < 1e-9);
        assert!(accuracy(&path, "1\n2\n").is_err());
    }
}
