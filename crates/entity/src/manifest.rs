//! The runtimes manifest (`runtimes.json`): which kinds exist and what they run on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::exec::{BLACKBOX, SEQUENCE};
use crate::{ByteSize, ImageReference};

/// Longest name of a kind, in bytes.
const MAX_KIND_NAME: usize = 128;

/// All kinds of a platform, by family, and the images of blackbox actions that need no pull.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Kinds by family (`nodejs`, `python`).
    #[serde(default)]
    pub runtimes: BTreeMap<String, Vec<RuntimeKind>>,
    /// Images that this platform runs as executables of its own sandbox.
    #[serde(default)]
    pub blackboxes: Vec<Image>,
}

/// One kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeKind {
    /// `nodejs:20`
    pub kind: String,
    /// Image that serves the kind where containers are used.
    pub image: Image,
    /// Other names that actions may give for it: those of kinds that were offered once, and its family's alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// True for what `family:default` means.
    #[serde(default)]
    pub default: bool,
    /// Actions of it may only be read and deleted.
    #[serde(default)]
    pub deprecated: bool,
    /// Code is stored as an attachment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached: Option<serde_json::Value>,
    /// `main` must be given.
    #[serde(default)]
    pub require_main: bool,
    /// Its image marks the end of every activation's log; absent means that it does.
    #[serde(default = "always", skip_serializing_if = "is_set")]
    pub sentinelled_logs: bool,
    /// Containers kept started but not initialised.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stem_cells: Vec<StemCells>,
    /// How our own sandbox runs the kind; absent for kinds that only containers serve.
    #[serde(default, rename = "chasen", skip_serializing_if = "Option::is_none")]
    pub launch: Option<Launch>,
}

impl RuntimeKind {
    /// A kind of this name that an image serves, and nothing else said of it.
    #[must_use]
    pub fn new(kind: &str, image: Image) -> Self {
        Self {
            kind: kind.to_owned(),
            image,
            aliases: Vec::new(),
            default: false,
            deprecated: false,
            attached: None,
            require_main: false,
            sentinelled_logs: always(),
            stem_cells: Vec::new(),
            launch: None,
        }
    }

    /// True for a kind that is offered only where its interpreter is found.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        self.launch.as_ref().is_some_and(|launch| launch.optional)
    }
}

/// An image reference in parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `registry.example:5000`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// Organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Repository.
    pub name: String,
    /// Tag; absent means `latest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

impl std::fmt::Display for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for part in [&self.registry, &self.prefix].into_iter().flatten() {
            write!(f, "{part}/")?;
        }
        f.write_str(&self.name)?;
        self.tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))
    }
}

/// Stem cells of one memory size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StemCells {
    /// How many to keep.
    #[serde(alias = "count")]
    pub initial_count: u32,
    /// Memory of each.
    pub memory: ByteSize,
    /// Growth and shrink by demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reactive: Option<Reactive>,
}

/// Reactive stem cells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reactive {
    /// Kept at rest.
    pub min_count: u32,
    /// Never more.
    pub max_count: u32,
    /// Life of an unused one, as `2 minutes`.
    pub ttl: String,
    /// Cold starts per period that ask for an increment.
    pub threshold: u32,
    /// Added per threshold.
    pub increment: u32,
}

/// How our own sandbox starts a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Launch {
    /// The interpreter to look for on the machine.
    pub interpreter: Interpreter,
    /// Launcher program, relative to the runtimes folder; to the one of modules if it begins with `modules`.
    /// Absent for kinds whose code is, or is compiled to, an executable that speaks for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launcher: Option<String>,
    /// Fork server beside the launcher, which it loads: relative to the runtimes folder. Used where the operator asks for
    /// it, started like the launcher and with the launcher as its argument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork_server: Option<String>,
    /// What is made of the code before it is loaded or started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compiler: Option<Compiler>,
    /// Executables of the kind say on their answer line that they have started; others count as started when they
    /// have lived for a moment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acknowledged: bool,
    /// Arguments between interpreter and launcher; `{memory}` in them stands for the bytes of the sandbox.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables of the launcher's environment; `{heap}` in a value stands for what a managed heap may take of the
    /// sandbox's memory, in hexadecimal digits, and `{modules}` for the folder of the kind's modules.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Name of the folder with the kind's preinstalled modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modules: Option<String>,
    /// First guess of a cold start, in milliseconds; measurements replace it.
    #[serde(default = "default_cold_millis")]
    pub cold_millis: u64,
    /// True for a kind that is offered only where its interpreter is found.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

