//! Four validators as on four hosts: each in a network namespace of its own, on a bridge, with a
//! delay where the kernel has netem.
//!
//! Everything is in one more namespace, the test's own, which has no way out: `ip netns exec` runs
//! this test again inside it. So nothing of the machine's own network is touched.

use crate::{
    devnet::{Home, Running, block_on, read, wait_until},
    netns::{self, Net, say},
};
use muster_api::{Client, Wallet};
use muster_ledger::Action;
use muster_types::{AccountId, Amount, Asset, SecretKey};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

const VALIDATORS: usize = 4;
const PROVIDERS: usize = 4;
const API: u16 = 8642;
const P2P: u16 = 8640;

/// The network's files, and who runs.
struct Hosts {
    home: Arc<Home>,
    net: Net,
    running: Vec<Option<Running>>,
    providers: Vec<Running>,
}

impl Hosts {
    fn new(net: Net) -> Self {
        let home = Arc::new(Home::new());
        let accounts: Vec<AccountId> = (0..VALIDATORS).map(|index| init(&home, index)).collect();
        let parts: Vec<String> =
            (0..VALIDATORS).map(|index| format!("node{index}/genesis.json")).collect();
        let mut args = vec!["genesis"];
        args.extend(parts.iter().map(String::as_str));
        args.extend(["--out", "genesis.json", "--json"]);
        home.run(&args).json();
        for (index, part) in parts.iter().enumerate() {
            fs::copy(home.path("genesis.json"), home.path(part)).unwrap();
            let settings = home.path(&format!("node{index}/node.toml"));
            let mut text = read(&settings);
            // A referee fetches what is disputed from the tenant, over the network.
            let address = netns::address(index);
            text = text.replace("fabric = \"127.0.0.1:0\"", &format!("fabric = \"{address}:0\""));
            if index != 0 {
                let (key, address) = (&accounts[0], netns::address(0));
                text.push_str(&format!(
                    "\n[[p2p.peers]]\nkey = \"{key}\"\naddress = \"{address}:{P2P}\"\n"
                ));
            }
            fs::write(settings, text).unwrap();
        }
        let running = (0..VALIDATORS).map(|_| None).collect();
        Self { home, net, running, providers: Vec::new() }
    }

    fn start(&mut self, index: usize) {
        let config = format!("node{index}/node.toml");
        let mut program = self.home.command(&["node", "run", "--config", &config, "--json"]);
        program.env("MUSTER_LOG", "warn,muster_node=info");
        let inside = self.net.inside(index, &program);
        self.running[index] = Some(self.home.start(&format!("node{index}"), inside));
    }

    fn take(&mut self, index: usize) -> Running {
        self.running[index].take().unwrap()
    }

    fn client(&self, index: usize) -> Client {
        Client::new(&url(index)).unwrap()
    }

    fn height(&self, index: usize) -> Option<u64> {
        block_on(self.client(index).status()).ok().map(|status| status.height)
    }

    fn reach(&self, index: usize, height: u64) {
        let what = format!("validator {index} is at block {height}");
        wait_until(&what, || self.height(index).filter(|now| *now >= height));
    }

    /// Waits until a validator is where another one is now.
    fn follow(&self, index: usize, other: usize) {
        let height = wait_until("the other one answers", || self.height(other));
        self.reach(index, height);
    }

    /// Waits until every validator was seen at one height, and asserts that they had one state.
    fn assert_agree(&self) {
        let mut seen = vec![BTreeMap::new(); VALIDATORS];
        let roots: Vec<_> = wait_until("all validators are seen at one height", || {
            for (index, seen) in seen.iter_mut().enumerate() {
                let status = block_on(self.client(index).status()).ok()?;
                seen.insert(status.height, status.state_root);
            }
            let common = |height| seen.iter().map(|seen| seen.get(height).copied()).collect();
            seen[0].keys().find_map(common)
        });
        assert!(roots.iter().all(|root| *root == roots[0]), "{roots:?}");
    }

