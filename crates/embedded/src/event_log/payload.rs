//! Events as payloads: JSON in the forms of the entities, with the caller's key sealed.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chasen_entity::{
    Activation, ActivationId, AuthKey, Event, FullyQualifiedName, Identity, Invocation, Millis, RawJson,
    Version,
};
use chasen_spi::StoreError;
use serde::{Deserialize, Serialize};

use super::record::{Header, Kind};
use crate::node_key::NodeKey;

/// Most bytes of one event. Arguments, results and logs are bounded far below by the limits of actions.
pub(super) const MOST: usize = 256 << 20;
/// Callers whose stored form is remembered.
const REMEMBERED: usize = 1024;

/// Writes and reads payloads.
pub(crate) struct Payloads {
    key: Arc<NodeKey>,
    /// Stored forms of callers by where they lie in memory: sealing each once is enough, and a hundred times cheaper.
    sealed: papaya::HashMap<usize, Sealed>,
}

/// The stored form of one caller.
struct Sealed {
    /// Kept, so that no other one comes to lie in its place.
    _identity: Arc<Identity>,
    text: RawJson,
}

impl Payloads {
    pub(crate) fn new(key: Arc<NodeKey>) -> Self {
        Self { key, sealed: papaya::HashMap::new() }
    }

    /// Writes the payload of an event into the empty buffer, and gives its header.
    pub(super) fn encode(
        &self,
        event: &Event,
        now: Millis,
        buffer: &mut Vec<u8>,
    ) -> Result<Header, StoreError> {
        let id = event.activation_id();
        let header = match event {
            Event::Accepted(invocation) => {
                self.write_accepted(invocation, buffer)?;
                Header { kind: Kind::Accepted, number: 0, time: now, id }
            }
            Event::Started { attempt, at, .. } => {
                Header { kind: Kind::Started, number: *attempt, time: *at, id }
            }
            Event::Progress { state, .. } => {
                buffer.extend_from_slice(state.as_str().as_bytes());
                Header { kind: Kind::Progress, number: 0, time: now, id }
            }
            Event::Finished(record) => {
                write(buffer, record.as_ref())?;
                Header { kind: Kind::Finished, number: 0, time: now, id }
            }
            Event::Ended(_) => Header { kind: Kind::Ended, number: 0, time: now, id },
        };
        if buffer.len() > MOST {
            let length = buffer.len();
            return Err(StoreError::Unavailable(format!(
                "an event of {length} bytes is over the bound of {MOST}"
            )));
        }
        Ok(header)
    }

    /// Reads an accepted invocation.
    pub(super) fn invocation(&self, payload: &[u8]) -> Result<Invocation, StoreError> {
        let invocation: Invocation = read(payload)?;
        let identity = self.open(&invocation.identity)?;
        Ok(Invocation { identity: Arc::new(identity), ..invocation })
    }

    fn write_accepted(&self, invocation: &Invocation, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        let identity = &invocation.identity;
        let place = Arc::as_ptr(identity).addr();
        let sealed = self.sealed.pin();
        if let Some(known) = sealed.get(&place) {
            return write(buffer, &invocation.stored(&known.text));
        }
        if sealed.len() >= REMEMBERED {
            sealed.clear();
        }
        let text = RawJson::from_value(&self.seal(identity)?);
        let known = sealed.get_or_insert(place, Sealed { _identity: identity.clone(), text });
        write(buffer, &invocation.stored(&known.text))
    }

    fn seal(&self, identity: &Identity) -> Result<Identity, StoreError> {
        let AuthKey { uuid, key } = &identity.auth_key;
        let sealed = self
            .key
            .seal(key.as_bytes(), uuid.as_bytes())
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let key = STANDARD_NO_PAD.encode(sealed).into();
        Ok(Identity { auth_key: AuthKey { uuid: uuid.clone(), key }, ..identity.clone() })
    }

    fn open(&self, identity: &Identity) -> Result<Identity, StoreError> {
        let AuthKey { uuid, key } = &identity.auth_key;
        let opened = STANDARD_NO_PAD
            .decode(key.as_bytes())
            .ok()
            .and_then(|sealed| self.key.open_sealed(&sealed, uuid.as_bytes()).ok())
            .and_then(|opened| String::from_utf8(opened).ok())
            .ok_or_else(|| corrupt("the caller's key cannot be opened with this node's key"))?;
        Ok(Identity { auth_key: AuthKey { uuid: uuid.clone(), key: opened.into() }, ..identity.clone() })
    }
}

