//! Akash's own cases, where they are at hand: the same facts, the same refusals.

use super::{check, lines};
use crate::sdl::{
    Compute, Deployment, Exchange, Expose, Group, Proto, RetryOn, Service, parse_sdl,
};
use muster_types::Amount;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn folder() -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/akash-sdl"));
    if path.is_dir() {
        return Some(path.to_owned());
    }
    eprintln!("skipped: no {}", path.display());
    None
}

fn cases(folder: &Path, inner: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join(inner)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{inner}");
    paths
}

fn storage(compute: &Compute) -> Value {
    let volume = |volume: &crate::sdl::Volume| {
        let mut value = json!({"name": volume.name, "size": {"val": volume.bytes.to_string()}});
        if volume.class.is_some() || volume.persistent {
            let class =
                volume.class.map(|class| json!({"key": "class", "value": class.to_string()}));
            let flag = json!({"key": "persistent", "value": volume.persistent.to_string()});
            value["attributes"] = class.into_iter().chain([flag]).collect();
        }
        value
    };
    compute.volumes.iter().map(volume).collect()
}

fn gpu(compute: &Compute) -> Value {
    let mut value = json!({"units": {"val": compute.gpus.count.to_string()}});
    if compute.gpus.count > 0 {
        let kind = |kind: &crate::sdl::GpuKind| {
            let model = if kind.model.is_empty() { "*" } else { &kind.model };
            let mut key = format!("vendor/{}/model/{model}", kind.vendor);
            if kind.memory_bytes > 0 {
                key.push_str(&format!("/ram/{}Gi", kind.memory_bytes >> 30));
            }
            if !kind.interface.is_empty() {
                key.push_str(&format!("/interface/{}", kind.interface));
            }
            json!({"key": key, "value": "true"})
        };
        value["attributes"] = compute.gpus.any_of.iter().map(kind).collect();
    }
    value
}

fn endpoints<'e>(exposed: impl Iterator<Item = &'e Expose>) -> Value {
    exposed
        .filter(|expose| expose.global)
        .map(|expose| match expose.is_ingress() {
            true => json!({"sequence_number": 0}),
            false => json!({"kind": 1, "sequence_number": 0}),
        })
        .collect()
}

fn resources<'e>(id: usize, compute: &Compute, exposed: impl Iterator<Item = &'e Expose>) -> Value {
    json!({
        "id": id + 1,
        "cpu": {"units": {"val": compute.cpu_milli.to_string()}},
        "memory": {"size": {"val": compute.memory_bytes.to_string()}},
        "storage": storage(compute),
        "gpu": gpu(compute),
        "endpoints": endpoints(exposed),
    })
}

/// Empty lists are null in Akash's JSON.
fn list(items: Vec<Value>) -> Value {
    if items.is_empty() { Value::Null } else { Value::Array(items) }
}

fn texts<T: ToString>(items: &[T]) -> Value {
    list(items.iter().map(|item| Value::String(item.to_string())).collect())
}

fn group_spec(group: &Group) -> Value {
    let wanted = &group.requirements;
    let mut attributes = wanted.attributes.clone();
    attributes.extend(wanted.tee.map(|tee| ("tee/type".to_owned(), tee.to_string())));
    let attribute = |(key, value): (&String, &String)| json!({"key": key, "value": value});
    let unit = |(at, unit): (usize, &crate::sdl::Unit)| {
        let services = group.services.iter().filter(|service| service.unit as usize == at);
        json!({
            "resource": resources(at, &unit.compute, services.flat_map(|one| &one.expose)),
            "count": unit.count,
            "price": {"denom": unit.price.denom, "amount": format!("{}.000000000000000000", unit.price.amount)},
        })
    };
    json!({
        "name": group.name,
        "requirements": {
            "signed_by": {
                "all_of": texts(&wanted.signed_by_all),
                "any_of": texts(&wanted.signed_by_any),
            },
            "attributes": list(attributes.iter().map(attribute).collect()),
        },
        "resources": group.units.iter().enumerate().map(unit).collect::<Vec<_>>(),
    })
}

