//! The program inside a cell: one small part per test, answering on descriptor 3.
#![allow(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// Runs the part named first.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    // SAFETY: every cell of these tests is started with a stream as descriptor 3, and nothing else here takes it.
    let mut out = unsafe { UnixStream::from_raw_fd(3) };
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["read", path] => fs::read_to_string(path).and_then(|text| write!(out, "{text}")),
        ["list", path] => list(&mut out, path),
        ["try-read", paths @ ..] => attempts(&mut out, paths, |path| File::open(path).map(drop)),
        ["try-write", paths @ ..] => attempts(&mut out, paths, |path| {
            OpenOptions::new().write(true).create(true).truncate(true).open(path).map(drop)
        }),
        ["world"] => world(&mut out),
        ["namespaces"] => namespaces(&mut out),
        ["fill", path] => fill(&mut out, path),
        ["calls"] => calls(&mut out),
        ["files"] => files(&mut out),
        ["forks", count] => forks(&mut out, count.parse().unwrap_or(0)),
        ["orphan"] => orphan(&mut out),
        ["memory", bytes] => memory(&mut out, bytes.parse().unwrap_or(0)),
        ["spin"] => spin(&mut out),
        ["loopback"] => loopback(&mut out),
        ["hello"] => out.write_all(b"x"),
        ["exit", code] => return ExitCode::from(code.parse::<u8>().unwrap_or(0)),
        ["abort"] => std::process::abort(),
        ["obey"] => obey(&out),
        _ => return ExitCode::from(99),
    };
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(98) }
}

fn list(out: &mut UnixStream, path: &str) -> io::Result<()> {
    let mut names: Vec<String> =
        fs::read_dir(path)?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    write!(out, "{}", names.join(" "))
}

/// `path: error name` per line, `ok` where it worked.
fn attempts(
    out: &mut UnixStream,
    paths: &[&str],
    attempt: impl Fn(&str) -> io::Result<()>,
) -> io::Result<()> {
    for path in paths {
        let outcome = attempt(path).map_or_else(|error| name_of(&error), |()| "ok".to_owned());
        writeln!(out, "{path}: {outcome}")?;
    }
    Ok(())
}

fn name_of(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => "EPERM".to_owned(),
        Some(libc::ENOSYS) => "ENOSYS".to_owned(),
        Some(libc::EROFS) => "EROFS".to_owned(),
        Some(libc::EACCES) => "EACCES".to_owned(),
        Some(libc::ENOENT) => "ENOENT".to_owned(),
        Some(libc::ENOSPC) => "ENOSPC".to_owned(),
        Some(libc::EMFILE) => "EMFILE".to_owned(),
        Some(libc::EAGAIN) => "EAGAIN".to_owned(),
        other => format!("errno {other:?}"),
    }
}

fn world(out: &mut UnixStream) -> io::Result<()> {
    writeln!(out, "pid {}", std::process::id())?;
    writeln!(out, "cwd {}", std::env::current_dir()?.display())?;
    writeln!(out, "hostname {}", fs::read_to_string("/proc/sys/kernel/hostname")?.trim())?;
    for (name, value) in std::env::vars() {
        writeln!(out, "env {name}={value}")?;
    }
    let mut numbers: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .collect();
    numbers.sort_unstable();
    // The last one is the listing itself.
    numbers.pop();
    writeln!(out, "files {numbers:?}")
}

fn namespaces(out: &mut UnixStream) -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/ns")?.flatten() {
        let link = fs::read_link(entry.path())?;
        writeln!(out, "{} {}", entry.file_name().to_string_lossy(), link.display())?;
    }
    Ok(())
}

/// Writes until there is no room; tells how many bytes went in, and the error.
fn fill(out: &mut UnixStream, path: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    let block = vec![1_u8; 1 << 16];
    let mut written = 0;
    loop {
        match file.write(&block) {
            Ok(count) => written += count,
            Err(error) => return writeln!(out, "{written} {}", name_of(&error)),
        }
    }
}