impl Launch {
    /// Name of the launcher in the folder of the modules, if it is built there and not carried by the platform.
    #[must_use]
    pub fn built(&self) -> Option<&str> {
        self.launcher.as_ref()?.strip_prefix(self.modules.as_deref()?)?.strip_prefix('/')
    }
}

/// A program that makes something else of an action's code, once for all its containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Compiler {
    /// Relative to the runtimes folder, in a folder with everything that it needs besides the interpreter. Called as
    /// `program MAIN SOURCE BIN`: a word of its on either stream, or a status other than 0, is a failure.
    pub program: String,
    /// Files one of which must be in an archive for it to be compiled, the code of single files never being then.
    /// Empty for kinds that compile all code but executables. `name#/pointer` asks for something, neither empty nor
    /// null, at this place of a file of JSON.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<String>,
    /// Files or folders none of which may be in that archive: what the program would make is there already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unless: Vec<String>,
    /// Variable of the action's environment that switches it off with any value but `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<String>,
    /// Whether it may use the network, as functions may.
    #[serde(default)]
    pub network: bool,
}

fn default_cold_millis() -> u64 {
    100
}

/// An interpreter: command and version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interpreter {
    /// Command name (`node`).
    pub command: String,
    /// Version prefix that it must have (`20`).
    pub version: String,
    /// Near versions that may serve too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepts: Vec<String>,
}

/// Why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not the JSON of a manifest.
    #[error("the runtimes manifest is not readable: {0}")]
    Unreadable(String),
    /// A name that actions could not give.
    #[error(
        "'{1}' in family '{0}' is no name of a kind: write family:version in lower-case letters, digits and . _ -"
    )]
    KindName(String, String),
    /// A name that an alias cannot be.
    #[error(
        "'{1}' cannot be an alias of '{0}': write family:version or a family in lower-case letters, digits and . _ -"
    )]
    AliasName(String, String),
    /// A kind twice, as itself or as an alias.
    #[error("the kind '{0}' is there twice; a name can be that of one kind or of one alias only")]
    Twice(String),
    /// Several kinds, none of them default.
    #[error("{0} has multiple versions, but no default.")]
    NoDefault(String),
    /// Two defaults in a family.
    #[error("Found more than one default for {0}: {1}")]
    ManyDefaults(String, String),
    /// Bad stem cells.
    #[error("stem cells of '{0}': {1}")]
    StemCells(String, String),
}

impl Manifest {
    /// Reads and checks a manifest.
    pub fn parse(json: &str) -> Result<Self, ManifestError> {
        let mut manifest: Self =
            serde_json::from_str(json).map_err(|error| ManifestError::Unreadable(error.to_string()))?;
        let mut names = BTreeSet::new();
        for (family, kinds) in &mut manifest.runtimes {
            for kind in kinds.iter() {
                if !is_kind_name(&kind.kind) {
                    return Err(ManifestError::KindName(family.clone(), kind.kind.clone()));
                }
                if let Some(bad) = kind.aliases.iter().find(|alias| !is_kind_name(alias) && !is_family(alias))
                {
                    return Err(ManifestError::AliasName(kind.kind.clone(), bad.clone()));
                }
                for name in std::iter::once(&kind.kind).chain(&kind.aliases) {
                    if !names.insert(name.clone()) {
                        return Err(ManifestError::Twice(name.clone()));
                    }
                }
            }
            if let [single] = kinds.as_mut_slice() {
                single.default = true;
            }
            let defaults: Vec<&str> = kinds.iter().filter(|k| k.default).map(|k| k.kind.as_str()).collect();
            match defaults.len() {
                0 => return Err(ManifestError::NoDefault(family.clone())),
                1 => {}
                _ => return Err(ManifestError::ManyDefaults(family.clone(), defaults.join(", "))),
            }
            for kind in kinds.iter() {
                check_stem_cells(kind)?;
            }
        }
        Ok(manifest)
    }

