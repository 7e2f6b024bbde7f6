//! Attacks on what the node reads: replies and logs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::attack::{Attack, Sign};
use super::stage::{Stage, ordinary};
use crate::functions::{Function, Language, call};
use crate::scenario::{Need, Scenario};

/// What keeps an answer too many from the next call.
const WALLS: &[&str] = &["reply-owner"];
/// Answers twice, by one writing of two lines: the second one is there before anybody can ask again.
const ANSWERS_TWICE: &str = "#!/bin/bash\nprintf '{\"of\":\"this call\"}\\n{\"of\":\"the next one\"}\\n' >/tmp/answers\n\
    while read -r line; do cat /tmp/answers >&3; done\n";

pub(super) fn attacks() -> Vec<Attack> {
    let flood = |lines: bool| json!({"megabytes": 3, "lines": lines});
    vec![
        Attack::new("reply_for_another_activation", "forged_reply", json!({}), &["reply-owner"])
            .by(&[Language::Nodejs, Language::Python])
            .shown_by(Sign::WordOrEnd),
        Attack::new("flood_of_lines", "flood_of_log", flood(true), &["log-limit"]).shown_by(Sign::Log),
        Attack::new("flood_after_the_answer", "flood_later", json!({"megabytes": 3}), &["log-limit"])
            .by(&[Language::Nodejs, Language::Python])
            .shown_by(Sign::LaterLog),
        Attack::new("flood_without_lines", "flood_of_log", flood(false), &["log-limit"]).shown_by(Sign::Log),
    ]
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("containment::an_answer_too_many_is_nobodys", || async {
            let stage = Stage::new(ordinary()).await;
            assert_eq!(second_answer(&stage).await, "this call");
            assert_eq!(stage.canary().await, None);
        }),
        Scenario::new("containment::an_answer_too_many_is_the_next_ones_where_walls_are_open", || async {
            let stage = Stage::without(WALLS, ordinary()).await;
            assert_eq!(second_answer(&stage).await, "the next one");
        })
        .needing(Need::OpenWalls),
    ]
}

/// What the second call of an executable gets that answers the first one twice.
async fn second_answer(stage: &Stage) -> String {
    let code = BASE64.encode(ANSWERS_TWICE);
    let twice = Function::of_image("twice", "openwhisk/actionloop-base", Some(&code));
    twice.put(stage.client()).await;
    let first = call(stage.client(), "twice", &json!({})).await;
    assert_eq!(first.result(), &json!({"of": "this call"}));
    call(stage.client(), "twice", &json!({})).await.result()["of"].as_str().unwrap().to_owned()
}
