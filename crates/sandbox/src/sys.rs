//! The few system calls that no safe wrapper offers, each behind a safe or clearly marked function.
//!
//! Only the helper process and its children use them; the helper has a single thread, which every function that
//! makes or moves processes relies on.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use chasen_runtime::walls::{self, Wall};
use rustix::mount::MountAttrFlags;
use rustix::thread::UnshareFlags;

/// Namespaces into which every cell is born; that of control groups is made when it has entered its groups, so that
/// they are the top of all that it sees. That of the network is made beforehand, or with these.
pub(crate) fn cell_namespaces() -> c_int {
    let walled = [
        (Wall::UserNamespace, libc::CLONE_NEWUSER),
        (Wall::PidNamespace, libc::CLONE_NEWPID),
        (Wall::IpcNamespace, libc::CLONE_NEWIPC),
    ];
    let flags = walled.into_iter().filter_map(|(wall, flag)| walls::stand(wall).then_some(flag));
    flags.fold(libc::CLONE_NEWNS | libc::CLONE_NEWUTS, |all, flag| all | flag)
}

/// Lets `clone3` place the child in a control group; wider than the type that libc gives it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// On which side of a fork the caller finds itself.
#[derive(Debug)]
pub(crate) enum Fork {
    /// The old process: the child's number, and a descriptor that stands for it.
    Parent {
        /// The child's number as the caller sees it.
        pid: i32,
        /// Stands for the child, whatever becomes of the number.
        pidfd: OwnedFd,
    },
    /// The new process.
    Child,
}

/// Arguments of `clone3`, as the kernel lays them out.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks, with new namespaces as `flags` say, into the version 2 control group `cgroup` if given.
///
/// # Errors
/// What the kernel says.
pub(crate) fn fork(flags: c_int, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    let mut pidfd: c_int = -1;
    let mut args = CloneArgs {
        // The flags are single bits below 2^32; the mask keeps the sign of `c_int` out.
        flags: (flags as u64 & 0xffff_ffff) | libc::CLONE_PIDFD as u64,
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is valid for the call and of the stated size. Without CLONE_VM the child has its own copy of
    // the memory, and since this process has one thread no lock can be held by anybody else in that copy.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, ptr::from_mut(&mut args), size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => {
            // SAFETY: the kernel has stored a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Fork::Parent { pid: pid as i32, pidfd })
        }
    }
}

/// Forks by the old call, which the filter of a cell allows; gives the child's number, or nothing in the child.
///
/// # Errors
/// What the kernel says.
pub(crate) fn fork_in_cell() -> io::Result<Option<i32>> {
    // SAFETY: without CLONE_VM and with no stack given the child goes on with a copy of this process; this process
    // has one thread, so no lock can be held by anybody else in that copy. Only zeros follow, which makes the order
    // of the arguments, different on each architecture, irrelevant.
    match unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(libc::SIGCHLD), 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid as i32)),
    }
}

/// Leaves namespaces for new ones.
///
/// # Errors
/// What the kernel says.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the descriptor table is never among the flags used in this crate.
    unsafe { Ok(rustix::thread::unshare_unsafe(flags)?) }
}

/// Ends the process at once: no destructors, no buffers; for children that share their parent's state.
pub(crate) fn exit_now(code: c_int) -> ! {
    // SAFETY: `_exit` touches no memory.
    unsafe { libc::_exit(code) }
}

/// Sets attributes on a mount, and on all below it if `recursive`, and cuts it off from mounts made elsewhere.
///
/// # Errors
/// What the kernel says; [`io::ErrorKind::Unsupported`] before Linux 5.12.
pub(crate) fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    attributes: MountAttrFlags,
    recursive: bool,
) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: u64::from(attributes.bits()),
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    apply_attributes(mount, attr, flags)
}

/// Shows the files of an unattached mount as if they belonged to the users that `users`, a user namespace, maps their
/// owners to.
///
/// # Errors
/// What the kernel says; before Linux 5.12, and on disks that cannot do it, [`io::ErrorKind::InvalidInput`] or
/// [`io::ErrorKind::Unsupported`].
pub(crate) fn map_owners(mount: BorrowedFd<'_>, users: BorrowedFd<'_>) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(users.as_raw_fd().cast_unsigned()),
    };
    apply_attributes(mount, attr, libc::AT_EMPTY_PATH)
}

