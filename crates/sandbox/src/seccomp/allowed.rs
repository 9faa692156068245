//! The system calls that a guest may make, as data. What is on neither list here does not exist for a guest
//! (ENOSYS), so that programs fall back as they do on older kernels; what is refused by name gets EPERM.
//!
//! The list was begun from what CPython, Node (libuv without io_uring), the JVM, Go and bash call, and leaves out
//! whatever administers a machine, reaches into other processes, or has had more than its share of kernel bugs.

/// Calls that are allowed or refused together.
pub(super) struct Group {
    /// What they are for, or why they are refused.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by people, and by the test that demands it"))]
    pub(super) reason: &'static str,
    /// Their numbers.
    pub(super) calls: &'static [libc::c_long],
}

use libc::*;

/// Allowed with any arguments.
pub(super) const ALLOWED: &[Group] = &[
    Group {
        reason: "reading and writing what is open",
        calls: &[
            SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_preadv, SYS_pwritev,
            SYS_preadv2, SYS_pwritev2, SYS_lseek, SYS_sendfile, SYS_splice, SYS_tee, SYS_vmsplice,
            SYS_copy_file_range, SYS_readahead, SYS_fadvise64, SYS_fallocate, SYS_ftruncate, SYS_fsync,
            SYS_fdatasync, SYS_sync_file_range, SYS_sync, SYS_syncfs, SYS_flock,
        ],
    },
    Group {
        reason: "files by name; landlock and the read-only mounts decide which",
        calls: &[
            SYS_openat, SYS_openat2, SYS_close, SYS_close_range, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_statfs,
            SYS_fstatfs, SYS_faccessat, SYS_faccessat2, SYS_getdents64, SYS_getcwd, SYS_chdir, SYS_fchdir,
            SYS_mkdirat, SYS_mknodat, SYS_unlinkat, SYS_renameat, SYS_renameat2, SYS_linkat, SYS_symlinkat,
            SYS_readlinkat, SYS_truncate, SYS_fchmod, SYS_fchmodat, SYS_fchmodat2, SYS_fchown, SYS_fchownat,
            SYS_utimensat, SYS_umask, SYS_getxattr, SYS_lgetxattr, SYS_fgetxattr, SYS_listxattr, SYS_llistxattr,
            SYS_flistxattr, SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_removexattr, SYS_lremovexattr,
            SYS_fremovexattr, SYS_inotify_init1, SYS_inotify_add_watch, SYS_inotify_rm_watch,
        ],
    },
    Group {
        reason: "descriptors, pipes and waiting for them",
        calls: &[
            SYS_dup, SYS_dup3, SYS_fcntl, SYS_pipe2, SYS_ppoll, SYS_pselect6, SYS_epoll_create1, SYS_epoll_ctl,
            SYS_epoll_pwait, SYS_epoll_pwait2, SYS_eventfd2, SYS_signalfd4, SYS_timerfd_create, SYS_timerfd_settime,
            SYS_timerfd_gettime, SYS_memfd_create,
        ],
    },
    Group {
        reason: "memory",
        calls: &[
            SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_brk, SYS_msync, SYS_mincore, SYS_mlock,
            SYS_mlock2, SYS_munlock, SYS_mlockall, SYS_munlockall, SYS_membarrier, SYS_get_mempolicy,
            SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect, SYS_mseal,
        ],
    },
    Group {
        reason: "threads and locks",
        calls: &[
            SYS_futex, SYS_futex_waitv, SYS_set_robust_list, SYS_get_robust_list, SYS_set_tid_address, SYS_rseq,
            SYS_gettid, SYS_sched_yield, SYS_sched_getaffinity, SYS_sched_setaffinity, SYS_sched_getparam,
            SYS_sched_setparam, SYS_sched_getscheduler, SYS_sched_setscheduler, SYS_sched_getattr,
            SYS_sched_setattr, SYS_sched_get_priority_max, SYS_sched_get_priority_min, SYS_sched_rr_get_interval,
            SYS_getpriority, SYS_setpriority, SYS_ioprio_get, SYS_ioprio_set, SYS_getcpu,
        ],
    },
    Group {
        reason: "processes of its own: it sees no others",
        calls: &[
            SYS_execve, SYS_execveat, SYS_exit, SYS_exit_group, SYS_wait4, SYS_waitid, SYS_kill, SYS_tkill,
            SYS_tgkill, SYS_pidfd_open, SYS_pidfd_send_signal, SYS_getpid, SYS_getppid, SYS_getpgid, SYS_setpgid,
            SYS_getsid, SYS_setsid, SYS_getrlimit, SYS_setrlimit, SYS_prlimit64, SYS_getrusage, SYS_times,
            SYS_restart_syscall,
        ],
    },
    Group {
        reason: "signals",
        calls: &[
            SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigpending, SYS_rt_sigsuspend,
            SYS_rt_sigtimedwait, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_sigaltstack,
        ],
    },
    Group {
        reason: "who it is; without capabilities it can become nobody else",
        calls: &[
            SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getresuid, SYS_getresgid, SYS_getgroups,
            SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setfsuid,
            SYS_setfsgid, SYS_capget, SYS_capset,
        ],
    },
    Group {
        reason: "time, randomness and facts about the system",
        calls: &[
            SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday,
            SYS_getitimer, SYS_setitimer, SYS_timer_create, SYS_timer_settime, SYS_timer_gettime,
            SYS_timer_getoverrun, SYS_timer_delete, SYS_getrandom, SYS_uname, SYS_sysinfo,
        ],
    },
    Group {
        reason: "sockets of the allowed families, in its own network namespace",
        calls: &[
            SYS_socketpair, SYS_bind, SYS_listen, SYS_accept, SYS_accept4, SYS_connect, SYS_shutdown,
            SYS_getsockname, SYS_getpeername, SYS_getsockopt, SYS_setsockopt, SYS_sendto, SYS_recvfrom,
            SYS_sendmsg, SYS_recvmsg, SYS_sendmmsg, SYS_recvmmsg,
        ],
    },
    Group {
        reason: "System V IPC, in its own namespace and counted to its memory",
        calls: &[
            SYS_shmget, SYS_shmat, SYS_shmdt, SYS_shmctl, SYS_semget, SYS_semop, SYS_semtimedop, SYS_semctl,
            SYS_msgget, SYS_msgsnd, SYS_msgrcv, SYS_msgctl,
        ],
    },
    Group {
        reason: "further restricting itself",
        calls: &[SYS_landlock_create_ruleset, SYS_landlock_add_rule, SYS_landlock_restrict_self],
    },
    #[cfg(target_arch = "x86_64")]
    Group {
        reason: "the older spellings of the above that x86-64 still has, and its thread pointer",
        calls: &[
            SYS_open, SYS_creat, SYS_stat, SYS_lstat, SYS_access, SYS_pipe, SYS_dup2, SYS_fork, SYS_vfork,
            SYS_select, SYS_poll, SYS_link, SYS_unlink, SYS_mkdir, SYS_rmdir, SYS_mknod, SYS_rename, SYS_chmod,
            SYS_chown, SYS_lchown, SYS_symlink, SYS_readlink, SYS_getpgrp, SYS_pause, SYS_alarm, SYS_utime,
            SYS_utimes, SYS_futimesat, SYS_epoll_create, SYS_epoll_wait, SYS_eventfd, SYS_signalfd,
            SYS_inotify_init, SYS_time, SYS_getdents, SYS_arch_prctl,
        ],
    },
];

