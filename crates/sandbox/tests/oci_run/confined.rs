use crate::{
    helpers::{Place, code, find, own, wait_until},
    process::sh,
};
use muster_sandbox::oci::container::{Capability, CdiDevices, VolumeMount};
use std::{fs, process::Command};

#[tokio::test(flavor = "multi_thread")]
async fn a_process_has_no_capability_no_way_up_and_a_filter() {
    let Some(place) = Place::with(|config| config.capabilities = vec![Capability::Chown]).await
    else {
        return;
    };
    let script = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";
    let (_, text) = place.run(&place.spec("none", script)).await;
    let lines: Vec<&str> = text.lines().collect();
    let none = "0000000000000000";
    let wanted =
        ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| format!("{set}:\t{none}"));
    assert_eq!(lines[..5], wanted);
    assert_eq!(lines[5..], ["NoNewPrivs:\t1", "Seccomp:\t2"]);
    let mut one = place.spec("one", script);
    one.capabilities = vec![Capability::Chown];
    one.user = "web".into();
    let (_, text) = place.run(&one).await;
    assert!(text.contains("CapEff:\t0000000000000001"), "{text}");
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_and_the_host_cannot_be_written_to_or_looked_into() {
    let Some(place) = Place::open().await else { return };
    let refused = [
        "echo 0 > /proc/sys/kernel/randomize_va_space",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "echo b > /proc/sysrq-trigger",
        "echo 100 > /sys/fs/cgroup/pids/pids.max || echo 100 > /sys/fs/cgroup/pids.max",
        "mkdir /sys/fs/cgroup/pids/x || mkdir /sys/fs/cgroup/x",
        "mount -t tmpfs tmpfs /tmp",
        "mount -o remount,rw /proc/sys",
        "umount /proc/sys",
        "unshare -U true",
        "unshare -m true",
        "nsenter -t 1 -m true",
        "chroot / true",
        "mknod /tmp/mem c 1 1",
        "head -c 1 /dev/mem",
        "dmesg",
        "hostname x",
        "[ -s /proc/kcore ]",
        "ls /sys/firmware | grep .",
        "ip link add d0 type dummy",
        "ip addr add 10.1.2.3/32 dev eth0",
        "ping6 -c 1 ::1",
    ];
    let script: String = refused
        .iter()
        .enumerate()
        .map(|(n, line)| format!("({line}) >/dev/null 2>&1 && echo line {n}\n"))
        .collect();
    let (_, text) = place.run(&place.spec("reach", &format!("{script}echo end"))).await;
    assert_eq!(text, "end\n", "these went through: {refused:#?}");
    let (_, text) = place
        .run(
            &place
                .spec("ids", "id -u; cat /proc/self/uid_map; ls /dev; ls /proc | grep -c '^[0-9]'"),
        )
        .await;
    let base = muster_sandbox::oci::container::IdRange::default();
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    assert_eq!(words[..4], ["0", "0", &base.base.to_string(), &base.size.to_string()]);
    let devices = [
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
        "stdout", "tty", "urandom", "zero",
    ];
    let nodes: Vec<&&str> =
        words[4..words.len() - 1].iter().filter(|name| **name != "core").collect();
    assert_eq!(nodes, devices.iter().collect::<Vec<_>>());
    // Itself, `ls` and `grep`, and nobody of the host.
    assert!(words.last().unwrap().parse::<u32>().unwrap() <= 4, "{text}");
    place.close().await;
}

/// Makes one system call and exits with its error number, 0 if it went well.
#[cfg(target_arch = "x86_64")]
const CALLER: &str = r#"
static long number(const char *s) {
    long n = 0;
    while (*s) n = n * 10 + (*s++ - '0');
    return n;
}
static long call(long n, long a, long b, long c) {
    long r;
    register long d __asm__("r10") = 0;
    register long e __asm__("r8") = 0;
    register long f __asm__("r9") = 0;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(d), "r"(e), "r"(f)
                     : "rcx", "r11", "memory");
    return r;
}
void start(long *stack) {
    char **argv = (char **)(stack + 1);
    long r = call(number(argv[1]), number(argv[2]), number(argv[3]), number(argv[4]));
    call(231, r < 0 ? -r : 0, 0, 0);
}
__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall start\n");
"#;

