//! The published clients, each driving a node through a flow of its own (`npm/`).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use chasen_testkit::{GUEST, node, run};

use crate::scenario::{Need, Scenario};

/// The packages, pinned, and the flows.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/npm");
const LISTS: [(&str, &str); 2] = [
    ("package.json", include_str!("../npm/package.json")),
    ("package-lock.json", include_str!("../npm/package-lock.json")),
];

pub(crate) fn scenarios() -> Vec<Scenario> {
    let flow = |name, script| {
        Scenario::blocking(name, move || drive(script))
            .needing(Need::command("node"))
            .needing(Need::command("npm"))
            .needing(Need::Packages)
    };
    vec![
        flow("npm::the_openwhisk_client_finds_everything_as_it_expects", "openwhisk.js"),
        flow("npm::compositions_of_every_combinator_run", "composer.js"),
    ]
}

/// Where the packages are, installed once; why they cannot be had.
pub(crate) fn packages() -> &'static Result<PathBuf, String> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    INSTALLED.get_or_init(install)
}

fn install() -> Result<PathBuf, String> {
    let mut digest = DefaultHasher::new();
    LISTS.hash(&mut digest);
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = cache.join(format!("npm-{:016x}", digest.finish()));
    if folder.is_dir() {
        return Ok(folder);
    }
    let text = |error: std::io::Error| format!("{}: {error}", cache.display());
    let fresh = tempfile::tempdir_in(cache).map_err(text)?;
    for (name, list) in LISTS {
        std::fs::write(fresh.path().join(name), list).map_err(text)?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]);
    let finished = run({
        npm.current_dir(fresh.path());
        npm
    });
    if finished.code != Some(0) {
        return Err(format!("the packages of {FOLDER} cannot be installed: {finished:?}"));
    }
    // Another run may have been faster; what it has installed is the same.
    let fresh = fresh.keep();
    match std::fs::rename(&fresh, &folder) {
        Err(_) if folder.is_dir() => std::fs::remove_dir_all(&fresh).map_err(text)?,
        renamed => renamed.map_err(text)?,
    }
    Ok(folder)
}

fn drive(script: &str) {
    let node = node().start();
    let packages = packages().as_ref().expect("the scenario needs them");
    let mut client = Command::new("node");
    client.arg(Path::new(FOLDER).join(script)).args([node.base(), GUEST]);
    client.env("NODE_PATH", packages.join("node_modules"));
    let finished = run(client);
    assert_eq!(finished.code, Some(0), "{finished:?}\n{}", node.log());
}
