//! Where packages of Debian come from: the machine's own apt knows.

use super::RootfsError;
use super::tools::Tools;

/// Addresses of repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirrors {
    /// The suites themselves, and their updates.
    pub(super) main: String,
    /// Their security updates, if they come from elsewhere.
    pub(super) security: Option<String>,
}

/// What apt is asked to say of each repository.
const FORMAT: &str = "$(LABEL)|$(COMPONENT)|$(REPO_URI)";

impl Mirrors {
    /// This mirror, or those of the machine's apt.
    ///
    /// # Errors
    /// The machine is no Debian, or its apt has no lists yet.
    pub(super) fn find(given: Option<&str>, tools: &Tools) -> Result<Self, RootfsError> {
        if let Some(given) = given {
            return Ok(Self { main: given.to_owned(), security: None });
        }
        let arguments = ["indextargets", "--format", FORMAT, "Created-By: Packages"];
        let told = tools.output("apt-get", &arguments).map_err(RootfsError::NoMirror)?;
        Self::read(&told).ok_or_else(|| {
            RootfsError::NoMirror(
                "this machine's apt names no mirror of Debian (is it a Debian? has `apt-get update` run?)"
                    .to_owned(),
            )
        })
    }

    fn read(told: &str) -> Option<Self> {
        let labelled = |label: &str| {
            let mut lines = told.lines().map(|line| line.splitn(3, '|').collect::<Vec<_>>());
            lines.find_map(|parts| match parts.as_slice() {
                [has, "main", address] if *has == label => Some((*address).to_owned()),
                _ => None,
            })
        };
        Some(Self { main: labelled("Debian")?, security: labelled("Debian-Security") })
    }

    /// The lines of `sources.list` for a suite.
    pub(super) fn sources(&self, suite: &str) -> String {
        let mut lines = format!("deb {0} {suite} main\ndeb {0} {suite}-updates main\n", self.main);
        if let Some(security) = &self.security {
            lines.push_str(&format!("deb {security} {suite}-security main\n"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_mirrors_are_taken() {
        let told = "Other|main|http://other/\nDebian|contrib|http://contrib/\nDebian|main|http://own/debian/\n\
                    Debian|main|http://own/debian/\nDebian-Security|main|http://own/security/\n";
        let mirrors = Mirrors::read(told).unwrap();
        assert_eq!(
            mirrors.sources("trixie"),
            "deb http://own/debian/ trixie main\ndeb http://own/debian/ trixie-updates main\n\
             deb http://own/security/ trixie-security main\n"
        );
        assert_eq!(Mirrors::read("Ubuntu|main|http://other/\n"), None);
    }
}
