//! `muster concentration`: how far the market is in few hands.

use super::Global;
use crate::printer::{Printer, facts, table};
use clap::Args;
use muster_api::views;
use muster_ledger::neutrality::{Basis, Share};
use std::fmt::Display;

/// Show how far the market is in few hands: a lower bound, for who hides behind several accounts
/// counts as several.
#[derive(Args)]
#[command(after_help = "Example:\n  muster concentration --json | jq .nakamoto")]
pub(crate) struct Concentration {}

impl Concentration {
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        let concentration = global.client()?.concentration().await?;
        printer.data(&concentration, render)
    }
}

fn percent(bps: u32) -> String {
    format!("{}.{:02} %", bps / 100, bps % 100)
}

fn shares<T: Display>(head: &'static str, shares: &[Share<T>]) -> String {
    let rows = shares
        .iter()
        .take(10)
        .map(|share| [share.of.to_string(), share.value.to_string(), percent(share.bps)]);
    if shares.is_empty() { String::new() } else { table([head, "USD", "SHARE"], rows) }
}

fn render(of: &views::Concentration) -> String {
    let basis = match of.basis {
        Basis::Leased => "what open leases pay an hour",
        Basis::Bonded => "bonds of active providers (nothing is leased)",
    };
    let mut text = facts([
        ("share of", basis.to_owned()),
        ("HHI", format!("{} of 10000", of.hhi)),
        ("top five", percent(of.top5_bps)),
        ("Nakamoto", of.nakamoto.to_string()),
    ]);
    text.push_str(&shares("OPERATOR", &of.by_operator));
    text.push_str(&shares("REGION", &of.by_region));
    text
}
