//! `muster receipt`: look at a job's receipt, or check it without asking anybody.

use super::Global;
use crate::{
    error::{Exit, Failure},
    files, network,
    printer::{Printer, facts, table},
};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use muster_api::{
    receipt::{Checked, Receipt as JobReceipt, check},
    views::Anchor,
};
use muster_ledger::Genesis;
use muster_node::light::{LightError, Prover, Trust, TrustError, Trusted};
use muster_types::{AccountId, Hash, Millis};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The largest receipt, genesis or anchor, in bytes.
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
    ///
    /// A receipt leads from the validators of an epoch, by the end of each epoch, to those who
    /// signed its blocks. With a genesis the first are checked against it; that is enough for as
    /// long as their stake could still be taken (`stake_unbonding_ms` of the genesis). Later an
    /// anchor is needed: a recent block that somebody vouches for whom you trust.
    #[command(
        after_help = "Example:\n  muster receipt verify out/hello/receipt.json --genesis genesis.json"
    )]
    Verify {
        /// The receipt.
        file: PathBuf,
        /// The network's genesis: without it, the receipt's own word is taken for who the
        /// validators are.
        #[arg(long, value_name = "FILE")]
        genesis: Option<PathBuf>,
        /// A block to trust instead of genesis's validators, from `muster receipt anchor`.
        #[arg(long, value_name = "FILE", requires = "genesis")]
        anchor: Option<PathBuf>,
    },
    /// Write down the last block, and the blocks of a receipt, as a node that you trust has them.
    #[command(
        after_help = "Example:\n  muster receipt anchor out/hello/receipt.json --node URL --out anchor.json"
    )]
    Anchor {
        /// The receipt whose blocks the node is to vouch for too: needed where it is older than
        /// the anchor.
        file: Option<PathBuf>,
        /// Where the anchor goes.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[derive(Serialize)]
struct Verified {
    ok: bool,
    chain: Hash,
    /// Whether the validators were checked against a genesis or an anchor.
    anchored: bool,
    trusted: Trusted,
    /// Ends of epochs that were walked over.
    epochs: usize,
    /// The validators at the end of that walk.
    validators: Vec<AccountId>,
    #[serde(flatten)]
    checked: Checked,
}

impl Receipt {
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        match self.command {
            ReceiptCommand::Show { file } => {
                let receipt = read_receipt(&file)?;
                printer.data(&receipt, render)
            }
            ReceiptCommand::Verify { file, genesis, anchor } => {
                let anchor = anchor.map(|path| read(&path, "anchor")).transpose()?;
                let trust = trust(genesis.as_deref(), anchor, network::now()?)?;
                verify(&file, trust, printer)
            }
            ReceiptCommand::Anchor { file, out } => {
                anchor(global, file.as_deref(), &out, printer).await
            }
        }
    }
}

fn read_receipt(path: &Path) -> anyhow::Result<JobReceipt> {
    read_as(path, "receipt", JobReceipt::read)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path, what: &str) -> anyhow::Result<T> {
    read_as(path, what, |bytes| serde_json::from_slice(bytes))
}

fn read_as<T, E: std::fmt::Display>(
    path: &Path,
    what: &str,
    parse: impl FnOnce(&[u8]) -> Result<T, E>,
) -> anyhow::Result<T> {
    let refuse = |problem: String| {
        let message = format!("{what} {}: {problem}", path.display());
        Failure::error(Exit::BadInput, message, "muster receipt --help")
    };
    let bytes = files::read(path, MAX_BYTES).map_err(|error| refuse(error.to_string()))?;
    parse(&bytes).map_err(|error| refuse(format!("not a {what}: {error}")))
}

fn trust(genesis: Option<&Path>, anchor: Option<Anchor>, now: Millis) -> anyhow::Result<Trust> {
    let Some(path) = genesis else { return Ok(Trust::own_word()) };
    let genesis: Genesis = read(path, "genesis")?;
    genesis.check().with_context(|| format!("genesis {}", path.display()))?;
    let Some(anchor) = anchor else { return Ok(Trust::genesis(&genesis, now)) };
    Trust::anchor(&genesis, anchor, now).map_err(|error| {
        let hint = "muster receipt anchor --node URL --out anchor.json   # a node of this chain";
        Failure::error(Exit::BadInput, format!("the anchor cannot be used: {error}"), hint)
    })
}

