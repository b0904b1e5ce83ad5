//! The specification that the runtime is given: ours, whatever an image says.
//!
//! - Namespaces: user, pid, ipc, uts, mount, cgroup and network, all new. Id 0 inside is an id
//!   outside that owns nothing and can do nothing ([`IdRange`]); so is every other.
//! - Capabilities: those asked for and allowed, and they only reach what these namespaces own.
//! - `no_new_privs`; every mount of ours is `nosuid`; [`seccomp`](super::seccomp) by allowlist.
//! - `/dev` holds null, zero, full, random, urandom, tty and a new devpts; `/sys` and the control
//!   groups are read-only; what tells about the host in `/proc` and `/sys` is masked.
//! - `net.ipv4.ip_unprivileged_port_start` is 0: port 80 needs no capability.

use super::{
    cdi::Edits,
    error::{ContainerError, Result},
    seccomp,
    spec::{ContainerSpec, IdRange, IoLimits, VolumeMount},
    tools::{open_plain_dir, read_inside},
};
use oci_spec::{
    OciSpecError,
    runtime::{
        Capability, Hook, HookBuilder, Hooks, Linux, LinuxBlockIoBuilder, LinuxBuilder,
        LinuxCapabilitiesBuilder, LinuxCpuBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder,
        LinuxDeviceType, LinuxIdMappingBuilder, LinuxMemoryBuilder, LinuxNamespaceBuilder,
        LinuxNamespaceType as Namespace, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder,
        LinuxThrottleDevice, LinuxThrottleDeviceBuilder, Mount, MountBuilder, PosixRlimitBuilder,
        PosixRlimitType, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, User,
        UserBuilder,
    },
};
use rustix::process::{Resource, getrlimit};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CPU_PERIOD_US: u64 = 100_000;
/// The largest `/etc/passwd` or `/etc/group` that is read, bytes.
const MAX_PASSWD_BYTES: u64 = 1 << 20;
/// When memory runs out on the whole host, tenants go before the host's own programs.
const OOM_SCORE: i32 = 500;

const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the specification is made of.
pub(super) struct Bundle<'a> {
    pub(super) spec: &'a ContainerSpec,
    pub(super) ids: IdRange,
    pub(super) root: &'a Path,
    /// Files of ours in the container, such as `/etc/hosts`: on the host, inside.
    pub(super) files: &'a [(PathBuf, &'static str)],
    pub(super) cgroup: PathBuf,
    pub(super) swap_counted: bool,
    /// The devices of the disks, for limits of their traffic.
    pub(super) disks: &'a [(u32, u32)],
    /// Threads of the runtime's own that count as the container's.
    pub(super) threads: u32,
    pub(super) edits: &'a Edits,
}

