//! Activation records: what is kept of every activation.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::exec::SEQUENCE;
use crate::{
    ActivationId, EntityName, EntityPath, Given, Invocation, Millis, Outcome, Parameters, RawJson, Response,
    Subject, Version,
};

/// The record of an activation. Serialises to its stored form; [`Activation::api`] gives the wire form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Activation {
    /// Namespace of the caller.
    pub namespace: EntityPath,
    /// Own name of the action or trigger.
    pub name: EntityName,
    /// Who called.
    pub subject: Subject,
    /// Its id.
    pub activation_id: ActivationId,
    /// Activation that caused this one (sequences, compositions).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<ActivationId>,
    /// Start of initialisation or run, epoch milliseconds.
    pub start: Millis,
    /// End; 0 for triggers, which have none.
    pub end: Millis,
    /// Milliseconds where they differ from end − start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
    /// How it ended.
    #[serde(with = "stored_response")]
    pub response: Response,
    /// Formatted log lines.
    pub logs: Vec<String>,
    /// Version of the action.
    pub version: Version,
    /// Facts about the run.
    pub annotations: Parameters,
    /// What it was given, where its namespace keeps that. Shown to nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Box<Given>>,
}

mod stored_response {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::{Outcome, RawJson, Response};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Stored<R> {
        status_code: Outcome,
        #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
        result: Option<R>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
    }

    pub(super) fn serialize<S: Serializer>(response: &Response, serializer: S) -> Result<S::Ok, S::Error> {
        Stored { status_code: response.outcome, result: response.result.as_ref(), size: response.size }
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Response, D::Error> {
        let stored = Stored::<RawJson>::deserialize(deserializer)?;
        Ok(Response { outcome: stored.status_code, result: stored.result, size: stored.size })
    }
}

impl Activation {
    /// The record of an invocation, as far as the invocation tells: its times are 0, and logs and annotations empty.
    #[must_use]
    pub fn of(invocation: &Invocation, response: Response) -> Self {
        Self {
            namespace: EntityPath::root(&invocation.identity.namespace.name),
            name: invocation.action.name.name.clone(),
            subject: invocation.identity.subject.clone(),
            activation_id: invocation.activation_id,
            cause: invocation.cause,
            start: 0,
            end: 0,
            duration: None,
            response,
            logs: Vec::new(),
            version: invocation.action.version,
            annotations: Parameters::new(),
            given: None,
        }
    }

    /// Milliseconds it took; `None` for triggers.
    #[must_use]
    pub fn duration(&self) -> Option<u64> {
        (self.end != 0).then(|| self.duration.unwrap_or(self.end.saturating_sub(self.start)))
    }

    /// True for the record of a sequence or composition.
    #[must_use]
    pub fn is_session(&self) -> bool {
        let kind = self.annotations.get("kind").and_then(|kind| kind.read::<&str>().ok());
        kind == Some(SEQUENCE)
    }

    /// The record as `GET /activations/{id}` answers it.
    #[must_use]
    pub fn api(&self) -> ApiRecord<'_> {
        ApiRecord { activation: self, logs: &self.logs }
    }

    /// The record as a blocking call answers it: without logs.
    #[must_use]
    pub fn api_without_logs(&self) -> ApiRecord<'_> {
        ApiRecord { activation: self, logs: &[] }
    }

    /// The element of a list.
    #[must_use]
    pub fn summary(&self) -> ApiSummary<'_> {
        ApiSummary { activation: self }
    }

    /// `GET …/result`, also the `response` of records.
    #[must_use]
    pub fn api_response(&self) -> ApiResponse<'_> {
        ApiResponse { response: &self.response }
    }

    /// What the list filter `name` matches: `package/name` for packaged actions (of the binding, if there
    /// was one), else the own name.
    #[must_use]
    pub fn filter_name(&self) -> String {
        let is_unpackaged = |path: &RawJson| {
            let text = path.as_str();
            !text.contains('\\') && text.bytes().filter(|byte| *byte == b'/').count() == 1
        };
        if self.annotations.get("binding").is_none()
            && self.annotations.get("path").is_some_and(is_unpackaged)
        {
            return self.name.to_string();
        }
        let text = |key: &str| self.annotations.get(key).and_then(|value| value.read::<String>().ok());
        let package = |path: &str| {
            let mut parts = path.split('/').skip(1);
            parts.next().map(str::to_owned)
        };
        if let Some(package) = text("binding").as_deref().and_then(package) {
            return format!("{package}/{}", self.name);
        }
        match text("path") {
            Some(path) if path.split('/').count() == 3 => package(&path)
                .map_or_else(|| self.name.to_string(), |package| format!("{package}/{}", self.name)),
            _ => self.name.to_string(),
        }
    }
}