    /// The kind of this name or alias; `family:default` is the family's default. The name is trimmed and lower-cased.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<&RuntimeKind> {
        let name = name.trim().to_lowercase();
        match name.strip_suffix(":default") {
            Some(family) => self.runtimes.get(family)?.iter().find(|kind| kind.default),
            None => self.kinds().find(|kind| kind.kind == name || kind.aliases.contains(&name)),
        }
    }

    /// The manifest in which kinds that say nothing of sandboxes run in them as `known` has it: those whose name leads to a
    /// kind of `known`, and whose image comes from the same place, as in manifests of OpenWhisk. None of them is optional:
    /// whoever names a kind offers it.
    #[must_use]
    pub fn completed(mut self, known: &Self) -> Self {
        let from = |image: &Image| (image.registry.clone(), image.prefix.clone());
        for kind in self.runtimes.values_mut().flatten().filter(|kind| kind.launch.is_none()) {
            let alike = known.resolve(&kind.kind).filter(|alike| from(&alike.image) == from(&kind.image));
            kind.launch = alike
                .and_then(|alike| alike.launch.clone())
                .map(|launch| Launch { optional: false, ..launch });
        }
        self
    }

    /// The manifest as it is offered where `is_there` tells which optional kinds can run: without the others. A family
    /// that loses its default has the first of the rest for it.
    #[must_use]
    pub fn offered(&self, is_there: impl Fn(&str) -> bool) -> Self {
        let mut offered = self.clone();
        for kinds in offered.runtimes.values_mut() {
            kinds.retain(|kind| !kind.is_optional() || is_there(&kind.kind));
            if !kinds.iter().any(|kind| kind.default)
                && let Some(first) = kinds.first_mut()
            {
                first.default = true;
            }
        }
        offered.runtimes.retain(|_, kinds| !kinds.is_empty());
        offered
    }

    /// Every kind.
    pub fn kinds(&self) -> impl Iterator<Item = &RuntimeKind> {
        self.runtimes.values().flatten()
    }

    /// True if our own sandbox runs this image's semantics without the image, whatever its version.
    #[must_use]
    pub fn is_own_blackbox(&self, image: &str) -> bool {
        let image = ImageReference::of(image);
        self.blackboxes.iter().any(|own| ImageReference::of(&own.to_string()).is_of_repository(&image))
    }

    /// True if a container of this kind, or of this image of a blackbox, marks the end of every activation's log.
    /// Foreign images promise nothing.
    #[must_use]
    pub fn marks_logs(&self, kind: &str, image: Option<&str>) -> bool {
        match image {
            Some(image) => self.is_own_blackbox(image),
            None => self.resolve(kind).is_none_or(|kind| kind.sentinelled_logs),
        }
    }
}

fn always() -> bool {
    true
}

fn is_set(value: &bool) -> bool {
    *value
}

/// True for `family:version` as requests are read: in lower case.
fn is_kind_name(name: &str) -> bool {
    name.len() <= MAX_KIND_NAME
        && name
            .split_once(':')
            .is_some_and(|(family, version)| is_word(family) && is_word(version) && version != "default")
}

/// True for the name of a family; what is no kind of a family has names of its own.
fn is_family(name: &str) -> bool {
    is_word(name) && ![BLACKBOX, SEQUENCE].contains(&name)
}

/// True for what stands before and behind the colon.
fn is_word(part: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    (1..=MAX_KIND_NAME).contains(&part.len()) && part.bytes().all(allowed)
}

fn check_stem_cells(kind: &RuntimeKind) -> Result<(), ManifestError> {
    let fail = |text: &str| Err(ManifestError::StemCells(kind.kind.clone(), text.to_owned()));
    for cells in &kind.stem_cells {
        if cells.initial_count == 0 {
            return fail("initialCount must be positive");
        }
        let Some(reactive) = &cells.reactive else { continue };
        if reactive.min_count > reactive.max_count || reactive.max_count == 0 {
            return fail("0 <= minCount <= maxCount and 0 < maxCount must hold");
        }
        if reactive.threshold == 0 || reactive.increment == 0 || reactive.increment > reactive.max_count {
            return fail("threshold must be positive and increment lie in 1 to maxCount");
        }
        if parse_duration_millis(&reactive.ttl).is_none_or(|ttl| ttl == 0) {
            return fail("ttl must be a positive duration such as '2 minutes'");
        }
    }
    Ok(())
}

