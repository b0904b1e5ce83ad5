//! A machine that runs containers, and a tenant who deploys to it.

use crate::{
    node::Node,
    registry::{Registry, push_busybox},
    world::{DEADLINE, Tenant, config, eventually},
};
use muster_agent::{Agent, Config, ServicesConfig};
use muster_api::service::{
    ALPN, Deploy, Input, MAX_FRAME_BYTES, Open, Output, Request, Response, STREAM_ALPN, Status,
    Step, commitment,
};
use muster_fabric::{CallError, Channel, PeerAddr};
use muster_ledger::{
    Action,
    market::{Mode, OrderChange},
};
use muster_sandbox::{
    ChildProgram,
    oci::{
        container::{NetworkConfig, find_program},
        image::RegistryConfig,
    },
};
use muster_spec::sdl::{Exchange, Manifest, parse_sdl};
use muster_types::{Amount, EscrowId, Hash, LeaseId, Millis, OrderId, codec};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU8, Ordering},
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Everything that containers need on this machine.
pub(crate) struct Cell {
    pub(crate) dir: TempDir,
    pub(crate) image: String,
    registry: Registry,
    pool: ipnet::Ipv4Net,
}

/// What this machine lacks.
fn lacks() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("root");
    }
    let needed = ["runc", "busybox", "nft", "ip", "docker-registry"];
    needed.into_iter().find(|name| find_program(name).is_none())
}

#[allow(clippy::print_stderr, reason = "who runs the tests must see what was not tested")]
fn skipped(lacks: &str) {
    eprintln!("skipped: containers need {lacks}");
}

