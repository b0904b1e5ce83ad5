//! `muster demo`: two real AI jobs through a whole network on this machine.

mod cast;
mod clouds;
mod report;
mod story;

use crate::{
    error::{Exit, Failure},
    network::Home,
    printer::Printer,
};
use cast::Cast;
use clap::Args;
use muster_api::Client;
use muster_ledger::Params;
use report::{DemoReport, Ending};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Instant,
};
use story::Story;

/// The part of the held-out images that the model must label rightly.
const ACCURACY_MIN: f64 = 0.93;

const PROVIDERS: usize = 4;

/// Run two real AI jobs through a whole network on this machine.
///
/// Starts a validator and four providers, trains a small network on handwritten digits and
/// classifies held-out images with it. One provider is killed on the way, one lies in some of its
/// outputs (both on purpose). Fails unless every job completes and every invariant holds.
#[derive(Args)]
#[command(after_help = "Example:\n  muster demo --json | jq .accuracy")]
pub(crate) struct Demo {
    /// Chooses who is killed, and when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the network's directory, and print where it is.
    #[arg(long)]
    keep: bool,
    /// Cloud prices to compare with (TOML) [default: a built-in list].
    #[arg(long, value_name = "FILE")]
    cloud_prices: Option<PathBuf>,
    /// Where the digits and their job files are [default: those of the source tree].
    #[arg(long, value_name = "DIR")]
    examples: Option<PathBuf>,
}

impl Demo {
    pub(crate) async fn run(self, printer: &Printer) -> anyhow::Result<()> {
        let clouds = clouds::read(self.cloud_prices.as_deref())?;
        let examples =
            self.examples.unwrap_or_else(|| super::source_dir().join("examples").join("digits"));
        let story = Story::read(&examples)?;
        let dir = tempfile::Builder::new().prefix("muster-demo-").tempdir()?;
        let begin = Instant::now();
        let result = play(&story, dir.path(), self.seed, printer).await;
        if self.keep {
            printer.note(format!("kept in {}", dir.keep().display()));
        }
        let report = result?;
        printer.note(format!("done in {:.1} s", begin.elapsed().as_secs_f64()));
        printer.data(&report, |report| report.render(&clouds))?;
        match report.failure(ACCURACY_MIN) {
            None => Ok(()),
            Some(what) => Err(Failure::error(
                Exit::Failed,
                format!("the demo went wrong: {what}"),
                "muster demo --keep   # then look at the logs of its providers",
            )),
        }
    }
}

async fn play(
    story: &Story,
    dir: &Path,
    seed: u64,
    printer: &Printer,
) -> anyhow::Result<DemoReport> {
    let home = Home::open_or_create(dir, PROVIDERS, Params::default())?;
    let node = home.start_node(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let client = Client::new(&node.url())?;
    printer.note(format!("  network  one validator at {}", node.url()));
    let cast = Cast::start(&home, &client, PROVIDERS).await;
    let played = match cast {
        Ok(mut cast) => {
            printer.note(format!("  network  {PROVIDERS} providers on offer"));
            let played = tokio::select! {
                played = act(story, &home, &client, &mut cast, seed, printer) => played,
                error = node.failed() => Err(error.into()),
                stopped = super::interrupted() => stopped.and_then(|()| anyhow::bail!("interrupted")),
            };
            cast.stop().await;
            played
        }
        Err(error) => Err(error),
    };
    node.stop().await?;
    played
}

async fn act(
    story: &Story,
    home: &Home,
    client: &Client,
    cast: &mut Cast,
    seed: u64,
    printer: &Printer,
) -> anyhow::Result<DemoReport> {
    let played = story.play(home, client, cast, seed, printer).await?;
    DemoReport::gather(Ending {
        client,
        cast,
        quote: &played.quote,
        jobs: &[played.train, played.classify],
        accuracy: played.accuracy,
    })
    .await
}
