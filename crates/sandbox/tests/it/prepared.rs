//! Cells that wait for their files: like all others once they have them, and gone with whoever keeps them.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Instant;

use chasen_sandbox::cell::{CellSpec, ExitStatus};
use chasen_sandbox::helper::{Mode, PreparedCell, StartError};
use chasen_spi::container_factory::ContainerFactory;
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::forks::{DOER, SELF, is_forked};
use crate::house::{Guest, House, PATIENCE, eventually, groups_of, test};
use crate::world::{Draft, PYTHON, World};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a_prepared_cell_is_like_others_once_it_has_its_files", files_come),
        test("a_prepared_cell_has_no_program_and_goes_when_nobody_needs_it", nobody_needs_it),
        test("a_prepared_cell_ends_if_its_program_is_not_there", missing_program),
        test("prepared_cells_end_with_their_helper", killed_helper),
        test("plain_processes_are_not_prepared", plain),
        test("starts_take_prepared_cells_and_leave_them_like_others", starts_take_them),
        test("prepared_cells_of_forked_programs_are_forked_already", forked),
        test("no_start_depends_on_prepared_cells", do_without),
    ]
}

/// A cell that waits to run this part of the payload, and the files that it waits for.
async fn prepare(
    house: &House,
    part: &[&str],
) -> (PreparedCell, Vec<OwnedFd>, std::os::unix::net::UnixStream) {
    let (spec, stream) = house.spec(part);
    let CellSpec { files, .. } = spec;
    let (bare, _) = house.spec(part);
    let bare = CellSpec { files: Vec::new(), ..bare };
    (house.helper.prepare(bare).await.unwrap(), files, stream)
}

async fn files_come() {
    let house = House::open(Mode::Isolated).await;
    let (prepared, files, stream) = prepare(&house, &["hello"]).await;
    assert!(prepared.is_waiting());
    let cell = prepared.begin(&files).unwrap();
    drop(files);
    let mut guest = Guest::new(cell, stream);
    assert_eq!(guest.all(), "x");
    assert_eq!(guest.cell.exited().await.status, ExitStatus::Code(0));
    let (prepared, files, _stream) = prepare(&house, &["exit", "7"]).await;
    assert_eq!(prepared.begin(&files).unwrap().exited().await.status, ExitStatus::Code(7));
}

async fn nobody_needs_it() {
    let house = House::open(Mode::Isolated).await;
    let before = house.groups().len();
    let (prepared, _files, _stream) = prepare(&house, &["hello"]).await;
    assert!(house.groups().len() > before);
    prepared.end().await;
    assert_eq!(house.groups().len(), before);
    let (prepared, _files, _stream) = prepare(&house, &["hello"]).await;
    drop(prepared);
    eventually("its groups are gone", || house.groups().len() == before).await;
}

async fn missing_program() {
    let house = House::open(Mode::Isolated).await;
    let (spec, _stream) = house.spec(&[]);
    let spec = CellSpec { files: Vec::new(), argv: vec!["/usr/bin/not-there".to_owned()], ..spec };
    let prepared = house.helper.prepare(spec).await.unwrap();
    let cell = prepared.begin(&[OwnedFd::from(File::open("/dev/null").unwrap())]).unwrap();
    assert_ne!(cell.exited().await.status, ExitStatus::Code(0));
    let (spec, _stream) = house.spec(&[]);
    assert!(matches!(house.helper.prepare(spec).await, Err(StartError::Invalid(_))), "it has files already");
}

async fn killed_helper() {
    let house = House::open(Mode::Isolated).await;
    let (prepared, files, _stream) = prepare(&house, &["hello"]).await;
    let (late, late_files, _stream) = prepare(&house, &["obey"]).await;
    kill_process(Pid::from_raw(house.helper.pid().cast_signed()).unwrap(), Signal::KILL).unwrap();
    house.helper.lost().await;
    assert!(!prepared.is_waiting());
    // Whether that is noticed at once or not, the cell is told to have ended.
    if let Ok(cell) = late.begin(&late_files) {
        assert_eq!(cell.exited().await.status, ExitStatus::Lost);
    }
    drop((prepared, files));
    house.next_helper().await.close().await.unwrap();
}

async fn plain() {
    let house = House::open(Mode::InsecureProcess).await;
    let (spec, _stream) = house.spec(&["hello"]);
    let spec = CellSpec { files: Vec::new(), ..spec };
    assert!(matches!(house.helper.prepare(spec).await, Err(StartError::Invalid(_))));
}

