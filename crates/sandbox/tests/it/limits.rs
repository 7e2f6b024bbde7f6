//! What a cell may use, and what happens when it wants more.

use std::time::{Duration, Instant};

use chasen_entity::ByteSize;
use chasen_sandbox::cell::ExitStatus;
use chasen_sandbox::helper::Mode;
use libtest_mimic::Trial;

use crate::house::{House, eventually, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a_thousand_files_and_not_one_more", files),
        test("fork_bomb_is_contained", fork_bomb),
        test("memory_limit_ends_the_program_and_is_told", memory),
        test("scratch_counts_as_memory", scratch_is_memory),
        test("a_child_ended_for_memory_is_told_of_a_living_cell", oom_of_child),
        test("frozen_cell_uses_no_processor_and_goes_on_when_thawed", freeze),
        test("freezing_costs_microseconds", freeze_cost),
        test("usage_is_measured", usage),
    ]
}

async fn files() {
    let house = House::open(Mode::Isolated).await;
    // Four are open before the count starts.
    assert_eq!(house.start(&["files"]).await.line(), "1020 EMFILE");
}

async fn fork_bomb() {
    let house = House::open(Mode::Isolated).await;
    // Room in memory for all of them, so that it is the number that ends the growth.
    let mut guest = house.start_with(&["forks", "10000"], |spec| spec.limits.memory = 1 << 30).await.unwrap();
    // Of 1024, the first process and the program itself are two.
    assert_eq!(guest.line(), "1022");
    guest.cell.kill().await.unwrap();
}

async fn memory() {
    let house = House::open(Mode::Isolated).await;
    let mut guest = house
        .start_with(&["memory", &(200 << 20).to_string()], |spec| spec.limits.memory = 64 << 20)
        .await
        .unwrap();
    let exit = guest.cell.exited().await;
    assert_eq!(exit.status, ExitStatus::Signal(libc::SIGKILL));
    assert!(exit.oom);
    assert!(guest.cell.oom_killed());
    assert!(exit.usage.memory_peak > 60 << 20, "{:?}", exit.usage);
    assert_eq!(guest.all(), "");

    let mut guest = house.start(&["memory", &(64 << 20).to_string()]).await;
    assert_eq!(guest.line(), (64 << 20).to_string());
    assert!(!guest.cell.exited().await.oom);
}

async fn scratch_is_memory() {
    let house = House::open(Mode::Isolated).await;
    let guest = house
        .start_with(&["fill", "/tmp/x"], |spec| {
            spec.limits.memory = 32 << 20;
            spec.limits.tmp_bytes = 256 << 20;
        })
        .await
        .unwrap();
    assert!(guest.cell.exited().await.oom);
}

async fn oom_of_child() {
    let house = House::open(Mode::Isolated).await;
    let mut guest = house
        .start_with(&["shell"], |spec| {
            let script = "/opt/payload payload memory 209715200; echo survived >&3; read line <&3";
            spec.argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
            spec.limits.memory = 64 << 20;
        })
        .await
        .unwrap();
    // On version 2 the whole cell goes at once, so that the answer may be its end.
    let _ = guest.line();
    eventually("the kill is counted", || guest.cell.oom_killed()).await;
}

async fn freeze() {
    let house = House::open(Mode::Isolated).await;
    let mut guest = house.start(&["spin"]).await;
    assert_eq!(guest.line(), "spinning");
    guest.cell.freeze().unwrap();
    let mut last = guest.cell.usage().cpu_ns;
    eventually("the processor time stands still", || {
        std::thread::sleep(Duration::from_millis(20));
        let now = guest.cell.usage().cpu_ns;
        std::mem::replace(&mut last, now) == now
    })
    .await;
    guest.cell.thaw().unwrap();
    eventually("the processor time goes on", || guest.cell.usage().cpu_ns > last + 1_000_000).await;
    guest.cell.freeze().unwrap();
    // A frozen cell can be ended like any other.
    guest.cell.kill().await.unwrap();
    assert!(guest.cell.freeze().is_err());

    let mut guest = house.start(&["obey"]).await;
    assert_eq!(guest.line(), "ready");
    guest.cell.freeze().unwrap();
    guest.cell.thaw().unwrap();
    guest.say("ping");
    assert_eq!(guest.line(), "ok pong");
}

async fn freeze_cost() {
    let house = House::open(Mode::Isolated).await;
    let mut guest = house.start(&["obey"]).await;
    assert_eq!(guest.line(), "ready");
    let mut costs: Vec<Duration> = (0..101)
        .map(|_| {
            let before = Instant::now();
            guest.cell.freeze().unwrap();
            guest.cell.thaw().unwrap();
            before.elapsed()
        })
        .collect();
    costs.sort_unstable();
    let median = costs[50];
    println!("freeze and thaw, p50: {median:?}");
    // Generous, for busy machines and version 1 freezers; the figure that counts comes from the bench.
    assert!(costs[0] < Duration::from_millis(2), "{median:?}, and {:?} at best", costs[0]);
}

async fn usage() {
    let house = House::open(Mode::Isolated).await;
    let mut guest = house.start(&["obey"]).await;
    assert_eq!(guest.line(), "ready");
    guest.say("fill /tmp/x 16777216");
    assert_eq!(guest.line(), "ok");
    let usage = guest.cell.usage();
    assert!(usage.memory_now > 16 << 20, "{usage:?}");
    assert!(usage.memory_peak >= usage.memory_now, "{usage:?}");
    assert!(usage.cpu_ns > 0, "{usage:?}");
    let limit = ByteSize::mb(256);
    let reading = guest.cell.reading(limit);
    assert_eq!(reading.peak_memory.map(ByteSize::as_bytes), Some(usage.memory_peak));
    assert!(reading.cpu_time >= Some(Duration::from_nanos(usage.cpu_ns)), "{reading:?} {usage:?}");
    assert_eq!(reading.kills, Some(0));
    let mut costs: Vec<Duration> = (0..101)
        .map(|_| {
            let before = Instant::now();
            let _ = guest.cell.reading(limit);
            before.elapsed()
        })
        .collect();
    costs.sort_unstable();
    println!("reading what was used, p50: {:?}", costs[50]);
    guest.cell.kill().await.unwrap();
    let last = guest.cell.reading(limit);
    assert!(last.peak_memory >= reading.peak_memory && last.cpu_time >= reading.cpu_time, "{last:?}");
}
