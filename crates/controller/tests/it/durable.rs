//! Durable work: how safe it is before anybody is told, and how it goes on after a crash.

use std::sync::atomic::Ordering;

use chasen_entity::{ActivationId, Durability, Event, Role, UserLimits};
use chasen_spi::{EventLog, SubjectStore};
use serde_json::{Value, json};

use crate::client::{Request, Response};
use crate::sequences::put;
use crate::world::{World, eventually, guest};

const NAMESPACE: &str = "/api/v1/namespaces/_";
const INTERRUPTED: &str = "The activation was interrupted before its result was known.";

async fn invoke(world: &World, action: &str, body: &Value) -> Response {
    world.guest_json(&format!("POST {NAMESPACE}/actions/{action}"), body).await
}

/// The id that a response tells.
fn id(response: &Response) -> ActivationId {
    assert_eq!(response.status, 202, "{response:?}");
    ActivationId::parse(response.json()["activationId"].as_str().unwrap()).unwrap()
}

async fn record(world: &World, id: ActivationId) -> Value {
    let line = format!("GET {NAMESPACE}/activations/{id}");
    let response = world.guest(&line).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

fn runs_of(world: &World, action: &str) -> usize {
    world.invoker.taken.lock().iter().filter(|one| one.action.name.name.as_str() == action).count()
}

/// The last durability that was waited for.
fn waited_for(world: &World) -> Option<Durability> {
    world.invoker.committed.lock().last().map(|(durability, _)| *durability)
}

#[tokio::test]
async fn what_is_accepted_is_as_safe_as_settings_namespace_and_header_want() {
    let world = World::new().await;
    world.create("echo", "").await;
    let send = async |query: &str, header: Option<&'static str>| {
        let mut request = Request::new(&format!("POST {NAMESPACE}/actions/echo{query}")).auth(&guest());
        if let Some(value) = header {
            request = request.header("x-chasen-durability", value);
        }
        world.send(request.json("{}")).await
    };
    for (own, header, non_blocking, blocking) in [
        (None, None, Durability::Synced, Durability::Memory),
        (None, Some("memory"), Durability::Synced, Durability::Memory),
        (None, Some("synced"), Durability::Synced, Durability::Synced),
        (Some(Durability::Memory), None, Durability::Memory, Durability::Memory),
        (Some(Durability::Memory), Some("synced"), Durability::Synced, Durability::Synced),
        (Some(Durability::Synced), Some("memory"), Durability::Synced, Durability::Synced),
    ] {
        let limits = UserLimits { durability: own, ..UserLimits::default() };
        world.subjects.set_limits("guest", Some(&limits)).await.unwrap();
        assert_eq!(send("", header).await.status, 202);
        assert_eq!(waited_for(&world), Some(non_blocking), "{own:?} {header:?}");
        assert_eq!(send("?blocking=true", header).await.status, 200);
        assert_eq!(
            world.invoker.taken.lock().last().unwrap().durability,
            blocking,
            "blocking, {own:?} {header:?}"
        );
    }
    let refused = send("", Some("disk")).await;
    assert_eq!(refused.status, 400);
    assert!(refused.error().ends_with("'disk' is not one of memory and synced."), "{}", refused.error());
}

#[tokio::test]
async fn what_does_not_get_safe_is_told_so() {
    let world = World::new().await;
    world.create("echo", "").await;
    world.invoker.is_unsafe.store(true, Ordering::SeqCst);
    let response = invoke(&world, "echo", &json!({})).await;
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
    assert!(response.error().contains("was accepted but is not known to be safe"), "{}", response.error());
    assert!(response.json()["activationId"].is_string());
    assert_eq!(invoke(&world, "echo?blocking=true", &json!({})).await.status, 200, "blocking calls go on");
    world.invoker.is_unsafe.store(false, Ordering::SeqCst);
    assert_eq!(invoke(&world, "echo", &json!({})).await.status, 202);
}

