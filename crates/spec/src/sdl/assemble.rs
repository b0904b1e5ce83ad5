//! Puts the sections together: what refers to what, and the groups that come of it.

use super::{
    Deployment, Draft, Exchange, Placing, Version,
    deployment::{Group, Requirements, Service, StorageClass, Tee, Unit},
    profiles::{ComputeDraft, PlacementDraft},
    services,
};
use crate::{
    notes::{Notes, Pos},
    value::echo,
    yaml::join,
};
use std::collections::{BTreeMap, BTreeSet};

/// All that a service's placing refers to.
struct Bound<'d> {
    name: &'d str,
    service: &'d services::Draft,
    placing: &'d Placing,
    compute: &'d ComputeDraft,
    placement: &'d PlacementDraft,
}

/// The deployment; `None` where it names what is not there, which is noted.
pub(super) fn assemble(draft: Draft, exchange: &Exchange, notes: &mut Notes) -> Option<Deployment> {
    check_ports(&draft, notes);
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    for (name, (at, places)) in &draft.placings {
        let Some(services) = &draft.services else { continue };
        let Some(service) = services.get(name) else {
            let fix = format!("add it to services{}", known(services.keys()));
            notes.error(*at, join("deployment", name), "there is no such service", fix);
            continue;
        };
        let Some(service) = service else { continue };
        check_targets(services, name, service, notes);
        for (place, placing) in places {
            let Some(bound) = bind(&draft, name, service, place, placing, notes) else { continue };
            check_mounts(&bound, draft.version, notes);
            let group = groups.entry(place).or_insert_with(|| {
                check_placement(place, bound.placement, exchange, notes);
                Group {
                    name: place.clone(),
                    requirements: bound.placement.requirements.clone(),
                    units: Vec::new(),
                    services: Vec::new(),
                }
            });
            check_tee(&bound, &mut group.requirements, notes);
            join_group(group, &bound, draft.version, exchange, notes);
        }
    }
    if !notes.has_errors() {
        check_unused(&draft, notes);
    }
    let global = groups
        .values()
        .flat_map(|group| &group.services)
        .any(|service| service.expose.iter().any(|expose| expose.global));
    if !global && !notes.has_errors() {
        let problem = "nothing is exposed to the world, which Akash refuses";
        let fix = "add to: [{global: true}] to a port, or use `muster forward`";
        notes.warn(draft.services_at, "services", problem, fix);
    }
    let groups: Vec<Group> = groups.into_values().collect();
    (!groups.is_empty()).then_some(Deployment {
        version: draft.version,
        groups,
        reclaim_window: draft.reclaim_window,
    })
}

/// The names that there are, for a fix.
fn known<'n>(names: impl Iterator<Item = &'n String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).take(5).collect();
    if names.is_empty() { String::new() } else { format!(", or write {}", names.join(" or ")) }
}

fn bind<'d>(
    draft: &'d Draft,
    name: &'d str,
    service: &'d services::Draft,
    place: &str,
    placing: &'d Placing,
    notes: &mut Notes,
) -> Option<Bound<'d>> {
    let profile = &placing.profile;
    let computes = draft.computes.as_ref();
    let compute = computes.and_then(|computes| computes.get(profile));
    if let (Some(computes), None, false) = (computes, compute, profile.is_empty()) {
        let problem = format!("there is no compute profile {}", echo(profile));
        let fix = format!("add it to profiles.compute{}", known(computes.keys()));
        notes.error(placing.profile_at, join(&placing.path, "profile"), problem, fix);
    }
    let placements = draft.placements.as_ref()?;
    let placement = placements.get(place);
    if placement.is_none() {
        let fix = format!("add it to profiles.placement{}", known(placements.keys()));
        notes.error(placing.at, placing.path.as_str(), "there is no such placement", fix);
    }
    let (compute, placement) = (compute?, placement?.as_ref()?);
    if !placement.pricing.as_ref()?.contains_key(profile) {
        let path = join(&join("profiles.placement", place), "pricing");
        let problem = format!("has no price for {}", echo(profile));
        let fix = format!("add {profile}: {{denom: uakt, amount: 1000}}");
        notes.error(placement.at, path, problem, fix);
        return None;
    }
    Some(Bound { name, service, placing, compute, placement })
}

