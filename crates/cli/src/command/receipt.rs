//! `muster receipt`: look at a job's receipt, or check it without asking anybody.

use crate::{
    error::{Exit, Failure},
    printer::{Printer, facts, table},
};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use muster_api::receipt::{Checked, Receipt as JobReceipt, check};
use muster_ledger::Genesis;
use muster_types::{AccountId, Hash};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The largest receipt or genesis, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// Look at a job's receipt, or check it without asking anybody.
#[derive(Args)]
#[command(
    after_help = "Example:\n  muster receipt verify out/hello/receipt.json --genesis genesis.json"
)]
pub(crate) struct Receipt {
    #[command(subcommand)]
    command: ReceiptCommand,
}

#[derive(Subcommand)]
enum ReceiptCommand {
    /// Show what a receipt says.
    #[command(after_help = "Example:\n  muster receipt show out/hello/receipt.json")]
    Show {
        /// The receipt.
        file: PathBuf,
    },
    /// Check every signature, hash and sum in a receipt. Needs no network.
    #[command(
        after_help = "Example:\n  muster receipt verify out/hello/receipt.json --genesis genesis.json"
    )]
    Verify {
        /// The receipt.
        file: PathBuf,
        /// The network's genesis: without it, the receipt's own word is taken for who the
        /// validators are.
        #[arg(long)]
        genesis: Option<PathBuf>,
    },
}

#[derive(Serialize)]
struct Verified {
    ok: bool,
    chain: Hash,
    validators: Vec<AccountId>,
    /// Whether the validators were checked against a genesis.
    anchored: bool,
    #[serde(flatten)]
    checked: Checked,
}

impl Receipt {
    pub(crate) fn run(self, printer: &Printer) -> anyhow::Result<()> {
        match self.command {
            ReceiptCommand::Show { file } => {
                let receipt: JobReceipt = read(&file, "receipt")?;
                printer.data(&receipt, render)
            }
            ReceiptCommand::Verify { file, genesis } => verify(&file, genesis.as_deref(), printer),
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path, what: &str) -> anyhow::Result<T> {
    let refuse = |problem: String| {
        let message = format!("{what} {}: {problem}", path.display());
        Failure::error(Exit::BadInput, message, "muster receipt --help")
    };
    let length = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
    if length > MAX_BYTES {
        return Err(refuse(format!("{length} bytes, at most {MAX_BYTES}")));
    }
    let bytes = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| refuse(format!("not a {what}: {error}")))
}

fn verify(file: &Path, genesis: Option<&Path>, printer: &Printer) -> anyhow::Result<()> {
    let receipt: JobReceipt = read(file, "receipt")?;
    let refuse = |problem: String| {
        Failure::error(
            Exit::Failed,
            format!("{} does not hold: {problem}", file.display()),
            "muster receipt show FILE   # and ask who gave it to you",
        )
    };
    if let Some(path) = genesis {
        let genesis: Genesis = read(path, "genesis")?;
        genesis.check().with_context(|| format!("genesis {}", path.display()))?;
        if genesis.id() != receipt.chain {
            return Err(refuse("it is of another chain than the genesis".to_owned()));
        }
        if genesis.validators != receipt.validators {
            return Err(refuse("its validators are not the genesis's".to_owned()));
        }
    }
    let prove = |block: &muster_api::views::BlockView| {
        muster_node::light::verify_block(&receipt.chain, &receipt.validators, block)
            .map_err(|error| error.to_string())
    };
    let checked = check(&receipt, prove).map_err(|defect| refuse(defect.to_string()))?;
    let verified = Verified {
        ok: true,
        chain: receipt.chain,
        validators: receipt.validators.clone(),
        anchored: genesis.is_some(),
        checked,
    };
    printer.data(&verified, |verified| {
        facts([
            ("receipt", "holds".to_owned()),
            ("chain", verified.chain.to_string()),
            ("results", format!("{} signed by their providers", verified.checked.claims)),
            ("blocks", format!("{} signed by the validators", verified.checked.blocks)),
            ("leases", format!("{} paid as the blocks say", verified.checked.leases)),
            ("paid", format!("{} usd", verified.checked.paid)),
        ])
    })?;
    if genesis.is_none() {
        printer.note(format!(
            "taken on its own word: that the validators of this chain are {}; \
             --genesis FILE checks that too",
            receipt.validators.iter().map(AccountId::short).collect::<Vec<_>>().join(", ")
        ));
    }
    Ok(())
}

fn render(receipt: &JobReceipt) -> String {
    let escrow = &receipt.escrow.record;
    let mut text = facts([
        ("job", format!("{} ({})", receipt.name, receipt.job.id)),
        ("chain", receipt.chain.to_string()),
        ("results", receipt.results.len().to_string()),
        ("deposited", format!("{} usd", escrow.deposited)),
        ("paid", format!("{} usd", escrow.paid)),
        ("refunded", format!("{} usd", escrow.refunded)),
        ("fees", format!("{} usd", escrow.fees)),
        ("compensated", format!("{} usd", escrow.compensated)),
    ]);
    let rows = receipt.leases.iter().map(|lease| {
        let record = &lease.record;
        [
            lease.id.short(),
            record.host.to_string(),
            record.rate.to_string(),
            format!("{:.1}", record.covered.0 as f64 / 1000.0),
            record.paid.to_string(),
            super::ps::state(&record.status),
        ]
    });
    text.push('\n');
    text.push_str(&table(["LEASE", "HOST", "USD/H", "COVERED S", "PAID", "STATE"], rows));
    text
}
