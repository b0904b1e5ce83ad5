//! From a manifest to the containers of one lease: pure checks, before anything costs anything.

use muster_api::service::Deploy;
use muster_market::Request;
use muster_sandbox::oci::{
    Overrides,
    container::{ContainerId, Limits, MIN_DISK_BYTES, MIN_MEMORY_BYTES},
    image::{Credentials, ImageRef},
};
use muster_spec::sdl::{Compute, Proto, Service, StorageClass};
use muster_types::LeaseId;
use std::path::PathBuf;

/// Containers of one lease.
pub(crate) const MAX_CONTAINERS: usize = 16;
/// Exposed ports of one container.
const MAX_PORTS: usize = 64;
/// Where a volume in memory is.
const SHM: &str = "/dev/shm";

/// A container to be.
#[derive(Clone, Debug)]
pub(crate) struct ReplicaPlan {
    pub(crate) id: ContainerId,
    pub(crate) service: String,
    pub(crate) image: ImageRef,
    pub(crate) credentials: Credentials,
    pub(crate) overrides: Overrides,
    pub(crate) limits: Limits,
    pub(crate) volumes: Vec<VolumePlan>,
    /// Exposed TCP ports, each once, and whether for everybody.
    pub(crate) ports: Vec<(u16, bool)>,
}

/// A directory with a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumePlan {
    pub(crate) id: ContainerId,
    pub(crate) bytes: u64,
    pub(crate) target: PathBuf,
    pub(crate) read_only: bool,
    /// Kept when the container is made anew.
    pub(crate) persistent: bool,
}

/// The containers that a lease of `request` runs, each after those that it depends on.
///
/// # Errors
/// What cannot be run, and the fix.
pub(crate) fn lower(deploy: &Deploy, request: &Request) -> Result<Vec<ReplicaPlan>, String> {
    let ours = |service: &&Service| service.unit == deploy.unit;
    let services: Vec<&Service> = deploy.manifest.services.iter().filter(ours).collect();
    if services.is_empty() || services.len() > MAX_CONTAINERS {
        let (count, unit) = (services.len(), deploy.unit);
        return Err(format!(
            "unit {unit} of the manifest has {count} services, a lease runs 1 to {MAX_CONTAINERS}"
        ));
    }
    fits(&services, request)?;
    let plans = ordered(&services)?.into_iter().zip(0..);
    plans.map(|(service, index)| replica(deploy.lease, index, service)).collect()
}

/// Whether the services together take no more than was leased.
fn fits(services: &[&Service], request: &Request) -> Result<(), String> {
    let sum = |of: fn(&Compute) -> u64| {
        services.iter().fold(0u64, |sum, service| sum.saturating_add(of(&service.compute)))
    };
    for (name, taken, leased) in [
        ("cpu", sum(|compute| compute.cpu_milli), request.cpu_milli),
        ("memory", sum(memory), request.memory_bytes),
        ("storage", sum(|compute| volumes(compute, false)), request.disk_bytes),
    ] {
        if taken > leased {
            return Err(format!(
                "the unit's services take {taken} of {name}, the lease has {leased}: give each \
                 service a compute profile of its own"
            ));
        }
    }
    if services.iter().any(|service| service.compute.gpus.count > 0) {
        return Err("this provider gives containers no GPUs: order without".to_owned());
    }
    if services.iter().any(|service| service.tee.is_some()) {
        return Err("this provider has no trusted execution environment: order without".to_owned());
    }
    Ok(())
}

fn volumes(compute: &Compute, ram: bool) -> u64 {
    let chosen = compute.volumes.iter().filter(|it| (it.class == Some(StorageClass::Ram)) == ram);
    chosen.fold(0, |sum, volume| sum.saturating_add(volume.bytes))
}

fn memory(compute: &Compute) -> u64 {
    compute.memory_bytes.saturating_add(volumes(compute, true))
}

/// Dependencies first; those of other leases do not count.
fn ordered<'s>(services: &[&'s Service]) -> Result<Vec<&'s Service>, String> {
    let mut left: Vec<&Service> = services.to_vec();
    let mut done: Vec<&Service> = Vec::new();
    while !left.is_empty() {
        let waits = |service: &&Service| {
            left.iter().any(|other| service.dependencies.contains(&other.name))
        };
        let Some(next) = left.iter().position(|service| !waits(service)) else {
            let names: Vec<&str> = left.iter().map(|service| service.name.as_str()).collect();
            return Err(format!("{} depend on each other: remove one", names.join(", ")));
        };
        done.push(left.remove(next));
    }
    Ok(done)
}

