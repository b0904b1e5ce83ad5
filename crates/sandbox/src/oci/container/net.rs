//! A container's network: a veth pair, an address of its own, and a firewall around it.
//!
//! There is no bridge. Each container has one address (`/32`) of the pool and sends everything to
//! the gateway, the pool's first address, which the host has on its end of every pair. So every
//! packet, also between two containers, is routed by the host and passes the rules. The pair lives
//! in the container's network namespace and goes with it, whatever happened to us.

use super::{
    error::{ContainerError, Result},
    spec::{ContainerId, Destination, Egress, Protocol},
    tools::{find_program, run},
};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt::Write,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

/// Never reached unless the provider says so: this host's kin, other people's networks, cloud
/// metadata, everything that is not one machine on the Internet.
pub const DENIED: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
];

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// The provider's side of containers' networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// Private addresses for containers, of no other network that this machine reaches. At most a
    /// `/16`.
    pub pool: Ipv4Net,
    /// Name servers, written to `/etc/resolv.conf`; reachable on port 53 by every container with
    /// any egress.
    pub dns: Vec<Ipv4Addr>,
    /// Of [`DENIED`] and of the host's own addresses, what containers may reach after all, as far
    /// as their egress allows.
    pub reachable: Vec<Ipv4Net>,
}

impl NetworkConfig {
    /// Public name servers, nothing of [`DENIED`].
    #[must_use]
    pub fn new(pool: Ipv4Net) -> Self {
        let dns = vec![Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(8, 8, 8, 8)];
        Self { pool: pool.trunc(), dns, reachable: Vec::new() }
    }

    /// The host's address towards its containers.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.pool.hosts().next().unwrap_or(self.pool.addr())
    }

    /// The first address that is not taken.
    pub(super) fn free(&self, taken: &BTreeSet<Ipv4Addr>) -> Result<Ipv4Addr> {
        let mut free = self.pool.hosts().skip(1).filter(|address| !taken.contains(address));
        free.next().ok_or(ContainerError::NoAddress { pool: self.pool })
    }

    pub(super) fn check(&self) -> Result<()> {
        if !(16..=29).contains(&self.pool.prefix_len()) || !self.pool.addr().is_private() {
            let reason = format!("{}: use a private /16 to /29", self.pool);
            return Err(ContainerError::refused("network.pool", reason));
        }
        Ok(())
    }
}

/// A container as the firewall sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) address: Ipv4Addr,
    pub(super) lease: String,
    pub(super) egress: Egress,
}

/// The network side of one root.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) config: NetworkConfig,
    tag: String,
    ip: PathBuf,
    nft: PathBuf,
    nsenter: PathBuf,
}

fn program(name: &'static str) -> Result<PathBuf> {
    find_program(name).ok_or_else(|| ContainerError::Unsupported {
        reason: format!("`{name}` is not installed"),
        fix: "install iproute2, nftables and util-linux",
    })
}

impl Network {
    pub(super) fn new(config: NetworkConfig, tag: &str) -> Result<Self> {
        config.check()?;
        let tag = tag.to_owned();
        let (ip, nft, nsenter) = (program("ip")?, program("nft")?, program("nsenter")?);
        Ok(Self { config, tag, ip, nft, nsenter })
    }

    fn prefix(&self) -> String {
        format!("m{}", self.tag)
    }

    /// The host's end of the pair of the container with this address.
    pub(super) fn interface(&self, address: Ipv4Addr) -> String {
        let offset = u32::from(address).wrapping_sub(u32::from(self.config.pool.network()));
        format!("{}{offset:04x}", self.prefix())
    }

    /// Gives the process's network namespace its interface, address and route.
    pub(super) async fn attach(&self, pid: i32, address: Ipv4Addr) -> Result<()> {
        let (name, gateway) = (self.interface(address), self.config.gateway());
        let host = format!(
            "link add {name} type veth peer name eth0 netns {pid}\n\
             addr add {gateway}/32 dev {name}\n"
        );
        let batch = [OsStr::new("-batch"), OsStr::new("-")];
        run(&self.ip, &batch, Some(&host)).await?;
        // No IPv6 before the first packet.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
        let up = format!("link set {name} up\nroute add {address}/32 dev {name} src {gateway}\n");
        run(&self.ip, &batch, Some(&up)).await?;
        let inside = format!(
            "link set lo up\n\
             addr add {address}/32 dev eth0\n\
             link set eth0 up\n\
             route add {gateway}/32 dev eth0\n\
             route add default via {gateway} dev eth0\n"
        );
        let net = format!("--net=/proc/{pid}/ns/net");
        let args = [OsStr::new(&net), self.ip.as_os_str(), batch[0], batch[1]];
        run(&self.nsenter, &args, Some(&inside)).await.map(drop)
    }

