//! Values as people write them: sizes, lengths of time, per cents, decimals. Exact, in integers.

use muster_types::{AccountId, Amount, Millis, Rate};
use std::path::PathBuf;
use toml::de::DeValue;

/// A value that was refused: why, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) problem: String,
    pub(crate) fix: String,
}

pub(crate) type Reading<T> = Result<T, Refusal>;

/// The longest text that is echoed in a defect, in characters.
const ECHO: usize = 40;

pub(crate) fn refuse<T>(problem: impl Into<String>, fix: impl Into<String>) -> Reading<T> {
    Err(Refusal { problem: problem.into(), fix: fix.into() })
}

/// A value as it was written, shortened.
pub(crate) fn echo(text: &str) -> String {
    let mut short: String = text.chars().take(ECHO).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("`{}`", short.escape_debug())
}

/// What kind of value this is, in words.
pub(crate) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn text_like<'v>(value: &'v DeValue<'_>, example: &str) -> Reading<&'v str> {
    match value.as_str() {
        Some(text) => Ok(text),
        None => refuse(
            format!("expected text, found {}", kind_of(value)),
            format!("write it in quotes, e.g. \"{example}\""),
        ),
    }
}

/// The digits of a number, whether it is written as a TOML number or as text.
fn number_like<'v>(value: &'v DeValue<'_>, example: &str) -> Reading<&'v str> {
    match value {
        DeValue::String(text) => Ok(text.as_ref()),
        DeValue::Float(float) => Ok(float.as_str()),
        DeValue::Integer(integer) if integer.radix() == 10 => Ok(integer.as_str()),
        other => refuse(
            format!("expected a number, found {}", kind_of(other)),
            format!("write a number, e.g. {example}"),
        ),
    }
}

/// Text that is not empty.
pub(crate) fn text(value: &DeValue<'_>) -> Reading<String> {
    match text_like(value, "text")? {
        "" => refuse("is empty", "write a value or leave the field out"),
        text => Ok(text.to_owned()),
    }
}

/// A name: 1 to 64 letters, digits, `.`, `_` or `-`, a letter or digit first.
pub(crate) fn name(value: &DeValue<'_>) -> Reading<String> {
    let text = text_like(value, "my-job")?;
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if first && text.len() <= 64 && text.bytes().all(word) {
        Ok(text.to_owned())
    } else {
        refuse(
            format!("{} is not a name", echo(text)),
            "use 1 to 64 letters, digits, `.`, `_` or `-`, starting with a letter or digit",
        )
    }
}

/// A path that is not empty.
pub(crate) fn path(value: &DeValue<'_>) -> Reading<PathBuf> {
    match text_like(value, "folder/file")? {
        "" => refuse("is empty", "write a path, relative to the job file"),
        text if text.contains('\0') => refuse("has a NUL in it", "write a path without NUL"),
        text => Ok(PathBuf::from(text)),
    }
}

/// True or false.
pub(crate) fn flag(value: &DeValue<'_>) -> Reading<bool> {
    match value.as_bool() {
        Some(flag) => Ok(flag),
        None => refuse(
            format!("expected true or false, found {}", kind_of(value)),
            "write true or false, without quotes",
        ),
    }
}

/// A whole number from `least` to `most`.
pub(crate) fn count(value: &DeValue<'_>, least: u64, most: u64) -> Reading<u64> {
    let Some(integer) = value.as_integer() else {
        return refuse(
            format!("expected a whole number, found {}", kind_of(value)),
            format!("write a whole number, e.g. {least}"),
        );
    };
    match u64::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => {
            let fix = if most == u64::MAX {
                format!("write {least} or more")
            } else {
                format!("write {least} to {most}")
            };
            refuse(format!("{} is out of range", echo(&integer.to_string())), fix)
        }
    }
}

/// Like [`count`], for numbers that fit 32 bits.
pub(crate) fn count_u32(value: &DeValue<'_>, least: u32, most: u32) -> Reading<u32> {
    let number = count(value, u64::from(least), u64::from(most))?;
    Ok(u32::try_from(number).unwrap_or(most))
}

/// A number of CPU threads with at most three decimals, in thousandths, more than zero.
pub(crate) fn cpu_milli(value: &DeValue<'_>) -> Reading<u64> {
    let text = number_like(value, "1.5")?;
    match decimal(text, 3).and_then(|milli| u64::try_from(milli).ok()) {
        Some(milli) if milli > 0 => Ok(milli),
        _ => refuse(
            format!("{} is not a number of CPU threads", echo(text)),
            "write threads with at most 3 decimals, e.g. 1 or 0.5",
        ),
    }
}

