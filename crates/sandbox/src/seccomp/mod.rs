//! Which system calls a cell may make: a list of what node, python, java, go and static programs need.
//!
//! Everything else fails with `EPERM`, as on a host without the privilege; nothing is killed for asking, except
//! programs that use another processor architecture's calls. `clone3`, whose flags a filter cannot see, fails with
//! `ENOSYS`, so that C libraries fall back to `clone`.

mod program;

use std::collections::BTreeMap;

use libc::sock_filter;

use self::program::{Calls, Test, assemble};

/// Calls allowed whatever their arguments.
#[rustfmt::skip]
const ALLOWED: &[libc::c_long] = {
    use libc::*;
    &[
        // Files.
        SYS_close, SYS_close_range, SYS_copy_file_range, SYS_dup, SYS_dup3, SYS_fadvise64, SYS_fallocate,
        SYS_fchdir, SYS_chdir, SYS_fchmod, SYS_fchmodat, SYS_fchmodat2, SYS_fchown, SYS_fchownat, SYS_fcntl, SYS_fdatasync,
        SYS_fgetxattr, SYS_flistxattr, SYS_flock, SYS_fremovexattr, SYS_fsetxattr, SYS_fstat, SYS_fstatfs,
        SYS_fsync, SYS_ftruncate, SYS_getcwd, SYS_getdents64, SYS_getxattr, SYS_lgetxattr, SYS_linkat,
        SYS_listxattr, SYS_llistxattr, SYS_lremovexattr, SYS_lseek, SYS_lsetxattr, SYS_mkdirat, SYS_mknodat,
        SYS_newfstatat, SYS_openat, SYS_openat2, SYS_pread64, SYS_preadv, SYS_preadv2, SYS_pwrite64, SYS_pwritev,
        SYS_pwritev2, SYS_read, SYS_readahead, SYS_readlinkat, SYS_readv, SYS_removexattr, SYS_renameat,
        SYS_renameat2, SYS_sendfile, SYS_setxattr, SYS_splice, SYS_statfs, SYS_statx, SYS_symlinkat,
        SYS_sync_file_range, SYS_tee, SYS_truncate, SYS_umask, SYS_unlinkat, SYS_utimensat,
        SYS_vmsplice, SYS_write, SYS_writev, SYS_faccessat, SYS_faccessat2, SYS_pipe2,
        SYS_inotify_init1, SYS_inotify_add_watch, SYS_inotify_rm_watch,
        // Waiting.
        SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_eventfd2, SYS_ppoll, SYS_pselect6,
        SYS_signalfd4, SYS_timerfd_create, SYS_timerfd_gettime, SYS_timerfd_settime,
        // Memory.
        SYS_brk, SYS_get_mempolicy, SYS_madvise, SYS_membarrier, SYS_mincore, SYS_mlock, SYS_mlock2, SYS_mlockall,
        SYS_mprotect, SYS_mremap, SYS_msync, SYS_munlock, SYS_munlockall, SYS_munmap,
        SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect, SYS_remap_file_pages,
        // Processes and threads.
        SYS_execve, SYS_execveat, SYS_exit, SYS_exit_group, SYS_futex, SYS_futex_waitv, SYS_get_robust_list,
        SYS_set_robust_list, SYS_set_tid_address, SYS_rseq, SYS_gettid, SYS_getpid, SYS_getppid, SYS_getpgid,
        SYS_getsid, SYS_setpgid, SYS_setsid, SYS_getpriority, SYS_setpriority, SYS_getrlimit, SYS_getrusage, SYS_kill, SYS_tkill, SYS_tgkill, SYS_wait4, SYS_waitid, SYS_pidfd_open,
        SYS_pidfd_send_signal, SYS_prctl, SYS_seccomp, SYS_capget, SYS_capset, SYS_ioprio_get, SYS_ioprio_set,
        SYS_sched_yield, SYS_sched_getaffinity, SYS_sched_setaffinity, SYS_sched_getattr, SYS_sched_setattr,
        SYS_sched_getparam, SYS_sched_setparam, SYS_sched_getscheduler, SYS_sched_setscheduler,
        SYS_sched_get_priority_max, SYS_sched_get_priority_min, SYS_sched_rr_get_interval, SYS_getcpu,
        SYS_landlock_create_ruleset, SYS_landlock_add_rule, SYS_landlock_restrict_self,
        // Users: a cell has one user and one group, so these can only say so.
        SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getresuid, SYS_getresgid, SYS_getgroups, SYS_setuid,
        SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setgroups, SYS_setfsuid,
        SYS_setfsgid,
        // Signals.
        SYS_rt_sigaction, SYS_rt_sigpending, SYS_rt_sigprocmask, SYS_rt_sigqueueinfo, SYS_rt_sigreturn,
        SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_rt_tgsigqueueinfo, SYS_sigaltstack, SYS_restart_syscall,
        // Time.
        SYS_clock_getres, SYS_clock_gettime, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday,
        SYS_getitimer, SYS_setitimer, SYS_timer_create, SYS_timer_delete, SYS_timer_getoverrun,
        SYS_timer_gettime, SYS_timer_settime, SYS_times,
        // Sockets, once they are made.
        SYS_accept, SYS_accept4, SYS_bind, SYS_connect, SYS_getpeername, SYS_getsockname, SYS_getsockopt,
        SYS_listen, SYS_recvfrom, SYS_recvmmsg, SYS_recvmsg, SYS_sendmmsg, SYS_sendmsg, SYS_sendto,
        SYS_setsockopt, SYS_shutdown,
        // System V and POSIX queues, in the cell's own namespace.
        SYS_msgctl, SYS_msgget, SYS_msgrcv, SYS_msgsnd, SYS_semctl, SYS_semget, SYS_semop, SYS_semtimedop,
        SYS_shmat, SYS_shmctl, SYS_shmdt, SYS_shmget, SYS_mq_getsetattr, SYS_mq_notify, SYS_mq_open,
        SYS_mq_timedreceive, SYS_mq_timedsend, SYS_mq_unlink,
        // The machine.
        SYS_getrandom, SYS_sysinfo, SYS_uname,
    ]
};

