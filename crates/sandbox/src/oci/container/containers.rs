//! All containers under one root: made, found again, swept away.

use super::{
    bundle::Bundle,
    cdi::{CdiDevices, Edits},
    cgroup::Cgroups,
    disk::{self, DiskKind},
    error::{ContainerError, Result},
    life::Container,
    net::{Member, Network, NetworkConfig, etc_files},
    shim::{ShimReport, ShimRequest},
    spec::{Capability, ContainerId, ContainerSpec, IdRange},
    tools::{
        self, ProcessId, end_makers, find_program, make_dir, now_ms, read_json, run, write_json,
    },
};
use crate::ChildProgram;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    sync::Mutex,
};

/// The OCI runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// The reference: namespaces and control groups of the host's kernel.
    Runc,
    /// gVisor: a kernel of its own between the container and the host's. What a container sees and
    /// how it ends differ in details, and limits also count what gVisor itself needs. Release
    /// 20221219 on Linux 6.18 runs containers only with its option `--network=none` (it takes every
    /// network namespace for the host's), without devices and without a read-only root. Our
    /// list of system calls does not hold inside, where its own kernel answers; its option
    /// `--oci-seccomp` makes it hold, but that release then refuses `clone3` with `EPERM`, for which
    /// glibc starts no thread.
    Runsc,
}

impl RuntimeKind {
    /// The program's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Runsc => "runsc",
        }
    }

    /// Threads of the runtime's own in the container's control groups.
    const fn threads(self) -> u32 {
        match self {
            Self::Runc => 0,
            Self::Runsc => 128,
        }
    }
}

/// How containers are run on this machine.
#[derive(Debug, Clone)]
pub struct Config {
    /// The runtime.
    pub runtime: RuntimeKind,
    /// Its program, if not where the system keeps it.
    pub program: Option<PathBuf>,
    /// Its global options, such as gVisor's `--platform=kvm`.
    pub runtime_args: Vec<String>,
    /// The directory that everything is kept in. The way to it must let everybody pass (mode 0711
    /// is enough), for containers have unprivileged ids.
    pub root: PathBuf,
    /// A program that calls [`shim_main`](super::shim_main) with its last argument.
    pub shim: ChildProgram,
    /// What ids inside are outside. Layers must be owned by these.
    pub ids: IdRange,
    /// What containers may ask for.
    pub capabilities: Vec<Capability>,
    /// Devices that containers may ask for.
    pub devices: CdiDevices,
    /// Whether devices may bring programs that the runtime starts on the host.
    pub device_hooks: bool,
    /// Addresses and reach.
    pub network: NetworkConfig,
    /// What a container's log may take, bytes.
    pub log_bytes: u64,
}

impl Config {
    /// `runc`, no capabilities, no devices, 16 MiB of log.
    #[must_use]
    pub fn new(root: PathBuf, shim: ChildProgram, network: NetworkConfig) -> Self {
        Self {
            runtime: RuntimeKind::Runc,
            program: None,
            runtime_args: Vec::new(),
            root,
            shim,
            ids: IdRange::default(),
            capabilities: Vec::new(),
            devices: CdiDevices::default(),
            device_hooks: false,
            network,
            log_bytes: 16 << 20,
        }
    }
}

/// What [`Containers::sweep`] removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Containers of which something was left.
    pub containers: Vec<ContainerId>,
    /// Interfaces that no container had any more.
    pub interfaces: Vec<String>,
}

/// What is remembered of a container, in `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) member: Member,
    pub(super) disk: DiskKind,
    pub(super) stop_signal: i32,
    pub(super) created_ms: u64,
    /// None while it is being made.
    pub(super) shim: Option<ProcessId>,
    pub(super) started: bool,
}

/// The containers under one root. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Containers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    program: PathBuf,
    tag: String,
    cgroups: Cgroups,
    network: Network,
    /// Held: which containers there are, and the rules for them, change together.
    changes: Mutex<()>,
    _lock: File,
}

