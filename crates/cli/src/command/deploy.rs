//! `muster deploy`: services in containers, from file to address.

use super::{
    Global,
    deployment::{Name, Reach, explain, field_of},
    interrupted,
    sdl::{Rates, read_deployment},
};
use crate::{
    error::{Exit, Failure},
    printer::{Printer, facts, table},
};
use clap::Args;
use indicatif::ProgressBar;
use muster_api::service::Step;
use muster_jobs::services::{Cost, Note, Replica, Services, ServicesError};
use muster_types::{AccountId, Amount, Millis, Rate};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// Run services in containers: order, lease, deliver, wait until they serve.
///
/// Each step is written down before it is taken: run the same command again after a crash or
/// Ctrl-C, and it goes on where it was; where a replica was lost since, it is replaced.
/// `muster close` ends everything, and what is left of the money comes back.
#[derive(Args)]
#[command(after_help = "Example:\n  muster deploy app.yaml --for 2h\n  \
    curl \"http://$(muster deploy app.yaml --for 2h --json | jq -r .addresses[0])/\"")]
pub(crate) struct Deploy {
    /// The services (Akash SDL 2.0 or 2.1).
    file: PathBuf,
    /// What to call the deployment [default: the file's name].
    #[arg(long)]
    name: Option<Name>,
    /// How long the money must last at the file's highest prices, e.g. `90m` or `2d`.
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = duration)]
    time: Millis,
    /// Deploy nothing if more than this would be set aside, in usd.
    #[arg(long, value_name = "USD")]
    max: Option<Amount>,
    #[command(flatten)]
    rates: Rates,
    #[command(flatten)]
    reach: Reach,
}

/// What `muster deploy --json` and `muster update --json` print.
#[derive(Serialize)]
pub(crate) struct Report {
    name: String,
    directory: PathBuf,
    /// What all leases cost.
    usd_per_hour: Amount,
    /// What they may cost.
    most_usd_per_hour: Amount,
    deposit_usd: Amount,
    /// Where exposed ports are reached, `host:port`.
    addresses: Vec<String>,
    replicas: Vec<Replica>,
}

/// Reads a length of time.
pub(crate) fn duration(text: &str) -> Result<Millis, String> {
    let fix = "write numbers with units: ms, s, m, h or d, e.g. 30s or 1h30m";
    muster_spec::parse_duration(text).ok_or_else(|| fix.to_owned())
}

impl Deploy {
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        let exchange = self.rates.exchange();
        let deployment = read_deployment(&self.file, &exchange, printer)?;
        let name = Name::or_of_file(self.name.clone(), &self.file)?;
        let config = name.config(global, &self.reach)?;
        let directory = config.dir.clone();
        let created = Services::create(config, &deployment, &exchange, self.time, self.max).await;
        let (services, cost) = created.map_err(|error| {
            if let ServicesError::NoMatch { explanation: Some(explanation), .. } = &error {
                printer.note(super::quote::exclusions(explanation, field_of).trim_end());
            }
            explain(error, &name)
        })?;
        printer.note(price(&name, &cost, self.time));
        let follower = Follower::new(&name, printer);
        let tell = |note| follower.see(note);
        let replicas = async {
            services.up(&tell).await?;
            services.replicas().await
        };
        let replicas = tokio::select! {
            replicas = replicas => replicas,
            result = interrupted() => {
                result?;
                follower.clear();
                let name = name.as_str();
                let hint = format!(
                    "the same command goes on · muster close {name}   # gives the money back"
                );
                return Err(Failure::error(Exit::Failed, "interrupted; what runs goes on", hint));
            }
        };
        follower.clear();
        let replicas = replicas.map_err(|error| explain(error, &name))?;
        let report = Report::of(&name, directory, &cost, replicas);
        printer.data(&report, render)?;
        let name = name.as_str();
        printer.note(format!("next: muster logs {name} · muster close {name}"));
        Ok(())
    }
}

fn price(name: &Name, cost: &Cost, time: Millis) -> String {
    let name = name.as_str();
    let Cost { quoted_per_hour, most_per_hour, deposit } = cost;
    match quoted_per_hour {
        Some(quoted) => format!(
            "{name}: {quoted} usd/h now, at most {most_per_hour} usd/h; sets {deposit} usd aside \
             for {}",
            hours(time)
        ),
        None => format!("{name}: going on with this deployment"),
    }
}

/// A length of time for people: `1h30m`.
fn hours(time: Millis) -> String {
    let mut left = time.0;
    let mut text = String::new();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if left >= length {
            text.push_str(&format!("{}{unit}", left / length));
            left %= length;
        }
    }
    match (left, text.is_empty()) {
        (0, false) => text,
        (left, _) => format!("{text}{left}ms"),
    }
}

impl Report {
    pub(crate) fn of(name: &Name, directory: PathBuf, cost: &Cost, replicas: Vec<Replica>) -> Self {
        let ports = replicas.iter().filter_map(|replica| replica.status.as_ref());
        let ports = ports.flat_map(|status| &status.container).flat_map(|one| &one.ports);
        let rate = replicas.iter().try_fold(Rate::ZERO, |sum, one| sum.checked_add(one.rate));
        Self {
            name: name.as_str().to_owned(),
            directory,
            // What would be beyond all amounts was refused when it was planned.
            usd_per_hour: rate.unwrap_or(Rate::MAX).amount_per_hour(),
            most_usd_per_hour: cost.most_per_hour,
            deposit_usd: cost.deposit,
            addresses: ports.filter_map(|port| port.address.clone()).collect(),
            replicas,
        }
    }
}

