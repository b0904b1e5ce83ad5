//! The section `profiles`: what replicas take, and where they may run at which price.

use super::{
    deployment::{Compute, GpuKind, Gpus, Price, Requirements, StorageClass, Volume},
    value::{self, Lenient},
};
use crate::{
    form::{Field, Foreign, Form, Keys, Section},
    notes::Pos,
    value::{Reading, echo},
    yaml::{Value, join},
};
use std::collections::{BTreeMap, BTreeSet};

/// The most GPUs of one replica.
const MAX_GPUS: u64 = 1_024;
/// The most volumes, or kinds of GPU, of one profile.
const MAX_LIST: usize = 64;

pub(super) const PROFILES: Keys = Keys {
    required: &[
        ("compute", "a profile for each kind of machine"),
        ("placement", "a profile for each place, with its pricing"),
    ],
    optional: &[],
    foreign: &[],
};

const COMPUTE: Keys =
    Keys { required: &[("resources", "cpu, memory and storage")], optional: &[], foreign: &[] };

const RESOURCES: Keys = Keys {
    required: &[("cpu", "{units: 0.5}"), ("memory", "{size: 512Mi}"), ("storage", "{size: 1Gi}")],
    optional: &["gpu"],
    foreign: &[("ephemeral-storage", Foreign::Means("storage"))],
};

const CPU: Keys = Keys { required: &[("units", "0.5")], optional: &["attributes"], foreign: &[] };

const MEMORY: Keys = Keys {
    required: &[("size", "512Mi")],
    optional: &[],
    foreign: &[("attributes", Foreign::Ignored)],
};

const VOLUME: Keys =
    Keys { required: &[("size", "1Gi")], optional: &["name", "attributes"], foreign: &[] };

const VOLUME_ATTRIBUTES: Keys =
    Keys { required: &[], optional: &["persistent", "class"], foreign: &[] };

const GPU: Keys = Keys { required: &[], optional: &["units", "attributes"], foreign: &[] };

const GPU_ATTRIBUTES: Keys =
    Keys { required: &[("vendor", "{nvidia: [{model: a100}]}")], optional: &[], foreign: &[] };

const GPU_KIND: Keys = Keys {
    required: &[],
    optional: &["model", "ram", "interface"],
    foreign: &[("memory", Foreign::Means("ram"))],
};

const PLACEMENT: Keys = Keys {
    required: &[("pricing", "{profile: {denom: uakt, amount: 1000}}")],
    optional: &["attributes", "signedBy"],
    foreign: &[],
};

const PRICE: Keys =
    Keys { required: &[("denom", "uakt"), ("amount", "1000")], optional: &[], foreign: &[] };

const SIGNED_BY: Keys = Keys { required: &[], optional: &["anyOf", "allOf"], foreign: &[] };

/// A compute profile and where it stands.
pub(super) struct ComputeDraft {
    pub(super) at: Pos,
    pub(super) compute: Compute,
}

/// A placement profile and where it stands.
pub(super) struct PlacementDraft {
    pub(super) at: Pos,
    pub(super) requirements: Requirements,
    /// By compute profile, `None` where it is wrong; `None` in all where there is no pricing at all,
    /// which is noted.
    pub(super) pricing: Option<BTreeMap<String, (Option<Price>, Pos)>>,
}