/// Refused with EPERM rather than ENOSYS: programs that ask for these expect to be told that they may not.
pub(super) const REFUSED: &[Group] = &[
    Group {
        reason: "namespaces and mounts: the way out of a sandbox begins here",
        calls: &[
            SYS_unshare, SYS_setns, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_open_tree,
            SYS_move_mount, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick, SYS_mount_setattr,
        ],
    },
    Group {
        reason: "reaching into other processes",
        calls: &[
            SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_process_madvise, SYS_process_mrelease,
            SYS_pidfd_getfd, SYS_kcmp, SYS_migrate_pages, SYS_move_pages,
        ],
    },
    Group {
        reason: "programs and events inside the kernel",
        calls: &[SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_fanotify_init, SYS_fanotify_mark],
    },
    Group {
        reason: "the kernel's keyrings are not divided by namespaces",
        calls: &[SYS_keyctl, SYS_add_key, SYS_request_key],
    },
    Group {
        reason: "files by handle pass by every check of their path",
        calls: &[SYS_open_by_handle_at, SYS_name_to_handle_at],
    },
    Group {
        reason: "administering the machine",
        calls: &[
            SYS_kexec_load, SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_reboot, SYS_swapon,
            SYS_swapoff, SYS_acct, SYS_quotactl, SYS_settimeofday, SYS_clock_settime, SYS_adjtimex,
            SYS_clock_adjtime, SYS_sethostname, SYS_setdomainname, SYS_syslog, SYS_vhangup, SYS_setgroups,
        ],
    },
    #[cfg(target_arch = "x86_64")]
    Group {
        reason: "ports and segments of x86-64",
        calls: &[SYS_iopl, SYS_ioperm, SYS_modify_ldt, SYS_kexec_file_load],
    },
];

/// `CLONE_NEW*` of clone(2): allowed only without any of them.
pub(super) const CLONE_NAMESPACES: u32 = 0x7E02_0000;

/// The options of prctl(2) that are allowed: names, death signals, dumping, its own restrictions, memory hints.
pub(super) const PRCTL_OPTIONS: &[c_int] = &[
    PR_SET_NAME, PR_GET_NAME, PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_SET_DUMPABLE, PR_GET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_CAPBSET_READ, PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER,
    PR_SET_TIMERSLACK, PR_GET_TIMERSLACK, PR_SET_THP_DISABLE, PR_GET_THP_DISABLE, PR_SET_VMA, PR_GET_KEEPCAPS,
    PR_GET_SECUREBITS, PR_GET_SECCOMP,
];

/// The domains and types of socket(2) that are allowed, types without their flags. Netlink is there for routes alone
/// (see [`NETLINK_PROTOCOLS`]): Node's `os.networkInterfaces()` asks it for addresses.
pub(super) const SOCKETS: &[(c_int, c_int)] = &[
    (AF_UNIX, SOCK_STREAM), (AF_UNIX, SOCK_DGRAM), (AF_UNIX, SOCK_SEQPACKET),
    (AF_INET, SOCK_STREAM), (AF_INET, SOCK_DGRAM),
    (AF_INET6, SOCK_STREAM), (AF_INET6, SOCK_DGRAM),
];

/// The netlink protocols that are allowed, over raw sockets, which is how the C library opens them.
pub(super) const NETLINK_PROTOCOLS: &[c_int] = &[NETLINK_ROUTE];

/// Requests of ioctl(2) that put words into another's mouth: typing into the terminal that started the platform
/// (`TIOCSTI` and `TIOCLINUX`, here as numbers that are as wide for every C library).
pub(super) const REFUSED_IOCTLS: &[u32] = &[0x5412, 0x541C];
