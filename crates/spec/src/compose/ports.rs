//! Ports as compose writes them: `[address:][published:]target[/protocol]`, with ranges.

use super::Port;
use crate::value::{Reading, echo, refuse};
use std::{net::IpAddr, ops::RangeInclusive};

/// The most ports that one range may stand for.
const MAX_RANGE: usize = 100;

/// A published port, or a range of them.
pub(super) fn short(text: &str) -> Reading<Vec<Port>> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let udp = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => false,
        "udp" => true,
        _ => return refuse(format!("{} is no protocol", echo(protocol)), "write tcp or udp"),
    };
    let (rest, target) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (address, published) = rest.rsplit_once(':').unwrap_or(match rest {
        // `127.0.0.1::80` and `[::1]:80` have an address and no published port.
        address if address.contains(['.', ']']) => (address, ""),
        published => ("", published),
    });
    let bad = || refuse(format!("{} is no port", echo(text)), "write e.g. \"8080:80\"");
    let (Some(target), Some(published)) = (range(target), optional_range(published)) else {
        return bad();
    };
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if !address.is_empty() && address != "localhost" && bare.parse::<IpAddr>().is_err() {
        return bad();
    }
    let count = target.clone().count();
    if count > MAX_RANGE {
        return refuse(format!("more than {MAX_RANGE} ports"), "publish fewer");
    }
    if published.as_ref().is_some_and(|published| published.clone().count() != count) {
        return bad();
    }
    let global = !is_local(address);
    let ports = target.enumerate().map(|(at, target)| {
        let published = published.clone().and_then(|mut published| published.nth(at));
        Port { target, published, udp, global }
    });
    Ok(ports.collect())
}

/// Whether a published port can be reached from its own host alone.
pub(super) fn is_local(address: &str) -> bool {
    address.starts_with("127.") || address == "[::1]" || address == "::1" || address == "localhost"
}

fn optional_range(text: &str) -> Option<Option<RangeInclusive<u16>>> {
    if text.is_empty() { Some(None) } else { range(text).map(Some) }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some(first..=last)
}
