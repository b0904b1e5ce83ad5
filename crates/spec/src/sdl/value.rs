//! Values as an SDL writes them: sizes, CPU shares, lengths of time, prices. Exact, in integers.

use crate::value::{Reading, Refusal, decimal, echo, refuse};
use muster_types::{Amount, Millis};

/// A value, and what is odd about how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lenient<T> {
    pub(crate) value: T,
    pub(crate) odd: Option<Refusal>,
}

fn plain<T>(value: T) -> Reading<Lenient<T>> {
    Ok(Lenient { value, odd: None })
}

fn odd<T>(value: T, problem: String, fix: String) -> Reading<Lenient<T>> {
    Ok(Lenient { value, odd: Some(Refusal { problem, fix }) })
}

/// The units of sizes: as Akash reads them.
const SIZES: [(&str, u128); 12] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
];

/// A size in bytes, rounded down, more than zero.
pub(crate) fn size(text: &str) -> Reading<Lenient<u64>> {
    const FIX: &str = "write a number and Ki, Mi, Gi or Ti, e.g. 512Mi";
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim_start());
    let lower = unit.to_ascii_lowercase();
    // How other tools write the same unit: `512MiB`, `512mb`, `512 Mi`.
    let meant = match lower.strip_suffix('b').unwrap_or(&lower) {
        "" => Some(""),
        "k" => Some("k"),
        short => SIZES.iter().map(|(name, _)| *name).find(|name| {
            name.eq_ignore_ascii_case(short)
                && (name.len() == 2 || unit.len() == 2 || *name == unit)
        }),
    };
    let Some(meant) = meant else {
        let docker = matches!(lower.as_str(), "m" | "g").then(|| lower.to_ascii_uppercase());
        let fix = docker.map_or(FIX.to_owned(), |letter| format!("write {number}{letter}i"));
        return refuse(format!("{} is no size", echo(text)), fix);
    };
    let scale = SIZES.iter().find(|(name, _)| *name == meant).map_or(1, |(_, scale)| *scale);
    let bytes = decimal(number, 9)
        .and_then(|nanos| nanos.checked_mul(scale))
        .and_then(|nanos| u64::try_from(nanos / 1_000_000_000).ok());
    match bytes {
        None => refuse(format!("{} is no size", echo(text)), FIX),
        Some(0) => refuse(format!("{} is nothing", echo(text)), FIX),
        Some(bytes) if format!("{number}{meant}") != text => {
            odd(bytes, format!("is read as {number}{meant}"), format!("write {number}{meant}"))
        }
        Some(bytes) if meant.is_empty() && bytes < 1 << 20 => {
            odd(bytes, format!("is {bytes} bytes, which is little"), FIX.to_owned())
        }
        Some(bytes) => plain(bytes),
    }
}

/// CPU threads in thousandths, rounded down, more than zero: `0.5` or `500m`.
pub(crate) fn cpu(text: &str) -> Reading<Lenient<u64>> {
    const FIX: &str = "write threads, e.g. 0.5, or thousandths, e.g. 500m";
    let nanos = match text.strip_suffix('m') {
        Some(milli) => decimal(milli, 9).map(|nanos| nanos / 1_000),
        None => decimal(text.strip_prefix('+').unwrap_or(text), 9),
    };
    let milli = nanos.map(|nanos| (nanos / 1_000_000, nanos % 1_000_000 != 0));
    match milli.map(|(milli, rest)| (u64::try_from(milli), rest)) {
        Some((Ok(0), _)) => refuse(format!("{} is no CPU at all", echo(text)), FIX),
        Some((Ok(milli), true)) => {
            odd(milli, format!("is rounded down to {milli}m"), format!("write {milli}m"))
        }
        Some((Ok(milli), false)) => plain(milli),
        _ => refuse(format!("{} is no number of CPU threads", echo(text)), FIX),
    }
}