impl Bundle<'_> {
    pub(super) fn build(&self) -> Result<Spec> {
        for volume in &self.spec.volumes {
            open_plain_dir(&volume.source)?;
        }
        let process = self.process()?;
        self.assemble(process).map_err(|error| malformed(&error))
    }

    fn assemble(&self, process: Process) -> Result<Spec, OciSpecError> {
        let mut builder = SpecBuilder::default()
            .version("1.0.2")
            .process(process)
            .root(
                RootBuilder::default()
                    .path(self.root)
                    .readonly(self.spec.read_only_root)
                    .build()?,
            )
            .hostname(self.hostname())
            .mounts(self.mounts()?)
            .linux(self.linux()?);
        if !self.edits.hooks.is_empty() {
            builder = builder.hooks(hooks(self.edits)?);
        }
        builder.build()
    }

    fn hostname(&self) -> String {
        self.spec.hostname.clone().unwrap_or_else(|| self.spec.id.to_string())
    }

    /// The container's first process.
    fn process(&self) -> Result<Process> {
        let who = resolve_user(self.root, &self.spec.user)?;
        let mut env: Vec<String> = Vec::new();
        let mut set = |entry: String| {
            let name = entry.split('=').next().unwrap_or_default().to_owned() + "=";
            env.retain(|old| !old.starts_with(&name));
            env.push(entry);
        };
        set(PATH.to_owned());
        set(format!("HOME={}", who.home));
        set(format!("HOSTNAME={}", self.hostname()));
        for (name, value) in &self.spec.env {
            set(format!("{name}={value}"));
        }
        for entry in &self.edits.env {
            set(entry.clone());
        }
        let mut groups = who.groups;
        groups.extend(&self.edits.additional_gids);
        let asked = ProcessAsked {
            args: self.spec.args.clone(),
            env,
            cwd: self.spec.working_dir.clone(),
            user: user(who.uid, who.gid, groups).map_err(|error| malformed(&error))?,
            capabilities: &self.spec.capabilities,
            open_files: self.spec.limits.open_files,
        };
        asked.build().map_err(|error| malformed(&error))
    }

    fn mounts(&self) -> Result<Vec<Mount>, OciSpecError> {
        let shm = format!("size={}", self.spec.limits.shm_bytes);
        let mut mounts = vec![
            mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])?,
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=64k"])?,
            mount(
                "/dev/pts",
                "devpts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            )?,
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm])?,
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"])?,
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"])?,
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"])?,
        ];
        for (source, target) in self.files {
            mounts.push(bind(source, Path::new(target), &["ro", "nosuid", "nodev", "noexec"])?);
        }
        for VolumeMount { source, target, read_only } in &self.spec.volumes {
            let access = if *read_only { "ro" } else { "rw" };
            mounts.push(bind(source, target, &[access, "nosuid", "nodev", "rprivate"])?);
        }
        for given in &self.edits.mounts {
            let mut options: Vec<&str> = given.options.iter().map(String::as_str).collect();
            options.retain(|option| !["bind", "rbind", "suid", "dev"].contains(option));
            options.extend(["nosuid", "nodev"]);
            mounts.push(bind(&given.host_path, &given.container_path, &options)?);
        }
        for node in &self.edits.device_nodes {
            // A user namespace cannot make nodes: the host's is shown.
            mounts.push(bind(node.source(), &node.path, &["nosuid", "noexec"])?);
        }
        Ok(mounts)
    }

    fn linux(&self) -> Result<Linux, OciSpecError> {
        let kinds = [
            Namespace::User,
            Namespace::Pid,
            Namespace::Ipc,
            Namespace::Uts,
            Namespace::Mount,
            Namespace::Cgroup,
            Namespace::Network,
        ];
        let namespaces =
            kinds.into_iter().map(|kind| LinuxNamespaceBuilder::default().typ(kind).build());
        let ids = LinuxIdMappingBuilder::default()
            .container_id(0u32)
            .host_id(self.ids.base)
            .size(self.ids.size)
            .build()?;
        let owned =
            |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        let sysctl = [
            ("net.ipv4.ip_unprivileged_port_start", "0"),
            ("net.ipv4.ping_group_range", "0 65535"),
            ("net.ipv6.conf.all.disable_ipv6", "1"),
            ("net.ipv6.conf.default.disable_ipv6", "1"),
        ];
        let sysctl = sysctl.map(|(name, value)| (name.to_owned(), value.to_owned()));
        LinuxBuilder::default()
            .namespaces(namespaces.collect::<Result<Vec<_>, _>>()?)
            .uid_mappings(vec![ids])
            .gid_mappings(vec![ids])
            .sysctl(HashMap::from(sysctl))
            .cgroups_path(self.cgroup.clone())
            .resources(self.resources()?)
            .seccomp(seccomp::filter(&self.spec.capabilities)?)
            .masked_paths(owned(MASKED))
            .readonly_paths(owned(READ_ONLY))
            .build()
    }

    fn resources(&self) -> Result<LinuxResources, OciSpecError> {
        let limits = &self.spec.limits;
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let memory = signed(limits.memory_bytes);
        let mut memory_limit = LinuxMemoryBuilder::default().limit(memory);
        if self.swap_counted {
            memory_limit = memory_limit.swap(memory);
        }
        let quota = u64::from(limits.milli_cpu) * CPU_PERIOD_US / 1000;
        let shares = (u64::from(limits.milli_cpu) * 1024 / 1000).max(2);
        let cpu = LinuxCpuBuilder::default()
            .quota(signed(quota.max(1000)))
            .period(CPU_PERIOD_US)
            .shares(shares)
            .build()?;
        let mut builder = LinuxResourcesBuilder::default()
            .memory(memory_limit.build()?)
            .cpu(cpu)
            .pids(
                LinuxPidsBuilder::default()
                    .limit(i64::from(limits.pids) + i64::from(self.threads))
                    .build()?,
            )
            .devices(self.device_rules()?);
        if !self.disks.is_empty() && limits.io != IoLimits::default() {
            let [read_bps, write_bps, read_iops, write_iops] = [
                limits.io.read_bps,
                limits.io.write_bps,
                limits.io.read_iops,
                limits.io.write_iops,
            ]
            .map(|rate| throttle(self.disks, rate));
            let block = LinuxBlockIoBuilder::default()
                .throttle_read_bps_device(read_bps?)
                .throttle_write_bps_device(write_bps?)
                .throttle_read_iops_device(read_iops?)
                .throttle_write_iops_device(write_iops?);
            builder = builder.block_io(block.build()?);
        }
        builder.build()
    }

    /// Nothing but what the runtime itself adds for `/dev`, and the devices named.
    fn device_rules(&self) -> Result<Vec<LinuxDeviceCgroup>, OciSpecError> {
        let mut rules =
            vec![LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()?];
        for given in &self.edits.device_nodes {
            let node = given.node().map_err(|error| OciSpecError::Other(error.to_string()))?;
            let kind = if node.block { LinuxDeviceType::B } else { LinuxDeviceType::C };
            let access = given.permissions.as_deref().unwrap_or("rw").replace('m', "");
            let rule = LinuxDeviceCgroupBuilder::default()
                .allow(true)
                .typ(kind)
                .major(node.major)
                .minor(node.minor)
                .access(access);
            rules.push(rule.build()?);
        }
        Ok(rules)
    }
}

