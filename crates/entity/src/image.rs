//! References of images: where they come from, and which version they mean.

/// Registry of references that name none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// What the default registry is called besides.
const DEFAULT_REGISTRY_ALIAS: &str = "index.docker.io";
/// Where the default registry keeps images whose repository is one word.
const OFFICIAL: &str = "library/";
const LATEST: &str = "latest";

/// A reference, `[registry[:port]/]path[:tag][@digest]`, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageReference<'a> {
    /// Everything before the version, as written: `registry:5000/path/name`.
    pub name: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

/// Which image of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageVersion<'a> {
    /// None is named, or `latest`: it moves.
    Latest,
    /// A tag that somebody chose.
    Tag(&'a str),
    /// The content itself, `sha256:…`: it never changes.
    Digest(&'a str),
}

impl<'a> ImageReference<'a> {
    /// Takes a text apart that was checked before.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        let (tagged, digest) = match text.split_once('@') {
            Some((tagged, digest)) => (tagged, Some(digest)),
            None => (text, None),
        };
        // A colon before a slash is that of a registry's port.
        let (name, tag) = match tagged.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (tagged, None),
        };
        Self { name, tag, digest }
    }

    /// Takes a stranger's text apart; `None` for what is no reference of an image.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        Some(Self::of(text)).filter(Self::is_valid)
    }

    /// Which image of its name.
    #[must_use]
    pub fn version(&self) -> ImageVersion<'a> {
        match (self.digest, self.tag) {
            (Some(digest), _) => ImageVersion::Digest(digest),
            (None, None | Some(LATEST)) => ImageVersion::Latest,
            (None, Some(tag)) => ImageVersion::Tag(tag),
        }
    }

    /// Host, and port if there is one, of the registry that has it.
    #[must_use]
    pub fn registry(&self) -> &'a str {
        self.place().0
    }

    /// True if both name the same repository, whatever the version, and however short.
    #[must_use]
    pub fn is_of_repository(&self, other: &ImageReference<'_>) -> bool {
        self.place() == other.place()
    }

    /// The one name that an image has, whatever short form people use.
    #[must_use]
    pub fn whole(&self) -> String {
        let (registry, path) = self.place();
        let library = if registry == DEFAULT_REGISTRY && !path.contains('/') { OFFICIAL } else { "" };
        let before = if self.digest.is_some() { '@' } else { ':' };
        format!("{registry}/{library}{path}{before}{}", self.version().as_str())
    }

    /// The registry, and what follows it, without what the default registry leaves out.
    fn place(&self) -> (&'a str, &'a str) {
        let path = match self.name.split_once('/') {
            Some((DEFAULT_REGISTRY | DEFAULT_REGISTRY_ALIAS, path)) => path,
            // Other first parts belong to the repository.
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
                return (first, path);
            }
            _ => self.name,
        };
        let official = path.strip_prefix(OFFICIAL).filter(|rest| !rest.contains('/'));
        (DEFAULT_REGISTRY, official.unwrap_or(path))
    }

    fn is_valid(&self) -> bool {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let component = |(index, part): (usize, &str)| {
            let host = index == 0 && self.name.contains('/');
            let (part, port) = match part.split_once(':') {
                Some((part, port)) if host => (part, Some(port)),
                _ => (part, None),
            };
            let lower = host || part.bytes().all(|byte| !byte.is_ascii_uppercase());
            let edges = [part.bytes().next(), part.bytes().last()];
            lower
                && part.bytes().all(word)
                && edges.iter().all(|edge| edge.is_some_and(|byte| byte.is_ascii_alphanumeric()))
                && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
        };
        self.name.split('/').enumerate().all(component)
            && self.tag.is_none_or(|tag| (1..=128).contains(&tag.len()) && tag.bytes().all(word))
            && self.digest.is_none_or(|digest| {
                digest.split_once(':').is_some_and(|(algorithm, hex)| {
                    !algorithm.is_empty()
                        && hex.len() >= 32
                        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
                })
            })
    }
}

impl<'a> ImageVersion<'a> {
    /// The tag or the digest.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        match self {
            Self::Latest => LATEST,
            Self::Tag(text) | Self::Digest(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_texts_are_checked() {
        for good in [
            "a",
            "openwhisk/dockerskeleton:nightly",
            "reg.io:5000/a/b_c:1.2-x",
            "a@sha256:0123456789abcdef0123456789abcdef",
        ] {
            assert!(ImageReference::parse(good).is_some(), "{good}");
        }
        for bad in ["", "/a", "a/", "A/B", "A", "a:", "a b", "../a", "a@x", "a:5/b:!"] {
            assert_eq!(ImageReference::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn references_have_a_name_a_version_and_a_registry() {
        use ImageVersion::{Digest, Latest, Tag};
        for (text, name, version, registry) in [
            ("busybox", "busybox", Latest, "docker.io"),
            ("me/busybox:latest", "me/busybox", Latest, "docker.io"),
            ("me/busybox:1.0", "me/busybox", Tag("1.0"), "docker.io"),
            ("host:5000/busybox", "host:5000/busybox", Latest, "host:5000"),
            ("localhost/b:2", "localhost/b", Tag("2"), "localhost"),
            ("a.b/c/d:1@sha256:ff", "a.b/c/d", Digest("sha256:ff"), "a.b"),
        ] {
            let reference = ImageReference::of(text);
            assert_eq!((reference.name, reference.version()), (name, version), "{text}");
            assert_eq!(reference.registry(), registry, "{text}");
        }
    }

    #[test]
    fn one_image_has_one_name() {
        for (short, whole) in [
            ("debian", "docker.io/library/debian:latest"),
            ("library/debian:12", "docker.io/library/debian:12"),
            ("openwhisk/action:nightly", "docker.io/openwhisk/action:nightly"),
            ("docker.io/openwhisk/action:nightly", "docker.io/openwhisk/action:nightly"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            ("a/b:1@sha256:ff", "docker.io/a/b@sha256:ff"),
            ("registry.example:5000/a", "registry.example:5000/a:latest"),
            ("registry.example/library/a", "registry.example/library/a:latest"),
            ("localhost/a:1", "localhost/a:1"),
        ] {
            assert_eq!(ImageReference::of(short).whole(), whole, "{short}");
        }
    }

    #[test]
    fn versions_and_short_forms_do_not_make_another_repository() {
        let debian = ImageReference::of("debian:12");
        for same in
            ["debian", "library/debian", "docker.io/debian:13", "index.docker.io/library/debian@sha256:0"]
        {
            assert!(debian.is_of_repository(&ImageReference::of(same)), "{same}");
        }
        for other in ["me/debian", "registry.example/debian", "debian/debian", "library/x/debian"] {
            assert!(!debian.is_of_repository(&ImageReference::of(other)), "{other}");
        }
    }
}
