//! Records: lists, one, its result, its logs.

use std::sync::Arc;

use chasen_entity::Event;
use chasen_spi::EventLog;
use chasen_spi::memory::activation;
use serde_json::{Value, json};

use crate::world::World;

const ACTIVATIONS: &str = "/api/v1/namespaces/_/activations";

fn record(world: &World, name: &str, start: u64) -> String {
    let mut record = activation("guest", name, start);
    record.logs = vec!["line".to_owned()];
    let id = record.activation_id.to_string();
    world.log.append(&Event::Finished(Arc::new(record))).unwrap();
    id
}

async fn list(world: &World, query: &str) -> Value {
    let response = world.guest(&format!("GET {ACTIVATIONS}?{query}")).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

fn starts(list: &Value) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|record| record["start"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn lists_are_filtered_pages_newest_first() {
    let world = World::new().await;
    for (name, start) in [("a", 10), ("b", 20), ("a", 30)] {
        record(&world, name, start);
    }
    for (query, expected) in [
        ("", vec![30, 20, 10]),
        ("limit=2", vec![30, 20]),
        ("limit=1&skip=1", vec![20]),
        ("name=a", vec![30, 10]),
        ("name=%2Fa", vec![30, 10]),
        ("name=", vec![30, 20, 10]),
        ("name=p/a", vec![]),
        ("since=20", vec![30, 20]),
        ("since=-5&upto=20", vec![20, 10]),
        ("upto=-1", vec![]),
    ] {
        assert_eq!(starts(&list(&world, query).await), expected, "{query}");
    }
    for (query, count) in
        [("count=true", 3), ("count=true&skip=1&limit=1", 2), ("count=true&name=a", 2), ("count=1&skip=9", 0)]
    {
        assert_eq!(list(&world, query).await, json!({"activations": count}), "{query}");
    }
    let summary = &list(&world, "limit=1").await[0];
    assert_eq!((&summary["statusCode"], &summary["duration"]), (&json!(0), &json!(1)));
    assert!(summary.get("response").is_none() && summary.get("logs").is_none());
    let whole = &list(&world, "limit=1&docs=true").await[0];
    assert_eq!((&whole["logs"], &whole["response"]["success"]), (&json!(["line"]), &json!(true)));
    let response = world.guest(&format!("GET {ACTIVATIONS}?docs=true&count=true")).await;
    assert_eq!(
        (response.status, response.error().as_str()),
        (400, "The parameter 'docs' is not permitted with 'count'.")
    );
}

#[tokio::test]
async fn pages_are_30_by_default_and_200_at_most() {
    let world = World::new().await;
    for start in 0..210 {
        record(&world, "a", start);
    }
    assert_eq!(starts(&list(&world, "").await).len(), 30);
    assert_eq!(starts(&list(&world, "limit=0").await).len(), 200);
    assert_eq!(starts(&list(&world, "limit=200").await).len(), 200);
}

#[tokio::test]
async fn a_record_has_parts() {
    let world = World::new().await;
    let id = record(&world, "a", 10);
    for path in [id.clone(), format!("{id}/")] {
        let response = world.guest(&format!("GET {ACTIVATIONS}/{path}")).await;
        let record = response.json();
        assert_eq!((record["activationId"].as_str(), &record["logs"]), (Some(id.as_str()), &json!(["line"])));
        assert!(response.has_cors());
    }
    let result = world.guest(&format!("GET {ACTIVATIONS}/{id}/result")).await.json();
    assert_eq!(result, json!({"result":{},"size":2,"success":true,"status":"success"}));
    assert_eq!(world.guest(&format!("GET {ACTIVATIONS}/{id}/logs")).await.json(), json!({"logs":["line"]}));
}

#[tokio::test]
async fn ids_are_checked_and_missing_ones_404() {
    let world = World::new().await;
    let missing = "0".repeat(32);
    for (id, status, text) in [
        ("abc", 400, "Activation id length is 3 but must be 32."),
        (&"X".repeat(32), 400, "The activation id is not valid."),
        (&missing, 404, "The requested resource does not exist."),
    ] {
        for part in ["", "/result", "/logs"] {
            let response = world.guest(&format!("GET {ACTIVATIONS}/{id}{part}")).await;
            assert_eq!((response.status, response.error().as_str()), (status, text));
        }
    }
    let foreign = world.guest("GET /api/v1/namespaces/alice/activations/abc").await;
    assert_eq!(foreign.status, 400, "the id comes before the right");
}