fn expose(expose: &Expose) -> Value {
    let case = |case: &RetryOn| match case {
        RetryOn::Error => "error".to_owned(),
        RetryOn::Timeout => "timeout".to_owned(),
        RetryOn::Status(status) => status.to_string(),
    };
    let http = &expose.http;
    json!({
        "port": expose.port,
        "externalPort": expose.external.unwrap_or(0),
        "proto": if expose.proto == Proto::Tcp { "TCP" } else { "UDP" },
        "service": expose.service.as_deref().unwrap_or_default(),
        "global": expose.global,
        "hosts": texts(&expose.hosts),
        "httpOptions": {
            "maxBodySize": http.max_body_bytes,
            "readTimeout": http.read_timeout.0,
            "sendTimeout": http.send_timeout.0,
            "nextTries": http.tries,
            "nextTimeout": http.try_timeout.0,
            "nextCases": http.retry_on.iter().map(case).collect::<Vec<_>>(),
        },
        "ip": expose.ip.as_deref().unwrap_or_default(),
        "endpointSequenceNumber": 0,
    })
}

fn service(service: &Service) -> Value {
    let env: Vec<String> =
        service.env.iter().map(|one| format!("{}={}", one.name, one.value)).collect();
    let mut value = json!({
        "name": service.name,
        "image": service.image,
        "command": texts(&service.command),
        "args": texts(&service.args),
        "env": texts(&env),
        "resources": resources(service.unit as usize, &service.compute, service.expose.iter()),
        "count": service.count,
        "expose": service.expose.iter().map(expose).collect::<Vec<_>>(),
        "credentials": service.credentials.as_ref().map(|one| json!({
            "host": one.host, "email": one.email,
            "username": one.username, "password": one.password,
        })),
    });
    let mounts = service.mounts.iter().map(
        |mount| json!({"name": mount.volume, "mount": mount.path, "readOnly": mount.read_only}),
    );
    if !service.mounts.is_empty() || service.tee.is_some() {
        value["params"] = json!({"storage": list(mounts.collect())});
    }
    if let Some(tee) = service.tee {
        value["params"]["tee"] = json!({"type": tee.to_string(), "attestation": true});
    }
    value
}

fn facts(deployment: &Deployment) -> (Value, Value) {
    let specs = deployment.groups.iter().map(group_spec).collect();
    let manifest = deployment.groups.iter().map(|group| {
        let services: Vec<Value> = group.manifest().services.iter().map(service).collect();
        json!({"name": group.name, "services": services})
    });
    (specs, manifest.collect())
}

#[test]
fn what_akash_accepts_carries_the_same_facts() {
    let Some(folder) = folder() else { return };
    for path in cases(&folder, "valid") {
        let exchange = Exchange { akt_usd: Some(Amount::from_units(1)), ..Exchange::default() };
        let checked = parse_sdl(&std::fs::read(path.join("input.yaml")).unwrap(), &exchange);
        let deployment =
            checked.result.unwrap_or_else(|errors| panic!("{path:?}\n{}", lines(&errors)));
        let expected = |name: &str| -> Value {
            serde_json::from_slice(&std::fs::read(path.join(name)).unwrap()).unwrap()
        };
        let (specs, manifest) = facts(&deployment);
        assert_eq!(specs, expected("group-specs.json"), "{path:?}");
        assert_eq!(manifest, expected("manifest.json"), "{path:?}");
    }
}

#[test]
fn what_akash_refuses_is_refused_with_a_place_and_a_fix() {
    let Some(folder) = folder() else { return };
    for path in cases(&folder, "invalid") {
        let text = std::fs::read_to_string(&path).unwrap();
        let errors = check(&text).result.expect_err("refused");
        let last = text.lines().count();
        for error in &errors {
            let named = !error.field.is_empty() && !error.fix.is_empty();
            assert!(named && (1..=last).contains(&error.line), "{path:?}: {error}");
        }
        // One thing is wrong in each of them.
        assert_eq!(errors.len(), 1, "{path:?}\n{}", lines(&errors));
    }
}

#[test]
fn what_only_the_schema_refuses_is_a_warning() {
    let Some(folder) = folder() else { return };
    for (name, field) in [
        ("invalid-denom.yaml", "profiles.placement.akash.pricing.web.denom"),
        ("invalid-gpu-vendor.yaml", "profiles.compute.web.resources.gpu.attributes.vendor.amd"),
        ("reclamation-compound-window.yaml", "reclamation.min_window"),
    ] {
        let text = std::fs::read_to_string(folder.join("lenient").join(name)).unwrap();
        let checked = check(&text);
        assert!(checked.result.is_ok(), "{name}: {:?}", checked.result);
        assert!(
            checked.warnings.iter().any(|warning| warning.field == field),
            "{name}: {checked:?}"
        );
    }
}