impl Cell {
    /// `None` where this machine cannot run containers; says why not.
    pub(crate) async fn open() -> Option<Self> {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        if let Some(lacks) = lacks() {
            skipped(lacks);
            return None;
        }
        let dir = tempfile::Builder::new().prefix("muster-agent-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let registry = Registry::start()?;
        let image = push_busybox(&registry).await;
        let (process, test) = (std::process::id() % 200, NEXT.fetch_add(1, Ordering::Relaxed));
        let pool = format!("172.{}.{process}.0/24", 18 + test % 12).parse().unwrap();
        Some(Self { dir, registry, image, pool })
    }

    /// A provider of containers.
    pub(crate) fn config(&self, node: &Node) -> Config {
        let mut config = config(node, &self.dir.path().join("agent"), None);
        config.hosts[0].capacity.disk_bytes = 8 << 30;
        let program = env!("CARGO_BIN_EXE_muster-agent-shim").into();
        let shim = ChildProgram { program, args: Vec::new() };
        let mut services = ServicesConfig::new(self.dir.path().join("cell"), shim);
        services.network = NetworkConfig::new(self.pool);
        services.registry = RegistryConfig {
            trusted: BTreeSet::from([self.registry.host.clone()]),
            ..RegistryConfig::default()
        };
        config.services = Some(services);
        config
    }

    pub(crate) async fn start(&self, node: &Node) -> Agent {
        Agent::start(self.config(node)).await.unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// Everything on this machine that belongs to this cell, a line each.
    pub(crate) fn left(&self) -> String {
        let root = self.dir.path().join("cell/containers");
        let tag = self.tag();
        let path = root.to_str().unwrap();
        let mut found = String::new();
        let mut note = |kind: &str, what: &str| writeln!(found, "{kind}: {what}").unwrap();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        for line in mounts.lines().filter(|line| line.contains(path)) {
            note("mount", line);
        }
        for tree in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            for group in entries(&tree.path().join(format!("muster-{tag}"))) {
                if Path::new(&group).is_dir() {
                    note("cgroup", &group);
                }
            }
        }
        for name in entries(Path::new("/sys/class/net")) {
            if name.contains(&format!("/m{tag}")) {
                note("interface", &name);
            }
        }
        for process in entries(Path::new("/proc")) {
            let line = fs::read(Path::new(&process).join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(path) {
                note("process", &line);
            }
        }
        for device in entries(Path::new("/sys/block")) {
            let file = Path::new(&device).join("loop/backing_file");
            let file = fs::read_to_string(file).unwrap_or_default();
            if file.starts_with(path) {
                note("loop device", &file);
            }
        }
        for part in ["containers/containers", "containers/runtime", "containers/volumes", "logs"] {
            for entry in entries(&self.dir.path().join("cell").join(part)) {
                note(part, &entry);
            }
        }
        found
    }

    /// Ends a provider without leases: not even rules of the host's network stay.
    pub(crate) async fn stop(&self, agent: Agent) {
        agent.stop().await;
        let tables = Command::new("nft").args(["list", "tables"]).output().unwrap().stdout;
        let tables = String::from_utf8(tables).unwrap();
        assert!(!tables.contains(&self.tag()), "{tables}");
    }

    fn tag(&self) -> String {
        let root = self.dir.path().join("cell/containers");
        blake3::hash(root.as_os_str().as_encoded_bytes()).to_hex()[..8].to_owned()
    }

    /// Waits until nothing is left, and says what is where that does not happen.
    pub(crate) async fn until_nothing_is_left(&self) {
        eventually("nothing is left", async || self.left().is_empty()).await;
    }
}

impl Drop for Cell {
    /// What a failed test leaves would stay on the machine.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let path = self.dir.path().join("cell/containers");
        let of_ours = |process: &String| {
            let line = fs::read(Path::new(process).join("cmdline")).unwrap_or_default();
            let group = fs::read_to_string(Path::new(process).join("cgroup")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(path.to_str().unwrap())
                || group.contains(&format!("muster-{}", self.tag()))
        };
        for process in entries(Path::new("/proc")).iter().filter(|process| of_ours(process)) {
            let _ =
                Command::new("kill").args(["-9", process.trim_start_matches("/proc/")]).status();
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let at = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1));
        for mount in at.filter(|mount| Path::new(mount).starts_with(&path)) {
            let _ = Command::new("umount").args(["-l", mount]).status();
        }
        let table = format!("muster_{}", self.tag());
        let _ = Command::new("nft").args(["delete", "table", "inet", &table]).status();
    }
}

fn entries(dir: &Path) -> Vec<String> {
    let found = fs::read_dir(dir).into_iter().flatten().flatten();
    found.map(|entry| entry.path().display().to_string()).collect()
}

/// What is deployed, and under which lease.
#[derive(Clone)]
pub(crate) struct Deployed {
    pub(crate) lease: LeaseId,
    pub(crate) deploy: Deploy,
}

/// A service `web` that runs a script; TCP port 80 is for everybody, `/data` is persistent.
pub(crate) fn web(image: &str, script: &str) -> String {
    format!(
        "version: \"2.0\"\nservices:\n  web:\n    image: \"{image}\"\n    args: [{}]\n    \
         env: [WHO=tenant]\n    expose: [{{port: 80, to: [{{global: true}}]}}]\n    params: \
         {{storage: {{data: {{mount: /data}}}}}}\nprofiles:\n  compute:\n    small: {{resources: \
         {{cpu: {{units: 1}}, memory: {{size: 64Mi}}, storage: [{{size: 32Mi}}, {{name: data, size: \
         16Mi, attributes: {{persistent: true, class: default}}}}]}}}}\n  placement:\n    here: \
         {{pricing: {{small: {{denom: usd, amount: 1}}}}}}\ndeployment:\n  web: {{here: {{profile: \
         small, count: 1}}}}\n",
        serde_json::to_string(script).unwrap()
    )
}

/// Services `api` and `web` that know each other, each under a lease of its own.
pub(crate) fn linked(image: &str, script: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    let service = |name: &str, other: &str| {
        format!(
            "  {name}: {{image: \"{image}\", args: [{script}], expose: [{{port: 80, to: [{{service: \
             {other}}}]}}]}}\n"
        )
    };
    format!(
        "version: \"2.0\"\nservices:\n{}{}profiles:\n  compute:\n    small: {{resources: {{cpu: \
         {{units: 1}}, memory: {{size: 64Mi}}, storage: {{size: 32Mi}}}}}}\n  placement:\n    here: \
         {{pricing: {{small: {{denom: usd, amount: 1}}}}}}\ndeployment:\n  web: {{here: {{profile: \
         small, count: 1}}}}\n  api: {{here: {{profile: small, count: 1}}}}\n",
        service("api", "web"),
        service("web", "api"),
    )
}

/// The manifest of an SDL's only group.
fn manifest(sdl: &str) -> Manifest {
    let parsed = parse_sdl(sdl.as_bytes(), &Exchange::default());
    parsed.result.unwrap_or_else(|error| panic!("{error:?}\n{sdl}")).groups[0].manifest()
}

impl Tenant {
    /// Has the order of a lease commit to another SDL, which is to be delivered then.
    pub(crate) async fn change_order(&self, deployed: &Deployed, sdl: &str) -> Deployed {
        let (lease, client) = (deployed.lease, self.wallet.client());
        let order = client.lease(&lease).await.unwrap().unwrap().record.order;
        let deploy = Deploy { manifest: manifest(sdl), ..deployed.deploy.clone() };
        let hash = commitment(&deploy.manifest, &deploy.salt);
        let change = OrderChange::Manifest { hash };
        self.wallet.act(Action::OrderUpdate { order, change }).await.unwrap();
        Deployed { lease, deploy }
    }