/// Adds a service, and the unit that it is leased under, to its group.
fn join_group(
    group: &mut Group,
    bound: &Bound<'_>,
    version: Version,
    exchange: &Exchange,
    notes: &mut Notes,
) {
    let Placing { profile, count, .. } = bound.placing;
    let pricing = bound.placement.pricing.as_ref();
    let Some((Some(price), price_at)) = pricing.and_then(|pricing| pricing.get(profile)) else {
        return;
    };
    let shared = match version {
        Version::V2_0 => None,
        Version::V2_1 => group.units.iter().position(|unit| unit.profile == *profile),
    };
    let at = shared.unwrap_or_else(|| {
        group.units.push(Unit {
            profile: profile.clone(),
            compute: bound.compute.compute.clone(),
            count: 0,
            price: price.clone(),
        });
        group.units.len().saturating_sub(1)
    });
    if let Some(unit) = group.units.get_mut(at) {
        unit.count = unit.count.saturating_add(*count);
    }
    let place = join(&join("profiles.placement", &group.name), "pricing");
    if exchange.rate(price).is_none() {
        let problem = format!("offers are in usd, and what {} is worth is not said", price.denom);
        let fix = super::order::rate_fix(&price.denom);
        notes.warn(*price_at, join(&place, profile), problem, fix);
    }
    let draft = bound.service;
    let mut expose: Vec<_> = draft.expose.iter().map(|(expose, ..)| expose.clone()).collect();
    expose.sort_by(|left, right| {
        let order = |expose: &super::Expose| (expose.service.clone(), expose.port, expose.proto);
        order(left).cmp(&order(right)).then(right.global.cmp(&left.global))
    });
    group.services.push(Service {
        name: bound.name.to_owned(),
        image: draft.image.clone(),
        command: draft.command.clone(),
        args: draft.args.clone(),
        env: draft.env.clone(),
        count: *count,
        unit: u32::try_from(at).unwrap_or(u32::MAX),
        compute: bound.compute.compute.clone(),
        expose,
        mounts: draft.mounts.values().map(|(mount, _)| mount.clone()).collect(),
        credentials: draft.credentials.clone(),
        dependencies: draft.dependencies.iter().map(|(name, _)| name.clone()).collect(),
        permissions: draft.permissions.clone(),
        tee: draft.tee.map(|(tee, _)| tee),
    });
}

fn check_unused(draft: &Draft, notes: &mut Notes) {
    const FIX: &str = "deploy it, or remove it";
    let placings = draft.placings.values();
    let used: BTreeSet<&str> = placings
        .clone()
        .flat_map(|(_, places)| places.values())
        .map(|placing| placing.profile.as_str())
        .collect();
    let places: BTreeSet<&str> =
        placings.flat_map(|(_, places)| places.keys()).map(String::as_str).collect();
    let services = draft.services.iter().flatten();
    for (name, service) in services.filter_map(|(name, one)| Some((name, one.as_ref()?))) {
        if !draft.placings.contains_key(name) {
            notes.warn(service.at, service.path.as_str(), "is never deployed", FIX);
        }
    }
    for (name, compute) in draft.computes.iter().flatten() {
        if !used.contains(name.as_str()) {
            notes.warn(compute.at, join("profiles.compute", name), "is never used", FIX);
        }
    }
    let placements = draft.placements.iter().flatten();
    for (name, placement) in placements.filter_map(|(name, one)| Some((name, one.as_ref()?))) {
        if !places.contains(name.as_str()) {
            notes.warn(placement.at, join("profiles.placement", name), "is never used", FIX);
        }
    }
}

/// Endpoints, the ports on them, and host names: each is had by one.
fn check_ports(draft: &Draft, notes: &mut Notes) {
    let mut unused: BTreeMap<&str, Pos> =
        draft.endpoints.iter().map(|(name, at)| (name.as_str(), *at)).collect();
    let mut ports: BTreeMap<(&str, u16, super::Proto), &str> = BTreeMap::new();
    let mut hosts: BTreeMap<&str, &str> = BTreeMap::new();
    let services = draft.services.iter().flatten();
    for (name, service) in services.filter_map(|(name, one)| Some((name, one.as_ref()?))) {
        let deployed = draft.placings.contains_key(name);
        for (expose, at, path) in &service.expose {
            for host in &expose.hosts {
                let first = hosts.entry(host).or_insert(path);
                if *first != path {
                    let problem = format!("{host} is at {first} already");
                    notes.error(*at, join(path, "accept"), problem, "give each host to one port");
                }
            }
            let Some(ip) = &expose.ip else { continue };
            if !draft.endpoints.contains_key(ip) {
                let fix = format!("add endpoints: {{{ip}: {{kind: ip}}}}");
                let problem = format!("there is no endpoint {}", echo(ip));
                notes.error(*at, format!("{path}.to.ip"), problem, fix);
            } else if deployed {
                unused.remove(ip.as_str());
            }
            let key = (ip.as_str(), expose.external_port(), expose.proto);
            if let Some(first) = ports.insert(key, path) {
                let problem = format!("port {} of {ip} is at {first} already", key.1);
                notes.error(*at, format!("{path}.to.ip"), problem, "use another port or endpoint");
            }
        }
    }
    for (name, at) in unused {
        let fix = "add to: [{global: true, ip: its name}], or remove it";
        notes.error(at, join("endpoints", name), "is never used", fix);
    }
}

