//! What the platform says about itself to anybody.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use chasen_entity::Manifest;
use serde_json::{Value, json};

use crate::config::ControllerConfig;
use crate::controller::Controller;
use crate::wire::reply::{Cors, Reply};

/// What clients are told where there is no bound: they read 32-bit integers.
pub(crate) const UNLIMITED: u32 = i32::MAX.unsigned_abs();
const MB: u64 = 1024 * 1024;

/// Both documents, each written once: that of the deployment for every manifest.
pub(crate) struct InfoDocuments {
    deployment: ArcSwapOption<(Arc<Manifest>, Bytes)>,
    api: Bytes,
}

impl InfoDocuments {
    pub(crate) fn new(config: &ControllerConfig) -> Self {
        Self { deployment: ArcSwapOption::empty(), api: api_document(config).to_string().into() }
    }
}

/// `GET /`
pub(crate) fn deployment(controller: &Controller) -> Reply {
    let manifest = controller.runtimes.manifest();
    let written = controller.info.deployment.load();
    if let Some((of, text)) = written.as_deref()
        && Arc::ptr_eq(of, &manifest)
    {
        return Reply::prepared_json(text.clone());
    }
    let text = Bytes::from(deployment_document(&manifest, &controller.config).to_string());
    controller.info.deployment.store(Some(Arc::new((manifest.clone(), text.clone()))));
    Reply::prepared_json(text)
}

/// `GET /api/v1`
pub(crate) fn api(controller: &Controller) -> Reply {
    Reply::prepared_json(controller.info.api.clone()).with_cors(Cors::Rest)
}

fn deployment_document(manifest: &Manifest, config: &ControllerConfig) -> Value {
    let rates = config.rates;
    let bounds = config.limit_bounds;
    let default = config.namespace_limits.bounds(bounds);
    let bytes = |mb: u32| u64::from(mb) * MB;
    json!({
        "description": "OpenWhisk",
        "support": {
            "github": "https://github.com/apache/openwhisk/issues",
            "slack": "http://slack.openwhisk.org",
        },
        "api_paths": ["/api/v1"],
        "limits": {
            "actions_per_minute": rates.invocations_per_minute.unwrap_or(UNLIMITED),
            "triggers_per_minute": rates.fires_per_minute.unwrap_or(UNLIMITED),
            "concurrent_actions": rates.concurrent_invocations.unwrap_or(UNLIMITED),
            "sequence_length": config.sequence_length,
            "default_min_action_duration": default.timeout.min,
            "default_max_action_duration": default.timeout.max,
            "default_min_action_memory": bytes(default.memory.min),
            "default_max_action_memory": bytes(default.memory.max),
            "default_min_action_logs": bytes(default.logs.min),
            "default_max_action_logs": bytes(default.logs.max),
            "min_action_duration": bounds.timeout.min,
            "max_action_duration": bounds.timeout.max,
            "min_action_memory": bytes(bounds.memory.min),
            "max_action_memory": bytes(bounds.memory.max),
            "min_action_logs": bytes(bounds.logs.min),
            "max_action_logs": bytes(bounds.logs.max),
        },
        "runtimes": runtimes(manifest),
    })
}

fn runtimes(manifest: &Manifest) -> Value {
    let families = manifest.runtimes.iter().map(|(family, kinds)| {
        let kinds = kinds.iter().map(|kind| {
            json!({
                "kind": kind.kind,
                "image": kind.image.to_string(),
                "deprecated": kind.deprecated,
                "default": kind.default,
                "attached": kind.attached.is_some(),
                "requireMain": kind.require_main,
            })
        });
        (family.clone(), kinds.collect())
    });
    Value::Object(families.collect())
}

fn api_document(config: &ControllerConfig) -> Value {
    json!({
        "description": "OpenWhisk API",
        "api_version": "1.0.0",
        "api_version_path": "v1",
        "build": config.build,
        "buildno": env!("CARGO_PKG_VERSION"),
        "swagger_paths": {"ui": "/docs", "api-docs": "/api-docs"},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_in_milliseconds_and_bytes() {
        let manifest =
            r#"{"runtimes":{"go":[{"kind":"go:1.20","image":{"prefix":"p","name":"n"},"default":true}]}}"#;
        let manifest = Manifest::parse(manifest).unwrap();
        let document = deployment_document(&manifest, &ControllerConfig::default());
        assert_eq!(document["limits"]["max_action_memory"], 536_870_912);
        assert_eq!(document["limits"]["max_action_duration"], 300_000);
        assert_eq!(document["limits"]["concurrent_actions"], 10_000);
        assert_eq!(document["limits"]["actions_per_minute"], 2_147_483_647);
        assert_eq!(
            document["runtimes"]["go"][0],
            json!({"kind":"go:1.20","image":"p/n","deprecated":false,"default":true,"attached":false,"requireMain":false})
        );
    }
}