/// A process in a container, its first or one more.
pub(super) struct ProcessAsked<'a> {
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) cwd: PathBuf,
    pub(super) user: User,
    pub(super) capabilities: &'a [Capability],
    pub(super) open_files: u64,
}

impl ProcessAsked<'_> {
    pub(super) fn build(self) -> Result<Process, OciSpecError> {
        let set = self.capabilities.iter().copied().collect::<std::collections::HashSet<_>>();
        // Ambient, or a process that is not root would get none.
        let capabilities = LinuxCapabilitiesBuilder::default()
            .bounding(set.clone())
            .effective(set.clone())
            .permitted(set.clone())
            .inheritable(set.clone())
            .ambient(set)
            .build()?;
        // Without CAP_SYS_RESOURCE nobody may raise a limit.
        let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let files = self.open_files.min(most);
        let rlimit = |kind, value| {
            PosixRlimitBuilder::default().typ(kind).hard::<u64>(value).soft::<u64>(value).build()
        };
        ProcessBuilder::default()
            .terminal(false)
            .args(self.args)
            .env(self.env)
            .cwd(self.cwd)
            .user(self.user)
            .capabilities(capabilities)
            .no_new_privileges(true)
            .oom_score_adj(OOM_SCORE)
            .rlimits(vec![
                rlimit(PosixRlimitType::RlimitNofile, files)?,
                rlimit(PosixRlimitType::RlimitCore, 0)?,
            ])
            .build()
    }
}

/// Who a process is, by ids in the container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    home: String,
}

pub(super) fn user(uid: u32, gid: u32, groups: Vec<u32>) -> Result<User, OciSpecError> {
    let builder = UserBuilder::default().uid(uid).gid(gid);
    if groups.is_empty() { builder.build() } else { builder.additional_gids(groups).build() }
}

pub(super) fn malformed(error: &OciSpecError) -> ContainerError {
    ContainerError::refused("specification", error.to_string())
}

/// Resolves `user` as images write it, with the files of the image.
pub(super) fn resolve_user(root: &Path, user: &str) -> Result<Who> {
    let passwd = read_inside(root, "etc/passwd", MAX_PASSWD_BYTES)?.unwrap_or_default();
    let group = read_inside(root, "etc/group", MAX_PASSWD_BYTES)?.unwrap_or_default();
    lookup(&passwd, &group, user)
}

