//! The system calls that a container may make: what ordinary programs need, and nothing that
//! reaches for the kernel's administration, other processes' memory or rarely trodden code.
//!
//! | what | answer |
//! |---|---|
//! | [`ALLOWED`] | allowed |
//! | `personality` of Linux, also without address randomisation | allowed |
//! | `clone` without new namespaces | allowed |
//! | `clone3`, whose flags a filter cannot see | `ENOSYS`: libraries fall back to `clone` |
//! | `socket` of families that networks of containers use ([`FAMILIES`]) | allowed |
//! | [`WITH_CAPABILITY`], when the container was given that capability | allowed |
//! | everything else (`mount`, `unshare`, `setns`, `ptrace`, `process_vm_*`, `bpf`, `keyctl`, `add_key`, `userfaultfd`, `perf_event_open`, `io_uring_*`, `open_by_handle_at`, modules, ..) | `EPERM` |

use oci_spec::{
    OciSpecError,
    runtime::{
        Arch, Capability, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArgBuilder,
        LinuxSeccompBuilder, LinuxSeccompOperator as Operator, LinuxSyscall, LinuxSyscallBuilder,
    },
};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// `CLONE_NEW*` of `clone`'s flags.
const CLONE_NEW: u64 = 0x7E02_0000;
/// `AF_UNIX`, `AF_INET`, `AF_INET6`, `AF_NETLINK` (name resolution asks it for interfaces).
const FAMILIES: [u64; 4] = [1, 2, 10, 16];
/// `PER_LINUX`, `PER_LINUX32`, the same without address randomisation, and the question.
const PERSONALITIES: [u64; 5] = [0, 8, 0x4_0000, 0x4_0008, 0xffff_ffff];

/// Allowed whatever the arguments. Names that an architecture lacks are skipped by the runtime.
#[rustfmt::skip]
const ALLOWED: &[&str] = &[
    "accept", "accept4", "access", "adjtimex", "alarm", "arch_prctl", "bind", "brk",
    "cachestat", "capget", "capset", "chdir", "chmod", "chown", "chown32", "clock_getres",
    "clock_getres_time64", "clock_gettime", "clock_gettime64", "clock_nanosleep",
    "clock_nanosleep_time64", "close", "close_range", "connect", "copy_file_range", "creat",
    "dup", "dup2", "dup3", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old",
    "epoll_pwait", "epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2",
    "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fadvise64",
    "fadvise64_64", "fallocate", "fanotify_mark", "fchdir", "fchmod", "fchmodat", "fchmodat2",
    "fchown", "fchown32", "fchownat", "fcntl", "fcntl64", "fdatasync", "fgetxattr",
    "flistxattr", "flock", "fork", "fremovexattr", "fsetxattr", "fstat", "fstat64", "fstatat64",
    "fstatfs", "fstatfs64", "fsync", "ftruncate", "ftruncate64", "futex", "futex_requeue",
    "futex_time64", "futex_wait", "futex_waitv", "futex_wake", "futimesat", "get_mempolicy",
    "get_robust_list", "get_thread_area", "getcpu", "getcwd", "getdents", "getdents64",
    "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups",
    "getgroups32", "getitimer", "getpeername", "getpgid", "getpgrp", "getpid", "getppid",
    "getpriority", "getrandom", "getresgid", "getresgid32", "getresuid", "getresuid32",
    "getrlimit", "getrusage", "getsid", "getsockname", "getsockopt", "gettid", "gettimeofday",
    "getuid", "getuid32", "getxattr", "inotify_add_watch", "inotify_init", "inotify_init1",
    "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents",
    "io_pgetevents_time64", "io_setup", "io_submit", "ioctl", "ioprio_get", "ioprio_set",
    "kill", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lchown",
    "lchown32", "lgetxattr", "link", "linkat", "listen", "listxattr", "llistxattr",
    "lremovexattr", "lseek", "lsetxattr", "lstat", "lstat64", "madvise", "map_shadow_stack",
    "mbind", "membarrier", "memfd_create", "mincore", "mkdir", "mkdirat", "mknod", "mknodat",
    "mlock", "mlock2", "mlockall", "mmap", "mmap2", "mprotect", "mq_getsetattr", "mq_notify",
    "mq_open", "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend",
    "mq_timedsend_time64", "mq_unlink", "mremap", "mseal", "msgctl", "msgget", "msgrcv",
    "msgsnd", "msync", "munlock", "munlockall", "munmap", "nanosleep", "newfstatat", "open",
    "openat", "openat2", "pause", "pidfd_open", "pidfd_send_signal", "pipe", "pipe2",
    "pkey_alloc", "pkey_free", "pkey_mprotect", "poll", "ppoll", "ppoll_time64", "prctl",
    "pread64", "preadv", "preadv2", "prlimit64", "process_mrelease", "pselect6",
    "pselect6_time64", "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readlink",
    "readlinkat", "readv", "recv", "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg",
    "remap_file_pages", "removexattr", "rename", "renameat", "renameat2", "restart_syscall",
    "rmdir", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo",
    "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64",
    "rt_tgsigqueueinfo", "sched_get_priority_max", "sched_get_priority_min",
    "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler",
    "sched_rr_get_interval", "sched_rr_get_interval_time64", "sched_setaffinity",
    "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "select",
    "semctl", "semget", "semop", "semtimedop", "semtimedop_time64", "send", "sendfile",
    "sendfile64", "sendmmsg", "sendmsg", "sendto", "set_mempolicy", "set_mempolicy_home_node",
    "set_robust_list", "set_thread_area", "set_tid_address", "setfsgid", "setfsgid32",
    "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups", "setgroups32", "setitimer",
    "setpgid", "setpriority", "setregid", "setregid32", "setresgid", "setresgid32", "setresuid",
    "setresuid32", "setreuid", "setreuid32", "setrlimit", "setsid", "setsockopt", "setuid",
    "setuid32", "setxattr", "shmat", "shmctl", "shmdt", "shmget", "shutdown", "sigaltstack",
    "signalfd", "signalfd4", "sigprocmask", "sigreturn", "socketpair", "splice", "stat",
    "stat64", "statfs", "statfs64", "statx", "symlink", "symlinkat", "sync", "sync_file_range",
    "syncfs", "sysinfo", "tee", "tgkill", "time", "timer_create", "timer_delete",
    "timer_getoverrun", "timer_gettime", "timer_gettime64", "timer_settime", "timer_settime64",
    "timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime",
    "timerfd_settime64", "times", "tkill", "truncate", "truncate64", "umask", "uname", "unlink",
    "unlinkat", "utime", "utimensat", "utimensat_time64", "utimes", "vfork", "vmsplice",
    "wait4", "waitid", "waitpid", "write", "writev",
];

