//! Whole deployments of services, against the real ledger and real wires, with toy providers.

use crate::{
    World,
    provider::{Fault, Provider, key},
    tenant,
};
use muster_jobs::{
    JobError,
    services::{Note, Services, ServicesConfig, ServicesError},
};
use muster_ledger::{
    escrow::EscrowStatus,
    market::{CloseReason, LeaseStatus},
    view,
};
use muster_spec::{
    parse_sdl,
    sdl::{Deployment, Exchange},
};
use muster_types::{AccountId, Amount, LeaseId, Millis};
use std::{collections::BTreeSet, path::PathBuf, sync::Mutex, time::Duration};
use tokio::sync::mpsc::unbounded_channel;

const HOUR: Millis = Millis::from_secs(3_600);

/// Two replicas of one service that everybody may call, at 30 usd an hour at most.
const WEB: &str = "\
version: \"2.0\"
services:
  web: {image: nginx, expose: [{port: 80, as: 8080, to: [{global: true}]}]}
profiles:
  compute:
    small: {resources: {cpu: {units: 1}, memory: {size: 64Mi}, storage: {size: 64Mi}}}
  placement:
    here: {pricing: {small: {denom: usd, amount: 30}}}
deployment:
  web: {here: {profile: small, count: 2}}
";

fn web() -> Deployment {
    deployment(WEB)
}

/// The same of another image, and so many of it.
fn changed(image: &str, count: u32) -> Deployment {
    let text = WEB.replace("image: nginx", &format!("image: {image}"));
    deployment(&text.replace("count: 2", &format!("count: {count}")))
}

fn deployment(text: &str) -> Deployment {
    parse_sdl(text.as_bytes(), &Exchange::default()).result.unwrap()
}

struct Town {
    world: World,
}

impl Town {
    async fn new(faults: &[Fault]) -> Self {
        Self { world: World::new(faults).await }
    }

    fn dir(&self) -> PathBuf {
        self.world.path().join("web")
    }

    fn config(&self) -> ServicesConfig {
        ServicesConfig {
            dir: self.dir(),
            key: tenant(),
            node: self.world.node.url.clone(),
            bind: "127.0.0.1:0".parse().unwrap(),
            patience: Duration::from_secs(60),
        }
    }

    /// What runs, by service and image.
    fn runs(&self) -> Vec<(String, String)> {
        let open: BTreeSet<LeaseId> = self.world.node.read(|state| {
            let leases = view::leases_of_tenant(state, &tenant().account());
            leases.into_iter().filter(|(_, it)| it.status.is_open()).map(|(id, _)| id).collect()
        });
        let deployed = self.world.providers.iter().flat_map(Provider::deployed);
        let ours = deployed.filter(|(lease, ..)| open.contains(lease));
        let mut runs: Vec<_> = ours.map(|(_, service, image)| (service, image)).collect();
        runs.sort_unstable();
        runs
    }

    /// Asserts that the ledger waits for no update.
    fn assert_active(&self) {
        self.world.node.read(|state| {
            for (_, lease) in view::leases_of_tenant(state, &tenant().account()) {
                let waits = matches!(lease.status, LeaseStatus::Updating { .. });
                assert!(!waits, "{lease:?}");
            }
        });
    }

    async fn create(&self) -> Services {
        self.create_of(&web(), HOUR, None).await.unwrap()
    }

    async fn create_of(
        &self,
        deployment: &Deployment,
        funded: Millis,
        most: Option<Amount>,
    ) -> Result<Services, ServicesError> {
        let exchange = Exchange::default();
        Services::create(self.config(), deployment, &exchange, funded, most)
            .await
            .map(|(services, _)| services)
    }

    async fn open(&self) -> Services {
        Services::open(self.config()).await.unwrap()
    }

    /// Goes on with the same as soon as the tasks of who was before have let go of it.
    async fn up_again(&self) {
        let services = self.create().await;
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        loop {
            ticks.tick().await;
            match services.up(&|_| {}).await {
                Err(ServicesError::Step(JobError::Locked { .. })) => {}
                done => return done.unwrap(),
            }
        }
    }

    fn providers(&self) -> Vec<AccountId> {
        let providers = self.world.providers.iter();
        let mut used: Vec<_> = providers
            .flat_map(|provider| provider.deployed().into_iter().map(|_| provider.account))
            .collect();
        used.sort_unstable();
        used
    }