async fn world(change: impl FnOnce(&mut chasen_sandbox::factory::SandboxConfig)) -> World {
    World::open_with(|config| {
        config.prepared_cells = 2;
        change(config);
    })
    .await
}

/// The names of all cells of a world, prepared ones included.
fn cells(world: &World) -> HashSet<String> {
    let groups = groups_of(&world.node_id).into_iter();
    groups
        .filter_map(|group| Some(group.file_name()?.to_str()?.to_owned()))
        .filter(|name| !name.starts_with("chasen-"))
        .collect()
}

/// Waits until so many cells are there.
async fn until(world: &World, count: usize) {
    eventually("cells are prepared", || cells(world).len() == count).await;
}

async fn starts_take_them() {
    let plain = World::open().await;
    let Some(ordinary) = plain.start(Draft::new(PYTHON, SELF)).await else { return };
    let world = world(|_| {}).await;
    assert!(cells(&world).is_empty(), "nothing is prepared before it is needed");
    let draft = || Draft::new(PYTHON, SELF);
    let first = world.start(draft()).await.unwrap();
    // One is ready when the next one can be seen.
    until(&world, 3).await;
    let waiting = cells(&world);
    let guest = world.start(draft()).await.unwrap();
    assert!(waiting.contains(guest.container.name()), "{} is not of {waiting:?}", guest.container.name());
    until(&world, 4).await;
    // Nor does what an idle start holds up last.
    let other = world.create(draft()).await.unwrap();
    until(&world, 5).await;
    // Another amount of memory is another shape.
    let smaller = world.start(draft().memory(128)).await.unwrap();
    assert!(!waiting.contains(smaller.container.name()));
    let mut views = Vec::new();
    for guest in [&ordinary, &guest] {
        views.push(serde_json::from_str::<Value>(&guest.result("{}").await).unwrap());
    }
    for (name, value) in views[0].as_object().unwrap() {
        assert_eq!(&views[1][name], value, "{name}");
    }
    drop((first, guest, other, smaller));
    world.factory.close().await;
    eventually("no group is left", || groups_of(&world.node_id).is_empty()).await;
}

async fn forked() {
    let world = world(|config| config.fork_server = true).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let waiting = cells(&world);
        let Some(guest) = world.start(Draft::new(PYTHON, DOER)).await else { return };
        if is_forked(&guest).await && waiting.contains(guest.container.name()) {
            let seen = r#"{"do":"answer = [sorted(name for name in os.listdir('/proc') if name.isdigit()), os.listdir('/proc/self/fd')[:-1]]"}"#;
            assert_eq!(guest.result(seen).await, r#"{"done":[["1","3"],["0","1","2","3"]]}"#);
            break;
        }
        assert!(Instant::now() < deadline, "no prepared cell is ever forked");
        guest.container.stop().await;
        drop(guest);
        until(&world, 2).await;
    }
    world.factory.close().await;
    eventually("no group is left", || groups_of(&world.node_id).is_empty()).await;
}

/// Prepared cells that die, alone or with their helper, are not missed.
async fn do_without() {
    let world = world(|_| {}).await;
    let draft = || Draft::new(PYTHON, DOER);
    let Some(guest) = world.start(draft()).await else { return };
    until(&world, 3).await;
    let helper = helper_of(&world);
    let end_all = || {
        for cell in children(helper) {
            // Ended meanwhile is as good.
            let _ = kill_process(cell, Signal::KILL);
        }
        cells(&world).is_empty()
    };
    eventually("they are gone", end_all).await;
    drop(guest);
    // One that was taken before its end was known is noticed by the start, and nodes try those twice.
    let second = || async {
        match world.try_create(draft()).await {
            Ok(guest) => guest,
            Err(_) => world.try_create(draft()).await.unwrap(),
        }
    };
    let next = second().await;
    until(&world, 3).await;
    kill_process(helper, Signal::KILL).unwrap();
    next.container.exited().await;
    let _last = second().await;
    until(&world, 3).await;
}

/// The process that holds the lock of a world's folder.
fn helper_of(world: &World) -> Pid {
    let folder = world.data.path();
    let holds = |pid: &u32| {
        let held = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut files = held.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        files.any(|file| file.starts_with(folder) && file.ends_with("helper.lock"))
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pid = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(holds).unwrap();
    Pid::from_raw(pid.cast_signed()).unwrap()
}

fn children(pid: Pid) -> Vec<Pid> {
    let pid = pid.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)).collect()
}
