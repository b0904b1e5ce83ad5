//! A network of one's own: keys, genesis and a validator in one directory. What `muster dev` and
//! `muster demo` start.

mod plan;

pub(crate) use plan::ProviderPlan;

use crate::{files, keyfile};
use anyhow::Context as _;
use muster_agent::Config as AgentConfig;
use muster_ledger::{
    Genesis, Params,
    genesis::{Balance, EPOCH_BLOCKS, PROTOCOL},
};
use muster_node::{Node, NodeConfig, consensus::NetworkConfig};
use muster_sandbox::{ChildProgram, CompileLimits, Compiler};
use muster_types::{AccountId, Amount, Millis, SecretKey};
use std::{
    collections::BTreeMap,
    fs::File,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

const TENANT_USD: Amount = Amount::from_units(1_000);
const PROVIDER_USD: Amount = Amount::from_units(200);
const VALIDATOR_USD: Amount = Amount::from_units(100);
const VALIDATOR_MST: Amount = Amount::from_units(1_000_000);
const MAX_GENESIS_BYTES: u64 = 16 << 20;

/// The compiler's child process: this very program.
pub(crate) fn compiler_child() -> anyhow::Result<ChildProgram> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    Ok(ChildProgram { program, args: vec!["sandbox-compile".into()] })
}

/// A provider's settings, as far as they do not depend on who it is.
pub(crate) fn agent_config(
    dir: PathBuf,
    key: SecretKey,
    node: String,
) -> anyhow::Result<AgentConfig> {
    Ok(AgentConfig {
        dir,
        key,
        node,
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        name: "unnamed".to_owned(),
        region: "unknown".to_owned(),
        attributes: BTreeMap::new(),
        hosts: Vec::new(),
        bond: Amount::ZERO,
        heartbeat_ms: muster_agent::DEFAULT_HEARTBEAT_MS,
        compiler: compiler_child()?,
        workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        services: None,
        simulated_fault: None,
    })
}

/// The files of a network of one's own.
pub(crate) struct Home {
    dir: PathBuf,
    genesis: Genesis,
}

impl Home {
    /// Opens the network in `dir`, or makes a new one with `providers` funded providers.
    pub(crate) fn open_or_create(
        dir: &Path,
        providers: usize,
        params: Params,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir.join("keys"))
            .with_context(|| format!("cannot create {}", dir.display()))?;
        let path = dir.join("genesis.json");
        let genesis = if path.exists() {
            read_genesis(&path)?
        } else {
            let genesis = new_genesis(dir, providers, params)?;
            write_atomically(&path, &serde_json::to_vec_pretty(&genesis)?)?;
            genesis
        };
        Ok(Self { dir: dir.to_owned(), genesis })
    }

    /// Where the tenant's key is.
    pub(crate) fn tenant_key_path(&self) -> PathBuf {
        self.key_path("tenant")
    }

    /// Where the key of provider `index` is.
    pub(crate) fn provider_key_path(&self, index: usize) -> PathBuf {
        self.key_path(&format!("provider-{index}"))
    }

    /// Where provider `index` keeps its things.
    pub(crate) fn provider_dir(&self, index: usize) -> PathBuf {
        self.dir.join(format!("provider-{index}"))
    }

    /// Where a job run in this network keeps its journal.
    pub(crate) fn job_dir(&self, name: &str) -> PathBuf {
        self.dir.join("jobs").join(name)
    }

    /// Starts the validator.
    pub(crate) async fn start_node(&self, http: SocketAddr) -> anyhow::Result<Node> {
        let compiler = Compiler::new(compiler_child()?, CompileLimits::default())?;
        let key = keyfile::load(&self.key_path("validator"))?;
        let node = Node::start(NodeConfig {
            dir: self.dir.join("node"),
            key,
            genesis: self.genesis.clone(),
            network: NetworkConfig::Alone,
            state_sync: false,
            unused_key: None,
            anchor: None,
            http,
            fabric: SocketAddr::from(([127, 0, 0, 1], 0)),
            compiler: Arc::new(compiler),
        });
        Ok(node.await?)
    }

    fn key_path(&self, role: &str) -> PathBuf {
        key_path(&self.dir, role)
    }
}

fn key_path(dir: &Path, role: &str) -> PathBuf {
    dir.join("keys").join(format!("{role}.json"))
}

/// Makes the keys that are missing, and a genesis in which they have money.
fn new_genesis(dir: &Path, providers: usize, params: Params) -> anyhow::Result<Genesis> {
    let account = |role: &str| -> anyhow::Result<AccountId> {
        Ok(keyfile::load_or_create(&key_path(dir, role))?.account())
    };
    let validator = account("validator")?;
    let balance = |usd, mst| Balance { usd, mst };
    let mut balances = BTreeMap::from([
        (validator, balance(VALIDATOR_USD, VALIDATOR_MST)),
        (account("tenant")?, balance(TENANT_USD, Amount::ZERO)),
    ]);
    for index in 0..providers {
        let provider = account(&format!("provider-{index}"))?;
        balances.insert(provider, balance(PROVIDER_USD, Amount::ZERO));
    }
    Ok(Genesis {
        name: "muster-dev".to_owned(),
        time: now()?,
        protocol: PROTOCOL,
        validators: vec![validator],
        balances,
        stakes: BTreeMap::new(),
        epoch_blocks: EPOCH_BLOCKS,
        params,
    })
}

/// The clock as ledger time.
pub(crate) fn now() -> anyhow::Result<Millis> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    Ok(Millis(u64::try_from(now)?))
}

/// Reads a genesis file and checks it.
pub(crate) fn read_genesis(path: &Path) -> anyhow::Result<Genesis> {
    let context = || format!("the genesis file {} cannot be read", path.display());
    let bytes = files::read(path, MAX_GENESIS_BYTES).with_context(context)?;
    let genesis: Genesis = serde_json::from_slice(&bytes).with_context(context)?;
    genesis.check().with_context(context)?;
    Ok(genesis)
}

/// Writes a file so that a reader, or a restart after a crash, sees all of it or none.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let partial = path.with_extension("partial");
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
