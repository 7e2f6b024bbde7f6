//! Rules and the links in their triggers agree, whatever is done in whatever order: the API against a model.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::World;

const NAMESPACE: &str = "/api/v1/namespaces/_";

/// What a client does. Triggers and rules are numbers.
#[derive(Debug, Clone)]
enum Step {
    PutTrigger(u8),
    DeleteTrigger(u8),
    PutRule { rule: u8, trigger: Option<u8>, overwrite: bool },
    DeleteRule(u8),
    SetStatus { rule: u8, active: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (trigger, rule) = (0..3u8, 0..3u8);
    let step = prop_oneof![
        2 => trigger.clone().prop_map(Step::PutTrigger),
        1 => trigger.clone().prop_map(Step::DeleteTrigger),
        5 => (rule.clone(), proptest::option::of(trigger), any::<bool>())
            .prop_map(|(rule, trigger, overwrite)| Step::PutRule { rule, trigger, overwrite }),
        1 => rule.clone().prop_map(Step::DeleteRule),
        3 => (rule, any::<bool>()).prop_map(|(rule, active)| Step::SetStatus { rule, active }),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What there should be: links of triggers (true for active), and the trigger of every rule.
#[derive(Debug, Default)]
struct Model {
    triggers: BTreeMap<u8, BTreeMap<u8, bool>>,
    rules: BTreeMap<u8, u8>,
}

impl Model {
    fn is_active(&self, rule: u8) -> bool {
        let trigger = self.rules.get(&rule).and_then(|trigger| self.triggers.get(trigger));
        trigger.and_then(|links| links.get(&rule)).copied().unwrap_or(false)
    }

    /// Does the step; returns the status that the API answers.
    fn step(&mut self, step: &Step) -> u16 {
        match *step {
            Step::PutTrigger(trigger) => {
                self.triggers.entry(trigger).or_default();
                200
            }
            Step::DeleteTrigger(trigger) => self.triggers.remove(&trigger).map_or(404, |_| 200),
            Step::PutRule { rule, trigger, overwrite } => {
                let old = self.rules.get(&rule).copied();
                if old.is_some() && !overwrite {
                    return 409;
                }
                let Some(target) = trigger.or(old) else { return 400 };
                let active = old.is_none() || self.is_active(rule);
                if !self.triggers.contains_key(&target) {
                    return 400;
                }
                if let Some(links) = old.and_then(|old| self.triggers.get_mut(&old)) {
                    links.remove(&rule);
                }
                self.triggers.get_mut(&target).unwrap().insert(rule, active);
                self.rules.insert(rule, target);
                200
            }
            Step::DeleteRule(rule) => match self.rules.remove(&rule) {
                None => 404,
                Some(trigger) => {
                    self.triggers.get_mut(&trigger).map(|links| links.remove(&rule));
                    200
                }
            },
            Step::SetStatus { rule, active } => {
                let Some(trigger) = self.rules.get(&rule) else { return 404 };
                if self.is_active(rule) == active {
                    return 200;
                }
                let Some(links) = self.triggers.get_mut(trigger) else { return 404 };
                links.insert(rule, active);
                200
            }
        }
    }
}

async fn send(world: &World, step: &Step) -> u16 {
    let (line, body) = match *step {
        Step::PutTrigger(trigger) => {
            (format!("PUT {NAMESPACE}/triggers/t{trigger}?overwrite=true"), json!({}))
        }
        Step::DeleteTrigger(trigger) => (format!("DELETE {NAMESPACE}/triggers/t{trigger}"), json!({})),
        Step::PutRule { rule, trigger, overwrite } => (
            format!("PUT {NAMESPACE}/rules/r{rule}?overwrite={overwrite}"),
            json!({"trigger": trigger.map(|trigger| format!("/_/t{trigger}")), "action": "/_/a"}),
        ),
        Step::DeleteRule(rule) => (format!("DELETE {NAMESPACE}/rules/r{rule}"), json!({})),
        Step::SetStatus { rule, active } => {
            (format!("POST {NAMESPACE}/rules/r{rule}"), json!({"status": status(active)}))
        }
    };
    world.guest_json(&line, body).await.status
}

fn status(active: bool) -> &'static str {
    if active { "active" } else { "inactive" }
}

async fn agrees(world: &World, model: &Model) {
    let listed = world.guest(&format!("GET {NAMESPACE}/triggers")).await.json();
    assert_eq!(listed.as_array().unwrap().len(), model.triggers.len());
    for (trigger, links) in &model.triggers {
        let found = world.guest(&format!("GET {NAMESPACE}/triggers/t{trigger}")).await.json();
        let rules = found["rules"].as_object().cloned().unwrap_or_default();
        let found: Value = rules.iter().map(|(rule, link)| (rule.clone(), link["status"].clone())).collect();
        let expected: Value =
            links.iter().map(|(rule, active)| (format!("guest/r{rule}"), json!(status(*active)))).collect();
        assert_eq!(found, expected, "t{trigger}");
    }
    let listed = world.guest(&format!("GET {NAMESPACE}/rules")).await.json();
    assert_eq!(listed.as_array().unwrap().len(), model.rules.len());
    for (rule, trigger) in &model.rules {
        let found = world.guest(&format!("GET {NAMESPACE}/rules/r{rule}")).await.json();
        assert_eq!(found["trigger"]["name"], format!("t{trigger}"));
        assert_eq!(found["status"], status(model.is_active(*rule)), "r{rule}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rules_and_links_agree(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            world.create("a", "").await;
            let mut model = Model::default();
            for step in &steps {
                assert_eq!(send(&world, step).await, model.step(step), "{step:?} in {steps:?}");
            }
            agrees(&world, &model).await;
        });
    }
}
