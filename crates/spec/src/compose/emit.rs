//! Writes an SDL.

use super::{App, Guess, MountKind};
use std::fmt::Write as _;

/// The placement's name: compose has none.
const PLACE: &str = "anywhere";

/// The text of an SDL: every text that a tenant wrote is in double quotes.
pub(super) fn sdl(apps: &[App], guess: &Guess) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out, apps, guess);
    out
}

fn write(out: &mut String, apps: &[App], guess: &Guess) -> std::fmt::Result {
    writeln!(out, "version: \"2.0\"\nservices:")?;
    for app in apps {
        service(out, app, apps)?;
    }
    writeln!(out, "profiles:\n  compute:")?;
    for app in apps {
        profile(out, app, guess)?;
    }
    writeln!(out, "  placement:\n    {PLACE}:\n      pricing:")?;
    for app in apps {
        writeln!(
            out,
            "        {}:\n          denom: usd\n          amount: {}",
            key(&app.name),
            guess.price_per_hour
        )?;
    }
    writeln!(out, "deployment:")?;
    for app in apps {
        let (name, count) = (key(&app.name), app.replicas);
        writeln!(out, "  {name}:\n    {PLACE}:\n      profile: {name}\n      count: {count}")?;
    }
    Ok(())
}

fn service(out: &mut String, app: &App, apps: &[App]) -> std::fmt::Result {
    writeln!(out, "  {}:\n    image: {}", key(&app.name), quoted(&app.image))?;
    let lists = [("command", &app.command), ("args", &app.args)];
    for (key, words) in lists.into_iter().filter(|(_, words)| !words.is_empty()) {
        writeln!(out, "    {key}:")?;
        for word in words {
            writeln!(out, "      - {}", quoted(word))?;
        }
    }
    if !app.env.is_empty() {
        writeln!(out, "    env:")?;
    }
    for (name, value) in &app.env {
        writeln!(out, "      - {}", quoted(&format!("{name}={value}")))?;
    }
    if !app.ports.is_empty() {
        writeln!(out, "    expose:")?;
    }
    let callers: Vec<&str> = apps
        .iter()
        .filter(|other| other.depends_on.contains(&app.name))
        .map(|other| other.name.as_str())
        .collect();
    for port in &app.ports {
        writeln!(out, "      - port: {}", port.target)?;
        if let Some(published) = port.published {
            writeln!(out, "        as: {published}")?;
        }
        if port.udp {
            writeln!(out, "        proto: udp")?;
        }
        let others = apps.iter().map(|other| other.name.as_str());
        let others: Vec<&str> = others.filter(|name| *name != app.name).collect();
        let to = match (callers.is_empty(), port.global) {
            (true, true) => Vec::new(),
            (true, false) => others,
            (false, _) => callers.clone(),
        };
        if port.global || !to.is_empty() {
            writeln!(out, "        to:")?;
        }
        if port.global {
            writeln!(out, "          - global: true")?;
        }
        for name in to {
            writeln!(out, "          - service: {}", key(name))?;
        }
    }
    if !app.depends_on.is_empty() {
        writeln!(out, "    dependencies:")?;
    }
    for name in &app.depends_on {
        writeln!(out, "      - service: {}", key(name))?;
    }
    if !app.mounts.is_empty() {
        writeln!(out, "    params:\n      storage:")?;
    }
    for mount in &app.mounts {
        writeln!(
            out,
            "        {}:\n          mount: {}\n          readOnly: {}",
            key(&mount.volume),
            quoted(&mount.path),
            mount.read_only
        )?;
    }
    Ok(())
}

fn profile(out: &mut String, app: &App, guess: &Guess) -> std::fmt::Result {
    let cpu = app.cpu_milli.unwrap_or(guess.cpu_milli);
    let memory = size(app.memory_bytes.unwrap_or(guess.memory_bytes));
    let name = key(&app.name);
    writeln!(out, "    {name}:\n      resources:\n        cpu:\n          units: {cpu}m")?;
    writeln!(out, "        memory:\n          size: {memory}")?;
    writeln!(out, "        storage:\n          - size: 1Gi")?;
    for mount in &app.mounts {
        let (class, persistent) = match mount.kind {
            MountKind::Persistent => (Some("default"), true),
            MountKind::Ephemeral => (None, false),
            MountKind::Memory => (Some("ram"), false),
        };
        let bytes = match mount.kind {
            MountKind::Persistent => guess.volume_bytes,
            MountKind::Ephemeral => 1 << 30,
            MountKind::Memory => 64 << 20,
        };
        writeln!(
            out,
            "          - name: {}\n            size: {}",
            key(&mount.volume),
            size(bytes)
        )?;
        if let Some(class) = class {
            writeln!(
                out,
                "            attributes:\n              persistent: {persistent}\n              class: {class}"
            )?;
        }
    }
    if app.gpus > 0 {
        writeln!(
            out,
            "        gpu:\n          units: {}\n          attributes:\n            vendor:\n              nvidia:",
            app.gpus
        )?;
    }
    Ok(())
}

/// A size in the largest unit that it is whole in.
fn size(bytes: u64) -> String {
    for (unit, shift) in [("Gi", 30), ("Mi", 20), ("Ki", 10)] {
        let whole = bytes >> shift;
        if whole > 0 && whole << shift == bytes {
            return format!("{whole}{unit}");
        }
    }
    bytes.to_string()
}

/// A DNS label, in quotes where YAML takes it for something else.
fn key(label: &str) -> String {
    match label {
        "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" => quoted(label),
        label => label.to_owned(),
    }
}

/// Text in double quotes, as YAML escapes it.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(2));
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            odd if is_odd(odd) => {
                let _ = write!(out, "\\U{:08X}", u32::from(odd));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// What YAML does not take as it is, or an editor does not show.
fn is_odd(letter: char) -> bool {
    let code = u32::from(letter);
    letter.is_control()
        || matches!(code, 0x2028 | 0x2029 | 0xFEFF)
        || (0xFFF0..=0xFFFF).contains(&code)
        || code & 0xFFFE == 0xFFFE
}