    /// Asserts that so many escrows, orders and leases were ever opened.
    fn assert_opened(&self, escrows: usize, orders: usize, leases: usize) {
        let tenant = tenant().account();
        let opened = self.world.node.read(|state| {
            let escrows = view::escrows_of_owner(state, &tenant).len();
            let orders = view::orders_of_tenant(state, &tenant).len();
            (escrows, orders, view::leases_of_tenant(state, &tenant).len())
        });
        assert_eq!(opened, (escrows, orders, leases));
    }

    /// Closes; asserts that nothing is left and that what was not earned is back.
    async fn close(&self) {
        let totals = self.open().await.close().await.unwrap().unwrap();
        assert!(!self.dir().exists());
        let out = totals.paid.checked_add(totals.refunded).unwrap();
        assert_eq!(totals.deposited, out.checked_add(totals.fees).unwrap());
        assert!(totals.paid < Amount::from_units(1), "{totals:?}");
        self.world.check_settled();
    }
}

fn sorted(numbers: &[u8]) -> Vec<AccountId> {
    let mut accounts: Vec<_> = numbers.iter().map(|number| key(*number).account()).collect();
    accounts.sort_unstable();
    accounts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_comes_up_once_is_listed_and_gives_back_what_it_did_not_use() {
    let town = Town::new(&[Fault::None; 3]).await;
    let before = town.world.usd();
    let (services, cost) =
        Services::create(town.config(), &web(), &Exchange::default(), HOUR, None).await.unwrap();
    // The cheapest host takes one usd an hour for a CPU.
    assert_eq!(cost.quoted_per_hour, Some(Amount::from_units(2)));
    assert_eq!(
        (cost.most_per_hour, cost.deposit),
        (Amount::from_units(60), Amount::from_units(60))
    );
    assert_eq!(town.world.usd(), before, "a plan costs nothing");
    for _ in 0..2 {
        services.up(&|_| {}).await.unwrap();
        town.assert_opened(1, 1, 2);
    }
    assert_eq!(town.providers(), sorted(&[1, 1]));
    let replicas = services.replicas().await.unwrap();
    let named: Vec<_> = replicas.iter().map(|replica| replica.service.as_deref()).collect();
    assert_eq!(named, [Some("web"), Some("web")]);
    let up = services.connections(Some("web")).await.unwrap();
    assert_eq!(up.iter().map(|one| one.number).collect::<Vec<_>>(), [0, 1]);
    let error = services.connections(Some("api")).await.unwrap_err();
    assert!(error.to_string().contains("it has web"), "{error}");
    drop(services);
    // The same again goes on; another in its place is refused.
    town.create().await.up(&|_| {}).await.unwrap();
    town.assert_opened(1, 1, 2);
    let other = town.create_of(&web(), Millis(HOUR.0 * 2), None).await;
    assert!(matches!(other, Err(ServicesError::Exists { .. })));
    let foreign = ServicesConfig { key: key(20), ..town.config() };
    let opened = Services::open(foreign).await;
    assert!(matches!(opened, Err(ServicesError::Foreign { .. })));
    town.close().await;
    let nothing = Services::open(town.config()).await;
    assert!(matches!(nothing, Err(ServicesError::Nothing { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_is_replaced_from_the_same_money() {
    for fault in [Fault::Stuck("pulling"), Fault::Declines] {
        let town = Town::new(&[fault, Fault::None]).await;
        let notes = Mutex::new(Vec::new());
        let services = town.create().await;
        services.up(&|note| notes.lock().unwrap().push(note)).await.unwrap();
        drop(services);
        town.assert_opened(1, 2, 4);
        let failed: Vec<_> = notes
            .into_inner()
            .unwrap()
            .into_iter()
            .filter_map(|note| match note {
                Note::Failed { provider, step, .. } => Some((provider, step)),
                _ => None,
            })
            .collect();
        let step = if fault == Fault::Declines { "delivering" } else { "pulling" };
        assert_eq!(failed, [(key(1).account(), step.to_owned()), (key(1).account(), step.into())]);
        let serving = town.world.node.read(|state| {
            let leases = view::leases_of_tenant(state, &tenant().account());
            let open = leases.into_iter().filter(|(_, lease)| lease.status.is_open());
            open.map(|(_, lease)| lease.host.provider).collect::<Vec<_>>()
        });
        assert_eq!(serving, sorted(&[2, 2]));
        town.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_two_providers_fail_in_the_same_step_it_is_the_deployment() {
    let town = Town::new(&[Fault::Stuck("pulling"), Fault::Stuck("pulling"), Fault::None]).await;
    let services = town.create().await;
    let error = services.up(&|_| {}).await.unwrap_err();
    let ServicesError::Failed { step, reason, provider, .. } = &error else { panic!("{error:?}") };
    assert_eq!((step.as_str(), reason.as_str()), ("pulling", "as it was told to"));
    assert_eq!(*provider, key(2).account());
    drop(services);
    assert!(town.world.providers[2].deployed().is_empty(), "nobody else was bothered");
    town.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_costs_nothing_and_leaves_nothing() {
    let town = Town::new(&[Fault::None]).await;
    let before = town.world.usd();
    let dear = town.create_of(&web(), HOUR, Some(Amount::from_units(59))).await.unwrap_err();
    let ServicesError::OverLimit { needed, most } = dear else { panic!("{dear:?}") };
    assert_eq!((needed, most), (Amount::from_units(60), Amount::from_units(59)));
    let mut many = web();
    many.groups[0].units[0].count = 9;
    let error = town.create_of(&many, HOUR, None).await.unwrap_err();
    let ServicesError::NoMatch { count, explanation: Some(explanation), .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!((count, explanation.would_grant), (9, 8));
    assert_eq!(town.world.usd(), before);
    assert!(!town.dir().exists());
    town.assert_opened(0, 0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_killed_goes_on_and_opens_nothing_twice() {
    type Moment = fn(&Note) -> bool;
    let moments: [Moment; 2] =
        [|note| matches!(note, Note::Funded { .. }), |note| matches!(note, Note::Leased { .. })];
    for moment in moments {
        let town = Town::new(&[Fault::None; 2]).await;
        let services = town.create().await;
        let (sender, mut seen) = unbounded_channel();
        let tell = |note: Note| {
            if moment(&note) {
                sender.send(()).ok();
            }
        };
        tokio::select! {
            biased;
            _ = seen.recv() => {}
            done = services.up(&tell) => panic!("it ended before the kill: {done:?}"),
        }
        drop(services);
        town.up_again().await;
        town.assert_opened(1, 1, 2);
        town.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_was_on_its_way_when_it_was_killed_comes_back() {
    let town = Town::new(&[Fault::None]).await;
    let services = town.create().await;
    let node = town.world.node.clone();
    // The step is signed and written down, and never gets through.
    let away = async { node.turn_away(3).await };
    tokio::select! {
        biased;
        () = away => {}
        done = services.up(&|_| {}) => panic!("it ended before the kill: {done:?}"),
    }
    drop(services);
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    loop {
        ticks.tick().await;
        match town.open().await.close().await {
            Err(ServicesError::Step(JobError::Locked { .. })) => {}
            closed => {
                closed.unwrap();
                break;
            }
        }
    }
    assert!(!town.dir().exists());
    let tenant = tenant().account();
    town.world.node.read(|state| {
        for (_, escrow) in view::escrows_of_owner(state, &tenant) {
            assert_eq!(escrow.status, EscrowStatus::Closed);
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_lost_comes_back_when_the_same_is_asked_for_again() {
    let town = Town::new(&[Fault::None; 2]).await;
    let services = town.create().await;
    services.up(&|_| {}).await.unwrap();
    let lost = services.replicas().await.unwrap()[0].lease;
    let provider = &town.world.providers[0];
    provider.exit(lost).await;
    services.up(&|_| {}).await.unwrap_or_else(|error| panic!("{}", error));
    drop(services);
    // The ledger opened the order again by itself, without the provider that broke the lease.
    town.assert_opened(1, 1, 3);
    let ended = town.world.node.read(|state| view::lease(state, &lost)).unwrap();
    assert!(
        matches!(ended.status, LeaseStatus::Closed { reason: CloseReason::ProviderExit, .. }),
        "{ended:?}"
    );
    assert_eq!(town.providers(), sorted(&[1, 1, 2]));
    town.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_equal_needs_share_a_unit_and_each_lease_has_one_of_them() {
    let town = Town::new(&[Fault::None]).await;
    let text = WEB.replace("2.0", "2.1").replace(
        "profiles:",
        "  api: {image: api, expose: [{port: 81, to: [{global: true}]}]}\nprofiles:",
    );
    let text = format!("{text}  api: {{here: {{profile: small, count: 1}}}}\n");
    let services = town.create_of(&deployment(&text), HOUR, None).await.unwrap();
    for _ in 0..2 {
        services.up(&|_| {}).await.unwrap();
        town.assert_opened(1, 1, 3);
        let runs = [("api", "api"), ("web", "nginx"), ("web", "nginx")];
        assert_eq!(town.runs(), runs.map(|(service, image)| (service.into(), image.into())));
    }
    for (service, count) in [("api", 1), ("web", 2)] {
        let up = services.connections(Some(service)).await.unwrap();
        assert_eq!(
            up.iter().map(|one| one.number).collect::<Vec<_>>(),
            (0..count).collect::<Vec<_>>()
        );
    }
    // A replica is lost: the new lease has its service, not the first of the unit.
    let replicas = services.replicas().await.unwrap();
    let web = replicas.iter().find(|one| one.service.as_deref() == Some("web")).unwrap();
    town.world.providers[0].exit(web.lease).await;
    drop(services);
    town.close().await;
}

fn of_web(images: &[&str]) -> Vec<(String, String)> {
    images.iter().map(|&image| ("web".to_owned(), image.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_reaches_every_lease_and_changes_how_many_there_are() {
    let town = Town::new(&[Fault::None]).await;
    let exchange = Exchange::default();
    let mut services = town.create().await;
    services.up(&|_| {}).await.unwrap();
    assert_eq!(town.runs(), of_web(&["nginx"; 2]));
    for (image, count, leases) in
        [("nginx:2", 2, 2), ("nginx:2", 3, 3), ("nginx:3", 1, 3), ("nginx:3", 1, 3)]
    {
        let wanted = changed(image, count);
        services.update(&wanted, &exchange, &|_| {}).await.unwrap();
        let count = usize::try_from(count).unwrap();
        assert_eq!(town.runs(), of_web(&vec![image; count]));
        town.assert_active();
        let orders = if leases == 2 { 1 } else { 2 };
        town.assert_opened(1, orders, leases);
    }
    // It is what is deployed now; what leases cannot take is refused, and changes nothing.
    drop(services);
    let mut services = town.open().await;
    let dearer = deployment(&WEB.replace("amount: 30", "amount: 40"));
    let refused = services.update(&dearer, &exchange, &|_| {}).await.unwrap_err();
    assert!(matches!(refused, ServicesError::Changed { .. }), "{refused:?}");
    assert_eq!(town.runs(), of_web(&["nginx:3"]));
    drop(services);
    town.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_one_lease_does_not_take_is_taken_back_from_all() {
    // The second provider is the one that fails; the first lease alone goes first.
    for faults in [[Fault::Refuses("bad"), Fault::None], [Fault::None, Fault::Refuses("bad")]] {
        let town = Town::new(&faults).await;
        let mut services = town.create_of(&changed("nginx", 9), HOUR, None).await.unwrap();
        services.up(&|_| {}).await.unwrap();
        let notes = Mutex::new(Vec::new());
        let tell = |note| notes.lock().unwrap().push(note);
        let error = services.update(&changed("bad", 9), &Exchange::default(), &tell).await;
        let ServicesError::TakenBack(why) = error.unwrap_err() else { panic!("another error") };
        let ServicesError::Failed { step, reason, .. } = *why else { panic!("{why:?}") };
        assert_eq!((step.as_str(), reason.as_str()), ("updating", "as it was told to"));
        assert!(notes.into_inner().unwrap().iter().any(|note| matches!(note, Note::Failed { .. })));
        assert_eq!(town.runs(), of_web(&["nginx"; 9]));
        town.assert_active();
        town.assert_opened(1, 1, 9);
        // Another goes through.
        services.update(&changed("good", 9), &Exchange::default(), &|_| {}).await.unwrap();
        assert_eq!(town.runs(), of_web(&["good"; 9]));
        drop(services);
        town.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_was_killed_goes_on_or_is_taken_back_by_another() {
    for last in ["nginx:2", "nginx"] {
        let town = Town::new(&[Fault::None]).await;
        let mut services = town.create().await;
        services.up(&|_| {}).await.unwrap();
        let (sender, mut seen) = unbounded_channel();
        let tell = |note: Note| {
            if matches!(note, Note::Step { .. }) {
                sender.send(()).ok();
            }
        };
        let (wanted, exchange) = (changed("nginx:2", 2), Exchange::default());
        tokio::select! {
            biased;
            _ = seen.recv() => {}
            done = services.update(&wanted, &exchange, &tell) => {
                panic!("it ended before the kill: {done:?}")
            }
        }
        drop(services);
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        loop {
            ticks.tick().await;
            let mut services = town.open().await;
            match services.update(&changed(last, 2), &exchange, &|_| {}).await {
                Err(ServicesError::Step(JobError::Locked { .. })) => {}
                done => break done.unwrap(),
            }
        }
        assert_eq!(town.runs(), of_web(&[last; 2]));
        town.assert_active();
        town.close().await;
    }
}
