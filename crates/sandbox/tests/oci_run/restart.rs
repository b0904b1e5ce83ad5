use crate::{
    helpers::{Place, able, code, config, directory, left, name, spec, wait_until},
    process::sh,
};
use muster_sandbox::oci::container::{
    Config, Containers, ExecIo, ExitStatus, LogQuery, State, VolumeMount,
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::io::AsyncReadExt;

/// Tells a process from those of other tests.
const SECONDS: &str = "4321";
const DIRECTORY: &str = "MUSTER_TEST_DIRECTORY";
const POOL: &str = "MUSTER_TEST_POOL";

/// Not a test of its own: the process that is killed. It makes two containers, begins a third and
/// waits for its end.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_is_killed() {
    let Some(dir) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let mut config = config(&dir);
    config.network.pool = std::env::var(POOL).unwrap().parse().unwrap();
    let all = Containers::open(config).await.unwrap();
    let source = dir.join("volume");
    let script = "echo before; while [ ! -e /go/stays ]; do sleep 0.05; done; \
                  echo after; trap 'exit 5' TERM; while :; do sleep 0.05; done";
    let mut stays = spec(&dir, "stays", script);
    let mut ends = spec(&dir, "ends", "while [ ! -e /go/ends ]; do sleep 0.05; done; exit 6");
    for spec in [&mut stays, &mut ends] {
        let source = source.clone();
        spec.volumes = vec![VolumeMount { source, target: "/go".into(), read_only: true }];
        all.create(spec).await.unwrap().start().await.unwrap();
    }
    let more = sh(&format!("echo up; exec sleep {SECONDS}"));
    let mut exec = all.get(&name("stays")).unwrap().exec(&more).await.unwrap();
    let Some(ExecIo::Pipes { mut stdout, .. }) = exec.take_io() else { panic!() };
    stdout.read_exact(&mut [0; 3]).await.unwrap();
    let data = all.volume(&name("data"), 16 << 20).await.unwrap();
    fs::write(data.join("kept"), "").unwrap();
    fs::write(dir.join("up"), "").unwrap();
    // Killed somewhere in the middle of making containers.
    for n in 0.. {
        all.create(&spec(&dir, &format!("half{n}"), "exec sleep 1000")).await.unwrap();
    }
}

fn any_process(line: &str) -> bool {
    let mut entries = fs::read_dir("/proc").unwrap().flatten();
    entries.any(|entry| {
        let found = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&found).contains(line)
    })
}

fn child(dir: &Path, pool: ipnet::Ipv4Net) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "restart::the_process_that_is_killed", "--nocapture"])
        .env(DIRECTORY, dir)
        .env(POOL, pool.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// A process that made containers and was killed once this was there of a third.
async fn killed(dir: &Path, of_third: &str) -> Config {
    let volume = dir.join("volume");
    fs::create_dir(&volume).unwrap();
    crate::helpers::own(&volume);
    crate::helpers::busybox(dir);
    let config = config(dir);
    let mut child = child(dir, config.network.pool);
    let up = dir.join("up");
    wait_until("the child is up", || {
        assert!(child.try_wait().unwrap().is_none(), "the child ended");
        up.exists()
    })
    .await;
    let third = dir.join("root/containers/half0").join(of_third);
    wait_until("the third is that far", || third.exists()).await;
    child.kill().unwrap();
    child.wait().unwrap();
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_outlive_a_killed_process_and_ends_meanwhile_are_found() {
    if !able() {
        return;
    }
    let dir = directory();
    let config = killed(dir.path(), "").await;
    let containers = dir.path().join("root/containers");
    fs::write(dir.path().join("volume/ends"), "").unwrap();
    wait_until("one has ended", || containers.join("ends/exit.json").exists()).await;
    let all = Containers::open(config).await.unwrap();
    let ended = all.get(&name("ends")).unwrap();
    assert_eq!(code(&ended.wait().await.unwrap()), 6);
    let stays = all.get(&name("stays")).unwrap();
    assert_eq!(stays.state().unwrap(), State::Running);
    stays.start().await.unwrap();
    // What its caller had added is gone with him.
    wait_until("it is gone", || !any_process(&format!("sleep\0{SECONDS}"))).await;
    // Its output is still kept, and it still listens to us.
    let mut log = stays.logs(LogQuery { follow: true, ..LogQuery::default() }).unwrap();
    assert_eq!(log.next().await.unwrap().unwrap().text, b"before");
    fs::write(dir.path().join("volume/stays"), "").unwrap();
    assert_eq!(log.next().await.unwrap().unwrap().text, b"after");
    assert_eq!(all.volume(&name("data"), 16 << 20).await.unwrap().read_dir().unwrap().count(), 2);
    let keep = BTreeSet::from([name("stays")]);
    let swept = all.sweep(&keep).await.unwrap();
    assert!(swept.containers.contains(&name("ends")), "{swept:?}");
    assert_eq!(all.list().len(), 1);
    let wait = tokio::spawn({
        let stays = stays.clone();
        async move { stays.wait().await.unwrap() }
    });
    let exit = stays.stop(Duration::from_secs(60)).await.unwrap();
    assert_eq!((code(&exit), wait.await.unwrap()), (5, exit));
    all.close().await.unwrap();
    assert_eq!(left(dir.path()), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_a_process_is_killed_a_sweep_leaves_nothing() {
    if !able() {
        return;
    }
    let stages = [
        "",
        "state.json",
        "disk.img",
        "disk/upper",
        "rootfs/bin",
        "bundle/config.json",
        "shim.json",
        "log",
        "pid",
    ];
    for stage in stages {
        let dir = directory();
        let config = killed(dir.path(), stage).await;
        assert_ne!(left(dir.path()), "");
        let all = Containers::open(config).await.unwrap();
        let swept = all.sweep(&BTreeSet::new()).await.unwrap();
        assert!(swept.containers.len() >= 2, "{swept:?}");
        all.close().await.unwrap();
        assert_eq!(left(dir.path()), "", "killed at {stage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_whose_shim_was_killed_is_lost_and_does_not_run_on() {
    let Some(place) = Place::open().await else { return };
    let container = place.all.create(&place.spec("orphan", "exec sleep 1000")).await.unwrap();
    container.start().await.unwrap();
    let request = place.dir.path().join("root/containers/orphan/shim.json");
    let request = request.to_str().unwrap();
    let is_shim = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(request)
    };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let shim = rustix::process::Pid::from_raw(pids.find(is_shim).unwrap()).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    let exit = container.wait().await.unwrap();
    assert_eq!(exit.status, ExitStatus::Lost);
    assert_eq!(container.stats().unwrap().usage.pids, 0);
    assert_eq!(container.state().unwrap(), State::Exited(exit));
    place.close().await;
}
