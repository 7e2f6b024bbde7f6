//! Limits of one namespace.

use serde::{Deserialize, Serialize};

use crate::error_text;
use crate::limits::Range;
use crate::{ByteSize, Durability, LimitBounds, NetworkPolicy, SchedulingPolicy};

/// Limits of one namespace, as its limits document says. What is absent follows the platform's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserLimits {
    /// Invocations in a calendar minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invocations_per_minute: Option<u32>,
    /// Invocations in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_invocations: Option<u32>,
    /// Fires of triggers in a calendar minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fires_per_minute: Option<u32>,
    /// Kinds that its actions may have; an empty list allows all, like an absent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_kinds: Option<Vec<String>>,
    /// False if its activations leave no records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_activations: Option<bool>,
    /// MB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_action_memory: Option<u32>,
    /// MB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_action_memory: Option<u32>,
    /// MB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_action_logs: Option<u32>,
    /// MB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_action_logs: Option<u32>,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_action_timeout: Option<u32>,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_action_timeout: Option<u32>,
    /// Activations that share a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_action_concurrency: Option<u32>,
    /// Activations that share a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_action_concurrency: Option<u32>,
    /// Longest `parameters` and `annotations` of an entity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parameter_size: Option<ByteSize>,
    /// Longest arguments and results.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_payload_size: Option<ByteSize>,
    /// How much is kept of a result that is too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncation_size: Option<ByteSize>,
    /// Containers of an action that are kept although they have idled for as long as containers are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmed_container_keeping_count: Option<u32>,
    /// How long those are kept beyond that (`10 minutes`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmed_container_keeping_timeout: Option<String>,
    /// Most containers that an action may ask for with `instances`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_action_instances: Option<u32>,
    /// Policy that its actions are scheduled by, whatever they ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_policy: Option<SchedulingPolicy>,
    /// What its blocking calls are answered that do not end in time, where they do not say so themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocking_timeout_status: Option<TimeoutStatus>,
    /// What the events of its activations outlive, of both those that are waited for and those that are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// True if records keep the arguments of their activations, so that they can be replayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_parameters: Option<bool>,
    /// How many earlier versions of each of its actions are kept; 100 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_versions: Option<u32>,
    /// Where its functions may connect to, if their action does not narrow that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkPolicy>,
}

/// The status of a blocking call whose activation does not end in time; a number in documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "u16", try_from = "u16")]
pub enum TimeoutStatus {
    /// 202, and the id of the activation.
    #[default]
    Accepted,
    /// 504 as an error, and the id of the activation.
    GatewayTimeout,
}

impl From<TimeoutStatus> for u16 {
    fn from(status: TimeoutStatus) -> Self {
        match status {
            TimeoutStatus::Accepted => 202,
            TimeoutStatus::GatewayTimeout => 504,
        }
    }
}

impl TryFrom<u16> for TimeoutStatus {
    type Error = String;

    fn try_from(status: u16) -> Result<Self, Self::Error> {
        match status {
            202 => Ok(Self::Accepted),
            504 => Ok(Self::GatewayTimeout),
            other => Err(error_text::timeout_status(&other.to_string())),
        }
    }
}

impl UserLimits {
    /// True if they let nothing run.
    #[must_use]
    pub fn is_blacklist(&self) -> bool {
        self.invocations_per_minute == Some(0) || self.concurrent_invocations == Some(0)
    }

    /// Names of all fields, in the order that documents are shown in.
    pub const FIELDS: [&'static str; 25] = [
        "invocationsPerMinute",
        "concurrentInvocations",
        "firesPerMinute",
        "allowedKinds",
        "storeActivations",
        "minActionMemory",
        "maxActionMemory",
        "minActionLogs",
        "maxActionLogs",
        "minActionTimeout",
        "maxActionTimeout",
        "minActionConcurrency",
        "maxActionConcurrency",
        "maxParameterSize",
        "maxPayloadSize",
        "truncationSize",
        "warmedContainerKeepingCount",
        "warmedContainerKeepingTimeout",
        "maxActionInstances",
        "schedulingPolicy",
        "blockingTimeoutStatus",
        "durability",
        "keepParameters",
        "keptVersions",
        "network",
    ];

