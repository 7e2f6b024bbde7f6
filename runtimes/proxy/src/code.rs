//! Where an action's code is laid: a numbered folder of its own, or in place for executables started anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chasen_runtime::code::{self, BadCode, Bounds, Shape, UnpackError};

/// What marks a zip archive as a jar.
const JAR_MARK: &str = "META-INF/MANIFEST.MF";

/// Code on its way to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) bytes: Vec<u8>,
    /// True for what was no text: archives and programs.
    pub(crate) binary: bool,
}

/// Code on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    /// The numbered folder, to be removed when the action does not start; none where the code lies in place.
    pub(crate) own: Option<PathBuf>,
    /// Where the code is.
    pub(crate) folder: PathBuf,
    pub(crate) shape: Shape,
}

impl Code {
    /// What the text of an initialisation means; base64 if it is `binary`.
    pub(crate) fn from_text(text: String, binary: bool) -> Result<Self, BadCode> {
        let bytes = if binary { code::decode(text.as_bytes())? } else { text.into_bytes() };
        Ok(Self { bytes, binary })
    }

    /// Bytes as they come on a pipe.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { binary: true, bytes }
    }

    /// The text that stands for these bytes.
    pub(crate) fn encode(bytes: &[u8]) -> String {
        STANDARD.encode(bytes)
    }

    fn unpack(&self, folder: &Path, save_jar: Option<&str>) -> Result<Shape, UnpackError> {
        let bounds = Bounds::default();
        if let Some(name) = save_jar
            && code::holds_file(&self.bytes, JAR_MARK, bounds)?
        {
            fs::write(folder.join(name), &self.bytes).map_err(UnpackError::Disk)?;
            return Ok(Shape::Archive);
        }
        if !self.binary {
            return Ok(code::unpack(&self.bytes, false, folder.to_path_buf(), bounds)?.0);
        }
        Ok(code::unpack_binary(&self.bytes, folder.to_path_buf(), bounds)?.0)
    }

    /// Unpacks into `name` of a new numbered folder below `actions`. Blocks on the disk.
    pub(crate) fn place(
        &self,
        actions: &Path,
        name: &str,
        save_jar: Option<&str>,
    ) -> Result<Placed, UnpackError> {
        fs::create_dir_all(actions).map_err(UnpackError::Disk)?;
        let own = actions.join((highest(actions) + 1).to_string());
        let folder = own.join(name);
        fs::create_dir_all(&folder).map_err(UnpackError::Disk)?;
        match self.unpack(&folder, save_jar) {
            Ok(shape) => Ok(Placed { own: Some(own), folder, shape }),
            Err(error) => {
                remove(&own);
                Err(error)
            }
        }
    }

    /// Unpacks over what lies in `actions` itself: an image's stub and the files beside it. Blocks on the disk.
    pub(crate) fn place_over(&self, actions: &Path) -> Result<Placed, UnpackError> {
        let placed = self.place(actions, "bin", None)?;
        let moved = move_entries(&placed.folder, actions);
        placed.own.iter().for_each(|own| remove(own));
        moved.map_err(UnpackError::Disk)?;
        Ok(Placed { own: None, folder: actions.to_path_buf(), shape: placed.shape })
    }
}

/// Removes a folder of an action's; what cannot be removed goes with the container.
pub(crate) fn remove(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
}

/// The highest number that names a folder in `folder`; 0 if none does.
fn highest(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let numbers = folders.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    numbers.filter(|number| *number < u64::MAX).max().unwrap_or(0)
}

/// Moves everything in `from` to `to`; what has the same name there gives way.
fn move_entries(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match target.symlink_metadata() {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&target)?,
            Ok(_) => fs::remove_file(&target)?,
            Err(_) => {}
        }
        fs::rename(entry.path(), target)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::write::SimpleFileOptions;

    use super::*;

    fn zip_of(names: &[&str]) -> Code {
        let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for name in names {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(name.as_bytes()).unwrap();
        }
        Code::from_bytes(writer.finish().unwrap().into_inner())
    }

    #[test]
    fn each_action_has_a_folder_above_all_numbers() {
        let base = tempfile::tempdir().unwrap();
        let actions = base.path().join("action");
        assert_eq!(highest(&actions), 0);
        for name in ["7", "12", "x13", "-20"] {
            fs::create_dir_all(actions.join(name)).unwrap();
        }
        fs::write(actions.join("99"), "a file").unwrap();
        assert_eq!(highest(&actions), 12);
        let placed = zip_of(&["exec", "lib/a"]).place(&actions, "src", None).unwrap();
        assert_eq!(
            (placed.folder.as_path(), placed.shape),
            (actions.join("13/src").as_path(), Shape::Archive)
        );
        assert!(placed.folder.join("lib/a").is_file());
        let bad = zip_of(&["../out"]).place(&actions, "src", None);
        assert!(matches!(bad, Err(UnpackError::Code(BadCode::Name(_)))));
        assert!(!actions.join("14").exists() && !actions.join("out").exists());
    }

    #[test]
    fn jars_are_kept_whole_where_that_is_asked_for() {
        let base = tempfile::tempdir().unwrap();
        let jar = zip_of(&[JAR_MARK, "a.class"]);
        let kept = jar.place(base.path(), "src", Some("exec.jar")).unwrap();
        assert_eq!(fs::read(kept.folder.join("exec.jar")).unwrap(), jar.bytes);
        assert!(!kept.folder.join("a.class").exists());
        assert!(jar.place(base.path(), "src", None).unwrap().folder.join("a.class").exists());
        let other = zip_of(&["a.class"]).place(base.path(), "src", Some("exec.jar")).unwrap();
        assert!(other.folder.join("a.class").exists());
    }

    #[test]
    fn code_in_place_replaces_the_stub_and_spares_the_rest() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("exec"), "stub").unwrap();
        fs::write(base.path().join("data"), "kept").unwrap();
        fs::create_dir_all(base.path().join("lib/old")).unwrap();
        let placed = zip_of(&["exec", "lib/new"]).place_over(base.path()).unwrap();
        assert_eq!((placed.folder.as_path(), placed.own), (base.path(), None));
        let names = ["exec", "data", "lib/new", "lib/old", "1"];
        assert_eq!(names.map(|name| base.path().join(name).exists()), [true, true, true, false, false]);
        assert_eq!(fs::read_to_string(base.path().join("exec")).unwrap(), "exec");
    }
}
