//! Parameters on their way to the store and back. At rest they may be locked. A transparent lock is the platform's own
//! affair: clients see open values. What is locked with a key of the operator's is shown to its owner as it is stored,
//! and to nobody else: whoever has the locked text could have it unlocked by a function of his own.

use std::collections::BTreeMap;

use chasen_entity::json::ObjectSplice;
use chasen_entity::{EntityName, EntityPath, Invocation, Parameter, Parameters, RawJson};
use chasen_spi::ParameterLock;
use chasen_spi::parameter_lock::{lock_all, open_transparent};

use crate::aside;
use crate::call::Call;
use crate::entities::ResolvedPackage;
use crate::wire::error::ApiError;

/// The parameters as they go into the store.
pub(crate) async fn lock(call: &Call<'_>, parameters: Parameters) -> Result<Parameters, ApiError> {
    let lock = call.controller.parameter_lock.clone();
    let length = usize::try_from(parameters.size()).unwrap_or(usize::MAX);
    Ok(aside::compute(length, move || lock_all(&*lock, parameters)).await??)
}

/// Parameters as they are stored, opened as far as clients may see them.
pub(crate) async fn opened(call: &Call<'_>, parameters: Parameters) -> Result<Parameters, ApiError> {
    let lock = call.controller.parameter_lock.clone();
    let length = usize::try_from(parameters.size()).unwrap_or(usize::MAX);
    aside::compute(length, move || open_transparent(&*lock, parameters)).await
}

/// Parameters of what lies at this path, as somebody from the namespace `viewer` sees them.
pub(crate) fn shown(
    lock: &dyn ParameterLock,
    parameters: Parameters,
    path: &EntityPath,
    viewer: &EntityName,
) -> Parameters {
    if path.namespace() == viewer.as_str() || !parameters.has_locked() {
        return parameters;
    }
    let veil = |one: Parameter| match &one.encryption {
        Some(algorithm) if !lock.is_transparent(algorithm) => Parameter { value: RawJson::null(), ..one },
        _ => one,
    };
    parameters.into_iter().map(veil).collect()
}

/// What is shown of a value that is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    Open,
    /// As it is stored, its algorithm beside it.
    Locked,
    /// `null` in its place, its algorithm beside it.
    Veiled,
}

/// The arguments of accepted work, and the algorithms of those that are not open; what is locked with an algorithm is shown
/// as `sight` says of it, and veiled where it cannot be opened.
pub(crate) fn of_work(
    lock: &dyn ParameterLock,
    work: &Invocation,
    sight: impl Fn(&str) -> Sight,
) -> (RawJson, BTreeMap<String, String>) {
    if work.locked.is_empty() {
        return (work.arguments.clone(), BTreeMap::new());
    }
    let entries = work.arguments.entries().unwrap_or_default();
    let (mut shown, mut locked) = (Vec::new(), work.locked.clone());
    for (key, value) in &entries {
        let Some(algorithm) = work.locked.get(&**key) else { continue };
        let open = match sight(algorithm) {
            Sight::Locked => continue,
            Sight::Open => lock.unlock(algorithm, &RawJson::from(*value)).ok(),
            Sight::Veiled => None,
        };
        if open.is_some() {
            locked.remove(&**key);
        }
        shown.push((key.clone(), open.unwrap_or_else(RawJson::null)));
    }
    let mut splice = ObjectSplice::default();
    for (key, value) in &entries {
        splice.set(key.clone(), value);
    }
    for (key, value) in &shown {
        splice.set(key.clone(), value.raw());
    }
    (splice.finish(), locked)
}

/// The parameters of a package, those of the binding that it was reached through on top.
pub(crate) fn of_package(
    lock: &dyn ParameterLock,
    package: &ResolvedPackage,
    viewer: &EntityName,
) -> Parameters {
    let provider = &package.provider;
    let beneath = shown(lock, provider.parameters.clone(), &provider.location.namespace, viewer);
    match &package.binding {
        Some(binding) => {
            let own = shown(lock, binding.parameters.clone(), &binding.location.namespace, viewer);
            beneath.merged_with(own)
        }
        None => beneath,
    }
}

#[cfg(test)]
mod tests {
    use chasen_spi::NoLock;

    use super::*;

    #[test]
    fn locked_values_are_for_their_owner() {
        let parameters: Parameters =
            serde_json::from_str(r#"[{"key":"a","value":1},{"key":"b","value":"x","encryption":"aes-128"}]"#)
                .unwrap();
        let path = EntityPath::parse("alice/p").unwrap();
        let seen_by = |viewer: &str| {
            let viewer = EntityName::new(viewer).unwrap();
            serde_json::to_string(&shown(&NoLock, parameters.clone(), &path, &viewer)).unwrap()
        };
        assert_eq!(
            seen_by("alice"),
            r#"[{"key":"a","value":1},{"key":"b","value":"x","encryption":"aes-128"}]"#
        );
        assert_eq!(
            seen_by("guest"),
            r#"[{"key":"a","value":1},{"key":"b","value":null,"encryption":"aes-128"}]"#
        );
    }
}
