//! Network namespaces: a bridge and hosts on it, all inside a namespace of the test's own.

use std::{
    io::Write as _,
    net::Ipv4Addr,
    process::{Command, Output, Stdio},
};

/// The test's own address on the bridge.
pub(crate) const HUB: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);

/// Names the test's namespaces where the test runs inside of them.
const TAG: &str = "MUSTER_TEST_NETNS";
const HOSTS: usize = 4;
/// How long a packet takes to leave a host.
const DELAY: &str = "20ms";

/// The address of a host.
pub(crate) const fn address(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, [1, 2, 3, 4][host])
}

/// Says something on stderr, also where the test's own output is held back.
pub(crate) fn say(text: &str) {
    // A closed stderr is nobody to talk to.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether the test is where it should be.
pub(crate) enum Entered {
    /// It is: go on.
    Inside(Net),
    /// It has run inside, and passed.
    Done,
    /// It cannot run here, and why.
    Not(String),
}

/// Runs the test of this name inside a network of its own.
pub(crate) fn enter(test: &str) -> Entered {
    if let Ok(tag) = std::env::var(TAG) {
        return match Net::new(tag) {
            Ok(net) => Entered::Inside(net),
            Err(why) => Entered::Not(why),
        };
    }
    if !rustix::process::geteuid().is_root() {
        return Entered::Not("network namespaces need root".to_owned());
    }
    for (program, asks) in [("ip", "-V"), ("tc", "-V")] {
        if run(program, &[asks]).is_err() {
            return Entered::Not(format!("`{program}` is missing (Debian: iproute2)"));
        }
    }
    // Made here and not inside, so that they go however the inside ends.
    let made = match Namespaces::new(&format!("muster-{}", std::process::id())) {
        Ok(made) => made,
        Err(why) => return Entered::Not(format!("no network namespace can be made: {why}")),
    };
    let inside = Command::new("ip")
        .args(["netns", "exec", &made.hub()])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(TAG, &made.tag)
        .status()
        .unwrap();
    assert!(inside.success(), "inside of its network the test failed: {inside}");
    Entered::Done
}

/// Runs a program of iproute2; gives what it complains of.
fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let said = Command::new(program).args(args).stdin(Stdio::null()).output();
    let Output { status, stdout, stderr } = said.map_err(|error| error.to_string())?;
    match status.success() {
        true => Ok(String::from_utf8_lossy(&stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&stderr).trim().to_owned()),
    }
}

fn host(tag: &str, index: usize) -> String {
    format!("{tag}-{index}")
}

/// Namespaces, gone when dropped with every process and interface in them.
struct Namespaces {
    tag: String,
    made: Vec<String>,
}

impl Namespaces {
    fn new(tag: &str) -> Result<Self, String> {
        let mut namespaces = Self { tag: tag.to_owned(), made: Vec::new() };
        let hub = namespaces.hub();
        for name in std::iter::once(hub).chain((0..HOSTS).map(|index| host(tag, index))) {
            run("ip", &["netns", "add", &name])?;
            namespaces.made.push(name.clone());
            run("ip", &["-n", &name, "link", "set", "lo", "up"])?;
        }
        Ok(namespaces)
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.tag)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.made {
            // What is left of a test that was killed holds the namespace; where nothing is left,
            // there is nothing to kill.
            for pid in run("ip", &["netns", "pids", name]).unwrap_or_default().split_whitespace() {
                let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
                if let Some(pid) = pid {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            if let Err(why) = run("ip", &["netns", "del", name]) {
                say(&format!("the network namespace {name} is left behind: {why}"));
            }
        }
    }
}

/// The hosts' network: `br0`, on which hosts are connected, and `br1`, for those that are parted
/// from it.
pub(crate) struct Net {
    tag: String,
}

impl Net {
    /// Makes it, with nobody connected; this process is in the hub.
    fn new(tag: String) -> Result<Self, String> {
        for bridge in ["br0", "br1"] {
            run("ip", &["link", "add", bridge, "type", "bridge"])?;
            run("ip", &["link", "set", bridge, "up"])?;
        }
        run("ip", &["address", "add", &format!("{HUB}/24"), "dev", "br0"])?;
        let mut slow = Ok(());
        for index in 0..HOSTS {
            let (name, port) = (host(&tag, index), port(index));
            let peer = ["type", "veth", "peer", "name", "eth0", "netns", &name];
            run("ip", &[&["link", "add", &port][..], &peer].concat())?;
            run("ip", &["link", "set", &port, "up"])?;
            let address = format!("{}/24", address(index));
            run("ip", &["-n", &name, "address", "add", &address, "dev", "eth0"])?;
            run("ip", &["-n", &name, "link", "set", "eth0", "up"])?;
            let netem = ["qdisc", "add", "dev", "eth0", "root", "netem", "delay", DELAY];
            slow = slow.and(run("tc", &[&["-n", &name][..], &netem].concat()).map(drop));
        }
        if let Err(why) = slow {
            say(&format!("without delays: the kernel has no netem ({why})"));
        }
        Ok(Self { tag })
    }

    /// The program, to be run on a host.
    pub(crate) fn inside(&self, index: usize, program: &Command) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &host(&self.tag, index)]);
        inside.arg(program.get_program()).args(program.get_args());
        if let Some(dir) = program.get_current_dir() {
            inside.current_dir(dir);
        }
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside.stdin(Stdio::null());
        inside
    }

    /// Parts hosts from the others, and from this process.
    pub(crate) fn part(&self, hosts: &[usize]) {
        self.bridge(hosts, "br1");
    }

    /// Connects hosts to the others that are, and to this process.
    pub(crate) fn connect(&self, hosts: &[usize]) {
        self.bridge(hosts, "br0");
    }

    fn bridge(&self, hosts: &[usize], bridge: &str) {
        for index in hosts {
            run("ip", &["link", "set", &port(*index), "master", bridge]).unwrap();
        }
    }
}

/// A host's port on the bridge.
fn port(index: usize) -> String {
    format!("host{index}")
}
