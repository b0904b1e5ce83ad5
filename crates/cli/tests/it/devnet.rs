//! A network of one test, and the program's other commands against it.

use muster_api::{
    Client,
    views::{Event, Status},
};
use muster_ledger::{escrow::EscrowStatus, market::LeaseStatus};
use muster_types::{AccountId, Amount};
use serde_json::Value;
use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(10);

/// What a test's transactions may cost together. Deposits are far above it: money that is stuck
/// shows.
const FEES_MAX: Amount = Amount::from_nanos(1_000_000);

pub(crate) const PROVIDERS: usize = 3;

/// Calls `ready` until it gives something.
pub(crate) fn wait_until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(POLL);
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Self { code: output.status.code(), stdout, stderr }
    }

    /// Its document; panics unless the command succeeded with one on stdout.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that it failed with `code`, that stderr has all of `words`, and stdout nothing.
    pub(crate) fn assert_refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in: {}", self.stderr);
        }
        assert_eq!(self.stdout, "", "{self:?}");
    }
}

/// A process that does not outlive its test.
pub(crate) struct Running(Child);

impl Running {
    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// SIGKILL: no goodbye.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGINT, as Ctrl-C; gives the exit status.
    pub(crate) fn interrupt(mut self) -> Option<i32> {
        let pid = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        wait_until("the process has ended", || self.0.try_wait().unwrap()).code()
    }

    /// Waits for its end; gives the exit status.
    pub(crate) fn wait(mut self) -> Option<i32> {
        wait_until("the process has ended", || self.0.try_wait().unwrap()).code()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is none to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A user's files, without a network.
pub(crate) struct Home {
    dir: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The program, in the user's directory and with nothing of the machine's own settings.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .env_remove("MUSTER_PASSPHRASE")
            .env_remove("MUSTER_NODE")
            .env_remove("MUSTER_KEY")
            .env_remove("MUSTER_LOG")
            .env_remove("MUSTER_UAKT_USD")
            .env_remove("MUSTER_UACT_USD")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().unwrap())
    }

    /// Starts a node in the background; its stdout and what it logs go to `NAME.out`, `NAME.err`.
    pub(crate) fn spawn(&self, name: &str, args: &[&str]) -> Running {
        let mut command = self.command(args);
        command.env("MUSTER_LOG", "warn,muster_node=info");
        self.start(name, command)
    }

    /// The same with a command that is ready.
    pub(crate) fn start(&self, name: &str, mut command: Command) -> Running {
        let file = |kind: &str| File::create(self.path(&format!("{name}.{kind}"))).unwrap();
        Running(command.stdout(file("out")).stderr(file("err")).spawn().unwrap())
    }
}

/// A network in a directory, and a tenant with 1,000 usd.
pub(crate) struct Devnet {
    pub(crate) home: Home,
    pub(crate) client: Client,
    pub(crate) tenant: AccountId,
    /// What it printed when it was up.
    pub(crate) started: Value,
    process: Option<Running>,
    port: u16,
}

impl Devnet {
    pub(crate) fn start() -> Self {
        let home = Home::new();
        let port = free_port();
        let (process, started) = start(&home, port);
        let client = Client::new(started["api"].as_str().unwrap()).unwrap();
        let tenant = started["tenant"]["account"].as_str().unwrap().parse().unwrap();
        Self { home, client, tenant, started, process: Some(process), port }
    }

    /// A network whose genesis was changed before its first block.
    pub(crate) fn with_genesis(change: impl FnOnce(&mut Value)) -> Self {
        let mut net = Self::start();
        net.process().kill();
        // What is left are the keys.
        for entry in fs::read_dir(net.home.path("dev")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("keys") {
                fs::remove_dir_all(path).unwrap();
            }
        }
        let mut genesis = serde_json::from_str(&read(&net.genesis())).unwrap();
        change(&mut genesis);
        fs::write(net.genesis(), genesis.to_string()).unwrap();
        net.start_again();
        net
    }

    /// Starts again on the same directory and port.
    pub(crate) fn start_again(&mut self) {
        let (process, started) = start(&self.home, self.port);
        self.process = Some(process);
        self.started = started;
    }

    pub(crate) fn process(&mut self) -> Running {
        self.process.take().unwrap()
    }

    pub(crate) fn genesis(&self) -> PathBuf {
        self.home.path("dev/genesis.json")
    }

    /// The program with the tenant's key, against this network.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.home.command(args);
        command.env("MUSTER_NODE", self.client.url());
        command.env("MUSTER_KEY", self.home.path("dev/keys/tenant.json"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().unwrap())
    }

    /// Starts a command in the background; its stdout and stderr go to `NAME.out`, `NAME.err`.
    pub(crate) fn spawn(&self, name: &str, args: &[&str]) -> Running {
        let file = |kind: &str| File::create(self.home.path(&format!("{name}.{kind}"))).unwrap();
        let mut command = self.command(args);
        Running(command.stdout(file("out")).stderr(file("err")).spawn().unwrap())
    }

    pub(crate) fn status(&self) -> Status {
        block_on(self.client.status()).unwrap()
    }