/// Reads `2 minutes`, `30 seconds`, `500 milliseconds`, `1 hour`, `3 days`.
#[must_use]
pub fn parse_duration_millis(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().trim_end_matches('s') {
        "m" | "milli" | "millisecond" => 1, // "ms" and "millis" lose their final s
        "" | "sec" | "second" => 1_000,
        "min" | "minute" => 60_000,
        "h" | "hour" => 3_600_000,
        "d" | "day" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"{"runtimes":{"nodejs":[
        {"kind":"nodejs:18","image":{"prefix":"openwhisk","name":"action-nodejs-v18","tag":"nightly"}},
        {"kind":"nodejs:20","image":{"name":"n"},"default":true,
         "stemCells":[{"count":2,"memory":"256 MB","reactive":{"minCount":1,"maxCount":4,"ttl":"2 minutes","threshold":1,"increment":1}}]}]},
        "blackboxes":[{"prefix":"openwhisk","name":"dockerskeleton","tag":"nightly"}]}"#;

    #[test]
    fn kinds_resolve_by_name_and_default() {
        let manifest = Manifest::parse(TWO).unwrap();
        assert_eq!(manifest.resolve(" NodeJS:default ").unwrap().kind, "nodejs:20");
        assert_eq!(
            manifest.resolve("nodejs:18").unwrap().image.to_string(),
            "openwhisk/action-nodejs-v18:nightly"
        );
        assert!(manifest.resolve("nodejs").is_none());
        assert!(manifest.is_own_blackbox("openwhisk/dockerskeleton"));
        assert!(manifest.is_own_blackbox("docker.io/openwhisk/dockerskeleton:latest"));
        assert!(manifest.is_own_blackbox("index.docker.io/openwhisk/dockerskeleton@sha256:0"));
        assert!(!manifest.is_own_blackbox("example/other"));
    }

    #[test]
    fn kinds_mark_their_logs_unless_they_say_otherwise() {
        let text =
            TWO.replace(r#""image":{"name":"n"},"#, r#""image":{"name":"n"},"sentinelledLogs":false,"#);
        let manifest = Manifest::parse(&text).unwrap();
        for (kind, image, marks) in [
            ("nodejs:18", None, true),
            ("nodejs:20", None, false),
            ("blackbox", Some("openwhisk/dockerskeleton"), true),
            ("blackbox", Some("example/other"), false),
        ] {
            assert_eq!(manifest.marks_logs(kind, image), marks, "{kind} {image:?}");
        }
        let kept = serde_json::to_string(&manifest).unwrap();
        assert_eq!(kept.matches("sentinelledLogs").count(), 1);
    }

    #[test]
    fn optional_kinds_are_offered_where_they_are_there() {
        let launch =
            r#""image":{"name":"n"},"chasen":{"interpreter":{"command":"c","version":"1"},"optional":true}"#;
        let text = format!(
            r#"{{"runtimes":{{"k":[{{"kind":"k:1","default":true,{launch}}},{{"kind":"k:2","image":{{"name":"n"}}}}],
                "o":[{{"kind":"o:1",{launch}}}]}}}}"#
        );
        let manifest = Manifest::parse(&text).unwrap();
        let kinds = |offered: &Manifest| {
            offered.kinds().map(|kind| (kind.kind.clone(), kind.default)).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&manifest.offered(|_| true)), kinds(&manifest));
        assert_eq!(
            kinds(&manifest.offered(|kind| kind == "o:1")),
            [("k:2".to_owned(), true), ("o:1".to_owned(), true)]
        );
        let least = manifest.offered(|_| false);
        assert!(least.runtimes.len() == 1 && least.resolve("k:default").unwrap().kind == "k:2");
    }

    #[test]
    fn bad_manifests_say_what_is_wrong() {
        let none = TWO.replace("\"default\":true,", "");
        assert_eq!(Manifest::parse(&none), Err(ManifestError::NoDefault("nodejs".to_owned())));
        let stem = TWO.replace("\"count\":2", "\"count\":0");
        assert!(matches!(Manifest::parse(&stem), Err(ManifestError::StemCells(..))));
        for bad in ["nodejs", "NodeJS:18", "nodejs:default", "nodejs:1 8", ":18", "nodejs:"] {
            let named = TWO.replace("nodejs:18", bad);
            assert!(matches!(Manifest::parse(&named), Err(ManifestError::KindName(..))), "{bad}");
        }
        let twice = TWO.replace("nodejs:18", "nodejs:20");
        assert_eq!(Manifest::parse(&twice), Err(ManifestError::Twice("nodejs:20".to_owned())));
        assert!(matches!(Manifest::parse("{\"runtimes\":1}"), Err(ManifestError::Unreadable(_))));
    }

    #[test]
    fn kinds_that_say_nothing_of_sandboxes_run_as_the_known_ones_do() {
        let launch = r#"{"interpreter":{"command":"c","version":"1"},"optional":true}"#;
        let kind = |name: &str, prefix: &str, more: &str| {
            format!(r#"{{"kind":"{name}","default":true,"image":{{"prefix":"{prefix}","name":"n"}}{more}}}"#)
        };
        let manifest = |kind: &str| Manifest::parse(&format!(r#"{{"runtimes":{{"k":[{kind}]}}}}"#)).unwrap();
        let known = manifest(&kind("k:2", "o", &format!(r#","aliases":["k:1"],"chasen":{launch}"#)));
        let completed = |text: &str| manifest(text).completed(&known).kinds().next().unwrap().launch.clone();
        for name in ["k:1", "k:2"] {
            let found = completed(&kind(name, "o", "")).unwrap();
            assert_eq!((found.interpreter.command.as_str(), found.optional), ("c", false));
        }
        assert_eq!(completed(&kind("k:3", "o", "")), None, "unknown");
        assert_eq!(completed(&kind("k:2", "own", "")), None, "an image of one's own");
        let own = r#","chasen":{"interpreter":{"command":"own","version":"1"}}"#;
        assert_eq!(completed(&kind("k:2", "o", own)).unwrap().interpreter.command, "own");
    }

    #[test]
    fn aliases_lead_to_their_kind_and_are_nobody_elses_name() {
        let with = |aliases: &str| {
            TWO.replace("\"kind\":\"nodejs:18\",", &format!("\"kind\":\"nodejs:18\",\"aliases\":{aliases},"))
        };
        let manifest = Manifest::parse(&with(r#"["nodejs:6","nodejs"]"#)).unwrap();
        for name in ["nodejs:6", " NodeJS ", "nodejs:18"] {
            assert_eq!(manifest.resolve(name).unwrap().kind, "nodejs:18", "{name}");
        }
        assert_eq!(manifest.kinds().count(), 2);
        assert_eq!(Manifest::parse(&serde_json::to_string(&manifest).unwrap()).unwrap(), manifest);
        for twice in ["nodejs:20", "nodejs:18"] {
            let error = Manifest::parse(&with(&format!("[\"{twice}\"]"))).unwrap_err();
            assert_eq!(error, ManifestError::Twice(twice.to_owned()));
        }
        assert_eq!(Manifest::parse(&with(r#"["a","a"]"#)), Err(ManifestError::Twice("a".to_owned())));
        for bad in ["nodejs:default", "", "A", "a:b:c", "blackbox", "sequence"] {
            let error = Manifest::parse(&with(&format!("[\"{bad}\"]"))).unwrap_err();
            assert_eq!(error, ManifestError::AliasName("nodejs:18".to_owned(), bad.to_owned()));
        }
    }

    #[test]
    fn durations_read_scala_texts() {
        for (text, millis) in
            [("2 minutes", 120_000), ("30 seconds", 30_000), ("500 milliseconds", 500), ("1 hour", 3_600_000)]
        {
            assert_eq!(parse_duration_millis(text), Some(millis), "{text}");
        }
        assert_eq!(parse_duration_millis("soon"), None);
    }
}
