//! Parameters at rest: values locked with a key of the platform's, unlocked just before a function gets them, and, where
//! the lock is transparent, before anybody is shown them.

use std::borrow::Cow;
use std::sync::Arc;

use chasen_entity::json::ObjectSplice;
use chasen_entity::{Invocation, Parameter, Parameters, RawJson};

/// Locks and unlocks values of parameters.
pub trait ParameterLock: Send + Sync {
    /// The name of the algorithm and the locked value, a JSON string; `None` if values are to stay open.
    fn lock(&self, value: &RawJson) -> Result<Option<(&'static str, RawJson)>, LockError>;

    /// The value that was locked with this algorithm.
    fn unlock(&self, algorithm: &str, value: &RawJson) -> Result<RawJson, LockError>;

    /// True for an algorithm that clients learn nothing of: they see and send open values only.
    fn is_transparent(&self, _algorithm: &str) -> bool {
        false
    }
}

/// Why a value cannot be locked or unlocked. Says nothing about the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// The platform has no key for this algorithm.
    #[error("no key for parameters locked with '{0}'")]
    NoKey(String),
    /// The value is not one that was locked with the platform's key.
    #[error("a parameter locked with '{algorithm}' cannot be unlocked: {reason}")]
    Unreadable {
        /// Its algorithm.
        algorithm: String,
        /// Which check failed.
        reason: &'static str,
    },
    /// The system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(String),
}

/// Leaves every value open.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLock;

impl ParameterLock for NoLock {
    fn lock(&self, _value: &RawJson) -> Result<Option<(&'static str, RawJson)>, LockError> {
        Ok(None)
    }

    fn unlock(&self, algorithm: &str, _value: &RawJson) -> Result<RawJson, LockError> {
        Err(LockError::NoKey(algorithm.to_owned()))
    }
}

/// The parameters with every open value locked.
pub fn lock_all(lock: &dyn ParameterLock, parameters: Parameters) -> Result<Parameters, LockError> {
    let one = |parameter: Parameter| match parameter.encryption {
        Some(_) => Ok(parameter),
        None => Ok(match lock.lock(&parameter.value)? {
            Some((algorithm, value)) => {
                Parameter { value, encryption: Some(algorithm.to_owned()), ..parameter }
            }
            None => parameter,
        }),
    };
    parameters.into_iter().map(one).collect()
}

/// The parameters as clients may see them: values of transparent algorithms are open. One that cannot be opened is `null`,
/// with its algorithm beside it.
pub fn open_transparent(lock: &dyn ParameterLock, parameters: Parameters) -> Parameters {
    if !parameters.has_locked() {
        return parameters;
    }
    let one = |parameter: Parameter| match &parameter.encryption {
        Some(algorithm) if lock.is_transparent(algorithm) => match lock.unlock(algorithm, &parameter.value) {
            Ok(value) => Parameter { value, encryption: None, ..parameter },
            Err(_) => Parameter { value: RawJson::null(), ..parameter },
        },
        _ => parameter,
    };
    parameters.into_iter().map(one).collect()
}

/// The parameters as a client sent them. Transparent algorithms are not for clients to name: their values are open ones.
pub fn of_client(lock: &dyn ParameterLock, parameters: Parameters) -> Parameters {
    if !parameters.has_locked() {
        return parameters;
    }
    let one = |parameter: Parameter| Parameter {
        encryption: parameter.encryption.filter(|algorithm| !lock.is_transparent(algorithm)),
        ..parameter
    };
    parameters.into_iter().map(one).collect()
}