/// A size with its unit, in bytes.
pub(crate) fn size(value: &DeValue<'_>) -> Reading<u64> {
    const FIX: &str = "write a number and a unit: B, KiB, MiB, GiB or TiB, e.g. \"256MiB\"";
    if let DeValue::Integer(integer) = value {
        return refuse(format!("{} has no unit", echo(&integer.to_string())), FIX);
    }
    let text = text_like(value, "256MiB")?;
    let units: &[(&str, u128)] = &[
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let Some(bytes) = with_unit(text, units).and_then(|bytes| u64::try_from(bytes).ok()) else {
        return refuse(format!("{} is not a size", echo(text)), FIX);
    };
    Ok(bytes)
}

/// Like [`size`], more than zero.
pub(crate) fn some_size(value: &DeValue<'_>) -> Reading<u64> {
    match size(value)? {
        0 => refuse("nothing runs in zero bytes", "write a size, e.g. \"256MiB\""),
        bytes => Ok(bytes),
    }
}

/// Lengths of time with their units, added up, in milliseconds; more than zero.
pub(crate) fn duration(value: &DeValue<'_>) -> Reading<Millis> {
    const FIX: &str = "write numbers with units: ms, s, m, h or d, e.g. \"30s\" or \"1h30m\"";
    if let DeValue::Integer(integer) = value {
        return refuse(format!("{} has no unit", echo(&integer.to_string())), FIX);
    }
    let text = text_like(value, "30s")?;
    match parse_duration(text) {
        Some(length) => Ok(length),
        None => refuse(format!("{} is not a length of time", echo(text)), FIX),
    }
}

/// A length of time: numbers with the units `ms`, `s`, `m`, `h` and `d`, added up, as in `1h30m`;
/// `None` where it is none, is zero, or is beyond all times.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Millis> {
    let units: &[(&str, u128)] =
        &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let mut rest = text.trim();
    let mut total = Some(0u128);
    while !rest.is_empty() {
        let number = rest.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = rest[number..]
            .find(|letter: char| !letter.is_ascii_alphabetic())
            .map_or(rest.len(), |length| number + length);
        let part = with_unit(&rest[..unit], units);
        total = total.zip(part).and_then(|(total, part)| total.checked_add(part));
        rest = rest[unit..].trim_start();
    }
    total.and_then(|total| u64::try_from(total).ok()).filter(|ms| *ms > 0).map(Millis)
}

/// A per cent with at most two decimals, more than zero and at most `most_percent`, in hundredths.
pub(crate) fn percent_bps(value: &DeValue<'_>, most_percent: u32) -> Reading<u32> {
    let text = text_like(value, "25%")?;
    let bps = text
        .strip_suffix('%')
        .and_then(|number| decimal(number.trim_end(), 2))
        .and_then(|bps| u32::try_from(bps).ok());
    match bps {
        Some(bps) if bps > 0 && bps <= most_percent.saturating_mul(100) => Ok(bps),
        _ => refuse(
            format!("{} is not a per cent above 0% and up to {most_percent}%", echo(text)),
            "write a number with at most 2 decimals and a per cent sign, e.g. \"25%\"",
        ),
    }
}

/// An amount of `usd`.
pub(crate) fn amount(value: &DeValue<'_>) -> Reading<Amount> {
    let text = number_like(value, "\"0.60\"")?;
    match text.parse() {
        Ok(amount) => Ok(amount),
        Err(_) => refuse(
            format!("{} is not an amount of usd", echo(text)),
            "write units with at most 9 decimals, e.g. \"0.60\"",
        ),
    }
}

/// An amount of `usd` that is more than zero.
pub(crate) fn price(value: &DeValue<'_>) -> Reading<Amount> {
    let amount = amount(value)?;
    if amount.is_zero() {
        return refuse("nothing can be had for zero", "write what you would pay, e.g. \"0.60\"");
    }
    Ok(amount)
}

/// [`price`], per hour.
pub(crate) fn rate(value: &DeValue<'_>) -> Reading<Rate> {
    price(value).map(Rate::per_hour)
}

/// An account's id.
pub(crate) fn account(value: &DeValue<'_>) -> Reading<AccountId> {
    let text = text_like(value, "64 hexadecimal digits")?;
    match text.parse() {
        Ok(account) => Ok(account),
        Err(_) => refuse(
            format!("{} is not an account", echo(text)),
            "write the 64 hexadecimal digits that `muster wallet show` or `muster ps` prints",
        ),
    }
}

/// A decimal with a unit of the list, in the list's units, which must come out whole. The first
/// unit that ends the text counts.
fn with_unit(text: &str, units: &[(&str, u128)]) -> Option<u128> {
    let (number, scale) = units
        .iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?.trim_end(), *scale)))?;
    // Nine decimals, then divided out: 0.5KiB is 512 bytes, 0.3KiB is no whole number of them.
    let scaled = decimal(number, 9)?.checked_mul(scale)?;
    (scaled % 1_000_000_000 == 0).then_some(scaled / 1_000_000_000)
}

/// An unsigned decimal with at most `places` (up to nine) decimals, times 10^`places`.
pub(crate) fn decimal(text: &str, places: u32) -> Option<u128> {
    let nanos = text.parse::<Amount>().ok()?.nanos();
    let unit = 10u128.pow(9u32.checked_sub(places)?);
    (nanos % unit == 0).then_some(nanos / unit)
}

#[cfg(test)]
mod tests;
