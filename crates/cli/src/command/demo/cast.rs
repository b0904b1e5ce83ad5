//! The demo's providers: child processes, so that a kill is a real SIGKILL.

use crate::network::{Home, ProviderPlan};
use anyhow::Context as _;
use muster_api::{Client, views::ProviderView};
use muster_ledger::provider::ProviderStatus;
use muster_types::AccountId;
use std::{
    fs::File,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};

/// How long the providers may take to be on offer.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// The provider that lies, by its place in the cast.
pub(crate) const LIAR: usize = 2;

/// What it is called, so that one can follow the story.
const LIAR_NAME: &str = "crooked";

/// It spoils every second task.
const LIE_EVERY: u32 = 2;

/// One provider of the demo.
pub(crate) struct Member {
    /// Its account.
    pub(crate) account: AccountId,
    /// Its part.
    pub(crate) plan: ProviderPlan,
    /// Whether it was killed.
    pub(crate) killed: bool,
    process: Child,
}

/// All of them.
pub(crate) struct Cast(pub Vec<Member>);

impl Cast {
    /// Starts `count` providers and waits until all are on offer.
    pub(crate) async fn start(home: &Home, node: &Client, count: usize) -> anyhow::Result<Self> {
        let mut members = Vec::new();
        for index in 0..count {
            let key = home.provider_key_path(index);
            let account = crate::keyfile::load(&key)?.account();
            let mut plan = ProviderPlan::of(index);
            if index == LIAR {
                plan.name = LIAR_NAME;
            }
            let process = spawn(home, node, index, &key, &plan)?;
            members.push(Member { account, plan, killed: false, process });
        }
        let mut cast = Self(members);
        cast.wait_until_offered(node).await?;
        Ok(cast)
    }

    /// The member with this account.
    pub(crate) fn find(&self, account: &AccountId) -> Option<&Member> {
        self.0.iter().find(|member| member.account == *account)
    }

    /// What a member is called.
    pub(crate) fn name(&self, account: &AccountId) -> String {
        self.find(account).map_or_else(|| account.short(), |member| member.plan.name.to_owned())
    }

    /// Whether this is the liar.
    pub(crate) fn is_liar(&self, account: &AccountId) -> bool {
        self.0.get(LIAR).is_some_and(|member| member.account == *account)
    }

    /// Kills a member at once: SIGKILL, no goodbye.
    pub(crate) fn kill(&mut self, account: &AccountId) -> anyhow::Result<()> {
        let member = self.0.iter_mut().find(|member| member.account == *account);
        let member = member.context("nobody to kill")?;
        member.process.start_kill().context("cannot kill a provider")?;
        member.killed = true;
        Ok(())
    }

    /// Ends all of them and waits for it.
    pub(crate) async fn stop(mut self) {
        for member in &mut self.0 {
            if let Some(pid) = member.process.id().and_then(|pid| i32::try_from(pid).ok())
                && let Some(pid) = rustix::process::Pid::from_raw(pid)
            {
                // One that has ended already needs no signal.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        for member in &mut self.0 {
            let ended = tokio::time::timeout(Duration::from_secs(5), member.process.wait()).await;
            if ended.is_err() {
                // Dropping the child kills it.
                tracing::warn!(provider = member.plan.name, "did not end when asked");
            }
        }
    }

    async fn wait_until_offered(&mut self, node: &Client) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let views = node.providers().await?;
            if self.0.iter().all(|member| is_on_offer(&views, &member.account)) {
                return Ok(());
            }
            for member in &mut self.0 {
                if let Some(status) = member.process.try_wait()? {
                    anyhow::bail!("provider {} ended at its start: {status}", member.plan.name);
                }
            }
            anyhow::ensure!(start.elapsed() < START_TIMEOUT, "the providers do not come up");
            tokio::time::sleep(POLL).await;
        }
    }
}

fn is_on_offer(views: &[ProviderView], account: &AccountId) -> bool {
    views.iter().any(|view| {
        view.id == *account
            && view.record.status == ProviderStatus::Active
            && !view.hosts.is_empty()
    })
}

fn spawn(
    home: &Home,
    node: &Client,
    index: usize,
    key: &Path,
    plan: &ProviderPlan,
) -> anyhow::Result<Child> {
    let dir = home.provider_dir(index);
    std::fs::create_dir_all(&dir)?;
    let log = File::create(dir.join("log.txt"))?;
    let host = plan.host();
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    command
        .args(["provider", "run", "--end-with-parent", "--name", plan.name])
        .args(["--region", plan.region, "--node", node.url(), "--bond", "50", "--cpu", "2"])
        .args(["--cpu-price", &host.prices.cpu.to_string()])
        .arg("--dir")
        .arg(&dir)
        .arg("--key")
        .arg(key);
    if index == LIAR {
        command.args(["--simulate-wrong-output-every", &LIE_EVERY.to_string()]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start a provider")
}