/// Wire form of a record.
#[derive(Debug, Clone, Copy)]
pub struct ApiRecord<'a> {
    activation: &'a Activation,
    logs: &'a [String],
}

impl Serialize for ApiRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let activation = self.activation;
        let mut map = serializer.serialize_map(None)?;
        common_fields(&mut map, activation, activation.duration())?;
        map.serialize_entry("subject", &activation.subject)?;
        map.serialize_entry("response", &activation.api_response())?;
        map.serialize_entry("logs", self.logs)?;
        map.end()
    }
}

/// Wire form of a list element.
#[derive(Debug, Clone, Copy)]
pub struct ApiSummary<'a> {
    activation: &'a Activation,
}

impl Serialize for ApiSummary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        // Lists tell how long it was, also of what records tell the sum of its steps.
        let Activation { start, end, .. } = self.activation;
        common_fields(&mut map, self.activation, (*end != 0).then(|| end.saturating_sub(*start)))?;
        map.serialize_entry("statusCode", &self.activation.response.outcome)?;
        map.end()
    }
}

fn common_fields<M: SerializeMap>(
    map: &mut M,
    activation: &Activation,
    duration: Option<u64>,
) -> Result<(), M::Error> {
    map.serialize_entry("namespace", &activation.namespace)?;
    map.serialize_entry("name", &activation.name)?;
    map.serialize_entry("version", &activation.version)?;
    map.serialize_entry("publish", &false)?;
    map.serialize_entry("annotations", &activation.annotations)?;
    map.serialize_entry("activationId", &activation.activation_id)?;
    map.serialize_entry("start", &activation.start)?;
    if let Some(duration) = duration {
        map.serialize_entry("end", &activation.end)?;
        map.serialize_entry("duration", &duration)?;
    }
    activation.cause.as_ref().map_or(Ok(()), |cause| map.serialize_entry("cause", cause))
}

/// Wire form of a response.
#[derive(Debug, Clone, Copy)]
pub struct ApiResponse<'a> {
    response: &'a Response,
}

impl Serialize for ApiResponse<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            result: Option<&'a RawJson>,
            #[serde(skip_serializing_if = "Option::is_none")]
            size: Option<u64>,
            success: bool,
            status: &'static str,
        }
        let Response { outcome, result, size } = self.response;
        let success = *outcome == Outcome::Success;
        Fields { result: result.as_ref(), size: *size, success, status: outcome.as_str() }
            .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Activation {
        let mut annotations = Parameters::new();
        annotations.set("path", "guest/pkg/hello");
        Activation {
            namespace: EntityPath::parse("guest").unwrap(),
            name: EntityName::new("hello").unwrap(),
            subject: Subject::new("guest").unwrap(),
            activation_id: ActivationId::from_bytes([1; 16]),
            cause: None,
            start: 5,
            end: 7,
            duration: None,
            response: Response {
                outcome: Outcome::Success,
                result: Some(RawJson::parse(br#"{"z":1.0,"a":2}"#).unwrap()),
                size: Some(15),
            },
            logs: vec!["x".to_owned()],
            version: Version::default(),
            annotations,
            given: None,
        }
    }

    #[test]
    fn stored_form_round_trips() {
        let record = record();
        let stored = serde_json::to_string(&record).unwrap();
        assert!(stored.contains(r#""statusCode":0"#), "{stored}");
        assert_eq!(serde_json::from_str::<Activation>(&stored).unwrap(), record);
    }

    #[test]
    fn wire_forms_show_what_clients_expect() {
        let record = record();
        let wire = serde_json::to_string(&record.api()).unwrap();
        assert!(wire.contains(
            r#""response":{"result":{"z":1.0,"a":2},"size":15,"success":true,"status":"success"}"#
        ));
        assert!(
            wire.contains(r#""duration":2"#)
                && wire.contains(r#""publish":false"#)
                && !wire.contains("statusCode")
        );
        let summary = serde_json::to_string(&record.summary()).unwrap();
        assert!(summary.contains(r#""statusCode":0"#) && !summary.contains("response"));
        assert!(serde_json::to_string(&record.api_without_logs()).unwrap().contains(r#""logs":[]"#));
        assert_eq!(record.filter_name(), "pkg/hello");
    }

    #[test]
    fn lists_tell_how_long_it_was_and_records_the_sum_of_its_steps() {
        let session = Activation { start: 5, end: 50, duration: Some(9), ..record() };
        assert!(serde_json::to_string(&session.summary()).unwrap().contains(r#""duration":45"#));
        assert!(serde_json::to_string(&session.api()).unwrap().contains(r#""duration":9"#));
    }

    #[test]
    fn triggers_have_no_end() {
        let wire = serde_json::to_string(&Activation { end: 0, ..record() }.summary()).unwrap();
        assert!(!wire.contains("\"end\"") && !wire.contains("duration"), "{wire}");
    }
}
