//! Locked parameters: locked in the log, open in the container.

use std::sync::Arc;

use chasen_entity::{Event, Invocation, Outcome, Parameters, RawJson, error_text};
use chasen_scheduler::SchedulerConfig;
use chasen_spi::parameter_lock::lock_all;
use chasen_spi::{LockError, ParameterLock};

use crate::bench::{Bench, bench, call, locked_bench, outcome, result};

/// Locks by turning a value into the string of its text.
struct Quote;

impl ParameterLock for Quote {
    fn lock(&self, value: &RawJson) -> Result<Option<(&'static str, RawJson)>, LockError> {
        Ok(Some(("quote", RawJson::from_value(value.as_str()))))
    }

    fn unlock(&self, algorithm: &str, value: &RawJson) -> Result<RawJson, LockError> {
        match algorithm {
            "quote" => Ok(RawJson::parse(value.read::<String>().unwrap().as_bytes()).unwrap()),
            other => Err(LockError::NoKey(other.to_owned())),
        }
    }
}

fn locked_call() -> Invocation {
    let parameters: Parameters =
        serde_json::from_str(r#"[{"key":"secret","value":{"x":1.50}},{"key":"open","value":2}]"#).unwrap();
    let parameters = lock_all(&Quote, parameters).unwrap();
    let request = RawJson::parse(br#"{"open":"mine"}"#).unwrap();
    Invocation {
        locked: parameters.locked(&request),
        arguments: parameters.arguments(request),
        ..call("guest", "hello", "{}")
    }
}

fn assert_locked_in_the_log(bench: &Bench) {
    for event in bench.log.events() {
        if let Event::Accepted(invocation) = event {
            assert_eq!(invocation.locked.len(), 1);
            assert!(invocation.arguments.as_str().contains(r#""secret":"{"#), "a string");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_locked_in_the_log_is_open_for_the_function() {
    let bench = locked_bench(512, SchedulerConfig::default(), Arc::new(Quote));
    let open = r#"{"secret":{"x":1.50},"open":"mine"}"#;
    for _ in 0..2 {
        let record = bench.run(locked_call()).await;
        assert_eq!((outcome(&record), result(&record)), (Outcome::Success, open));
    }
    bench.leave(&Arc::new(locked_call()), None);
    bench.recover();
    bench.rest().await;
    for event in bench.log.events() {
        if let Event::Finished(record) = event {
            assert_eq!(result(&record), open);
        }
    }
    assert_locked_in_the_log(&bench);
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_unlocked_ends_in_a_record_and_runs_nowhere() {
    let bench = bench(512);
    let record = bench.run(locked_call()).await;
    assert_eq!(outcome(&record), Outcome::WhiskError);
    assert_eq!(result(&record), RawJson::error(error_text::NOT_UNLOCKED).as_str());
    bench.leave(&Arc::new(locked_call()), None);
    bench.recover();
    bench.rest().await;
    assert_eq!((bench.factory.notes().created, bench.scheduler.queues()), (0, 0));
    assert_locked_in_the_log(&bench);
    bench.assert_sound();
}
