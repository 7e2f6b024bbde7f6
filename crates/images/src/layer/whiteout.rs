//! How layers say that something of the layers below is gone: in archives by names, on disk as overlays want it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, Mode, XattrFlags};
use rustix::io::Errno;

const PREFIX: &[u8] = b".wh.";
/// Names that begin with the prefix twice are the packing tool's own.
const OWN: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The attribute of a folder that hides everything below it: for overlays of the machine's root, and for those of
/// ordinary users.
const OPAQUE_ATTRIBUTES: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

/// What to do about a disk that keeps no attributes.
const NO_ATTRIBUTES: &str = "the disk keeps no attributes of files for this user, and the image needs them to hide folders of its \
     lower layers; put the data folder on ext4, xfs or btrfs, or import as root";

/// What a name in an archive stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Itself.
    Plain,
    /// This name of the layers below is gone.
    Gone(OsString),
    /// All of this folder of the layers below is gone.
    Opaque,
    /// Nothing.
    Nothing,
    /// It cannot mean anything.
    Nonsense,
}

/// What the last part of a path stands for.
pub(super) fn meaning(name: &OsStr) -> Meaning {
    let bytes = name.as_bytes();
    let Some(gone) = bytes.strip_prefix(PREFIX) else { return Meaning::Plain };
    match gone {
        _ if bytes == OPAQUE => Meaning::Opaque,
        _ if bytes.starts_with(OWN) => Meaning::Nothing,
        b"" | b"." | b".." => Meaning::Nonsense,
        _ => Meaning::Gone(OsStr::from_bytes(gone).to_owned()),
    }
}

/// Marks a name of the layers below as gone.
pub(crate) fn make(folder: impl AsFd, name: &OsStr) -> io::Result<()> {
    // No right is needed for this one device: it stands for nothing else.
    Ok(rustix::fs::mknodat(folder, name, FileType::CharacterDevice, Mode::empty(), 0)?)
}

/// Hides whatever lies below a folder.
pub(super) fn make_opaque(folder: impl AsFd) -> io::Result<()> {
    let mut made = Err(io::Error::from(io::ErrorKind::Unsupported));
    for attribute in OPAQUE_ATTRIBUTES {
        match rustix::fs::fsetxattr(folder.as_fd(), attribute, b"y", XattrFlags::empty()) {
            Ok(()) => made = Ok(()),
            Err(error) if made.is_err() => made = Err(error.into()),
            Err(_) => {}
        }
    }
    made.map_err(|error| match error.kind() {
        io::ErrorKind::Unsupported => io::Error::new(io::ErrorKind::Unsupported, NO_ATTRIBUTES),
        _ => error,
    })
}

/// True for the mark that [`make`] leaves.
pub(crate) fn is_whiteout(found: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == 0
}

/// True for a folder that [`make_opaque`] has marked.
pub(crate) fn is_opaque(folder: impl AsFd) -> bool {
    let mut value = [0_u8; 1];
    OPAQUE_ATTRIBUTES.iter().any(|attribute| {
        matches!(rustix::fs::fgetxattr(folder.as_fd(), *attribute, &mut value), Ok(1)) && value == *b"y"
    })
}

/// True for an attribute that an image may give its files. Those of overlays would be taken as marks.
pub(super) fn is_allowed_attribute(name: &str) -> bool {
    name.starts_with("user.") && !name.starts_with("user.overlay.") && name.len() <= 255
}

/// True where the disk does not keep attributes, which images can do without.
pub(super) fn is_without_attributes(error: Errno) -> bool {
    matches!(error, Errno::NOTSUP | Errno::PERM | Errno::NOSPC | Errno::TOOBIG | Errno::RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_meanings() {
        let gone = |name: &str| Meaning::Gone(OsString::from(name));
        for (name, expected) in [
            ("file", Meaning::Plain),
            (".whatever", Meaning::Plain),
            (".wh.file", gone("file")),
            (".wh..hidden", gone(".hidden")),
            (".wh..wh..opq", Meaning::Opaque),
            (".wh..wh.plnk", Meaning::Nothing),
            (".wh.", Meaning::Nonsense),
            (".wh..", Meaning::Nonsense),
            (".wh...", Meaning::Nonsense),
        ] {
            assert_eq!(meaning(OsStr::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn marks_are_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let opened = std::fs::File::open(folder.path()).unwrap();
        assert!(!is_opaque(&opened));
        make(&opened, OsStr::new("a")).unwrap();
        make_opaque(&opened).unwrap();
        assert!(is_opaque(&opened));
        assert!(is_whiteout(
            &rustix::fs::statat(&opened, "a", rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap()
        ));
    }
}
