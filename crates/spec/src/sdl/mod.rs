//! The Akash SDL, versions 2.0 and 2.1: services in containers.
//!
//! ```yaml
//! version: "2.0"                  # or "2.1": services of one profile share a unit
//! services:
//!   web:                          # a DNS label
//!     image: nginx:1.27
//!     command: [sh, -c]           # optional, as args, env, dependencies, params, credentials
//!     args: [exec nginx -g "daemon off;"]
//!     env: [MODE=production]
//!     expose:
//!       - port: 80                # in the container
//!         as: 80                  # outside; default the same
//!         proto: tcp              # or udp
//!         accept: [www.example.com]
//!         to: [{global: true}]    # or {service: api}, or {global: true, ip: endpoint}
//!         http_options: {max_body_size: 1048576, read_timeout: 60000, next_cases: [error]}
//!     dependencies: [{service: db}]
//!     params:
//!       storage: {data: {mount: /data, readOnly: false}}
//!       permissions: {read: [logs]}
//!       tee: cpu                  # or cpu-gpu
//!     credentials: {host: ghcr.io, username: you, password: a-token}
//! profiles:
//!   compute:
//!     small:
//!       resources:
//!         cpu: {units: 0.5, attributes: {arch: amd64}}
//!         memory: {size: 512Mi}
//!         storage:                # or one volume: {size: 1Gi}
//!           - {size: 1Gi}
//!           - {name: data, size: 10Gi, attributes: {persistent: true, class: beta3}}
//!         gpu: {units: 1, attributes: {vendor: {nvidia: [{model: a100, ram: 80Gi}]}}}
//!   placement:
//!     west:
//!       attributes: {region: us-west}
//!       signedBy: {anyOf: [auditor], allOf: []}
//!       pricing: {small: {denom: uakt, amount: 1000}}
//! deployment:
//!   web: {west: {profile: small, count: 2}}
//! endpoints: {endpoint: {kind: ip}}
//! reclamation: {min_window: 24h}
//! ```
//!
//! A price is for one replica: in `uakt` or `uact` by Akash's block, as there; or in `usd` by the
//! hour. What Akash's own parser refuses is refused here, and what it accepts is accepted, but for
//! unknown fields inside sections, which it ignores; where a file is not written as it should be but
//! clearly means one thing, that is what it means, with a warning.

mod deployment;
mod order;
mod profiles;
mod services;
pub(crate) mod value;

pub use deployment::{
    Compute, Credentials, Deployment, Expose, GpuKind, Gpus, Group, HttpOptions, Manifest, Mount,
    Permission, Price, Proto, Requirements, RetryOn, Service, StorageClass, Tee, Unit, Variable,
    Version, Volume,
};
pub use order::{Exchange, OrderError, UnitOrder};

mod assemble;

use crate::{
    form::{Field, Foreign, Form, Keys, Section},
    notes::{Checked, Notes, Pos},
    value::echo,
    yaml::{self, Value},
};
use muster_types::Millis;
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

const TOP: Keys = Keys {
    required: &[
        ("version", "\"2.0\""),
        ("services", "a service by name, with its image"),
        ("profiles", "compute and placement"),
        ("deployment", "{web: {west: {profile: small, count: 1}}}"),
    ],
    optional: &["endpoints", "reclamation", "include"],
    foreign: &[
        ("name", Foreign::Ignored),
        ("networks", Foreign::Ignored),
        (
            "volumes",
            Foreign::Refused("name volumes in profiles.compute, mount them in params.storage"),
        ),
        ("configs", Foreign::Refused("put files into the image, values into env")),
        ("secrets", Foreign::Refused("put them into env: a manifest is encrypted")),
    ],
};

/// Where and how often a service runs.
struct Placing {
    at: Pos,
    path: String,
    profile: String,
    profile_at: Pos,
    count: u32,
}

/// Service, placement, how.
type Placings = BTreeMap<String, (Pos, BTreeMap<String, Placing>)>;

/// The whole file, field by field, before it is put together. What is wrong is `None`, and noted.
struct Draft {
    version: Version,
    services: Option<BTreeMap<String, Option<services::Draft>>>,
    services_at: Pos,
    computes: Option<BTreeMap<String, profiles::ComputeDraft>>,
    placements: Option<BTreeMap<String, Option<profiles::PlacementDraft>>>,
    placings: Placings,
    endpoints: BTreeMap<String, Pos>,
    reclaim_window: Option<Millis>,
}

/// Parses and checks an SDL. `exchange` only adds warnings, of prices and auditors that mean
/// nothing to it; [`Group::orders`] refuses those.
#[must_use]
pub fn parse_sdl(bytes: &[u8], exchange: &Exchange) -> Checked<Deployment> {
    let mut notes = Notes::default();
    let deployment = parse(bytes, exchange, &mut notes);
    notes.finish(deployment)
}

fn parse(bytes: &[u8], exchange: &Exchange, notes: &mut Notes) -> Option<Deployment> {
    let root = Field::root(yaml::read(bytes, notes)?);
    if let Some(at) = compose_at(&root) {
        let problem = "this looks like a docker-compose file, not like an SDL";
        notes.error(at, "", problem, "muster sdl from-compose FILE > deploy.yaml");
        return None;
    }
    let mut form = Form { notes };
    let section = form.section(&root, &TOP)?;
    let draft = form.draft(&section);
    assemble::assemble(draft?, exchange, form.notes)
}