    /// These limits, and where they say nothing, those.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            invocations_per_minute: self.invocations_per_minute.or(other.invocations_per_minute),
            concurrent_invocations: self.concurrent_invocations.or(other.concurrent_invocations),
            fires_per_minute: self.fires_per_minute.or(other.fires_per_minute),
            allowed_kinds: self.allowed_kinds.or(other.allowed_kinds),
            store_activations: self.store_activations.or(other.store_activations),
            min_action_memory: self.min_action_memory.or(other.min_action_memory),
            max_action_memory: self.max_action_memory.or(other.max_action_memory),
            min_action_logs: self.min_action_logs.or(other.min_action_logs),
            max_action_logs: self.max_action_logs.or(other.max_action_logs),
            min_action_timeout: self.min_action_timeout.or(other.min_action_timeout),
            max_action_timeout: self.max_action_timeout.or(other.max_action_timeout),
            min_action_concurrency: self.min_action_concurrency.or(other.min_action_concurrency),
            max_action_concurrency: self.max_action_concurrency.or(other.max_action_concurrency),
            max_parameter_size: self.max_parameter_size.or(other.max_parameter_size),
            max_payload_size: self.max_payload_size.or(other.max_payload_size),
            truncation_size: self.truncation_size.or(other.truncation_size),
            warmed_container_keeping_count: self
                .warmed_container_keeping_count
                .or(other.warmed_container_keeping_count),
            warmed_container_keeping_timeout: self
                .warmed_container_keeping_timeout
                .or(other.warmed_container_keeping_timeout),
            max_action_instances: self.max_action_instances.or(other.max_action_instances),
            scheduling_policy: self.scheduling_policy.or(other.scheduling_policy),
            blocking_timeout_status: self.blocking_timeout_status.or(other.blocking_timeout_status),
            durability: self.durability.or(other.durability),
            keep_parameters: self.keep_parameters.or(other.keep_parameters),
            kept_versions: self.kept_versions.or(other.kept_versions),
            network: self.network.or(other.network),
        }
    }

    /// The bounds of this namespace's actions: its own ones within the platform's.
    #[must_use]
    pub fn bounds(&self, system: LimitBounds) -> LimitBounds {
        let within = |min: Option<u32>, max: Option<u32>, system: Range| Range {
            min: min.map_or(system.min, |min| min.max(system.min)),
            max: max.map_or(system.max, |max| max.min(system.max)),
        };
        LimitBounds {
            timeout: within(self.min_action_timeout, self.max_action_timeout, system.timeout),
            memory: within(self.min_action_memory, self.max_action_memory, system.memory),
            logs: within(self.min_action_logs, self.max_action_logs, system.logs),
            concurrency: within(self.min_action_concurrency, self.max_action_concurrency, system.concurrency),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn every_field() -> Value {
        json!({
            "invocationsPerMinute": 1, "concurrentInvocations": 2, "firesPerMinute": 3,
            "allowedKinds": ["nodejs:20"], "storeActivations": false,
            "minActionMemory": 4, "maxActionMemory": 5, "minActionLogs": 6, "maxActionLogs": 7,
            "minActionTimeout": 8, "maxActionTimeout": 9, "minActionConcurrency": 10, "maxActionConcurrency": 11,
            "maxParameterSize": "12 MB", "maxPayloadSize": "13 KB", "truncationSize": "14 B",
            "warmedContainerKeepingCount": 15, "warmedContainerKeepingTimeout": "16 minutes", "maxActionInstances": 17,
            "schedulingPolicy": "event-driven",
            "blockingTimeoutStatus": 504,
            "durability": "synced", "keepParameters": true, "keptVersions": 18,
            "network": "allow:a.example:443",
        })
    }

    #[test]
    fn every_field_is_read_written_and_named() {
        let limits: UserLimits = serde_json::from_value(every_field()).unwrap();
        let written = serde_json::to_value(&limits).unwrap();
        assert_eq!(written, every_field());
        let text = serde_json::to_string(&limits).unwrap();
        let places: Vec<_> =
            UserLimits::FIELDS.iter().map(|field| text.find(&format!("\"{field}\""))).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
        assert_eq!(written.as_object().unwrap().len(), UserLimits::FIELDS.len());
    }

    #[test]
    fn what_a_namespace_does_not_say_follows_the_defaults() {
        let all: UserLimits = serde_json::from_value(every_field()).unwrap();
        assert_eq!(UserLimits::default().or(&all), all);
        assert_eq!(all.clone().or(&UserLimits::default()), all);
        let own = UserLimits { fires_per_minute: Some(99), ..UserLimits::default() };
        assert_eq!(own.clone().or(&all), UserLimits { fires_per_minute: Some(99), ..all });
    }

    #[test]
    fn a_call_that_is_late_is_accepted_or_an_error() {
        for status in [TimeoutStatus::Accepted, TimeoutStatus::GatewayTimeout] {
            assert_eq!(TimeoutStatus::try_from(u16::from(status)), Ok(status));
        }
        assert_eq!(TimeoutStatus::try_from(418), Err("'418' is not one of 202 and 504.".to_owned()));
    }

    fn limit() -> impl Strategy<Value = Option<u32>> {
        proptest::option::of(0..1000u32)
    }

    proptest! {
        #[test]
        fn a_namespace_may_only_narrow_its_bounds(
            mins in [limit(), limit(), limit(), limit()],
            maxs in [limit(), limit(), limit(), limit()],
            system in [(0..500u32, 500..1000u32), (0..500, 500..1000), (0..500, 500..1000), (0..500, 500..1000)],
        ) {
            let [timeout, memory, logs, concurrency] = system.map(|(min, max)| Range { min, max });
            let system = LimitBounds { timeout, memory, logs, concurrency };
            let own = UserLimits {
                min_action_timeout: mins[0], max_action_timeout: maxs[0],
                min_action_memory: mins[1], max_action_memory: maxs[1],
                min_action_logs: mins[2], max_action_logs: maxs[2],
                min_action_concurrency: mins[3], max_action_concurrency: maxs[3],
                ..UserLimits::default()
            };
            let bounds = own.bounds(system);
            let pairs = [
                (bounds.timeout, timeout), (bounds.memory, memory), (bounds.logs, logs),
                (bounds.concurrency, concurrency),
            ];
            for (index, (own, system)) in pairs.into_iter().enumerate() {
                prop_assert_eq!(own.min, mins[index].unwrap_or(0).max(system.min));
                prop_assert_eq!(own.max, maxs[index].unwrap_or(u32::MAX).min(system.max));
            }
            prop_assert_eq!(own.bounds(bounds), bounds, "once narrowed is narrowed");
            prop_assert_eq!(UserLimits::default().bounds(system), system);
        }
    }
}
