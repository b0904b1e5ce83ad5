//! `muster vote`: propose parameters and vote on them.

use super::{Global, wallet::act};
use crate::printer::{Printer, facts, table};
use clap::{Args, Subcommand, ValueEnum};
use muster_api::views::ProposalView;
use muster_ledger::{
    Action, Params,
    vote::{Choice, ParamChange, ProposalStatus},
};
use muster_types::ProposalId;
use serde::Serialize;

/// Propose parameters and vote on them.
#[derive(Args)]
#[command(after_help = "Example:\n  muster vote propose 'Dearer bytes' fee_per_byte=2\n  \
    muster vote cast $PROPOSAL yes")]
pub(crate) struct Vote {
    #[command(subcommand)]
    command: VoteCommand,
}

#[derive(Subcommand)]
enum VoteCommand {
    /// List the parameters with their values, each in its own unit.
    #[command(after_help = "Example:\n  muster vote params | grep fee_")]
    Params,
    /// List the proposals.
    #[command(after_help = "Example:\n  muster vote list --json | jq '.[].id'")]
    List,
    /// Propose to change parameters.
    #[command(after_help = "Example:\n  muster vote propose 'Dearer bytes' fee_per_byte=2")]
    Propose {
        /// What it is about, for people.
        title: String,
        /// Name and new value, in the parameter's own unit (money in nano-units).
        #[arg(required = true, value_parser = change, value_name = "NAME=VALUE")]
        changes: Vec<ParamChange>,
    },
    /// Vote with the account's stake, or change its vote.
    #[command(after_help = "Example:\n  muster vote cast $PROPOSAL no")]
    Cast {
        /// Which proposal.
        proposal: ProposalId,
        /// How.
        choice: Voice,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Voice {
    /// For it.
    Yes,
    /// Against it.
    No,
    /// Neither, but counted as present.
    Abstain,
}

fn change(text: &str) -> Result<ParamChange, String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    if !Params::NAMES.contains(&name) {
        return Err(format!("no parameter is called `{name}`: see `muster vote params`"));
    }
    let value = value.parse().map_err(|_| format!("`{value}` is not a whole number"))?;
    Ok(ParamChange { name: name.to_owned(), value })
}

#[derive(Serialize)]
struct Param {
    name: &'static str,
    value: u128,
}

impl Vote {
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        match self.command {
            VoteCommand::Params => {
                let params = global.client()?.status().await?.params;
                let all = Params::NAMES
                    .iter()
                    .filter_map(|name| params.get(name).map(|value| Param { name, value }));
                let all: Vec<_> = all.collect();
                printer.data(&all, |all| {
                    facts(all.iter().map(|param| (param.name, param.value.to_string())))
                })
            }
            VoteCommand::List => {
                let all = global.client()?.proposals().await?;
                printer.data(&all, |all| render(all))?;
                if all.is_empty() {
                    printer.note("there is no proposal (`muster vote propose --help`)");
                }
                Ok(())
            }
            VoteCommand::Propose { title, changes } => {
                act(global, printer, Action::Propose { title, changes }).await
            }
            VoteCommand::Cast { proposal, choice } => {
                let choice = match choice {
                    Voice::Yes => Choice::Yes,
                    Voice::No => Choice::No,
                    Voice::Abstain => Choice::Abstain,
                };
                act(global, printer, Action::Vote { proposal, choice }).await
            }
        }
    }
}

fn render(all: &[ProposalView]) -> String {
    let rows = all.iter().map(|view| {
        let proposal = &view.record;
        let changes: Vec<_> = proposal
            .changes
            .iter()
            .map(|change| format!("{}={}", change.name, change.value))
            .collect();
        let state = match proposal.status {
            ProposalStatus::Voting { until } => format!("voting until {until}"),
            ProposalStatus::Passed { effective_at } => format!("passed, from {effective_at}"),
            ProposalStatus::Rejected => "rejected".to_owned(),
            ProposalStatus::Applied => "applied".to_owned(),
            ProposalStatus::Failed => "failed".to_owned(),
        };
        [
            view.id.to_string(),
            proposal.title.clone(),
            changes.join(" "),
            state,
            format!("{} of {} mst", proposal.tally.yes, proposal.tally.stake),
        ]
    });
    if all.is_empty() {
        return String::new();
    }
    table(["PROPOSAL", "TITLE", "CHANGES", "STATE", "YES"], rows)
}
