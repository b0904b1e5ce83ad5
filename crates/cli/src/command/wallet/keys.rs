//! `muster wallet grant`, `revoke` and `keys`: other keys that act for the account.

use super::{Global, act};
use crate::{
    error::{Exit, Failure},
    printer::{Printer, facts, table},
};
use clap::Args;
use muster_api::views::AccountKeys;
use muster_ledger::{
    Action,
    account::{Scope, Scopes},
};
use muster_types::{AccountId, Amount, Millis};
use serde::de::{IntoDeserializer as _, value::Error as ValueError};
use serde::{Deserialize as _, Serialize};

const HOUR_MS: u64 = 3_600_000;

/// Let another key act for the account, within limits.
#[derive(Args)]
#[command(after_help = "Example:\n  \
    muster wallet grant $AGENT_KEY --scopes serve,provider --usd 0.50 --hours 720\n\n\
    A key acts by `--account`: muster wallet send --account $OWNER …")]
pub(super) struct Grant {
    /// The other key's account: what `muster wallet new` printed for it.
    #[arg(value_name = "KEY")]
    delegate: AccountId,
    /// What it may do: transfer, bond, provider, serve, order, escrow, job, stake, vote, audit.
    #[arg(long, value_delimiter = ',', value_parser = scope, required = true)]
    scopes: Vec<Scope>,
    /// The account's free usd may fall by so much through it, fees included.
    #[arg(long, default_value = "0")]
    usd: Amount,
    /// The account's free mst may fall by so much through it.
    #[arg(long, default_value = "0")]
    mst: Amount,
    /// It is good for so many hours.
    #[arg(long, default_value_t = 24)]
    hours: u64,
}

fn scope(text: &str) -> Result<Scope, String> {
    let known = || {
        let names = Scope::ALL.map(|scope| format!("{scope:?}").to_lowercase());
        format!("expected one of {}", names.join(", "))
    };
    Scope::deserialize(text.into_deserializer()).map_err(|_: ValueError| known())
}

impl Grant {
    pub(super) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        if self.usd.is_zero() {
            printer.note("without --usd it cannot pay a fee, so it can do nothing");
        }
        let length = self.hours.checked_mul(HOUR_MS).ok_or_else(|| {
            Failure::error(Exit::BadInput, "--hours is too long", "muster wallet grant --hours 24")
        })?;
        let expires = global.client()?.status().await?.now.after(Millis(length));
        let scopes = Scopes::from(self.scopes);
        let Self { delegate: key, usd, mst, .. } = self;
        act(global, printer, Action::KeyGrant { key, scopes, usd, mst, expires }).await
    }
}

/// Take back what a key was granted.
#[derive(Args)]
#[command(after_help = "Example:\n  muster wallet revoke $AGENT_KEY")]
pub(super) struct Revoke {
    /// Which key.
    #[arg(value_name = "KEY")]
    delegate: AccountId,
}

impl Revoke {
    pub(super) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        act(global, printer, Action::KeyRevoke { key: self.delegate }).await
    }
}

/// List who acts for an account.
#[derive(Args)]
#[command(after_help = "Example:\n  muster wallet keys --json | jq '.delegated[].usd_left'")]
pub(super) struct Keys {
    /// Another account than the key's.
    of: Option<AccountId>,
}

#[derive(Serialize)]
struct Listing {
    account: AccountId,
    #[serde(flatten)]
    keys: AccountKeys,
}

impl Keys {
    pub(super) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        let account = self.of.map_or_else(|| global.account(), Ok)?;
        let keys = global.client()?.keys_of(&account).await?;
        let none = keys.delegated.is_empty();
        printer.data(&Listing { account, keys }, render)?;
        if none {
            printer.note("it has delegated to no key (`muster wallet grant --help`)");
        }
        Ok(())
    }
}

fn render(listing: &Listing) -> String {
    let own = || "its own key".to_owned();
    let acts = listing.keys.policy.as_ref().map_or_else(own, |policy| {
        format!("{} of {} members", policy.threshold, policy.members.len())
    });
    let mut text = facts([("account", listing.account.to_string()), ("acts by", acts)]);
    if !listing.keys.delegated.is_empty() {
        let rows = listing.keys.delegated.iter().map(|view| {
            let record = &view.record;
            let scopes: Vec<Scope> = record.scopes.into();
            let scopes: Vec<_> =
                scopes.iter().map(|scope| format!("{scope:?}").to_lowercase()).collect();
            [
                view.key.short(),
                scopes.join(" "),
                record.usd_left.to_string(),
                record.mst_left.to_string(),
                record.expires.to_string(),
            ]
        });
        text.push_str(&table(["KEY", "MAY", "USD LEFT", "MST LEFT", "UNTIL (MS)"], rows));
    }
    text
}
