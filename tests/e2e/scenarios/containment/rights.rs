//! Attacks on the kernel: calls that give rights, reach the machine, or are known for their holes.

use serde_json::json;

use super::attack::Attack;
use crate::functions::Language;

const FILTER: &[&str] = &["call-filter"];
/// Calls that a user namespace would allow whoever has the rights in it.
const RIGHTS_INSIDE: &[&str] = &["call-filter", "no-capabilities"];
/// Calls that want rights on the host.
const RIGHTS_OUTSIDE: &[&str] = &["call-filter", "no-capabilities", "user-namespace"];
/// What the filter lets through because the kernel asks for rights on the host.
const RIGHTS_ALONE: &[&str] = &["no-capabilities", "user-namespace"];

pub(super) fn attacks() -> Vec<Attack> {
    [calls(), of_the_machine(), on_the_host(), programs(), alone()].concat()
}

/// Calls that the filter stops, or the want of rights in the cell's own namespaces.
fn calls() -> Vec<Attack> {
    use libc::*;
    let here = AT_FDCWD;
    let clone_arguments =
        format!("x:{}", hex(&[[CLONE_NEWUSER as u64, 0, 0, 0], [SIGCHLD as u64, 0, 0, 0]].concat()));
    // Room for 128 bytes of handle, which two calls share.
    let handle = "@:80000000";
    vec![
        Attack::of_calls("new_user_namespace", &format!("{SYS_unshare} {CLONE_NEWUSER}"), FILTER),
        Attack::of_calls(
            "clone_into_a_namespace",
            &format!("{SYS_clone} {} 0 0 0 0", CLONE_NEWUSER | SIGCHLD),
            FILTER,
        ),
        Attack::of_calls("clone3_into_a_namespace", &format!("{SYS_clone3} {clone_arguments} 64"), FILTER),
        Attack::of_calls(
            "enter_a_namespace",
            &format!("{SYS_openat} {here} s:/proc/self/ns/uts 0; {SYS_setns} $ 0"),
            RIGHTS_INSIDE,
        ),
        Attack::of_calls("mount", &format!("{SYS_mount} s:none s:/tmp s:tmpfs 0 0"), RIGHTS_INSIDE)
            .stopped_by_each_of(RIGHTS_INSIDE),
        Attack::of_calls(
            "mount_by_the_newer_calls",
            &format!("{SYS_fsopen} s:tmpfs 0; {SYS_fsconfig} $ 6 0 0 0"),
            RIGHTS_INSIDE,
        ),
        Attack::of_calls("unmount", &format!("{SYS_umount2} s:/dev/shm {MNT_DETACH}"), RIGHTS_OUTSIDE),
        Attack::of_calls("chroot", &format!("{SYS_chroot} s:/tmp"), RIGHTS_INSIDE),
        Attack::of_calls("rename_the_host", &format!("{SYS_sethostname} s:evil 4"), RIGHTS_INSIDE),
        Attack::of_calls("io_uring", &format!("{SYS_io_uring_setup} 8 z:120"), FILTER),
        Attack::of_calls("userfaultfd", &format!("{SYS_userfaultfd} 1"), FILTER),
        Attack::of_calls("keyring", &format!("{SYS_add_key} s:user s:proof s:secret 6 -2"), FILTER),
        Attack::of_calls("keyctl", &format!("{SYS_keyctl} 0 -2 1"), FILTER),
        Attack::of_calls(
            "memory_of_processes",
            &format!("{SYS_getpid}; {SYS_process_vm_readv} $ 0 0 0 0 0"),
            FILTER,
        ),
        Attack::of_calls(
            "file_by_handle",
            &format!(
                "{SYS_openat} {here} s:/tmp/handle {} 384; {SYS_name_to_handle_at} {here} s:/tmp/handle {handle} z:8 0; \
                 {SYS_openat} {here} s:/tmp 0; {SYS_open_by_handle_at} $ @ 0",
                O_CREAT | O_WRONLY
            ),
            RIGHTS_OUTSIDE,
        ),
        Attack::of_calls("addresses_not_random", &format!("{SYS_personality} 0x0040000"), FILTER),
        Attack::of_calls(
            "sockets_of_the_kernel",
            &format!("{SYS_socket} {AF_NETLINK} {SOCK_RAW} {NETLINK_KOBJECT_UEVENT}"),
            FILTER,
        ),
        Attack::of_calls(
            "vsock",
            &format!("{SYS_socket} {AF_VSOCK} {SOCK_STREAM} 0 ={EAFNOSUPPORT}"),
            FILTER,
        ),
        Attack::of_calls(
            "raw_socket",
            &format!("{SYS_socket} {AF_INET} {SOCK_RAW} {IPPROTO_ICMP}"),
            RIGHTS_OUTSIDE,
        ),
        Attack::of_calls(
            "packet_socket",
            &format!("{SYS_socket} {AF_PACKET} {SOCK_RAW} 768"),
            RIGHTS_OUTSIDE,
        ),
    ]
}