    /// Removes the host's end, should the namespace live on.
    pub(super) async fn detach(&self, name: &str) -> Result<()> {
        if !Path::new("/sys/class/net").join(name).exists() {
            return Ok(());
        }
        let args = ["link", "delete", name].map(OsStr::new);
        match run(&self.ip, &args, None).await {
            // Gone meanwhile, with its namespace.
            Err(_) if !Path::new("/sys/class/net").join(name).exists() => Ok(()),
            other => other.map(drop),
        }
    }

    /// The interfaces that are ours by name.
    pub(super) fn interfaces(&self) -> Vec<String> {
        let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with(&self.prefix())).collect()
    }

    /// Bytes that the container received and sent.
    pub(super) fn traffic(&self, address: Ipv4Addr) -> (u64, u64) {
        let dir = Path::new("/sys/class/net").join(self.interface(address)).join("statistics");
        let read = |name: &str| {
            let text = fs::read_to_string(dir.join(name)).unwrap_or_default();
            text.trim().parse().unwrap_or(0)
        };
        (read("tx_bytes"), read("rx_bytes"))
    }

    /// Makes the rules those for exactly these containers, all at once.
    pub(super) async fn enforce(&self, members: &[Member]) -> Result<()> {
        if fs::read_to_string(FORWARD).is_ok_and(|value| value.trim() == "0") {
            fs::write(FORWARD, "1").map_err(ContainerError::io("switch on routing in", FORWARD))?;
        }
        self.nft(&self.rules(members)).await
    }

    /// Removes the table.
    pub(super) async fn clear(&self) -> Result<()> {
        let table = self.table();
        self.nft(&format!("add table {table}\ndelete table {table}\n")).await
    }

    async fn nft(&self, rules: &str) -> Result<()> {
        run(&self.nft, &["-f", "-"].map(OsStr::new), Some(rules)).await.map(drop)
    }

    pub(super) fn table(&self) -> String {
        format!("inet muster_{}", self.tag)
    }

    /// The whole table. What the host itself sends to a container is let through; what it sends to
    /// an address of the pool that no container has (any more) must not leave by another route.
    fn rules(&self, members: &[Member]) -> String {
        let (table, ours, pool) =
            (self.table(), format!("\"{}*\"", self.prefix()), self.config.pool);
        let set = |elements: Vec<String>| match elements.is_empty() {
            true => String::new(),
            false => format!("elements = {{ {} }}", elements.join(", ")),
        };
        let owners =
            members.iter().map(|m| format!("\"{}\" . {}", self.interface(m.address), m.address));
        let mut peers = Vec::new();
        for a in members {
            let others = members.iter().filter(|b| b.lease == a.lease && b.address != a.address);
            peers.extend(others.map(|b| format!("{} . {}", a.address, b.address)));
        }
        let resolvers = members.iter().filter(|m| m.egress != Egress::None);
        let (mut chains, mut verdicts) = (String::new(), Vec::new());
        for member in members {
            let (address, open) = (member.address, member.egress == Egress::Open);
            match &member.egress {
                Egress::None => {}
                _ if open => verdicts.push(format!("{address} : accept")),
                Egress::Allow(list) => {
                    let chain = format!("to_{}", self.interface(address));
                    let rules: String = list.iter().map(allow).collect();
                    let _ = write!(chains, " chain {chain} {{\n{rules} }}\n");
                    verdicts.push(format!("{address} : jump {chain}"));
                }
                Egress::Open => {}
            }
        }
        let name_rule = if self.config.dns.is_empty() {
            String::new()
        } else {
            let servers: Vec<String> = self.config.dns.iter().map(ToString::to_string).collect();
            format!(
                "  ip saddr @resolvers ip daddr {{ {} }} meta l4proto {{ tcp, udp }} th dport 53 accept\n",
                servers.join(", ")
            )
        };
        let (owners, peers) = (set(owners.collect()), set(peers));
        let resolvers = set(resolvers.map(|m| m.address.to_string()).collect());
        let verdicts = set(verdicts);
        let reachable = set(self.config.reachable.iter().map(ToString::to_string).collect());
        let denied = DENIED.join(", ");
        format!(
            "add table {table}\ndelete table {table}\ntable {table} {{\n \
             set owners {{ type ifname . ipv4_addr; {owners} }}\n \
             set peers {{ type ipv4_addr . ipv4_addr; {peers} }}\n \
             set resolvers {{ type ipv4_addr; {resolvers} }}\n \
             set reachable {{ type ipv4_addr; flags interval; auto-merge; {reachable} }}\n \
             set denied {{ type ipv4_addr; flags interval; elements = {{ {denied} }} }}\n\
             {chains} \
             map egress {{ type ipv4_addr : verdict; {verdicts} }}\n \
             chain origin {{\n  meta nfproto != ipv4 drop\n  \
             iifname . ip saddr != @owners drop\n  ct state established,related accept\n }}\n \
             chain out {{\n  jump origin\n  ip saddr . ip daddr @peers accept\n  \
             ip daddr {pool} reject with icmp admin-prohibited\n{name_rule}  \
             ip daddr != @reachable ip daddr @denied reject with icmp admin-prohibited\n  \
             ip saddr vmap @egress\n  reject with icmp admin-prohibited\n }}\n \
             chain host {{\n  jump origin\n{name_rule}  ip daddr @reachable ip saddr vmap @egress\n  \
             reject with icmp admin-prohibited\n }}\n \
             chain input {{ type filter hook input priority -10; policy accept;\n  \
             iifname {ours} jump host\n }}\n \
             chain forward {{ type filter hook forward priority -10; policy accept;\n  \
             iifname {ours} jump out\n  \
             oifname {ours} ct state established,related accept\n  oifname {ours} drop\n }}\n \
             chain output {{ type filter hook output priority -10; policy accept;\n  \
             oifname {ours} accept\n  oifname lo accept\n  \
             ip daddr {pool} reject with icmp host-unreachable\n }}\n \
             chain source {{ type nat hook postrouting priority srcnat; policy accept;\n  \
             ip saddr {pool} iifname {ours} oifname != {ours} masquerade\n }}\n}}\n"
        )
    }
}