    /// Makes a tenant with money, and starts providers with some.
    fn settle_in(&mut self) {
        let owner = Wallet::new(self.client(0), key(&self.home, "node0/keys/node.json"));
        let owner = block_on(owner).unwrap();
        let fund = |name: &str, units: u64| {
            let file = format!("{name}.json");
            let made = self.home.run(&["wallet", "new", "--key", &file, "--json"]).json();
            let to = made["account"].as_str().unwrap().parse().unwrap();
            let amount = Amount::from_units(units);
            block_on(owner.act(Action::Transfer { to, asset: Asset::Usd, amount })).unwrap();
        };
        fund("tenant", 100);
        for index in 0..PROVIDERS {
            fund(&format!("provider{index}"), 60);
        }
        let (node, listen) = (url(0), format!("{}:0", netns::HUB));
        for index in 0..PROVIDERS {
            let name = format!("provider{index}");
            let (dir, file) = (format!("{name}.dir"), format!("{name}.json"));
            let args = ["provider", "run", "--name", &name, "--node", &node, "--listen", &listen];
            let more = ["--dir", &dir, "--key", &file, "--bond", "50", "--cpu", "2"];
            self.providers.push(self.home.spawn(&name, &[&args[..], &more[..]].concat()));
        }
        wait_until("all providers are on offer", || {
            let providers = block_on(self.client(0).providers()).ok()?;
            (providers.iter().filter(|view| !view.hosts.is_empty()).count() == PROVIDERS)
                .then_some(())
        });
    }

    /// Runs one of the demo's jobs, and again until `meanwhile` is over; it completes every time.
    fn complete_during(&mut self, name: &str, meanwhile: impl FnOnce(&mut Self)) {
        let home = Arc::clone(&self.home);
        let leased = || read(&home.path(&format!("{name}.err"))).contains("leased");
        let over = AtomicBool::new(false);
        // What the job said last time, if it ran before, is not what is waited for.
        let _ = fs::remove_file(home.path(&format!("{name}.err")));
        thread::scope(|scope| {
            let jobs = scope.spawn(|| {
                loop {
                    complete(&home, name);
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            // Also where what follows fails.
            let _over = Over(&over);
            wait_until("a job is at work", || (jobs.is_finished() || leased()).then_some(()));
            meanwhile(self);
        });
    }
}

impl Drop for Hosts {
    /// Where the test fails, what everybody said last goes with it.
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        for entry in fs::read_dir(self.home.path("")).unwrap().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "err") {
                let said = read(&path);
                let last: Vec<&str> = said.lines().rev().take(5).collect();
                say(&format!("{}:", path.file_name().unwrap_or_default().display()));
                last.iter().rev().for_each(|line| say(&format!("    {line}")));
            }
        }
    }
}

/// Says so when dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a job from its start to its end.
///
/// # Panics
/// If it does not complete.
fn complete(home: &Home, name: &str) {
    let (job, node, listen) = (format!("{name}.toml"), url(0), format!("{}:0", netns::HUB));
    let args = ["run", &job, "--json", "--fresh", "--node", &node, "--key", "tenant.json"];
    let running = home.spawn(name, &[&args[..], &["--listen", &listen]].concat());
    let code = running.wait();
    assert_eq!(code, Some(0), "{name}: {}", read(&home.path(&format!("{name}.err"))));
    let report: Value = serde_json::from_str(&read(&home.path(&format!("{name}.out")))).unwrap();
    assert_eq!(report["completed"], report["tasks"], "{report}");
}

fn url(index: usize) -> String {
    format!("http://{}:{API}", netns::address(index))
}

fn init(home: &Home, index: usize) -> AccountId {
    let address = netns::address(index);
    let (dir, api, p2p) =
        (format!("node{index}"), format!("{address}:{API}"), format!("{address}:{P2P}"));
    let args = ["node", "init", "--dir", &dir, "--api", &api, "--p2p", &p2p];
    let made = home.run(&[&args[..], &["--usd", "1000", "--json"]].concat()).json();
    made["account"].as_str().unwrap().parse().unwrap()
}

fn key(home: &Home, file: &str) -> SecretKey {
    let file: Value = serde_json::from_str(&read(&home.path(file))).unwrap();
    let seed = data_encoding::HEXLOWER.decode(file["seed"].as_str().unwrap().as_bytes());
    SecretKey::from_seed(seed.unwrap().try_into().unwrap())
}

