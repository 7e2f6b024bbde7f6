//! Actions on the wire: documents with their code, and elements of lists.

use chasen_entity::{Action, ActionLimits, FullyQualifiedName, Location, Millis, Parameters, Version};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::wire::error::ApiError;

/// An action as clients see it.
#[derive(Debug, Serialize)]
pub(super) struct ActionView<'a> {
    #[serde(flatten)]
    location: &'a Location,
    exec: ExecView<'a>,
    parameters: &'a Parameters,
    limits: ActionLimits,
    version: Version,
    publish: bool,
    annotations: &'a Parameters,
    updated: Millis,
    /// `ns/binding` of an action without code that was reached through one.
    #[serde(skip_serializing_if = "Option::is_none")]
    binding: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ExecView<'a> {
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    /// Sequences have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    binary: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    main: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    /// `/ns/[package/]name` of each, of a sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    components: Option<Vec<String>>,
}

impl<'a> ActionView<'a> {
    /// An action with the text of its code, or without.
    pub(super) fn new(
        action: &'a Action,
        code: Option<&'a [u8]>,
        binding: Option<&'a str>,
    ) -> Result<Self, ApiError> {
        let component = |name: &FullyQualifiedName| format!("/{name}");
        let exec = &action.exec;
        let code = code.map(std::str::from_utf8).transpose();
        let code = code.map_err(|why| ApiError::corrupt(&action.location.qualified(), &why))?;
        Ok(Self {
            location: &action.location,
            exec: ExecView {
                kind: &exec.kind,
                code,
                binary: (!exec.is_sequence()).then_some(exec.binary),
                main: exec.main.as_deref(),
                image: exec.image.as_deref(),
                components: exec.is_sequence().then(|| exec.components.iter().map(component).collect()),
            },
            parameters: &action.parameters,
            limits: action.limits,
            version: action.version,
            publish: action.publish,
            annotations: &action.annotations,
            updated: action.updated,
            binding,
        })
    }
}

/// The element of a list: fields of the stored document, copied as text.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Summary<'a> {
    #[serde(borrow)]
    namespace: &'a RawValue,
    #[serde(borrow)]
    name: &'a RawValue,
    #[serde(borrow)]
    version: &'a RawValue,
    publish: bool,
    #[serde(borrow)]
    annotations: &'a RawValue,
    #[serde(borrow)]
    limits: &'a RawValue,
    exec: ExecSummary,
    updated: Millis,
}

#[derive(Debug, Serialize, Deserialize)]
struct ExecSummary {
    #[serde(default)]
    binary: bool,
}
