//! Whom the client speaks to. The image's name is a stranger's, and so is every address that a
//! registry sends the client on to: neither may lead into the provider's own networks.
//!
//! | host | address | scheme | spoken to |
//! |---|---|---|---|
//! | any | public | https | yes |
//! | any | private | https | if trusted |
//! | trusted | loopback | http | yes |
//! | any | any | http | if `plain_http` |

use super::RegistryConfig;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

/// A name whose addresses are all private.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` has only private addresses")]
pub(super) struct PrivateAddress(pub(super) String);

/// The rule, for addresses as they are written.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    trusted: BTreeSet<String>,
    plain_http: BTreeSet<String>,
}

impl Reach {
    pub(super) fn new(config: &RegistryConfig) -> Self {
        let lower = |hosts: &BTreeSet<String>| {
            hosts.iter().map(|host| host.to_ascii_lowercase()).collect::<BTreeSet<_>>()
        };
        let plain_http = lower(&config.plain_http);
        let trusted = lower(&config.trusted).union(&plain_http).cloned().collect();
        Self { trusted, plain_http }
    }

    /// The scheme for a registry: `https`, or where the rule allows it, `http`.
    pub(super) fn scheme(&self, host: &str) -> &'static str {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let loopback = self.trusted.contains(host) && is_loopback(name);
        if loopback || self.plain_http.contains(host) { "http" } else { "https" }
    }

    /// Whether `url` may be asked; if not, why, and the setting that allows it.
    pub(super) fn check(&self, url: &Url) -> Result<(), String> {
        let host = host_and_port(url);
        let name = url.host_str().unwrap_or_default();
        match url.scheme() {
            "https" => {}
            "http" if self.scheme(&host) == "http" => {}
            "http" => {
                let fix = "use https, or name it in `plain_http` of the provider's registries";
                return Err(format!("it would be asked without encryption: {fix}"));
            }
            scheme => return Err(format!("`{scheme}` is no scheme of a registry: use https")),
        }
        let address = name.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let private = address.is_some_and(|address| !is_public(address));
        if private && !self.trusted.contains(&host) {
            return Err(private_problem(&host));
        }
        Ok(())
    }

    /// Whether a name may have private addresses: whether it is trusted at some port.
    fn trusts_name(&self, name: &str) -> bool {
        let has =
            |host: &String| host == name || host.rsplit_once(':').is_some_and(|h| h.0 == name);
        self.trusted.iter().any(has)
    }
}

/// What to say of a host at a private address.
pub(super) fn private_problem(host: &str) -> String {
    format!(
        "its address is private: to pull from it, name `{host}` in `trusted` of the provider's \
         registries"
    )
}

/// `host[:port]` as an image's name has it.
pub(super) fn host_and_port(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default().to_ascii_lowercase();
    url.port().map_or_else(|| name.clone(), |port| format!("{name}:{port}"))
}

/// Resolves names, and leaves out private addresses unless the name is trusted: what a name meant
/// when it was checked and what is connected to are then the same.
pub(super) struct Resolver(pub(super) Arc<Reach>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let trusted = self.0.trusts_name(&name.as_str().to_ascii_lowercase());
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                found.filter(|address| trusted || is_public(address.ip())).collect();
            if allowed.is_empty() {
                return Err(PrivateAddress(name.as_str().to_owned()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn is_loopback(name: &str) -> bool {
    let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Whether an address is one of the open internet's.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let reserved = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !reserved
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // NAT64: what is behind it is an IPv4 address.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // Teredo and others of 2001::/23, documentation, 6to4.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests;
