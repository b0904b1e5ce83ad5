use crate::helpers::{Place, code, name, output, wait_until};
use muster_sandbox::oci::container::{
    Capability, ContainerError, DiskKind, ExitStatus, LogQuery, State,
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_made_started_and_its_code_output_and_end_are_known() {
    let Some(place) = Place::open().await else { return };
    let mut spec = place.spec("one", "echo out $GREETING; echo err >&2; pwd; exit 3");
    spec.env = vec![("GREETING".into(), "hello".into())];
    spec.working_dir = "/tmp".into();
    let container = place.all.create(&spec).await.unwrap();
    assert_eq!(container.state().unwrap(), State::Created);
    assert_eq!(container.disk_kind().unwrap(), DiskKind::here());
    assert!(matches!(place.all.create(&spec).await, Err(ContainerError::Exists { .. })));
    container.start().await.unwrap();
    let exit = container.wait().await.unwrap();
    assert_eq!((code(&exit), exit.oom_killed), (3, false));
    assert_eq!(container.state().unwrap(), State::Exited(exit));
    assert!(matches!(container.start().await, Err(ContainerError::NotNow { .. })));
    let text = output(&container).await;
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["!err", "/tmp", "out hello"]);
    container.clone().delete().await.unwrap();
    assert!(matches!(container.state(), Err(ContainerError::Unknown { .. })));
    assert!(place.all.list().is_empty());
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_asks_with_the_stop_signal_and_kills_who_ignores_it() {
    let Some(place) = Place::open().await else { return };
    let cases = [
        ("polite", "trap 'exit 7' USR1; echo up; while :; do sleep 0.05; done", 60_000),
        ("stubborn", "trap '' USR1 TERM; echo up; while :; do sleep 0.05; done", 100),
    ];
    for (id, script, grace_ms) in cases {
        let mut spec = place.spec(id, script);
        spec.stop_signal = 10;
        let container = place.all.create(&spec).await.unwrap();
        container.start().await.unwrap();
        let up = || {
            let mut log = std::fs::read(place.dir.path().join(format!("root/containers/{id}/log")));
            log.as_mut().is_ok_and(|log| log.ends_with(b"up\n"))
        };
        wait_until("it is up", up).await;
        let exit = container.stop(Duration::from_millis(grace_ms)).await.unwrap();
        let wanted = if id == "polite" { ExitStatus::Code(7) } else { ExitStatus::Signal(9) };
        assert_eq!(exit.status, wanted, "{id}");
        // Again is no harm.
        assert_eq!(container.stop(Duration::ZERO).await.unwrap(), exit);
    }
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_start_or_a_spec_that_is_not_allowed_leaves_nothing() {
    let Some(place) = Place::open().await else { return };
    let mut missing = place.spec("a", "");
    missing.args = vec!["/bin/nothing".into()];
    let error = match place.all.create(&missing).await {
        Err(error) => error.to_string(),
        Ok(container) => container.start().await.unwrap_err().to_string(),
    };
    assert!(error.contains("/bin/nothing"), "{error}");
    let mut capable = place.spec("b", "");
    capable.capabilities = vec![Capability::NetAdmin];
    let error = place.all.create(&capable).await.unwrap_err().to_string();
    assert!(error.contains("NET_ADMIN") && error.contains("not allowed"), "{error}");
    let mut nobody = place.spec("c", "");
    nobody.user = "nobody-here".into();
    let error = place.all.create(&nobody).await.unwrap_err().to_string();
    assert!(error.contains("nobody-here"), "{error}");
    let mut layers = place.spec("d", "");
    layers.layers = vec![place.dir.path().join("none")];
    assert!(place.all.create(&layers).await.is_err());
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sees_lines_as_they_come_and_the_end() {
    let Some(place) = Place::open().await else { return };
    let script = "echo one; while [ ! -e /go ]; do sleep 0.05; done; echo two";
    let container = place.all.create(&place.spec("follow", script)).await.unwrap();
    container.start().await.unwrap();
    let mut log = container.logs(LogQuery { follow: true, ..LogQuery::default() }).unwrap();
    assert_eq!(log.next().await.unwrap().unwrap().text, b"one");
    let mut exec = container.exec(&crate::process::sh("touch /go")).await.unwrap();
    exec.wait().await.unwrap();
    assert_eq!(log.next().await.unwrap().unwrap().text, b"two");
    assert_eq!(log.next().await.unwrap(), None);
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_uses_is_counted() {
    let Some(place) = Place::open().await else { return };
    let script = "dd if=/dev/zero of=/f bs=1M count=4 2>/dev/null; \
                  i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo up; sleep 1000 & wait";
    let container = place.all.create(&place.spec("busy", script)).await.unwrap();
    container.start().await.unwrap();
    wait_until("it used something", || {
        let stats = container.stats().unwrap();
        stats.usage.cpu_us > 1000
            && stats.usage.memory_bytes > 0
            && stats.usage.pids == 2
            && stats.disk_used_bytes > 4 << 20
    })
    .await;
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_at_a_time_has_a_root() {
    let Some(place) = Place::open().await else { return };
    let config = crate::helpers::config(place.dir.path());
    let second = muster_sandbox::oci::container::Containers::open(config).await;
    assert!(matches!(second, Err(ContainerError::InUse { .. })));
    assert!(matches!(place.all.get(&name("none")), Err(ContainerError::Unknown { .. })));
    place.close().await;
}
