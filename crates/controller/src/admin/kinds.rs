//! Changes of the kinds, as text comes in: a manifest that does not pass its checks never leaves here.

use chasen_entity::Manifest;
use chasen_entity::manifest::RuntimeKind;
use chasen_spi::RuntimesKeeper;
use serde_json::Value;

use super::AdminError;

/// Reads a whole manifest.
pub fn read_manifest(text: &str) -> Result<Manifest, AdminError> {
    Manifest::parse(text).map_err(|error| AdminError::Runtimes(error.to_string()))
}

/// The manifest with the kind of this document: in place of the one of its name, or at the end of the family that its
/// name begins with. A new default takes the place of the old one.
pub fn with_kind(mut manifest: Manifest, name: &str, document: &str) -> Result<Manifest, AdminError> {
    let new = read_kind(name, document)?;
    let present = manifest.runtimes.iter().find(|(_, kinds)| kinds.iter().any(|kind| kind.kind == name));
    let family = match present {
        Some((family, _)) => family.clone(),
        None => name.split(':').next().unwrap_or_default().to_owned(),
    };
    let kinds = manifest.runtimes.entry(family).or_default();
    if new.default {
        kinds.iter_mut().for_each(|kind| kind.default = false);
    }
    match kinds.iter_mut().find(|kind| kind.kind == name) {
        Some(place) => *place = new,
        None => kinds.push(new),
    }
    checked(&manifest)
}

/// The manifest without this kind, and without its family if it was the last of it.
pub fn without_kind(mut manifest: Manifest, name: &str) -> Result<Manifest, AdminError> {
    let before = manifest.kinds().count();
    manifest.runtimes.values_mut().for_each(|kinds| kinds.retain(|kind| kind.kind != name));
    if manifest.kinds().count() == before {
        return Err(AdminError::NoKind(name.to_owned()));
    }
    manifest.runtimes.retain(|_, kinds| !kinds.is_empty());
    checked(&manifest)
}

/// Refuses a manifest with kinds that a node could not work with. What is in force already is not in question.
pub fn check_news(keeper: &dyn RuntimesKeeper, present: &Manifest, new: &Manifest) -> Result<(), AdminError> {
    let mut news = new.kinds().filter(|kind| !present.kinds().any(|known| known == *kind));
    news.try_for_each(|kind| keeper.check(kind)).map_err(AdminError::Runtimes)
}

/// Reads a kind; its name may be left out, for the one who sends it says it.
fn read_kind(name: &str, text: &str) -> Result<RuntimeKind, AdminError> {
    let bad = |why: String| AdminError::Runtimes(format!("kind '{name}': {why}"));
    let mut document: Value = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
    if let Value::Object(fields) = &mut document {
        let own = fields.entry("kind").or_insert_with(|| name.into());
        if own.as_str() != Some(name) {
            return Err(bad(format!("its document is that of the kind {own}")));
        }
    }
    serde_json::from_value(document).map_err(|error| bad(error.to_string()))
}

/// What was put together must pass the checks of what is read.
fn checked(manifest: &Manifest) -> Result<Manifest, AdminError> {
    let text = serde_json::to_string(manifest).map_err(|error| AdminError::Runtimes(error.to_string()))?;
    read_manifest(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"runtimes":{"nodejs":[{"kind":"nodejs:18","image":{"name":"n"},"default":true}]}}"#;
    const USUAL: &str = r#"{"image":{"name":"i"}}"#;
    const DEFAULT: &str = r#"{"image":{"name":"i"},"default":true}"#;

    fn kinds(manifest: &Manifest) -> Vec<(&str, bool)> {
        manifest.kinds().map(|kind| (kind.kind.as_str(), kind.default)).collect()
    }

    #[test]
    fn kinds_join_their_family_and_leave_it() {
        let manifest = read_manifest(ONE).unwrap();
        let manifest = with_kind(manifest, "nodejs:20", USUAL).unwrap();
        assert_eq!(kinds(&manifest), [("nodejs:18", true), ("nodejs:20", false)]);
        let manifest = with_kind(manifest, "nodejs:20", DEFAULT).unwrap();
        assert_eq!(kinds(&manifest), [("nodejs:18", false), ("nodejs:20", true)]);
        let manifest = with_kind(manifest, "go:1", USUAL).unwrap();
        assert_eq!(kinds(&manifest), [("go:1", true), ("nodejs:18", false), ("nodejs:20", true)]);
        let manifest = without_kind(manifest, "go:1").unwrap();
        assert!(!manifest.runtimes.contains_key("go"));
        let manifest = without_kind(manifest, "nodejs:20").unwrap();
        assert_eq!(kinds(&manifest), [("nodejs:18", true)], "the last one is the default");
    }

    #[test]
    fn a_family_keeps_a_default_and_what_is_not_there_cannot_leave() {
        let two = with_kind(read_manifest(ONE).unwrap(), "nodejs:20", USUAL).unwrap();
        let three = with_kind(two, "nodejs:22", USUAL).unwrap();
        let error = without_kind(three.clone(), "nodejs:18").unwrap_err();
        assert_eq!(error.to_string(), "nodejs has multiple versions, but no default.");
        assert!(matches!(without_kind(three, "nodejs:17"), Err(AdminError::NoKind(_))));
    }

    #[test]
    fn bad_kinds_say_which_and_what() {
        for (name, text, part) in [
            ("go:1", "", "kind 'go:1': EOF"),
            ("go:1", "[]", "kind 'go:1': "),
            ("go:1", "{}", "kind 'go:1': missing field `image`"),
            ("go:1", r#"{"kind":"go:2"}"#, "kind 'go:1': its document is that of the kind \"go:2\""),
            ("go:1", r#"{"image":{"name":"n"},"stemCells":[{"count":"x"}]}"#, "kind 'go:1': "),
            (
                "go:1",
                r#"{"image":{"name":"n"},"stemCells":[{"count":0,"memory":"1 MB"}]}"#,
                "stem cells of 'go:1': ",
            ),
            ("Go:1", USUAL, "'Go:1' in family 'Go' is no name of a kind"),
        ] {
            let reason = with_kind(read_manifest(ONE).unwrap(), name, text).unwrap_err().to_string();
            assert!(reason.starts_with(part), "{reason}");
        }
    }
}
