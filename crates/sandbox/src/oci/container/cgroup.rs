//! The containers' control groups: what they used, whether memory ran out, and their end.
//!
//! The runtime makes the groups and sets the limits. On cgroup v1 and on the hybrid layout each
//! controller has a tree of its own; on v2 there is one. Not run on hardware: v2.

use super::{
    error::{ContainerError, Result},
    spec::ContainerId,
    tools::kill_process,
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long the kernel may take to end killed processes.
const DYING: Duration = Duration::from_secs(20);

/// The trees of this machine and our group in each.
#[derive(Debug, Clone)]
pub(super) struct Cgroups {
    /// The parent of all groups of one root.
    parent: String,
    /// Where trees are mounted, with their controllers; `None` marks v2.
    trees: Vec<(Option<Vec<String>>, PathBuf)>,
    unified: bool,
}

/// What a container used so far and holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all its processes, microseconds.
    pub cpu_us: u64,
    /// Memory that the kernel cannot simply take back, bytes.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes read from block devices.
    pub read_bytes: u64,
    /// Bytes written to block devices; on cgroup v1 without what went through the page cache.
    pub write_bytes: u64,
    /// Processes that the kernel killed because memory ran out.
    pub oom_kills: u64,
}

impl Cgroups {
    /// Reads the layout from the mount table.
    pub(super) fn detect(tag: &str) -> Result<Self> {
        let table = Path::new("/proc/self/mounts");
        let text = fs::read_to_string(table).map_err(ContainerError::io("read", table))?;
        Ok(Self::from_mounts(tag, &text))
    }

    fn from_mounts(tag: &str, table: &str) -> Self {
        let mut trees = Vec::new();
        for line in table.lines() {
            let mut words = line.split(' ');
            let (_, Some(at), Some(kind), Some(options)) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                continue;
            };
            let controllers = match kind {
                "cgroup" => Some(options.split(',').map(str::to_owned).collect()),
                "cgroup2" => None,
                _ => continue,
            };
            trees.push((controllers, PathBuf::from(at)));
        }
        let unified = trees.iter().all(|(controllers, _)| controllers.is_none());
        Self { parent: format!("muster-{tag}"), trees, unified }
    }

    /// The container's group, as the runtime is told.
    pub(super) fn path(&self, id: &ContainerId) -> PathBuf {
        Path::new("/").join(&self.parent).join(id.as_str())
    }

    fn dir(&self, id: &ContainerId, controller: &str) -> PathBuf {
        let with = |(controllers, _): &&(Option<Vec<String>>, PathBuf)| match controllers {
            Some(controllers) => controllers.iter().any(|name| name == controller),
            None => self.unified,
        };
        let root = self.trees.iter().find(with).map(|(_, path)| path.as_path());
        root.unwrap_or(Path::new("/sys/fs/cgroup")).join(&self.parent).join(id.as_str())
    }

    /// The file whose line `oom_kill N` counts what the kernel killed.
    pub(super) fn oom_file(&self, id: &ContainerId) -> PathBuf {
        let name = if self.unified { "memory.events" } else { "memory.oom_control" };
        self.dir(id, "memory").join(name)
    }

    /// Whether memory of swap is counted, so that a limit of it can be set.
    pub(super) fn counts_swap(&self) -> bool {
        let memory = |(controllers, _): &&(Option<Vec<String>>, PathBuf)| {
            controllers.as_ref().is_some_and(|names| names.iter().any(|name| name == "memory"))
        };
        let tree = self.trees.iter().find(memory);
        tree.is_none_or(|(_, root)| root.join("memory.memsw.limit_in_bytes").exists())
    }

    /// Zeros where the group is gone.
    pub(super) fn usage(&self, id: &ContainerId) -> Usage {
        let oom_kills = oom_kills(&self.oom_file(id));
        let pids = number(&self.dir(id, "pids").join("pids.current"));
        let memory = self.dir(id, "memory");
        if self.unified {
            let (read_bytes, write_bytes) = io_v2(&text(&memory.join("io.stat")));
            let inactive = field(&memory.join("memory.stat"), "inactive_file");
            return Usage {
                cpu_us: field(&memory.join("cpu.stat"), "usage_usec"),
                memory_bytes: number(&memory.join("memory.current")).saturating_sub(inactive),
                pids,
                read_bytes,
                write_bytes,
                oom_kills,
            };
        }
        let blkio = self.dir(id, "blkio").join("blkio.throttle.io_service_bytes_recursive");
        let (read_bytes, write_bytes) = io_v1(&text(&blkio));
        let inactive = field(&memory.join("memory.stat"), "total_inactive_file");
        Usage {
            cpu_us: number(&self.dir(id, "cpuacct").join("cpuacct.usage")) / 1000,
            memory_bytes: number(&memory.join("memory.usage_in_bytes")).saturating_sub(inactive),
            pids,
            read_bytes,
            write_bytes,
            oom_kills,
        }
    }

    /// The processes in any of the container's groups, by their numbers on the host.
    pub(super) fn processes(&self, id: &ContainerId) -> BTreeSet<i32> {
        let groups = self.trees.iter().map(|(_, root)| root.join(&self.parent).join(id.as_str()));
        groups.flat_map(|group| processes(&group)).collect()
    }

    /// Kills whatever is in the container's groups, waits for its end and removes them.
    pub(super) async fn destroy(&self, id: &ContainerId) -> Result<()> {
        let deadline = tokio::time::Instant::now() + DYING;
        loop {
            let left = self.processes(id);
            if left.is_empty() {
                break;
            }
            if tokio::time::Instant::now() > deadline {
                return Err(ContainerError::Tool {
                    program: "kernel".into(),
                    verb: "kill".into(),
                    reason: format!("processes {left:?} of container {id} do not end"),
                });
            }
            left.into_iter().for_each(kill_process);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for (_, root) in &self.trees {
            remove_tree(&root.join(&self.parent).join(id.as_str()))?;
            // Only when it was the last.
            let _ = fs::remove_dir(root.join(&self.parent));
        }
        Ok(())
    }

    /// The containers that have groups.
    pub(super) fn ids(&self) -> Vec<ContainerId> {
        let dirs = self.trees.iter().flat_map(|(_, root)| children(&root.join(&self.parent)));
        let names = dirs.filter_map(|dir| dir.file_name()?.to_str()?.parse().ok());
        let mut ids: Vec<ContainerId> = names.collect();
        ids.sort();
        ids.dedup();
        ids
    }
}

