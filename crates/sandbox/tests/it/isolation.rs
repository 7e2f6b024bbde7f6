//! What a cell can see and may do.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use chasen_sandbox::cell::CellNetwork;
use chasen_sandbox::helper::Mode;
use libtest_mimic::Trial;

use crate::house::{House, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("every_namespace_is_the_cells_own", namespaces),
        test("world_is_what_the_specification_says", world),
        test("system_is_read_only_and_the_host_is_out_of_sight", file_system),
        test("only_the_cells_own_processes_are_seen", processes),
        test("no_right_is_left_or_can_be_gained", rights),
        test("scratch_folders_are_bounded", scratch),
        test("hostile_system_calls_fail", calls),
        test("loopback_works_and_is_the_only_device", loopback),
        test("prepared_network_is_joined_and_not_owned", prepared_network),
        test("every_cell_has_a_user_of_its_own", users),
        test("languages_of_the_host_find_what_they_need", languages),
    ]
}

fn links(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, link)| (name.to_owned(), link.to_owned()))
        .collect()
}

async fn namespaces() {
    let house = House::open(Mode::Isolated).await;
    let inside = links(&house.start(&["namespaces"]).await.all());
    for name in ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"] {
        let own = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(inside[name], own.display().to_string(), "{name}");
    }
    let groups = house.start(&["read", "/proc/self/cgroup"]).await.all();
    assert!(!groups.contains("chasen"), "a cell sees where its groups are: {groups}");
}

async fn world() {
    let house = House::open(Mode::Isolated).await;
    let text = house.start(&["world"]).await.all();
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        ["pid 2", "cwd /", "hostname cell", "env GREETING=hello", "files [0, 1, 2, 3]"]
    );
}

async fn file_system() {
    let house = House::open(Mode::Isolated).await;
    let top = house.start(&["list", "/"]).await.all();
    for name in top.split(' ') {
        assert!(
            [
                "action", "bin", "dev", "etc", "lib", "lib32", "lib64", "opt", "proc", "sbin", "tmp", "usr",
                "var"
            ]
            .contains(&name),
            "{name} is not expected in {top}"
        );
    }
    let paths =
        ["/x", "/usr/x", "/usr/bin/env", "/etc/passwd", "/etc/x", "/action/x", "/dev/x", "/opt/payload"];
    let mut part = vec!["try-write"];
    part.extend(paths);
    for line in house.start(&part).await.all().lines() {
        let (path, outcome) = line.split_once(": ").unwrap();
        assert!(["EROFS", "EACCES"].contains(&outcome), "{path} could be written: {outcome}");
    }
    let writable = house.start(&["try-write", "/tmp/x", "/dev/shm/x", "/dev/null", "/var/tmp/y"]).await.all();
    assert!(writable.lines().all(|line| line.ends_with(": ok")), "{writable}");
    let hidden =
        ["/etc/shadow", "/root", "/home", "/sys", "/etc/ssl/private", "/dev/vda", "/dev/kmsg", "/boot"];
    let mut part = vec!["try-read"];
    part.extend(hidden);
    let outcome = house.start(&part).await.all();
    assert!(outcome.lines().all(|line| line.ends_with(": ENOENT")), "{outcome}");
    let passwd = house.start(&["read", "/etc/passwd"]).await.all();
    assert!(passwd.contains("action:x:1000:1000"));
    let kernel = ["/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"];
    let mut part = vec!["try-write"];
    part.extend(kernel);
    let outcome = house.start(&part).await.all();
    assert!(outcome.lines().all(|line| !line.ends_with(": ok")), "{outcome}");
}

async fn processes() {
    let house = House::open(Mode::Isolated).await;
    let listing = house.start(&["list", "/proc"]).await.all();
    let numbers: Vec<&str> = listing.split(' ').filter(|name| name.parse::<u32>().is_ok()).collect();
    assert_eq!(numbers, ["1", "2"]);
    let first = ["/proc/1/mem", "/proc/1/environ", "/proc/1/maps"];
    let mut part = vec!["try-read"];
    part.extend(first);
    let outcome = house.start(&part).await.all();
    assert!(outcome.lines().all(|line| line.ends_with(": EACCES")), "{outcome}");
    assert_eq!(house.start(&["orphan"]).await.line(), "collected");
}

async fn rights() {
    let house = House::open(Mode::Isolated).await;
    for process in ["/proc/self/status", "/proc/1/status"] {
        let status = house.start(&["read", process]).await.all();
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
        };
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{set} of {process}");
        }
        assert_eq!(field("NoNewPrivs:"), "1");
        assert_eq!(field("Seccomp:"), "2");
        assert_eq!(field("Uid:"), "1000\t1000\t1000\t1000");
        assert_eq!(field("Gid:"), "1000\t1000\t1000\t1000");
        assert_eq!(field("Groups:"), "");
    }
}

async fn scratch() {
    let house = House::open(Mode::Isolated).await;
    let bytes: usize = 8 << 20;
    let mut guest =
        house.start_with(&["fill", "/tmp/x"], |spec| spec.limits.tmp_bytes = bytes as u64).await.unwrap();
    assert_eq!(guest.line(), format!("{bytes} ENOSPC"));
    let mut guest =
        house.start_with(&["fill", "/dev/shm/x"], |spec| spec.limits.tmp_bytes = bytes as u64).await.unwrap();
    assert_eq!(guest.line(), format!("{bytes} ENOSPC"));
}