fn allow(to: &Destination) -> String {
    let protocol = match to.protocol {
        None => "{ tcp, udp }",
        Some(Protocol::Tcp) => "tcp",
        Some(Protocol::Udp) => "udp",
    };
    let port = to.port.map(|port| format!(" th dport {port}")).unwrap_or_default();
    format!("  ip daddr {} meta l4proto {protocol}{port} accept\n", to.net.trunc())
}

/// `/etc/resolv.conf`, `/etc/hosts` and `/etc/hostname` of a container.
pub(super) fn etc_files(
    config: &NetworkConfig,
    id: &ContainerId,
    hostname: &str,
    address: Ipv4Addr,
) -> [(&'static str, String); 3] {
    let mut resolv = String::new();
    for server in &config.dns {
        let _ = writeln!(resolv, "nameserver {server}");
    }
    let hosts = format!("127.0.0.1 localhost\n{address} {hostname} {id}\n");
    [
        ("/etc/resolv.conf", resolv),
        ("/etc/hosts", hosts),
        ("/etc/hostname", format!("{hostname}\n")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_given_from_the_lowest_and_the_gateway_is_never_among_them() {
        let config = NetworkConfig::new("10.9.0.0/29".parse().unwrap());
        let mut taken = BTreeSet::new();
        while let Ok(address) = config.free(&taken) {
            taken.insert(address);
        }
        let last: Vec<u8> = taken.iter().map(|address| address.octets()[3]).collect();
        assert_eq!((last, config.gateway()), (vec![2, 3, 4, 5, 6], Ipv4Addr::new(10, 9, 0, 1)));
    }

    #[test]
    fn a_pool_of_public_or_too_many_addresses_is_refused() {
        for (pool, good) in [
            ("10.0.0.0/8", false),
            ("1.2.3.0/24", false),
            ("10.1.0.0/30", false),
            ("10.1.0.0/16", true),
        ] {
            assert_eq!(NetworkConfig::new(pool.parse().unwrap()).check().is_ok(), good, "{pool}");
        }
    }
}
