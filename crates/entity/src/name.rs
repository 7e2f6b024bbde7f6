//! Names and paths of entities.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error_text;

/// Longest name segment, in characters.
pub const MAX_NAME_LENGTH: usize = 256;

/// One legal segment: 1 to 256 characters, ASCII letters, digits and `_@ .&-`, not starting with
/// one of `-@.& ` and not ending with a space.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityName(Arc<str>);

impl EntityName {
    /// Checks and takes a segment; `None` if it is illegal.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        is_legal_segment(text).then(|| Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_legal_segment(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let inner = |byte: u8| word(byte) || matches!(byte, b'@' | b' ' | b'.' | b'&' | b'-');
    let bytes = text.as_bytes();
    bytes.len() <= MAX_NAME_LENGTH
        && bytes.first().is_some_and(|first| word(*first))
        && bytes.last().is_some_and(|last| *last != b' ')
        && bytes.iter().all(|byte| inner(*byte))
}

impl fmt::Display for EntityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EntityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Serialize for EntityName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EntityName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| serde::de::Error::custom("entity name malformed"))
    }
}

/// One to many segments joined by `/`: `ns`, or `ns/package`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityPath(Arc<str>);

impl EntityPath {
    /// Reads a path; leading and doubled slashes are dropped. The error is the text for the client.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            return Err("requirement failed: path undefined".to_owned());
        }
        if !parts.iter().all(|part| is_legal_segment(part)) {
            return Err(format!(
                "requirement failed: path contains invalid parts ArraySeq({})",
                parts.join(", ")
            ));
        }
        Ok(Self(parts.join("/").into()))
    }

    /// The path of a namespace.
    #[must_use]
    pub fn root(namespace: &EntityName) -> Self {
        Self(namespace.0.clone())
    }

    /// The path of a package.
    #[must_use]
    pub fn package(namespace: &EntityName, package: &EntityName) -> Self {
        Self(format!("{namespace}/{package}").into())
    }

    /// First segment: the namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// Second segment: the package, if the path has one.
    #[must_use]
    pub fn package_name(&self) -> Option<&str> {
        self.0.split_once('/').map(|(_, package)| package)
    }

    /// Number of segments.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.0.split('/').count()
    }

    /// The path as text, without a leading slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntityPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EntityPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Serialize for EntityPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EntityPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Where an entity lies and what it is called: `ns/[package/]name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FullyQualifiedName {
    /// Namespace, or namespace and package.
    pub path: EntityPath,
    /// Own name.
    pub name: EntityName,
}

impl FullyQualifiedName {
    /// The name below this path.
    #[must_use]
    pub fn new(path: EntityPath, name: EntityName) -> Self {
        Self { path, name }
    }

    /// Reads `/ns/[package/]name` or `ns/name`. The error is the text for the client.
    pub fn parse(text: &str) -> Result<Self, String> {
        let whole = EntityPath::parse(text)?;
        let (path, name) =
            whole.as_str().rsplit_once('/').ok_or_else(|| error_text::NAME_NOT_QUALIFIED.to_owned())?;
        let name = EntityName::new(name).ok_or_else(|| error_text::NAME_NOT_QUALIFIED.to_owned())?;
        Ok(Self { path: EntityPath(path.into()), name })
    }
}

impl FullyQualifiedName {
    /// The name with `_` at its root replaced by this namespace.
    #[must_use]
    pub fn resolved(self, namespace: &EntityName) -> Self {
        match self.path.as_str().strip_prefix('_') {
            Some("") => Self { path: EntityPath::root(namespace), ..self },
            Some(rest) if rest.starts_with('/') => {
                Self { path: EntityPath(format!("{namespace}{rest}").into()), ..self }
            }
            _ => self,
        }
    }
}

impl FullyQualifiedName {
    /// The name as the path of what lies in it: a package's actions.
    #[must_use]
    pub fn into_path(self) -> EntityPath {
        EntityPath(format!("{}/{}", self.path, self.name).into())
    }
}

impl fmt::Display for FullyQualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.path, self.name)
    }
}

