//! The cell for containers: runs unpacked images under an OCI runtime, with everything bounded and
//! nothing of the host in reach.
//!
//! ```text
//!  ContainerSpec ─▶ disk ─▶ overlay ─▶ config.json ─▶ shim ─▶ runtime create ─▶ veth, rules ─▶ start
//!                    │        layers under what is written    │
//!                    '── bounded; gone at the end             '── outlives us; log, exit status
//! ```
//!
//! # Life
//! | state | act | next |
//! |---|---|---|
//! | (none) | [`Containers::create`] | `Created`, or nothing is left of it |
//! | `Created` | [`Container::start`] | `Running` |
//! | `Created`, `Running` | [`Container::kill`] | `Exited` |
//! | `Running` | it ends, [`Container::signal`], [`Container::stop`] | `Exited` |
//! | `Running` | the shim is killed | `Exited` with [`ExitStatus::Lost`]; what still runs is killed |
//! | `Created`, `Running` | our process ends, by whatever cause | the same; [`Containers::get`] finds it |
//! | any | [`Container::delete`], [`Containers::sweep`] | (none) |
//!
//! A container that is made anew is a new one, with an empty disk; what must last is on a volume.
//!
//! # What holds
//! - What is on disk under the root, and the names `muster-TAG`, `mTAG*` and `muster_TAG` of control
//!   groups, interfaces and the rules' table, with a tag made from the root's path, are all there is:
//!   [`Containers::sweep`] finds it without remembering anything.
//! - One process at a time works on a root.
//! - Nothing of a tenant is followed on the host: paths of theirs are opened inside their root.
//! - The host routes for its containers: `net.ipv4.ip_forward` is switched on, and stays on.
//! - Secrets (environment, arguments) are in files of mode 0600, never on a command line.
//!
//! # What is deliberately absent
//! Pausing; a shared pid or network namespace of several containers; IPv6 inside containers; ids of
//! their own for each tenant (layers are unpacked once for all: tenants share the id range, and are
//! kept apart by their namespaces); limits of the number of processes by user, for the same reason.

mod bundle;
mod cdi;
mod cgroup;
mod containers;
mod disk;
mod error;
mod exec;
mod life;
mod log;
mod names;
mod net;
mod seccomp;
mod shim;
mod snapshot;
mod spec;
mod tools;
mod volume;

pub use cdi::{CdiDevices, CdiHook, CdiMount, DeviceNode, Edits};
pub use cgroup::Usage;
pub use containers::{Config, Containers, RuntimeKind, Swept};
pub use disk::DiskKind;
pub use error::ContainerError;
pub use exec::{Exec, ExecIo, ExecSpec, Terminal};
pub use life::{Container, ContainerLog, Exit, ExitStatus, State, Stats};
pub use log::{LogLine, LogQuery, MAX_LINE_BYTES, Stream};
pub use net::{DENIED, NetworkConfig};
pub use shim::shim_main;
pub use spec::{
    Capability, ContainerId, ContainerSpec, Destination, Egress, IdRange, IoLimits, Limits,
    MAX_ALLOWED, MAX_ID_BYTES, MAX_LAYERS, MIN_DISK_BYTES, MIN_MEMORY_BYTES, MIN_PIDS, Protocol,
    VolumeMount,
};
pub use tools::find_program;
