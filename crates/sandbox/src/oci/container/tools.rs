//! The programs that containers stand on, and small things about files and processes.

use super::error::{ContainerError, Result};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    process::{Pid, PidfdFlags, Signal},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt,
            fs::{OpenOptionsExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    process::Command,
};

/// Where programs of the system are looked for.
const PATHS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a program may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// How much of what a program says is kept for its error, bytes.
const SAID_BYTES: usize = 2048;

/// Where the program is, looked for in the system's directories (a service's `PATH` often lacks
/// `/usr/sbin`).
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    PATHS.split(':').map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

/// Runs a program to its end and returns its standard output.
pub(super) async fn run(program: &Path, args: &[&OsStr], input: Option<&str>) -> Result<String> {
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let verb = args.iter().find(|arg| !arg.as_encoded_bytes().starts_with(b"-"));
    let verb = verb.map(|arg| arg.to_string_lossy().into_owned()).unwrap_or_default();
    let failed =
        |reason: String| ContainerError::Tool { program: name.clone(), verb: verb.clone(), reason };
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", PATHS)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let stdin = child.stdin.take();
    let feed = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A program that ends early says why on its standard error.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stdin, input.as_bytes()).await;
        }
    };
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = tokio::time::timeout(PATIENCE, both)
        .await
        .map_err(|_| failed(format!("no answer within {} s", PATIENCE.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    said.truncate(said.floor_char_boundary(SAID_BYTES));
    Err(failed(if said.is_empty() { output.status.to_string() } else { said }))
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Makes a directory that the container's root may pass through but not list.
pub(super) fn make_dir(path: &Path, mode: u32) -> Result<()> {
    fs::create_dir_all(path).map_err(ContainerError::io("make", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(ContainerError::io("set the mode of", path))
}

/// Writes a whole file, so that after a crash the old one or the new one is there.
pub(super) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().map_err(ContainerError::io("write", path))
}

pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let bytes = serde_json::to_vec(value).map_err(ContainerError::io("encode", path))?;
    write_whole(path, &bytes, 0o600)
}

/// What the file holds; `None` if there is no such file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).map_err(ContainerError::io("decode", path))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ContainerError::Io { act: "read", path: path.to_owned(), source }),
    }
}

/// Opens a directory, refusing every symbolic link on the way to it.
pub(super) fn open_plain_dir(path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat2(
        rustix::fs::CWD,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(ContainerError::io("open, without following links,", path))
}

/// Reads a file of the tenant's tree as the tenant would see it: links cannot lead out of `root`.
pub(super) fn read_inside(root: &Path, name: &str, max_bytes: u64) -> Result<Option<String>> {
    let at = open_plain_dir(root)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = rustix::fs::openat2(&at, name, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    let file = match opened {
        Ok(fd) => File::from(fd),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(ContainerError::io("read", root.join(name))(error)),
    };
    let failed = ContainerError::io("read", root.join(name));
    let read = || {
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("not a regular file"));
        }
        let mut text = Vec::new();
        (&file).take(max_bytes).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    read().map(Some).map_err(failed)
}

/// A process that is told apart from a later one with the same number, also after a reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    pid: i32,
    started: u64,
    boot: String,
}

impl ProcessId {
    /// The process with this number; `None` if there is none.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Some(Self { pid, started: started(pid)?, boot: boot.trim().to_owned() })
    }

    /// A handle to the process if it is still there. It becomes readable when the process ends.
    pub(super) fn handle(&self) -> Option<OwnedFd> {
        let fd = rustix::process::pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        (Self::of(self.pid).as_ref() == Some(self)).then_some(fd)
    }

    /// Returns when the process has ended.
    pub(super) async fn ended(&self) {
        let Some(handle) = self.handle() else { return };
        if let Ok(handle) = watch(handle, Interest::READABLE) {
            let _ = handle.readable().await;
        }
    }

    pub(super) fn kill(&self) {
        if let Some(handle) = self.handle() {
            let _ = rustix::process::pidfd_send_signal(handle, Signal::KILL);
        }
    }
}

pub(super) fn kill_process(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// Kills the shims and runtimes that work on this directory, and waits for their end.
pub(super) async fn end_makers(dir: &Path) {
    let makers = makers(dir);
    for maker in &makers {
        maker.kill();
    }
    for maker in &makers {
        maker.ended().await;
    }
}

/// The shims and runtimes that work on this directory, by their arguments.
fn makers(dir: &Path) -> Vec<ProcessId> {
    let within = |word: &[u8]| Path::new(OsStr::from_bytes(word)).starts_with(dir);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid: Option<i32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(process) = pid.and_then(ProcessId::of) else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> =
            line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
        let shim = words.last().is_some_and(|word| within(word) && word.ends_with(b"/shim.json"));
        let runtime = words.windows(2).any(|pair| pair[0] == b"--pid-file" && within(pair[1]));
        if shim || runtime {
            found.push(process);
        }
    }
    found
}

/// Tells the runtime of asynchronous tasks to watch a descriptor.
#[expect(deprecated, reason = "what replaces it is unsafe; an `OwnedFd` keeps what that asks for")]
pub(super) fn watch(fd: OwnedFd, interest: Interest) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}

/// When the process started, in ticks since boot; `None` also for a zombie.
fn started(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in brackets and may hold anything.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    (fields.next()? != "Z").then_some(())?;
    fields.nth(18)?.parse().ok()
}
