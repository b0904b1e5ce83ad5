//! The program between us and a container: it outlives us, and knows how the container ended.
//!
//! ```text
//!  we ── start ──▶ shim ── runtime create ──▶ container's first process
//!   ◀─ {"pid":N} ──┤  subreaper: the process is its child once the runtime has returned
//!                  ├─ copies both outputs into the log
//!                  └─ waits, writes how it ended, whole, and ends
//! ```
//! It has a session of its own and takes no orders: whatever happens to the process that started
//! it, the container keeps running, and its end is on disk. Should somebody kill the shim, the
//! container's end is [`ExitStatus::Lost`](super::ExitStatus). A service manager that kills whole
//! control groups must be told to kill only the main process (systemd: `KillMode=process`).

use super::{
    cgroup::oom_kills,
    exec::{gone_file, kill_file},
    life::{Exit, ExitStatus},
    log::{LogWriter, Stream},
    tools::{kill_process, now_ms, read_json, write_json},
};
use rustix::process::{Pid, WaitOptions, set_child_subreaper, setsid, wait};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

/// What the runtime said is kept up to this many bytes.
const SAID_BYTES: usize = 4096;

/// What a shim is told, as a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ShimRequest {
    /// The runtime with all arguments; it must return once the process is there.
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    /// Where the runtime writes the process's number.
    pub(super) pid_file: PathBuf,
    /// Where the runtime writes why it failed.
    pub(super) error_file: PathBuf,
    /// Where the shim writes an [`Exit`].
    pub(super) exit_file: PathBuf,
    /// The file that counts kills for want of memory.
    pub(super) oom_file: PathBuf,
    /// Keep the outputs in this directory, up to this many bytes, and report on standard output.
    /// Otherwise the process has the shim's own.
    pub(super) log: Option<(PathBuf, u64)>,
}

/// What a shim reports once the process is there.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ShimReport {
    Pid(i32),
    Failed(String),
}

/// The shim's whole life, for a program that is started with the path of a request as its last
/// argument. Not to be called in a process that does anything else.
#[must_use]
pub fn shim_main(request: &Path) -> ExitCode {
    // Already a leader: fine, too.
    let _ = setsid();
    match serve(request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _ = report(&ShimReport::Failed(reason));
            ExitCode::FAILURE
        }
    }
}

fn serve(path: &Path) -> Result<(), String> {
    let request: ShimRequest = read_json(path)
        .map_err(|error| error.to_string())?
        .ok_or_else(|| format!("{} is gone", path.display()))?;
    let served = attend(&request);
    let dir = path.parent().filter(|dir| request.log.is_none() && gone_file(dir).exists());
    if let Some(dir) = dir {
        let _ = fs::remove_dir_all(dir);
    }
    served
}

fn attend(request: &ShimRequest) -> Result<(), String> {
    // Any number but none switches it on.
    set_child_subreaper(Some(rustix::process::getpid())).map_err(|error| error.to_string())?;
    let oom_before = oom_kills(&request.oom_file);
    let mut command = Command::new(&request.program);
    command.args(&request.args);
    let copies = match &request.log {
        Some((dir, bytes)) => {
            command.stdin(Stdio::null());
            keep_outputs(&mut command, dir, *bytes).map_err(|error| error.to_string())?
        }
        None => Vec::new(),
    };
    let status = command.status().map_err(|error| error.to_string());
    // Our ends of the outputs must not keep them open.
    drop(command);
    let made = status.and_then(|status| {
        if status.success() { read_pid(&request.pid_file) } else { Err(status.to_string()) }
    });
    let pid = match made {
        Ok(pid) => pid,
        Err(status) => {
            let reason = runtime_error(&request.error_file).unwrap_or(status);
            if request.log.is_some() {
                return Err(reason);
            }
            let status = ExitStatus::NotStarted(reason);
            let exit = Exit { status, oom_killed: false, at_ms: now_ms() };
            return write_json(&request.exit_file, &exit).map_err(|error| error.to_string());
        }
    };
    if request.log.is_some() {
        report(&ShimReport::Pid(pid)).map_err(|error| error.to_string())?;
    } else if request.exit_file.parent().is_some_and(|dir| kill_file(dir).exists()) {
        kill_process(pid);
    }
    let status = wait_for(pid);
    for copy in copies {
        let _ = copy.join();
    }
    let oom_killed = oom_kills(&request.oom_file) > oom_before;
    let exit = Exit { status, oom_killed, at_ms: now_ms() };
    write_json(&request.exit_file, &exit).map_err(|error| error.to_string())
}

fn report(report: &ShimReport) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, report)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn keep_outputs(command: &mut Command, dir: &Path, bytes: u64) -> io::Result<Vec<JoinHandle<()>>> {
    let writer = Arc::new(Mutex::new(LogWriter::open(dir, bytes)?));
    let mut copies = Vec::new();
    for stream in [Stream::Out, Stream::Err] {
        let (from, to) = io::pipe()?;
        match stream {
            Stream::Out => command.stdout(to),
            Stream::Err => command.stderr(to),
        };
        let writer = Arc::clone(&writer);
        copies.push(std::thread::spawn(move || LogWriter::copy(&writer, stream, from)));
    }
    Ok(copies)
}

fn read_pid(path: &Path) -> Result<i32, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    text.trim().parse().map_err(|_| format!("{} holds no process number", path.display()))
}

/// Waits for the process, and buries every other that is left to us meanwhile.
fn wait_for(pid: i32) -> ExitStatus {
    let Some(pid) = Pid::from_raw(pid) else { return ExitStatus::Lost };
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((dead, status))) if dead == pid => {
                let code = status.exit_status().map(ExitStatus::Code);
                let signal = status.terminating_signal().map(ExitStatus::Signal);
                return code.or(signal).unwrap_or(ExitStatus::Lost);
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return ExitStatus::Lost,
        }
    }
}

/// The last `"msg"` of the runtime's log, which is a JSON object a line.
fn runtime_error(path: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Entry {
        msg: String,
    }
    let text = fs::read_to_string(path).ok()?;
    let mut lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Entry>(line).ok());
    let mut said = lines.next()?.msg;
    said.truncate(said.floor_char_boundary(SAID_BYTES));
    Some(said)
}