/// Allowed along with a capability, which only holds for what the container's own namespaces own.
const WITH_CAPABILITY: &[(Capability, &[&str])] = &[(Capability::SysChroot, &["chroot"])];

fn rule(names: &[&str], action: Action) -> LinuxSyscallBuilder {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    LinuxSyscallBuilder::default().names(names).action(action)
}

/// A rule on one argument: `value` under `mask`, or exactly if there is no mask.
fn on(
    builder: LinuxSyscallBuilder,
    index: usize,
    mask: Option<u64>,
    value: u64,
) -> Result<LinuxSyscall, OciSpecError> {
    let arg = LinuxSeccompArgBuilder::default().index(index);
    let arg = match mask {
        Some(mask) => arg.value(mask).value_two(value).op(Operator::ScmpCmpMaskedEq),
        None => arg.value(value).op(Operator::ScmpCmpEq),
    };
    builder.args(vec![arg.build()?]).build()
}

/// The filter for a container with these capabilities.
pub(super) fn filter(capabilities: &[Capability]) -> Result<LinuxSeccomp, OciSpecError> {
    let mut rules = vec![rule(ALLOWED, Action::ScmpActAllow).build()?];
    for value in PERSONALITIES {
        rules.push(on(rule(&["personality"], Action::ScmpActAllow), 0, None, value)?);
    }
    for value in FAMILIES {
        rules.push(on(rule(&["socket"], Action::ScmpActAllow), 0, None, value)?);
    }
    rules.push(on(rule(&["clone"], Action::ScmpActAllow), 0, Some(CLONE_NEW), 0)?);
    rules.push(rule(&["clone3"], Action::ScmpActErrno).errno_ret(ENOSYS).build()?);
    for (capability, names) in WITH_CAPABILITY {
        if capabilities.contains(capability) {
            rules.push(rule(names, Action::ScmpActAllow).build()?);
        }
    }
    let arch =
        if cfg!(target_arch = "aarch64") { Arch::ScmpArchAarch64 } else { Arch::ScmpArchX86_64 };
    LinuxSeccompBuilder::default()
        .default_action(Action::ScmpActErrno)
        .default_errno_ret(EPERM)
        .architectures(vec![arch])
        .syscalls(rules)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowlist_is_sorted_and_names_nothing_dangerous() {
        assert!(ALLOWED.is_sorted_by(|a, b| a < b));
        #[rustfmt::skip]
        let refused = [
            "mount", "umount2", "pivot_root", "unshare", "setns", "ptrace",
            "process_vm_readv", "process_vm_writev", "pidfd_getfd", "bpf", "keyctl",
            "add_key", "request_key", "userfaultfd", "perf_event_open", "io_uring_setup",
            "open_by_handle_at", "init_module", "finit_module", "kexec_load", "clone3",
            "clone", "socket", "personality", "fsopen", "open_tree", "move_mount",
            "mount_setattr", "quotactl", "swapon", "reboot", "syslog", "chroot", "iopl",
            "ioperm", "modify_ldt", "vhangup", "name_to_handle_at",
        ];
        for name in refused {
            assert!(!ALLOWED.contains(&name), "{name}");
        }
    }

    #[test]
    fn a_call_outside_the_list_is_refused_and_only_one_architecture_may_call() {
        let filter = filter(&[]).unwrap();
        assert_eq!(filter.default_action(), Action::ScmpActErrno);
        assert_eq!(filter.architectures().as_ref().unwrap().len(), 1);
        let names = |filter: &LinuxSeccomp| -> Vec<String> {
            filter.syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect()
        };
        assert!(!names(&filter).contains(&"chroot".to_owned()));
        let with = super::filter(&[Capability::SysChroot]).unwrap();
        assert!(names(&with).contains(&"chroot".to_owned()));
    }
}
