//! Nothing listens beyond this machine unless somebody said so.

use crate::devnet::{Devnet, Home, free_port, read, wait_until};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// An address as `/proc/net` writes it: each four bytes as a number of this machine, in hex.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words = ip.as_bytes().chunks(8).map(|word| {
        let word = std::str::from_utf8(word).ok()?;
        Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
    });
    let bytes = words.collect::<Option<Vec<_>>>()?.concat();
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(SocketAddr::new(ip, port))
}

/// Where a process listens (TCP), or takes what anybody sends (UDP).
fn listeners(process: u32) -> Vec<(&'static str, SocketAddr)> {
    let links = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let links = links.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let sockets: Vec<String> = links.map(|link| link.display().to_string()).collect();
    let mut found = Vec::new();
    // TCP's 0A listens; UDP's 07 is connected to nobody.
    for (table, state) in [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")] {
        let text = fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, is, _, _, _, _, _, inode, ..] = fields[..] else { continue };
            if is == state && sockets.contains(&format!("socket:[{inode}]")) {
                found.push((table, address(local).unwrap()));
            }
        }
    }
    found
}

/// Asserts that a process listens, and on loopback only.
fn assert_on_loopback(process: u32, port: u16) {
    let found = listeners(process);
    assert!(found.iter().any(|(_, address)| address.port() == port), "{found:?}");
    for (table, address) in &found {
        assert!(address.ip().is_loopback(), "{table} {address}: {found:?}");
    }
}

#[test]
fn a_node_whose_settings_say_nothing_of_it_listens_on_loopback_only() {
    let home = Home::new();
    home.run(&["node", "init", "--dir", "node", "--json"]).json();
    let path = home.path("node/node.toml");
    let written = fs::read_to_string(&path).unwrap();
    assert!(written.contains("\napi = \"127.0.0.1:8642\"\n"), "{written}");
    assert!(!written.contains("[p2p]"), "{written}");
    // Another port, for tests run beside each other; and no word of `fabric`.
    let port = free_port();
    let lines = written.lines().filter(|line| !line.starts_with("fabric"));
    let lines = lines.map(|line| line.replace("127.0.0.1:8642", &format!("127.0.0.1:{port}")));
    fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let process = home.spawn("node", &["node", "run", "--config", "node/node.toml", "--json"]);
    let said = home.path("node.out");
    wait_until("the node is up", || read(&said).contains('}').then_some(()));
    assert_on_loopback(process.id(), port);
}

#[test]
fn a_whole_network_in_one_process_listens_on_loopback_only() {
    let mut net = Devnet::start();
    let port = net.client.url().rsplit_once(':').unwrap().1.parse().unwrap();
    let process = net.process();
    assert_on_loopback(process.id(), port);
}
