//! Actions that break rules: each ends its own activation, and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chasen_entity::response::Answer;
use libtest_mimic::Trial;

use crate::house::test;
use crate::world::{Draft, Guest, NATIVE, NODE, PYTHON, World, texts};

/// Less than the usual time limit, on however busy a machine: what has ended is not waited for until then.
const SOON: Duration = Duration::from_secs(40);

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("an_endless_run_is_killed_at_its_limit", run_timeout),
        test("an_endless_initialisation_is_killed_at_its_limit", init_timeout),
        test("memory_exhaustion_is_named", out_of_memory),
        test("an_end_without_an_answer_is_gone", exits),
        test("an_end_while_initialising_is_told_in_the_kinds_words", init_exits),
        test("a_flood_of_logs_is_cut_and_costs_little", log_flood),
        test("no_logs_are_kept_at_a_limit_of_zero", no_logs),
        test("too_long_an_answer_is_cut_and_the_container_goes_on", too_long),
        test("forged_frames_end_the_container", forged),
        test("a_closed_connection_ends_the_container", closed),
        test("killing_the_launcher_ends_the_container", parent_killed),
        test("a_fork_bomb_stays_inside", fork_bomb),
        test("a_fork_bomb_that_outlives_its_run_is_ended", bomb_left_behind),
        test("a_full_scratch_folder_harms_nobody_else", full_tmp),
        test("output_that_never_ends_does_not_hold_the_answer_back", background_output),
    ]
}

async fn run_timeout() {
    let world = World::open().await;
    for (kind, code) in [
        (NODE, "function main() { console.log('before'); while (true) {} }"),
        (PYTHON, "def main(args):\n  print('before')\n  while True: pass"),
        (NATIVE, "#!/bin/sh\necho before >&2\nsleep 1000"),
    ] {
        let Some(guest) = world.start(Draft::new(kind, code).timeout(2000)).await else { continue };
        let begun = Instant::now();
        let reply = guest.run("{}").await;
        assert_eq!(reply.answer, Answer::TimedOut, "{kind}");
        assert!(reply.duration >= Duration::from_secs(2) && begun.elapsed() < SOON, "{kind}");
        assert!(texts(&reply).iter().any(|line| line.ends_with("before")), "{kind}: {:?}", reply.logs);
        guest.container.exited().await;
    }
}

async fn init_timeout() {
    let world = World::open().await;
    for (kind, code) in [(NODE, "while (true) {}"), (PYTHON, "while True: pass")] {
        let Some(guest) = world.create(Draft::new(kind, code).timeout(500)).await else { continue };
        let reply = guest.init().await;
        assert_eq!(reply.answer, Answer::TimedOut, "{kind}");
        guest.container.exited().await;
    }
}

async fn out_of_memory() {
    let world = World::open().await;
    for (kind, code) in [
        (NODE, "function main() { const a = []; while (true) a.push(Buffer.alloc(1 << 20, 1)) }"),
        (PYTHON, "def main(args):\n  a = []\n  while True: a.append(b'x' * (1 << 20))"),
        (NATIVE, "#!/bin/sh\nhead -c 1000000000 /dev/zero | tail -c 900000000\necho '{'"),
    ] {
        let Some(guest) = world.start(Draft::new(kind, code).memory(128)).await else { continue };
        assert_eq!(guest.run("{}").await.answer, Answer::OutOfMemory, "{kind}");
    }
}

