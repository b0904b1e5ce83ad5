//! `muster logs`: what services print.

use super::{
    Global,
    deploy::duration,
    deployment::{Reach, Target, explain},
    interrupted,
};
use crate::{diagnostic::clean, network, printer::Printer};
use clap::Args;
use muster_api::service::{LogLine, Open, read_frame};
use muster_jobs::services::{Connection, Services};
use muster_types::Millis;
use serde::Serialize;
use std::io::IsTerminal as _;
use tokio::sync::mpsc;

/// Show what services print.
#[derive(Args)]
#[command(after_help = "Example:\n  muster logs app/web --follow --tail 20\n  \
    muster logs app --since 10m --json | jq -r .text\n\n\
    With --json each line is a JSON document of its own.")]
pub(crate) struct Logs {
    /// Which deployment, service of it, or replica.
    #[arg(value_name = "NAME[/SERVICE[/N]]")]
    target: Target,
    /// Go on with what is printed next, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// The last so many lines of each replica.
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,
    /// What was printed within this time, e.g. `10m`.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Millis>,
    #[command(flatten)]
    reach: Reach,
}

/// What `muster logs --json` prints for each line.
#[derive(Serialize)]
struct Line<'a> {
    service: &'a str,
    replica: usize,
    #[serde(flatten)]
    line: &'a LogLine,
}

impl Logs {
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        let services = self.target.name.open(global, &self.reach).await?;
        let replicas = self.target.replicas(&services).await?;
        tokio::select! {
            result = self.show(&services, &replicas, printer) => result,
            result = interrupted() => result,
        }
    }

    async fn show(
        &self,
        services: &Services,
        replicas: &[Connection],
        printer: &Printer,
    ) -> anyhow::Result<()> {
        let now = network::now()?;
        let since_ms = self.since.map(|since| now.0.saturating_sub(since.0));
        let (sender, mut lines) = mpsc::channel::<(&Connection, LogLine)>(256);
        let read = replicas.iter().map(|replica| {
            let sender = sender.clone();
            let open = Open::Logs {
                lease: replica.lease,
                service: replica.service.clone(),
                since_ms,
                tail: self.tail,
                follow: self.follow,
            };
            async move {
                let opened = services.stream(replica, &open).await;
                let mut channel = opened.map_err(|error| explain(error, &self.target.name))?;
                while let Some(line) = read_frame::<LogLine>(&mut channel).await? {
                    if sender.send((replica, line)).await.is_err() {
                        break;
                    }
                }
                anyhow::Ok(())
            }
        });
        let read = futures::future::try_join_all(read);
        drop(sender);
        let print = async {
            while let Some((replica, line)) = lines.recv().await {
                printer.raw(&self.render(replica, &line, replicas.len() > 1, printer)?)?;
            }
            anyhow::Ok(())
        };
        tokio::try_join!(read, print).map(|_| ())
    }

    fn render(
        &self,
        replica: &Connection,
        line: &LogLine,
        labelled: bool,
        printer: &Printer,
    ) -> anyhow::Result<String> {
        if printer.is_json() {
            let line = Line { service: &replica.service, replica: replica.number, line };
            return Ok(serde_json::to_string(&line)? + "\n");
        }
        // What a service prints must not move the terminal's cursor.
        let text = match std::io::stdout().is_terminal() {
            true => clean(&line.text),
            false => line.text.clone(),
        };
        Ok(match labelled {
            true => format!("{}/{} | {text}\n", replica.service, replica.number),
            false => format!("{text}\n"),
        })
    }
}
