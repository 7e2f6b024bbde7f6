//! Cells whose program is born by a fork server: they are like all others, only sooner.

use chasen_entity::response::Answer;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::house::{PATIENCE, eventually, groups_of, test};
use crate::world::{Draft, Guest, PYTHON, World, texts};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("forked_programs_have_the_rights_and_surroundings_of_others", likeness),
        test("forked_programs_reach_neither_each_other_nor_their_server", separation),
        test("forked_programs_log_overlap_freeze_and_end_like_others", life),
        test("a_dead_fork_server_is_replaced", server_death),
        test("fork_servers_that_fail_are_done_without", failing_servers),
    ]
}

/// What a function finds out about itself. Names of namespaces differ from cell to cell: their kinds do not.
pub(crate) const SELF: &str = r#"
import os, resource, sys
usual = sorted(sys.modules)
import ctypes
def main(args):
    status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines())
    keep = ["Umask", "PPid", "TracerPid", "Uid", "Gid", "FDSize", "Groups", "NStgid", "Kthread", "CapInh", "CapPrm",
            "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Speculation_Store_Bypass",
            "SigBlk", "SigIgn", "SigCgt", "Threads", "Cpus_allowed", "Mems_allowed", "THP_enabled", "CoreDumping"]
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}
    own = "/proc/self/ns/"
    return {
        "status": {name: status[name] for name in keep if name in status and name not in ("NStgid", "FDSize")},
        "limits": limits,
        "fds": {fd: os.readlink("/proc/self/fd/" + fd).split(":")[0] for fd in os.listdir("/proc/self/fd") if int(fd) < 4},
        "others": sorted(fd for fd in os.listdir("/proc/self/fd") if int(fd) > 3)[1:],
        "inheritable": [os.get_inheritable(fd) for fd in range(4)],
        "groups": open("/proc/self/cgroup").read(),
        "shared": [name for name in os.listdir(own) if os.readlink(own + name) != os.readlink("/proc/1/ns/" + name)]
                  if os.access("/proc/1/ns/net", os.R_OK) else [],
        "mounts": sorted(" ".join(line.split()[3:6]) for line in open("/proc/self/mountinfo")),
        "nice": os.nice(0), "oom": open("/proc/self/oom_score_adj").read(), "cwd": os.getcwd(), "umask": os.umask(0o22),
        "environment": {name: value for name, value in os.environ.items() if not name.startswith("__OW_")},
        "argv": sys.argv, "path": sys.path, "flags": str(sys.flags), "modules": usual, "executable": sys.executable,
        "encodings": [sys.stdout.encoding, sys.stderr.errors, sys.stdin.read()], "main": str(sys.modules["__main__"]),
        "address": os.path.exists("/proc/self/environ") and len(open("/proc/self/environ", "rb").read()) > 0,
        "leader": os.getsid(0) == os.getpid() or os.getpgid(0) == os.getpid(),
        "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
        "user": [os.getuid(), os.getgid(), os.getgroups(), os.path.expanduser("~")],
        "owner": os.stat("/proc/self/mem").st_uid,
        # Dumpable, keeps capabilities, secure bits, parent's death, subreaper, timer slack, huge pages, speculation.
        "process": [ctypes.CDLL(None).prctl(option, *rest, 0, 0, 0, 0) for option, *rest in
                    [(3,), (7,), (27,), (37,), (30,), (39,), (42,), (52, 0), (52, 1)]],
    }
"#;

/// True if its program was born by a fork server.
pub(crate) async fn is_forked(guest: &Guest) -> bool {
    let code = r#"{"do":"forked"}"#;
    guest.result(code).await.contains("true")
}

/// A function that does as it is told, and tells whether it was forked.
pub(crate) const DOER: &str = r#"
import os, sys
def main(args):
    if args["do"] == "forked":
        return {"forked": "fork_server" in open("/proc/self/cmdline").read()}
    exec(args["do"], globals())
    return {"done": globals().get("answer")}
"#;