    /// Orders what an SDL's only group says, a lease for each unit; from whoever runs containers
    /// if `demanding`.
    pub(crate) async fn order_all(&self, sdl: &str, demanding: bool) -> Vec<Deployed> {
        let exchange = Exchange::default();
        let parsed = parse_sdl(sdl.as_bytes(), &exchange);
        let deployment = parsed.result.unwrap_or_else(|error| panic!("{error:?}\n{sdl}"));
        let group = &deployment.groups[0];
        let deposit = Action::EscrowOpen { deposit: Amount::from_units(10) };
        let escrow = EscrowId::derive(&self.wallet.act(deposit).await.unwrap().tx);
        let mut all = Vec::new();
        for (order, unit) in group.orders(&exchange).unwrap().iter().zip(0..) {
            let mut terms = order.alternatives[0].clone();
            if demanding {
                let (name, value) = muster_agent::CONTAINERS;
                terms.attributes.insert(name.to_owned(), value.to_owned());
            }
            let (manifest, salt) = (group.manifest(), Hash([9; 32]));
            let order = Action::OrderPlace {
                escrow,
                job: None,
                terms,
                deadline: Millis::MAX,
                manifest: commitment(&manifest, &salt),
                mode: Mode::Standing,
                reauction: false,
            };
            let order = OrderId::derive(&self.wallet.act(order).await.unwrap().tx);
            let order = self.wallet.client().order(&order).await.unwrap().unwrap();
            let [lease] = order.record.leases[..] else { panic!("not leased: {order:?}") };
            let known = manifest.services.iter().find(|service| service.unit == unit);
            let service = known.unwrap().name.clone();
            all.push(Deployed { lease, deploy: Deploy { lease, service, manifest, salt } });
        }
        all
    }

    /// The same for one unit.
    pub(crate) async fn order(&self, sdl: &str, demanding: bool) -> Deployed {
        self.order_all(sdl, demanding).await.remove(0)
    }

    pub(crate) async fn ask(
        &self,
        provider: &PeerAddr,
        request: Request,
    ) -> Result<Response, CallError> {
        self.fabric.call_typed(provider, ALPN, &request, DEADLINE).await
    }

    pub(crate) async fn deploy(
        &self,
        provider: &PeerAddr,
        deploy: &Deploy,
    ) -> Result<Response, CallError> {
        self.ask(provider, Request::Deploy(Box::new(deploy.clone()))).await
    }

    pub(crate) async fn status(&self, provider: &PeerAddr, lease: LeaseId) -> Status {
        match self.ask(provider, Request::Status { lease }).await.unwrap() {
            Response::Status(status) => *status,
            other @ Response::Taken => panic!("{other:?}"),
        }
    }

    /// Waits until the lease is at a step, and gives its status. Fails where the step cannot come.
    pub(crate) async fn until_step(
        &self,
        provider: &PeerAddr,
        lease: LeaseId,
        met: impl Fn(&Step) -> bool,
    ) -> Status {
        let mut last = None;
        eventually("the step", async || {
            let status = self.status(provider, lease).await;
            let met = met(&status.step);
            let ended = matches!(status.step, Step::Failed { .. } | Step::Closed);
            assert!(met || !ended, "{status:?}");
            last = Some(status);
            met
        })
        .await;
        last.unwrap()
    }

    pub(crate) async fn stream(
        &self,
        provider: &PeerAddr,
        open: &Open,
    ) -> Result<Channel, CallError> {
        let request = codec::encode(open);
        Ok(self.fabric.stream(provider, STREAM_ALPN, request, DEADLINE).await?.1)
    }

    /// Runs a command without input; gives its status and all that it said, errors after a `!`.
    pub(crate) async fn exec(
        &self,
        provider: &PeerAddr,
        lease: LeaseId,
        command: &str,
    ) -> (i32, String) {
        let open = exec(lease, command, None);
        let mut channel = self.stream(provider, &open).await.unwrap();
        send(&mut channel, &Input::End).await;
        hear(&mut channel).await
    }
}

pub(crate) fn exec(lease: LeaseId, command: &str, terminal: Option<(u16, u16)>) -> Open {
    exec_in(lease, "web", command, terminal)
}

pub(crate) fn exec_in(
    lease: LeaseId,
    service: &str,
    command: &str,
    terminal: Option<(u16, u16)>,
) -> Open {
    let args = ["/bin/sh", "-c", command].map(str::to_owned).to_vec();
    Open::Exec { lease, service: service.to_owned(), args, terminal }
}

pub(crate) async fn send(channel: &mut Channel, input: &Input) {
    let body = codec::encode(input);
    let length = u32::try_from(body.len()).unwrap();
    channel.write_all(&[&length.to_be_bytes()[..], &body].concat()).await.unwrap();
}

/// The next frame; `None` at the end.
pub(crate) async fn receive<T: borsh::BorshDeserialize>(channel: &mut Channel) -> Option<T> {
    let mut head = [0; 4];
    channel.read_exact(&mut head).await.ok()?;
    let mut body = vec![0; usize::try_from(u32::from_be_bytes(head)).unwrap()];
    channel.read_exact(&mut body).await.unwrap();
    Some(codec::decode(&body, MAX_FRAME_BYTES).unwrap())
}

/// All that a command says, and its status.
pub(crate) async fn hear(channel: &mut Channel) -> (i32, String) {
    let mut said = String::new();
    while let Some(output) = receive(channel).await {
        match output {
            Output::Stdout(bytes) => said.push_str(&String::from_utf8_lossy(&bytes)),
            Output::Stderr(bytes) => write!(said, "!{}", String::from_utf8_lossy(&bytes)).unwrap(),
            Output::Exit(status) => return (status, said),
        }
    }
    panic!("no status, only {said:?}");
}

/// One connection: what comes back for `GET`.
pub(crate) async fn get(address: &str) -> std::io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}
