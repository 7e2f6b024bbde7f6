//! Invocations: one request to run one action, as plain data.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    ActivationId, Delivery, Durability, EntityName, ExecutableAction, FullyQualifiedName, Identity, Millis,
    NetworkPolicy, Parameters, RawJson, Revision, StoreLevel, TransactionId,
};

/// What an invocation is to the platform.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A container or isolate runs the action.
    #[default]
    Action,
    /// The platform runs the components of the action, a sequence, one after the other.
    Sequence,
    /// The platform runs the action, a conductor, and whatever it asks for, in turns.
    Composition,
    /// The platform fires a trigger: `action` has its name and version, kind [`TRIGGER`], and `arguments` the
    /// payload; the actions of its rules get these parameters beneath the payload.
    Fire {
        /// Parameters of the trigger, then `__ow_headers`.
        beneath: Parameters,
    },
}

/// Kind in the `action` of an invocation that fires a trigger.
pub const TRIGGER: &str = "trigger";

/// Annotation of a record: the activation that it repeats.
pub const REPLAY_OF: &str = "replayOf";

/// Everything that is needed to run an action once. The invoke door takes nothing else. Written as
/// [`stored`](Self::stored) says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invocation {
    /// Id of the activation that this becomes.
    pub activation_id: ActivationId,
    /// Request that asked for it.
    pub transaction_id: TransactionId,
    /// What it is to the platform.
    #[serde(default)]
    pub role: Role,
    /// Who asked; the activation lives in this namespace.
    pub identity: Arc<Identity>,
    /// What runs.
    pub action: Arc<ExecutableAction>,
    /// `ns/binding` if the action was reached through one.
    #[serde(default)]
    pub binding: Option<String>,
    /// Arguments: a JSON object or array.
    pub arguments: RawJson,
    /// Algorithms that values of `arguments` are still locked with, by key.
    #[serde(default, rename = "lockedArgs")]
    pub locked: BTreeMap<String, String>,
    /// Parameters for the environment at initialisation; locked ones say so themselves.
    #[serde(default)]
    pub init_parameters: Parameters,
    /// Digest of the stored parameters for the environment: those of action, package and binding, without what this
    /// call sets. A container that was initialised for one serves no other. `None` where there are none.
    #[serde(default)]
    pub environment: Option<Arc<str>>,
    /// True if somebody waits for the result.
    pub blocking: bool,
    /// Sequence or composition that this is a step of.
    #[serde(default)]
    pub cause: Option<ActivationId>,
    /// Fire whose rule asks for it.
    #[serde(default)]
    pub fire: Option<ActivationId>,
    /// When the request arrived.
    pub accepted_at: Millis,
    /// Which ends leave a record.
    #[serde(default)]
    pub store: StoreLevel,
    /// What happens if it is lost.
    #[serde(default)]
    pub delivery: Delivery,
    /// What its events outlive.
    #[serde(default)]
    pub durability: Durability,
    /// 1 for the first try.
    pub attempt: u32,
    /// When it is to run, if that is not at once; epoch milliseconds.
    #[serde(default)]
    pub due: Option<Millis>,
    /// Activation that this one repeats.
    #[serde(default)]
    pub replay_of: Option<ActivationId>,
    /// Epoch of the owner that accepted it; 0 on a single node.
    #[serde(default)]
    pub epoch: u64,
    /// W3C `traceparent`, if the request had one.
    #[serde(default)]
    pub trace_context: Option<String>,
}

/// An invocation as events store it: what is read back as an [`Invocation`].
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stored<'a> {
    activation_id: ActivationId,
    transaction_id: &'a TransactionId,
    #[serde(skip_serializing_if = "Role::is_action")]
    role: &'a Role,
    identity: &'a RawJson,
    action: &'a RawJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    binding: Option<&'a str>,
    arguments: &'a RawJson,
    #[serde(rename = "lockedArgs", skip_serializing_if = "BTreeMap::is_empty")]
    locked: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Parameters::is_empty")]
    init_parameters: &'a Parameters,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'a str>,
    blocking: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<ActivationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fire: Option<ActivationId>,
    accepted_at: Millis,
    #[serde(skip_serializing_if = "StoreLevel::is_always")]
    store: &'a StoreLevel,
    delivery: Delivery,
    #[serde(skip_serializing_if = "Durability::is_memory")]
    durability: &'a Durability,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay_of: Option<ActivationId>,
    epoch: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_context: Option<&'a str>,
}