async fn world() -> World {
    World::open_with(|config| config.fork_server = true).await
}

/// A container of this draft whose program was forked: those before the server is up are not. `None` without Python.
async fn forked(world: &World, draft: impl Fn() -> Draft) -> Option<Guest> {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let probe = world.start(Draft::new(PYTHON, DOER)).await?;
        if is_forked(&probe).await {
            return world.start(draft()).await;
        }
        assert!(std::time::Instant::now() < deadline, "no program is ever forked");
    }
}

async fn likeness() {
    let plain = World::open().await;
    let Some(ordinary) = plain.start(Draft::new(PYTHON, SELF)).await else { return };
    let world = world().await;
    let born = forked(&world, || Draft::new(PYTHON, SELF)).await.unwrap();
    let mut views = Vec::new();
    for guest in [&ordinary, &born] {
        views.push(serde_json::from_str::<Value>(&guest.result("{}").await).unwrap());
    }
    let (ordinary, born) = (views[0].as_object().unwrap(), views[1].as_object().unwrap());
    assert!(ordinary.len() > 20, "{ordinary:?}");
    for (name, value) in ordinary {
        assert_eq!(&born[name], value, "{name}");
    }
}

async fn separation() {
    let world = world().await;
    let Some(one) = forked(&world, || Draft::new(PYTHON, DOER)).await else { return };
    let other = world.start(Draft::new(PYTHON, DOER)).await.unwrap();
    assert!(is_forked(&other).await);
    let view = r#"{"do":"own = '/proc/self/ns/'\nanswer = sorted(os.readlink(own + name) for name in ['user', 'pid', 'mnt', 'net', 'ipc', 'uts', 'cgroup'])"}"#;
    let names = |text: String| {
        let value: Value = serde_json::from_str(&text).unwrap();
        let names = value["done"].as_array().unwrap();
        names.iter().map(|name| name.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (ones, others) = (names(one.result(view).await), names(other.result(view).await));
    for (name, others_name) in ones.iter().zip(&others) {
        assert_ne!(name, others_name);
        let kind = name.split(':').next().unwrap();
        let hosts = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert_ne!(*name, hosts.display().to_string());
    }
    // Only the first process and the program itself are there to be seen.
    let seen = r#"{"do":"answer = sorted(name for name in os.listdir('/proc') if name.isdigit()) + [os.getpid(), os.getppid()]"}"#;
    assert_eq!(one.result(seen).await, r#"{"done":["1","3",3,1]}"#);
    let fds = r#"{"do":"answer = [os.readlink('/proc/self/fd/' + fd) for fd in os.listdir('/proc/self/fd') if fd not in '0123']"}"#;
    let text = one.result(fds).await;
    assert!(!text.contains("socket") && !text.contains("pidfd") && !text.contains("cgroup"), "{text}");
    // What one function leaves in its process is not in the next one's.
    one.result(r#"{"do":"sys.left = 'behind'; os.environ['LEFT'] = 'behind'"}"#).await;
    let next = world.start(Draft::new(PYTHON, DOER)).await.unwrap();
    let left = r#"{"do":"answer = [hasattr(sys, 'left'), 'LEFT' in os.environ]"}"#;
    assert_eq!(next.result(left).await, r#"{"done":[false,false]}"#);
    // Nor what chance gave it.
    let chance = r#"{"do":"import random, uuid; answer = [random.random(), str(uuid.uuid4())]"}"#;
    assert_ne!(one.result(chance).await, next.result(chance).await);
}

async fn life() {
    let world = world().await;
    let doer = || Draft::new(PYTHON, DOER).memory(128);
    let Some(guest) = forked(&world, doer).await else { return };
    let reply =
        guest.run(r#"{"do":"print('out'); print('err', file=sys.stderr); os.system('echo child')"}"#).await;
    let mut lines = texts(&reply);
    lines.sort_unstable();
    assert_eq!(lines, ["stderr: err", "stdout: child", "stdout: out"]);
    guest.container.freeze().await.unwrap();
    guest.container.thaw().await.unwrap();
    assert_eq!(guest.result(r#"{"do":"answer = 1"}"#).await, r#"{"done":1}"#);

    // Memory is charged to the cell, and its end is told as such.
    let reply = guest.run(r#"{"do":"answer = len(bytearray(os.urandom(1)) * (512 << 20))"}"#).await;
    assert_eq!(reply.answer, Answer::OutOfMemory);

    // The end of the program is the end of the cell.
    let guest = world.start(doer()).await.unwrap();
    let ended = guest.run(r#"{"do":"os._exit(4)"}"#).await;
    assert!(guest.text_of(&ended).contains("command exited"), "{ended:?}");
    guest.container.exited().await;

    // What hangs is ended at its limit.
    let guest = world.start(doer().timeout(3000)).await.unwrap();
    assert_eq!(guest.run(r#"{"do":"while True: pass"}"#).await.answer, Answer::TimedOut);

    // Children that are left behind have the first process to collect them, and go with the cell.
    let guest = world.start(doer()).await.unwrap();
    let orphan = r#"{"do":"answer = os.system('sleep 1000 >/dev/null 2>&1 &')"}"#;
    assert_eq!(guest.result(orphan).await, r#"{"done":0}"#);
    guest.container.stop().await;
    drop(guest);
    let id = &world.node_id;
    let gone = || groups_of(id).iter().all(|group| !group.to_string_lossy().contains("python"));
    eventually("the groups of all cells are gone", gone).await;
}

/// Fork servers of a world: children of whoever holds its folder's lock.
fn servers(world: &World) -> Vec<u32> {
    let folder = world.data.path();
    let is_helper = |pid: &str| {
        let held = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        held.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|file| file.starts_with(folder))
    };
    let is_server = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
        String::from_utf8_lossy(&line).contains("fork_server") && parent.is_some_and(is_helper)
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_server).collect()
}

async fn server_death() {
    let world = world().await;
    let Some(guest) = forked(&world, || Draft::new(PYTHON, DOER)).await else { return };
    let [server] = servers(&world)[..] else { panic!("not one server: {:?}", servers(&world)) };
    let pid = rustix::process::Pid::from_raw(i32::try_from(server).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    eventually("the server is gone", || !servers(&world).contains(&server)).await;
    // Its cells live on; the next ones start by themselves until there is another one.
    assert!(is_forked(&guest).await);
    assert!(forked(&world, || Draft::new(PYTHON, DOER)).await.is_some());
    assert_ne!(servers(&world), [server]);
}

/// Fork servers that end before they are ready, that refuse, and that die or say nonsense when they are asked.
async fn failing_servers() {
    let asked = "import socket\nhelper = socket.socket(fileno=3)\nhelper.send(b'\"Ready\"')\n";
    let answers = [
        "helper.recv(1 << 17)",
        "helper.send(b'{\"Refused\":{\"reason\":\"no\"}}')",
        "helper.send(b'what?')",
    ];
    let [ask, refuse, nonsense] = answers;
    for script in [
        "raise SystemExit('broken')".to_owned(),
        format!("{asked}while {ask}:\n    {refuse}\n"),
        format!("{asked}{ask}\n"),
        format!("{asked}{ask}\n{nonsense}\n{ask}\n"),
        format!("{asked}{refuse}\n{ask}\n"),
    ] {
        let world = World::open_with(|config| {
            config.fork_server = true;
            let folder = config.data_dir.join("failing");
            std::fs::create_dir_all(folder.join("python")).unwrap();
            let launcher = "python/launcher.py";
            std::fs::copy(config.runtimes_dir.join(launcher), folder.join(launcher)).unwrap();
            std::fs::write(folder.join("python/fork_server.py"), &script).unwrap();
            config.runtimes_dir = folder;
        })
        .await;
        for _ in 0..4 {
            let Some(guest) = world.start(Draft::new(PYTHON, DOER)).await else { return };
            assert!(!is_forked(&guest).await, "{script}");
        }
    }
}
