//! Services in containers, with real containers and a real registry, where this machine has them.

use crate::{
    devnet::{Home, Running, Said, block_on, free_port, read, wait_until},
    registry::{Registry, push_busybox},
};
use muster_api::Client;
use muster_sandbox::oci::container::find_program;
use muster_types::Hash;
use serde_json::Value;
use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

/// What this machine lacks; `None` where containers can run.
fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("root");
    }
    let programs = ["runc", "docker-registry", "busybox", "nft", "ip", "nsenter"];
    programs.into_iter().find(|program| find_program(program).is_none())
}

/// A network whose only provider is a process of its own, and runs containers.
struct Town {
    home: Home,
    _dev: Running,
    node: String,
    client: Client,
    registry: Registry,
    image: String,
    /// Tests run side by side: each has its own addresses for containers.
    pool: &'static str,
}

impl Town {
    fn new(pool: &'static str) -> Self {
        let home = Home::new();
        // Containers have other users' ids, and must pass to their files.
        fs::set_permissions(home.path(""), Permissions::from_mode(0o711)).unwrap();
        let listen = format!("127.0.0.1:{}", free_port());
        let node = format!("http://{listen}");
        // It sets TLS up for the whole process.
        let client = Client::new(&node).unwrap();
        let registry = Registry::start().unwrap();
        let image = block_on(push_busybox(&registry));
        let args = ["dev", "--dir", "dev", "--providers", "0", "--listen", &listen, "--json"];
        let dev = home.start("dev", home.command(&args));
        let town = Self { node, client, home, _dev: dev, registry, image, pool };
        wait_until("the network is up", || {
            serde_json::from_str::<Value>(&read(&town.home.path("dev.out"))).ok()
        });
        let made = town.home.run(&["wallet", "new", "--key", "provider.json", "--json"]).json();
        let account = made["account"].as_str().unwrap();
        town.run(&["wallet", "send", "100", "usd", account, "--json"]).json();
        town
    }

    /// The program with the tenant's key.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.home.command(args);
        command.env("MUSTER_NODE", &self.node);
        command.env("MUSTER_KEY", self.home.path("dev/keys/tenant.json"));
        command
    }

    fn run(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().unwrap())
    }

    /// Starts the provider; returns when it is on offer.
    fn provider(&self) -> Running {
        let registry = &self.registry.host;
        let args = [
            "provider",
            "run",
            "--node",
            &self.node,
            "--key",
            "provider.json",
            "--dir",
            "provider",
            "--cpu",
            "2",
            "--memory-gib",
            "1",
            "--containers",
            "--container-dir",
            "containers",
            "--container-registry",
            registry,
            "--container-pool",
            self.pool,
        ];
        let mut process = self.home.spawn("provider", &args);
        wait_until("the provider is on offer", || {
            assert!(!process.has_ended(), "{}", read(&self.home.path("provider.err")));
            let serves = read(&self.home.path("provider.err")).contains("serving");
            let providers = block_on(self.client.providers()).unwrap();
            (serves && providers.iter().any(|provider| !provider.hosts.is_empty())).then_some(())
        });
        process
    }

    /// Writes `app.yaml`: a web server that says hello.
    fn app(&self, image: &str) {
        self.app_saying(image, "hello");
    }

    fn app_saying(&self, image: &str, word: &str) {
        let script = format!(
            "mkdir -p /tmp/www && echo {word} from $NAME > /tmp/www/index.html && echo serving && \
             exec /bin/busybox httpd -f -p 8080 -h /tmp/www"
        );
        self.app_of(image, &script);
    }

    /// Writes `app.yaml`: a shell's script that is to serve port 8080.
    fn app_of(&self, image: &str, script: &str) {
        let text = format!(
            "version: \"2.0\"\nservices:\n  web:\n    image: \"{image}\"\n    command: [/bin/sh, \
             -c]\n    args: [\"{script}\"]\n    env: [NAME=muster]\n    expose: [{{port: 8080, \
             to: [{{global: true}}]}}]\nprofiles:\n  compute:\n    small: {{resources: {{cpu: \
             {{units: 0.5}}, memory: {{size: 64Mi}}, storage: {{size: 64Mi}}}}}}\n  placement:\n    \
             here: {{pricing: {{small: {{denom: usd, amount: 0.5}}}}}}\ndeployment:\n  web: {{here: \
             {{profile: small, count: 1}}}}\n"
        );
        self.home.write("app.yaml", text);
    }

    /// What of containers is on this machine by now.
    fn leftovers(&self) -> Vec<String> {
        let roots = fs::read_dir(self.home.path("containers")).unwrap();
        let root = roots.map(|entry| entry.unwrap().path().join("containers")).next().unwrap();
        let root = fs::canonicalize(root).unwrap();
        let tag = Hash::of_content(root.as_os_str().as_encoded_bytes()).to_string()[..8].to_owned();
        let mut found = Vec::new();
        let containers = fs::read_dir(root.join("containers")).unwrap();
        found.extend(containers.map(|entry| format!("{:?}", entry.unwrap().path())));
        let place = root.display().to_string();
        let mounts = read(Path::new("/proc/mounts"));
        found.extend(mounts.lines().filter(|line| line.contains(&place)).map(str::to_owned));
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let line = read(&process.path().join("cmdline"));
            if line.contains(&place) && line.contains("container-shim") {
                found.push(line);
            }
            let cgroup = read(&process.path().join("cgroup"));
            found.extend(cgroup.contains(&format!("muster-{tag}")).then_some(cgroup));
        }
        let links = Command::new("ip").args(["-o", "link"]).output().unwrap().stdout;
        let links = String::from_utf8(links).unwrap();
        found
            .extend(links.lines().filter(|line| line.contains(&format!("m{tag}"))).map(Into::into));
        found
    }
}

