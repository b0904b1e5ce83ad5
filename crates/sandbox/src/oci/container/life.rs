//! One container, from made to gone.

use super::{
    bundle::{malformed, resolve_user, user},
    cgroup::Usage,
    containers::{Containers, Record, exit_file},
    disk::{DiskKind, remove_dir},
    error::{ContainerError, Result},
    exec::{self, Exec, ExecIo, ExecSpec, Terminal},
    log::{LogLine, LogQuery, LogReader},
    shim::ShimRequest,
    spec::ContainerId,
    tools::{end_makers, kill_process, make_dir, now_ms, read_json, write_json},
};
use oci_spec::runtime::{BoxBuilder, Process, Spec};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::{net::UnixListener, process::Child};

const SIGKILL: i32 = 9;

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// The runtime could not start it; with what it said.
    NotStarted(String),
    /// Nobody was there to see it: the shim was killed, or the machine was restarted.
    Lost,
}

/// The end of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// How it ended.
    pub status: ExitStatus,
    /// Whether the kernel killed any process of the container meanwhile for want of memory.
    pub oom_killed: bool,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
}

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Ready to be started.
    Created,
    /// Its first process runs.
    Running,
    /// Its first process ended, and with it all others.
    Exited(Exit),
}

/// What a container used so far and holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Of its control groups.
    pub usage: Usage,
    /// Bytes that it received.
    pub received_bytes: u64,
    /// Bytes that it sent.
    pub sent_bytes: u64,
    /// Bytes that are written on its ephemeral disk.
    pub disk_used_bytes: u64,
}

/// A container. A handle: dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct Container {
    all: Containers,
    id: ContainerId,
}

impl Container {
    pub(super) fn new(all: Containers, id: ContainerId) -> Self {
        Self { all, id }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    fn dir(&self) -> PathBuf {
        self.all.dir(&self.id)
    }

    fn record(&self) -> Result<Record> {
        let record = self.all.record(&self.id)?;
        record.ok_or_else(|| ContainerError::Unknown { id: self.id.clone() })
    }

    /// Where the host reaches its ports.
    ///
    /// # Errors
    /// [`ContainerError::Unknown`] once it is deleted; the same for every act below.
    pub fn address(&self) -> Result<Ipv4Addr> {
        Ok(self.record()?.member.address)
    }

    /// The lease that it was made for.
    ///
    /// # Errors
    /// As [`Self::address`].
    pub fn lease(&self) -> Result<String> {
        Ok(self.record()?.member.lease)
    }

    /// What bounds its ephemeral disk.
    ///
    /// # Errors
    /// As [`Self::address`].
    pub fn disk_kind(&self) -> Result<DiskKind> {
        Ok(self.record()?.disk)
    }

    /// When it was made, milliseconds since 1970.
    ///
    /// # Errors
    /// As [`Self::address`].
    pub fn created_ms(&self) -> Result<u64> {
        Ok(self.record()?.created_ms)
    }

    /// The root as the container sees it, on the host. What is in it is the tenant's: never follow
    /// its links.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.dir().join("rootfs")
    }

    /// Where it is in its life, from what is on disk and whether its shim is alive.
    ///
    /// # Errors
    /// As [`Self::address`].
    pub fn state(&self) -> Result<State> {
        let record = self.record()?;
        let exited = || read_json(&exit_file(&self.dir()));
        if let Some(exit) = exited()? {
            return Ok(State::Exited(exit));
        }
        if record.shim.as_ref().is_some_and(|shim| shim.handle().is_some()) {
            return Ok(if record.started { State::Running } else { State::Created });
        }
        // It may have written between the two looks.
        let exit = exited()?.unwrap_or_else(lost);
        Ok(State::Exited(exit))
    }

    /// Starts its program. Called again, after a crash of the caller too, it does nothing.
    ///
    /// # Errors
    /// [`ContainerError::NotNow`] once it has exited; [`ContainerError::Tool`] if the runtime
    /// cannot start the program, for which the container then exits.
    pub async fn start(&self) -> Result<()> {
        match self.state()? {
            State::Running => return Ok(()),
            State::Exited(_) => return Err(self.not_now("created")),
            State::Created => {}
        }
        if let Err(error) = self.all.runtime(&["start", self.id.as_str()]).await {
            let state = self.all.runtime(&["state", self.id.as_str()]).await.unwrap_or_default();
            let state: serde_json::Value = serde_json::from_str(&state).unwrap_or_default();
            if state["status"] != "running" {
                return Err(error);
            }
        }
        let mut record = self.record()?;
        record.started = true;
        self.all.remember(&self.id, &record)
    }

    fn not_now(&self, wanted: &'static str) -> ContainerError {
        ContainerError::NotNow { id: self.id.clone(), wanted }
    }

    /// Waits for its end. May be dropped and called again, by anybody at any time.
    ///
    /// # Errors
    /// As [`Self::address`].
    pub async fn wait(&self) -> Result<Exit> {
        let record = self.record()?;
        if let Some(shim) = &record.shim {
            shim.ended().await;
        }
        self.settle().await?;
        match self.state()? {
            State::Exited(exit) => Ok(exit),
            _ => Err(self.not_now("ended")),
        }
    }

