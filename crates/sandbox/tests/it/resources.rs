//! What runs in real cells are told to have used.

use std::time::Duration;

use chasen_entity::ByteSize;
use chasen_entity::response::Answer;
use chasen_sandbox::helper::Mode;
use chasen_spi::RunReply;
use libtest_mimic::Trial;

use crate::house::test;
use crate::world::{Draft, NATIVE, World};

/// Fills memory and hashes it, or naps; as a child of the launcher.
const SCRIPT: &str = "#!/bin/sh\ncase \"$1\" in\n\
    *work*) head -c 67108864 /dev/zero > /tmp/kept; i=0\n\
      while [ $i -lt 8 ]; do sha512sum /tmp/kept > /tmp/sum; i=$((i + 1)); done;;\n\
    *hoard*) tail -n 1 /dev/zero || true;;\n*fail*) exit 1;;\n*) sleep 0.1;;\nesac\necho '{}'\n";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("runs_are_told_what_they_used", runs),
        test("runs_that_share_a_container_are_told_no_time", shared),
        test("what_memory_ran_out_for_is_told_once", hoards),
        test("plain_processes_are_not_measured", plain),
    ]
}

fn peak(reply: &RunReply) -> u64 {
    reply.used.peak_memory.unwrap_or_else(|| panic!("no peak: {reply:?}")).as_bytes()
}

fn time(reply: &RunReply) -> Duration {
    reply.used.cpu_time.unwrap_or_else(|| panic!("no time: {reply:?}"))
}

async fn runs() {
    let world = World::open().await;
    let guest = world.start(Draft::new(NATIVE, SCRIPT)).await.unwrap();
    let works = guest.run(r#"{"do":"work"}"#).await;
    assert_eq!(works.answer, Answer::Ok(b"{}".to_vec()));
    assert!(time(&works) > Duration::from_millis(100), "{works:?}");
    assert!((64 << 20..256 << 20).contains(&peak(&works)), "{works:?}");
    let naps = guest.run("{}").await;
    // However slow the machine, a nap takes less of it than work.
    assert!(time(&naps) < time(&works) && naps.duration > Duration::from_millis(100), "{naps:?}");
    assert!(peak(&naps) >= peak(&works), "it is the container's: {naps:?}");
    assert!(!works.used.out_of_memory && !naps.used.out_of_memory);
}

async fn shared() {
    let world = World::open().await;
    let Some(guest) =
        world.start(Draft::new(crate::world::NODE, "function main() { return {} }").concurrency(4)).await
    else {
        return;
    };
    let reply = guest.run("{}").await;
    assert!(reply.used.cpu_time.is_none() && peak(&reply) > 1 << 20, "{reply:?}");
}

/// Version 1 ends the child alone, version 2 the whole cell.
async fn hoards() {
    let world = World::open().await;
    let guest = world.start(Draft::new(NATIVE, SCRIPT).memory(128)).await.unwrap();
    let hoards = guest.run(r#"{"do":"hoard"}"#).await;
    assert!(hoards.used.out_of_memory, "{hoards:?}");
    let limit = ByteSize::mb(128).as_bytes();
    assert!((limit - (1 << 20)..=limit).contains(&peak(&hoards)), "{hoards:?}");
    if hoards.answer == Answer::OutOfMemory {
        return;
    }
    assert_eq!(hoards.answer, Answer::Ok(b"{}".to_vec()));
    let naps = guest.run("{}").await;
    assert!(!naps.used.out_of_memory, "{naps:?}");
    let fails = guest.run(r#"{"do":"fail"}"#).await;
    assert_ne!(fails.answer, Answer::OutOfMemory, "it failed by itself");
    assert!(!fails.used.out_of_memory, "{fails:?}");
}

async fn plain() {
    let world = World::open_with(|config| config.mode = Mode::InsecureProcess).await;
    let guest = world.start(Draft::new(NATIVE, SCRIPT)).await.unwrap();
    let reply = guest.run("{}").await;
    assert_eq!(reply.used, chasen_entity::ResourceUse::default());
}