/// A length of time, rounded down to milliseconds, more than zero: `24h`.
pub(crate) fn duration(text: &str) -> Reading<Lenient<Millis>> {
    const FIX: &str = "write a whole number and s, m or h, e.g. 24h";
    const UNITS: [(&str, u128); 7] = [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
        ("d", 86_400_000_000_000),
    ];
    let mut rest = text;
    let (mut nanos, mut parts) = (Some(0u128), 0);
    while !rest.is_empty() && parts < 16 {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let length = rest[number..]
            .find(|c: char| !c.is_ascii_alphabetic())
            .map_or(rest.len(), |length| number.saturating_add(length));
        let unit = UNITS.iter().find(|(name, _)| *name == &rest[number..length]);
        let part = unit.zip(decimal(&rest[..number], 9)).and_then(|((_, scale), value)| {
            value.checked_mul(*scale).map(|value| value / 1_000_000_000)
        });
        nanos = nanos.zip(part).and_then(|(sum, part)| sum.checked_add(part));
        rest = &rest[length..];
        parts += 1;
    }
    let ms =
        nanos.filter(|_| rest.is_empty()).and_then(|nanos| u64::try_from(nanos / 1_000_000).ok());
    let strict = parts == 1
        && !text.starts_with('0')
        && text
            .strip_suffix(['s', 'm', 'h'])
            .is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()));
    match ms {
        None | Some(0) => refuse(format!("{} is no length of time", echo(text)), FIX),
        Some(ms) if strict => plain(Millis(ms)),
        Some(ms) => odd(
            Millis(ms),
            format!("{} is read as {} seconds", echo(text), ms / 1_000),
            FIX.to_owned(),
        ),
    }
}

/// An amount that is more than zero.
pub(crate) fn amount(text: &str) -> Reading<Amount> {
    const FIX: &str = "write a number above 0 with at most 9 decimals, e.g. 1000";
    let trimmed = match text.split_once('.') {
        // As Akash itself prints it: 1000.000000000000000000.
        Some((units, decimals)) => match decimals.trim_end_matches('0') {
            "" if !decimals.is_empty() => units.to_owned(),
            short => format!("{units}.{short}"),
        },
        None => text.to_owned(),
    };
    match trimmed.parse::<Amount>() {
        Ok(amount) if !amount.is_zero() => Ok(amount),
        Ok(_) => refuse("nothing can be had for zero", FIX),
        Err(_) => refuse(format!("{} is no amount", echo(text)), FIX),
    }
}

/// A DNS label, as services are named: `web-1`.
pub(crate) fn is_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= 63
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && name.bytes().all(inner)
        && !name.ends_with('-')
}

/// A DNS name, in lower case.
pub(crate) fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// An endpoint's name.
pub(crate) fn is_endpoint(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (2..=63).contains(&name.len())
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && name.bytes().all(inner)
}

/// An environment variable's name.
pub(crate) fn is_variable(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=256).contains(&name.len())
        && name.bytes().all(inner)
        && !name.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
}

/// An OCI image reference, as far as it can be told without asking: no spaces, no scheme.
pub(crate) fn image(text: &str) -> Reading<String> {
    const FIX: &str = "write registry/name:tag, e.g. nginx:1.27";
    if text.is_empty() {
        return refuse("is empty", FIX);
    }
    let host = text.split('/').next().unwrap_or_default();
    let path = if host.len() == text.len() { text } else { &text[host.len().saturating_add(1)..] };
    let name = path.split(['@', ':']).next().unwrap_or_default();
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "._-/:@+[]".contains(c));
    if text.len() > 512 || text.contains(odd) || text.contains("://") || name.is_empty() {
        return refuse(format!("{} is no image", echo(text)), FIX);
    }
    if name.contains(|c: char| c.is_ascii_uppercase()) {
        return refuse(
            format!("{} has upper-case letters in its name", echo(text)),
            format!("write {}", text.replacen(name, &name.to_ascii_lowercase(), 1)),
        );
    }
    Ok(text.to_owned())
}
