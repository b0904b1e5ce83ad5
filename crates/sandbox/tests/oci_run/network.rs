use crate::{
    helpers::{Place, config, find, wait_until},
    process::{sh, talk},
};
use muster_sandbox::oci::container::{Container, Destination, Egress, Protocol};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A network beyond this host: a namespace that has these addresses and serves HTTP on ports 80
/// and 81.
struct Outside {
    name: String,
    ip: PathBuf,
    servers: Vec<Child>,
}

impl Outside {
    fn new(tag: &str, host: Ipv4Addr, addresses: &[Ipv4Addr]) -> Option<Self> {
        let (ip, busybox) = (find("ip")?, find("busybox")?);
        let name = format!("mo{}{tag}", std::process::id());
        let mut outside = Self { name, ip, servers: Vec::new() };
        let name = outside.name.clone();
        outside.ip(&["netns", "add", &name]);
        outside.ip(&["link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &name]);
        outside.ip(&["addr", "add", &format!("{host}/32"), "dev", &name]);
        outside.ip(&["link", "set", &name, "up"]);
        outside.inside(&["link", "set", "eth0", "up"]);
        for address in addresses {
            outside.inside(&["addr", "add", &format!("{address}/32"), "dev", "eth0"]);
            outside.ip(&[
                "route",
                "add",
                &format!("{address}/32"),
                "dev",
                &name,
                "src",
                &host.to_string(),
            ]);
        }
        outside.inside(&["route", "add", "default", "dev", "eth0"]);
        for port in ["80", "81"] {
            let mut server = Command::new(&outside.ip);
            server.args(["netns", "exec", &name]).arg(&busybox);
            server.args(["httpd", "-f", "-h", "/proc/self", "-p", port]);
            outside.servers.push(server.stderr(Stdio::null()).spawn().unwrap());
        }
        Some(outside)
    }

    fn ip(&self, args: &[&str]) {
        assert!(Command::new(&self.ip).args(args).status().unwrap().success(), "ip {args:?}");
    }

    fn inside(&self, args: &[&str]) {
        let words = [&["-n", &self.name], args].concat();
        self.ip(&words);
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = Command::new(&self.ip).args(["netns", "delete", &self.name]).status();
    }
}

/// Whether the container gets an HTTP answer, of whatever status, from there.
async fn reaches(container: &Container, address: Ipv4Addr, port: u16) -> bool {
    let script =
        format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {address} {port} | grep -c ^HTTP");
    talk(container, &sh(&script), b"").await.1 == "1\n"
}

async fn started(place: &Place, id: &str, lease: &str, egress: Egress) -> Container {
    let mut spec = place.spec(id, "exec httpd -f -p 8080 -h /etc");
    spec.lease = lease.to_owned();
    spec.egress = egress;
    let container = place.all.create(&spec).await.unwrap();
    container.start().await.unwrap();
    let to = SocketAddr::from((container.address().unwrap(), 8080));
    wait_until("it listens", || TcpStream::connect_timeout(&to, Duration::from_secs(5)).is_ok())
        .await;
    container
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_reaches_a_container_and_only_its_own_lease_does() {
    let Some(place) = Place::open().await else { return };
    let a = started(&place, "a", "mine", Egress::None).await;
    let b = started(&place, "b", "mine", Egress::None).await;
    let stranger = started(&place, "c", "other", Egress::Open).await;
    let at = |container: &Container| container.address().unwrap();
    assert!(reaches(&b, at(&a), 8080).await && reaches(&a, at(&b), 8080).await);
    assert!(reaches(&a, Ipv4Addr::LOCALHOST, 8080).await);
    assert!(!reaches(&stranger, at(&a), 8080).await && !reaches(&a, at(&stranger), 8080).await);
    let before = a.stats().unwrap();
    assert!(before.received_bytes > 0 && before.sent_bytes > 0);
    // An address is given anew only after its container, and the new one is another lease's.
    let address = b.address().unwrap();
    b.delete().await.unwrap();
    let new = started(&place, "d", "other", Egress::None).await;
    assert_eq!(new.address().unwrap(), address);
    assert!(!reaches(&a, address, 8080).await && reaches(&stranger, address, 8080).await);
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_and_private_networks_are_out_of_reach_even_with_open_egress() {
    let Some(place) = Place::open().await else { return };
    let metadata = Ipv4Addr::new(169, 254, 169, 254);
    let private = Ipv4Addr::new(10, 255, 77, 2);
    let public = Ipv4Addr::new(11, 77, 0, 2);
    let host = Ipv4Addr::new(11, 77, 0, 1);
    let Some(_outside) = Outside::new("h", host, &[metadata, private, public]) else { return };
    let api = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = api.local_addr().unwrap().port();
    let container = started(&place, "open", "open", Egress::Open).await;
    let answers = |to: Ipv4Addr, port: u16| {
        TcpStream::connect_timeout(&(to, port).into(), Duration::from_secs(5)).is_ok()
    };
    // They are all there, for the host.
    wait_until("they listen", || {
        answers(metadata, 80) && answers(private, 80) && answers(public, 80)
    })
    .await;
    let gateway = config(place.dir.path()).network.gateway();
    assert_eq!(gateway.octets()[0], 10);
    let gateway = Ipv4Addr::from(u32::from(container.address().unwrap()) & 0xffff_ff00 | 1);
    assert!(answers(gateway, port) && answers(host, port) && answers(Ipv4Addr::LOCALHOST, port));
    assert!(reaches(&container, public, 80).await, "what is public is open");
    for to in [gateway, host, Ipv4Addr::LOCALHOST] {
        let script = format!("nc -w 2 {to} {port} </dev/null && echo yes");
        assert_eq!(talk(&container, &sh(&script), b"").await.1, "", "{to}");
    }
    for to in [metadata, private] {
        assert!(!reaches(&container, to, 80).await, "{to}");
    }
    // Nor does the agent's own address on loopback come in by a route of the container's.
    let script = format!(
        "ip route add 127.0.0.0/8 via {gateway} 2>&1; ip addr add 10.9.9.9/32 dev eth0 2>&1"
    );
    let said = talk(&container, &sh(&script), b"").await.1;
    assert_eq!(said.matches("not permitted").count(), 2, "{said}");
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn egress_is_what_was_asked_for_and_the_provider_can_open_more() {
    let first = Ipv4Addr::new(11, 78, 0, 2);
    let second = Ipv4Addr::new(11, 78, 1, 2);
    let private = Ipv4Addr::new(10, 255, 78, 2);
    let to = |net: &str, port| Destination {
        net: net.parse().unwrap(),
        protocol: Some(Protocol::Tcp),
        port,
    };
    let change = |config: &mut muster_sandbox::oci::container::Config| {
        config.network.reachable = vec!["10.255.78.0/24".parse().unwrap()];
        config.network.dns = vec![second];
    };
    let Some(place) = Place::with(change).await else { return };
    let host = Ipv4Addr::new(11, 78, 0, 1);
    let Some(_outside) = Outside::new("e", host, &[first, second, private]) else { return };
    let some = vec![
        to("11.78.0.0/24", Some(80)),
        to("11.78.0.0/16", Some(80)),
        to("10.255.78.2/32", None),
    ];
    let cases = [
        ("none", Egress::None, [false; 5]),
        ("open", Egress::Open, [true; 5]),
        ("some", Egress::Allow(some[..1].to_vec()), [true, false, false, false, false]),
        ("more", Egress::Allow(some), [true, false, true, true, true]),
    ];
    for (id, egress, wanted) in cases {
        let container = started(&place, id, id, egress).await;
        let ports = [(first, 80), (first, 81), (second, 80), (private, 80), (private, 81)];
        for ((address, port), wanted) in ports.into_iter().zip(wanted) {
            let got = reaches(&container, address, port).await;
            assert_eq!(got, wanted, "{id}: {address}:{port}");
        }
        let names = talk(&container, &sh("cat /etc/resolv.conf"), b"").await.1;
        assert_eq!(names, format!("nameserver {second}\n"));
    }
    place.close().await;
}
