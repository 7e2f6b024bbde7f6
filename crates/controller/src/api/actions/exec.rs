//! `exec` of a request: what an action is to execute, checked field by field.

use chasen_entity::exec::{BLACKBOX, SEQUENCE};
use chasen_entity::manifest::RuntimeKind;
use chasen_entity::{EntityName, FullyQualifiedName, ImageReference, Manifest, error_text};
use serde_json::value::RawValue;

use super::sequence;
use crate::wire::body::Fields;

/// Longest part of a refused value that an error repeats, in characters.
const ECHO: usize = 256;

/// `exec` as sent, of a kind that this platform has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct NewExec {
    /// Concrete kind, or `blackbox`, or `sequence`.
    pub(super) kind: String,
    pub(super) code: Option<String>,
    pub(super) main: Option<String>,
    /// Image of a blackbox action, without digest.
    pub(super) image: Option<String>,
    /// Actions of a sequence; of too many only the first.
    pub(super) components: Vec<FullyQualifiedName>,
}

/// What `exec` is read by, beside itself.
pub(crate) struct ExecRules<'a> {
    pub(crate) manifest: &'a Manifest,
    /// Namespace of the caller.
    pub(crate) own: &'a EntityName,
    /// Most actions of a sequence.
    pub(crate) sequence_length: u32,
}

impl NewExec {
    /// Reads `exec`. The error is the reason for the client.
    pub(crate) fn read(value: &RawValue, rules: &ExecRules<'_>) -> Result<Self, String> {
        let fields = Fields::of(value).ok_or("JSON object expected")?;
        let kind = fields.get("kind").and_then(text).ok_or("'kind' must be a string defined in 'exec'")?;
        let kind = kind.trim().to_lowercase();
        if kind == BLACKBOX {
            return Self::read_blackbox(&fields);
        }
        if kind == SEQUENCE {
            let components = fields.get("components");
            let components = sequence::read_components(components, rules.own, rules.sequence_length)?;
            return Ok(Self { kind, components, ..Self::default() });
        }
        let manifest = rules.manifest;
        let runtime = manifest.resolve(&kind).ok_or_else(|| unknown_kind(&kind, manifest))?;
        let main = main(&fields, &runtime.kind)?;
        if runtime.require_main && main.is_none() {
            return Err(format!("'main' must be a string defined in 'exec' for '{}' actions", runtime.kind));
        }
        Ok(Self {
            kind: runtime.kind.clone(),
            code: Some(required_code(&fields, runtime)?),
            main,
            ..Self::default()
        })
    }

    fn read_blackbox(fields: &Fields<'_>) -> Result<Self, String> {
        let image = fields
            .get("image")
            .and_then(text)
            .ok_or("'image' must be a string defined in 'exec' for 'blackbox' actions")?;
        if ImageReference::parse(&image).is_none() {
            return Err("could not parse image name".to_owned());
        }
        let code = sent_code(fields).map(code_text).transpose()?;
        Ok(Self {
            kind: BLACKBOX.to_owned(),
            code: code.filter(|code| !code.trim().is_empty()),
            main: main(fields, BLACKBOX)?,
            image: image.split('@').next().map(str::to_owned),
            ..Self::default()
        })
    }

    /// Bytes that count for the bound.
    pub(crate) fn size(&self) -> u64 {
        let parts = [&self.code, &self.main, &self.image].into_iter().flatten().map(String::len);
        let components = self.components.iter().map(|name| format!("/{name}").len());
        parts.chain(components).map(|length| length as u64).sum()
    }
}

fn main(fields: &Fields<'_>, kind: &str) -> Result<Option<String>, String> {
    let unreadable = || format!("if defined, 'main' be a string in 'exec' for '{kind}' actions");
    fields.get("main").map(|value| text(value).ok_or_else(unreadable)).transpose()
}

/// `jar` is what `code` was called once.
fn sent_code<'a>(fields: &Fields<'a>) -> Option<&'a RawValue> {
    fields.get("code").or_else(|| fields.get("jar"))
}

fn required_code(fields: &Fields<'_>, runtime: &RuntimeKind) -> Result<String, String> {
    let form = if runtime.attached.is_some() { "string or attachment object" } else { "string" };
    let missing = || format!("'code' must be a {form} defined in 'exec' for '{}' actions", runtime.kind);
    code_text(sent_code(fields).ok_or_else(missing)?)
}