    /// If its shim was killed, kills what still runs and writes down that the end is lost.
    pub(super) async fn settle(&self) -> Result<()> {
        let State::Exited(exit) = self.state()? else { return Ok(()) };
        let file = exit_file(&self.dir());
        if exit.status == ExitStatus::Lost && !file.exists() {
            self.all.cgroups().destroy(&self.id).await?;
            write_json(&file, &exit)?;
        }
        Ok(())
    }

    /// Kills processes that were added by a caller that is gone.
    pub(super) async fn kill_orphans(&self) -> Result<()> {
        let dir = self.dir().join("exec");
        if !dir.exists() {
            return Ok(());
        }
        // They write into the directory as long as they live.
        end_makers(&dir).await;
        let mine = self.all.cgroups().processes(&self.id);
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let pid = fs::read_to_string(exec::pid_file(&entry.path())).unwrap_or_default();
            if let Some(pid) = pid.trim().parse().ok().filter(|pid| mine.contains(pid)) {
                kill_process(pid);
            }
        }
        remove_dir(&dir)
    }

    /// Sends a signal, 1 to 64, to its first process. A first process only gets signals that it
    /// handles, but for SIGKILL.
    ///
    /// # Errors
    /// [`ContainerError::NotNow`] unless it runs.
    pub async fn signal(&self, signal: i32) -> Result<()> {
        if !(1..=64).contains(&signal) {
            return Err(ContainerError::refused("signal", "signals are 1 to 64"));
        }
        if matches!(self.state()?, State::Exited(_)) {
            return Err(self.not_now("running"));
        }
        let sent = self.all.runtime(&["kill", self.id.as_str(), &signal.to_string()]).await;
        match self.state()? {
            // It ended first.
            State::Exited(_) => Ok(()),
            _ => sent.map(drop),
        }
    }

    /// Asks it to end with its stop signal, waits for `grace`, then kills it.
    ///
    /// # Errors
    /// [`ContainerError::Tool`] if it cannot be killed.
    pub async fn stop(&self, grace: Duration) -> Result<Exit> {
        if self.state()? == State::Running {
            self.signal(self.record()?.stop_signal).await?;
            if let Ok(exit) = tokio::time::timeout(grace, self.wait()).await {
                return exit;
            }
        }
        self.kill().await
    }

    /// Kills it, whatever its state, and waits for its end.
    ///
    /// # Errors
    /// [`ContainerError::Tool`] if it cannot be killed.
    pub async fn kill(&self) -> Result<Exit> {
        if !matches!(self.state()?, State::Exited(_)) {
            self.signal(SIGKILL).await?;
        }
        self.wait().await
    }

    /// Removes everything of it, first killing it if it runs.
    ///
    /// # Errors
    /// The thing that could not be removed; may be called again.
    pub async fn delete(self) -> Result<()> {
        self.all.destroy(&self.id).await
    }

    /// What it used so far and holds now; zeros once it has exited.
    ///
    /// # Errors
    /// As [`Self::address`].
    pub fn stats(&self) -> Result<Stats> {
        let (received_bytes, sent_bytes) = self.all.network().traffic(self.address()?);
        let usage = self.all.cgroups().usage(&self.id);
        let disk = rustix::fs::statvfs(self.dir().join("disk"));
        let used = disk.map(|disk| (disk.f_blocks.saturating_sub(disk.f_bfree)) * disk.f_frsize);
        let disk_used_bytes = used.unwrap_or(0);
        Ok(Stats { usage, received_bytes, sent_bytes, disk_used_bytes })
    }

    /// Its output.
    ///
    /// # Errors
    /// [`ContainerError::Io`] if it cannot be read.
    pub fn logs(&self, query: LogQuery) -> Result<ContainerLog> {
        let reader = LogReader::open(&self.dir(), query)?;
        Ok(ContainerLog { container: self.clone(), reader })
    }

    /// Starts one more process in it, with the same confinement. A program that cannot be started
    /// is an [`ExitStatus::NotStarted`] of [`Exec::wait`].
    ///
    /// # Errors
    /// [`ContainerError::NotNow`] unless it runs; [`ContainerError::Refused`] for an unknown user.
    pub async fn exec(&self, asked: &ExecSpec) -> Result<Exec> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if self.state()? != State::Running {
            return Err(self.not_now("running"));
        }
        let process = self.exec_process(asked)?;
        let name = format!("{}-{}", now_ms(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = self.dir().join("exec").join(&name);
        make_dir(&dir, 0o700)?;
        let console = asked.terminal.map(|_| self.all.socket_dir().join(&name));
        let started = self.start_exec(&dir, &process, console.as_deref()).await;
        if let Some(console) = console {
            let _ = fs::remove_file(console);
        }
        match started {
            Ok((shim, io)) => {
                if let (Some(ExecIo::Terminal(terminal)), Some((columns, rows))) =
                    (&io, asked.terminal)
                {
                    let _ = terminal.resize(columns, rows);
                }
                Ok(Exec { io, shim, dir, done: false })
            }
            Err(error) => {
                let _ = fs::remove_dir_all(&dir);
                Err(error)
            }
        }
    }

    /// The container's own process with what was asked for in its place.
    fn exec_process(&self, asked: &ExecSpec) -> Result<Process> {
        let path = self.dir().join("bundle/config.json");
        let specification: Option<Spec> = read_json(&path)?;
        let process = specification.and_then(|specification| specification.process().clone());
        let mut process = process.ok_or_else(|| ContainerError::Unknown { id: self.id.clone() })?;
        let strings =
            asked.args.iter().chain(asked.env.iter().flat_map(|(name, value)| [name, value]));
        if asked.args.is_empty() || strings.clone().any(|text| text.contains('\0')) {
            let reason = "name a program; no argument may hold a zero byte";
            return Err(ContainerError::refused("args", reason));
        }
        process.set_args(Some(asked.args.clone()));
        let mut env = process.env().clone().unwrap_or_default();
        if asked.terminal.is_some() {
            env.retain(|entry| !entry.starts_with("TERM="));
            env.push("TERM=xterm-256color".to_owned());
        }
        for (name, value) in &asked.env {
            env.retain(|entry| !entry.starts_with(&format!("{name}=")));
            env.push(format!("{name}={value}"));
        }
        process.set_env(Some(env));
        if let Some(name) = &asked.user {
            let who = resolve_user(&self.root(), name)?;
            let user = user(who.uid, who.gid, who.groups);
            process.set_user(user.map_err(|error| malformed(&error))?);
        }
        if let Some(dir) = &asked.working_dir {
            process.set_cwd(dir.clone());
        }
        process.set_terminal(Some(asked.terminal.is_some()));
        if let Some((columns, rows)) = asked.terminal {
            let size = BoxBuilder::default().width(columns).height(rows).build();
            let size = size.map_err(|error| malformed(&error))?;
            process.set_console_size(Some(size));
        }
        Ok(process)
    }

    async fn start_exec(
        &self,
        dir: &Path,
        process: &Process,
        console: Option<&Path>,
    ) -> Result<(Child, Option<ExecIo>)> {
        let (process_file, error_file) = (dir.join("process.json"), dir.join("runtime.log"));
        write_json(&process_file, process)?;
        let pid_file = exec::pid_file(dir);
        let mut args = self.all.runtime_args(&error_file);
        args.extend(["exec", "--detach", "--process"].map(OsString::from));
        args.extend([process_file.into(), "--pid-file".into(), pid_file.clone().into()]);
        let listener = match console {
            Some(path) => {
                make_dir(&self.all.socket_dir(), 0o700)?;
                args.extend(["--console-socket".into(), path.into()]);
                Some(UnixListener::bind(path).map_err(ContainerError::io("listen on", path))?)
            }
            None => None,
        };
        args.push(self.id.as_str().into());
        let request = ShimRequest {
            program: self.all.program().to_owned(),
            args,
            pid_file,
            error_file,
            exit_file: exec::exit_file(dir),
            oom_file: self.all.cgroups().oom_file(&self.id),
            log: None,
        };
        let path = dir.join("shim.json");
        write_json(&path, &request)?;
        let ends = || if listener.is_some() { Stdio::null() } else { Stdio::piped() };
        let mut shim = self
            .all
            .shim_command(&path)
            .stdin(ends())
            .stdout(ends())
            .stderr(ends())
            .spawn()
            .map_err(ContainerError::io("start the shim of", dir))?;
        if let Some(listener) = listener {
            let terminal = tokio::select! {
                terminal = Terminal::receive(&listener) => Some(terminal),
                _ = shim.wait() => None,
            };
            // Without one, the program could not be started.
            let terminal = terminal.transpose();
            let terminal = terminal.map_err(ContainerError::io("take the terminal of", dir))?;
            return Ok((shim, terminal.map(ExecIo::Terminal)));
        }
        let (stdin, stdout, stderr) = (shim.stdin.take(), shim.stdout.take(), shim.stderr.take());
        let io = match (stdin, stdout, stderr) {
            (Some(stdin), Some(stdout), Some(stderr)) => {
                Some(ExecIo::Pipes { stdin, stdout, stderr })
            }
            _ => None,
        };
        Ok((shim, io))
    }
}

fn lost() -> Exit {
    Exit { status: ExitStatus::Lost, oom_killed: false, at_ms: now_ms() }
}

/// A container's output, line by line.
#[derive(Debug)]
pub struct ContainerLog {
    container: Container,
    reader: LogReader,
}

impl ContainerLog {
    /// The next line; `None` at the end, which a follower reaches when the container has ended. May
    /// be dropped while waiting without losing a line.
    ///
    /// # Errors
    /// [`ContainerError::Io`] if it cannot be read.
    pub async fn next(&mut self) -> Result<Option<LogLine>> {
        let container = &self.container;
        let ended = || !matches!(container.state(), Ok(State::Created | State::Running));
        self.reader.next(ended).await
    }
}