pub(crate) fn render(report: &Report) -> String {
    let mut text = facts([
        ("deployment", report.name.clone()),
        ("price", format!("{} usd/h", report.usd_per_hour)),
        ("set aside", format!("{} usd", report.deposit_usd)),
    ]);
    text.push('\n');
    text.push_str(&table(["SERVICE", "PROVIDER", "PORT", "ADDRESS"], addresses(&report.replicas)));
    text
}

/// A row for each exposed port, and one for each service without any.
fn addresses(replicas: &[Replica]) -> Vec<[String; 4]> {
    let rows = numbered(replicas).into_iter().flat_map(|(label, replica)| {
        let provider = replica.provider.short();
        let row = |port: String, address: String| [label.clone(), provider.clone(), port, address];
        let containers = replica.status.iter().flat_map(|status| &status.container);
        let ports: Vec<_> = containers.flat_map(|container| &container.ports).collect();
        let tunnel = || "by muster forward".to_owned();
        match ports.is_empty() {
            true => vec![row(String::new(), String::new())],
            false => ports
                .into_iter()
                .map(|port| row(port.port.to_string(), port.address.clone().unwrap_or_else(tunnel)))
                .collect(),
        }
    });
    rows.collect()
}

/// Every replica with its label, `SERVICE/N`.
pub(crate) fn numbered(replicas: &[Replica]) -> Vec<(String, &Replica)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut rows = Vec::new();
    for replica in replicas {
        let service = replica.service.as_deref().unwrap_or("?");
        let number = counts.entry(service).or_insert(0);
        rows.push((service, format!("{service}/{number}"), replica));
        *number += 1;
    }
    rows.sort_by_key(|(service, ..)| *service);
    rows.into_iter().map(|(_, label, replica)| (label, replica)).collect()
}

/// A step in a word.
pub(crate) fn step(step: &Step) -> &'static str {
    match step {
        Step::Waiting => "waiting",
        Step::Pulling { .. } => "pulling",
        Step::Starting => "starting",
        Step::Probing => "probing",
        Step::Running => "running",
        Step::Updating => "updating",
        Step::Failed { .. } => "failed",
        Step::Closed => "closed",
    }
}

/// What was shown of a provider, and its bar while it pulls.
type Seen = (String, Option<ProgressBar>);

/// Shows a deployment's progress to people, as it happens.
pub(crate) struct Follower<'a> {
    name: &'a Name,
    printer: &'a Printer,
    /// Where each provider is with which service.
    seen: Mutex<BTreeMap<(AccountId, String), Seen>>,
    /// What was said last: replicas often do the same.
    last: Mutex<String>,
}

impl<'a> Follower<'a> {
    pub(crate) fn new(name: &'a Name, printer: &'a Printer) -> Self {
        Self { name, printer, seen: Mutex::default(), last: Mutex::default() }
    }

    fn say(&self, text: &str) {
        let text = crate::diagnostic::clean(text);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == text {
            return;
        }
        last.clone_from(&text);
        self.printer.note(format!("{}: {text}", self.name.as_str()));
    }

    pub(crate) fn see(&self, note: Note) {
        match note {
            Note::Funded { deposit, .. } => self.say(&format!("{deposit} usd are set aside")),
            Note::Leased { leases } => {
                let mut providers: Vec<_> = leases.iter().map(|(_, one)| one.short()).collect();
                providers.dedup();
                self.say(&format!("{} leased from {}", leases.len(), providers.join(", ")));
            }
            Note::Step { service, provider, step } => self.step(&service, provider, &step),
            Note::Failed { service, provider, step, reason } => {
                self.say(&format!("{service} at {} failed {step}: {reason}", provider.short()));
            }
        }
    }

    fn step(&self, service: &str, provider: AccountId, at: &Step) {
        let what = match at {
            Step::Pulling { image, .. } => format!("pulling {image}"),
            at => step(at).to_owned(),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, bar) = seen.entry((provider, service.to_owned())).or_default();
        if *before != what {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
            self.say(&format!("{service} at {}: {what}", provider.short()));
            *before = what;
        }
        if let Step::Pulling { image, done_bytes, total_bytes } = at
            && *total_bytes > 0
        {
            let bar = bar.get_or_insert_with(|| self.printer.bar(service, 0));
            bar.set_length((total_bytes >> 20).max(1));
            bar.set_position(done_bytes >> 20);
            bar.set_message(format!("MiB of {}", crate::diagnostic::clean(image)));
        }
    }

    pub(crate) fn clear(&self) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for bar in seen.values().filter_map(|(_, bar)| bar.as_ref()) {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_read_and_shown_in_its_units() {
        for (text, shown) in [
            ("1h", Some("1h")),
            ("90m", Some("1h30m")),
            ("2d", Some("2d")),
            ("1500ms", Some("1s500ms")),
            ("5ms", Some("5ms")),
            ("1", None),
            ("", None),
            ("0s", None),
            ("99999999999999999d", None),
        ] {
            assert_eq!(duration(text).ok().map(hours).as_deref(), shown, "{text}");
        }
    }
}
