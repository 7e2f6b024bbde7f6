//! Parameters at rest: locked in the store, open where they are used, and told to nobody but their owner.

use std::sync::Arc;

use chasen_entity::RawJson;
use chasen_spi::parameter_lock::unlock_invocation;
use chasen_spi::{Collection, DeadLetter, DeadLetterStore, LockError, ParameterLock, Sessions};
use serde_json::{Value, json};

use crate::client::Request;
use crate::world::{World, alice, eventually};

/// Locks by turning the text of a value round.
struct Turn;

impl ParameterLock for Turn {
    fn lock(&self, value: &RawJson) -> Result<Option<(&'static str, RawJson)>, LockError> {
        let turned: String = value.as_str().chars().rev().collect();
        Ok(Some(("turn", RawJson::from_value(&turned))))
    }

    fn unlock(&self, algorithm: &str, value: &RawJson) -> Result<RawJson, LockError> {
        let unreadable = |reason| LockError::Unreadable { algorithm: algorithm.to_owned(), reason };
        if algorithm != "turn" {
            return Err(LockError::NoKey(algorithm.to_owned()));
        }
        let turned: String = value.read().map_err(|_| unreadable("no string"))?;
        RawJson::parse(turned.chars().rev().collect::<String>().as_bytes()).map_err(|_| unreadable("no JSON"))
    }
}

/// Does the same, and clients learn nothing of it.
struct Unseen;

impl ParameterLock for Unseen {
    fn lock(&self, value: &RawJson) -> Result<Option<(&'static str, RawJson)>, LockError> {
        Turn.lock(value)
    }

    fn unlock(&self, algorithm: &str, value: &RawJson) -> Result<RawJson, LockError> {
        Turn.unlock(algorithm, value)
    }

    fn is_transparent(&self, algorithm: &str) -> bool {
        algorithm == "turn"
    }
}

/// Can do nothing at all.
struct Broken;

impl ParameterLock for Broken {
    fn lock(&self, _value: &RawJson) -> Result<Option<(&'static str, RawJson)>, LockError> {
        Err(LockError::Random("the well is dry".to_owned()))
    }

    fn unlock(&self, algorithm: &str, _value: &RawJson) -> Result<RawJson, LockError> {
        Err(LockError::NoKey(algorithm.to_owned()))
    }
}

async fn world() -> World {
    World::of(|parts| parts.parameter_lock = Arc::new(Turn)).await
}

async fn put(world: &World, path: &str, body: Value) -> Value {
    let response = world.guest_json(&format!("PUT /api/v1/namespaces/_/{path}"), body).await;
    assert_eq!(response.status, 200, "{path}: {response:?}");
    response.json()
}

async fn get(world: &World, path: &str) -> Value {
    world.guest(&format!("GET /api/v1/namespaces/_/{path}")).await.json()
}

/// Arguments and environment that the function of the last invocation gets, and what they were on the way.
fn delivered(world: &World) -> (Value, Value, String) {
    let taken = Arc::new(world.invoker.taken.lock().last().unwrap().clone());
    let open = unlock_invocation(&Turn, &taken).unwrap();
    let environment: serde_json::Map<String, Value> =
        open.init_parameters.iter().map(|one| (one.key.clone(), one.value.read().unwrap())).collect();
    let way = serde_json::to_string(&taken.stored(&RawJson::from_value(&*taken.identity))).unwrap();
    (open.arguments.read().unwrap(), environment.into(), way)
}

#[tokio::test]
async fn writers_see_open_values_and_readers_locked_ones() {
    let world = world().await;
    let parameters = json!([{"key":"a","value":{"secret":1.5}},{"key":"i","value":"env","init":true}]);
    let locked = json!([{"key":"a","value":"}5.1:\"terces\"{","encryption":"turn"},
        {"key":"i","value":"\"vne\"","init":true,"encryption":"turn"}]);
    for (path, body) in [
        ("actions/a", json!({"exec":{"kind":"nodejs:20","code":"c"},"parameters":parameters})),
        ("packages/p", json!({"parameters":parameters})),
    ] {
        let written = put(&world, path, body).await;
        assert_eq!(written["parameters"], parameters, "{path}");
        let read = get(&world, path).await;
        assert_eq!(read["parameters"], locked, "{path}");

        // What was read goes back as it is, and is kept where the request says nothing of it.
        let again = put(&world, &format!("{path}?overwrite=true"), read).await;
        assert_eq!(again["parameters"], locked, "{path}");
        put(&world, &format!("{path}?overwrite=true"), json!({"publish":true})).await;
        assert_eq!(get(&world, path).await["parameters"], locked, "{path}");
        assert_eq!(
            world.guest(&format!("DELETE /api/v1/namespaces/_/{path}")).await.json()["parameters"],
            locked
        );
    }
    let annotations = json!([{"key":"x","value":"open"}]);
    put(&world, "packages/q", json!({"annotations":annotations})).await;
    assert_eq!(get(&world, "packages/q").await["annotations"], annotations);
}

