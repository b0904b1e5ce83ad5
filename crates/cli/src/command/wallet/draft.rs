//! Accounts that act by members: `muster wallet members`, `cosign`, `submit`, and drafts.
//!
//! A draft is one action of such an account in a file, with the signatures that it has so far. It
//! goes from member to member; whoever has it last sends it:
//!
//! ```text
//! any command --draft FILE ──▶ cosign FILE (each member, offline) ──▶ submit FILE
//! ```

use super::{Global, act, sent, wallet_failure};
use crate::{
    error::{Exit, Failure},
    files, keyfile, network,
    printer::{Printer, facts},
};
use clap::Args;
use muster_ledger::{Action, account::Multisig};
use muster_types::{AccountId, Amount, Envelope, KeySignature, MAX_SIGNATURES, Millis, Signed};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;
/// The text of the largest transaction, 64 KiB as bytes, with room.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// How long members have to sign, in block time.
const VALID_FOR: Millis = Millis(24 * 3_600_000);

/// An action that waits for signatures.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    version: u32,
    envelope: Envelope<Action>,
    signatures: Vec<KeySignature>,
}

/// What a draft would do, and who has signed.
#[derive(Serialize)]
struct Summary<'a> {
    file: &'a Path,
    account: AccountId,
    action: &'a Action,
    nonce: u64,
    max_fee_usd: Amount,
    tip_usd: Amount,
    expires: Millis,
    signed_by: Vec<AccountId>,
}

impl Draft {
    /// Reads a draft whose signatures are those of the keys that it names.
    fn read(path: &Path) -> anyhow::Result<Self> {
        let refuse = |what: String| {
            let hint = "muster wallet send … --account $ACCOUNT --draft FILE   # makes one";
            Failure::error(Exit::BadInput, format!("draft {}: {what}", path.display()), hint)
        };
        let bytes = files::read(path, MAX_FILE_BYTES).map_err(|error| refuse(error.to_string()))?;
        let draft: Self = serde_json::from_slice(&bytes)
            .map_err(|error| refuse(format!("not a draft: {error}")))?;
        if draft.version != VERSION {
            return Err(refuse(format!("version {}, expected {VERSION}", draft.version)));
        }
        for by in &draft.signatures {
            let alone = draft.envelope.clone().gather(vec![*by]);
            alone.verify().map_err(|_| refuse(format!("{} did not sign this", by.key)))?;
        }
        Ok(draft)
    }

    fn write(&self, path: &Path, printer: &Printer) -> anyhow::Result<()> {
        network::write_atomically(path, &serde_json::to_vec_pretty(self)?)?;
        let envelope = &self.envelope;
        let summary = Summary {
            file: path,
            account: envelope.signer,
            action: &envelope.action,
            nonce: envelope.nonce,
            max_fee_usd: envelope.max_fee,
            tip_usd: envelope.tip,
            expires: envelope.expires,
            signed_by: self.signatures.iter().map(|by| by.key).collect(),
        };
        let action = serde_json::to_string(summary.action)?;
        printer.data(&summary, |summary| {
            let signed: Vec<_> = summary.signed_by.iter().map(AccountId::short).collect();
            facts([
                ("draft", summary.file.display().to_string()),
                ("account", summary.account.to_string()),
                ("action", action.clone()),
                ("fee", format!("at most {} usd", summary.max_fee_usd)),
                ("tip", format!("{} usd of that", summary.tip_usd)),
                ("void after (ms)", summary.expires.to_string()),
                ("signed by", if signed.is_empty() { "nobody".into() } else { signed.join(" ") }),
            ])
        })
    }
}

/// Who acts for an account instead of its own key, where members do.
async fn policy(global: &Global, account: &AccountId) -> anyhow::Result<Multisig> {
    let policy = global.client()?.keys_of(account).await?.policy;
    policy.ok_or_else(|| {
        Failure::error(
            Exit::BadInput,
            format!("account {account} acts by its own key: there is nothing to draft"),
            "muster wallet members --help",
        )
    })
}