fn verify(file: &Path, trust: Trust, printer: &Printer) -> anyhow::Result<()> {
    let receipt = read_receipt(file)?;
    let refuse = |problem: String, hint: String| {
        let message = format!("{} does not hold: {problem}", file.display());
        Failure::error(Exit::Failed, message, hint)
    };
    let ask = || "muster receipt show FILE   # and ask who gave it to you".to_owned();
    let anchor = || {
        let file = file.display();
        format!(
            "muster receipt anchor {file} --node URL --out anchor.json   # of a node that you \
             trust\nmuster receipt verify {file} --genesis FILE --anchor anchor.json"
        )
    };
    let prover = Prover::new(receipt.chain, &receipt.trail, trust).map_err(|error| {
        let hint = if needs_anchor(&error) { anchor() } else { ask() };
        refuse(error.to_string(), hint)
    })?;
    let lacks = std::cell::Cell::new(false);
    let prove = |block: &_| {
        prover.prove(block).map_err(|error| {
            lacks.set(needs_anchor(&error));
            error.to_string()
        })
    };
    let checked = check(&receipt, prove)
        .map_err(|defect| refuse(defect.to_string(), if lacks.get() { anchor() } else { ask() }))?;
    let (epoch, validators, _) = prover.latest();
    let trusted = prover.trust().trusted();
    let verified = Verified {
        ok: true,
        chain: receipt.chain,
        anchored: trusted.age.is_some(),
        trusted,
        epochs: receipt.trail.ends.len(),
        validators: validators.to_vec(),
        checked,
    };
    printer.data(&verified, |verified| {
        facts([
            ("receipt", "holds".to_owned()),
            ("chain", verified.chain.to_string()),
            ("trusted", verified.trusted.describe()),
            ("validators", format!("{} in epoch {epoch}", verified.validators.len())),
            ("epochs", format!("{} ends signed by their validators", verified.epochs)),
            ("results", format!("{} signed by their providers", verified.checked.claims)),
            ("blocks", format!("{} signed by the validators", verified.checked.blocks)),
            ("leases", format!("{} paid as the blocks say", verified.checked.leases)),
            ("paid", format!("{} usd", verified.checked.paid)),
        ])
    })?;
    if !verified.anchored {
        let first = receipt.trail.validators.iter().map(AccountId::short).collect::<Vec<_>>();
        printer.note(format!(
            "taken on its own word: that this chain is the one you mean and that its validators \
             in epoch {} were {}; --genesis FILE checks that too",
            receipt.trail.epoch,
            first.join(", ")
        ));
    }
    Ok(())
}

/// Whether an anchor would help.
const fn needs_anchor(error: &LightError) -> bool {
    use TrustError::{AnchorElsewhere, BeforeAnchor, NotFromGenesis, TooOld};
    matches!(
        error,
        LightError::Trust(
            TooOld { .. } | NotFromGenesis { .. } | BeforeAnchor { .. } | AnchorElsewhere { .. }
        )
    )
}

async fn anchor(
    global: &Global,
    file: Option<&Path>,
    out: &Path,
    printer: &Printer,
) -> anyhow::Result<()> {
    let client = global.client()?;
    let mut anchor = client.anchor().await?;
    let receipt: Option<JobReceipt> = file.map(read_receipt).transpose()?;
    for block in receipt.iter().flat_map(|receipt| &receipt.blocks) {
        let lacks = || {
            let message = format!("{} has no block {} any more", global.node, block.height);
            Failure::error(
                Exit::Failed,
                message,
                "muster receipt anchor FILE --node URL   # another",
            )
        };
        let found = client.block(block.height).await?.ok_or_else(lacks)?;
        if found.digest != block.digest {
            let message = format!(
                "block {} of the receipt is not the one that {} has: it is of another chain, or \
                 made up",
                block.height, global.node
            );
            return Err(Failure::error(Exit::Failed, message, "muster receipt show FILE"));
        }
        anchor.blocks.insert(block.height, found.digest);
    }
    network::write_atomically(out, &serde_json::to_vec_pretty(&anchor)?)?;
    printer.data(&anchor, |anchor| {
        facts([
            ("chain", anchor.chain.to_string()),
            ("height", anchor.height.to_string()),
            ("digest", anchor.digest.to_string()),
            ("epoch", anchor.epoch.to_string()),
            ("validators", anchor.validators.len().to_string()),
            ("vouches for", format!("{} blocks before it", anchor.blocks.len())),
            ("file", out.display().to_string()),
        ])
    })
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