#[tokio::test]
async fn clients_learn_nothing_of_a_transparent_lock() {
    let world = World::of(|parts| parts.parameter_lock = Arc::new(Unseen)).await;
    let parameters = json!([{"key":"a","value":{"secret":1.5}},{"key":"i","value":"env","init":true}]);
    let exec = json!({"kind":"nodejs:20","code":"c"});
    put(&world, "packages/p", json!({"publish":true,"parameters":parameters})).await;
    put(&world, "packages/b", json!({"binding":{"namespace":"_","name":"p"}})).await;
    for (path, body) in [
        ("actions/a", json!({"exec":exec,"parameters":parameters})),
        ("packages/q", json!({"parameters":parameters})),
    ] {
        assert_eq!(put(&world, path, body).await["parameters"], parameters, "{path}");
        assert_eq!(get(&world, path).await["parameters"], parameters, "{path}");
        // An update that says nothing of them keeps and shows them.
        let again = put(&world, &format!("{path}?overwrite=true"), json!({"publish":true})).await;
        assert_eq!(again["parameters"], parameters, "{path}");
        let (_, name) = path.split_once('/').unwrap();
        let stored = world.stored("guest", name).await;
        assert!(stored.contains(r#""encryption":"turn""#) && !stored.contains("secret"), "{stored}");
        let deleted = world.guest(&format!("DELETE /api/v1/namespaces/_/{path}")).await.json();
        assert_eq!(deleted["parameters"], parameters, "{path}");
    }
    put(&world, "actions/p/x", json!({"exec":exec})).await;
    for path in ["actions/p/x", "actions/b/x", "packages/p", "packages/b"] {
        assert_eq!(get(&world, path).await["parameters"], parameters, "{path}");
    }
    // Others see of a shared package what they have always seen.
    let request = Request::new("GET /api/v1/namespaces/guest/packages/p").auth(&alice());
    assert_eq!(world.send(request).await.json()["parameters"], parameters);
    // Whoever got hold of locked text cannot have it opened.
    let stolen = json!([{"key":"s","value":"}1:\"terces\"{","encryption":"turn"}]);
    let open = json!([{"key":"s","value":"}1:\"terces\"{"}]);
    assert_eq!(put(&world, "packages/thief", json!({"parameters":stolen})).await["parameters"], open);
    assert_eq!(get(&world, "packages/thief").await["parameters"], open);
    let trigger = put(&world, "triggers/another-thief", json!({"parameters":stolen})).await;
    assert_eq!(trigger["parameters"], open);
}

#[tokio::test]
async fn functions_get_open_values_however_they_are_laid_over_each_other() {
    let world = world().await;
    let values = |value: &str, keys: &[&str]| {
        let one = |key: &&str| json!({"key":key,"value":[value],"init":key.starts_with('i')});
        Value::Array(keys.iter().map(one).collect())
    };
    put(
        &world,
        "packages/p",
        json!({"parameters":values("p", &["a", "b", "c", "d", "ia", "ib", "ic", "id"])}),
    )
    .await;
    let bind = json!({"binding":{"namespace":"_","name":"p"},"parameters":values("b", &["b", "c", "d", "ib", "ic", "id"])});
    put(&world, "packages/b", bind).await;
    let action =
        json!({"exec":{"kind":"nodejs:20","code":"c"},"parameters":values("x", &["c", "d", "ic", "id"])});
    put(&world, "actions/p/x", action).await;
    for (path, a, b, c, d) in [("b/x", "p", "b", "x", "r"), ("p/x", "p", "p", "x", "r")] {
        let body = json!({"d":["r"],"id":["r"],"e":"request"});
        let response = world.guest_json(&format!("POST /api/v1/namespaces/_/actions/{path}"), body).await;
        assert_eq!(response.status, 202);
        let (arguments, environment, way) = delivered(&world);
        assert_eq!(arguments, json!({"a":[a],"b":[b],"c":[c],"d":[d],"e":"request"}), "{path}");
        assert_eq!(environment, json!({"ia":[a],"ib":[b],"ic":[c],"id":[d]}), "{path}");
        for open in [r#"["p"]"#, r#"["b"]"#, r#"["x"]"#] {
            assert!(!way.contains(open), "{way}");
        }
    }
    // What was stored before there was a key lies beneath what is locked, and above it.
    let open = r#"{"namespace":"guest","name":"old","parameters":[{"key":"a","value":1},{"key":"z","value":1}],"version":"0.0.1","updated":1}"#;
    world.store(Collection::Packages, "guest", "old", open).await;
    let action = json!({"exec":{"kind":"nodejs:20","code":"c"},"parameters":[{"key":"a","value":2}]});
    put(&world, "actions/old/x", action).await;
    world.guest("POST /api/v1/namespaces/_/actions/old/x").await;
    assert_eq!(delivered(&world).0, json!({"a":2,"z":1}));
}

#[tokio::test]
async fn others_run_what_is_locked_and_do_not_see_it() {
    let world = world().await;
    let of_alice = |path: &str, body: Value| {
        world.send(Request::new(&format!("PUT /api/v1/namespaces/_/{path}")).auth(&alice()).json(body))
    };
    let shared = json!({"publish":true,"parameters":[{"key":"a","value":1}]});
    assert_eq!(of_alice("packages/shared", shared).await.status, 200);
    let action = json!({"exec":{"kind":"nodejs:20","code":"c"},"parameters":[{"key":"b","value":2}]});
    assert_eq!(of_alice("actions/shared/act", action).await.status, 200);
    let bind = json!({"binding":{"namespace":"alice","name":"shared"},"parameters":[{"key":"c","value":3}]});
    put(&world, "packages/b", bind).await;

    let veiled = |key: &str| json!({"key":key,"value":null,"encryption":"turn"});
    let own = json!({"key":"c","value":"3","encryption":"turn"});
    for (path, expected) in [
        ("alice/packages/shared", json!([veiled("a")])),
        ("alice/actions/shared/act", json!([veiled("a"), veiled("b")])),
        ("_/packages/b", json!([veiled("a"), own])),
        ("_/actions/b/act", json!([veiled("a"), own, veiled("b")])),
    ] {
        let shown = world.guest(&format!("GET /api/v1/namespaces/{path}")).await.json();
        assert_eq!(shown["parameters"], expected, "{path}");
    }
    assert_eq!(world.guest("POST /api/v1/namespaces/_/actions/b/act").await.status, 202);
    assert_eq!(delivered(&world).0, json!({"a":1,"b":2,"c":3}));
}

#[tokio::test]
async fn nothing_is_stored_open_where_it_should_be_locked() {
    let world = World::of(|parts| parts.parameter_lock = Arc::new(Broken)).await;
    let parameters = json!([{"key":"a","value":"secret"}]);
    let error = "There was an internal server error.";
    for (path, body) in [
        ("actions/a", json!({"exec":{"kind":"nodejs:20","code":"c"},"parameters":parameters})),
        ("packages/p", json!({"parameters":parameters})),
    ] {
        let request = Request::new(&format!("PUT /api/v1/namespaces/_/{path}")).auth(&crate::world::guest());
        world.refused(request.json(body), 500, error).await;
    }
    put(&world, "packages/p", json!({})).await;
}

#[tokio::test]
async fn dead_letters_show_what_their_owner_may_see() {
    for (lock, own, of_others) in [
        (Arc::new(Turn) as Arc<dyn ParameterLock>, Some("\"eno\""), None),
        (Arc::new(Unseen), Some("one"), Some("one")),
    ] {
        let is_transparent = lock.is_transparent("turn");
        let world = World::of(|parts| parts.parameter_lock = lock).await;
        let action = json!({"exec":{"kind":"nodejs:20","code":"c"},"parameters":[{"key":"s","value":"one"}],
            "annotations":[{"key":"dead-letter-trigger","value":"lost"}]});
        put(&world, "actions/own", action.clone()).await;
        let of_alice = async |method: &str, path: &str, body: Value| {
            let line = format!("{method} /api/v1/namespaces/_/{path}");
            let done = world.send(Request::new(&line).auth(&alice()).json(body)).await;
            assert_eq!(done.status, 200, "{done:?}");
        };
        of_alice("PUT", "packages/p", json!({"publish":true})).await;
        of_alice("PUT", "actions/p/theirs", action).await;
        put(&world, "triggers/lost", json!({})).await;
        put(&world, "actions/mourner", json!({"exec":{"kind":"nodejs:20","code":"c"}})).await;
        put(&world, "rules/r", json!({"trigger":"/_/lost","action":"/_/mourner"})).await;
        for (path, shown) in [("_/actions/own", own), ("alice/actions/p/theirs", of_others)] {
            let before = world.ended();
            world.guest_json(&format!("POST /api/v1/namespaces/{path}"), json!({"x":1})).await;
            eventually("it ends", || world.ended() > before).await;
            let invocation = Arc::new(world.invoker.taken.lock().last().unwrap().clone());
            let letter = Arc::new(DeadLetter { invocation, attempts: 3, died_at: 1 });
            world.letters.put(&letter).await.unwrap();
            let id = letter.invocation.activation_id;
            let seen = get(&world, &format!("dead-letters/{id}")).await;
            assert_eq!(seen["arguments"], json!({"s": shown, "x": 1}), "{path}");
            let locked = if is_transparent { Value::Null } else { json!({"s": "turn"}) };
            assert_eq!(seen["locked"], locked, "{path}");
            // Whoever is told gets no secret into records, and nothing of others that could be unlocked.
            world.controller.died(letter);
            eventually("the rule reacts", || world.ended() >= before + 3).await;
            let told = world.invoker.taken.lock().last().unwrap().arguments.clone();
            let told: Value = told.get("arguments").unwrap().read().unwrap();
            let kept = shown.filter(|_| !is_transparent);
            assert_eq!(told, json!({"s": kept, "x": 1}), "{path}");
        }
        // What nobody else may read any more is not shown by a letter either.
        of_alice("PUT", "packages/p?overwrite=true", json!({"publish":false})).await;
        let list = get(&world, "dead-letters?name=p/theirs").await;
        let id = list[0]["activationId"].as_str().unwrap();
        assert_eq!(get(&world, &format!("dead-letters/{id}")).await["arguments"], json!({"s": null, "x": 1}));
    }
}
