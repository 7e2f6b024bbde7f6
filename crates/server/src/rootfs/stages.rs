//! The stages of a build, and the marker that says which are done.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chasen_sandbox::rootfs::recipe::{Recipe, Source};
use sha2::{Digest, Sha256};

/// One stage. Each can be repeated; only the first begins with nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The smallest system of the suite.
    Base,
    /// The recipe's packages.
    Packages,
    /// Nothing stays that only the building needed.
    Clean,
}

impl Stage {
    /// Those of a root from this source, in their order.
    pub(super) fn of(source: &Source) -> &'static [Self] {
        match source {
            Source::Suite(_) => &[Self::Base, Self::Packages, Self::Clean],
            Source::Npm(_) => &[Self::Packages],
        }
    }

    /// For who watches.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Base => "the base system",
            Self::Packages => "the packages",
            Self::Clean => "cleaning up",
        }
    }

    /// In the marker.
    fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Packages => "packages",
            Self::Clean => "clean",
        }
    }
}

/// The file that says how far a build came, and with which recipe.
#[derive(Debug)]
pub(super) struct Marker {
    path: PathBuf,
    recipe: String,
}

impl Marker {
    pub(super) fn new(folder: &Path, recipe: &Recipe) -> Self {
        let digest = Sha256::digest(format!("{recipe:?}"));
        let recipe = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { path: folder.join("stage"), recipe }
    }

    /// The stages that are left: all of them if the marker is missing or is that of another recipe.
    pub(super) fn left<'a>(&self, stages: &'a [Stage]) -> &'a [Stage] {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let done = text.split_once(' ').filter(|(recipe, _)| *recipe == self.recipe).map(|(_, done)| done);
        let position = done.and_then(|done| stages.iter().position(|stage| stage.name() == done));
        position.and_then(|last| stages.get(last + 1..)).unwrap_or(stages)
    }

    /// Says that this stage is done.
    pub(super) fn write(&self, stage: Stage) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        fs::write(&beside, format!("{} {}", self.recipe, stage.name()))?;
        fs::rename(beside, &self.path)
    }

    /// The build has come to its end.
    pub(super) fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}