/// Reads the record of an activation.
pub(crate) fn activation(payload: &[u8]) -> Result<Activation, StoreError> {
    read(payload)
}

/// Reads a progress event.
pub(super) fn progress(payload: &[u8]) -> Result<RawJson, StoreError> {
    RawJson::parse(payload).map_err(|error| corrupt(&error.to_string()))
}

/// The payload of an ended event of a part: what it is a part of.
pub(super) fn write_cause(cause: &ActivationId, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
    write(buffer, cause)
}

/// What the activation of an event is a part of, as far as its ended event tells.
pub(super) fn cause_of(header: &Header, payload: &[u8]) -> Option<ActivationId> {
    let tells = header.kind == Kind::Ended && !payload.is_empty();
    tells.then(|| read(payload).ok()).flatten()
}

/// Reads of an accepted invocation only what it is a part of.
pub(super) fn part_of(payload: &[u8]) -> Option<ActivationId> {
    #[derive(Deserialize)]
    struct Accepted {
        #[serde(default)]
        cause: Option<ActivationId>,
        #[serde(default)]
        fire: Option<ActivationId>,
    }
    let Accepted { cause, fire } = read(payload).ok()?;
    cause.or(fire)
}

/// Reads of an accepted invocation only what runs.
pub(super) fn action(payload: &[u8]) -> Result<(FullyQualifiedName, Version), StoreError> {
    #[derive(Deserialize)]
    struct Accepted {
        action: Action,
    }
    #[derive(Deserialize)]
    struct Action {
        name: FullyQualifiedName,
        version: Version,
    }
    let Accepted { action: Action { name, version } } = read(payload)?;
    Ok((name, version))
}

fn write<T: Serialize>(buffer: &mut Vec<u8>, value: &T) -> Result<(), StoreError> {
    serde_json::to_writer(buffer, value)
        .map_err(|error| StoreError::Unavailable(format!("an event cannot be written: {error}")))
}

fn read<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, StoreError> {
    serde_json::from_slice(payload).map_err(|error| corrupt(&error.to_string()))
}

fn corrupt(why: &str) -> StoreError {
    StoreError::Corrupt { what: "an event of the log".to_owned(), why: why.to_owned() }
}

#[cfg(test)]
pub(super) mod tests {
    use chasen_entity::RawJson;

    use super::*;

    /// Work in its stored form, with a key in clear.
    pub(in super::super) fn invocation() -> Invocation {
        let stored = format!(
            r#"{{"activationId":"{}","transactionId":"tid","blocking":true,"acceptedAt":1,"attempt":1,
            "identity":{{"subject":"guest","namespace":{{"name":"guest","uuid":"u"}},
            "auth_key":{{"uuid":"u","key":"{}"}}}},
            "action":{{"name":"guest/a","version":"0.0.1","revision":1,"exec":{{"kind":"nodejs:20"}},
            "limits":{{"timeout":1,"memory":1,"logs":1,"concurrency":1}},"annotations":[]}},
            "arguments":{{"n":1.0e400}}}}"#,
            chasen_entity::ActivationId::generate(),
            "k".repeat(64)
        );
        serde_json::from_str(&stored).unwrap()
    }

    fn payloads() -> Payloads {
        let folder = tempfile::tempdir().unwrap();
        Payloads::new(Arc::new(NodeKey::open(folder.path()).unwrap()))
    }

    #[test]
    fn invocations_come_back_as_they_were() {
        let payloads = payloads();
        let mut work = invocation();
        work.arguments = RawJson::parse(br#"{"n":1.0e400,"u":"\u00fc"}"#).unwrap();
        let work = Arc::new(work);
        let mut buffer = Vec::new();
        let header = payloads.encode(&Event::Accepted(work.clone()), 7, &mut buffer).unwrap();
        assert_eq!((header.kind, header.time, header.id), (Kind::Accepted, 7, work.activation_id));
        assert_eq!(payloads.invocation(&buffer).unwrap(), *work);
        assert_eq!(action(&buffer).unwrap(), (work.action.name.clone(), work.action.version));
        let text = String::from_utf8(buffer.clone()).unwrap();
        assert!(!text.contains(work.identity.auth_key.key.as_ref()) && !text.contains('\0'));
        assert!(self::payloads().invocation(&buffer).is_err(), "another node's key does not open it");
    }
}