/// `family call: error` per line, for calls that no cell may make.
fn calls(out: &mut UnixStream) -> io::Result<()> {
    let mut attempt = |name: &str, number: libc::c_long, arguments: [libc::c_long; 5]| {
        let [a, b, c, d, e] = arguments;
        // SAFETY: every call below is refused before the kernel looks at its arguments, or has harmless ones.
        let result = unsafe { libc::syscall(number, a, b, c, d, e) };
        let outcome = if result == -1 { name_of(&io::Error::last_os_error()) } else { "ok".to_owned() };
        writeln!(out, "{name}: {outcome}")
    };
    let none = [0; 5];
    for (name, number) in [
        ("mount", libc::SYS_mount),
        ("umount2", libc::SYS_umount2),
        ("pivot_root", libc::SYS_pivot_root),
        ("chroot", libc::SYS_chroot),
        ("fsopen", libc::SYS_fsopen),
        ("fsmount", libc::SYS_fsmount),
        ("move_mount", libc::SYS_move_mount),
        ("open_tree", libc::SYS_open_tree),
        ("mount_setattr", libc::SYS_mount_setattr),
        ("ptrace", libc::SYS_ptrace),
        ("process_vm_readv", libc::SYS_process_vm_readv),
        ("process_vm_writev", libc::SYS_process_vm_writev),
        ("pidfd_getfd", libc::SYS_pidfd_getfd),
        ("bpf", libc::SYS_bpf),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("keyctl", libc::SYS_keyctl),
        ("add_key", libc::SYS_add_key),
        ("request_key", libc::SYS_request_key),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("io_uring_enter", libc::SYS_io_uring_enter),
        ("io_uring_register", libc::SYS_io_uring_register),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("kexec_load", libc::SYS_kexec_load),
        ("kexec_file_load", libc::SYS_kexec_file_load),
        ("init_module", libc::SYS_init_module),
        ("finit_module", libc::SYS_finit_module),
        ("delete_module", libc::SYS_delete_module),
        ("setns", libc::SYS_setns),
        ("open_by_handle_at", libc::SYS_open_by_handle_at),
        ("name_to_handle_at", libc::SYS_name_to_handle_at),
        ("reboot", libc::SYS_reboot),
        ("swapon", libc::SYS_swapon),
        ("settimeofday", libc::SYS_settimeofday),
        ("sethostname", libc::SYS_sethostname),
        ("syslog", libc::SYS_syslog),
        ("acct", libc::SYS_acct),
        ("clone3", libc::SYS_clone3),
    ] {
        attempt(name, number, none)?;
    }
    let long = libc::c_long::from;
    for flag in [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ] {
        attempt(&format!("unshare {flag:#x}"), libc::SYS_unshare, [long(flag), 0, 0, 0, 0])?;
        attempt(&format!("clone {flag:#x}"), libc::SYS_clone, [long(flag | libc::SIGCHLD), 0, 0, 0, 0])?;
    }
    for (name, family, kind, protocol) in [
        ("raw socket", libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        ("raw socket 6", libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6),
        ("ping socket", libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
        ("packet socket", libc::AF_PACKET, libc::SOCK_RAW, 0),
        ("vsock socket", libc::AF_VSOCK, libc::SOCK_STREAM, 0),
        ("alg socket", libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
        ("netfilter socket", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER),
    ] {
        attempt(name, libc::SYS_socket, [long(family), long(kind), long(protocol), 0, 0])?;
    }
    attempt("personality", libc::SYS_personality, [0x0040_0000, 0, 0, 0, 0])?;
    attempt("TIOCSTI", libc::SYS_ioctl, [0, libc::TIOCSTI as libc::c_long, 0, 0, 0])?;
    // With garbage above the 32 bits that the kernel reads.
    attempt("TIOCSTI wide", libc::SYS_ioctl, [0, libc::TIOCSTI as libc::c_long | 1 << 40, 0, 0, 0])?;
    for (name, family, kind, protocol) in [
        ("tcp socket", libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, libc::IPPROTO_TCP),
        ("udp socket 6", libc::AF_INET6, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, 0),
        ("route socket", libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE),
    ] {
        attempt(name, libc::SYS_socket, [long(family), long(kind), long(protocol), 0, 0])?;
    }
    attempt("personality query", libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0])
}

/// How many more files could be opened, and the error of the next one.
fn files(out: &mut UnixStream) -> io::Result<()> {
    let mut open = Vec::new();
    let error = loop {
        match File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(error) => break error,
        }
    };
    writeln!(out, "{} {}", open.len(), name_of(&error))
}

/// Forks children that stay; tells how many there were room for, and stays as well.
fn forks(out: &mut UnixStream, count: usize) -> io::Result<()> {
    let (mut born, mut refused) = (0, 0);
    // After so many refusals in a row the next thousands would say nothing new.
    while born < count && refused < 500 {
        // SAFETY: this process has one thread; the child only waits to be killed.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: waiting touches no memory.
                unsafe { libc::pause() };
            },
            -1 => refused += 1,
            _ => (born, refused) = (born + 1, 0),
        }
    }
    writeln!(out, "{born}")?;
    io::copy(out, &mut io::sink()).map(drop)
}