#[cfg(target_arch = "x86_64")]
#[tokio::test(flavor = "multi_thread")]
async fn dangerous_system_calls_are_refused_before_the_kernel_looks_at_them() {
    let Some(compiler) = find("cc") else { return };
    let Some(place) = Place::open().await else { return };
    let layer = place.dir.path().join("caller");
    fs::create_dir_all(layer.join("bin")).unwrap();
    let source = place.dir.path().join("caller.c");
    fs::write(&source, CALLER).unwrap();
    let flags =
        ["-nostdlib", "-static", "-fno-stack-protector", "-fno-pie", "-no-pie", "-O1", "-o"];
    let built =
        Command::new(compiler).args(flags).arg(layer.join("bin/call")).arg(&source).status();
    assert!(built.unwrap().success());
    own(&layer);
    let (eperm, enosys) = (1, 38);
    let cases: [(&str, u32, [u64; 3], i32); 32] = [
        ("getpid", 39, [0; 3], 0),
        ("mount", 165, [0; 3], eperm),
        ("umount2", 166, [0; 3], eperm),
        ("pivot_root", 155, [0; 3], eperm),
        ("unshare user", 272, [0x1000_0000, 0, 0], eperm),
        ("setns", 308, [0; 3], eperm),
        ("clone with a user namespace", 56, [0x1000_0000, 0, 0], eperm),
        ("clone3", 435, [0; 3], enosys),
        ("ptrace", 101, [0; 3], eperm),
        ("process_vm_readv", 310, [1, 0, 0], eperm),
        ("pidfd_getfd", 438, [0; 3], eperm),
        ("kcmp", 312, [1, 1, 0], eperm),
        ("keyctl", 250, [0; 3], eperm),
        ("add_key", 248, [0; 3], eperm),
        ("request_key", 249, [0; 3], eperm),
        ("bpf", 321, [0; 3], eperm),
        ("perf_event_open", 298, [0; 3], eperm),
        ("userfaultfd", 323, [0; 3], eperm),
        ("io_uring_setup", 425, [1, 0, 0], eperm),
        ("open_by_handle_at", 304, [0; 3], eperm),
        ("init_module", 175, [0; 3], eperm),
        ("finit_module", 313, [0; 3], eperm),
        ("kexec_load", 246, [0; 3], eperm),
        ("reboot", 169, [0; 3], eperm),
        ("syslog", 103, [3, 0, 0], eperm),
        ("fsopen", 430, [0; 3], eperm),
        ("mount_setattr", 442, [0; 3], eperm),
        ("iopl", 172, [3, 0, 0], eperm),
        ("modify_ldt", 154, [0; 3], eperm),
        ("socket of AF_ALG", 41, [38, 5, 0], eperm),
        ("socket of AF_VSOCK", 41, [40, 1, 0], eperm),
        ("socket of AF_PACKET", 41, [17, 3, 0], eperm),
    ];
    let calls = cases
        .iter()
        .map(|(_, number, [a, b, c], _)| format!("call {number} {a} {b} {c}; echo $?\n"));
    let mut spec = place.spec("calls", &calls.collect::<String>());
    spec.layers.push(layer);
    let (_, text) = place.run(&spec).await;
    let got: Vec<(&str, &str)> = cases.iter().map(|case| case.0).zip(text.lines()).collect();
    let wanted: Vec<(&str, String)> =
        cases.iter().map(|case| (case.0, case.3.to_string())).collect();
    assert_eq!(got, wanted.iter().map(|(name, code)| (*name, code.as_str())).collect::<Vec<_>>());
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_root_leaves_volumes_and_shared_memory_to_write_to() {
    let Some(place) = Place::open().await else { return };
    let volume = place.dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    own(&volume);
    let script = "echo x > /f; echo x > /etc/hosts; echo x > /dev/shm/f && echo shm; \
                  echo x > /data/f && echo data; echo x > /fixed/g; cat /fixed/f; \
                  dd if=/dev/zero of=/dev/shm/big bs=1M count=2 2>/dev/null || echo bounded";
    let mut spec = place.spec("fixed", script);
    spec.read_only_root = true;
    spec.limits.shm_bytes = 1 << 20;
    for (target, read_only) in [("/data", false), ("/fixed", true)] {
        spec.volumes.push(VolumeMount { source: volume.clone(), target: target.into(), read_only });
    }
    let (_, text) = place.run(&spec).await;
    let mut said: Vec<&str> = text.lines().filter(|line| !line.starts_with('!')).collect();
    said.sort_unstable();
    assert_eq!(said, ["bounded", "data", "shm", "x"], "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("Read-only")).count(), 3, "{text}");
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_device_is_there_and_no_other() {
    let cdi = crate::helpers::directory();
    let file = "cdiVersion: 0.6.0\nkind: muster.test/fake\ndevices:\n- name: zero\n  containerEdits:\n    \
                env: [FAKE=yes]\n    deviceNodes:\n    - {path: /dev/fake, hostPath: /dev/zero}\n    \
                mounts:\n    - {hostPath: /proc/version, containerPath: /opt/driver, options: [ro]}\n";
    fs::write(cdi.path().join("fake.yaml"), file).unwrap();
    let devices = CdiDevices::load(&[cdi.path().to_owned(), "/nowhere".into()]).unwrap();
    let Some(place) = Place::with(|config| config.devices = devices).await else { return };
    let script =
        "echo $FAKE; head -c 2 /dev/fake | od -An -tx1; grep -c Linux /opt/driver; ls /dev/kvm";
    let mut spec = place.spec("device", script);
    spec.devices = vec!["muster.test/fake=zero".into()];
    let (exit, text) = place.run(&spec).await;
    let words: Vec<&str> =
        text.lines().filter(|line| !line.starts_with('!')).map(str::trim).collect();
    assert_eq!(words, ["yes", "00 00", "1"], "{text}");
    assert_ne!(code(&exit), 0);
    spec.devices = vec!["muster.test/fake=one".into()];
    assert!(place.all.create(&spec).await.is_err());
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_on_no_command_line_and_in_no_file_that_others_read() {
    use std::os::unix::fs::PermissionsExt;
    let Some(place) = Place::open().await else { return };
    let mut spec = place.spec("quiet", "exec sleep 1000");
    spec.env = vec![("TOKEN".into(), "tell-nobody".into())];
    let container = place.all.create(&spec).await.unwrap();
    container.start().await.unwrap();
    let mut asked = sh("exec sleep 1000");
    asked.env = vec![("TOKEN".into(), "tell-nobody".into())];
    let _exec = container.exec(&asked).await.unwrap();
    wait_until("both run", || container.stats().unwrap().usage.pids == 2).await;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains("tell-nobody"));
    }
    let dir = place.dir.path().join("root/containers/quiet");
    let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("bundle/config.json"), mode("log"), mode("bundle")), (0o600, 0o600, 0o700));
    assert!(!format!("{spec:?}{asked:?}").contains("tell-nobody"));
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_is_told_the_limits() {
    let Some(place) = Place::open().await else { return };
    let mut spec = place.spec("bounded", "exec sleep 1000");
    spec.limits.milli_cpu = 250;
    spec.limits.io.read_bps = Some(1 << 20);
    spec.limits.io.write_iops = Some(50);
    let source = place.all.volume(&crate::helpers::name("data"), 16 << 20).await.unwrap();
    spec.volumes.push(VolumeMount { source, target: "/data".into(), read_only: false });
    let container = place.all.create(&spec).await.unwrap();
    let group = |file: &str| {
        let trees = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|tree| tree.path());
        let trees = trees.chain(["/sys/fs/cgroup".into()]);
        let parents = trees.flat_map(|tree| fs::read_dir(tree).into_iter().flatten().flatten());
        let files = parents.map(|parent| parent.path().join("bounded").join(file));
        let found: Vec<String> = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
        found.concat().trim().to_owned()
    };
    if group("memory.max").is_empty() {
        assert_eq!(group("memory.limit_in_bytes"), (64 << 20).to_string());
        assert_eq!(group("memory.memsw.limit_in_bytes"), (64 << 20).to_string());
        assert_eq!(
            (group("cpu.cfs_quota_us"), group("cpu.cfs_period_us")),
            ("25000".into(), "100000".into())
        );
        assert!(group("blkio.throttle.read_bps_device").ends_with(" 1048576"));
        let iops = group("blkio.throttle.write_iops_device");
        assert_eq!(iops.lines().filter(|line| line.ends_with(" 50")).count(), 2, "{iops}");
    } else {
        assert_eq!(group("memory.max"), (64 << 20).to_string());
        assert_eq!(
            (group("memory.swap.max"), group("cpu.max")),
            ("0".into(), "25000 100000".into())
        );
        assert!(group("io.max").contains("rbps=1048576"));
    }
    assert_eq!(group("pids.max"), "64");
    container.delete().await.unwrap();
    place.close().await;
}
