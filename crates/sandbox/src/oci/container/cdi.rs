//! Devices by the Container Device Interface: specification files of vendors say what makes a
//! device usable in a container; a container names devices, and the edits are merged.
//!
//! A MIG slice of a GPU is a device like any other. Checked with fixtures; not run on a GPU.

use super::error::{ContainerError, Result};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

/// The largest specification file, bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// When hooks run. The older `prestart` is refused.
const HOOKS: [&str; 5] =
    ["createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// The devices that specification files define, by qualified name (`vendor/class=name`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CdiDevices {
    devices: BTreeMap<String, Edits>,
}

/// What a device needs of a container: `containerEdits`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Edits {
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Device files.
    pub device_nodes: Vec<DeviceNode>,
    /// Files and directories of the host.
    pub mounts: Vec<CdiMount>,
    /// Programs that the runtime starts on the host: only if the provider allows it.
    pub hooks: Vec<CdiHook>,
    /// Groups of the process, as ids in the container.
    #[serde(rename = "additionalGids")]
    pub additional_gids: Vec<u32>,
}

/// A device file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceNode {
    /// Its path in the container.
    pub path: PathBuf,
    /// Its path on the host; the same if absent.
    pub host_path: Option<PathBuf>,
    /// Of `r`, `w`, `m`; `rw` if absent. Making nodes is never granted.
    pub permissions: Option<String>,
}

/// A file or directory of the host.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CdiMount {
    /// Its path on the host.
    pub host_path: PathBuf,
    /// Its path in the container.
    pub container_path: PathBuf,
    /// Mount options; `nosuid`, `nodev` and `bind` are added.
    #[serde(default)]
    pub options: Vec<String>,
}

/// A program that the runtime starts on the host.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CdiHook {
    /// When: `createRuntime`, `createContainer`, `startContainer`, `poststart` or `poststop`.
    pub hook_name: String,
    /// The program.
    pub path: PathBuf,
    /// Its arguments with its name.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its environment.
    #[serde(default)]
    pub env: Vec<String>,
    /// Seconds.
    pub timeout: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    cdi_version: String,
    kind: String,
    #[serde(default)]
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

/// A device's major and minor number with its kind, `b` or `c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) block: bool,
    pub(super) major: i64,
    pub(super) minor: i64,
}

impl DeviceNode {
    pub(super) fn source(&self) -> &Path {
        self.host_path.as_deref().unwrap_or(&self.path)
    }

    /// What the host has there.
    pub(super) fn node(&self) -> Result<Node> {
        let source = self.source();
        let stat =
            rustix::fs::stat(source).map_err(ContainerError::io("find the device", source))?;
        let kind = fs::metadata(source)
            .map_err(ContainerError::io("find the device", source))?
            .file_type();
        if !kind.is_char_device() && !kind.is_block_device() {
            let reason = format!("{} is not a device file", source.display());
            return Err(ContainerError::refused("devices", reason));
        }
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        Ok(Node { block: kind.is_block_device(), major: major.into(), minor: minor.into() })
    }
}

impl CdiDevices {
    /// Reads every `*.json`, `*.yaml` and `*.yml` of the directories (by convention `/etc/cdi` and
    /// `/var/run/cdi`); a later directory wins over an earlier one. A missing directory is empty.
    ///
    /// # Errors
    /// A file that cannot be read or is no CDI specification, by name.
    pub fn load(dirs: &[PathBuf]) -> Result<Self> {
        let mut all = Self::default();
        for dir in dirs {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            files.sort();
            for file in files {
                let suffix = file.extension().and_then(|suffix| suffix.to_str());
                if matches!(suffix, Some("json" | "yaml" | "yml")) {
                    all.add_file(&file)?;
                }
            }
        }
        Ok(all)
    }

    fn add_file(&mut self, path: &Path) -> Result<()> {
        let refused = |reason: String| {
            ContainerError::refused("devices", format!("{}: {reason}", path.display()))
        };
        let size = fs::metadata(path).map_err(ContainerError::io("read", path))?.len();
        if size > MAX_FILE_BYTES {
            return Err(refused(format!("larger than {MAX_FILE_BYTES} bytes")));
        }
        let text = fs::read_to_string(path).map_err(ContainerError::io("read", path))?;
        self.add(&text).map_err(refused)
    }

    /// Adds one specification, JSON or YAML (of which JSON is a part).
    fn add(&mut self, text: &str) -> Result<(), String> {
        let file: File = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| error.to_string())?
        } else {
            serde_saphyr::from_str(text).map_err(|error| error.to_string())?
        };
        let major = file.cdi_version.trim_start_matches('v').split('.').next();
        if !matches!(major, Some("0" | "1")) {
            return Err(format!("version {} is not known", file.cdi_version));
        }
        let word = |text: &str, more: &str| {
            text.starts_with(|first: char| first.is_ascii_alphanumeric())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let (vendor, class) = file.kind.split_once('/').unwrap_or_default();
        if !word(vendor, "-_.") || !word(class, "-_.") {
            return Err(format!("kind {:?} is not `vendor/class`", file.kind));
        }
        for device in file.devices {
            if !word(&device.name, "-_.:") {
                return Err(format!("device name {:?} is malformed", device.name));
            }
            let mut edits = file.container_edits.clone();
            edits.merge(device.container_edits);
            edits.check()?;
            self.devices.insert(format!("{}={}", file.kind, device.name), edits);
        }
        Ok(())
    }

    /// The qualified names of all devices.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.devices.keys().map(String::as_str)
    }

    /// What the named devices together need.
    ///
    /// # Errors
    /// [`ContainerError::Refused`] for a name that no file defines, and for hooks unless `hooks`.
    pub fn edits(&self, names: &[String], hooks: bool) -> Result<Edits> {
        let mut all = Edits::default();
        for name in names {
            let Some(edits) = self.devices.get(name) else {
                let known = self.devices.keys().cloned().collect::<Vec<_>>().join(", ");
                let reason = format!("no CDI file defines {name:?}; there are: {known}");
                return Err(ContainerError::refused("devices", reason));
            };
            if !hooks && !edits.hooks.is_empty() {
                let reason = format!("{name} needs hooks on the host; allow them in the config");
                return Err(ContainerError::refused("devices", reason));
            }
            all.merge(edits.clone());
        }
        Ok(all)
    }
}