/// Older forms of the above that only this architecture has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[libc::c_long] = {
    use libc::*;
    &[
        SYS_access, SYS_alarm, SYS_arch_prctl, SYS_chmod, SYS_chown, SYS_creat, SYS_dup2, SYS_epoll_create,
        SYS_epoll_wait, SYS_eventfd, SYS_fork, SYS_futimesat, SYS_getdents, SYS_getpgrp, SYS_inotify_init,
        SYS_lchown, SYS_link, SYS_lstat, SYS_mkdir, SYS_mknod, SYS_open, SYS_pause, SYS_pipe, SYS_poll,
        SYS_readlink, SYS_rename, SYS_rmdir, SYS_select, SYS_signalfd, SYS_stat, SYS_symlink, SYS_time,
        SYS_unlink, SYS_utime, SYS_utimes, SYS_vfork,
    ]
};
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[libc::c_long] = &[];

/// Flags with which `clone` would make a namespace.
const NAMESPACE_FLAGS: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;
/// The bits of a socket's type that are not flags.
const SOCKET_TYPE: u32 = 0xf;
/// Requests that would put words into a terminal's input; the second is `TIOCLINUX`, which libc does not name.
const TERMINAL_INJECTIONS: [u32; 2] = [libc::TIOCSTI as u32, 0x541c];

/// The compiled filter, made once and applied in every cell.
#[derive(Debug)]
pub(crate) struct Filter(Vec<sock_filter>);

impl Filter {
    /// Compiles the list for this machine.
    ///
    /// # Errors
    /// When the list cannot be expressed.
    pub(crate) fn compile() -> Result<Self, String> {
        assemble(&calls()).map(Self)
    }

    /// Its steps as the kernel reads them.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let step = |step: &sock_filter| {
            let [c0, c1] = step.code.to_ne_bytes();
            let [k0, k1, k2, k3] = step.k.to_ne_bytes();
            [c0, c1, step.jt, step.jf, k0, k1, k2, k3]
        };
        self.0.iter().flat_map(step).collect()
    }
}

