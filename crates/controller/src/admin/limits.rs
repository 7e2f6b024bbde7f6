//! Limits of namespaces, on a store of subjects, whether a node runs on it or not.

use chasen_entity::UserLimits;
use chasen_entity::manifest::parse_duration_millis;
use chasen_spi::SubjectStore;
use serde_json::{Map, Value};

use super::AdminError;
use crate::entities::versions::MOST_KEPT as MOST_KEPT_VERSIONS;

/// The limits set for a namespace; `None` if the platform's apply.
pub async fn get(subjects: &dyn SubjectStore, namespace: &str) -> Result<Option<UserLimits>, AdminError> {
    Ok(subjects.limits(namespace).await?)
}

/// Sets the limits of a namespace in place of what there was, or beside it where the document says nothing.
/// Returns what is set then.
pub async fn set(
    subjects: &dyn SubjectStore,
    namespace: &str,
    document: &Value,
    merge: bool,
) -> Result<UserLimits, AdminError> {
    let mut limits = read(document)?;
    if merge && let Some(present) = subjects.limits(namespace).await? {
        limits = limits.or(&present);
    }
    subjects.set_limits(namespace, Some(&limits)).await?;
    Ok(limits)
}

/// Removes the limits of a namespace.
pub async fn delete(subjects: &dyn SubjectStore, namespace: &str) -> Result<(), AdminError> {
    Ok(subjects.set_limits(namespace, None).await?)
}

/// Reads a limits document. One with a field that is none would limit less than its writer believes.
pub fn read(document: &Value) -> Result<UserLimits, AdminError> {
    let Value::Object(fields) = document else {
        return Err(AdminError::Limits("a limits document is a JSON object".to_owned()));
    };
    if let Some(unknown) = fields.keys().find(|key| !UserLimits::FIELDS.contains(&key.as_str())) {
        let known = UserLimits::FIELDS.join(", ");
        return Err(AdminError::Limits(format!("'{unknown}' is no limit; there are {known}")));
    }
    // One by one, so that the error can say where it is.
    for (field, value) in fields {
        let alone = Map::from_iter([(field.clone(), value.clone())]);
        if let Err(error) = serde_json::from_value::<UserLimits>(Value::Object(alone)) {
            return Err(AdminError::Limits(format!("{field}: {error}")));
        }
    }
    let limits: UserLimits =
        serde_json::from_value(document.clone()).map_err(|error| AdminError::Limits(error.to_string()))?;
    if let Some(kept) = limits.kept_versions.filter(|kept| *kept > MOST_KEPT_VERSIONS) {
        return Err(AdminError::Limits(format!(
            "keptVersions: {kept} is over the bound of {MOST_KEPT_VERSIONS}"
        )));
    }
    // Stored ones may say anything, as long as it had no meaning.
    match &limits.warmed_container_keeping_timeout {
        Some(time) if parse_duration_millis(time).is_none() => Err(AdminError::Limits(format!(
            "warmedContainerKeepingTimeout: '{time}' is no duration; write it like '10 minutes'"
        ))),
        _ => Ok(limits),
    }
}

#[cfg(test)]
mod tests {
    use chasen_spi::memory::MemorySubjectStore;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn limits_are_merged_replaced_and_removed() {
        let subjects = MemorySubjectStore::default();
        let set = async |document: Value, merge| {
            let limits = set(&subjects, "guest", &document, merge).await.unwrap();
            assert_eq!(get(&subjects, "guest").await.unwrap().as_ref(), Some(&limits));
            serde_json::to_value(limits).unwrap()
        };
        assert_eq!(get(&subjects, "guest").await.unwrap(), None);
        assert_eq!(set(json!({"firesPerMinute": 1}), true).await, json!({"firesPerMinute": 1}));
        assert_eq!(
            set(json!({"maxParameterSize": "1 KB"}), true).await,
            json!({"firesPerMinute": 1, "maxParameterSize": "1 KB"})
        );
        assert_eq!(set(json!({"storeActivations": false}), false).await, json!({"storeActivations": false}));
        delete(&subjects, "guest").await.unwrap();
        assert_eq!(get(&subjects, "guest").await.unwrap(), None);
    }

    #[test]
    fn bad_documents_say_where_and_what() {
        for (document, part) in [
            (json!([]), "a limits document is a JSON object"),
            (json!({"firesPerMinut": 1}), "'firesPerMinut' is no limit; there are invocationsPerMinute, "),
            (json!({"firesPerMinute": -1}), "firesPerMinute: "),
            (json!({"firesPerMinute": 4_294_967_296u64}), "firesPerMinute: "),
            (json!({"allowedKinds": "nodejs:20"}), "allowedKinds: "),
            (
                json!({"schedulingPolicy": "lean"}),
                "schedulingPolicy: \"lean\" is not a scheduling policy; there are ",
            ),
            (json!({"blockingTimeoutStatus": "504"}), "blockingTimeoutStatus: "),
            (json!({"network": "some"}), "network: \"some\" is not a network policy; there are none, "),
            (json!({"network": "allow:a b"}), "network: \"a b\" is not a destination: "),
            (
                json!({"warmedContainerKeepingTimeout": "for ever"}),
                "warmedContainerKeepingTimeout: 'for ever' is no",
            ),
            (
                json!({"warmedContainerKeepingTimeout": "9999999999999 days"}),
                "warmedContainerKeepingTimeout: ",
            ),
            (json!({"keptVersions": 101}), "keptVersions: 101 is over the bound of 100"),
            (json!({"keptVersions": -1}), "keptVersions: "),
            (json!({"keepParameters": "yes"}), "keepParameters: "),
            (json!({"maxPayloadSize": "1 XB"}), "maxPayloadSize: Size Unit not supported."),
        ] {
            let text = read(&document).unwrap_err().to_string();
            assert!(text.starts_with(part), "{text}");
        }
    }
}