/// `mount_setattr` of an unattached mount.
fn apply_attributes(mount: BorrowedFd<'_>, mut attr: libc::mount_attr, flags: c_int) -> io::Result<()> {
    let empty: *const c_char = c"".as_ptr();
    // SAFETY: the path is a constant string and `attr` is valid for the call and of the stated size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            empty,
            flags,
            ptr::from_mut(&mut attr),
            size_of::<libc::mount_attr>(),
        )
    };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes every descriptor but those in `keep`.
///
/// # Safety
/// No owner of a closed descriptor may be used or dropped afterwards: only for a fresh child that leaves its
/// parent's state alone and ends with [`exit_now`] or an `exec`.
pub(crate) unsafe fn close_all_but(keep: &mut Vec<RawFd>) {
    keep.sort_unstable();
    keep.dedup();
    let mut from = 0;
    for fd in keep.iter().copied() {
        if fd > from {
            close_range(from, fd - 1, 0);
        }
        from = fd + 1;
    }
    close_range(from, RawFd::MAX, 0);
}

/// Lets an `exec` close every descriptor from this one on.
pub(crate) fn close_on_exec_from(first: RawFd) {
    close_range(first, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC as c_int);
}

fn close_range(first: RawFd, last: RawFd, flags: c_int) {
    // SAFETY: the call touches no memory; whether descriptors may go is for the callers above to know. It cannot
    // fail with valid flags on a supported kernel.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
}

/// Makes `number` another name of `fd`, one that stays open over `exec`.
///
/// # Safety
/// Whatever `number` named before is closed: its owner must not be used or dropped afterwards.
///
/// # Errors
/// What the kernel says.
pub(crate) unsafe fn place(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: the call touches no memory; the rest is for the caller to know.
    match unsafe { libc::dup2(fd.as_raw_fd(), number) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Gives every signal its default meaning: what is ignored here would stay ignored in the program.
pub(crate) fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL installs no code. The two signals that cannot be changed refuse, which is fine.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Ignores a signal in this process.
pub(crate) fn ignore_signal(signal: c_int) {
    // SAFETY: SIG_IGN installs no code.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Replaces this process by the program at `path`; returns only on failure.
pub(crate) fn exec(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| {
        strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect::<Vec<*const c_char>>()
    };
    let (arguments, environment) = (pointers(argv), pointers(env));
    // SAFETY: both lists end with a null pointer and their strings outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// An argument of a system call.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Argument {
    /// A number.
    Number(u64),
    /// The address of these bytes.
    Bytes(Vec<u8>),
    /// The address of a `sock_fprog` whose steps are these bytes.
    Filter(Vec<u8>),
}

/// Makes a system call of at most five arguments.
///
/// # Safety
/// The call must not write through its arguments, must read no more than what is there, and must not touch what
/// other code of this process relies on.
///
/// # Errors
/// What the kernel says.
pub(crate) unsafe fn call(number: libc::c_long, arguments: &[Argument]) -> io::Result<()> {
    let program = arguments.iter().find_map(|argument| match argument {
        Argument::Filter(steps) => Some(libc::sock_fprog {
            len: u16::try_from(steps.len() / size_of::<libc::sock_filter>()).unwrap_or(0),
            // The kernel reads them byte by byte, wherever they lie.
            filter: steps.as_ptr().cast_mut().cast(),
        }),
        _ => None,
    });
    let mut values = [0_u64; 5];
    for (value, argument) in values.iter_mut().zip(arguments) {
        *value = match argument {
            Argument::Number(number) => *number,
            Argument::Bytes(bytes) => bytes.as_ptr() as u64,
            Argument::Filter(_) => program.as_ref().map_or(0, |program| ptr::from_ref(program) as u64),
        };
    }
    let [a, b, c, d, e] = values;
    // SAFETY: the addresses are valid for the call; the rest is for the caller to know.
    match unsafe { libc::syscall(number, a, b, c, d, e) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Brings the loopback device of this network namespace up.
///
/// # Errors
/// What the kernel says.
pub(crate) fn raise_loopback() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = *byte as c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the request is a valid `ifreq` for the whole call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, ptr::from_mut(&mut request)) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