/// Services that a service names.
fn check_targets(
    services: &BTreeMap<String, Option<services::Draft>>,
    name: &str,
    service: &services::Draft,
    notes: &mut Notes,
) {
    for (expose, at, path) in &service.expose {
        if let Some(target) = &expose.service
            && !services.contains_key(target)
        {
            let problem = format!("there is no service {}", echo(target));
            let fix = format!("add it to services{}", known(services.keys()));
            notes.warn(*at, format!("{path}.to.service"), problem, fix);
        }
    }
    for (target, at) in &service.dependencies {
        let path = join(&service.path, "dependencies");
        if target == name {
            notes.error(*at, path, "depends on itself", "remove it");
        } else if !services.contains_key(target) {
            let problem = format!("there is no service {}", echo(target));
            let fix = format!("add it to services{}", known(services.keys()));
            notes.warn(*at, path, problem, fix);
        }
    }
}

/// What the exchange does not know about a placement.
fn check_placement(name: &str, placement: &PlacementDraft, exchange: &Exchange, notes: &mut Notes) {
    let path = join("profiles.placement", name);
    let wanted = &placement.requirements;
    if wanted.attributes.get("host").is_some_and(|host| host == "akash") {
        let problem = "host: akash is true of no host here and is left out of the order";
        notes.warn(placement.at, format!("{path}.attributes.host"), problem, "remove it");
    }
    let strange = wanted.signed_by_all.iter().chain(&wanted.signed_by_any);
    let strange = strange.filter(|auditor| exchange.auditor(auditor).is_none()).count();
    if strange > 0 {
        let problem = match strange {
            1 => "an auditor is no account here: not orderable yet".to_owned(),
            count => format!("{count} auditors are no accounts here: not orderable yet"),
        };
        let fix = "write auditors' accounts (64 hexadecimal digits)";
        notes.warn(placement.at, join(&path, "signedBy"), problem, fix);
    }
}

fn check_tee(bound: &Bound<'_>, requirements: &mut Requirements, notes: &mut Notes) {
    let Some((tee, at)) = bound.service.tee else { return };
    let path = format!("{}.params.tee", bound.service.path);
    if tee == Tee::CpuGpu && bound.compute.compute.gpus.count == 0 {
        let problem = format!("the compute profile {} has no GPU", echo(&bound.placing.profile));
        notes.error(at, path.as_str(), problem, "write cpu, or add a gpu");
    }
    match requirements.tee {
        Some(other) if other != tee => {
            let problem = format!("another service of the group asks for {other}");
            notes.error(at, path, problem, "use one kind in a placement");
        }
        _ => requirements.tee = Some(tee),
    }
}

fn check_mounts(bound: &Bound<'_>, version: Version, notes: &mut Notes) {
    let (service, compute) = (bound.service, &bound.compute.compute);
    let storage = format!("{}.params.storage", service.path);
    let mut paths: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, (mount, at)) in &service.mounts {
        let path = join(&storage, name);
        let Some(volume) = compute.volumes.iter().find(|volume| volume.name == *name) else {
            let problem =
                format!("the compute profile {} has no such volume", echo(&bound.placing.profile));
            let names = compute.volumes.iter().map(|volume| &volume.name);
            let fix = format!("add it to the profile's storage{}", known(names));
            notes.error(*at, path, problem, fix);
            continue;
        };
        if let Some(first) = paths.insert(&mount.path, name) {
            let problem = format!("{} is mounted by {} already", echo(&mount.path), echo(first));
            notes.error(*at, path.as_str(), problem, "mount it elsewhere");
        }
        if volume.class == Some(StorageClass::Ram) && mount.read_only {
            let problem = "memory that nobody may write to";
            let fix = "write readOnly: false";
            match version {
                Version::V2_0 => notes.warn(*at, path, problem, fix),
                Version::V2_1 => notes.error(*at, path, problem, fix),
            }
        }
    }
    for volume in compute.volumes.iter().filter(|volume| volume.persistent) {
        if service.mounts.contains_key(&volume.name) {
            continue;
        }
        let problem = format!("the volume {} is mounted nowhere", echo(&volume.name));
        let fix = format!("add {}: {{mount: /data}}", volume.name);
        match version {
            Version::V2_0 => notes.error(service.at, storage.as_str(), problem, fix),
            Version::V2_1 => notes.warn(service.at, storage.as_str(), problem, fix),
        }
    }
}
