//! The image that code was built for, as `exec.env` beside it says.

use std::io::Read;
use std::path::Path;

use chasen_entity::error_text::runtime::{CANNOT_START, EXECUTION_ENV_MISMATCH};
use chasen_runtime::code::open_within;

/// The file in which code says which images it is for.
const EXECUTION_ENV: &str = "exec.env";
/// Most bytes of it that are looked at.
const MAX_EXECUTION_ENV: u64 = 4096;

/// Why code that says which image it was built for is not for `environment`, of which all versions are alike. Code
/// that says nothing is for every one.
pub(super) fn foreign(code: &Path, environment: &str) -> Option<String> {
    let mut actual = String::new();
    let file = open_within(code, EXECUTION_ENV).ok()?;
    file.take(MAX_EXECUTION_ENV).read_to_string(&mut actual).ok()?;
    let expected = family_of(environment);
    let actual = actual.trim();
    (!actual.starts_with(expected)).then(|| {
        format!(
            "Expected exec.env should start with {expected}\nActual value: {actual}\n{CANNOT_START}{EXECUTION_ENV_MISMATCH}"
        )
    })
}

/// An image's name up to its version: `openwhisk/action-golang-v` of `openwhisk/action-golang-v1.20`.
fn family_of(environment: &str) -> &str {
    let version = environment.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if version.ends_with("-v") { version } else { environment }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_for_other_images_is_told_apart_by_family() {
        let folder = tempfile::tempdir().unwrap();
        let go = "openwhisk/action-golang-v1.20";
        assert_eq!(foreign(folder.path(), go), None, "nothing is said");
        for (said, same) in [
            ("openwhisk/action-golang-v1.20", true),
            ("openwhisk/action-golang-v1.15\n", true),
            ("openwhisk/action-python-v3.11", false),
            ("", false),
        ] {
            std::fs::write(folder.path().join(EXECUTION_ENV), said).unwrap();
            assert_eq!(foreign(folder.path(), go).is_none(), same, "{said}");
        }
        assert_eq!(family_of("registry/image"), "registry/image");
    }

    #[test]
    fn files_of_the_node_are_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let code = folder.path().join("code");
        std::fs::create_dir(&code).unwrap();
        std::fs::write(folder.path().join("secret"), "of the node").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), code.join(EXECUTION_ENV)).unwrap();
        assert_eq!(foreign(&code, "openwhisk/action-golang-v1.20"), None);
    }
}