/// Calls by which a cell would take of what the machine has but once.
fn of_the_machine() -> Vec<Attack> {
    use libc::*;
    let huge = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
    vec![
        Attack::of_calls("queues_of_asynchronous_io", &format!("{SYS_io_setup} 8 z:8"), FILTER),
        Attack::of_calls("huge_files", &format!("{SYS_memfd_create} s:huge {MFD_HUGETLB}"), FILTER),
        Attack::of_calls("huge_pages", &format!("{SYS_mmap} 0 2097152 3 {huge} -1 0 ={ENOMEM}"), FILTER),
        Attack::of_calls(
            "disks_written_now",
            &format!("{SYS_openat} {AT_FDCWD} s:/tmp 0; {SYS_syncfs} $"),
            FILTER,
        ),
        // The kernel counts them by the user that a cell's namespace belongs to.
        Attack::new(
            "watches_of_all_files",
            "watches",
            json!({"call": SYS_inotify_init1}),
            &["user-namespace"],
        )
        .after("watches", json!({"call": SYS_inotify_init1, "hold": true, "count": 16_000}))
        .by(&[Language::Python]),
    ]
}

/// Walls that mostly stand behind others, each by itself: what the kernel says of a cell.
fn alone() -> Vec<Attack> {
    use libc::*;
    let says = |name, path: &str, begin: &str, like: &str, walls| {
        let arguments = json!({"path": path, "begin": begin, "like": like});
        Attack::new(name, "lines_of", arguments, walls).by(&[Language::Python])
    };
    vec![
        says("some_capabilities", "/proc/self/status", "Cap", ":\\s*0+$", &["no-capabilities"]),
        // Only rights open a file that is closed to its owner.
        Attack::of_calls(
            "file_closed_to_all",
            &format!(
                "{SYS_openat} {AT_FDCWD} s:/tmp/closed {} 0; {SYS_openat} {AT_FDCWD} s:/tmp/closed {O_RDWR}",
                O_CREAT | O_WRONLY
            ),
            &["no-capabilities"],
        ),
        says(
            "more_than_one_user",
            "/proc/self/uid_map",
            "",
            "^\\s*1000\\s+\\d{4,}\\s+1$",
            &["user-namespace"],
        ),
        says("mounts_with_users", "/proc/self/mounts", "", "[ ,]nosuid[ ,]", &["harmless-mounts"]),
        says("writable_mounts", "/proc/self/mounts", "none / ", " ro,", &["read-only-root"]),
        // The kernel wants this before it takes a filter.
        says(
            "new_privileges",
            "/proc/self/status",
            "NoNewPrivs",
            "1$",
            &["no-new-privileges", "call-filter"],
        ),
    ]
}