/// What containers and queues are kept by: who calls, which action, the environment that it was initialised with, and
/// where it may connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActionKey {
    /// Namespace of the caller.
    pub namespace: EntityName,
    /// Action that runs.
    pub action: FullyQualifiedName,
    /// [`Invocation::environment`].
    pub environment: Option<Arc<str>>,
    /// [`Invocation::network`].
    pub network: NetworkPolicy,
    /// The state of the action, if it is one that was replaced before it was asked for.
    pub superseded: Option<Revision>,
}

impl Role {
    /// True if a container or isolate does the work.
    #[must_use]
    pub fn is_action(&self) -> bool {
        *self == Self::Action
    }
}

impl Invocation {
    /// The queue this belongs to.
    #[must_use]
    pub fn key(&self) -> ActionKey {
        ActionKey {
            namespace: self.identity.namespace.name.clone(),
            action: self.action.name.clone(),
            environment: self.environment.clone(),
            network: self.network(),
            superseded: self.action.superseded.then_some(self.action.revision),
        }
    }

    /// The open work that asks for it: it was accepted as part of that.
    #[must_use]
    pub fn part_of(&self) -> Option<ActivationId> {
        self.cause.or(self.fire)
    }

    /// Where the function may connect to. A container that was made with one policy serves no other.
    #[must_use]
    pub fn network(&self) -> NetworkPolicy {
        match (&self.identity.limits.network, &self.action.texts().network) {
            (None, None) => NetworkPolicy::Internet,
            (Some(namespace), None) => namespace.clone(),
            (None, Some(own)) => own.clone(),
            (Some(namespace), Some(own)) => namespace.narrowed(own),
        }
    }

    /// Body of `/run`, spliced around the untouched arguments. What is delivered at least once is told which try it is.
    /// `deadline` is in epoch milliseconds and a string on the wire.
    #[must_use]
    pub fn run_body(&self, deadline: Millis) -> String {
        let texts = self.action.texts();
        let mut body = String::with_capacity(self.arguments.as_str().len() + texts.run.len() + 512);
        body.push_str("{\"value\":");
        body.push_str(self.arguments.as_str());
        let mut push = |key: &str, value: &str| {
            body.push_str(key);
            crate::json::push_string(&mut body, value);
        };
        push(",\"namespace\":", self.identity.namespace.name.as_str());
        push(",\"activation_id\":", self.activation_id.digits().as_str());
        push(",\"transaction_id\":", self.transaction_id.as_str());
        if texts.provides_api_key {
            push(",\"api_key\":", &self.identity.auth_key.to_credentials());
        }
        body.push_str(&texts.run);
        // Writing into a string cannot fail.
        if self.delivery == Delivery::AtLeastOnce {
            let _ = write!(body, ",\"attempt\":\"{}\"", self.attempt);
        }
        let _ = write!(body, ",\"deadline\":\"{deadline}\"}}");
        body
    }

    /// The invocation in its stored form, with this text in the place of its identity: a store seals the key.
    pub fn stored<'a>(&'a self, identity: &'a RawJson) -> impl Serialize + 'a {
        Stored {
            activation_id: self.activation_id,
            transaction_id: &self.transaction_id,
            role: &self.role,
            identity,
            action: &self.action.texts().stored,
            binding: self.binding.as_deref(),
            arguments: &self.arguments,
            locked: &self.locked,
            init_parameters: &self.init_parameters,
            environment: self.environment.as_deref(),
            blocking: self.blocking,
            cause: self.cause,
            fire: self.fire,
            accepted_at: self.accepted_at,
            store: &self.store,
            delivery: self.delivery,
            durability: &self.durability,
            attempt: self.attempt,
            due: self.due,
            replay_of: self.replay_of,
            epoch: self.epoch,
            trace_context: self.trace_context.as_deref(),
        }
    }

    /// The `env` of `/init`: init parameters as texts, then the `__OW_*` set.
    #[must_use]
    pub fn init_env(&self, deadline: Millis) -> Vec<(String, String)> {
        let mut env: Vec<(String, String)> = self
            .init_parameters
            .iter()
            .map(|parameter| (parameter.key.clone(), env_text(&parameter.value)))
            .collect();
        env.extend(
            self.context(deadline)
                .into_iter()
                .map(|(key, value)| (format!("__OW_{}", key.to_ascii_uppercase()), value)),
        );
        env
    }

    fn context(&self, deadline: Millis) -> Vec<(&'static str, String)> {
        let mut context = vec![
            ("namespace", self.identity.namespace.name.to_string()),
            ("action_name", format!("/{}", self.action.name)),
            ("action_version", self.action.version.to_string()),
            ("activation_id", self.activation_id.to_string()),
            ("transaction_id", self.transaction_id.to_string()),
            ("deadline", deadline.to_string()),
        ];
        if self.action.provides_api_key() {
            context.push(("api_key", self.identity.auth_key.to_credentials()));
        }
        if self.delivery == Delivery::AtLeastOnce {
            context.push(("attempt", self.attempt.to_string()));
        }
        context
    }
}

