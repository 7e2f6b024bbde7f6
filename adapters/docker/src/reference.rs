//! References of images: where they come from, and which version they mean.

/// Registry of references that name none.
const DEFAULT_REGISTRY: &str = "docker.io";

/// A reference taken apart. Borrowed from the text that was checked when the action was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reference<'a> {
    /// Everything before the version: `registry:5000/path/name`.
    pub(crate) name: &'a str,
    /// Which one of that name.
    pub(crate) version: Version<'a>,
}

/// Which image of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version<'a> {
    /// None is named, or `latest`: it moves.
    Latest,
    /// A tag that somebody chose.
    Tag(&'a str),
    /// The content itself, `sha256:…`: it never changes.
    Digest(&'a str),
}

impl<'a> Reference<'a> {
    pub(crate) fn parse(image: &'a str) -> Self {
        let (tagged, digest) = match image.split_once('@') {
            Some((tagged, digest)) => (tagged, Some(digest)),
            None => (image, None),
        };
        // A colon before a slash is that of a registry's port.
        let (name, tag) = match tagged.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (tagged, None),
        };
        let version = match (digest, tag) {
            (Some(digest), _) => Version::Digest(digest),
            (None, None | Some("latest")) => Version::Latest,
            (None, Some(tag)) => Version::Tag(tag),
        };
        Self { name, version }
    }

    /// Host, and port if there is one, of the registry that has it.
    pub(crate) fn registry(&self) -> &'a str {
        match self.name.split_once('/') {
            Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
            _ => DEFAULT_REGISTRY,
        }
    }
}

impl<'a> Version<'a> {
    /// As engines want it.
    pub(crate) fn as_str(self) -> &'a str {
        match self {
            Self::Latest => "latest",
            Self::Tag(text) | Self::Digest(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms() {
        for (image, name, version, registry) in [
            ("busybox", "busybox", Version::Latest, "docker.io"),
            ("me/busybox:latest", "me/busybox", Version::Latest, "docker.io"),
            ("me/busybox:1.0", "me/busybox", Version::Tag("1.0"), "docker.io"),
            ("host:5000/busybox", "host:5000/busybox", Version::Latest, "host:5000"),
            ("localhost/b:2", "localhost/b", Version::Tag("2"), "localhost"),
            ("a.b/c/d:1@sha256:ff", "a.b/c/d", Version::Digest("sha256:ff"), "a.b"),
        ] {
            let reference = Reference::parse(image);
            assert_eq!((reference.name, reference.version), (name, version), "{image}");
            assert_eq!(reference.registry(), registry, "{image}");
        }
    }
}