/// The value of `oom_kill` in the file; 0 if there is none.
pub(super) fn oom_kills(file: &Path) -> u64 {
    field(file, "oom_kill")
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

fn number(file: &Path) -> u64 {
    text(file).trim().parse().unwrap_or(0)
}

fn field(file: &Path, name: &str) -> u64 {
    let text = text(file);
    let mut values = text.lines().filter_map(|line| line.split_once(' '));
    values.find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

/// Lines `7:0 Read 4096`; a device that stands on another is counted once, by its largest.
fn io_v1(text: &str) -> (u64, u64) {
    let largest = |name: &str| {
        let lines = text.lines().filter_map(|line| {
            let (_, rest) = line.split_once(' ')?;
            rest.strip_prefix(name)?.trim().parse::<u64>().ok()
        });
        lines.max().unwrap_or(0)
    };
    (largest("Read "), largest("Write "))
}

/// Lines `7:0 rbytes=4096 wbytes=0 ..`.
fn io_v2(text: &str) -> (u64, u64) {
    let largest = |name: &str| {
        let words = text.split_ascii_whitespace();
        words.filter_map(|word| word.strip_prefix(name)?.parse::<u64>().ok()).max().unwrap_or(0)
    };
    (largest("rbytes="), largest("wbytes="))
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|e| e.path())
        .collect()
}

fn processes(group: &Path) -> Vec<i32> {
    let own = text(&group.join("cgroup.procs"));
    let mut all: Vec<i32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    for child in children(group) {
        all.extend(processes(&child));
    }
    all
}

fn remove_tree(group: &Path) -> Result<()> {
    for child in children(group) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ContainerError::io("remove", group)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_reads_controllers_from_v1_and_removes_from_every_tree() {
        let table = "cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
                     cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                     cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n\
                     proc /proc proc rw 0 0\n";
        let groups = Cgroups::from_mounts("t", table);
        let id: ContainerId = "a".parse().unwrap();
        assert_eq!(
            groups.oom_file(&id),
            Path::new("/sys/fs/cgroup/memory/muster-t/a/memory.oom_control")
        );
        assert_eq!(groups.dir(&id, "cpuacct"), Path::new("/sys/fs/cgroup/cpu,cpuacct/muster-t/a"));
        assert_eq!(groups.trees.len(), 3);
    }

    #[test]
    fn unified_reads_everything_from_the_one_tree() {
        let groups =
            Cgroups::from_mounts("t", "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n");
        let id: ContainerId = "a".parse().unwrap();
        assert_eq!(groups.oom_file(&id), Path::new("/sys/fs/cgroup/muster-t/a/memory.events"));
        assert_eq!(groups.dir(&id, "pids"), Path::new("/sys/fs/cgroup/muster-t/a"));
        assert!(groups.counts_swap());
    }

    #[test]
    fn a_device_on_another_is_counted_once() {
        assert_eq!(io_v1("7:0 Read 4096\n7:0 Write 1\n254:0 Read 4096\nTotal 9\n"), (4096, 1));
        assert_eq!(io_v2("7:0 rbytes=5 wbytes=6 rios=1\n254:0 rbytes=5 wbytes=2\n"), (5, 6));
    }
}