/// Writes `action` down for the members of the chosen account to sign.
pub(super) async fn begin(
    global: &Global,
    printer: &Printer,
    path: &Path,
    action: Action,
) -> anyhow::Result<()> {
    if path.exists() {
        let message = format!("{} exists already", path.display());
        return Err(Failure::error(Exit::BadInput, message, "--draft another-file.json"));
    }
    let account = global.account()?;
    let threshold = policy(global, &account).await?.threshold;
    let client = global.client()?;
    let envelope = muster_api::draft(&client, account, action, global.tip, VALID_FOR);
    let envelope = envelope.await.map_err(wallet_failure)?;
    Draft { version: VERSION, envelope, signatures: Vec::new() }.write(path, printer)?;
    printer.note(format!(
        "{threshold} members sign within a day: muster wallet cosign {}",
        path.display()
    ));
    Ok(())
}

/// Put members in the place of the account's own key: so many of them act for it together.
///
/// From then on every command takes `--draft FILE` for this account instead of acting at once.
#[derive(Args)]
#[command(after_help = "Example:\n  \
    muster wallet members 2 $ANN $BOB $CARLA\n  \
    muster wallet send 5 usd $TO --account $SHARED --draft pay.json\n  \
    muster wallet cosign pay.json      # Ann, then Bob\n  \
    muster wallet submit pay.json\n\n\
    Back to its own key: muster wallet members 0 --account $SHARED --draft back.json")]
pub(super) struct Members {
    /// So many must sign; 0 gives the account back to its own key.
    threshold: u8,
    /// The members' accounts, 1 to 16.
    #[arg(value_name = "MEMBER")]
    members: Vec<AccountId>,
}

impl Members {
    pub(super) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        let refuse = |message: String| {
            Failure::error(Exit::BadInput, message, "muster wallet members --help")
        };
        let count = self.members.len();
        let policy = match (self.threshold, count) {
            (0, 0) => None,
            (0, _) => return Err(refuse("0 of some members is nobody".to_owned())),
            (threshold, _) if usize::from(threshold) > count => {
                return Err(refuse(format!("{threshold} of {count} members cannot sign")));
            }
            _ if count > MAX_SIGNATURES => {
                return Err(refuse(format!("{count} members: there may be {MAX_SIGNATURES}")));
            }
            (threshold, _) => Some(Multisig { threshold, members: self.members }),
        };
        act(global, printer, Action::MultisigSet { policy }).await
    }
}

/// Sign a draft, after a look at what it does. Asks nobody.
#[derive(Args)]
#[command(after_help = "Example:\n  muster wallet cosign pay.json --key bob.json")]
pub(super) struct Cosign {
    /// The draft.
    file: PathBuf,
}

impl Cosign {
    pub(super) fn run(&self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        let mut draft = Draft::read(&self.file)?;
        let key = keyfile::load(&global.key_path()?)?;
        if draft.signatures.iter().any(|by| by.key == key.account()) {
            printer.note("this key has signed it already");
        } else {
            draft.signatures.push(draft.envelope.sign_member(&key));
        }
        draft.write(&self.file, printer)
    }
}

/// Send a draft that enough members have signed.
#[derive(Args)]
#[command(after_help = "Example:\n  muster wallet submit pay.json")]
pub(super) struct Submit {
    /// The draft.
    file: PathBuf,
}

impl Submit {
    pub(super) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        let draft = Draft::read(&self.file)?;
        let policy = policy(global, &draft.envelope.signer).await?;
        let tx = complete(draft, &policy)?;
        let applied = global.client()?.submit(&tx).await?;
        sent(printer, &applied)
    }
}

/// The transaction, with as many signatures of members as the policy asks for.
fn complete(draft: Draft, policy: &Multisig) -> anyhow::Result<Signed<Action>> {
    let threshold = usize::from(policy.threshold);
    let mut members = draft.signatures;
    members.retain(|by| policy.members.contains(&by.key));
    if members.len() < threshold {
        return Err(Failure::error(
            Exit::BadInput,
            format!("{} of the {threshold} members that it needs have signed", members.len()),
            "muster wallet cosign FILE --key MEMBER.json",
        ));
    }
    members.truncate(threshold);
    Ok(draft.envelope.gather(members))
}
