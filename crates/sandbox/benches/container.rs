//! How long a container takes: to have its runtime up, to be given an action, and to run it when it is warm.
//!
//! `cargo bench -p chasen-sandbox --profile release-fast --bench container` prints p50 and p99 of each. Needs root, and
//! the interpreters; what is missing is skipped.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench ends at the first surprise, and prints"
)]
#![allow(dead_code, reason = "the tests' world has more than a bench needs")]

mod house {
    /// As the tests have it.
    pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

    pub(crate) fn own_exe() -> std::path::PathBuf {
        std::env::current_exe().unwrap()
    }
}
#[path = "../tests/it/world.rs"]
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use chasen_entity::response::Answer;
use world::{Draft, LINES, NATIVE, NODE, PYTHON, World};

const COLD: usize = 30;
const WARM: usize = 2000;

const LOOP: &str = "#!/bin/sh\nwhile read -r line; do echo '{\"a\":1}' >&3; done";

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("sandbox-helper") => chasen_sandbox::helper::main(),
        Some("native-launcher") => chasen_native_launcher::main(),
        _ => {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(2).enable_all().build().unwrap().block_on(measure());
            ExitCode::SUCCESS
        }
    }
}

async fn measure() {
    let world = World::open().await;
    for (kind, code) in [
        (NODE, "function main(args) { return args }"),
        (PYTHON, "def main(args): return args"),
        (NATIVE, "#!/bin/sh\necho '{\"a\":1}'"),
        (LINES, LOOP),
    ] {
        println!("{kind}");
        let (mut created, mut initialized, mut first) = (Vec::new(), Vec::new(), Vec::new());
        let mut last = None;
        for _ in 0..COLD {
            let begun = Instant::now();
            let Some(guest) = world.create(Draft::new(kind, code)).await else { break };
            created.push(begun.elapsed());
            let begun = Instant::now();
            assert!(matches!(guest.init().await.answer, Answer::Ok(_)));
            initialized.push(begun.elapsed());
            let begun = Instant::now();
            assert_eq!(guest.result(r#"{"a":1}"#).await, r#"{"a":1}"#);
            first.push(begun.elapsed());
            if let Some(previous) = last.replace(guest) {
                let previous: world::Guest = previous;
                previous.container.stop().await;
            }
        }
        let Some(guest) = last else { continue };
        let mut warm = Vec::new();
        for _ in 0..if kind == NATIVE { WARM / 10 } else { WARM } {
            let begun = Instant::now();
            assert!(matches!(guest.run(r#"{"a":1}"#).await.answer, Answer::Ok(_)));
            warm.push(begun.elapsed());
        }
        guest.container.stop().await;
        for (what, times) in
            [("created", created), ("initialised", initialized), ("first run", first), ("warm run", warm)]
        {
            report(what, times);
        }
    }
    use chasen_spi::container_factory::ContainerFactory;
    world.factory.close().await;
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    println!("  {what:<12} p50 {:>10.1?}  p99 {:>10.1?}", at(50), at(99));
}
