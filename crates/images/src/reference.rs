//! Names of images, written out: whatever short form people use, one image has one name.

use std::fmt;

use chasen_entity::exec::is_image_reference;

const REGISTRY: &str = "docker.io";
const OFFICIAL: &str = "library";
const TAG: &str = "latest";

/// A whole name: registry, repository, and a tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference(String);

impl Reference {
    /// Reads a name as people and actions write it; `None` for what is no name of an image.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if !is_image_reference(text) {
            return None;
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let (path, tag) = match name.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (name, None),
        };
        let (registry, repository) = match path.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest),
            _ => (REGISTRY, path),
        };
        let registry = if registry == "index.docker.io" { REGISTRY } else { registry };
        let official = if registry == REGISTRY && !repository.contains('/') {
            format!("{OFFICIAL}/")
        } else {
            String::new()
        };
        let end = match digest {
            Some(digest) => format!("@{digest}"),
            None => format!(":{}", tag.unwrap_or(TAG)),
        };
        Some(Self(format!("{registry}/{official}{repository}{end}")))
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// True for what engines take as the name of a registry: other first parts belong to the repository.
fn is_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_image_has_one_name() {
        for (short, whole) in [
            ("debian", "docker.io/library/debian:latest"),
            ("library/debian:12", "docker.io/library/debian:12"),
            ("openwhisk/action:nightly", "docker.io/openwhisk/action:nightly"),
            ("docker.io/openwhisk/action:nightly", "docker.io/openwhisk/action:nightly"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            ("registry.example:5000/a", "registry.example:5000/a:latest"),
            ("localhost/a:1", "localhost/a:1"),
        ] {
            assert_eq!(Reference::parse(short).unwrap().as_str(), whole, "{short}");
        }
        let digest = format!("a/b:1@sha256:{}", "0".repeat(64));
        assert_eq!(
            Reference::parse(&digest).unwrap().as_str(),
            format!("docker.io/a/b@sha256:{}", "0".repeat(64))
        );
        for bad in ["", "A", "a b", "../a"] {
            assert_eq!(Reference::parse(bad), None, "{bad}");
        }
    }
}