/// Leaves a grandchild behind, which the cell's first process must collect; tells when no zombie is left.
fn orphan(out: &mut UnixStream) -> io::Result<()> {
    // SAFETY: this process has one thread, and the children exit at once.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            if libc::fork() == 0 {
                libc::usleep(20_000);
            }
            libc::_exit(0);
        }
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
    loop {
        let processes = fs::read_dir("/proc")?
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
            .count();
        if processes == 2 {
            return writeln!(out, "collected");
        }
        std::thread::yield_now();
    }
}

fn memory(out: &mut UnixStream, bytes: usize) -> io::Result<()> {
    let mut block = vec![0_u8; bytes];
    for page in block.chunks_mut(4096) {
        page[0] = 1;
    }
    writeln!(out, "{}", std::hint::black_box(&block).len())
}

fn spin(out: &mut UnixStream) -> io::Result<()> {
    writeln!(out, "spinning")?;
    loop {
        std::hint::spin_loop();
    }
}

fn loopback(out: &mut UnixStream) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    TcpStream::connect(listener.local_addr()?)?;
    let mut devices = String::new();
    for line in fs::read_to_string("/proc/net/dev")?.lines().skip(2) {
        devices.push_str(line.split(':').next().unwrap_or_default().trim());
    }
    writeln!(out, "connected {devices}")
}

/// Does what each line asks, until the stream ends.
fn obey(stream: &UnixStream) -> io::Result<()> {
    let mut out = stream.try_clone()?;
    writeln!(out, "ready")?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let outcome = match words.as_slice() {
            ["read", path] => fs::read_to_string(path),
            ["write", path, text] => fs::write(path, text).map(|()| String::new()),
            ["append", path, text] => OpenOptions::new()
                .append(true)
                .open(path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map(|()| String::new()),
            ["remove", path] => fs::remove_file(path).map(|()| String::new()),
            ["mkdir", path] => fs::create_dir(path).map(|()| String::new()),
            ["exists", path] => Ok(fs::exists(path)?.to_string()),
            ["fill", path, most] => fill_up_to(path, most.parse().unwrap_or(0)),
            ["run", path] => std::process::Command::new(path)
                .output()
                .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            ["ping"] => Ok("pong".to_owned()),
            _ => Ok("what?".to_owned()),
        };
        match outcome {
            Ok(text) => writeln!(out, "ok {text}")?,
            Err(error) => writeln!(out, "{}", name_of(&error))?,
        }
    }
    Ok(())
}

fn fill_up_to(path: &str, most: usize) -> io::Result<String> {
    File::create(path)?.write_all(&vec![1; most]).map(|()| String::new())
}