/// Where a file that is no SDL but a compose file says so.
fn compose_at(root: &Field) -> Option<Pos> {
    let Value::Map(entries) = &root.node.value else { return None };
    let has = |key: &str| entries.iter().find(|entry| entry.key.as_ref() == key);
    let services = has("services")?;
    (has("profiles").is_none() && has("deployment").is_none()).then_some(services.at)
}

impl Form<'_> {
    fn draft(&mut self, section: &Section) -> Option<Draft> {
        let version = section.get("version").and_then(|field| self.version(field));
        let services_at = section.get("services").map_or(section.at, |field| field.key_at);
        let services = section.get("services").map(|field| self.services(field));
        let profiles =
            section.get("profiles").and_then(|field| self.section(field, &profiles::PROFILES));
        let part = |key: &str| profiles.as_ref().and_then(|section| section.get(key));
        let computes = part("compute").map(|field| self.compute_profiles(field));
        let placements = part("placement").map(|field| self.placements(field));
        let placings =
            section.get("deployment").map(|field| self.placings(field)).unwrap_or_default();
        let endpoints =
            section.get("endpoints").map(|field| self.endpoints(field)).unwrap_or_default();
        let reclaim_window = section.get("reclamation").and_then(|field| self.reclamation(field));
        if let Some(field) = section.get("include") {
            self.warn(field, "other files are not read", "write everything into this one");
        }
        Some(Draft {
            version: version?,
            services,
            services_at,
            computes,
            placements,
            placings,
            endpoints,
            reclaim_window,
        })
    }

    fn version(&mut self, field: &Field) -> Option<Version> {
        let scalar = self.scalar(field)?;
        let text = scalar.text.trim();
        let parts: Vec<Option<u32>> = text
            .strip_prefix('v')
            .unwrap_or(text)
            .split('.')
            .map(|part| part.parse().ok())
            .collect();
        let version = match parts.as_slice() {
            [Some(2)] | [Some(2), Some(0)] | [Some(2), Some(0), Some(0)] => Version::V2_0,
            [Some(2), Some(1)] | [Some(2), Some(1), Some(0)] => Version::V2_1,
            [Some(2), Some(_), ..] | [Some(3..), ..] => {
                let problem = format!("{} is read as 2.1", echo(text));
                self.warn(field, problem, "write \"2.1\"");
                return Some(Version::V2_1);
            }
            _ => {
                let problem = format!("{} is no version of the SDL", echo(text));
                self.error(field, problem, "write \"2.0\" or \"2.1\"");
                return None;
            }
        };
        let right = match version {
            Version::V2_0 => "2.0",
            Version::V2_1 => "2.1",
        };
        if scalar.plain || text != right {
            let problem = format!("is read as the text {right}");
            self.warn(field, problem, format!("write \"{right}\""));
        }
        Some(version)
    }

    fn placings(&mut self, field: &Field) -> Placings {
        const PLACING: Keys = Keys {
            required: &[("profile", "a compute profile"), ("count", "1")],
            optional: &[],
            foreign: &[],
        };
        let mut placings = Placings::new();
        for (service, field) in self.entries(field) {
            let mut places = BTreeMap::new();
            for (placement, field) in self.entries(&field) {
                if self.notes.is_full() {
                    return placings;
                }
                let Some(section) = self.section(&field, &PLACING) else { continue };
                let profile = section.get("profile");
                let placing = Placing {
                    at: section.at,
                    path: section.path.clone(),
                    profile_at: profile.map_or(section.at, |field| field.node.at),
                    profile: profile.and_then(|field| self.text(field)).unwrap_or_default(),
                    count: section
                        .get("count")
                        .and_then(|field| self.whole(field, 1, muster_market::MAX_COUNT.into()))
                        .and_then(|count| u32::try_from(count).ok())
                        .unwrap_or(1),
                };
                places.insert(placement.as_ref().to_owned(), placing);
            }
            if places.is_empty() && !self.notes.has_errors() {
                let fix = "write west: {profile: small, count: 1} below it";
                self.notes.error(field.key_at, field.path.as_str(), "is placed nowhere", fix);
            }
            placings.insert(service.as_ref().to_owned(), (field.key_at, places));
        }
        if placings.is_empty() && !self.notes.has_errors() {
            let fix = "write web: {west: {profile: small, count: 1}} below it";
            self.error(field, "nothing is deployed", fix);
        }
        placings
    }

    fn endpoints(&mut self, field: &Field) -> BTreeMap<String, Pos> {
        const ENDPOINT: Keys = Keys { required: &[("kind", "ip")], optional: &[], foreign: &[] };
        let mut endpoints = BTreeMap::new();
        for (name, field) in self.entries(field) {
            if self.notes.is_full() {
                break;
            }
            if !value::is_endpoint(&name) {
                let problem = format!("{} is no name of an endpoint", echo(&name));
                let fix = "use a-z, 0-9, - and _, a letter first, 2 or more";
                self.notes.error(field.key_at, field.path.as_str(), problem, fix);
            }
            if let Some(section) = self.section(&field, &ENDPOINT)
                && let Some(kind) = section.get("kind")
            {
                self.word(kind, &[("ip", ())]);
            }
            endpoints.insert(name.as_ref().to_owned(), field.key_at);
        }
        endpoints
    }

    fn reclamation(&mut self, field: &Field) -> Option<Millis> {
        const RECLAMATION: Keys =
            Keys { required: &[("min_window", "24h")], optional: &[], foreign: &[] };
        let section = self.section(field, &RECLAMATION)?;
        section.get("min_window").and_then(|field| self.lenient(field, value::duration))
    }
}