/// The invocation with everything unlocked; the very same if nothing was locked.
pub fn unlock_invocation(
    lock: &dyn ParameterLock,
    invocation: &Arc<Invocation>,
) -> Result<Arc<Invocation>, LockError> {
    if invocation.locked.is_empty() && !invocation.init_parameters.has_locked() {
        return Ok(invocation.clone());
    }
    let entries = invocation.arguments.entries().unwrap_or_default();
    let mut unlocked = Vec::new();
    for (key, value) in &entries {
        if let Some(algorithm) = invocation.locked.get(&**key) {
            unlocked.push((key.clone(), lock.unlock(algorithm, &RawJson::from(*value))?));
        }
    }
    let mut splice = ObjectSplice::default();
    for (key, value) in entries {
        splice.set(key, value);
    }
    for (key, value) in &unlocked {
        splice.set(Cow::Borrowed(key), value.raw());
    }
    let open = |parameter: Parameter| match &parameter.encryption {
        Some(algorithm) => {
            Ok(Parameter { value: lock.unlock(algorithm, &parameter.value)?, encryption: None, ..parameter })
        }
        None => Ok(parameter),
    };
    let arguments = splice.finish();
    let init_parameters =
        invocation.init_parameters.clone().into_iter().map(open).collect::<Result<_, _>>()?;
    let open = Invocation::clone(invocation);
    Ok(Arc::new(Invocation { arguments, init_parameters, locked: Default::default(), ..open }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::invocation;

    /// Locks by turning a value into the string of its text.
    struct Quote;

    impl ParameterLock for Quote {
        fn lock(&self, value: &RawJson) -> Result<Option<(&'static str, RawJson)>, LockError> {
            Ok(Some(("quote", RawJson::from_value(value.as_str()))))
        }

        fn unlock(&self, algorithm: &str, value: &RawJson) -> Result<RawJson, LockError> {
            let text: String = match algorithm {
                "quote" => value.read().unwrap(),
                other => return Err(LockError::NoKey(other.to_owned())),
            };
            RawJson::parse(text.as_bytes()).map_err(|_| LockError::NoKey(algorithm.to_owned()))
        }

        fn is_transparent(&self, algorithm: &str) -> bool {
            algorithm == "quote"
        }
    }

    #[test]
    fn what_is_locked_comes_out_as_it_was() {
        let parameters: Parameters = serde_json::from_str(
            r#"[{"key":"a","value":{"x":1.50}},{"key":"b","value":2},{"key":"i","value":"s","init":true}]"#,
        )
        .unwrap();
        let locked = lock_all(&Quote, parameters).unwrap();
        assert_eq!(lock_all(&Quote, locked.clone()).unwrap(), locked, "what is locked stays as it is");
        let request = RawJson::parse(br#"{"b":"mine"}"#).unwrap();
        let mut one = invocation("guest", "hello", "memory:1", "{}");
        one.locked = locked.locked(&request);
        one.init_parameters = locked.environment(&request);
        one.arguments = locked.arguments(request);
        assert!(one.arguments.as_str().contains(r#""a":"{\"x\":1.50}""#), "{}", one.arguments.as_str());
        let open = unlock_invocation(&Quote, &Arc::new(one)).unwrap();
        assert_eq!(open.arguments.as_str(), r#"{"a":{"x":1.50},"b":"mine"}"#);
        assert_eq!(open.init_parameters.get("i").unwrap().as_str(), "\"s\"");
        assert!(open.locked.is_empty() && !open.init_parameters.has_locked());
    }

    #[test]
    fn clients_neither_see_nor_name_what_is_transparent() {
        let read = |text: &str| -> Parameters { serde_json::from_str(text).unwrap() };
        let stored = read(
            r#"[{"key":"a","value":"[1]","encryption":"quote"},{"key":"b","value":"[","encryption":"quote"},
                {"key":"c","value":"x","encryption":"aes-128"},{"key":"d","value":1}]"#,
        );
        let shown = read(
            r#"[{"key":"a","value":[1]},{"key":"b","value":null,"encryption":"quote"},
                {"key":"c","value":"x","encryption":"aes-128"},{"key":"d","value":1}]"#,
        );
        assert_eq!(open_transparent(&Quote, stored.clone()), shown);
        let sent = read(
            r#"[{"key":"a","value":"[1]"},{"key":"b","value":"["},
                {"key":"c","value":"x","encryption":"aes-128"},{"key":"d","value":1}]"#,
        );
        assert_eq!(of_client(&Quote, stored), sent);
    }

    #[test]
    fn open_invocations_are_not_copied_and_lost_keys_are_told() {
        let one = Arc::new(invocation("guest", "hello", "memory:1", "{}"));
        assert!(Arc::ptr_eq(&unlock_invocation(&NoLock, &one).unwrap(), &one));
        let mut locked = invocation("guest", "hello", "memory:1", r#"{"a":"x"}"#);
        locked.locked.insert("a".to_owned(), "aes-128".to_owned());
        let error = unlock_invocation(&NoLock, &Arc::new(locked)).unwrap_err();
        assert_eq!(error, LockError::NoKey("aes-128".to_owned()));
    }
}