/// The first half of the lease's id, in hexadecimal: containers' names are short.
pub(crate) fn prefix(lease: LeaseId) -> String {
    let mut name = lease.to_string();
    name.truncate(32);
    name
}

fn replica(lease: LeaseId, index: usize, service: &Service) -> Result<ReplicaPlan, String> {
    let name = &service.name;
    let refuse = |reason: String| format!("service {name}: {reason}");
    let parse = |text: String| -> Result<ContainerId, String> {
        text.parse().map_err(|error| refuse(format!("{error}")))
    };
    let image: ImageRef = service.image.parse().map_err(|error| refuse(format!("{error}")))?;
    let credentials = match &service.credentials {
        // What is for one registry is not shown to another.
        Some(known) if known.host == image.host() || known.host == image.api_host() => {
            Credentials::basic(&known.username, &known.password)
        }
        Some(known) => {
            let (host, registry) = (&known.host, image.host());
            return Err(refuse(format!("credentials are for {host}, the image is at {registry}")));
        }
        None => Credentials::Anonymous,
    };
    let mut ports: Vec<(u16, bool)> = Vec::new();
    for expose in service.expose.iter().filter(|expose| expose.proto == Proto::Tcp) {
        match ports.iter_mut().find(|(port, _)| *port == expose.port) {
            Some((_, global)) => *global |= expose.global,
            None => ports.push((expose.port, expose.global)),
        }
    }
    if ports.len() > MAX_PORTS {
        return Err(refuse(format!("{} ports, at most {MAX_PORTS}", ports.len())));
    }
    let (limits, volumes) =
        limits(service, |volume| parse(format!("{}-{index}-{volume}", prefix(lease))))
            .map_err(refuse)?;
    Ok(ReplicaPlan {
        id: parse(format!("{}-{index}", prefix(lease)))?,
        service: name.clone(),
        image,
        credentials,
        overrides: Overrides {
            command: service.command.clone(),
            args: (!service.args.is_empty()).then(|| service.args.clone()),
            env: service.env.iter().map(|it| (it.name.clone(), it.value.clone())).collect(),
            ..Overrides::default()
        },
        limits,
        volumes,
        ports,
    })
}

/// What a container may use, and its volumes; `id` names the volume of an index.
fn limits(
    service: &Service,
    id: impl Fn(usize) -> Result<ContainerId, String>,
) -> Result<(Limits, Vec<VolumePlan>), String> {
    let compute = &service.compute;
    let mut limits = Limits {
        milli_cpu: u32::try_from(compute.cpu_milli)
            .map_err(|_| "more CPUs than a machine has: ask for less".to_owned())?
            .max(10),
        memory_bytes: memory(compute),
        disk_bytes: 0,
        ..Limits::default()
    };
    if limits.memory_bytes < MIN_MEMORY_BYTES {
        return Err(format!("a container needs {MIN_MEMORY_BYTES} bytes of memory: ask for more"));
    }
    limits.shm_bytes = limits.shm_bytes.min(limits.memory_bytes);
    let mut planned = Vec::new();
    for (volume, index) in compute.volumes.iter().zip(0..) {
        let mount = service.mounts.iter().find(|mount| mount.volume == volume.name);
        match (volume.class, mount) {
            (Some(StorageClass::Ram), Some(mount)) if mount.path.trim_end_matches('/') != SHM => {
                return Err(format!("a volume in memory is at {SHM} only: mount it there"));
            }
            (Some(StorageClass::Ram), _) => limits.shm_bytes = volume.bytes,
            (_, None) => limits.disk_bytes = limits.disk_bytes.saturating_add(volume.bytes),
            (_, Some(_)) if volume.bytes < MIN_DISK_BYTES => {
                return Err(format!("a volume has {MIN_DISK_BYTES} bytes at least: ask for more"));
            }
            (_, Some(mount)) => planned.push(VolumePlan {
                id: id(index)?,
                bytes: volume.bytes,
                target: PathBuf::from(&mount.path),
                read_only: mount.read_only,
                persistent: volume.persistent,
            }),
        }
    }
    limits.disk_bytes = limits.disk_bytes.max(MIN_DISK_BYTES);
    Ok((limits, planned))
}

#[cfg(test)]
mod tests;