/// Calls that want rights on the host, with arguments that do no harm.
fn on_the_host() -> Vec<Attack> {
    use libc::*;
    let here = AT_FDCWD;
    // An array of one element; a software clock.
    let map = hex32(&[2, 4, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let clock = hex32(&[1, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let zero = makedev(1, 5);
    vec![
        Attack::of_calls("bpf", &format!("{SYS_bpf} 0 x:{map} 48"), RIGHTS_OUTSIDE),
        Attack::of_calls("perf_event", &format!("{SYS_perf_event_open} x:{clock} 0 -1 -1 0"), RIGHTS_OUTSIDE),
        Attack::of_calls("restart_the_machine", &format!("{SYS_reboot} 0 0 0 0 ={EINVAL}"), RIGHTS_OUTSIDE),
        Attack::of_calls("no_more_swap", &format!("{SYS_swapoff} s:/none ={ENOENT}"), RIGHTS_OUTSIDE),
        Attack::of_calls("set_the_clock", &format!("{SYS_settimeofday} 0 0"), RIGHTS_OUTSIDE),
        Attack::of_calls("log_of_the_kernel", &format!("{SYS_syslog} 3 z:4096 4096"), RIGHTS_OUTSIDE),
        Attack::of_calls(
            "writable_root",
            &format!(
                "{SYS_mount} s:none s:/ 0 {} 0; {SYS_openat} {here} s:/etc/proof {} 384; {SYS_unlinkat} {here} s:/etc/proof 0",
                MS_REMOUNT | MS_BIND,
                O_CREAT | O_WRONLY
            ),
            RIGHTS_OUTSIDE,
        ),
        Attack::of_calls("own_limits", &cgroups(), RIGHTS_OUTSIDE),
        Attack::of_calls("become_root", &format!("{SYS_setresuid} 0 0 0"), RIGHTS_ALONE),
        Attack::of_calls("go_first", &format!("{SYS_setpriority} {PRIO_PROCESS} 0 -20"), RIGHTS_ALONE),
        Attack::of_calls(
            "device",
            &format!(
                "{SYS_mknodat} {here} s:/tmp/zero {} {zero}; {SYS_openat} {here} s:/tmp/zero 0; {SYS_read} $ z:8 8",
                S_IFCHR | 0o600
            ),
            &["no-capabilities", "user-namespace", "harmless-mounts"],
        )
        .stopped_by_each_of(&["harmless-mounts"]),
        // A message that adds an address to the loopback device (header, family, prefix, index, one attribute); then the
        // address is used.
        Attack::of_calls(
            "own_addresses",
            &format!(
                "{SYS_socket} {AF_NETLINK} {SOCK_RAW} 0; {SYS_sendto} $ x:{} 32 0 0 0; \
                 {SYS_socket} {AF_INET} {SOCK_DGRAM} 0; {SYS_bind} $ x:{} 16",
                "20000000140005040100000000000000022000000100000008000200cb007105",
                "02000000cb0071050000000000000000"
            ),
            RIGHTS_ALONE,
        ),
    ]
}

/// Attacks that take more than calls.
fn programs() -> Vec<Attack> {
    let set_user = ["/usr/bin/su", "/bin/su", "/usr/bin/passwd", "/usr/bin/newgrp"];
    let kernel = ["/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory", "/proc/sysrq-trigger"];
    vec![
        Attack::new(
            "program_with_users_of_its_own",
            "program",
            json!({"command": ["unshare", "--user", "true"]}),
            FILTER,
        )
        .by(&[Language::Nodejs]),
        Attack::new(
            "program_with_mounts_of_its_own",
            "program",
            json!({"command": ["unshare", "--mount", "true"]}),
            RIGHTS_OUTSIDE,
        )
        .by(&[Language::Nodejs]),
        Attack::new(
            "set_user_program",
            "set_user_program",
            json!({"programs": set_user}),
            &["no-new-privileges", "call-filter", "harmless-mounts", "user-namespace"],
        )
        .stopped_by_each_of(&["no-new-privileges", "harmless-mounts"]),
        Attack::new("core_dump", "core_dump", json!({}), &["no-core-dumps", "call-filter"]),
        Attack::new("settings_of_the_kernel", "open_to_write", json!({"paths": kernel}), RIGHTS_ALONE),
    ]
}

/// Mounts the control groups and opens the file of the own limit of memory, in the version that is in use here.
fn cgroups() -> String {
    use libc::*;
    let is_version_2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let (kind, options, file) = if is_version_2 {
        ("cgroup2", "0", "memory.max")
    } else {
        ("cgroup", "s:memory", "memory.limit_in_bytes")
    };
    format!(
        "{SYS_mount} s:none s:/tmp s:{kind} 0 {options}; {SYS_openat} {AT_FDCWD} s:/tmp/{file} {O_WRONLY}"
    )
}

fn hex(words: &[u64]) -> String {
    words.iter().flat_map(|word| word.to_ne_bytes()).map(|byte| format!("{byte:02x}")).collect()
}

fn hex32(words: &[u32]) -> String {
    words.iter().flat_map(|word| word.to_ne_bytes()).map(|byte| format!("{byte:02x}")).collect()
}