/// What kinds of the one-line protocol say about an end without an answer.
fn exited() -> Answer {
    Answer::Refused(br#"{"error":"command exited"}"#.to_vec())
}

async fn exits() {
    let world = World::open().await;
    for (kind, code) in [
        (NODE, "function main() { console.log('bye'); process.exit(3) }"),
        (PYTHON, "import os\ndef main(args):\n  print('bye', flush=True)\n  os._exit(3)"),
        (
            PYTHON,
            "import os, signal\ndef main(args):\n  print('bye', flush=True)\n  os.kill(os.getpid(), signal.SIGSEGV)",
        ),
    ] {
        let Some(guest) = world.start(Draft::new(kind, code)).await else { continue };
        let begun = Instant::now();
        let reply = guest.run("{}").await;
        assert_eq!(reply.answer, if kind == NODE { Answer::Gone } else { exited() }, "{kind}");
        assert!(begun.elapsed() < SOON, "{kind}");
        assert_eq!(texts(&reply), ["stdout: bye"], "{kind}");
        guest.container.exited().await;
        let sent = AtomicBool::new(false);
        let again = guest.run_telling("{}", &|| sent.store(true, Ordering::Relaxed)).await;
        assert_eq!(
            (again.answer, sent.into_inner()),
            (Answer::Gone, false),
            "{kind}: nothing is sent to the dead"
        );
    }
}

async fn init_exits() {
    let world = World::open().await;
    let not_started = br#"{"error":"Cannot start action. Check logs for details."}"#.to_vec();
    for (kind, code, answer) in [
        (NODE, "console.log('bye'); process.exit(0)", Answer::Gone),
        (PYTHON, "import os\nprint('bye', flush=True)\nos._exit(0)", Answer::Refused(not_started)),
    ] {
        let Some(guest) = world.create(Draft::new(kind, code)).await else { continue };
        let reply = guest.init().await;
        assert_eq!((&reply.answer, texts(&reply)), (&answer, vec!["stdout: bye"]), "{kind}");
    }
}

async fn log_flood() {
    let world = World::open().await;
    let mut draft =
        Draft::new(NATIVE, "#!/bin/sh\nhead -c 1000000000 /dev/zero >&2\necho '{}'").timeout(300_000);
    draft.limits.logs = 1;
    let guest = world.start(draft).await.unwrap();
    let begun = Instant::now();
    let reply = guest.run("{}").await;
    println!("1 GB of log: {:?}", begun.elapsed());
    assert_eq!(reply.answer, Answer::Ok(b"{}".to_vec()));
    let bytes: usize = reply.logs.iter().map(|line| line.len() + 1).sum();
    assert!(bytes <= (1 << 20) + 200, "{bytes}");
    let last = reply.logs.last().unwrap();
    assert!(
        last.ends_with(
            "stderr: Logs were truncated because the total bytes size exceeds the limit of 1048576 bytes."
        ),
        "{last}"
    );
    assert_eq!(guest.result("{}").await, "{}");
}

async fn no_logs() {
    let world = World::open().await;
    let mut draft = Draft::new(NATIVE, "#!/bin/sh\nhead -c 10000000 /dev/zero\necho\necho '{}'");
    draft.limits.logs = 0;
    let guest = world.start(draft).await.unwrap();
    let reply = guest.run("{}").await;
    assert_eq!((reply.answer, reply.logs.len()), (Answer::Ok(b"{}".to_vec()), 0));
}

async fn too_long() {
    let world = World::open().await;
    for (kind, code) in [
        (NODE, "function main({ n }) { return { s: 'x'.repeat(n) } }"),
        (PYTHON, "def main(args): return {'s': 'x' * args['n']}"),
        (
            NATIVE,
            "#!/bin/sh\nn=$(printf '%s' \"$1\" | tr -dc 0-9)\nprintf '{\"s\":\"'\nhead -c $n /dev/zero | tr '\\0' x\nprintf '\"}'",
        ),
    ] {
        let Some(guest) = world.start(Draft::new(kind, code)).await else { continue };
        let at_bound = (1 << 20) - 8;
        assert!(
            matches!(guest.run(&format!(r#"{{"n":{at_bound}}}"#)).await.answer, Answer::Ok(body) if body.len() == 1 << 20),
            "{kind}"
        );
        match guest.run(r#"{"n":5000000}"#).await.answer {
            Answer::TooLong { length, kept } => {
                assert_eq!((length, kept.len()), (5_000_008, 1 << 20), "{kind}");
                assert!(kept.starts_with(br#"{"s":"xxx"#));
            }
            other => panic!("{kind}: {other:?}"),
        }
        assert_eq!(guest.result(r#"{"n":1}"#).await, r#"{"s":"x"}"#, "{kind} is in step");
    }
}

async fn python(world: &World, body: &str) -> Option<Guest> {
    let code = format!(
        "import os, struct, sys, threading, time\ndef main(args):\n  {}\n  return {{}}",
        body.replace('\n', "\n  ")
    );
    world.start(Draft::new(PYTHON, code)).await
}

async fn forged() {
    let world = World::open().await;
    // A frame for an activation that is not there; one without a kind; one that announces 4 GiB; endless bytes.
    for forgery in [
        "os.write(3, struct.pack('>IB', 19, 5) + bytes(16) + b'{}')",
        "os.write(3, struct.pack('>IB', 17, 99) + bytes(16))",
        "os.write(3, b'\\xff' * 100)",
        "while True: os.write(3, bytes(65536))",
    ] {
        let Some(guest) = python(&world, forgery).await else { return };
        let begun = Instant::now();
        assert_eq!(guest.run("{}").await.answer, exited(), "{forgery}");
        assert!(begun.elapsed() < SOON, "{forgery}");
    }
    // Its own id it knows, so that it can only answer for itself; the launcher's answer is one too many then.
    let own = "import binascii\nos.write(3, struct.pack('>IB', 26, 5) + binascii.unhexlify(os.environ['__OW_ACTIVATION_ID']) + b'{\"x\": 1 }')";
    let Some(guest) = python(&world, own).await else { return };
    assert_eq!(guest.result("{}").await, r#"{"x": 1 }"#);
    assert_eq!(guest.run("{}").await.answer, exited());
}

async fn closed() {
    let world = World::open().await;
    let Some(guest) = python(&world, "os.close(3)\ntime.sleep(1000)").await else { return };
    let begun = Instant::now();
    assert_eq!(guest.run("{}").await.answer, exited());
    assert!(begun.elapsed() < SOON);
    guest.container.stop().await;
}

async fn parent_killed() {
    let world = World::open().await;
    let guest = world.start(Draft::new(NATIVE, "#!/bin/sh\nkill -9 $PPID\necho '{}'")).await.unwrap();
    assert_eq!(guest.run("{}").await.answer, Answer::Gone);
    guest.container.exited().await;
}

async fn fork_bomb() {
    let world = World::open().await;
    let other = world.start(Draft::new(NATIVE, "#!/bin/sh\necho '{}'")).await.unwrap();
    let bomb = world
        .start(Draft::new(NATIVE, "#!/bin/sh\nb() { b | b & }; b\nexec sleep 1000").timeout(1500))
        .await
        .unwrap();
    let (reply, ()) = tokio::join!(bomb.run("{}"), async {
        assert_eq!(other.result("{}").await, "{}");
    });
    // Its time, its memory or its processes run out, whichever is first.
    assert!(!reply.keeps_container(), "{reply:?}");
    bomb.container.stop().await;
    assert_eq!(other.result("{}").await, "{}");
}

async fn bomb_left_behind() {
    let world = World::open().await;
    let code = "#!/bin/sh\nb() { b | b & }; [ -e /tmp/once ] || { touch /tmp/once; b; }\necho '{}'";
    // Room for all that may be forked before the answer is out: nothing is to be ended for memory.
    let guest = world.start(Draft::new(NATIVE, code).memory(1024)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(guest.run("{}").await.answer, Answer::Ok(b"{}".to_vec()));
    }
}

async fn full_tmp() {
    let world = World::open().await;
    let code = "#!/bin/sh\nfor folder in /tmp /action; do head -c 500000000 /dev/zero > $folder/f; ls -s $folder/f; rm $folder/f; done 2>&1\necho '{}'";
    let guest = world.start(Draft::new(NATIVE, code)).await.unwrap();
    let reply = guest.run("{}").await;
    assert_eq!(reply.answer, Answer::Ok(b"{}".to_vec()), "{:?}", reply.logs);
    let full = reply.logs.iter().filter(|line| line.contains("No space left")).count();
    assert_eq!(full, 2, "{:?}", reply.logs);
    assert_eq!(guest.result("{}").await, "{}");
}

async fn background_output() {
    let world = World::open().await;
    let body = "def flood():\n  while True: print('x' * 50)\nthreading.Thread(target=flood, daemon=True).start()\ntime.sleep(0.1)";
    let Some(guest) = python(&world, body).await else { return };
    for _ in 0..3 {
        let begun = Instant::now();
        let reply = guest.run("{}").await;
        assert_eq!(reply.answer, Answer::Ok(b"{}".to_vec()));
        assert!(begun.elapsed() < SOON);
    }
}