    pub(crate) fn balance(&self) -> Amount {
        block_on(self.client.account(&self.tenant)).unwrap().unwrap().usd
    }

    /// Whether one of the tenant's leases is being served.
    pub(crate) fn serves(&self) -> bool {
        let leases = block_on(self.client.leases_of_tenant(&self.tenant, true)).unwrap();
        leases
            .iter()
            .any(|lease| lease.record.status == LeaseStatus::Active && lease.record.covered.0 > 0)
    }

    /// Every event of the chain.
    pub(crate) fn events(&self) -> Vec<Event> {
        block_on(async {
            let mut events = Vec::new();
            for height in 1..=self.client.status().await.unwrap().height {
                let block = self.client.block(height).await.unwrap();
                events.extend(block.into_iter().flat_map(|block| block.events));
            }
            events
        })
    }

    /// The escrows that were ever opened.
    pub(crate) fn escrows_opened(&self) -> usize {
        self.events().iter().filter(|event| matches!(event, Event::EscrowDeposited { .. })).count()
    }

    /// Asserts that every invariant holds and that nothing of the tenant's is open: no escrow, no
    /// job, no lease.
    pub(crate) fn assert_settled(&self) {
        block_on(async {
            assert_eq!(self.client.invariants().await.unwrap().broken, None);
            assert_eq!(self.client.leases_of_tenant(&self.tenant, true).await.unwrap(), []);
            for job in self.client.jobs_of(&self.tenant).await.unwrap() {
                assert!(job.record.closed, "{job:?}");
            }
        });
        for event in self.events() {
            let Event::EscrowDeposited { escrow, .. } = event else { continue };
            let escrow = block_on(self.client.escrow(&escrow)).unwrap().unwrap();
            assert_eq!(escrow.record.status, EscrowStatus::Closed, "{escrow:?}");
        }
    }

    /// Asserts that since `before` the tenant spent `paid` and fees, no more.
    pub(crate) fn assert_spent(&self, before: Amount, paid: Amount) {
        let spent = before.checked_sub(self.balance()).unwrap();
        let fees = spent.checked_sub(paid).unwrap();
        assert!(fees <= FEES_MAX, "{fees} usd are missing beside the {paid} paid");
    }

    /// What all escrows together have paid to providers.
    pub(crate) fn paid(&self) -> Amount {
        self.events().into_iter().fold(Amount::ZERO, |sum, event| match event {
            Event::EscrowClosed { paid, .. } => sum.checked_add(paid).unwrap(),
            _ => sum,
        })
    }

    /// Writes `NAME.toml`: a batch of `tasks` lines through `module`, with `more` sections.
    pub(crate) fn job(&self, name: &str, module: &[u8], tasks: usize, more: &str) -> String {
        let lines: String = (0..tasks).map(|task| format!("line {task}\n")).collect();
        self.home.write(&format!("{name}.txt"), lines);
        self.home.write(&format!("{name}.wasm"), module);
        let price = match more.contains("[price]") {
            true => "",
            false => "[price]\nmax_per_hour = \"0.60\"\nbudget = \"0.10\"\n",
        };
        let text = format!(
            "name = \"{name}\"\nkind = \"batch\"\n[code]\nwasm = \"{name}.wasm\"\n[input]\nfile = \
             \"{name}.txt\"\nlines = true\n{price}{more}\n"
        );
        let file = format!("{name}.toml");
        self.home.write(&file, text);
        file
    }

    /// Asserts that a job's result is its input, which is what `guests::echo` makes of it.
    pub(crate) fn assert_echoed(&self, name: &str) {
        let input = fs::read(self.home.path(&format!("{name}.txt"))).unwrap();
        let output = fs::read(self.home.path(&format!("out/{name}/output.bin"))).unwrap();
        assert!(input == output, "the result of {name} is not its input");
    }

    /// Asserts that a small good job runs.
    pub(crate) fn assert_serves_good_jobs(&self, name: &str) {
        let job = self.job(name, &crate::guests::echo(0), 4, "");
        let report = self.run(&["run", &job, "--json"]).json();
        assert_eq!((&report["completed"], &report["tasks"]), (&4.into(), &4.into()), "{report}");
        self.assert_echoed(name);
    }
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn start(home: &Home, port: u16) -> (Running, Value) {
    let (listen, providers) = (format!("127.0.0.1:{port}"), PROVIDERS.to_string());
    let args = ["dev", "--dir", "dev", "--providers", &providers, "--listen", &listen, "--json"];
    let (stdout, stderr) = (home.path("dev.out"), home.path("dev.err"));
    let mut command = home.command(&args);
    command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
    let mut process = Running(command.spawn().unwrap());
    let started = wait_until("the network is up", || {
        assert!(!process.has_ended(), "{}", read(&stderr));
        serde_json::from_str(&read(&stdout)).ok()
    });
    let client = Client::new(&format!("http://{listen}")).unwrap();
    wait_until("all providers are on offer", || {
        let providers = block_on(client.providers()).unwrap();
        (providers.iter().filter(|provider| !provider.hosts.is_empty()).count() == PROVIDERS)
            .then_some(())
    });
    (process, started)
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