async fn calls() {
    let house = House::open(Mode::Isolated).await;
    let text = house.start(&["calls"]).await.all();
    let allowed = ["tcp socket", "udp socket 6", "route socket", "personality query"];
    let mut seen = 0;
    for line in text.lines() {
        let (call, outcome) = line.split_once(": ").unwrap();
        let expected = match call {
            "clone3" => "ENOSYS",
            call if allowed.contains(&call) => "ok",
            _ => "EPERM",
        };
        assert_eq!(outcome, expected, "{call}");
        seen += 1;
    }
    assert!(seen > 60, "only {seen} calls were tried");
}

async fn loopback() {
    let house = House::open(Mode::Isolated).await;
    assert_eq!(house.start(&["loopback"]).await.line(), "connected lo");
}

async fn prepared_network() {
    let house = House::open(Mode::Isolated).await;
    let network = std::thread::spawn(new_network).join().unwrap();
    let name =
        std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&network))).unwrap();
    let network = Arc::new(network);
    let own = std::fs::read_link(format!("/proc/{}/ns/net", house.helper.pid())).unwrap();
    for _ in 0..2 {
        let mut guest = house
            .start_with(&["namespaces"], |spec| spec.network = CellNetwork::Prepared(Arc::clone(&network)))
            .await
            .unwrap();
        assert_eq!(links(&guest.all())["net"], name.display().to_string());
        let after = std::fs::read_link(format!("/proc/{}/ns/net", house.helper.pid())).unwrap();
        assert_eq!(after, own, "the helper stayed in the cell's network");
    }
}

/// Makes a network namespace on a thread that ends with it.
#[allow(unsafe_code)]
fn new_network() -> OwnedFd {
    // SAFETY: only this thread, which ends with this function, changes its namespace.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
    std::fs::File::open("/proc/thread-self/ns/net").unwrap().into()
}

async fn users() {
    let house = House::open(Mode::Isolated).await;
    let (one, other) = (house.start(&["obey"]).await, house.start(&["obey"]).await);
    let owner = |pid: u32| {
        let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
        map.split_whitespace().map(|number| number.parse::<u32>().unwrap()).collect::<Vec<_>>()
    };
    let (one, other) = (owner(one.cell.pid()), owner(other.cell.pid()));
    assert_eq!((one[0], one[2]), (1000, 1));
    assert!(one[1] >= 200_000);
    assert_ne!(one[1], other[1]);
}

/// One program of the host that stresses what its language needs: threads, children, timers, local sockets.
async fn language(program: &str, script: &[&str]) {
    if !std::path::Path::new(program).exists() {
        println!("skipped: this machine has no {program}");
        return;
    }
    let house = House::open(Mode::Isolated).await;
    let mut guest = house
        .start_with(&[], |spec| {
            spec.argv = [program].iter().chain(script).map(|word| (*word).to_owned()).collect();
            spec.env =
                vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned()), ("HOME".to_owned(), "/tmp".to_owned())];
            spec.limits.memory = 512 << 20;
        })
        .await
        .unwrap();
    assert_eq!(guest.all(), "fine\n", "{program}: {:?}", guest.cell.exited().await);
}

async fn languages() {
    let node = "const { Worker } = require('worker_threads'), http = require('http'), fs = require('fs');
        const { execFileSync } = require('child_process');
        new Worker('require(\"worker_threads\").parentPort.postMessage(1)', { eval: true }).on('message', () => {
            const server = http.createServer((_, reply) => reply.end('x')).listen(0, '127.0.0.1', () =>
                http.get({ port: server.address().port }, reply => reply.on('data', () => {
                    fs.writeFileSync('/tmp/a', execFileSync('/bin/echo', ['x']));
                    fs.promises.readFile('/tmp/a').then(() => { fs.writeSync(3, 'fine\\n'); process.exit(0); });
                })));
        });";
    language("/usr/bin/node", &["-e", node]).await;
    let python = "import os, socket, subprocess, tempfile, threading, multiprocessing, asyncio
threads = [threading.Thread(target=lambda: None) for _ in range(8)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
assert subprocess.check_output(['/bin/echo', 'x']) == b'x\\n'
server = socket.create_server(('127.0.0.1', 0)); socket.create_connection(server.getsockname())
tempfile.TemporaryFile().write(b'x'); multiprocessing.Queue().put(1)
asyncio.run(asyncio.sleep(0.001))
os.write(3, b'fine\\n')";
    language("/usr/bin/python3", &["-c", python]).await;
    for (program, call) in [
        ("/usr/bin/java", "/usr/bin/java -Xmx64m -XshowSettings:system -version"),
        ("/usr/local/go/bin/go", "/usr/local/go/bin/go version"),
    ] {
        if std::path::Path::new(program).exists() {
            language(
                "/bin/sh",
                &["-c", &format!("{call} > /tmp/log 2>&1 && echo fine >&3 || cat /tmp/log >&3")],
            )
            .await;
        } else {
            println!("skipped: this machine has no {program}");
        }
    }
    language("/bin/sh", &["-c", "(sleep 0.01; echo x) | cat > /tmp/a && echo fine >&3"]).await;
    language("/usr/bin/perl", &["-e", "open(my $o, '>&=', 3); fork or exit; wait; print $o \"fine\\n\""])
        .await;
}