fn code_text(value: &RawValue) -> Result<String, String> {
    text(value).ok_or_else(|| {
        let json: String = value.get().chars().take(ECHO).collect();
        format!("Could not deserialize as attachment record: {json}")
    })
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// The reason against a kind that is none.
pub(super) fn unknown_kind(kind: &str, manifest: &Manifest) -> String {
    let kind: String = kind.chars().take(ECHO).collect();
    let mut valid: Vec<String> = manifest.kinds().map(|kind| kind.kind.clone()).collect();
    valid.extend([SEQUENCE, BLACKBOX].map(str::to_owned));
    error_text::unknown_kind(&kind, &valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(exec: &str) -> Result<NewExec, String> {
        let manifest = r#"{"runtimes":{
            "nodejs":[{"kind":"nodejs:20","aliases":["nodejs:6"],"image":{"name":"n"},"default":true,"attached":{}}],
            "java":[{"kind":"java:8","image":{"name":"j"},"requireMain":true,"deprecated":true}]}}"#;
        let value: Box<RawValue> = serde_json::from_str(exec).unwrap();
        let (manifest, own) = (Manifest::parse(manifest).unwrap(), EntityName::new("guest").unwrap());
        NewExec::read(&value, &ExecRules { manifest: &manifest, own: &own, sequence_length: 50 })
    }

    #[test]
    fn kinds_resolve_and_fields_are_kept() {
        let exec = read(r#"{"kind":" NodeJS:Default","code":"x\u00e9","main":"m","z":1}"#).unwrap();
        assert_eq!(
            (exec.kind.as_str(), exec.code.as_deref(), exec.main.as_deref()),
            ("nodejs:20", Some("xé"), Some("m"))
        );
        assert_eq!(exec.size(), 4);
        let exec = read(r#"{"kind":"java:default","jar":"AAAA","main":"M"}"#).unwrap();
        assert_eq!((exec.kind.as_str(), exec.code.as_deref()), ("java:8", Some("AAAA")));
        assert_eq!(read(r#"{"kind":"NodeJS:6","code":""}"#).unwrap().kind, "nodejs:20", "an alias");
        assert_eq!(read(r#"{"kind":"nodejs:20","code":""}"#).unwrap().code.as_deref(), Some(""));
    }

    #[test]
    fn blackboxes_have_an_image_and_perhaps_code() {
        let digest = "0".repeat(64);
        let exec =
            read(&format!(r#"{{"kind":"blackbox","image":"r.io:5/a/b:t@sha256:{digest}","code":"  "}}"#))
                .unwrap();
        assert_eq!((exec.image.as_deref(), exec.code), (Some("r.io:5/a/b:t"), None));
        let exec = read(r#"{"kind":"blackbox","image":"a","code":"c"}"#).unwrap();
        assert_eq!((exec.code.as_deref(), exec.size()), (Some("c"), 2));
    }

    #[test]
    fn sequences_have_components_and_nothing_else() {
        let exec = read(r#"{"kind":"Sequence","components":["/_/a","n/p/b"],"code":1,"image":2}"#).unwrap();
        let names: Vec<String> = exec.components.iter().map(ToString::to_string).collect();
        assert_eq!((exec.kind.as_str(), names), ("sequence", vec!["guest/a".to_owned(), "n/p/b".to_owned()]));
        assert_eq!((exec.size(), exec.code), (14, None));
    }

    #[test]
    fn reasons_are_exact() {
        for (exec, reason) in [
            (r#"{"kind":"sequence"}"#, "'components' must be defined for sequence kind"),
            ("[]", "JSON object expected"),
            ("{}", "'kind' must be a string defined in 'exec'"),
            (r#"{"kind":1}"#, "'kind' must be a string defined in 'exec'"),
            (
                r#"{"kind":"nodejs"}"#,
                "The specified runtime 'nodejs' is not supported by this platform. Valid values are: 'java:8', 'nodejs:20', 'sequence', 'blackbox'.",
            ),
            (
                r#"{"kind":"nodejs:20"}"#,
                "'code' must be a string or attachment object defined in 'exec' for 'nodejs:20' actions",
            ),
            (
                r#"{"kind":"java:8","main":"M"}"#,
                "'code' must be a string defined in 'exec' for 'java:8' actions",
            ),
            (
                r#"{"kind":"java:8","code":"x"}"#,
                "'main' must be a string defined in 'exec' for 'java:8' actions",
            ),
            (
                r#"{"kind":"nodejs:20","code":"","main":null}"#,
                "if defined, 'main' be a string in 'exec' for 'nodejs:20' actions",
            ),
            (r#"{"kind":"nodejs:20","code":null}"#, "Could not deserialize as attachment record: null"),
            (
                r#"{"kind":"nodejs:20","code":{"a":1}}"#,
                r#"Could not deserialize as attachment record: {"a":1}"#,
            ),
            (r#"{"kind":"blackbox"}"#, "'image' must be a string defined in 'exec' for 'blackbox' actions"),
            (r#"{"kind":"blackbox","image":"a b"}"#, "could not parse image name"),
        ] {
            assert_eq!(read(exec), Err(reason.to_owned()), "{exec}");
        }
    }
}
