//! What an activation was given, so that it can be done once more.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Invocation, Parameters, RawJson};

/// Arguments and environment of an activation; what was locked is still so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Given {
    /// [`Invocation::arguments`]
    pub arguments: RawJson,
    /// [`Invocation::locked`]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub locked: BTreeMap<String, String>,
    /// [`Invocation::init_parameters`]
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub init_parameters: Parameters,
    /// [`Invocation::environment`]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Arc<str>>,
}

impl Given {
    /// What an invocation as the log has it was given. One that was unlocked to run would have its secrets in it.
    #[must_use]
    pub fn of(accepted: &Invocation) -> Self {
        Self {
            arguments: accepted.arguments.clone(),
            locked: accepted.locked.clone(),
            init_parameters: accepted.init_parameters.clone(),
            environment: accepted.environment.clone(),
        }
    }
}
