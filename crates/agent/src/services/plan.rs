//! From a manifest to the container of one lease: pure checks, before anything costs anything.

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

/// Of a name that is no service's.
const MAX_NAME_CHARS: usize = 63;
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

impl ReplicaPlan {
    /// Whether a port is for everybody.
    pub(crate) fn is_global(&self, port: u16) -> bool {
        self.ports.iter().any(|&(known, global)| known == port && global)
    }
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

/// The container that a lease of `request` runs.
///
/// # Errors
/// What cannot be run, and the fix.
pub(crate) fn lower(deploy: &Deploy, request: &Request) -> Result<ReplicaPlan, String> {
    let known = deploy.manifest.services.iter().find(|service| service.name == deploy.service);
    let service = known.ok_or_else(|| {
        let short: String = deploy.service.chars().take(MAX_NAME_CHARS).collect();
        format!("the manifest has no service {short:?}: deliver one that it has")
    })?;
    fits(service, request).and_then(|()| replica(deploy.lease, service)).map_err(|reason| {
        // Its name is one by now.
        format!("service {}: {reason}", service.name)
    })
}

/// Whether a service takes no more than was leased.
fn fits(service: &Service, request: &Request) -> Result<(), String> {
    let compute = &service.compute;
    for (name, taken, leased) in [
        ("cpu", compute.cpu_milli, request.cpu_milli),
        ("memory", memory(compute), request.memory_bytes),
        ("storage", volumes(compute, false), request.disk_bytes),
    ] {
        if taken > leased {
            return Err(format!("it takes {taken} of {name}, the lease has {leased}: lease more"));
        }
    }
    if compute.gpus.count > 0 {
        return Err("this provider gives containers no GPUs: order without".to_owned());
    }
    if service.tee.is_some() {
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

/// The first half of the lease's id, in hexadecimal: containers' names are short.
fn prefix(lease: LeaseId) -> String {
    let mut name = lease.to_string();
    name.truncate(32);
    name
}

fn replica(lease: LeaseId, service: &Service) -> Result<ReplicaPlan, String> {
    let parse = |text: String| -> Result<ContainerId, String> {
        text.parse().map_err(|error| format!("{error}"))
    };
    let image: ImageRef = service.image.parse().map_err(|error| format!("{error}"))?;
    let credentials = match &service.credentials {
        // What is for one registry is not shown to another.
        Some(known) if known.host == image.host() || known.host == image.api_host() => {
            Credentials::basic(&known.username, &known.password)
        }
        Some(known) => {
            let (host, registry) = (&known.host, image.host());
            return Err(format!("credentials are for {host}, the image is at {registry}"));
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
        return Err(format!("{} ports, at most {MAX_PORTS}", ports.len()));
    }
    let (limits, volumes) = limits(service, |volume| parse(format!("{}-{volume}", prefix(lease))))?;
    Ok(ReplicaPlan {
        id: parse(prefix(lease))?,
        service: service.name.clone(),
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