/// Puts the demo's jobs where the test is. Whether their modules are built.
fn fetch_jobs(home: &Home) -> bool {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (examples, modules) = (source.join("examples/digits"), source.join("target/guests"));
    for name in ["train.bin", "held-out.bin"] {
        fs::copy(examples.join(name), home.path(name)).unwrap();
    }
    for name in ["train", "classify"] {
        let module = modules.join(format!("{name}.wasm"));
        if !module.exists() {
            return false;
        }
        let text = read(&examples.join(format!("{name}.toml")));
        let built = format!("../../target/guests/{name}.wasm");
        assert!(text.contains(&built), "the job's module is somewhere else");
        home.write(&format!("{name}.toml"), text.replace(&built, module.to_str().unwrap()));
    }
    true
}

#[test]
fn four_hosts_agree_through_a_kill_a_partition_a_wipe_and_restarts_while_jobs_complete() {
    let net = match netns::enter(
        "namespaces::four_hosts_agree_through_a_kill_a_partition_a_wipe_and_restarts_while_jobs_complete",
    ) {
        netns::Entered::Inside(net) => net,
        netns::Entered::Done => return,
        netns::Entered::Not(why) => {
            say(&format!("skipped: {why}"));
            return;
        }
    };
    let mut hosts = Hosts::new(net);
    if !fetch_jobs(&hosts.home) {
        say("skipped: the guests are not built (`cargo xtask guests`)");
        return;
    }
    for index in 0..VALIDATORS {
        hosts.start(index);
    }
    // Connected when all are up: one that found a chain under way would not vote for a while.
    for index in 0..VALIDATORS {
        let said = hosts.home.path(&format!("node{index}.out"));
        wait_until("a validator is up", || read(&said).contains('}').then_some(()));
    }
    hosts.net.connect(&[0, 1, 2, 3]);
    for index in 0..VALIDATORS {
        hosts.reach(index, 3);
    }
    hosts.settle_in();

    // One is killed, and the three others go on.
    hosts.complete_during("train", |hosts| hosts.take(3).kill());
    hosts.start(3);
    hosts.follow(3, 0);
    hosts.assert_agree();

    partition(&mut hosts);

    // Each is stopped and started again, the one that everybody talks to, too.
    hosts.complete_during("classify", |hosts| {
        for index in 0..VALIDATORS {
            assert_eq!(hosts.take(index).interrupt(), Some(0));
            hosts.start(index);
            hosts.follow(index, (index + 1) % VALIDATORS);
        }
    });

    // One loses all it had.
    hosts.complete_during("classify", |hosts| {
        hosts.take(2).kill();
        fs::remove_dir_all(hosts.home.path("node2/data")).unwrap();
        hosts.start(2);
        hosts.follow(2, 0);
    });
    let said = read(&hosts.home.path("node2.err"));
    assert!(said.contains("fetching the state from peers"), "{said}");
    hosts.assert_agree();
    for index in 0..VALIDATORS {
        assert_eq!(block_on(hosts.client(index).invariants()).unwrap().broken, None);
    }
}

/// Two and two do not hear of each other: nothing becomes final, and then it does, once.
fn partition(hosts: &mut Hosts) {
    let payee = SecretKey::from_seed([77; 32]).account();
    let owner = Wallet::new(hosts.client(0), key(&hosts.home, "node1/keys/node.json"));
    let owner = block_on(owner).unwrap();
    let amount = Amount::from_units(1);
    let tx = block_on(owner.sign(Action::Transfer { to: payee, asset: Asset::Usd, amount }));
    let tx = tx.unwrap();
    hosts.net.part(&[2, 3]);
    // The node answers so when it has waited for long.
    let waited = block_on(hosts.client(0).submit(&tx)).unwrap_err();
    assert_eq!(waited.code(), Some("timeout"), "{waited}");
    hosts.net.connect(&[2, 3]);
    let applied = wait_until("it is final", || block_on(hosts.client(0).submit(&tx)).ok());
    for index in 0..VALIDATORS {
        hosts.reach(index, applied.height);
        let account = block_on(hosts.client(index).account(&payee)).unwrap().unwrap();
        assert_eq!(account.usd, amount, "on validator {index}");
    }
    hosts.assert_agree();
}