/// An environment value: texts as they are, null as nothing, everything else as its compact JSON text.
fn env_text(value: &RawJson) -> String {
    match value.as_str() {
        "null" => String::new(),
        _ => value.text().unwrap_or_else(|| value.clone().compact().as_str().to_owned()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        ActionLimits, AuthKey, EntityPath, Exec, Namespace, Parameter, Subject, UserLimits, Version,
    };

    pub(crate) fn invocation(arguments: &str) -> Invocation {
        let name = EntityName::new("guest").unwrap();
        Invocation {
            activation_id: ActivationId::from_bytes([9; 16]),
            transaction_id: TransactionId::from_client(Some("tid")),
            role: Role::Action,
            identity: Arc::new(Identity {
                subject: Subject::new("guest").unwrap(),
                namespace: Namespace { name: name.clone(), uuid: "u".into() },
                auth_key: AuthKey::parse(&format!("u:{}", "k".repeat(64))).unwrap(),
                limits: UserLimits::default(),
            }),
            action: Arc::new(ExecutableAction {
                name: FullyQualifiedName::new(EntityPath::root(&name), EntityName::new("hello").unwrap()),
                version: Version::default(),
                revision: 1,
                exec: Exec { kind: "nodejs:20".to_owned(), ..Exec::default() },
                limits: ActionLimits::default(),
                annotations: Parameters::new(),
                superseded: false,
                texts: crate::action::Texts::default(),
            }),
            binding: None,
            arguments: RawJson::parse(arguments.as_bytes()).unwrap(),
            locked: BTreeMap::new(),
            init_parameters: Parameters::new(),
            environment: None,
            blocking: true,
            cause: None,
            fire: None,
            accepted_at: 1,
            store: StoreLevel::StoreAlways,
            delivery: Delivery::AtMostOnce,
            durability: Durability::Memory,
            attempt: 1,
            due: None,
            replay_of: None,
            epoch: 0,
            trace_context: None,
        }
    }

    #[test]
    fn run_bodies_keep_arguments_untouched() {
        let mut one = invocation(r#"{"n":1.0e400,"ü":"\u00fc"}"#);
        let body = one.run_body(77);
        assert!(
            body.starts_with(
                r#"{"value":{"n":1.0e400,"ü":"\u00fc"},"namespace":"guest","activation_id":"0909"#
            ),
            "{body}"
        );
        assert!(body.contains(r#","action_name":"/guest/hello","action_version":"0.0.1","deadline":"77"}"#));
        assert!(body.contains(r#""deadline":"77""#) && body.contains("api_key"));
        let mut action = ExecutableAction::clone(&one.action);
        action.annotations.set("provide-api-key", &false);
        one.action = Arc::new(action);
        assert!(!one.run_body(77).contains("api_key"));
    }

    #[test]
    fn what_is_delivered_at_least_once_is_told_which_try_it_is() {
        let once = invocation("{}");
        assert!(!once.run_body(77).contains("attempt"));
        let again = Invocation { delivery: Delivery::AtLeastOnce, attempt: 2, ..once };
        assert!(again.run_body(77).contains(r#","attempt":"2","deadline":"77"}"#), "{}", again.run_body(77));
        assert!(again.init_env(77).contains(&("__OW_ATTEMPT".to_owned(), "2".to_owned())));
    }

    #[test]
    fn init_parameters_become_texts() {
        let mut one = invocation("{}");
        for (key, value) in [("S", "\"x\""), ("N", "null"), ("B", "true"), ("O", r#"{ "a": 1 }"#)] {
            one.init_parameters.insert(Parameter {
                key: key.to_owned(),
                value: RawJson::parse(value.as_bytes()).unwrap(),
                init: true,
                encryption: None,
            });
        }
        let env = one.init_env(5);
        let get = |key: &str| env.iter().find(|(name, _)| name == key).unwrap().1.as_str();
        assert_eq!([get("S"), get("N"), get("B"), get("O")], ["x", "", "true", r#"{"a":1}"#]);
        assert_eq!(get("__OW_ACTION_NAME"), "/guest/hello");
    }

    #[test]
    fn invocations_are_plain_data() {
        let one = invocation(r#"{"a":1.00}"#);
        let text = serde_json::to_string(&one.stored(&RawJson::from_value(one.identity.as_ref()))).unwrap();
        assert_eq!(serde_json::from_str::<Invocation>(&text).unwrap(), one);
    }
}