impl<'de> Deserialize<'de> for FullyQualifiedName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Object { path: EntityPath, name: EntityName },
        }
        match Form::deserialize(deserializer) {
            Ok(Form::Text(text)) => Self::parse(&text).map_err(serde::de::Error::custom),
            Ok(Form::Object { path, name }) => Ok(Self { path, name }),
            Err(_) => Err(serde::de::Error::custom("fully qualified name malformed")),
        }
    }
}

/// `namespace` (with package) and `name`, as documents carry them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// `ns` or `ns/package`.
    pub namespace: EntityPath,
    /// Own name.
    pub name: EntityName,
}

impl Location {
    /// The name in one piece.
    #[must_use]
    pub fn qualified(&self) -> FullyQualifiedName {
        FullyQualifiedName::new(self.namespace.clone(), self.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The grammar of names as it is written down; lengths apart.
    const GRAMMAR: &str = "[A-Za-z0-9_]([A-Za-z0-9_@ .&-]{0,40}[A-Za-z0-9_@.&-])?";

    proptest! {
        #[test]
        fn names_of_the_grammar_are_legal_and_come_back_as_they_are(parts in prop::collection::vec(GRAMMAR, 1..5)) {
            for part in &parts {
                prop_assert!(EntityName::new(part).is_some());
            }
            let joined = parts.join("/");
            let path = EntityPath::parse(&joined).unwrap();
            prop_assert_eq!((path.as_str(), path.segments()), (joined.as_str(), parts.len()));
            prop_assert_eq!(EntityPath::parse(&format!("//{}/", parts.join("//"))).unwrap(), path.clone());
            match FullyQualifiedName::parse(&joined) {
                Ok(name) => prop_assert_eq!(name.into_path(), path),
                Err(reason) => prop_assert!(parts.len() == 1 && reason == error_text::NAME_NOT_QUALIFIED),
            }
        }

        #[test]
        fn one_wrong_letter_makes_a_name_illegal(
            before in "[A-Za-z0-9_@ .&-]{0,20}",
            wrong in "[^A-Za-z0-9_@ .&-]",
            after in "[A-Za-z0-9_@ .&-]{0,20}",
        ) {
            let text = format!("{before}{wrong}{after}");
            prop_assert!(EntityName::new(&text).is_none(), "{:?}", text);
        }

        #[test]
        fn any_text_is_a_name_or_none_by_its_edges_length_and_letters(text in "[A-Za-z0-9_@ .&/é\n-]{0,260}") {
            let letters = text.chars().all(|c| c.is_ascii_alphanumeric() || "_@ .&-".contains(c));
            let first = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let legal = letters && first && !text.ends_with(' ') && text.chars().count() <= MAX_NAME_LENGTH;
            prop_assert_eq!(EntityName::new(&text).is_some(), legal, "{:?}", text);
        }
    }

    #[test]
    fn legal_and_illegal_segments() {
        for legal in ["a b", "a@b.c&d", "_ _", "_", "0.0.0", "a", &"a".repeat(256)] {
            assert!(EntityName::new(legal).is_some(), "{legal:?}");
        }
        for illegal in
            ["", " x", "x ", "a=2b", "a?b", "a()b", "-abc", "&abc", "a\n", "é", "a/b", ".a", &"a".repeat(257)]
        {
            assert!(EntityName::new(illegal).is_none(), "{illegal:?}");
        }
    }

    #[test]
    fn qualified_names_need_two_segments() {
        let name = FullyQualifiedName::parse("/guest/pkg/hello").unwrap();
        assert_eq!(
            (name.path.namespace(), name.path.package_name(), name.name.as_str()),
            ("guest", Some("pkg"), "hello")
        );
        assert_eq!(name.to_string(), "guest/pkg/hello");
        assert_eq!(FullyQualifiedName::parse("hello"), Err(error_text::NAME_NOT_QUALIFIED.to_owned()));
        assert_eq!(FullyQualifiedName::parse(""), Err("requirement failed: path undefined".to_owned()));
    }
}