impl Form<'_> {
    /// A value that may be written oddly.
    pub(super) fn lenient<T>(
        &mut self,
        field: &Field,
        read: impl FnOnce(&str) -> Reading<Lenient<T>>,
    ) -> Option<T> {
        let Lenient { value, odd } = self.read(field, read)?;
        if let Some(odd) = odd {
            self.warn(field, odd.problem, odd.fix);
        }
        Some(value)
    }

    pub(super) fn compute_profiles(&mut self, field: &Field) -> BTreeMap<String, ComputeDraft> {
        let mut profiles = BTreeMap::new();
        for (name, field) in self.entries(field) {
            if self.notes.is_full() {
                break;
            }
            let compute = self.compute(&field).unwrap_or_default();
            let draft = ComputeDraft { at: field.key_at, compute };
            profiles.insert(name.as_ref().to_owned(), draft);
        }
        profiles
    }

    fn compute(&mut self, field: &Field) -> Option<Compute> {
        let profile = self.section(field, &COMPUTE)?;
        let section = self.section(profile.get("resources")?, &RESOURCES)?;
        let mut compute = Compute::default();
        if let Some(cpu) = section.get("cpu") {
            self.cpu(cpu, &mut compute);
        }
        if let Some(memory) = section.get("memory").and_then(|field| self.section(field, &MEMORY)) {
            let size = memory.get("size").and_then(|field| self.lenient(field, value::size));
            compute.memory_bytes = size.unwrap_or_default();
        }
        if let Some(storage) = section.get("storage") {
            compute.volumes = self.volumes(storage);
        }
        compute.gpus = section.get("gpu").and_then(|field| self.gpus(field)).unwrap_or_default();
        Some(compute)
    }

    fn cpu(&mut self, field: &Field, compute: &mut Compute) {
        const ATTRIBUTES: Keys = Keys { required: &[], optional: &["arch"], foreign: &[] };
        let Some(section) = self.section(field, &CPU) else { return };
        let units = section.get("units").and_then(|field| self.lenient(field, value::cpu));
        compute.cpu_milli = units.unwrap_or_default();
        let attributes =
            section.get("attributes").and_then(|field| self.section(field, &ATTRIBUTES));
        compute.arch = attributes.and_then(|section| self.text(section.get("arch")?));
    }

    fn volumes(&mut self, field: &Field) -> Vec<Volume> {
        let single = matches!(field.node.value, Value::Map(_));
        let fields = if single { vec![field.clone()] } else { self.list(field) };
        let mut volumes: Vec<Volume> = Vec::new();
        if fields.len() > MAX_LIST {
            self.error(field, format!("more than {MAX_LIST} volumes"), "write fewer");
        }
        for element in fields.iter().take(MAX_LIST) {
            let Some(volume) = self.volume(element, single) else { continue };
            if volumes.iter().any(|one| one.name == volume.name) {
                let problem = format!("a second volume is called {}", echo(&volume.name));
                self.error(element, problem, "give each volume a name of its own");
            }
            volumes.push(volume);
        }
        if fields.is_empty() {
            self.error(field, "has no volume", "write storage: {size: 1Gi}");
        }
        volumes.sort_by(|left, right| {
            let order = |volume: &Volume| (volume.bytes, volume.persistent);
            order(left).cmp(&order(right))
        });
        volumes
    }

    fn volume(&mut self, field: &Field, single: bool) -> Option<Volume> {
        let section = self.section(field, &VOLUME)?;
        let bytes = section.get("size").and_then(|field| self.lenient(field, value::size));
        let mut name = section.get("name").and_then(|field| self.text(field));
        if let (true, Some(_), Some(field)) = (single, &name, section.get("name")) {
            self.warn(field, "the only volume is called default", "write storage as a list");
            name = None;
        }
        let attributes =
            section.get("attributes").and_then(|field| self.section(field, &VOLUME_ATTRIBUTES));
        let (class, persistent) =
            attributes.map(|section| self.volume_kind(&section)).unwrap_or_default();
        Some(Volume {
            name: name.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned()),
            bytes: bytes.unwrap_or_default(),
            class,
            persistent,
        })
    }

    fn volume_kind(&mut self, section: &Section) -> (Option<StorageClass>, bool) {
        const CLASSES: [(&str, StorageClass); 8] = [
            ("default", StorageClass::Default),
            ("beta1", StorageClass::Beta1),
            ("beta2", StorageClass::Beta2),
            ("beta3", StorageClass::Beta3),
            ("ram", StorageClass::Ram),
            ("hdd", StorageClass::Beta1),
            ("ssd", StorageClass::Beta2),
            ("nvme", StorageClass::Beta3),
        ];
        let flag = section.get("persistent");
        let persistent = flag.and_then(|field| self.persistent(field)).unwrap_or(false);
        let Some(field) = section.get("class") else {
            return (persistent.then_some(StorageClass::Default), persistent);
        };
        let class = self.word(field, &CLASSES);
        match class {
            Some(StorageClass::Ram) if persistent => {
                let problem = "memory does not outlive the container";
                self.error(field, problem, "write persistent: false, or another class");
            }
            Some(class) if class != StorageClass::Ram && !persistent => {
                let problem = "a class is for persistent volumes";
                self.error(field, problem, "add persistent: true, or remove class");
            }
            Some(class) => {
                let written = self.text(field).unwrap_or_default();
                if written != class.to_string() {
                    let problem = format!("{} is read as {class}", echo(&written));
                    self.warn(field, problem, format!("write {class}"));
                }
            }
            None => {}
        }
        (class, persistent)
    }

    /// Text is as usual here as true and false.
    fn persistent(&mut self, field: &Field) -> Option<bool> {
        match self.scalar(field)?.text.as_ref() {
            "true" => Some(true),
            "false" => Some(false),
            _ => self.flag(field),
        }
    }

    fn gpus(&mut self, field: &Field) -> Option<Gpus> {
        let section = self.section(field, &GPU)?;
        let units = section.get("units").and_then(|field| {
            let scalar = self.scalar(field)?;
            // Text is as usual here as a number.
            match scalar.text.trim().parse::<u64>() {
                Ok(units) if units <= MAX_GPUS => Some(units),
                _ => self.whole(field, 0, MAX_GPUS),
            }
        });
        let count = u32::try_from(units.unwrap_or_default()).unwrap_or_default();
        let any_of = match section.get("attributes") {
            Some(attributes) => self.gpu_kinds(attributes),
            None => Vec::new(),
        };
        match (count, section.get("attributes")) {
            (0, Some(attributes)) if section.get("units").is_none() => {
                self.error(attributes, "says which GPUs, but not how many", "add units: 1");
            }
            (0, Some(attributes)) => {
                self.warn(attributes, "counts for no GPU: units is 0", "write units: 1");
                return None;
            }
            (1.., None) => {
                let fix = "add attributes: {vendor: {nvidia: [{model: a100}]}}";
                let path = join(&section.path, "attributes");
                self.notes.error(section.at, path, "is missing", fix);
            }
            _ => {}
        }
        Some(Gpus { count, any_of })
    }

    fn gpu_kinds(&mut self, field: &Field) -> Vec<GpuKind> {
        let Some(section) = self.section(field, &GPU_ATTRIBUTES) else { return Vec::new() };
        let Some(vendors) = section.get("vendor") else { return Vec::new() };
        let mut kinds = Vec::new();
        for (vendor, models) in self.entries(vendors) {
            let vendor = vendor.to_ascii_lowercase();
            if vendor.is_empty() || vendor.len() > 64 {
                let at = models.key_at;
                self.notes.error(at, models.path.as_str(), "is no vendor", "write nvidia");
                continue;
            }
            if vendor != "nvidia" {
                let problem = "few hosts have GPUs of this vendor";
                let fix = "write nvidia, if that is what you want";
                self.notes.warn(models.key_at, models.path.as_str(), problem, fix);
            }
            let any = GpuKind { vendor: vendor.clone(), ..GpuKind::default() };
            if matches!(models.node.value, Value::Null) {
                kinds.push(any);
                continue;
            }
            let models = self.list(&models);
            if models.is_empty() {
                kinds.push(any);
            }
            for model in models.iter().take(MAX_LIST) {
                kinds.extend(self.gpu_kind(model, &vendor));
            }
        }
        if kinds.is_empty() && !self.notes.has_errors() {
            self.error(vendors, "names no vendor", "write nvidia:");
        }
        if kinds.len() > MAX_LIST {
            self.error(vendors, format!("more than {MAX_LIST} kinds of GPU"), "write fewer");
        }
        kinds.sort();
        kinds.dedup();
        kinds
    }

    fn gpu_kind(&mut self, field: &Field, vendor: &str) -> Option<GpuKind> {
        let mut kind = GpuKind { vendor: vendor.to_owned(), ..GpuKind::default() };
        let name = |text: &str| match text.to_ascii_lowercase() {
            any if any == "*" => Ok(String::new()),
            name if !name.is_empty() && name.len() <= 64 => Ok(name),
            name => crate::value::refuse(format!("{} is no model", echo(&name)), "write e.g. a100"),
        };
        if let Value::Scalar(_) = field.node.value {
            self.warn(field, "is read as a model", "write - model: name");
            kind.model = self.read(field, name)?;
            return Some(kind);
        }
        let section = self.section(field, &GPU_KIND)?;
        if let Some(field) = section.get("model") {
            kind.model = self.read(field, name)?;
        }
        if let Some(field) = section.get("ram") {
            kind.memory_bytes = self.lenient(field, value::size).unwrap_or_default();
        }
        if let Some(field) = section.get("interface") {
            let words = [("pcie", "pcie"), ("sxm", "sxm")];
            kind.interface = self.word(field, &words).unwrap_or_default().to_owned();
        }
        Some(kind)
    }

    pub(super) fn placements(&mut self, field: &Field) -> BTreeMap<String, Option<PlacementDraft>> {
        let mut placements = BTreeMap::new();
        for (name, field) in self.entries(field) {
            if self.notes.is_full() {
                break;
            }
            placements.insert(name.as_ref().to_owned(), self.placement(&field));
        }
        placements
    }

    fn placement(&mut self, field: &Field) -> Option<PlacementDraft> {
        let section = self.section(field, &PLACEMENT)?;
        let mut requirements = Requirements::default();
        if let Some(field) = section.get("attributes") {
            for (name, field) in self.attributes(field) {
                let Some(text) = self.text(&field) else { continue };
                if name.is_empty() || name.len() > 64 || text.len() > 256 {
                    let fix = "use names of at most 64 bytes, values of at most 256";
                    self.error(&field, "is longer than an order may have", fix);
                }
                requirements.attributes.insert(name, text);
            }
            if requirements.attributes.len() > 60 {
                self.error(field, "more than 60 attributes", "ask for fewer");
            }
        }
        if let Some(section) =
            section.get("signedBy").and_then(|field| self.section(field, &SIGNED_BY))
        {
            requirements.signed_by_any = self.auditors(section.get("anyOf"));
            requirements.signed_by_all = self.auditors(section.get("allOf"));
        }
        let pricing = section.get("pricing").map(|field| {
            let entries = self.entries(field).into_iter();
            entries
                .map(|(profile, field)| {
                    (profile.as_ref().to_owned(), (self.price(&field), field.key_at))
                })
                .collect()
        });
        Some(PlacementDraft { at: section.at, requirements, pricing })
    }

    /// `name: value` lines, or the list of `key` and `value` that older files have.
    fn attributes(&mut self, field: &Field) -> Vec<(String, Field)> {
        const PAIR: Keys = Keys {
            required: &[("key", "region"), ("value", "us-west")],
            optional: &[],
            foreign: &[],
        };
        if !matches!(field.node.value, Value::List(_)) {
            let entries = self.entries(field);
            let entries =
                entries.into_iter().map(|(name, field)| (name.as_ref().to_owned(), field));
            return entries.collect();
        }
        self.warn(field, "a list is read as a mapping", "write `name: value` lines");
        let mut pairs = Vec::new();
        for element in self.list(field) {
            let Some(section) = self.section(&element, &PAIR) else { continue };
            let key = section.get("key").and_then(|field| self.text(field));
            pairs.extend(key.zip(section.get("value").cloned()));
        }
        pairs
    }

    fn auditors(&mut self, field: Option<&Field>) -> Vec<String> {
        let Some(field) = field else { return Vec::new() };
        let elements = self.list(field);
        if elements.len() > 16 {
            self.error(field, "more than 16 auditors", "name fewer");
        }
        let names: Vec<String> =
            elements.iter().take(16).filter_map(|element| self.text(element)).collect();
        let distinct: BTreeSet<&String> = names.iter().collect();
        if distinct.len() < names.len() {
            self.warn(field, "names an auditor twice", "keep one of the two");
        }
        names
    }

    fn price(&mut self, field: &Field) -> Option<Price> {
        let section = self.section(field, &PRICE)?;
        let denom = section.get("denom").and_then(|field| {
            let denom = self.text(field)?;
            if super::order::known(&denom) {
                return Some(denom);
            }
            if denom.is_empty() || denom.len() > 128 {
                self.error(field, format!("{} is no denomination", echo(&denom)), "write uakt");
                return None;
            }
            let problem = format!("nobody knows what {} is worth", echo(&denom));
            self.warn(field, problem, "write uakt, uact or usd");
            Some(denom)
        });
        let amount = section.get("amount").and_then(|field| self.read(field, value::amount));
        Some(Price { denom: denom?, amount: amount? })
    }
}
