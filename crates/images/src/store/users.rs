//! Who the user of an image is: names are looked up in the image's own lists, where an overlay would find them.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};

use super::records::User;
use crate::layer::whiteout::{is_opaque, is_whiteout};

/// Most bytes of a list of users or groups that are looked at.
const MAX_LIST: u64 = 1 << 20;
/// The highest number of a user or a group that means somebody.
const MAX_ID: u32 = u32::MAX - 2;

/// Finds the user that a configuration names: `name`, `number`, or either with a group behind a colon. `layers` are
/// folders, lowest first.
///
/// # Errors
/// What is wrong with the name.
pub(super) fn find(user: &str, layers: &[PathBuf]) -> Result<User, String> {
    let (user, group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    let users =
        list(layers, "passwd").map_err(|error| format!("its list of users cannot be read: {error}"))?;
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    let entry = fields(&users).find(|entry| match number {
        Some(number) => entry.get(2).is_some_and(|id| id.parse() == Ok(number)),
        None => entry.first() == Some(&user),
    });
    let field = |index: usize| entry.as_ref().and_then(|entry| entry.get(index).copied());
    let uid = number.or_else(|| field(2)?.parse().ok()).ok_or_else(|| unknown("user", user))?;
    let own_group = field(3).and_then(|group| group.parse().ok()).unwrap_or(0);
    let gid = match group.filter(|group| !group.is_empty()) {
        None => own_group,
        Some(group) => match group.parse() {
            Ok(gid) => gid,
            Err(_) => {
                let groups = list(layers, "group")
                    .map_err(|error| format!("its list of groups cannot be read: {error}"))?;
                let entry = fields(&groups).find(|entry| entry.first() == Some(&group));
                let gid = entry.and_then(|entry| entry.get(2)?.parse().ok());
                gid.ok_or_else(|| unknown("group", group))?
            }
        },
    };
    if uid > MAX_ID || gid > MAX_ID {
        return Err(format!("its user {uid}:{gid} is nobody's number"));
    }
    let home =
        field(5).filter(|home| home.starts_with('/') && !home.contains('\0')).unwrap_or("/").to_owned();
    Ok(User { uid, gid, home })
}

fn unknown(what: &str, name: &str) -> String {
    format!("it runs as the {what} '{name}', whom its own lists do not have")
}

fn fields(list: &str) -> impl Iterator<Item = Vec<&str>> {
    list.lines().map(|line| line.split(':').collect())
}

/// A file in `/etc` of the stacked layers; empty if there is none.
fn list(layers: &[PathBuf], name: &str) -> io::Result<String> {
    for layer in layers.iter().rev() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(top) = rustix::fs::openat(CWD, layer, flags, Mode::empty()) else { continue };
        let etc = match rustix::fs::statat(&top, "etc", AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                rustix::fs::openat(&top, "etc", flags, Mode::empty())?
            }
            // Gone, or something else: what lies below cannot be seen.
            Ok(_) => return Ok(String::new()),
            Err(_) if is_opaque(&top) => return Ok(String::new()),
            Err(_) => continue,
        };
        match rustix::fs::statat(&etc, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&etc, name, flags, Mode::empty())?;
                let mut bytes = Vec::new();
                std::fs::File::from(file).take(MAX_LIST).read_to_end(&mut bytes)?;
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
            Ok(found) if is_whiteout(&found) => return Ok(String::new()),
            Ok(_) => {
                return Err(io::Error::other(format!(
                    "{} is no file",
                    Path::new("etc").join(name).display()
                )));
            }
            Err(_) if is_opaque(&etc) || is_opaque(&top) => return Ok(String::new()),
            Err(_) => {}
        }
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::whiteout;

    fn layer(folder: &Path, passwd: &str) -> PathBuf {
        std::fs::create_dir_all(folder.join("etc")).unwrap();
        std::fs::write(folder.join("etc/passwd"), passwd).unwrap();
        folder.to_owned()
    }

    fn user(uid: u32, gid: u32, home: &str) -> Result<User, String> {
        Ok(User { uid, gid, home: home.to_owned() })
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        let folder = tempfile::tempdir().unwrap();
        let list = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533:n:/none:/bin/false\nz:x:9:9::/\0:\n";
        let one = layer(&folder.path().join("1"), list);
        std::fs::write(one.join("etc/group"), "staff:x:50:\n").unwrap();
        let layers = [one];
        assert_eq!(find("", &layers), user(0, 0, "/root"));
        assert_eq!(find("nobody", &layers), user(65534, 65533, "/none"));
        assert_eq!(find("nobody:staff", &layers), user(65534, 50, "/none"));
        assert_eq!(find("65534:7", &layers), user(65534, 7, "/none"));
        assert_eq!(find("1234", &layers), user(1234, 0, "/"));
        assert_eq!(find("z", &layers), user(9, 9, "/"), "no path has a zero byte");
        assert!(find("who", &layers).unwrap_err().contains("user 'who'"));
        assert!(find("0:who", &layers).unwrap_err().contains("group 'who'"));
        assert!(find("4294967295", &layers).is_err());
        assert_eq!(find("", &[]), user(0, 0, "/"));
    }

    #[test]
    fn higher_layers_hide_lower_ones() {
        let folder = tempfile::tempdir().unwrap();
        let low = layer(&folder.path().join("1"), "a:x:1:1::/:\n");
        let high = layer(&folder.path().join("2"), "a:x:2:2::/:\n");
        assert_eq!(find("a", &[low.clone(), high.clone()]), user(2, 2, "/"));
        std::fs::remove_file(high.join("etc/passwd")).unwrap();
        assert_eq!(find("a", &[low.clone(), high.clone()]), user(1, 1, "/"));
        let etc = std::fs::File::open(high.join("etc")).unwrap();
        whiteout::make(&etc, std::ffi::OsStr::new("passwd")).unwrap();
        assert!(find("a", &[low, high]).is_err());
    }
}
