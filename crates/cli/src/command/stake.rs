//! `muster stake`: validate, delegate, and take stake back.

use super::{Global, wallet::act};
use crate::{
    keyfile,
    printer::{Printer, facts, table},
};
use clap::{Args, Subcommand};
use muster_api::views::{AccountStake, ValidatorView};
use muster_ledger::{
    Action,
    stake::{SeatKey, ValidatorStatus, seats::seat_message},
};
use muster_types::{AccountId, Amount, UnbondingId};
use serde::Serialize;
use std::path::PathBuf;

/// Validate, delegate, and take stake back.
#[derive(Args)]
#[command(
    after_help = "Example:\n  muster stake validators\n  muster stake delegate $VALIDATOR 100"
)]
pub(crate) struct Stake {
    #[command(subcommand)]
    command: StakeCommand,
}

#[derive(Subcommand)]
enum StakeCommand {
    /// List the validators.
    #[command(after_help = "Example:\n  muster stake validators --json | jq '.[].id'")]
    Validators,
    /// Show what the account stakes, what unbonds, and the rewards that it is owed.
    #[command(after_help = "Example:\n  muster stake show")]
    Show {
        /// Another account than the key's.
        of: Option<AccountId>,
    },
    /// Register as a validator, or change the commission.
    #[command(after_help = "Example:\n  muster stake register --commission-bps 500")]
    Register {
        /// What is kept of rewards before they are shared out, in hundredths of a per cent.
        #[arg(long)]
        commission_bps: u32,
    },
    /// Name the keys that vote for the account beside its own: one more vote for each, where the
    /// stake pays for it.
    ///
    /// A node votes with one key, so each vote needs a node of its own. The keys given are all that
    /// count from then on; a key stays the account's for ever, for what it signed.
    #[command(after_help = "Example:\n  \
        muster stake seats second/keys/node.json third/keys/node.json\n\n\
        What a vote costs: muster vote params | grep seat_stake")]
    Seats {
        /// Their key files (`muster node init`); none: only the account's own key votes.
        #[arg(value_name = "KEYFILE")]
        keys: Vec<PathBuf>,
    },
    /// Add to the account's own stake as a validator.
    #[command(after_help = "Example:\n  muster stake add 1000")]
    Add {
        /// How much mst.
        amount: Amount,
    },
    /// Stake with a validator.
    #[command(after_help = "Example:\n  muster stake delegate $VALIDATOR 100")]
    Delegate {
        /// With whom.
        validator: AccountId,
        /// How much mst.
        amount: Amount,
    },
    /// Begin to take stake back.
    #[command(after_help = "Example:\n  muster stake unstake $VALIDATOR 100\n\n\
        When it has unbonded: muster stake claim")]
    Unstake {
        /// Where it is; the account itself for its own stake.
        validator: AccountId,
        /// How much mst.
        amount: Amount,
    },
    /// Take out stake that has unbonded.
    #[command(
        after_help = "Example:\n  muster stake claim $UNBONDING   # from `muster stake show`"
    )]
    Claim {
        /// Which: an id that `muster stake show` lists.
        entry: UnbondingId,
    },
    /// Take out the rewards of a delegation.
    #[command(after_help = "Example:\n  muster stake reward $VALIDATOR")]
    Reward {
        /// Whose.
        validator: AccountId,
    },
    /// Come back as a validator after the time in jail.
    #[command(after_help = "Example:\n  muster stake unjail")]
    Unjail,
}

#[derive(Serialize)]
struct Shown {
    account: AccountId,
    validator: Option<ValidatorView>,
    #[serde(flatten)]
    stake: AccountStake,
}

impl Stake {
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        let action = match self.command {
            StakeCommand::Validators => {
                let all = global.client()?.validators().await?;
                return printer.data(&all, |all| validators(all));
            }
            StakeCommand::Show { of } => return show(global, printer, of).await,
            StakeCommand::Register { commission_bps } => Action::ValidatorSet { commission_bps },
            StakeCommand::Seats { keys } => seats(global, &keys).await?,
            StakeCommand::Add { amount } => Action::StakeAdd { amount },
            StakeCommand::Delegate { validator, amount } => Action::Delegate { validator, amount },
            StakeCommand::Unstake { validator, amount } => Action::Unstake { validator, amount },
            StakeCommand::Claim { entry } => Action::UnstakeClaim { entry },
            StakeCommand::Reward { validator } => Action::RewardClaim { validator },
            StakeCommand::Unjail => Action::ValidatorUnjail {},
        };
        act(global, printer, action).await
    }
}

/// Names these keys, each with its consent, for the account that acts.
async fn seats(global: &Global, keys: &[PathBuf]) -> anyhow::Result<Action> {
    let owner = global.account()?;
    let chain = global.client()?.status().await?.chain;
    let message = seat_message(&chain, &owner);
    let mut seats = Vec::with_capacity(keys.len());
    for path in keys {
        let key = keyfile::load(path)?;
        seats.push(SeatKey { key: key.account(), proof: key.sign(&message) });
    }
    Ok(Action::SeatsSet { seats })
}

fn status(view: &ValidatorView) -> String {
    view.record.as_ref().map_or_else(
        || "no stake".to_owned(),
        |record| match record.status {
            ValidatorStatus::Registered => "registered".to_owned(),
            ValidatorStatus::Active => "active".to_owned(),
            ValidatorStatus::Jailed { until } => format!("jailed until {until}"),
        },
    )
}

fn validators(all: &[ValidatorView]) -> String {
    let rows = all.iter().map(|view| {
        let record = view.record.as_ref();
        let amount = |read: fn(&muster_ledger::stake::Validator) -> Amount| {
            record.map_or(Amount::ZERO, read).to_string()
        };
        [
            view.id.short(),
            if view.in_committee { "yes" } else { "no" }.to_owned(),
            status(view),
            amount(|record| record.own),
            amount(|record| record.delegated.tokens),
            record.map_or(0, |record| record.commission_bps).to_string(),
        ]
    });
    table(["VALIDATOR", "COMMITTEE", "STATE", "OWN MST", "DELEGATED", "COMMISSION BPS"], rows)
}

async fn show(global: &Global, printer: &Printer, of: Option<AccountId>) -> anyhow::Result<()> {
    let account = of.map_or_else(|| global.account(), Ok)?;
    let client = global.client()?;
    let stake = client.stake_of(&account).await?;
    let validator = client.validators().await?.into_iter().find(|view| view.id == account);
    let none = validator.is_none() && stake.delegations.is_empty() && stake.unbonding.is_empty();
    printer.data(&Shown { account, validator, stake }, render)?;
    if none {
        printer.note("it stakes nothing (`muster stake validators` lists with whom it could)");
    }
    Ok(())
}

fn render(shown: &Shown) -> String {
    let mut text = facts([("account", shown.account.to_string())]);
    if let Some(validator) = &shown.validator {
        text.push_str(&validators(std::slice::from_ref(validator)));
    }
    if !shown.stake.delegations.is_empty() {
        let rows = shown.stake.delegations.iter().map(|view| {
            [view.validator.to_string(), view.worth.to_string(), view.owed.to_string()]
        });
        text.push_str(&table(["STAKED WITH", "MST", "REWARD USD"], rows));
    }
    if !shown.stake.unbonding.is_empty() {
        let rows = shown.stake.unbonding.iter().map(|view| {
            [view.id.to_string(), view.worth.to_string(), view.record.until.to_string()]
        });
        text.push_str(&table(["UNBONDING", "MST", "FREE AT (MS)"], rows));
    }
    text
}
