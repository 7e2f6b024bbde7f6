//! Activations that are in one container at the same time.

use std::sync::Arc;
use std::time::Duration;

use chasen_entity::ExecutableAction;
use chasen_entity::response::Answer;
use chasen_spi::container_factory::RunReply;
use futures_util::future::{join, join_all};
use libtest_mimic::Trial;

use crate::house::test;
use crate::world::{Draft, Guest, NODE, World, texts};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("runs_that_overlap_have_their_own_logs", own_logs),
        test("what_nobody_can_be_blamed_for_goes_to_the_next_that_ends", strays),
        test("frames_that_a_function_forges_hurt_itself_alone", forged),
        test("the_end_of_the_process_ends_all_that_overlap", exit),
        test("a_time_limit_ends_all_that_overlap", time_limit),
        test("memory_that_runs_out_ends_all_that_overlap", memory),
    ]
}

/// Prints at the beginning, lets go when `all` are in, prints again.
const MEET: &str = "let here = []; async function main({ n, all }) { console.log('begin', n); \
    await new Promise((go) => { here.push(go); if (here.length === all) here.forEach((one) => one()) }); \
    console.error('end', n); return { n } }";

async fn own_logs() {
    const ALL: usize = 120;
    let world = World::open().await;
    let Some(guest) = world.start(Draft::new(NODE, MEET).concurrency(200)).await else { return };
    let runs = (0..ALL).map(|n| {
        let guest = &guest;
        async move {
            let reply = guest.run(&format!(r#"{{"n":{n},"all":{ALL}}}"#)).await;
            assert_eq!(guest.text_of(&reply), format!(r#"{{"n":{n}}}"#));
            assert_eq!(texts(&reply), [format!("stdout: begin {n}"), format!("stderr: end {n}")]);
            assert!(reply.logs.is_sorted_by_key(|line| &line[..30]));
        }
    });
    join_all(runs).await;
    guest.container.freeze().await.unwrap();
    guest.container.thaw().await.unwrap();
    assert_eq!(guest.result(r#"{"n":0,"all":121}"#).await, r#"{"n":0}"#, "it goes on");
}

async fn strays() {
    let world = World::open().await;
    let code = "require('fs').writeSync(1, 'loading\\n'); const { execSync } = require('child_process'); \
        function main({ n }) { console.log('own', n); execSync('echo child', { stdio: 'inherit' }); \
        setTimeout(() => console.log('late', n), 1); return { n } }";
    let Some(guest) = world.start(Draft::new(NODE, code).concurrency(2)).await else { return };
    let first = guest.run(r#"{"n":1}"#).await;
    // On a busy machine it may not be that late.
    let mut lines: Vec<&str> = texts(&first).into_iter().filter(|line| !line.contains("late")).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["stdout: child", "stdout: loading", "stdout: own 1"]);
    let second = guest.run(r#"{"n":2}"#).await;
    let lines: Vec<&str> = texts(&second).into_iter().filter(|line| !line.contains("late")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
}

/// Writes frames by itself: `count` of this kind, for this id, or for its own.
const FORGE: &str = "const fs = require('fs'); function main({ kind, id, count, length }) { \
    const payload = Buffer.alloc(length ?? 10, 'x'); payload[0] = 1; \
    const frame = Buffer.alloc(21 + payload.length); frame.writeUInt32BE(17 + payload.length); frame[4] = kind; \
    frame.write(id ?? process.env.__OW_ACTIVATION_ID, 5, 'hex'); payload.copy(frame, 21); \
    for (let n = 0; n < count;) { try { fs.writeSync(3, frame); n++ } catch (e) { if (e.code !== 'EAGAIN') throw e } } \
    return { count } }";

async fn forged() {
    let world = World::open().await;
    let unknown = "77".repeat(16);
    for (frames, survives) in [
        (format!(r#"{{"kind":7,"id":"{unknown}","count":20000}}"#), true),
        (r#"{"kind":7,"count":20000}"#.to_owned(), true),
        (format!(r#"{{"kind":7,"id":"{unknown}","count":1,"length":100000}}"#), false),
        (format!(r#"{{"kind":5,"id":"{unknown}","count":1}}"#), false),
        (format!(r#"{{"kind":3,"id":"{unknown}","count":1}}"#), false),
        (format!(r#"{{"kind":99,"id":"{unknown}","count":1}}"#), false),
    ] {
        let mut draft = Draft::new(NODE, FORGE).concurrency(5);
        draft.limits.logs = 1;
        let Some(guest) = world.start(draft).await else { return };
        let reply = guest.run(&frames).await;
        assert_eq!(matches!(reply.answer, Answer::Ok(_)), survives, "{frames}: {:?}", reply.answer);
        assert!(reply.logs.iter().map(String::len).sum::<usize>() <= 1 << 20, "{frames}");
        guest.container.stop().await;
    }
}

/// Waits for ever, or ends the process once `all` are there.
const FALL: &str = "let here = 0; function main({ n, all }) { here++; console.log('run', n); \
    if (here === all) setTimeout(() => process.exit(7), 5); return new Promise(() => {}) }";

async fn exit() {
    const ALL: usize = 60;
    let world = World::open().await;
    let Some(guest) = world.start(Draft::new(NODE, FALL).concurrency(100)).await else { return };
    let runs = (0..ALL).map(|n| {
        let guest = &guest;
        async move {
            let reply = guest.run(&format!(r#"{{"n":{n},"all":{ALL}}}"#)).await;
            assert_eq!(reply.answer, Answer::Gone);
            assert_eq!(texts(&reply), [format!("stdout: run {n}")], "what was printed before is kept");
        }
    });
    join_all(runs).await;
    guest.container.exited().await;
    assert_eq!(guest.run_telling("{}", &|| panic!("it is sent")).await.answer, Answer::Gone);
    guest.container.stop().await;
}

async fn time_limit() {
    let world = World::open().await;
    let draft = Draft::new(NODE, FALL).concurrency(100).timeout(60_000);
    let Some(guest) = world.start(draft).await else { return };
    let others = join_all((0..20).map(|n| {
        let guest = &guest;
        async move { guest.run(&format!(r#"{{"n":{n},"all":0}}"#)).await }
    }));
    let (overdue, others) = join(run_within(&guest, 700), others).await;
    assert_eq!(overdue.answer, Answer::TimedOut);
    assert!(overdue.duration < Duration::from_secs(30));
    for other in others {
        assert_eq!(other.answer, Answer::Gone, "none waits for its own limit");
    }
    guest.container.exited().await;
    guest.container.stop().await;
}

async fn memory() {
    const ALL: usize = 10;
    let world = World::open().await;
    let code = "let here = 0; function main({ all }) { \
        if (++here === all) setTimeout(() => { for (const kept = [];;) kept.push(Buffer.alloc(8 << 20, 1)) }, 5); \
        return new Promise(() => {}) }";
    let Some(guest) = world.start(Draft::new(NODE, code).concurrency(100).memory(128)).await else { return };
    let replies = join_all((0..ALL).map(|_| {
        let guest = &guest;
        async move { guest.run(&format!(r#"{{"all":{ALL}}}"#)).await }
    }));
    for reply in replies.await {
        assert_eq!(reply.answer, Answer::OutOfMemory);
    }
    guest.container.stop().await;
}

/// A run with a limit of its own.
async fn run_within(guest: &Guest, millis: u32) -> RunReply {
    let mut action = ExecutableAction::clone(&guest.action);
    action.limits.timeout = millis;
    let mut invocation = guest.invocation(r#"{"n":"overdue","all":0}"#);
    invocation.action = Arc::new(action);
    guest.container.run(&invocation, 0, &|| {}).await
}
