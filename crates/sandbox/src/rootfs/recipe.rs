//! What roots can be built from: names, packages, and the interpreters that come with them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use chasen_entity::manifest::Interpreter as Wanted;
use serde::Deserialize;

use crate::interpreter::fits;

/// The recipes, as they are carried.
const RECIPES: &str = include_str!("../../../../runtimes/rootfs.json");

static ALL: LazyLock<BTreeMap<String, Recipe>> =
    // That it can be read is a test's business.
    LazyLock::new(|| serde_json::from_str::<File>(RECIPES).map(|file| file.recipes).unwrap_or_default());

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// For readers.
    #[serde(rename = "description")]
    _description: Vec<String>,
    recipes: BTreeMap<String, Recipe>,
}

/// How a root is made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// One line for who looks for it.
    pub about: String,
    /// Where its files come from.
    #[serde(flatten)]
    pub source: Source,
    /// Room on the disk that building it needs, in megabytes.
    pub disk_mb: u64,
    /// The interpreters that come with it.
    pub provides: Vec<Provided>,
}

/// Where a root's files come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A whole system of this suite of Debian.
    Suite(String),
    /// Packages of npm with their versions, pinned by digest.
    Npm(Npm),
}

/// A pinned list of npm's packages.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Npm {
    /// Its `package.json`.
    pub package: serde_json::Value,
    /// Its `package-lock.json`.
    pub lock: serde_json::Value,
}

/// An interpreter that comes with a root.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provided {
    /// As manifests name it.
    pub command: String,
    /// What its version begins with.
    pub version: String,
    /// Packages of the suite that bring it.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Where it is among the files of npm's packages.
    #[serde(default)]
    pub program: Option<String>,
}

impl Provided {
    /// As a manifest would ask for it.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        Wanted { command: self.command.clone(), version: self.version.clone(), accepts: Vec::new() }
    }
}

/// Every recipe by its name.
#[must_use]
pub fn all() -> &'static BTreeMap<String, Recipe> {
    &ALL
}

/// True for what may be a name of a root: no suffix, no path.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.len() <= 64 && name.bytes().all(plain)
}

/// The commands that bring an interpreter: from this machine's own packages if they have it, else a root to build.
pub(crate) fn remedy(wanted: &Wanted) -> Option<String> {
    remedy_on(wanted, host_suite().as_deref())
}

fn remedy_on(wanted: &Wanted, host: Option<&str>) -> Option<String> {
    let mut commands = Vec::new();
    for (name, recipe) in all() {
        let fitting =
            recipe.provides.iter().filter(|one| one.command == wanted.command && fits(&one.version, wanted));
        for provided in fitting {
            match &recipe.source {
                Source::Suite(suite) if Some(suite.as_str()) == host => {
                    commands.insert(0, format!("apt-get install {}", provided.packages.join(" ")));
                }
                Source::Suite(_) | Source::Npm(_) => commands.push(format!("chasen runtimes build {name}")),
            }
        }
    }
    (!commands.is_empty()).then(|| commands.join(", or: "))
}

/// `bookworm`, where this machine is a Debian.
fn host_suite() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    let name =
        |line: &str| line.strip_prefix("VERSION_CODENAME=").map(|name| name.trim_matches('"').to_owned());
    text.lines().any(|line| line == "ID=debian").then(|| text.lines().find_map(name)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_can_be_read() {
        let file: File = serde_json::from_str(RECIPES).unwrap();
        assert!(
            ["debian-12", "debian-13", "swift", "deno", "dotnet"]
                .iter()
                .all(|name| file.recipes.contains_key(*name))
        );
        for (name, recipe) in &file.recipes {
            assert!(is_name(name) && !recipe.provides.is_empty(), "{name}");
            for provided in &recipe.provides {
                let has_packages = !provided.packages.is_empty();
                let is_system = matches!(recipe.source, Source::Suite(_));
                assert_eq!(has_packages, is_system, "{name}: {}", provided.command);
                assert_eq!(provided.program.is_some(), !is_system, "{name}: {}", provided.command);
            }
        }
    }

    #[test]
    fn names_are_no_paths() {
        for bad in ["", "..", "a/b", "x.unfinished", "Big", "a b"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn remedies_are_commands_that_help() {
        let wanted = |command: &str, version: &str| Wanted {
            command: command.to_owned(),
            version: version.to_owned(),
            accepts: Vec::new(),
        };
        const PHP: &str = "apt-get install php8.2-cli php8.2-bcmath php8.2-curl php8.2-gd php8.2-intl php8.2-mbstring \
                           php8.2-mysql php8.2-pgsql php8.2-soap php8.2-sqlite3 php8.2-zip";
        let on = |host: &str, command, version| remedy_on(&wanted(command, version), Some(host));
        assert_eq!(on("bookworm", "php", "8.2").unwrap(), PHP);
        assert_eq!(on("trixie", "php", "8.2").unwrap(), "chasen runtimes build debian-12");
        assert_eq!(on("bookworm", "php", "8.4").unwrap(), "chasen runtimes build debian-13");
        assert_eq!(on("bookworm", "deno", "2").unwrap(), "chasen runtimes build deno");
        assert_eq!(on("bookworm", "dotnet", "3.1").unwrap(), "chasen runtimes build dotnet");
        assert_eq!(on("bookworm", "dotnet", "6.0"), None);
        assert_eq!(on("bookworm", "node", "4711"), None);
    }
}
