use crate::helpers::{Place, code, output, own, wait_until};
use muster_sandbox::oci::container::{DiskKind, ExitStatus, VolumeMount};
use std::{fs, os::unix::fs::symlink, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_meets_its_limit_and_can_be_killed() {
    let Some(place) = Place::open().await else { return };
    let script = "f() { f & f & wait; }; trap '' TERM; f 2>/dev/null; exec sleep 1000";
    let mut spec = place.spec("fork", script);
    spec.limits.pids = 32;
    let container = place.all.create(&spec).await.unwrap();
    container.start().await.unwrap();
    let file = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|tree| tree.path());
    let groups: Vec<_> = file.filter_map(|tree| find_group(&tree, "fork")).collect();
    wait_until("it met the limit", || {
        let stats = container.stats().unwrap();
        assert!(stats.usage.pids <= 32);
        let refused = groups.iter().map(|group| fs::read_to_string(group.join("pids.events")));
        refused.flatten().any(|text| text.trim() != "max 0")
    })
    .await;
    let exit = container.stop(Duration::from_millis(50)).await.unwrap();
    assert!(!exit.oom_killed, "{exit:?}");
    place.close().await;
}

/// A container's group in a tree, if it is there.
fn find_group(tree: &std::path::Path, id: &str) -> Option<std::path::PathBuf> {
    let groups = fs::read_dir(tree).ok()?.flatten().map(|entry| entry.path().join(id));
    groups.into_iter().find(|group| group.join("pids.events").exists())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_bomb_is_killed_and_told_apart_from_a_kill() {
    let Some(place) = Place::open().await else { return };
    let mut spec = place.spec("memory", "exec tail /dev/zero");
    spec.limits.memory_bytes = 16 << 20;
    let (exit, _) = place.run(&spec).await;
    assert_eq!((&exit.status, exit.oom_killed), (&ExitStatus::Signal(9), true));
    // What is put into memory as files counts as well, page cache does not.
    let mut shared = place.spec("shared", "cat /dev/zero > /dev/shm/f");
    shared.limits.memory_bytes = 16 << 20;
    shared.limits.shm_bytes = 64 << 20;
    let (exit, _) = place.run(&shared).await;
    assert!(exit.oom_killed, "{exit:?}");
    let mut cached = place.spec("cached", "dd if=/dev/zero of=/f bs=1M count=40 && echo fine");
    cached.limits.memory_bytes = 16 << 20;
    cached.limits.disk_bytes = 64 << 20;
    let (exit, _) = place.run(&cached).await;
    assert_eq!((code(&exit), exit.oom_killed), (0, false));
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_filler_meets_the_end_of_its_own_disk() {
    let Some(place) = Place::open().await else { return };
    let container = place
        .all
        .create(&place.spec("disk", "cat /dev/zero > /f; ls -l /f | wc -l; echo > /g"))
        .await
        .unwrap();
    container.start().await.unwrap();
    let exit = container.wait().await.unwrap();
    let text = output(&container).await;
    assert!(text.contains("No space left on device"), "{exit:?} {text}");
    let used = container.stats().unwrap().disk_used_bytes;
    assert!(used > 10 << 20 && used <= 16 << 20, "{used}");
    if place.all.disk_kind() == DiskKind::Loop {
        let image = place.dir.path().join("root/containers/disk/disk.img");
        assert_eq!(fs::metadata(image).unwrap().len(), 16 << 20);
    }
    // Files without content count, too.
    let script = "mkdir /d; cd /d; i=0; while : > $i; do i=$((i+1)); done; echo out of names";
    let mut many = place.spec("names", script);
    many.limits.disk_bytes = 4 << 20;
    let (exit, _) = place.run(&many).await;
    assert!(matches!(exit.status, ExitStatus::Code(_)), "{exit:?}");
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_opens_files_without_end_harms_itself() {
    let Some(place) = Place::open().await else { return };
    let script = "ulimit -n; ulimit -n 100000 2>/dev/null && echo raised; \
                  i=10; while (eval \"exec $i</dev/null\") 2>/dev/null; do i=$((i+1)); done; echo $i";
    let mut spec = place.spec("files", script);
    spec.limits.open_files = 64;
    let (_, text) = place.run(&spec).await;
    assert_eq!(text, "64\n64\n");
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_an_image_or_to_a_volume_lead_nowhere_on_the_host() {
    let Some(place) = Place::open().await else { return };
    let outside = place.dir.path().join("outside");
    let volume = place.dir.path().join("volume");
    for dir in [&outside, &volume] {
        fs::create_dir(dir).unwrap();
    }
    fs::write(outside.join("secret"), "host").unwrap();
    fs::write(volume.join("mine"), "").unwrap();
    own(&volume);
    // The image says that the volume's place, its users and its resolver are files of the host.
    let layer = place.dir.path().join("links");
    fs::create_dir_all(layer.join("etc")).unwrap();
    let up = format!("../../../../../../../..{}", outside.display());
    symlink(&up, layer.join("data")).unwrap();
    symlink(outside.join("secret"), layer.join("etc/passwd")).unwrap();
    symlink(outside.join("secret"), layer.join("etc/resolv.conf")).unwrap();
    own(&layer);
    let mut spec = place.spec("links", "ls /data; touch /data/new; cat /etc/passwd");
    spec.layers.push(layer);
    spec.volumes =
        vec![VolumeMount { source: volume.clone(), target: "/data".into(), read_only: false }];
    let (_, text) = place.run(&spec).await;
    assert!(text.contains("mine") && !text.contains("host"), "{text}");
    assert!(volume.join("new").exists() && !outside.join("new").exists());
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "host");
    // A volume that is a link itself, or lies behind one, is not mounted at all.
    symlink(&outside, place.dir.path().join("link")).unwrap();
    for source in ["link", "link/.", "volume/../link"] {
        spec.volumes[0].source = place.dir.path().join(source);
        let error = place.all.create(&spec).await.unwrap_err().to_string();
        assert!(error.contains("without following links"), "{error}");
    }
    spec.volumes[0].source = volume;
    for target in ["/proc/sys", "/data/../../etc", "data", "/"] {
        spec.volumes[0].target = target.into();
        assert!(place.all.create(&spec).await.is_err(), "{target}");
    }
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_without_end_stays_within_its_bound() {
    let Some(place) = Place::with(|config| config.log_bytes = 64 << 10).await else { return };
    let script =
        "yes 'a line of some length' | head -n 20000; head -c 100000 /dev/zero; echo; echo last";
    let container = place.all.create(&place.spec("loud", script)).await.unwrap();
    container.start().await.unwrap();
    container.wait().await.unwrap();
    let dir = place.dir.path().join("root/containers/loud");
    let size = |name: &str| fs::metadata(dir.join(name)).unwrap().len();
    assert!(size("log") + size("log.1") <= 64 << 10);
    assert!(output(&container).await.ends_with("last\n"));
    place.close().await;
}
