//! Which code is compiled, as far as the code itself decides.

use std::io::Read;
use std::path::Path;

use chasen_entity::manifest::Compiler;
use chasen_runtime::code;
use serde_json::Value;

use crate::layer::{Layer, Shape};

/// What separates a file of JSON from a place in it.
const PLACE: char = '#';
/// Largest file of JSON that is looked into, in bytes.
const MAX_JSON: u64 = 1 << 20;

/// True if this code is compiled.
pub(super) fn applies(compiler: &Compiler, source: &Layer) -> bool {
    if compiler.when.is_empty() {
        return !code::is_executable(source.path());
    }
    let holds = |name: &String| holds(source.path(), name);
    source.shape() == Shape::Archive && compiler.when.iter().any(holds) && !compiler.unless.iter().any(holds)
}

/// True if the folder has such a file, with something at the place that is asked for.
fn holds(folder: &Path, wanted: &str) -> bool {
    match wanted.split_once(PLACE) {
        None => folder.join(wanted).symlink_metadata().is_ok(),
        Some((name, place)) => read_json(folder, name)
            .as_ref()
            .and_then(|json| json.pointer(place))
            .is_some_and(|found| match found {
                Value::Null => false,
                Value::Object(entries) => !entries.is_empty(),
                Value::Array(items) => !items.is_empty(),
                _ => true,
            }),
    }
}

fn read_json(folder: &Path, name: &str) -> Option<Value> {
    let mut text = Vec::new();
    let length = code::open_within(folder, name).ok()?.take(MAX_JSON + 1).read_to_end(&mut text).ok()?;
    (length as u64 <= MAX_JSON).then(|| serde_json::from_slice(&text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use chasen_runtime::code::EXEC;

    use super::*;

    #[test]
    fn compilers_are_asked_for_what_needs_them_only() {
        let folder = tempfile::tempdir().unwrap();
        let layer = |shape| Layer::lasting(folder.path().to_owned(), shape, 0);
        let compiler = |when: &[&str], unless: &[&str]| Compiler {
            program: "x/compile".to_owned(),
            when: when.iter().map(|name| (*name).to_owned()).collect(),
            unless: unless.iter().map(|name| (*name).to_owned()).collect(),
            switch: None,
            network: false,
        };
        fs::write(folder.path().join(EXEC), "package main").unwrap();
        assert!(applies(&compiler(&[], &[]), &layer(Shape::Source)));
        fs::write(folder.path().join(EXEC), "#!/bin/sh\n").unwrap();
        assert!(!applies(&compiler(&[], &[]), &layer(Shape::Source)));
        let listed = compiler(&["requirements.txt"], &["virtualenv"]);
        assert!(!applies(&listed, &layer(Shape::Archive)));
        fs::write(folder.path().join("requirements.txt"), "").unwrap();
        assert!(applies(&listed, &layer(Shape::Archive)));
        assert!(!applies(&listed, &layer(Shape::Source)));
        fs::create_dir(folder.path().join("virtualenv")).unwrap();
        assert!(!applies(&listed, &layer(Shape::Archive)));
    }

    #[test]
    fn files_of_json_are_looked_into_with_care() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let asked = "package.json#/dependencies";
        assert!(!holds(path, asked));
        for (text, found) in [
            (r#"{"dependencies":{"a":"1"}}"#, true),
            (r#"{"dependencies":{}}"#, false),
            (r#"{"dependencies":null}"#, false),
            ("{}", false),
            ("[", false),
            ("", false),
        ] {
            fs::write(path.join("package.json"), text).unwrap();
            assert_eq!(holds(path, asked), found, "{text}");
        }
        fs::write(path.join("other.json"), r#"{"dependencies":{"a":"1"}}"#).unwrap();
        fs::remove_file(path.join("package.json")).unwrap();
        std::os::unix::fs::symlink(path.join("other.json"), path.join("package.json")).unwrap();
        assert!(!holds(path, asked), "links that could lead out are not followed");
        let padded = format!("{}{{\"dependencies\":{{\"a\":1}}}}", " ".repeat(1 << 20));
        fs::write(path.join("other.json"), padded).unwrap();
        assert!(!holds(path, "other.json#/dependencies"), "nor is more read than is reasonable");
    }
}
