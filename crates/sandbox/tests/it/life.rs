//! Starts, ends, and what is left behind: nothing, whoever dies.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use chasen_sandbox::cell::{CellSpec, ExitStatus};
use chasen_sandbox::helper::{Helper, HelperConfig, HelperLost, Mode, StartError};
use chasen_sandbox::root::RootSpec;
use libtest_mimic::Trial;

use crate::house::{House, PATIENCE, eventually, groups_of, own_exe, runtime, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("exit_codes_and_signals_are_told", exits),
        test("a_program_that_is_not_there_is_refused_by_name", missing_program),
        test("wrong_specifications_are_refused", wrong_specifications),
        test("a_root_with_a_missing_piece_is_refused_and_others_go_on", missing_piece),
        test("kill_leaves_nothing", kill),
        test("dropping_the_handle_kills", drop_kills),
        test("cancelled_start_leaves_nothing", cancelled_start),
        test("two_hundred_cells_leave_nothing", many),
        test("killed_node_leaves_nothing", killed_node),
        test("killed_helper_takes_its_cells_and_is_told", killed_helper),
        test("a_helper_that_hangs_is_killed_for_the_next_one", hanging_helper),
        test("next_helper_sweeps_what_the_last_one_left", next_helper),
        test("a_helper_that_does_not_come_up_leaves_nothing", broken_helper),
        test("two_nodes_do_not_touch_each_other", two_nodes),
    ]
}

