//! Whatever a layer says, nothing outside of its folder changes, and what it became is what a simple model says.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::World;
use crate::build::{Item, device, file, folder, hard_link, symlink};

const NAMES: [&str; 14] = [
    "a",
    "b",
    "a/b",
    "a/b/c",
    "b/a",
    "../a",
    "/a",
    "./b",
    "a/..",
    ".wh.a",
    "a/.wh.b",
    "a/.wh..wh..opq",
    ".wh...",
    "l/x",
];
const TARGETS: [&str; 10] = ["a", "b", "a/b", "/", "..", "../../..", "/etc", "/a/b", "l", "../outside"];

fn item() -> impl Strategy<Value = Item> {
    (0..6_u8, proptest::sample::select(NAMES.as_slice()), proptest::sample::select(TARGETS.as_slice()))
        .prop_map(|(kind, name, target)| match kind {
            0 | 1 => file(name, "content"),
            2 => folder(name),
            3 => symlink(if name == "l/x" { "l" } else { name }, target),
            4 => hard_link(name, target),
            _ => device(name),
        })
}

/// Everything below a folder: files, folders, links and marks; nothing else can be there.
fn check(root: &Path) {
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let found = path.symlink_metadata().unwrap();
            let kind = found.file_type();
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_char_device() {
                assert_eq!(found.rdev(), 0, "{}", path.display());
            } else {
                assert!(kind.is_file() || kind.is_symlink(), "{}", path.display());
                assert_eq!(found.mode() & 0o6000, 0);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_escapes(items in proptest::collection::vec(item(), 0..12)) {
        let world = World::quick();
        let outside = world.folder.path().join("images/outside");
        std::fs::create_dir_all(&outside).unwrap();
        if let Ok(root) = world.unpack(&items) {
            check(&root);
        }
        prop_assert_eq!(outside.read_dir().unwrap().count(), 0);
        let beside: Vec<PathBuf> = world.folder.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        prop_assert_eq!(beside.len(), 2, "the store and the archive: {:?}", beside);
    }

    /// Without links, a layer is the last of everything it says.
    #[test]
    fn plain_layers_are_what_they_say(steps in proptest::collection::vec((0..3_usize, 0..3_usize, any::<bool>()), 0..12)) {
        const PATHS: [[&str; 3]; 3] = [["a", "b", "c"], ["a/x", "b/x", "c/x"], ["a/x/y", "b/x/y", "c/x/y"]];
        let mut model: BTreeMap<String, bool> = BTreeMap::new();
        let mut items = Vec::new();
        for (depth, which, is_folder) in steps {
            let path = PATHS[depth][which];
            // What needs a folder where a file is would be refused.
            let above: Vec<String> = path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect();
            if above.iter().any(|parent| model.get(parent) == Some(&false)) {
                continue;
            }
            above.into_iter().for_each(|parent| { model.insert(parent, true); });
            if !(is_folder && model.get(path) == Some(&true)) {
                model.retain(|other, _| !other.starts_with(&format!("{path}/")));
            }
            model.insert(path.to_owned(), is_folder);
            items.push(if is_folder { folder(path) } else { file(path, path) });
        }
        let world = World::quick();
        let root = world.unpack(&items).unwrap();
        let mut found = BTreeMap::new();
        let mut open = vec![root.clone()];
        while let Some(folder) = open.pop() {
            for entry in folder.read_dir().unwrap() {
                let path = entry.unwrap().path();
                found.insert(path.strip_prefix(&root).unwrap().display().to_string(), path.is_dir());
                if path.is_dir() { open.push(path) }
            }
        }
        prop_assert_eq!(found, model);
    }
}
