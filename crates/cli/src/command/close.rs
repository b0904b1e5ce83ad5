//! `muster close`: ends a deployment.

use super::{
    Global,
    deployment::{Name, Reach, explain},
};
use crate::printer::{Printer, facts};
use clap::Args;
use muster_jobs::EscrowTotals;
use serde::Serialize;

/// End a deployment: its leases are closed, and what is left of its money comes back.
#[derive(Args)]
#[command(after_help = "Example:\n  muster close app")]
pub(crate) struct Close {
    /// Which deployment.
    name: Name,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Serialize)]
struct Closed {
    name: String,
    /// Where the money went; null where none was set aside.
    escrow: Option<EscrowTotals>,
}

impl Close {
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        let services = self.name.open(global, &self.reach).await?;
        let escrow = services.close().await.map_err(|error| explain(error, &self.name))?;
        let closed = Closed { name: self.name.as_str().to_owned(), escrow };
        printer.data(&closed, |closed| {
            let mut rows = vec![("closed", closed.name.clone())];
            if let Some(escrow) = &closed.escrow {
                rows.push(("paid", format!("{} of {} usd", escrow.paid, escrow.deposited)));
                rows.push(("back", format!("{} usd", escrow.refunded)));
            }
            facts(rows)
        })
    }
}
