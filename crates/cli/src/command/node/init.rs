//! `muster node init`: a key, a genesis and settings in one directory.

use super::settings;
use crate::{
    keyfile, network,
    printer::{Printer, facts},
};
use anyhow::Context as _;
use clap::Args;
use muster_ledger::{
    Genesis, Params,
    genesis::{Balance, EPOCH_BLOCKS, PROTOCOL},
};
use muster_types::{AccountId, Amount, Hash};
use serde::Serialize;
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

/// Make a key, a genesis and settings for a node.
///
/// The genesis is that of a chain with this one validator; `muster genesis` makes one of several.
/// With --genesis the node joins a chain that is there, which it follows until its key is a
/// validator's.
#[derive(Args)]
#[command(after_help = "Example:\n  muster node init --dir ./ann --p2p 127.0.0.1:8640\n  \
    muster node init --dir ./bob --p2p 127.0.0.1:8650 --genesis ./genesis.json")]
pub(super) struct Init {
    /// Where the files go; what is there is not overwritten.
    #[arg(long)]
    dir: PathBuf,
    /// The network's name, in a new genesis.
    #[arg(long, default_value = "muster", conflicts_with = "genesis")]
    name: String,
    /// What the validator owns in a new genesis, usd.
    #[arg(long, default_value = "100", conflicts_with = "genesis")]
    usd: Amount,
    /// What it owns beside its stake, mst.
    #[arg(long, default_value = "0", conflicts_with = "genesis")]
    mst: Amount,
    /// What it stakes, mst.
    #[arg(long, default_value = "1000", conflicts_with = "genesis")]
    stake: Amount,
    /// How many blocks validators stay for at least.
    #[arg(long, default_value_t = EPOCH_BLOCKS, conflicts_with = "genesis")]
    epoch_blocks: u64,
    /// Join the chain of this genesis file.
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// Where the API listens.
    #[arg(long, default_value = "127.0.0.1:8642")]
    api: SocketAddr,
    /// Where the node listens for other nodes; without it, it is a chain's only validator and
    /// reaches nobody.
    #[arg(long, value_name = "ADDRESS")]
    p2p: Option<SocketAddr>,
}

const UNUSED: &str = "\
This key has never voted, so its node may vote at once on a chain that is under way.
The node deletes this file before its first vote. Keep no copy: put back, it would let a node that
has lost its data contradict votes that it made before, and a validator is slashed for that.
";

#[derive(Serialize)]
struct Made {
    account: AccountId,
    chain: Hash,
    key_file: PathBuf,
    genesis: PathBuf,
    config: PathBuf,
    peer: Option<String>,
}

impl Init {
    pub(super) fn run(self, printer: &Printer) -> anyhow::Result<()> {
        let (genesis_path, config) = (self.dir.join("genesis.json"), self.dir.join("node.toml"));
        let key_file = self.dir.join("keys").join("node.json");
        for path in [&genesis_path, &config] {
            anyhow::ensure!(!path.exists(), "{} exists already", path.display());
        }
        // Read before anything is written: a wrong file leaves nothing behind.
        let joined = self.genesis.as_deref().map(network::read_genesis).transpose()?;
        std::fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot create {}", self.dir.display()))?;
        if !key_file.exists() {
            keyfile::create(&key_file, &keyfile::generate()?)?;
            network::write_atomically(&settings::unused_mark(&key_file), UNUSED.as_bytes())?;
        }
        let account = keyfile::load(&key_file)?.account();
        let genesis = match joined {
            Some(genesis) => genesis,
            None => self.new_genesis(account)?,
        };
        network::write_atomically(&genesis_path, &serde_json::to_vec_pretty(&genesis)?)?;
        let text = settings::render(self.api, self.p2p);
        network::write_atomically(&config, text.as_bytes())?;
        let peer = self.p2p.map(|p2p| settings::peer_entry(&account, &p2p.to_string()));
        let chain = genesis.id();
        let made = Made { account, chain, key_file, genesis: genesis_path, config, peer };
        printer.data(&made, render)
    }

    fn new_genesis(&self, validator: AccountId) -> anyhow::Result<Genesis> {
        let genesis = Genesis {
            name: self.name.clone(),
            time: network::now()?,
            protocol: PROTOCOL,
            validators: vec![validator],
            balances: BTreeMap::from([(validator, Balance { usd: self.usd, mst: self.mst })]),
            stakes: if self.stake.is_zero() {
                BTreeMap::new()
            } else {
                BTreeMap::from([(validator, self.stake)])
            },
            epoch_blocks: self.epoch_blocks,
            params: Params::default(),
        };
        genesis.check()?;
        Ok(genesis)
    }
}

fn render(made: &Made) -> String {
    let mut text = facts([
        ("account", made.account.to_string()),
        ("chain", made.chain.to_string()),
        ("key", made.key_file.display().to_string()),
        ("genesis", made.genesis.display().to_string()),
        ("settings", made.config.display().to_string()),
    ]);
    if let Some(peer) = &made.peer {
        text.push_str("\nIn the settings of other nodes:\n");
        text.push_str(peer);
    }
    text.push_str(&format!("\nmuster node run --config {}\n", made.config.display()));
    text
}