fn lookup(passwd: &str, group: &str, user: &str) -> Result<Who> {
    let unknown = |kind: &str, name: &str| {
        ContainerError::refused("user", format!("the image has no {kind} {name:?}; use a number"))
    };
    let (name, group_name) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number: Option<u32> = name.parse().ok();
    let row = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|row| {
        row.len() >= 6
            && match number {
                Some(number) => row[2].parse() == Ok(number),
                None => row[0] == name,
            }
    });
    let uid = match (&row, number) {
        (_, Some(number)) => number,
        (Some(row), None) => row[2].parse().map_err(|_| unknown("user", name))?,
        (None, None) => return Err(unknown("user", name)),
    };
    let rows = || group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let gid = match group_name {
        Some(name) => match name.parse() {
            Ok(gid) => gid,
            Err(_) => rows()
                .find(|row| row.len() >= 3 && row[0] == name)
                .and_then(|row| row[2].parse().ok())
                .ok_or_else(|| unknown("group", name))?,
        },
        None => row.as_ref().and_then(|row| row[3].parse().ok()).unwrap_or(0),
    };
    let mut groups = Vec::new();
    if let (Some(row), None) = (&row, group_name) {
        let member = |members: &str| members.split(',').any(|member| member == row[0]);
        let ids = rows().filter(|row| row.len() >= 4 && member(row[3]));
        groups.extend(ids.filter_map(|row| row[2].parse::<u32>().ok()).filter(|id| *id != gid));
        groups.truncate(64);
    }
    let home = row.as_ref().map(|row| row[5]).filter(|home| home.starts_with('/')).unwrap_or("/");
    Ok(Who { uid, gid, groups, home: home.to_owned() })
}

fn mount(at: &str, kind: &str, source: &str, options: &[&str]) -> Result<Mount, OciSpecError> {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    MountBuilder::default().destination(at).typ(kind).source(source).options(options).build()
}

fn bind(source: &Path, target: &Path, options: &[&str]) -> Result<Mount, OciSpecError> {
    let mut options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    options.push("bind".to_owned());
    MountBuilder::default().destination(target).typ("bind").source(source).options(options).build()
}

fn throttle(
    devices: &[(u32, u32)],
    rate: Option<u64>,
) -> Result<Vec<LinuxThrottleDevice>, OciSpecError> {
    let Some(rate) = rate else { return Ok(Vec::new()) };
    let limit = |&(major, minor): &(u32, u32)| {
        LinuxThrottleDeviceBuilder::default().major(major).minor(minor).rate(rate).build()
    };
    devices.iter().map(limit).collect()
}

fn hooks(edits: &Edits) -> Result<Hooks, OciSpecError> {
    let mut hooks = Hooks::default();
    let named = |name: &str| -> Result<Option<Vec<Hook>>, OciSpecError> {
        let given = edits.hooks.iter().filter(|hook| hook.hook_name == name);
        let built = given.map(|hook| {
            let mut builder = HookBuilder::default()
                .path(hook.path.clone())
                .args(hook.args.clone())
                .env(hook.env.clone());
            if let Some(seconds) = hook.timeout {
                builder = builder.timeout(seconds);
            }
            builder.build()
        });
        let built = built.collect::<Result<Vec<_>, _>>()?;
        Ok((!built.is_empty()).then_some(built))
    };
    hooks.set_create_runtime(named("createRuntime")?);
    hooks.set_create_container(named("createContainer")?);
    hooks.set_start_container(named("startContainer")?);
    hooks.set_poststart(named("poststart")?);
    hooks.set_poststop(named("poststop")?);
    Ok(hooks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:/bin/false\nbad\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:web,other\nweb:x:34:\n";

    #[test]
    fn a_user_is_resolved_as_images_write_it() {
        let cases: [(&str, u32, u32, &[u32], &str); 7] = [
            ("", 0, 0, &[], "/root"),
            ("web", 33, 34, &[50], "/var/www"),
            ("33", 33, 34, &[50], "/var/www"),
            ("web:staff", 33, 50, &[], "/var/www"),
            ("web:7", 33, 7, &[], "/var/www"),
            ("1000", 1000, 0, &[], "/"),
            ("1000:1001", 1000, 1001, &[], "/"),
        ];
        for (user, uid, gid, groups, home) in cases {
            let who = lookup(PASSWD, GROUP, user).unwrap();
            let wanted = Who { uid, gid, groups: groups.to_vec(), home: home.to_owned() };
            assert_eq!(who, wanted, "{user}");
        }
    }

    #[test]
    fn an_unknown_user_or_group_is_named() {
        for (user, said) in [("nobody", "user \"nobody\""), ("web:x", "group \"x\"")] {
            let error = lookup(PASSWD, GROUP, user).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