impl Containers {
    /// Takes the root into possession and finds the containers that are there. Those whose shim was
    /// killed are killed, too.
    ///
    /// # Errors
    /// [`ContainerError::Unsupported`] if this machine cannot run containers, with what to install;
    /// [`ContainerError::InUse`]; [`ContainerError::Refused`] for a configuration that cannot work.
    pub async fn open(mut config: Config) -> Result<Self> {
        let program = supported(&config)?;
        let ids = config.ids;
        if ids.base < 1000 || ids.size < 1000 || ids.base.checked_add(ids.size).is_none() {
            let reason = "base and size must be at least 1000, and the end below 2^32";
            return Err(ContainerError::refused("ids", reason));
        }
        make_dir(&config.root, 0o711)?;
        config.root = fs::canonicalize(&config.root)
            .map_err(ContainerError::io("find", config.root.clone()))?;
        passable(&config.root)?;
        for name in ["containers", "volumes"] {
            make_dir(&config.root.join(name), 0o711)?;
        }
        make_dir(&config.root.join("runtime"), 0o700)?;
        let path = config.root.join("lock");
        let lock = File::create(&path).map_err(ContainerError::io("make", &path))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| ContainerError::InUse { root: config.root.clone() })?;
        let hash = blake3::hash(config.root.as_os_str().as_encoded_bytes());
        let tag = hash.to_hex()[..8].to_owned();
        let cgroups = Cgroups::detect(&tag)?;
        let network = Network::new(config.network.clone(), &tag)?;
        let changes = Mutex::new(());
        let inner = Inner { config, program, tag, cgroups, network, changes, _lock: lock };
        let containers = Self { inner: Arc::new(inner) };
        for container in containers.list() {
            container.settle().await?;
            container.kill_orphans().await?;
        }
        containers.sweep_volumes()?;
        containers.enforce().await?;
        Ok(containers)
    }

    pub(super) fn root(&self) -> &Path {
        &self.inner.config.root
    }

    pub(super) fn config(&self) -> &Config {
        &self.inner.config
    }

    pub(super) fn changes(&self) -> &Mutex<()> {
        &self.inner.changes
    }

    pub(super) fn cgroups(&self) -> &Cgroups {
        &self.inner.cgroups
    }

    pub(super) fn network(&self) -> &Network {
        &self.inner.network
    }

    pub(super) fn dir(&self, id: &ContainerId) -> PathBuf {
        self.root().join("containers").join(id.as_str())
    }

    /// Where sockets are: their paths must be short.
    pub(super) fn socket_dir(&self) -> PathBuf {
        PathBuf::from(format!("/run/muster-{}", self.inner.tag))
    }

    pub(super) fn record(&self, id: &ContainerId) -> Result<Option<Record>> {
        read_json(&record_file(&self.dir(id)))
    }

    pub(super) fn remember(&self, id: &ContainerId, record: &Record) -> Result<()> {
        write_json(&record_file(&self.dir(id)), record)
    }

    /// What the runtime is called with before its command.
    pub(super) fn runtime_args(&self, log: &Path) -> Vec<OsString> {
        let state = self.root().join("runtime");
        let words: [&OsStr; 6] = [
            "--root".as_ref(),
            state.as_os_str(),
            "--log".as_ref(),
            log.as_os_str(),
            "--log-format".as_ref(),
            "json".as_ref(),
        ];
        let options = self.config().runtime_args.iter().map(OsString::from);
        options.chain(words.map(OsString::from)).collect()
    }

    pub(super) async fn runtime(&self, command: &[&str]) -> Result<String> {
        let state = self.root().join("runtime");
        let mut args: Vec<&OsStr> = self.config().runtime_args.iter().map(OsStr::new).collect();
        args.extend([OsStr::new("--root"), state.as_os_str()]);
        args.extend(command.iter().map(OsStr::new));
        let result = run(&self.inner.program, &args, None).await;
        result.map_err(|error| match error {
            ContainerError::Tool { program, reason, .. } => {
                let verb = command.first().copied().unwrap_or_default().to_owned();
                ContainerError::Tool { program, verb, reason }
            }
            other => other,
        })
    }

    /// The kind of ephemeral disks here.
    #[must_use]
    pub fn disk_kind(&self) -> DiskKind {
        DiskKind::here()
    }

    /// Makes a container, up to the point where its program could start. If that fails, or the
    /// future is dropped and [`sweep`](Self::sweep) called, nothing is left.
    ///
    /// # Errors
    /// [`ContainerError::Refused`] names the field; [`ContainerError::Exists`];
    /// [`ContainerError::NoAddress`]; [`ContainerError::Tool`] with what the runtime said.
    pub async fn create(&self, spec: &ContainerSpec) -> Result<Container> {
        spec.check()?;
        let allowed = &self.config().capabilities;
        if let Some(asked) = spec.capabilities.iter().find(|asked| !allowed.contains(asked)) {
            let reason = format!("{asked} is not allowed by this provider");
            return Err(ContainerError::refused("capabilities", reason));
        }
        let edits = self.config().devices.edits(&spec.devices, self.config().device_hooks)?;
        let member = self.admit(spec).await?;
        let made = self.make(spec, &edits, member).await;
        if let Err(error) = made {
            if let Err(second) = self.destroy(&spec.id).await {
                tracing::warn!(id = %spec.id, error = %second, "a container could not be removed");
            }
            return Err(error);
        }
        Ok(Container::new(self.clone(), spec.id.clone()))
    }

    /// Reserves name and address.
    async fn admit(&self, spec: &ContainerSpec) -> Result<Record> {
        let _changing = self.changes().lock().await;
        let dir = self.dir(&spec.id);
        fs::create_dir(&dir).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                ContainerError::Exists { name: spec.id.to_string() }
            }
            _ => ContainerError::io("make", &dir)(error),
        })?;
        make_dir(&dir, 0o711)?;
        let taken: BTreeSet<_> = self.members().iter().map(|member| member.address).collect();
        let address = self.network().config.free(&taken).inspect_err(|_| {
            let _ = fs::remove_dir(&dir);
        })?;
        let member = Member { address, lease: spec.lease.clone(), egress: spec.egress.clone() };
        let record = Record {
            member,
            disk: self.disk_kind(),
            stop_signal: spec.stop_signal,
            created_ms: now_ms(),
            shim: None,
            started: false,
        };
        self.remember(&spec.id, &record)?;
        Ok(record)
    }

    async fn make(&self, spec: &ContainerSpec, edits: &Edits, mut record: Record) -> Result<()> {
        let dir = self.dir(&spec.id);
        let (disk_at, root) = (dir.join("disk"), dir.join("rootfs"));
        let bytes = spec.limits.disk_bytes;
        match record.disk {
            DiskKind::Loop => {
                let image = dir.join("disk.img");
                disk::make(&image, bytes, self.config().ids, false).await?;
                disk::mount_loop(&image, &disk_at).await?;
            }
            DiskKind::Tmpfs => disk::mount_tmpfs(&disk_at, bytes)?,
        }
        disk::mount_overlay(&spec.layers, &disk_at, &root, self.config().ids)?;
        let hostname = spec.hostname.clone().unwrap_or_else(|| spec.id.to_string());
        let mut files = Vec::new();
        let etc = dir.join("etc");
        make_dir(&etc, 0o711)?;
        let texts = etc_files(&self.config().network, &spec.id, &hostname, record.member.address);
        for (target, text) in texts {
            let file = etc.join(Path::new(target).file_name().unwrap_or_default());
            tools::write_whole(&file, text.as_bytes(), 0o644)?;
            files.push((file, target));
        }
        let sources = spec.volumes.iter().map(|volume| volume.source.as_path());
        let disks = disk::loops(sources.chain([disk_at.as_path()]))?;
        let bundle = Bundle {
            spec,
            ids: self.config().ids,
            root: &root,
            files: &files,
            cgroup: self.cgroups().path(&spec.id),
            swap_counted: self.cgroups().counts_swap(),
            disks: &disks,
            threads: self.config().runtime.threads(),
            edits,
        };
        let specification = bundle.build()?;
        make_dir(&dir.join("bundle"), 0o700)?;
        write_json(&dir.join("bundle/config.json"), &specification)?;
        let (shim, pid) = self.start_shim(&spec.id).await?;
        record.shim = Some(shim);
        self.network().attach(pid, record.member.address).await?;
        self.remember(&spec.id, &record)?;
        self.enforce().await
    }

    /// Starts the shim and waits until the runtime has made the container's first process.
    async fn start_shim(&self, id: &ContainerId) -> Result<(ProcessId, i32)> {
        let dir = self.dir(id);
        let (bundle, pid_file) = (dir.join("bundle"), dir.join("pid"));
        let error_file = dir.join("runtime.log");
        let mut args = self.runtime_args(&error_file);
        args.extend(["create", "--bundle"].map(OsString::from));
        args.extend([bundle.into(), "--pid-file".into(), pid_file.clone().into()]);
        args.push(id.as_str().into());
        let request = ShimRequest {
            program: self.inner.program.clone(),
            args,
            pid_file,
            error_file,
            exit_file: exit_file(&dir),
            oom_file: self.cgroups().oom_file(id),
            log: Some((dir.clone(), self.config().log_bytes)),
        };
        let path = dir.join("shim.json");
        write_json(&path, &request)?;
        let mut shim = self
            .shim_command(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(ContainerError::io("start the shim", &self.config().shim.program))?;
        let number = shim.id().and_then(|pid| i32::try_from(pid).ok());
        let process = number.and_then(ProcessId::of);
        let mut line = String::new();
        if let Some(out) = shim.stdout.take() {
            let read = BufReader::new(out).read_line(&mut line).await;
            read.map_err(ContainerError::io("hear from the shim of", &dir))?;
        }
        // Buried whenever it ends, as long as we are there.
        tokio::spawn(async move { shim.wait().await });
        let failed = |reason: String| ContainerError::Tool {
            program: self.config().runtime.name().into(),
            verb: "create".into(),
            reason,
        };
        match (serde_json::from_str(&line), process) {
            (Ok(ShimReport::Pid(pid)), Some(process)) => Ok((process, pid)),
            (Ok(ShimReport::Failed(reason)), _) => Err(failed(reason)),
            _ => Err(failed("the shim ended without a word".into())),
        }
    }

    /// The shim with a request, without our environment.
    pub(super) fn shim_command(&self, request: &Path) -> Command {
        let shim = &self.config().shim;
        let mut command = Command::new(&shim.program);
        command.args(&shim.args).arg(request).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    pub(super) fn program(&self) -> &Path {
        &self.inner.program
    }

    /// The container of that name.
    ///
    /// # Errors
    /// [`ContainerError::Unknown`]; [`ContainerError::Io`] for a damaged record.
    pub fn get(&self, id: &ContainerId) -> Result<Container> {
        match self.record(id)? {
            Some(record) if record.shim.is_some() => Ok(Container::new(self.clone(), id.clone())),
            _ => Err(ContainerError::Unknown { id: id.clone() }),
        }
    }

    /// All containers, by name. Those that are just being made are not among them, nor what is
    /// damaged: [`sweep`](Self::sweep) removes that.
    #[must_use]
    pub fn list(&self) -> Vec<Container> {
        let known = |id: &ContainerId| {
            let found = self.get(id);
            if let Err(error @ ContainerError::Io { .. }) = &found {
                tracing::warn!(%id, %error, "a container's record cannot be read");
            }
            found.ok()
        };
        self.ids().iter().filter_map(known).collect()
    }

    fn ids(&self) -> Vec<ContainerId> {
        let entries = fs::read_dir(self.root().join("containers")).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut ids: Vec<ContainerId> = names.collect();
        ids.sort();
        ids
    }

    fn members(&self) -> Vec<Member> {
        let records = self.ids().into_iter().filter_map(|id| self.record(&id).ok().flatten());
        records.map(|record| record.member).collect()
    }

    /// Makes the rules those for the containers there are.
    async fn enforce(&self) -> Result<()> {
        let _changing = self.changes().lock().await;
        self.network().enforce(&self.members()).await
    }

    /// Removes whatever there is of a container, in an order that leaves nothing running behind:
    /// who could still make it, its processes, its network, its mounts, its files. May be called
    /// again after any failure.
    pub(super) async fn destroy(&self, id: &ContainerId) -> Result<()> {
        let dir = self.dir(id);
        let address = self.record(id).ok().flatten().map(|record| record.member.address);
        end_makers(&dir).await;
        // It fails for what it does not know; what it leaves goes below.
        let _ = self.runtime(&["delete", "--force", id.as_str()]).await;
        self.cgroups().destroy(id).await?;
        disk::remove_dir(&self.root().join("runtime").join(id.as_str()))?;
        if let Some(address) = address {
            let name = self.network().interface(address);
            self.network().detach(&name).await?;
        }
        // What was written is on its way to a file that goes: that may take a moment.
        let clear = move || disk::unmount_under(&dir).and_then(|()| disk::remove_dir(&dir));
        let cleared = tokio::task::spawn_blocking(clear).await;
        cleared.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        self.enforce().await
    }

    /// Removes every container but these, also what is left of one that was half made or half
    /// removed when a process was killed.
    ///
    /// # Errors
    /// The first thing that could not be removed; the rest is tried all the same.
    pub async fn sweep(&self, keep: &BTreeSet<ContainerId>) -> Result<Swept> {
        let mut found: BTreeSet<ContainerId> = self.ids().into_iter().collect();
        found.extend(self.cgroups().ids());
        let mut swept = Swept::default();
        let mut failure = Ok(());
        for id in found.difference(keep) {
            match self.destroy(id).await {
                Ok(()) => swept.containers.push(id.clone()),
                Err(error) => failure = failure.and(Err(error)),
            }
        }
        let owned: BTreeSet<String> =
            self.members().iter().map(|member| self.network().interface(member.address)).collect();
        for name in self.network().interfaces() {
            if !owned.contains(&name) {
                self.network().detach(&name).await?;
                swept.interfaces.push(name);
            }
        }
        failure.map(|()| swept)
    }

    /// Removes every container, the rules and the mounts of volumes. The volumes' content stays.
    ///
    /// # Errors
    /// The first thing that could not be removed.
    pub async fn close(self) -> Result<()> {
        self.sweep(&BTreeSet::new()).await?;
        self.network().clear().await?;
        disk::unmount_under(&self.root().join("volumes"))?;
        disk::remove_dir(&self.socket_dir())
    }
}

pub(super) fn exit_file(dir: &Path) -> PathBuf {
    dir.join("exit.json")
}

fn record_file(dir: &Path) -> PathBuf {
    dir.join("state.json")
}

/// The runtime's program, if everything that it takes is there.
fn supported(config: &Config) -> Result<PathBuf> {
    let lacks =
        |reason: &str, fix| Err(ContainerError::Unsupported { reason: reason.to_owned(), fix });
    if !rustix::process::geteuid().is_root() {
        return lacks("mounts and namespaces take root", "start as root");
    }
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !filesystems.contains("\toverlay\n") {
        return lacks("the kernel has no overlayfs", "load the `overlay` module");
    }
    let program = config.program.clone().or_else(|| find_program(config.runtime.name()));
    match program {
        Some(program) if program.is_file() => Ok(program),
        _ => lacks(
            &format!("`{}` is not installed", config.runtime.name()),
            "install it, or configure another runtime",
        ),
    }
}

/// Whether an unprivileged id can pass to the directory.
fn passable(root: &Path) -> Result<()> {
    for dir in root.ancestors() {
        let mode =
            fs::metadata(dir).map_err(ContainerError::io("look at", dir))?.permissions().mode();
        if mode & 1 == 0 {
            let reason = format!(
                "containers cannot pass {}; `chmod o+x` it or choose another root",
                dir.display()
            );
            return Err(ContainerError::refused("root", reason));
        }
    }
    Ok(())
}
