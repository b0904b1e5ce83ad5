//! What a compose file's service needs: CPU, memory, GPUs, replicas.

use super::{App, Guess, read::Context};
use crate::{
    form::{Field, Foreign, Form, Keys, Section},
    value::{Reading, decimal, echo, refuse},
    yaml::Value,
};

const DEPLOY: Keys = Keys {
    required: &[],
    optional: &["resources", "replicas"],
    foreign: &[
        ("mode", Foreign::Ignored),
        ("restart_policy", Foreign::Ignored),
        ("update_config", Foreign::Ignored),
        ("rollback_config", Foreign::Ignored),
        ("placement", Foreign::Ignored),
        ("labels", Foreign::Ignored),
        ("endpoint_mode", Foreign::Ignored),
    ],
};

impl Form<'_> {
    pub(super) fn resources_of(&mut self, section: &Section, context: &Context<'_>, app: &mut App) {
        const RESOURCES: Keys =
            Keys { required: &[], optional: &["limits", "reservations"], foreign: &[] };
        const AMOUNTS: Keys = Keys {
            required: &[],
            optional: &["cpus", "memory", "devices"],
            foreign: &[("pids", Foreign::Ignored)],
        };
        let replicas = |form: &mut Self, field: &Field| {
            let number = form.interpolated(field, |text| match text.parse::<u32>() {
                Ok(number) if (1..=muster_market::MAX_COUNT).contains(&number) => Ok(number),
                _ => refuse(format!("{} is out of range", echo(text)), "write 1 or more"),
            });
            number.unwrap_or(1)
        };
        if let Some(field) = section.get("scale") {
            app.replicas = replicas(self, field);
        }
        let deploy = section.get("deploy").and_then(|field| self.section(field, &DEPLOY));
        if let Some(field) = deploy.as_ref().and_then(|section| section.get("replicas")) {
            app.replicas = replicas(self, field);
        }
        let resources = deploy
            .as_ref()
            .and_then(|section| section.get("resources"))
            .and_then(|field| self.section(field, &RESOURCES));
        // Limits count, and reservations where there is no limit.
        for key in ["reservations", "limits"] {
            let part = resources.as_ref().and_then(|section| section.get(key));
            let Some(part) = part.and_then(|field| self.section(field, &AMOUNTS)) else { continue };
            if let Some(field) = part.get("cpus") {
                app.cpu_milli = self.interpolated(field, cpus).or(app.cpu_milli);
            }
            if let Some(field) = part.get("memory") {
                app.memory_bytes = self.interpolated(field, memory).or(app.memory_bytes);
            }
            if let Some(field) = part.get("devices") {
                app.gpus = self.devices(field);
            }
        }
        if let Some(field) = section.get("cpus") {
            app.cpu_milli = self.interpolated(field, cpus).or(app.cpu_milli);
        }
        if let Some(field) = section.get("mem_limit") {
            app.memory_bytes = self.interpolated(field, memory).or(app.memory_bytes);
        }
        if let Some(field) = section.get("gpus") {
            app.gpus = match field.node.value {
                Value::Scalar(_) => self.gpu_count(field),
                _ => self.devices(field),
            };
        }
        if app.cpu_milli.is_none() || app.memory_bytes.is_none() {
            let Guess { cpu_milli, memory_bytes, .. } = context.guess;
            let problem = format!(
                "says not what it needs: {cpu_milli}m of CPU and {} MiB are asked for",
                memory_bytes >> 20
            );
            let fix = "add deploy.resources.limits, or correct it in the SDL";
            self.notes.warn(section.at, section.path.as_str(), problem, fix);
        }
    }

    fn devices(&mut self, field: &Field) -> u32 {
        const DEVICE: Keys = Keys {
            required: &[],
            optional: &["count", "capabilities", "driver", "device_ids", "options"],
            foreign: &[],
        };
        let mut gpus = 0u32;
        for element in self.bounded_list(field) {
            let Some(section) = self.section(&element, &DEVICE) else { continue };
            if let Some(driver) = section.get("driver").and_then(|field| self.plain_text(field))
                && driver != "nvidia"
            {
                self.error(&element, format!("{} is no GPU", echo(&driver)), "write nvidia");
            }
            let more = match (section.get("count"), section.get("device_ids")) {
                (Some(count), _) => self.gpu_count(count),
                (None, Some(ids)) => u32::try_from(self.bounded_list(ids).len()).unwrap_or(1),
                (None, None) => 1,
            };
            gpus = gpus.saturating_add(more);
        }
        gpus.min(1_024)
    }

    fn gpu_count(&mut self, field: &Field) -> u32 {
        let Some(text) = self.plain_text(field) else { return 0 };
        match text.trim().parse::<u32>() {
            Ok(count) if count <= 1_024 => count,
            _ if matches!(text.trim(), "all" | "-1") => {
                self.warn(field, "all GPUs are taken to be one", "write how many");
                1
            }
            _ => {
                self.error(field, format!("{} is no count", echo(&text)), "write how many");
                0
            }
        }
    }
}

fn cpus(text: &str) -> Reading<u64> {
    let milli = decimal(text, 9).and_then(|nanos| u64::try_from(nanos / 1_000_000).ok());
    match milli {
        Some(milli) if milli > 0 => Ok(milli),
        _ => refuse(format!("{} is no number of CPUs", echo(text)), "write e.g. \"0.5\""),
    }
}

/// Bytes as Docker writes them: all units are powers of 1024.
fn memory(text: &str) -> Reading<u64> {
    let lower = text.to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let shift = match lower[end..].trim() {
        "" | "b" => Some(0),
        "k" | "kb" | "kib" => Some(10),
        "m" | "mb" | "mib" => Some(20),
        "g" | "gb" | "gib" => Some(30),
        "t" | "tb" | "tib" => Some(40),
        _ => None,
    };
    let bytes = shift
        .and_then(|shift| decimal(&lower[..end], 9)?.checked_mul(1u128 << shift))
        .and_then(|nanos| u64::try_from(nanos / 1_000_000_000).ok());
    match bytes {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => refuse(format!("{} is no size", echo(text)), "write e.g. 512M"),
    }
}