#[tokio::test]
async fn no_result_is_told_whose_record_does_not_get_safe() {
    let world = World::new().await;
    world.create("echo", r#","annotations":[{"key":"web-export","value":true}]"#).await;
    put(&world, "s", &["/_/echo"]).await;
    world.invoker.is_unsafe.store(true, Ordering::SeqCst);
    let limits = UserLimits { durability: Some(Durability::Synced), ..UserLimits::default() };
    world.subjects.set_limits("guest", Some(&limits)).await.unwrap();
    let web = || world.send(Request::new("GET /api/v1/web/guest/default/echo.json"));
    for response in [
        invoke(&world, "echo?blocking=true", &json!({})).await,
        invoke(&world, "s?blocking=true&result=true", &json!({})).await,
        web().await,
    ] {
        assert_eq!((response.status, response.header("retry-after")), (503, Some("1")), "{response:?}");
        assert!(
            response.error().contains("has ended, but its record is not known to be safe"),
            "{response:?}"
        );
        let id = ActivationId::parse(response.json()["activationId"].as_str().unwrap()).unwrap();
        assert_eq!(record(&world, id).await["response"]["success"], true);
    }
    world.invoker.is_unsafe.store(false, Ordering::SeqCst);
    assert_eq!(invoke(&world, "s?blocking=true", &json!({})).await.status, 200);
    assert_eq!(web().await.status, 200);
}

#[tokio::test]
async fn what_is_put_off_outlives_a_power_cut_whatever_the_namespace_says() {
    let world = World::new().await;
    world.create("echo", "").await;
    let limits = UserLimits { durability: Some(Durability::Memory), ..UserLimits::default() };
    world.subjects.set_limits("guest", Some(&limits)).await.unwrap();
    for (query, expected) in [("", Durability::Memory), ("?delay=100", Durability::Synced)] {
        assert_eq!(invoke(&world, &format!("echo{query}"), &json!({})).await.status, 202);
        assert_eq!(waited_for(&world), Some(expected), "{query:?}");
    }
}

#[tokio::test]
async fn steps_are_as_safe_as_what_they_are_steps_of() {
    let world = World::new().await;
    world.create("echo", "").await;
    put(&world, "s", &["/_/echo"]).await;
    put(&world, "outer", &["/_/s"]).await;
    id(&invoke(&world, "outer", &json!({})).await);
    eventually("it ends", || world.ended() == 3).await;
    let all = world.log.events().into_iter().filter_map(|event| match event {
        Event::Accepted(one) => Some(one.durability),
        _ => None,
    });
    assert_eq!(all.collect::<Vec<_>>(), [Durability::Synced; 3]);
}

#[tokio::test]
async fn no_step_is_taken_that_the_log_cannot_note() {
    let world = World::new().await;
    world.create("echo", "").await;
    world.create("conductor", r#","annotations":[{"key":"conductor","value":true}]"#).await;
    put(&world, "s", &["/_/echo", "/_/echo"]).await;
    world.guest_json(&format!("PUT {NAMESPACE}/triggers/t"), "{}").await;
    let body = json!({"trigger": "/_/t", "action": "/_/echo"});
    world.guest_json(&format!("PUT {NAMESPACE}/rules/r"), &body).await;
    world.invoker.fill_log(true);
    for name in ["s", "conductor"] {
        let response = invoke(&world, &format!("{name}?blocking=true"), &json!({})).await;
        assert_eq!(response.status, 500, "{name}: {response:?}");
    }
    let fired = world.guest_json(&format!("POST {NAMESPACE}/triggers/t"), "{}").await;
    assert_eq!(fired.status, 503, "{fired:?}");
    assert_eq!(world.invoker.taken.lock().len(), 0);
    assert!(world.is_idle(), "all of it has ended");
    world.invoker.fill_log(false);
    assert_eq!(invoke(&world, "s?blocking=true", &json!({})).await.status, 200);
}

/// A world in which a sequence, one in it, and a composition wait at `waiting` with something before and behind it.
async fn waiting(at: &str) -> World {
    let world = World::new().await;
    for name in ["first", at, "last"] {
        world.create(name, "").await;
    }
    world.create("conductor", r#","annotations":[{"key":"conductor","value":true}]"#).await;
    put(&world, "inner", &["/_/first", &format!("/_/{at}"), "/_/last"]).await;
    put(&world, "outer", &["/_/first", "/_/inner", "/_/last"]).await;
    world
}

#[tokio::test]
async fn sessions_go_on_at_the_step_that_they_had_reached() {
    let world = waiting("slow").await;
    let plan = json!({"plan": [{"action": "first", "params": {"x": 1}}, {"action": "outer", "params": {"x": 2}}],
        "kept": 1});
    for (name, body, steps) in
        [("inner", json!({"x": 1}), 3), ("outer", json!({"x": 1}), 3), ("conductor", plan, 5)]
    {
        let before = world.invoker.taken.lock().len();
        let id = id(&invoke(&world, name, &body).await);
        eventually("it waits", || runs_of(&world, "slow") == 1).await;
        let next = world.next_life(|_| {}).await;
        assert!(!next.is_idle());
        next.recover();
        eventually("it waits again", || runs_of(&next, "slow") == 1).await;
        next.invoker.release.notify_one();
        eventually("it ends", || next.is_idle()).await;
        let done = record(&next, id).await;
        assert_eq!(
            (&done["response"]["success"], done["logs"].as_array().unwrap().len()),
            (&json!(true), steps)
        );
        assert_eq!(runs_of(&next, "first"), 0, "{name}: nothing runs twice");
        let slow = |world: &World| {
            let taken = world.invoker.taken.lock();
            taken.iter().rfind(|one| one.action.name.name.as_str() == "slow").unwrap().activation_id
        };
        assert_eq!(slow(&world), slow(&next), "the same activation");
        let ran = world.invoker.taken.lock().len() - before + next.invoker.taken.lock().len() - 1;
        let records = next
            .log
            .events()
            .iter()
            .filter(|event| match event {
                Event::Finished(record) => !record.annotations.is_truthy("topmost"),
                _ => false,
            })
            .count();
        assert!(records >= ran, "{name}: {ran} runs, {records} records");
        // The first life ends, too, so that the next case begins with nothing.
        world.invoker.release.notify_one();
        eventually("it ends", || world.is_idle()).await;
        world.invoker.taken.lock().clear();
    }
}

#[tokio::test]
async fn a_step_that_had_begun_ends_as_its_delivery_says_and_the_session_with_it() {
    let world = waiting("hangs").await;
    let id = id(&invoke(&world, "outer", &json!({"x": 1})).await);
    let has_begun = |event: &Event| matches!(event, Event::Started { .. });
    // Both sequences, and the step.
    eventually("it hangs", || world.log.events().iter().filter(|event| has_begun(event)).count() == 3).await;
    let next = world.next_life(|_| {}).await;
    next.recover();
    eventually("it ends", || next.is_idle()).await;
    let done = record(&next, id).await;
    assert_eq!(done["response"]["result"]["error"], INTERRUPTED);
    assert_eq!(done["logs"].as_array().unwrap().len(), 2, "what was before it, and the one in it");
    assert!(next.invoker.taken.lock().is_empty());
}

/// The log of a life that ended right behind the nth event.
async fn cut(world: &World, events: usize) -> World {
    let next = world.next_life(|_| {}).await;
    next.log.truncate(events);
    next
}

#[tokio::test]
async fn wherever_the_log_ends_a_session_ends_once_and_no_step_runs_twice() {
    let world = World::new().await;
    for name in ["a", "b"] {
        world.create(name, "").await;
    }
    world.create("conductor", r#","annotations":[{"key":"conductor","value":true}]"#).await;
    put(&world, "inner", &["/_/a", "/_/b"]).await;
    put(&world, "outer", &["/_/a", "/_/inner", "/_/b"]).await;
    let plan = json!({"plan": [{"action": "outer", "params": {"x": 1}}, {"action": "a"}]});
    let id = id(&invoke(&world, "conductor", &plan).await);
    eventually("it ends", || world.is_idle()).await;
    let whole = record(&world, id).await;
    let all = world.log.events();
    for end in 1..all.len() {
        let next = cut(&world, end).await;
        next.recover();
        eventually("it ends", || next.is_idle()).await;
        let done = record(&next, id).await;
        assert_eq!(
            done["response"]["result"],
            whole["response"]["result"],
            "cut behind {end} of {}",
            all.len()
        );
        assert_eq!(done["logs"].as_array().unwrap().len(), whole["logs"].as_array().unwrap().len(), "{end}");
        let mut ends = std::collections::HashMap::new();
        for event in next.log.events() {
            if let Event::Finished(record) = event {
                *ends.entry(record.activation_id).or_insert(0) += 1;
            }
        }
        assert!(ends.values().all(|count| *count == 1), "{end}: {ends:?}");
        let steps = ends.len();
        assert_eq!(steps, all.iter().filter(|event| matches!(event, Event::Finished(_))).count(), "{end}");
    }
}

#[tokio::test]
async fn wherever_the_log_ends_every_rule_reacts_once() {
    let world = World::new().await;
    for name in ["a", "b"] {
        world.create(name, "").await;
    }
    put(&world, "s", &["/_/a"]).await;
    world.guest_json(&format!("PUT {NAMESPACE}/triggers/t"), "{}").await;
    for (rule, action) in [("r1", "a"), ("r2", "s"), ("r3", "b")] {
        let body = json!({"trigger": "/_/t", "action": format!("/_/{action}")});
        assert_eq!(world.guest_json(&format!("PUT {NAMESPACE}/rules/{rule}"), body).await.status, 200);
    }
    let id = id(&world.guest_json(&format!("POST {NAMESPACE}/triggers/t"), r#"{"x":1}"#).await);
    eventually("it ends", || world.is_idle() && world.ended() == 5).await;
    let all = world.log.events();
    for end in 1..all.len() {
        let next = cut(&world, end).await;
        next.recover();
        eventually("all end", || next.is_idle() && next.ended() == 5).await;
        let logs = record(&next, id).await["logs"].as_array().unwrap().clone();
        assert_eq!(logs.len(), 3, "cut behind {end}");
        for line in logs {
            let line: Value = serde_json::from_str(line.as_str().unwrap()).unwrap();
            let reaction = ActivationId::parse(line["activationId"].as_str().unwrap()).unwrap();
            let result = &record(&next, reaction).await["response"]["result"];
            assert_eq!(result["x"], 1, "cut behind {end}");
        }
    }
}

#[tokio::test]
async fn what_left_no_record_ends_what_it_was_a_step_of() {
    let world = World::new().await;
    world.create("a", "").await;
    put(&world, "s", &["/_/a", "/_/a"]).await;
    let limits = UserLimits { store_activations: Some(false), ..UserLimits::default() };
    world.subjects.set_limits("guest", Some(&limits)).await.unwrap();
    id(&invoke(&world, "s", &json!({})).await);
    eventually("it ends", || world.is_idle()).await;
    let all = world.log.events();
    let first_end = all.iter().position(|event| matches!(event, Event::Ended(_))).unwrap();
    let next = cut(&world, first_end + 1).await;
    next.recover();
    eventually("it ends", || next.is_idle()).await;
    assert!(next.invoker.taken.lock().is_empty(), "no step runs again, and none after it");
}

#[tokio::test]
async fn nothing_runs_again_whose_record_has_had_its_time() {
    let world = World::new().await;
    world.create("a", "").await;
    put(&world, "s", &["/_/a", "/_/a"]).await;
    let whole = id(&invoke(&world, "s", &json!({})).await);
    eventually("it ends", || world.is_idle()).await;
    let is_end = |event: &Event| matches!(event, Event::Finished(_));
    let first_end = world.log.events().iter().position(is_end).unwrap();
    let next = cut(&world, first_end + 1).await;
    next.log.expire();
    next.recover();
    eventually("it ends", || next.is_idle()).await;
    assert!(next.invoker.taken.lock().is_empty(), "no step runs again, and none after it");
    assert_eq!(record(&next, whole).await["response"]["result"]["error"], INTERRUPTED);

    world.guest_json(&format!("PUT {NAMESPACE}/triggers/t"), "{}").await;
    let rule = json!({"trigger": "/_/t", "action": "/_/a"});
    assert_eq!(world.guest_json(&format!("PUT {NAMESPACE}/rules/r"), rule).await.status, 200);
    let before = world.log.events().len();
    let fire = id(&world.guest_json(&format!("POST {NAMESPACE}/triggers/t"), "{}").await);
    eventually("it ends", || world.is_idle()).await;
    let events = world.log.events();
    let (at, reaction) = events
        .iter()
        .enumerate()
        .skip(before)
        .find(|(_, event)| matches!(event, Event::Accepted(one) if one.fire == Some(fire)))
        .unwrap();
    let reaction = reaction.activation_id();
    let next = cut(&world, at + 1).await;
    let record_of = chasen_entity::Activation {
        activation_id: reaction,
        ..chasen_spi::memory::activation("guest", "a", 1)
    };
    next.log.append(&Event::Finished(std::sync::Arc::new(record_of))).unwrap();
    next.log.expire();
    next.recover();
    eventually("the fire ends", || next.is_idle()).await;
    assert!(next.invoker.taken.lock().is_empty(), "the rule does not react again");
    let line: Value = serde_json::from_str(record(&next, fire).await["logs"][0].as_str().unwrap()).unwrap();
    assert_eq!((&line["success"], &line["activationId"]), (&json!(true), &json!(reaction)));
}

#[tokio::test]
async fn notes_of_another_form_end_their_sessions() {
    let world = waiting("slow").await;
    let id = id(&invoke(&world, "inner", &json!({})).await);
    eventually("it waits", || runs_of(&world, "slow") == 1).await;
    let state = chasen_entity::RawJson::parse(br#"[99,{"of":"later"}]"#).unwrap();
    world.log.append(&Event::Progress { activation_id: id, state }).unwrap();
    let next = world.next_life(|_| {}).await;
    next.recover();
    eventually("it ends", || next.log.accepted(&id).unwrap().is_none()).await;
    let done = record(&next, id).await;
    assert_eq!(done["response"]["result"]["error"], INTERRUPTED);
    assert_eq!(done["logs"].as_array().unwrap().len(), 1, "the step that has its record");
}

#[tokio::test]
async fn cancelled_sessions_end_with_their_step() {
    for name in ["inner", "outer", "conductor"] {
        let world = waiting("hangs").await;
        let plan = json!({"plan": [{"action": "outer", "params": {}}, {"action": "last"}]});
        let id = id(&invoke(&world, name, &plan).await);
        eventually("it hangs", || runs_of(&world, "hangs") == 1).await;
        let response = world.guest(&format!("DELETE {NAMESPACE}/activations/{id}")).await;
        assert_eq!(response.status, 200, "{response:?}");
        let done = response.json();
        assert_eq!(done["response"]["status"], "application error");
        assert_eq!(done["response"]["result"]["error"], "The activation was cancelled.");
        eventually("all end", || world.is_idle()).await;
        assert_eq!(runs_of(&world, "last"), 0, "{name}: no step comes after it");
        let open = world.log.events().into_iter().filter_map(|event| match event {
            Event::Accepted(one) if one.role != Role::Action => Some(one.activation_id),
            _ => None,
        });
        for session in open {
            let text = &record(&world, session).await["response"]["result"]["error"];
            assert_eq!(text, "The activation was cancelled.", "{name}");
        }
        let again = world.guest(&format!("DELETE {NAMESPACE}/activations/{id}")).await;
        assert_eq!((again.status, again.header("allow")), (405, Some("GET")));
        assert!(again.error().contains("has ended and cannot be cancelled"), "{}", again.error());
    }
}