fn calls() -> Calls {
    let number = |call: &libc::c_long| u32::try_from(*call).ok();
    let ruled = [
        (libc::SYS_clone, vec![vec![Test::bits(0, NAMESPACE_FLAGS.cast_unsigned(), 0)]]),
        (libc::SYS_ioctl, vec![TERMINAL_INJECTIONS.map(|request| Test::is_not(1, request)).to_vec()]),
        // Huge pages are the machine's, and counted by no cell's memory.
        (libc::SYS_mmap, vec![vec![Test::bits(3, libc::MAP_HUGETLB.cast_unsigned(), 0)]]),
        (libc::SYS_memfd_create, vec![vec![Test::bits(1, libc::MFD_HUGETLB, 0)]]),
        // Only asking for the present personality, or the plain one.
        (libc::SYS_personality, vec![vec![Test::is(0, u32::MAX)], vec![Test::is(0, 0)]]),
        // Whether a crash leaves something behind is not the program's to say.
        (libc::SYS_setrlimit, vec![vec![Test::is_not(0, libc::RLIMIT_CORE)]]),
        (libc::SYS_prlimit64, vec![vec![Test::is_not(1, libc::RLIMIT_CORE)], Test::null(2).to_vec()]),
        (libc::SYS_socketpair, vec![vec![Test::is(0, libc::AF_UNIX.cast_unsigned())]]),
        (libc::SYS_socket, socket_rules()),
    ];
    Calls {
        free: ALLOWED.iter().chain(ALLOWED_HERE).filter_map(number).collect(),
        ruled: ruled
            .into_iter()
            .filter_map(|(call, rules)| Some((number(&call)?, rules)))
            .collect::<BTreeMap<_, _>>(),
        absent: [libc::SYS_clone3].iter().filter_map(number).collect(),
    }
}

/// Local sockets, TCP, UDP and questions to the routing table; nothing raw, nothing that speaks ICMP.
fn socket_rules() -> Vec<Vec<Test>> {
    let is = |argument, value: i32| Test::is(argument, value.cast_unsigned());
    let mut rules =
        vec![vec![is(0, libc::AF_UNIX)], vec![is(0, libc::AF_NETLINK), is(2, libc::NETLINK_ROUTE)]];
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (kind, own_protocol) in
            [(libc::SOCK_STREAM, libc::IPPROTO_TCP), (libc::SOCK_DGRAM, libc::IPPROTO_UDP)]
        {
            for protocol in [0, own_protocol] {
                let kind = Test::bits(1, SOCKET_TYPE, kind.cast_unsigned());
                rules.push(vec![is(0, family), kind, is(2, protocol)]);
            }
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_is_short() {
        let length = Filter::compile().unwrap().0.len();
        assert!(length < 500, "{length} steps");
    }

    #[test]
    fn hostile_families_are_not_listed() {
        let calls = calls();
        let hostile = [
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_move_mount,
            libc::SYS_open_tree,
            libc::SYS_fsopen,
            libc::SYS_fsmount,
            libc::SYS_mount_setattr,
            libc::SYS_chroot,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_pidfd_getfd,
            libc::SYS_kcmp,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_io_uring_setup,
            // Of its queues the machine has a bounded number, for everybody.
            libc::SYS_io_setup,
            // They write what others have not written yet, on every disk.
            libc::SYS_sync,
            libc::SYS_syncfs,
            libc::SYS_userfaultfd,
            libc::SYS_kexec_load,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_clone3,
            libc::SYS_open_by_handle_at,
            libc::SYS_name_to_handle_at,
            libc::SYS_reboot,
            libc::SYS_swapon,
            libc::SYS_acct,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_sethostname,
            libc::SYS_syslog,
            libc::SYS_quotactl,
        ];
        for call in hostile {
            let call = u32::try_from(call).unwrap();
            assert!(
                !calls.free.contains(&call) && !calls.ruled.contains_key(&call),
                "call {call} is allowed"
            );
        }
    }
}
