//! What a session notes before each of its steps, so that it goes on there after a crash of the node. Pure.

use chasen_entity::{ActivationId, RawJson};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Form of the notes. One of another form is not read: its session ends as interrupted.
const FORM: u32 = 1;

/// Where a session stands, and the step that it takes there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Note<S> {
    /// Its state while the step runs.
    pub(super) state: S,
    /// Steps that it and all that lies around and inside it had taken before.
    pub(super) taken: u32,
    /// Id of the step.
    pub(super) step: ActivationId,
    /// Payload of the step.
    pub(super) payload: RawJson,
}

#[derive(Serialize, Deserialize)]
struct Written<S, P> {
    state: S,
    taken: u32,
    step: ActivationId,
    /// Absent where it is what the session was invoked with.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    payload: Option<P>,
}

impl<S> Note<S> {
    /// The text of a note, of a session that was invoked with these arguments.
    pub(super) fn write(&self, arguments: &RawJson) -> RawJson
    where
        S: Serialize,
    {
        let payload = (self.payload.as_str() != arguments.as_str()).then_some(&self.payload);
        let Self { state, taken, step, .. } = self;
        write(&Written { state, taken: *taken, step: *step, payload })
    }

    /// Reads what [`write`](Self::write) wrote. The error says why it cannot be read.
    pub(super) fn read(text: &RawJson, arguments: &RawJson) -> Result<Self, String>
    where
        S: DeserializeOwned,
    {
        let Written { state, taken, step, payload } = read::<Written<S, RawJson>>(text)?;
        Ok(Self { state, taken, step, payload: payload.unwrap_or_else(|| arguments.clone()) })
    }
}

/// The text of whatever is noted.
pub(super) fn write<T: Serialize>(value: &T) -> RawJson {
    RawJson::from_value(&(FORM, value))
}

/// Reads what [`write`] wrote. The error says why it cannot be read.
pub(super) fn read<T: DeserializeOwned>(text: &RawJson) -> Result<T, String> {
    let (form, value) = text.read::<(u32, RawJson)>().map_err(|error| error.to_string())?;
    if form != FORM {
        return Err(format!("it is of form {form}, this is form {FORM}"));
    }
    value.read().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activate::ledger::tests::json;

    fn note(payload: &str) -> Note<String> {
        let step = ActivationId::from_bytes([7; 16]);
        Note { state: "here".to_owned(), taken: 3, step, payload: json(payload) }
    }

    #[test]
    fn notes_are_read_as_they_were_written_and_payloads_untouched() {
        let arguments = json(r#"{"a":1.0}"#);
        for payload in [r#"{"a":1.0}"#, r#"{"a":1.00}"#, "[1e2]"] {
            let text = note(payload).write(&arguments);
            let read = Note::read(&text, &arguments).unwrap();
            assert_eq!(read, note(payload));
            assert_eq!(read.payload.as_str(), payload);
            assert_eq!(text.as_str().contains("payload"), payload != arguments.as_str());
        }
    }

    #[test]
    fn notes_of_another_form_say_so() {
        for (text, why) in [
            (r#"[2,{"new":1}]"#, "form 2"),
            (r#"[1,{}]"#, "missing field"),
            ("{}", "invalid type"),
            ("7", "invalid type"),
        ] {
            let error = Note::<String>::read(&json(text), &json("{}")).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
