//! `muster wallet`: keys, balances, transfers.

mod draft;
mod keys;

use super::Global;
use crate::{
    error::{Exit, Failure},
    keyfile,
    printer::{Printer, facts},
};
use clap::{Args, Subcommand};
use muster_api::{WalletError, views::Applied};
use muster_ledger::Action;
use muster_types::{AccountId, Amount, Asset, TxId};
use serde::Serialize;
use std::path::PathBuf;

/// Make keys, look at balances, send money.
#[derive(Args)]
#[command(after_help = "Example:\n  muster wallet new\n  muster wallet send 5 usd $ACCOUNT\n\n\
    Set MUSTER_PASSPHRASE to encrypt a new key file, and to open it.")]
pub(crate) struct Wallet {
    #[command(subcommand)]
    command: WalletCommand,
}

#[derive(Subcommand)]
enum WalletCommand {
    /// Make a new key file.
    #[command(after_help = "Example:\n  muster wallet new --key me.json")]
    New,
    /// Show the account and its balances.
    #[command(after_help = "Example:\n  muster wallet show --json | jq -r .usd")]
    Show {
        /// Another account than the key's.
        of: Option<AccountId>,
    },
    /// Send money.
    #[command(after_help = "Example:\n  muster wallet send 2.50 usd $ACCOUNT")]
    Send {
        /// How much, e.g. `2.50`.
        amount: Amount,
        /// `usd` or `mst`.
        #[arg(value_parser = asset)]
        asset: Asset,
        /// To whom: an account, 64 hexadecimal digits.
        to: AccountId,
    },
    /// Let another key act for the account, within limits.
    Grant(keys::Grant),
    /// Take back what a key was granted.
    Revoke(keys::Revoke),
    /// List who acts for an account.
    Keys(keys::Keys),
    /// Put members in the place of the account's own key.
    Members(draft::Members),
    /// Sign a draft.
    Cosign(draft::Cosign),
    /// Send a draft that enough members have signed.
    Submit(draft::Submit),
}

#[derive(Serialize)]
struct NewKey {
    account: AccountId,
    file: PathBuf,
}

#[derive(Serialize)]
struct Balances {
    account: AccountId,
    exists: bool,
    usd: Amount,
    mst: Amount,
    nonce: u64,
}

/// A transaction that is final.
#[derive(Serialize)]
struct Sent {
    tx: TxId,
    height: u64,
    fee_usd: Amount,
}

fn asset(text: &str) -> Result<Asset, String> {
    match text {
        "usd" => Ok(Asset::Usd),
        "mst" => Ok(Asset::Mst),
        _ => Err("expected `usd` or `mst`".to_owned()),
    }
}

impl Wallet {
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        match self.command {
            WalletCommand::New => new(global, printer),
            WalletCommand::Show { of } => show(global, printer, of).await,
            WalletCommand::Send { amount, asset, to } => {
                act(global, printer, Action::Transfer { to, asset, amount }).await
            }
            WalletCommand::Grant(command) => command.run(global, printer).await,
            WalletCommand::Revoke(command) => command.run(global, printer).await,
            WalletCommand::Keys(command) => command.run(global, printer).await,
            WalletCommand::Members(command) => command.run(global, printer).await,
            WalletCommand::Cosign(command) => command.run(global, printer),
            WalletCommand::Submit(command) => command.run(global, printer).await,
        }
    }
}

fn new(global: &Global, printer: &Printer) -> anyhow::Result<()> {
    let file = global.key_path()?;
    let key = keyfile::generate()?;
    keyfile::create(&file, &key)?;
    printer.data(&NewKey { account: key.account(), file }, |new| {
        facts([("account", new.account.to_string()), ("file", new.file.display().to_string())])
    })
}

async fn show(global: &Global, printer: &Printer, of: Option<AccountId>) -> anyhow::Result<()> {
    let account = of.map_or_else(|| global.account(), Ok)?;
    let found = global.client()?.account(&account).await?;
    let exists = found.is_some();
    let state = found.unwrap_or_default();
    let balances = Balances { account, exists, usd: state.usd, mst: state.mst, nonce: state.nonce };
    printer.data(&balances, |balances| {
        facts([
            ("account", balances.account.to_string()),
            ("usd", balances.usd.to_string()),
            ("mst", balances.mst.to_string()),
        ])
    })?;
    if !exists {
        printer.note("nobody has paid this account yet; it cannot act before that");
    }
    Ok(())
}

/// Carries out an action of the account and says what it cost, or drafts it where asked to.
pub(super) async fn act(global: &Global, printer: &Printer, action: Action) -> anyhow::Result<()> {
    if let Some(path) = &global.draft {
        return draft::begin(global, printer, path, action).await;
    }
    let applied = global.wallet().await?.act(action).await.map_err(wallet_failure)?;
    sent(printer, &applied)
}

fn wallet_failure(error: WalletError) -> anyhow::Error {
    match error {
        WalletError::Unfunded { .. } => {
            Failure::error(Exit::NoFunds, error.to_string(), "muster wallet show")
        }
        WalletError::NotDelegated { .. } => {
            Failure::error(Exit::BadInput, error.to_string(), "muster wallet keys")
        }
        // As it is, so that its code decides the exit status.
        WalletError::Client(error) => error.into(),
    }
}

fn sent(printer: &Printer, applied: &Applied) -> anyhow::Result<()> {
    let sent = Sent { tx: applied.tx, height: applied.height, fee_usd: applied.fee };
    printer.data(&sent, |sent| {
        facts([
            ("transaction", sent.tx.to_string()),
            ("block", sent.height.to_string()),
            ("fee", format!("{} usd", sent.fee_usd)),
        ])
    })
}
