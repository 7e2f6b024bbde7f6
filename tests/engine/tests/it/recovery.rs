//! What becomes of work that an earlier life of the node left.

use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{
    Activation, ActivationId, Delivery, Durability, Event, Invocation, Outcome, Role, error_text,
};
use chasen_scheduler::SchedulerConfig;
use chasen_spi::memory::activation;
use chasen_spi::{DeadLetterStore, Invoke, Resumed};
use tokio::time::Instant;

use crate::bench::{Bench, bench, bench_with, call, next_life, outcome, result, told, until, with_action};

fn left(delivery: Delivery) -> Arc<Invocation> {
    Arc::new(Invocation { delivery, ..call("guest", "hello", r#"{"do":"sleep","ms":10}"#) })
}

fn sequence(cause: Option<ActivationId>) -> Arc<Invocation> {
    Arc::new(Invocation { role: Role::Sequence, cause, ..call("guest", "steps", "{}") })
}

fn step(of: &Invocation) -> Arc<Invocation> {
    Arc::new(Invocation { cause: Some(of.activation_id), ..call("guest", "step", "{}") })
}

fn record(of: &Invocation) -> Activation {
    Activation { activation_id: of.activation_id, ..activation("guest", "steps", 1) }
}

fn attempts(bench: &Bench, id: ActivationId) -> Vec<u32> {
    let attempt = |event| match event {
        Event::Started { activation_id, attempt, .. } if activation_id == id => Some(attempt),
        _ => None,
    };
    bench.log.events().into_iter().filter_map(attempt).collect()
}

fn interrupted(bench: &Bench, id: ActivationId) -> bool {
    let record = bench.record(id);
    outcome(&record) == Outcome::WhiskError && result(&record).contains(error_text::INTERRUPTED)
}

#[tokio::test(start_paused = true)]
async fn what_never_began_runs_and_what_did_is_delivered_as_it_says() {
    let bench = bench_with(1024, SchedulerConfig { max_recovering: 2, ..SchedulerConfig::default() });
    let fresh =
        [Delivery::AtMostOnce, Delivery::AtLeastOnce].map(|delivery| bench.leave(&left(delivery), None));
    let once = bench.leave(&left(Delivery::AtMostOnce), Some(1));
    let again = bench.leave(&left(Delivery::AtLeastOnce), Some(1));
    bench.recover();
    bench.rest().await;
    for id in fresh {
        assert_eq!((outcome(&bench.record(id)), attempts(&bench, id)), (Outcome::Success, vec![1]));
    }
    assert!(interrupted(&bench, once), "never twice");
    assert_eq!((outcome(&bench.record(again)), attempts(&bench, again)), (Outcome::Success, vec![1, 2]));
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_each_time_becomes_a_dead_letter() {
    let bench = bench(512);
    let patient = with_action(Invocation::clone(&left(Delivery::AtLeastOnce)), |action| {
        action.annotations.set("max-attempts", &5);
    });
    let (patient, usual) = (Arc::new(patient), left(Delivery::AtLeastOnce));
    let (goes_on, dies) = (bench.leave(&patient, Some(4)), bench.leave(&usual, Some(3)));
    bench.recover();
    bench.rest().await;
    assert_eq!(outcome(&bench.record(goes_on)), Outcome::Success, "the fifth of five");
    assert!(interrupted(&bench, dies));
    let namespace = &usual.identity.namespace.name;
    let letter = bench.letters.get(namespace, &dies).await.unwrap().unwrap();
    assert_eq!((letter.attempts, &letter.invocation), (3, &usual));
    let told: Vec<_> = bench.opener.letters().iter().map(|letter| letter.invocation.activation_id).collect();
    assert_eq!(told, [dies]);
    assert!(bench.letters.get(namespace, &goes_on).await.unwrap().is_none());
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn pauses_between_tries_grow() {
    let bench = bench(512);
    let id = {
        let work = with_action(Invocation::clone(&left(Delivery::AtLeastOnce)), |action| {
            action.annotations.set("max-attempts", &100);
        });
        bench.leave(&Arc::new(work), Some(5))
    };
    let begun = Instant::now();
    bench.recover();
    until("it runs again", || !attempts(&bench, id).is_empty() && attempts(&bench, id).len() > 1).await;
    let pause = begun.elapsed();
    assert!(pause >= Duration::from_secs(12) && pause <= Duration::from_secs(17), "{pause:?}");
    bench.rest().await;
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn sessions_go_to_their_opener_and_their_steps_to_them() {
    let bench = bench(512);
    let whole = sequence(None);
    let (taken, fresh, forgotten) = (step(&whole), step(&whole), step(&whole));
    let nested = sequence(Some(whole.activation_id));
    let orphan = step(&sequence(None));
    bench.leave(&whole, Some(1));
    let state = chasen_entity::RawJson::from_value(&"the second step");
    let activation_id = whole.activation_id;
    let progress = Event::Progress { activation_id, state: state.clone() };
    chasen_spi::EventLog::append(&*bench.log, &progress).unwrap();
    bench.leave(&taken, Some(1));
    bench.leave(&fresh, None);
    bench.leave(&forgotten, None);
    bench.leave(&nested, Some(1));
    let deep = step(&nested);
    bench.leave(&deep, None);
    bench.leave(&orphan, None);
    bench.recover();
    until("the orphan has its end", || told(&bench, orphan.activation_id).contains(&"finished")).await;
    assert!(interrupted(&bench, orphan.activation_id), "what it was a step of is over");
    let (session, work) = bench.opener.take().pop().unwrap();
    assert_eq!((work.invocation.activation_id, work.started), (whole.activation_id, Some(1)));
    assert_eq!(work.progress, Some(state));
    assert_eq!(bench.opener.count(), 0, "the nested one is its session's");

    let Ok(Resumed::Action(ticket)) = bench.scheduler.take_up(&taken.activation_id) else { panic!("a step") };
    assert_eq!(result(ticket.await.as_ref()), result(&bench.record(taken.activation_id)));
    assert!(interrupted(&bench, taken.activation_id), "it had begun");
    let Ok(Resumed::Action(ticket)) = bench.scheduler.take_up(&fresh.activation_id) else { panic!("a step") };
    assert_eq!(outcome(ticket.await.as_ref()), Outcome::Success);
    let Ok(Resumed::Session(inner, _)) = bench.scheduler.take_up(&nested.activation_id) else {
        panic!("a session")
    };
    assert_eq!(told(&bench, deep.activation_id), ["accepted"], "it is left to the nested one");
    drop(inner.finish(record(&nested)));
    assert!(interrupted(&bench, deep.activation_id));
    assert!(matches!(bench.scheduler.take_up(&nested.activation_id), Ok(Resumed::Ended)));
    drop(session.finish(record(&whole)));
    bench.rest().await;
    assert!(interrupted(&bench, forgotten.activation_id), "its session has ended without it");
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_drain_leaves_to_the_next_life_what_may_run_there() {
    let first = bench(256);
    let again = Invocation {
        blocking: false,
        delivery: Delivery::AtLeastOnce,
        ..call("guest", "hello", r#"{"do":"sleep","ms":5000}"#)
    };
    let waits = Invocation { blocking: false, ..call("guest", "hello", "{}") };
    let asked = call("guest", "hello", "{}");
    let ids = [again.activation_id, waits.activation_id, asked.activation_id];
    first.scheduler.invoke(again).unwrap().detach();
    until("it runs", || told(&first, ids[0]).contains(&"started")).await;
    first.scheduler.invoke(waits).unwrap().detach();
    let asked = tokio::spawn(first.scheduler.invoke(asked).unwrap());
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(first.scheduler.drain(Instant::now() + Duration::from_secs(1)).await, 3);
    assert!(result(&asked.await.unwrap()).contains(error_text::INTERRUPTED));
    assert_eq!(told(&first, ids[0]).last(), Some(&"started"));
    assert_eq!(told(&first, ids[1]), ["accepted"]);
    assert_eq!(told(&first, ids[2]), ["accepted", "finished"], "somebody waited for it and was told");

    let second = next_life(&first, SchedulerConfig::default(), false);
    second.recover();
    until("it waits for its second try", || second.scheduler.in_flight() == 1).await;
    second.rest().await;
    assert_eq!(outcome(&second.record(ids[1])), Outcome::Success);
    assert_eq!(attempts(&second, ids[0]), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_announced_start_counts_after_a_power_cut_only() {
    for (after_power_cut, expected) in [(false, Outcome::Success), (true, Outcome::WhiskError)] {
        let first = bench(256);
        let busy = Invocation { blocking: false, ..call("guest", "hello", r#"{"do":"sleep","ms":5000}"#) };
        let waits =
            Invocation { blocking: false, durability: Durability::Synced, ..call("guest", "hello", "{}") };
        let id = waits.activation_id;
        let busy = tokio::spawn(first.scheduler.invoke(busy).unwrap());
        let waits = tokio::spawn(first.scheduler.invoke(waits).unwrap());
        until("its turn is near", || told(&first, id) == ["accepted", "progress"]).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        let second = next_life(&first, SchedulerConfig::default(), after_power_cut);
        second.recover();
        second.rest().await;
        assert_eq!(outcome(&second.record(id)), expected, "after a power cut: {after_power_cut}");
        assert_eq!(attempts(&second, id).len(), usize::from(!after_power_cut));
        busy.abort();
        waits.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_in_memory_only_may_have_begun_before_a_power_cut() {
    for after_power_cut in [false, true] {
        let first = bench(512);
        let [once, again] = [Delivery::AtMostOnce, Delivery::AtLeastOnce].map(left);
        let session = sequence(None);
        let of_session = step(&session);
        for work in [&once, &again, &session, &of_session] {
            first.leave(work, None);
        }
        let position = first.leave_note(&session, "the first step");
        // Everything so far is on the disk; what followed is not.
        chasen_spi::EventLog::sync(&*first.log, position).await.unwrap();
        let started = Event::Started { activation_id: once.activation_id, attempt: 1, at: 1 };
        chasen_spi::EventLog::append(&*first.log, &started).unwrap();
        let second = next_life(&first, SchedulerConfig::default(), after_power_cut);
        // Once more, without: what is old stays so.
        let second = next_life(&second, SchedulerConfig::default(), false);
        second.recover();
        until("the session is there", || second.opener.count() == 1).await;
        let (session, work) = second.opener.take().remove(0);
        match after_power_cut {
            false => assert!(work.progress.is_some()),
            true => {
                assert_eq!((work.started, work.progress), (Some(1), None), "nobody knows how far it came")
            }
        }
        drop(session.finish(record(&work.invocation)));
        second.rest().await;
        assert!(interrupted(&second, once.activation_id), "it began");
        assert_eq!(outcome(&second.record(again.activation_id)), Outcome::Success);
        let tries = if after_power_cut { [2] } else { [1] };
        assert_eq!(attempts(&second, again.activation_id), tries);
        assert!(interrupted(&second, of_session.activation_id));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_slow_in_one_namespace_holds_up_no_other() {
    let bench = bench_with(1024, SchedulerConfig { max_recovering: 4, ..SchedulerConfig::default() });
    let slow = with_action(call("guest", "hello", r#"{"do":"sleep","ms":50000}"#), |action| {
        action.limits.instances = Some(1);
    });
    for _ in 0..20 {
        bench.leave(&Arc::new(Invocation { activation_id: ActivationId::generate(), ..slow.clone() }), None);
    }
    let others: Vec<_> =
        (0..20).map(|_| bench.leave(&Arc::new(call("other", "hello", "{}")), None)).collect();
    bench.recover();
    tokio::time::sleep(Duration::from_secs(10)).await;
    for id in others {
        assert_eq!(outcome(&bench.record(id)), Outcome::Success);
    }
    assert!(bench.scheduler.in_flight() <= 3, "one place is left for others");
    assert!(bench.scheduler.in_flight() > 0, "and the slow go on");
}

#[tokio::test(start_paused = true)]
async fn steps_wait_with_the_session_that_waits_for_its_place() {
    let bench = bench_with(1024, SchedulerConfig { max_recovering: 1, ..SchedulerConfig::default() });
    let [first, second, unwanted] = [(); 3].map(|()| sequence(None));
    let [of_second, of_unwanted] = [&second, &unwanted].map(|session| step(session));
    for one in [&first, &second, &unwanted, &of_second, &of_unwanted] {
        bench.leave(one, None);
    }
    bench.recover();
    until("the first is open", || bench.opener.count() == 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(told(&bench, of_second.activation_id), ["accepted"], "it is its session's");
    let namespace = &unwanted.identity.namespace.name;
    bench.scheduler.cancel(namespace, &unwanted.activation_id).await.unwrap();
    assert_eq!(outcome(&bench.record(unwanted.activation_id)), Outcome::ApplicationError);
    assert!(interrupted(&bench, of_unwanted.activation_id), "its session is over");
    bench.opener.take().into_iter().for_each(|(session, _)| drop(session.finish(record(&first))));
    until("the second is open", || bench.opener.count() == 1).await;
    let Ok(Resumed::Action(ticket)) = bench.scheduler.take_up(&of_second.activation_id) else {
        panic!("its step is there");
    };
    assert_eq!(outcome(ticket.await.as_ref()), Outcome::Success);
    bench.opener.take().into_iter().for_each(|(session, _)| drop(session.finish(record(&second))));
    bench.rest().await;
    bench.assert_sound();
}
