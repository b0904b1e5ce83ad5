//! `muster genesis`: one genesis of several validators'.

use crate::{
    error::{Exit, Failure},
    network,
    printer::{Printer, facts},
};
use clap::Args;
use muster_ledger::Genesis;
use muster_types::Hash;
use serde::Serialize;
use std::path::PathBuf;

/// Assemble one genesis of several validators' genesis files.
///
/// Each validator makes its own with `muster node init`; all then start with the file that this
/// writes. Name, parameters and the length of epochs must be the same in all; its time is the
/// latest of theirs.
#[derive(Args)]
#[command(
    after_help = "Example:\n  muster genesis ann/genesis.json bob/genesis.json --out genesis.json"
)]
pub(crate) struct GenesisCommand {
    /// The validators' files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Where the assembled one goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Assembled {
    chain: Hash,
    name: String,
    validators: usize,
    file: PathBuf,
}

impl GenesisCommand {
    pub(crate) fn run(self, printer: &Printer) -> anyhow::Result<()> {
        let mut files = Vec::with_capacity(self.files.len());
        for path in &self.files {
            files.push((path.display().to_string(), network::read_genesis(path)?));
        }
        let genesis = assemble(files)?;
        network::write_atomically(&self.out, &serde_json::to_vec_pretty(&genesis)?)?;
        let validators = genesis.validators.len();
        let made =
            Assembled { chain: genesis.id(), name: genesis.name, validators, file: self.out };
        printer.data(&made, |made| {
            facts([
                ("chain", made.chain.to_string()),
                ("name", made.name.clone()),
                ("validators", made.validators.to_string()),
                ("file", made.file.display().to_string()),
            ])
        })
    }
}

/// Puts the files' validators, balances and stakes together.
fn assemble(files: Vec<(String, Genesis)>) -> anyhow::Result<Genesis> {
    let refuse =
        |message: String| Failure::error(Exit::BadInput, message, "muster node init --help");
    let mut files = files.into_iter();
    let (first, mut whole) = files.next().ok_or_else(|| refuse("no genesis given".to_owned()))?;
    for (name, part) in files {
        for (what, same) in [
            ("name", part.name == whole.name),
            ("protocol", part.protocol == whole.protocol),
            ("params", part.params == whole.params),
            ("epoch_blocks", part.epoch_blocks == whole.epoch_blocks),
        ] {
            if !same {
                return Err(refuse(format!("`{what}` of {name} is not that of {first}")));
            }
        }
        whole.time = whole.time.max(part.time);
        for validator in part.validators {
            if whole.validators.contains(&validator) {
                return Err(refuse(format!(
                    "{name}: validator {validator} is in another file too"
                )));
            }
            whole.validators.push(validator);
        }
        for (account, balance) in part.balances {
            if whole.balances.insert(account, balance).is_some() {
                return Err(refuse(format!("{name}: account {account} is in another file too")));
            }
        }
        whole.stakes.extend(part.stakes);
    }
    whole.validators.sort_unstable();
    whole.check()?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_ledger::{
        Params,
        genesis::{Balance, EPOCH_BLOCKS, PROTOCOL},
    };
    use muster_types::{Amount, Millis, SecretKey};

    fn of(seed: u8) -> Genesis {
        let account = SecretKey::from_seed([seed; 32]).account();
        let balance = Balance { usd: Amount::from_units(seed.into()), mst: Amount::ZERO };
        Genesis {
            name: "net".into(),
            time: Millis(seed.into()),
            protocol: PROTOCOL,
            validators: vec![account],
            balances: [(account, balance)].into(),
            stakes: [(account, Amount::from_units(7))].into(),
            epoch_blocks: EPOCH_BLOCKS,
            params: Params::default(),
        }
    }

    fn named(parts: Vec<Genesis>) -> Vec<(String, Genesis)> {
        parts.into_iter().enumerate().map(|(index, part)| (format!("file {index}"), part)).collect()
    }

    #[test]
    fn the_order_of_the_files_does_not_matter() {
        let there = assemble(named(vec![of(1), of(2), of(3)])).unwrap();
        let back = assemble(named(vec![of(3), of(1), of(2)])).unwrap();
        assert_eq!(there, back);
        assert_eq!(there.id(), back.id());
        assert_eq!((there.validators.len(), there.time), (3, Millis(3)));
        assert_eq!((there.balances.len(), there.stakes.len()), (3, 3));
    }

    #[test]
    fn files_that_do_not_fit_together_are_refused_with_the_reason() {
        type Change = fn(&mut Genesis);
        let table: [(&str, Change); 5] = [
            ("`name`", |genesis| genesis.name = "other".into()),
            ("`epoch_blocks`", |genesis| genesis.epoch_blocks += 1),
            ("`params`", |genesis| genesis.params.visit_max += 1),
            ("validator", |genesis| genesis.validators = of(1).validators),
            ("account", |genesis| genesis.balances = of(1).balances),
        ];
        for (word, change) in table {
            let mut second = of(2);
            change(&mut second);
            let error = assemble(named(vec![of(1), second])).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("file 1"), "{error}");
        }
    }
}
