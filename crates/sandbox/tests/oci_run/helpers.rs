use muster_sandbox::{
    ChildProgram,
    oci::container::{
        Config, ContainerId, ContainerSpec, Containers, Exit, ExitStatus, LogQuery, NetworkConfig,
        RuntimeKind, Stream, find_program,
    },
};
use std::{
    fmt::Write,
    fs,
    os::unix::fs::{PermissionsExt, lchown, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A root for containers, with a layer of busybox, of one test.
pub(crate) struct Place {
    pub(crate) all: Containers,
    pub(crate) dir: TempDir,
}

pub(crate) fn runtime() -> RuntimeKind {
    match std::env::var("MUSTER_TEST_RUNTIME").as_deref() {
        Ok("runsc") => RuntimeKind::Runsc,
        _ => RuntimeKind::Runc,
    }
}

/// Whether this machine can run containers; says why not.
pub(crate) fn able() -> bool {
    let lacks = if !rustix::process::geteuid().is_root() {
        "root"
    } else if find_program(runtime().name()).is_none() {
        runtime().name()
    } else if find_program("busybox").is_none() {
        "busybox (Debian: busybox-static)"
    } else if find_program("nft").is_none() {
        "nft (Debian: nftables)"
    } else {
        return true;
    };
    skipped(lacks);
    false
}

/// A directory that containers can pass.
pub(crate) fn directory() -> TempDir {
    let dir = tempfile::Builder::new().prefix("muster-oci-").tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    dir
}

/// A pool of its own for each test of each process.
pub(crate) fn pool() -> ipnet::Ipv4Net {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let (process, test) = (std::process::id() % 200, NEXT.fetch_add(1, Ordering::Relaxed));
    format!("10.{}.{test}.0/24", 20 + process).parse().unwrap()
}

pub(crate) fn config(dir: &Path) -> Config {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_muster-sandbox-shim"));
    let shim = ChildProgram { program, args: Vec::new() };
    let mut config = Config::new(dir.join("root"), shim, NetworkConfig::new(pool()));
    config.runtime = runtime();
    let args = std::env::var("MUSTER_TEST_RUNTIME_ARGS").unwrap_or_default();
    config.runtime_args = args.split_whitespace().map(str::to_owned).collect();
    config.network.dns = vec!["9.9.9.9".parse().unwrap()];
    config
}

/// A layer that holds busybox and nothing else, owned by the container's root.
pub(crate) fn busybox(dir: &Path) -> PathBuf {
    let layer = dir.join("layer");
    if layer.exists() {
        return layer;
    }
    for name in ["bin", "etc", "tmp", "root"] {
        fs::create_dir_all(layer.join(name)).unwrap();
    }
    let busybox = find_program("busybox").unwrap();
    // By another process: what this one writes may not be run while another test starts a program.
    let copied = Command::new(&busybox).arg("cp").arg(&busybox).arg(layer.join("bin")).status();
    assert!(copied.unwrap().success());
    let list = Command::new(&busybox).arg("--list").output().unwrap().stdout;
    for name in String::from_utf8(list).unwrap().lines().filter(|name| *name != "busybox") {
        symlink("busybox", layer.join("bin").join(name)).unwrap();
    }
    fs::write(layer.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/:/bin/sh\n")
        .unwrap();
    own(&layer);
    layer
}

/// Gives a tree to the container's root, as unpacking does.
pub(crate) fn own(path: &Path) {
    let base = muster_sandbox::oci::container::IdRange::default().base;
    lchown(path, Some(base), Some(base)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            own(&entry.unwrap().path());
        }
    }
}

impl Place {
    /// `None` if this machine cannot run containers.
    pub(crate) async fn open() -> Option<Self> {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Option<Self> {
        if !able() {
            return None;
        }
        let dir = directory();
        busybox(dir.path());
        let mut config = config(dir.path());
        change(&mut config);
        Some(Self { all: Containers::open(config).await.unwrap(), dir })
    }

    /// A container that runs a shell script.
    pub(crate) fn spec(&self, id: &str, script: &str) -> ContainerSpec {
        spec(self.dir.path(), id, script)
    }

    /// Runs a container to its end and gives what it wrote.
    pub(crate) async fn run(&self, spec: &ContainerSpec) -> (Exit, String) {
        let container = self.all.create(spec).await.unwrap();
        container.start().await.unwrap();
        let exit = container.wait().await.unwrap();
        let text = output(&container).await;
        container.delete().await.unwrap();
        (exit, text)
    }

    /// Closes everything and checks that nothing is left on the machine.
    pub(crate) async fn close(self) {
        self.all.close().await.unwrap();
        assert_eq!(left(self.dir.path()), "");
    }
}

pub(crate) fn spec(dir: &Path, id: &str, script: &str) -> ContainerSpec {
    let args = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let mut spec = ContainerSpec::new(name(id), vec![busybox(dir)], args);
    spec.limits.memory_bytes = 64 << 20;
    spec.limits.disk_bytes = 16 << 20;
    spec.limits.pids = 64;
    spec
}

pub(crate) fn name(id: &str) -> ContainerId {
    id.parse().unwrap()
}

/// What a container wrote on both outputs so far; errors are marked with `!`.
pub(crate) async fn output(container: &muster_sandbox::oci::container::Container) -> String {
    let mut log = container.logs(LogQuery::default()).unwrap();
    let mut text = String::new();
    while let Some(line) = log.next().await.unwrap() {
        let mark = if line.stream == Stream::Err { "!" } else { "" };
        writeln!(text, "{mark}{}", String::from_utf8_lossy(&line.text)).unwrap();
    }
    text
}

pub(crate) fn code(exit: &Exit) -> i32 {
    match exit.status {
        ExitStatus::Code(code) => code,
        ref other => panic!("{other:?}"),
    }
}

/// Waits for a condition; the machine may be busy.
pub(crate) async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Everything on this machine that belongs to the root in this directory, a line each; empty if
/// there is nothing.
pub(crate) fn left(dir: &Path) -> String {
    let root = dir.join("root");
    let tag = &blake3::hash(root.as_os_str().as_encoded_bytes()).to_hex()[..8];
    let path = root.to_str().unwrap();
    let mut found = String::new();
    let mut note = |kind: &str, what: &str| writeln!(found, "{kind}: {what}").unwrap();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    for line in mounts.lines().filter(|line| line.contains(path)) {
        note("mount", line);
    }
    for tree in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let group = tree.path().join(format!("muster-{tag}"));
        if group.exists() {
            note("cgroup", group.to_str().unwrap());
        }
    }
    for entry in fs::read_dir("/sys/class/net").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with(&format!("m{tag}")) {
            note("interface", &name);
        }
    }
    let tables = Command::new("nft").args(["list", "tables"]).output().unwrap().stdout;
    for line in String::from_utf8(tables).unwrap().lines().filter(|line| line.contains(tag)) {
        note("rules", line);
    }
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let number = entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok());
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if number && line.contains(path) {
            note("process", &line);
        }
    }
    for entry in fs::read_dir("/sys/block").unwrap().flatten() {
        let file = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        if file.starts_with(path) {
            note("loop device", &file);
        }
    }
    for part in ["containers", "runtime"] {
        for entry in fs::read_dir(root.join(part)).into_iter().flatten().flatten() {
            note(part, entry.path().to_str().unwrap());
        }
    }
    if Path::new(&format!("/run/muster-{tag}")).exists() {
        note("sockets", tag);
    }
    found
}

/// A program that a test needs; says so if it is not there.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let found = find_program(name);
    if found.is_none() {
        skipped(name);
    }
    found
}

#[allow(clippy::print_stderr, reason = "who runs the tests must see what was not tested")]
fn skipped(lacks: &str) {
    eprintln!("skipped: containers need {lacks}");
}