fn is_alive(pid: u32) -> bool {
    // A zombie of somebody else is not alive.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// Processes below this one, at any depth.
fn descendants(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let mut all: Vec<u32> = children.split_whitespace().filter_map(|child| child.parse().ok()).collect();
    for child in all.clone() {
        all.extend(descendants(child));
    }
    all
}

fn kill_9(pid: u32) {
    assert!(Command::new("/bin/kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

async fn exits() {
    let house = House::open(Mode::Isolated).await;
    assert_eq!(house.start(&["exit", "7"]).await.cell.exited().await.status, ExitStatus::Code(7));
    let exit = house.start(&["abort"]).await.cell.exited().await;
    assert_eq!(exit.status, ExitStatus::Signal(libc::SIGABRT));
    assert!(!exit.oom);
    let guest = house.start(&["obey"]).await;
    assert_eq!(guest.cell.kill().await.unwrap().status, ExitStatus::Signal(libc::SIGKILL));
    // Again, and after the end, is the same.
    assert_eq!(guest.cell.kill().await.unwrap().status, ExitStatus::Signal(libc::SIGKILL));
}

async fn missing_program() {
    let house = House::open(Mode::Isolated).await;
    let outcome = house.start_with(&[], |spec| spec.argv = vec!["/usr/bin/not-there".to_owned()]).await;
    let Err(StartError::NotExecutable(reason)) = outcome else { panic!("started") };
    assert!(reason.contains("/usr/bin/not-there is not there"), "{reason}");
    eventually("only the node's groups remain", || house.groups().len() <= 5).await;
    assert_eq!(house.start(&["hello"]).await.all(), "x");
}

async fn wrong_specifications() {
    let house = House::open(Mode::Isolated).await;
    let living = house.start_with(&["obey"], |spec| spec.name = "same".to_owned()).await.unwrap();
    let same = house.start_with(&["obey"], |spec| spec.name = "same".to_owned()).await;
    assert!(matches!(same, Err(StartError::Refused(_))));
    drop(living);
    let wrong: [fn(&mut chasen_sandbox::cell::CellSpec); 7] = [
        |spec| spec.name = "../../escape".to_owned(),
        |spec| spec.name = String::new(),
        |spec| spec.argv = vec!["relative".to_owned()],
        |spec| spec.argv = Vec::new(),
        |spec| spec.env = vec![("A=B".to_owned(), "1".to_owned())],
        |spec| spec.argv.push("zero\0byte".to_owned()),
        |spec| spec.argv.push("x".repeat(1 << 20)),
    ];
    for (number, change) in wrong.into_iter().enumerate() {
        let outcome = house.start_with(&["obey"], change).await;
        assert!(matches!(outcome, Err(StartError::Invalid(_))), "case {number}");
    }
}

async fn missing_piece() {
    let house = House::open(Mode::Isolated).await;
    let root = Arc::new(RootSpec::host_system(&[]).with_bind("/not/there", "/opt/x"));
    let outcome = house.start_with(&["hello"], |spec| spec.root = root).await;
    let Err(StartError::Refused(reason)) = outcome else { panic!("started") };
    assert!(reason.contains("/not/there"), "{reason}");
    assert_eq!(house.start(&["hello"]).await.all(), "x");
}

async fn kill() {
    let house = House::open(Mode::Isolated).await;
    let before = house.groups();
    let mut bomb = house.start(&["forks", "50"]).await;
    assert_eq!(bomb.line(), "50");
    let mut below = descendants(bomb.cell.pid());
    assert_eq!(below.len(), 51);
    bomb.cell.kill().await.unwrap();
    assert!(below.into_iter().all(|pid| !is_alive(pid)));

    let mut guest = house
        .start_with(&[], |spec| {
            spec.argv = ["/bin/sh", "-c", "sleep 1000 & setsid sleep 1000 & echo up >&3; sleep 1000"]
                .map(str::to_owned)
                .to_vec();
        })
        .await
        .unwrap();
    assert_eq!(guest.line(), "up");
    below = Vec::new();
    eventually("the shell and its three children live", || {
        below = descendants(guest.cell.pid());
        below.len() >= 4
    })
    .await;
    assert!(house.groups().len() > before.len());
    guest.cell.kill().await.unwrap();
    assert!(below.into_iter().all(|pid| !is_alive(pid)));
    assert!(!is_alive(guest.cell.pid()));
    eventually("the groups are as before", || house.groups() == before).await;
}

async fn drop_kills() {
    let house = House::open(Mode::Isolated).await;
    let before = house.groups();
    let guest = house.start(&["obey"]).await;
    let pid = guest.cell.pid();
    assert!(is_alive(pid));
    drop(guest);
    eventually("the cell is gone", || !is_alive(pid) && house.groups() == before).await;
}

async fn cancelled_start() {
    let house = House::open(Mode::Isolated).await;
    let before = house.groups();
    for _ in 0..10 {
        let (spec, _stream) = house.spec(&["obey"]);
        let start = house.helper.start(spec);
        tokio::select! {
            biased;
            _ = start => panic!("cannot have been ready at once"),
            () = std::future::ready(()) => {}
        }
    }
    eventually("nothing is left", || house.groups() == before && descendants(house.helper.pid()).is_empty())
        .await;
}

async fn many() {
    let house = House::open(Mode::Isolated).await;
    let (groups, mounts) = (house.groups(), own_mounts(house.helper.pid()));
    let files = open_files(house.helper.pid());
    for _ in 0..20 {
        let mut guests = Vec::new();
        for _ in 0..10 {
            guests.push(house.start(&["obey"]).await);
        }
        for guest in &mut guests {
            assert_eq!(guest.line(), "ready");
            guest.cell.mount_code(house.data(), 1 << 20).await.unwrap();
        }
        for guest in guests {
            guest.cell.kill().await.unwrap();
        }
    }
    let helper = house.helper.pid();
    eventually("groups, mounts and processes are gone", || {
        house.groups() == groups && own_mounts(helper) <= mounts && descendants(helper).is_empty()
    })
    .await;
    // One more is the root's tree, which is kept.
    eventually("files are closed", || open_files(helper) <= files + 1).await;
}

/// How many mounts a process has that are not this one's: those of the machine come and go for everybody.
fn own_mounts(pid: u32) -> usize {
    let points = |process: &str| -> Vec<String> {
        let mounts = std::fs::read_to_string(format!("/proc/{process}/mounts")).unwrap();
        mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(str::to_owned).collect()
    };
    let (all, machine) = (points(&pid.to_string()), points("self"));
    all.iter().filter(|point| !machine.contains(point)).count()
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// The part of a node that is killed: starts cells of both kinds of program, tells their numbers, and waits.
pub(crate) fn doomed_node(data: &Path, node_id: &str, mode: Mode) {
    runtime().block_on(async {
        let house = House::open_at(data, node_id, mode).await;
        let one = house.start(&["obey"]).await;
        let two = house.start(&["forks", "20"]).await;
        let layer = data.join("layer");
        std::fs::create_dir(&layer).unwrap();
        one.cell.mount_code(&layer, 1 << 20).await.unwrap();
        let _waiting = match mode {
            Mode::Isolated => {
                let (spec, _) = house.spec(&["hello"]);
                Some(house.helper.prepare(CellSpec { files: Vec::new(), ..spec }).await.unwrap())
            }
            Mode::InsecureProcess => None,
        };
        println!("{} {} {}", house.helper.pid(), one.cell.pid(), two.cell.pid());
        std::future::pending::<()>().await;
    });
}

async fn killed_node() {
    for mode in [Mode::Isolated, Mode::InsecureProcess] {
        let data = tempfile::tempdir().unwrap();
        let node_id = format!("doomed{}-{}", std::process::id(), u8::from(mode == Mode::Isolated));
        let mut node = Command::new(own_exe())
            .args(["doomed-node", &data.path().display().to_string(), &node_id])
            .arg(if mode == Mode::Isolated { "isolated" } else { "plain" })
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(node.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Vec<u32> = line.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        let mut all = told.clone();
        all.extend(descendants(told[0]));
        assert!(all.len() >= 3, "{all:?}");
        assert_eq!(groups_of(&node_id).is_empty(), mode == Mode::InsecureProcess);
        node.kill().unwrap();
        node.wait().unwrap();
        eventually("every process is gone", || !all.iter().any(|pid| is_alive(*pid))).await;
        eventually("every group is gone", || groups_of(&node_id).is_empty()).await;
        let homes = || std::fs::read_dir(data.path().join("cells/plain")).into_iter().flatten().count();
        eventually("every folder is gone", || homes() == 0).await;
    }
}

async fn killed_helper() {
    let house = House::open(Mode::Isolated).await;
    let one = house.start(&["obey"]).await;
    let two = house.start(&["forks", "20"]).await;
    let all = descendants(house.helper.pid());
    assert!(all.len() >= 4);
    kill_9(house.helper.pid());
    tokio::time::timeout(PATIENCE, house.helper.lost()).await.unwrap();
    assert_eq!(one.cell.exited().await.status, ExitStatus::Lost);
    let killed = two.cell.kill().await;
    assert!(matches!(killed, Err(HelperLost::Ended)), "{killed:?}");
    eventually("every cell is gone", || !all.iter().any(|pid| is_alive(*pid))).await;
    let (spec, _stream) = house.spec(&["obey"]);
    assert!(matches!(house.helper.start(spec).await, Err(StartError::Helper(HelperLost::Ended))));
    house.next_helper().await.close().await.unwrap();
}

async fn hanging_helper() {
    let data = tempfile::tempdir().unwrap();
    let node_id = format!("hanging{}", std::process::id());
    // With a node's patience, which has to run out.
    let house = House::open_at(data.path(), &node_id, Mode::Isolated).await;
    let guest = house.start(&["obey"]).await;
    let all = descendants(house.helper.pid());
    let pid = house.helper.pid().to_string();
    assert!(Command::new("/bin/kill").args(["-STOP", &pid]).status().unwrap().success());
    house.helper.close().await.unwrap();
    assert_eq!(guest.cell.exited().await.status, ExitStatus::Lost);
    eventually("every cell is gone", || !all.iter().any(|pid| is_alive(*pid))).await;
    let config = HelperConfig::new(Mode::Isolated, data.path(), &node_id);
    Helper::spawn(&own_exe(), config).await.unwrap().close().await.unwrap();
}

async fn next_helper() {
    let house = House::open(Mode::Isolated).await;
    let guest = house.start(&["obey"]).await;
    let left_name = format!("/{}", guest.cell.name());
    kill_9(house.helper.pid());
    house.helper.lost().await;
    let left =
        || house.groups().iter().filter(|path| path.display().to_string().ends_with(&left_name)).count();
    assert!(left() > 0);
    let next = house.next_helper().await;
    assert_eq!(left(), 0);
    let (spec, _stream) = house.spec(&["obey"]);
    next.start(spec).await.unwrap().kill().await.unwrap();
    next.close().await.unwrap();
    eventually("all groups of the node are gone", || house.groups().is_empty()).await;
}

async fn broken_helper() {
    let data = tempfile::tempdir().unwrap();
    let node_id = format!("broken{}", std::process::id());
    for exe in ["/not/there", "/bin/true"] {
        let config = HelperConfig::new(Mode::Isolated, data.path(), &node_id);
        let outcome = Helper::spawn(Path::new(exe), config).await;
        let error = outcome.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("sandbox helper"), "{error}");
        assert!(groups_of(&node_id).is_empty());
    }
}

async fn two_nodes() {
    let (one, other) = (House::open(Mode::Isolated).await, House::open(Mode::Isolated).await);
    let mut guest = other.start(&["obey"]).await;
    assert_eq!(guest.line(), "ready");
    one.start(&["obey"]).await;
    one.helper.close().await.unwrap();
    eventually("the first node's groups are gone", || one.groups().is_empty()).await;
    guest.say("ping");
    assert_eq!(guest.line(), "ok pong");
}
