//! Four validators, and one node that follows, each a process of its own.

use crate::devnet::{Home, Running, block_on, free_port, read, wait_until};
use muster_api::{Client, Wallet};
use muster_ledger::Action;
use muster_types::{AccountId, Amount, Asset, SecretKey};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt as _};

const VALIDATORS: usize = 4;

/// The directories and ports of a network.
struct Network {
    home: Home,
    nodes: Vec<Files>,
}

/// What `muster node init` made.
struct Files {
    name: String,
    account: AccountId,
    client: Client,
}

impl Network {
    /// Makes the files of `VALIDATORS` validators that begin with each other, and of one more node
    /// that only the first one lets in.
    fn new() -> Self {
        let home = Home::new();
        let p2p: Vec<String> =
            (0..=VALIDATORS).map(|_| format!("127.0.0.1:{}", free_port())).collect();
        let mut nodes: Vec<Files> =
            (0..VALIDATORS).map(|index| init(&home, index, &p2p[index], &[])).collect();
        for node in &nodes {
            // Who starts late, or with nothing, has no vote before the next epoch: let it be soon.
            let path = home.path(&format!("{}/genesis.json", node.name));
            let mut part: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            part["epoch_blocks"] = 8.into();
            fs::write(path, part.to_string()).unwrap();
        }
        let parts: Vec<String> =
            nodes.iter().map(|node| format!("{}/genesis.json", node.name)).collect();
        let mut args = vec!["genesis"];
        args.extend(parts.iter().map(String::as_str));
        args.extend(["--out", "genesis.json", "--json"]);
        let whole = home.run(&args).json();
        assert_eq!(whole["validators"], VALIDATORS);
        for node in &nodes {
            let own = home.path(&format!("{}/genesis.json", node.name));
            fs::copy(home.path("genesis.json"), own).unwrap();
        }
        nodes.push(init(&home, VALIDATORS, &p2p[VALIDATORS], &["--genesis", "genesis.json"]));
        let network = Self { home, nodes };
        let first = format!("{}\"\naddress = \"{}", network.nodes[0].account, p2p[0]);
        for index in 1..=VALIDATORS {
            network.add_peer(index, &first);
        }
        network.add_peer(0, &network.nodes[VALIDATORS].account.to_string());
        network
    }

    fn add_peer(&self, index: usize, key: &str) {
        let path = self.home.path(&format!("{}/node.toml", self.nodes[index].name));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}\n[[p2p.peers]]\nkey = \"{key}\"\n")).unwrap();
    }

    fn start(&self, index: usize) -> Running {
        let name = &self.nodes[index].name;
        let config = format!("{name}/node.toml");
        self.home.spawn(name, &["node", "run", "--config", &config, "--json"])
    }

    fn key(&self, index: usize) -> SecretKey {
        let path = self.home.path(&format!("{}/keys/node.json", self.nodes[index].name));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let seed = data_encoding::HEXLOWER.decode(file["seed"].as_str().unwrap().as_bytes());
        SecretKey::from_seed(seed.unwrap().try_into().unwrap())
    }

    /// The height that a node has reached, if it answers.
    fn height(&self, index: usize) -> Option<u64> {
        block_on(self.nodes[index].client.status()).ok().map(|status| status.height)
    }

    /// Waits until a node has reached `height`.
    fn reach(&self, index: usize, height: u64) {
        let what = format!("{} is at {height}", self.nodes[index].name);
        wait_until(&what, || self.height(index).filter(|now| *now >= height));
    }

    /// Pays 1 usd to an account that is on no other list, through one node.
    fn pay(&self, from: usize, through: usize, to: AccountId) {
        let client = self.nodes[through].client.clone();
        block_on(async {
            let wallet = Wallet::new(client, self.key(from)).await.unwrap();
            let amount = Amount::from_units(1);
            wallet.act(Action::Transfer { to, asset: Asset::Usd, amount }).await.unwrap();
        });
    }

    fn usd(&self, index: usize, of: &AccountId) -> Option<Amount> {
        let account = block_on(self.nodes[index].client.account(of)).ok()?;
        account.map(|account| account.usd)
    }
}

fn init(home: &Home, index: usize, p2p: &str, more: &[&str]) -> Files {
    let name = format!("node{index}");
    let api = format!("127.0.0.1:{}", free_port());
    let args = ["node", "init", "--dir", &name, "--api", &api, "--p2p", p2p, "--json"];
    let made = home.run(&[&args, more].concat()).json();
    let account = made["account"].as_str().unwrap().parse().unwrap();
    Files { name, account, client: Client::new(&format!("http://{api}")).unwrap() }
}

#[test]
fn validators_go_on_while_one_is_killed_and_it_comes_back_and_a_wiped_one_fetches_the_state() {
    let network = Network::new();
    // The one that the others begin with comes last: one that finds a chain under way would not vote
    // for a while.
    let mut running: Vec<_> = (1..=VALIDATORS).map(|index| network.start(index)).collect();
    for index in 1..=VALIDATORS {
        let said = network.home.path(&format!("node{index}.out"));
        wait_until("a node is up", || read(&said).contains('}').then_some(()));
    }
    running.insert(0, network.start(0));
    let payee = SecretKey::from_seed([77; 32]).account();
    for index in 0..=VALIDATORS {
        network.reach(index, 3);
    }
    // Through the node that follows, by way of the validator that knows it.
    network.pay(0, VALIDATORS, payee);

    running.pop();
    running.remove(3).kill();
    let height = network.height(0).unwrap();
    network.reach(1, height + 5);
    network.pay(1, 1, payee);
    running.push(network.start(3));
    let height = network.height(1).unwrap();
    network.reach(3, height);
    assert_eq!(network.usd(3, &payee), Some(Amount::from_units(2)));

    running.remove(2).kill();
    fs::remove_dir_all(network.home.path("node2/data")).unwrap();
    running.push(network.start(2));
    let height = network.height(0).unwrap();
    network.reach(2, height);
    assert_eq!(network.usd(2, &payee), Some(Amount::from_units(2)));
    let said = fs::read_to_string(network.home.path("node2.err")).unwrap();
    assert!(said.contains("fetching the state from peers"), "{said}");
    network.pay(2, 2, payee);
    assert_eq!(network.usd(2, &payee), Some(Amount::from_units(3)));
}
