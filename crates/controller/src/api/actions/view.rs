//! Actions on the wire: documents with their code, and elements of lists.

use chasen_entity::action::ActionName;
use chasen_entity::{Action, ActionLimits, Millis, Parameters, Version};
use chasen_spi::Document;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::ApiError;

/// An action as clients see it.
#[derive(Debug, Serialize)]
pub(super) struct ActionView<'a> {
    #[serde(flatten)]
    name: &'a ActionName,
    exec: ExecView<'a>,
    parameters: &'a Parameters,
    limits: ActionLimits,
    version: Version,
    publish: bool,
    annotations: &'a Parameters,
    updated: Millis,
}

#[derive(Debug, Serialize)]
struct ExecView<'a> {
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    binary: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    main: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
}

impl<'a> ActionView<'a> {
    /// An action with the text of its code, or without.
    pub(super) fn new(action: &'a Action, code: Option<&'a [u8]>) -> Result<Self, ApiError> {
        let exec = &action.exec;
        let code = code.map(std::str::from_utf8).transpose();
        let code = code.map_err(|why| ApiError::corrupt(&action.name.qualified(), &why))?;
        Ok(Self {
            name: &action.name,
            exec: ExecView {
                kind: &exec.kind,
                code,
                binary: exec.binary,
                main: exec.main.as_deref(),
                image: exec.image.as_deref(),
            },
            parameters: &action.parameters,
            limits: action.limits,
            version: action.version,
            publish: action.publish,
            annotations: &action.annotations,
            updated: action.updated,
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
    binary: bool,
}

impl<'a> Summary<'a> {
    pub(super) fn of(document: &'a Document) -> Result<Self, ApiError> {
        serde_json::from_str(&document.body).map_err(|why| ApiError::corrupt(&document.id.name, &why))
    }
}