impl Edits {
    /// Adds what is not there yet: two slices of one GPU share most of their mounts.
    fn merge(&mut self, other: Self) {
        fn add<T: PartialEq>(to: &mut Vec<T>, from: Vec<T>) {
            for item in from {
                if !to.contains(&item) {
                    to.push(item);
                }
            }
        }
        add(&mut self.env, other.env);
        add(&mut self.device_nodes, other.device_nodes);
        add(&mut self.mounts, other.mounts);
        add(&mut self.hooks, other.hooks);
        add(&mut self.additional_gids, other.additional_gids);
    }

    fn check(&self) -> Result<(), String> {
        let nodes = self.device_nodes.iter().flat_map(|node| [node.source(), &node.path]);
        let mounts =
            self.mounts.iter().flat_map(|mount| [&*mount.host_path, &*mount.container_path]);
        let hooks = self.hooks.iter().map(|hook| &*hook.path);
        if let Some(path) = nodes.chain(mounts).chain(hooks).find(|path| !path.is_absolute()) {
            return Err(format!("{} is not an absolute path", path.display()));
        }
        if let Some(hook) = self.hooks.iter().find(|hook| !HOOKS.contains(&&*hook.hook_name)) {
            return Err(format!("hook {:?} is not known", hook.hook_name));
        }
        if let Some(entry) = self.env.iter().find(|entry| !entry.contains('=')) {
            return Err(format!("env {entry:?} is not `NAME=value`"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIG: &str = r#"
cdiVersion: "0.6.0"
kind: nvidia.com/gpu
containerEdits:
  env: [NVIDIA_VISIBLE_DEVICES=void]
  deviceNodes:
    - path: /dev/nvidiactl
  mounts:
    - hostPath: /usr/lib/libcuda.so.1
      containerPath: /usr/lib/libcuda.so.1
      options: [ro, nosuid, nodev, bind]
devices:
  - name: "0:0"
    containerEdits:
      deviceNodes:
        - path: /dev/nvidia0
        - path: /dev/nvidia-caps/nvidia-cap12
  - name: "0:1"
    containerEdits:
      deviceNodes:
        - path: /dev/nvidia0
        - path: /dev/nvidia-caps/nvidia-cap21
"#;

    fn of(text: &str) -> Result<CdiDevices, String> {
        let mut devices = CdiDevices::default();
        devices.add(text).map(|()| devices)
    }

    #[test]
    fn two_mig_slices_share_their_gpu_and_keep_their_own_capability() {
        let devices = of(MIG).unwrap();
        assert_eq!(
            devices.names().collect::<Vec<_>>(),
            ["nvidia.com/gpu=0:0", "nvidia.com/gpu=0:1"]
        );
        let names = ["nvidia.com/gpu=0:0".to_owned(), "nvidia.com/gpu=0:1".to_owned()];
        let edits = devices.edits(&names, false).unwrap();
        let nodes: Vec<_> =
            edits.device_nodes.iter().map(|node| node.path.to_str().unwrap()).collect();
        assert_eq!(
            nodes,
            [
                "/dev/nvidiactl",
                "/dev/nvidia0",
                "/dev/nvidia-caps/nvidia-cap12",
                "/dev/nvidia-caps/nvidia-cap21"
            ]
        );
        assert_eq!(edits.mounts.len(), 1);
    }

    #[test]
    fn hooks_run_on_the_host_only_if_the_provider_says_so() {
        let text = r#"{"cdiVersion":"0.5.0","kind":"a.b/c","devices":[{"name":"x",
            "containerEdits":{"hooks":[{"hookName":"createContainer","path":"/bin/h"}]}}]}"#;
        let devices = of(text).unwrap();
        let names = ["a.b/c=x".to_owned()];
        let error = devices.edits(&names, false).unwrap_err().to_string();
        assert!(error.contains("a.b/c=x") && error.contains("allow them"), "{error}");
        assert_eq!(devices.edits(&names, true).unwrap().hooks.len(), 1);
    }

    #[test]
    fn a_malformed_specification_or_an_unknown_device_is_refused() {
        let bad = [
            r#"{"cdiVersion":"9.0","kind":"a/b"}"#,
            r#"{"cdiVersion":"0.6.0","kind":"ab"}"#,
            r#"{"cdiVersion":"0.6.0","kind":"a/b","devices":[{"name":"x","containerEdits":
                {"mounts":[{"hostPath":"../etc","containerPath":"/x"}]}}]}"#,
            r#"{"cdiVersion":"0.6.0","kind":"a/b","devices":[{"name":"../x"}]}"#,
            "cdiVersion: [",
        ];
        for text in bad {
            assert!(of(text).is_err(), "{text}");
        }
        let error = of(MIG).unwrap().edits(&["nvidia.com/gpu=7".into()], false).unwrap_err();
        assert!(error.to_string().contains("0:1"), "{error}");
    }
}