/// The page at an address.
fn page(address: &str) -> Option<String> {
    let got = block_on(async {
        reqwest::get(format!("http://{address}/")).await?.error_for_status()?.text().await
    });
    got.ok()
}

fn first_address(report: &Value) -> String {
    report["addresses"][0].as_str().unwrap_or_else(|| panic!("{report}")).to_owned()
}

fn count_of(town: &Town) -> usize {
    let listing = town.run(&["ps", "--json"]).json();
    listing["deployments"].as_array().unwrap().len()
}

#[test]
fn a_service_is_deployed_reached_survives_its_provider_and_leaves_nothing() {
    if let Some(missing) = missing() {
        println!("skipped: no {missing}");
        return;
    }
    let town = Town::new("10.117.0.0/24");
    let provider = town.provider();
    town.app(&town.image);
    let before = balance(&town);
    let report = town.run(&["deploy", "app.yaml", "--for", "1h", "--json"]).json();
    assert_eq!((&report["name"], &report["deposit_usd"]), (&"app".into(), &"0.5".into()));
    let address = first_address(&report);
    assert_eq!(page(&address).as_deref(), Some("hello from muster\n"));

    let said = town.run(&["logs", "app"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "serving\n"), "{said:?}");
    let said = town.run(&["logs", "app/web/0", "--tail", "1", "--json"]).json();
    assert_eq!((&said["text"], &said["service"]), (&"serving".into(), &"web".into()));
    town.run(&["logs", "app/api"]).assert_refused(2, &["no service api", "web"]);

    let said = town.run(&["exec", "app", "--", "/bin/sh", "-c", "echo $NAME; exit 7"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(7), "muster\n"), "{said:?}");
    let mut command = town.command(&["exec", "app/web", "--", "/bin/cat"]);
    let mut cat = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cat.stdin.take().unwrap().write_all(&vec![b'x'; 100_000]).unwrap();
    let output = cat.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 100_000));

    // A folder goes in, and comes out as it was.
    fs::create_dir_all(town.home.path("site/deep")).unwrap();
    fs::write(town.home.path("site/deep/page.html"), vec![b'y'; 200_000]).unwrap();
    let put = town.run(&["cp", "site", "app/web:/tmp/www/", "--json"]).json();
    assert_eq!((&put["service"], &put["bytes"]), (&"web".into(), &200_000.into()));
    let inside = town.run(&["exec", "app", "--", "/bin/cat", "/tmp/www/site/deep/page.html"]);
    assert_eq!(inside.stdout.len(), 200_000, "{}", inside.stderr);
    let got = town.run(&["cp", "app:/tmp/www/site", "copied"]);
    assert_eq!(got.code, Some(0), "{got:?}");
    assert_eq!(read(&town.home.path("copied/deep/page.html")).len(), 200_000);
    let again = town.run(&["cp", "site", "app:/tmp/www"]);
    again.assert_refused(1, &["/tmp/www/site is a folder already"]);
    town.run(&["cp", "app:/tmp/none", "."]).assert_refused(1, &["there is no /tmp/none"]);
    town.run(&["cp", "here", "there"]).assert_refused(2, &["one side is in a container"]);
    town.run(&["cp", "nothing", "app:/tmp/"]).assert_refused(1, &["cannot read nothing"]);

    let forward = town.home.start("forward", town.command(&["forward", "app", "0:8080", "--json"]));
    let listening = wait_until("the forward listens", || {
        serde_json::from_str::<Value>(&read(&town.home.path("forward.out"))).ok()
    });
    let tunnel = listening["address"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        assert_eq!(page(&tunnel).as_deref(), Some("hello from muster\n"));
    }
    assert_eq!(forward.interrupt(), Some(0));

    // Its provider is gone, and comes back to the same container.
    let clock = ["exec", "app", "--", "/bin/cut", "-d ", "-f22", "/proc/1/stat"];
    let born = town.run(&clock);
    assert_eq!(born.code, Some(0), "{born:?}");
    provider.kill();
    assert!(!town.leftovers().is_empty(), "the container outlives its provider");
    let provider = town.provider();
    let served = wait_until("it is served again", || {
        let report = town.run(&["deploy", "app.yaml", "--for", "1h", "--json"]);
        let report: Value = serde_json::from_str(&report.stdout).ok()?;
        page(&first_address(&report))
    });
    assert_eq!(served, "hello from muster\n");
    assert_eq!(town.run(&clock).stdout, born.stdout, "it is the same process");
    let listed = town.run(&["ps", "--json"]).json();
    let step = &listed["deployments"][0]["replicas"][0]["status"]["step"]["name"];
    assert_eq!(step, "running", "{listed}");

    // Other words at the same address; what does not serve is taken back.
    town.app_saying(&town.image, "news");
    town.run(&["deploy", "app.yaml"]).assert_refused(2, &["another deployment", "muster update"]);
    let updated = town.run(&["update", "app.yaml", "--json"]).json();
    let address = first_address(&updated);
    assert_eq!(updated["replicas"][0]["lease"], listed["deployments"][0]["replicas"][0]["lease"]);
    assert_eq!(page(&address).as_deref(), Some("news from muster\n"));
    town.app_of(&town.image, "exit 3");
    let said = town.run(&["update", "app.yaml"]);
    said.assert_refused(1, &["what ran before runs again", "status 3", "muster logs app"]);
    assert_eq!(page(&address).as_deref(), Some("news from muster\n"));

    let closed = town.run(&["close", "app", "--json"]).json();
    assert_eq!(closed["escrow"]["deposited"], "0.5", "{closed}");
    wait_until("nothing of it is left", || town.leftovers().is_empty().then_some(()));
    assert_eq!(count_of(&town), 0);
    let spent = before.checked_sub(balance(&town)).unwrap();
    assert!(spent < "0.05".parse().unwrap(), "{spent} usd are gone");
    town.run(&["close", "app"]).assert_refused(2, &["holds no deployment", "muster ps"]);
    assert_eq!(provider.interrupt(), Some(0));
}

#[test]
fn what_cannot_be_deployed_says_why_and_gives_the_money_back() {
    if let Some(missing) = missing() {
        println!("skipped: no {missing}");
        return;
    }
    let town = Town::new("10.117.1.0/24");
    let before = balance(&town);
    town.app(&town.image);
    // Nobody offers containers.
    town.run(&["deploy", "app.yaml"]).assert_refused(4, &["no match", "muster provider run"]);
    town.run(&["deploy", "app.yaml", "--max", "0.1"]).assert_refused(2, &["0.5 usd", "--max"]);
    assert_eq!((count_of(&town), balance(&town)), (0, before));
    let _provider = town.provider();
    town.app(&format!("{}/team/none:1", town.registry.host));
    let said = town.run(&["deploy", "app.yaml"]);
    said.assert_refused(1, &["failed while pulling", "team/none", "muster close app"]);
    town.run(&["close", "app", "--json"]).json();
    // Nothing else answers at the address of a container that is gone.
    town.app_of(&town.image, "echo bye; exit 5");
    let said = town.run(&["deploy", "app.yaml"]);
    said.assert_refused(1, &["failed while probing", "status 5", "bye", "muster close app"]);
    town.run(&["close", "app", "--json"]).json();
    wait_until("nothing of it is left", || town.leftovers().is_empty().then_some(()));
    let spent = before.checked_sub(balance(&town)).unwrap();
    assert!(spent < "0.001".parse().unwrap(), "{spent} usd are gone");
}

fn balance(town: &Town) -> muster_types::Amount {
    let shown = town.run(&["wallet", "show", "--json"]).json();
    shown["usd"].as_str().unwrap().parse().unwrap()
}
