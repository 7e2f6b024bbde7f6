//! The commands of the documentation, run as a reader would paste them.
//!
//! Every fenced block marked `sh` of a page runs in one shell, in order, against a node of its own; `sh skip`
//! marks what other tests run or what never ends. The default address is replaced by the node's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chasen_testkit::{binary, node, run};

use crate::scenario::{Need, Scenario};
use crate::{built_roots, dotnet};

const DEFAULT_ADDRESS: &str = "127.0.0.1:3233";

pub(crate) fn scenarios() -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = pages().into_iter().filter_map(|page| commands_of(&page)).collect();
    scenarios.push(Scenario::blocking("docs::links_between_pages_lead_somewhere", links).needing_nothing());
    scenarios
}

/// The commands of a page, if it has any. Those of a language's page need the language.
fn commands_of(page: &Path) -> Option<Scenario> {
    let commands = commands(&fs::read_to_string(page).unwrap());
    if commands.is_empty() {
        return None;
    }
    let name = page.file_stem().unwrap().to_str().unwrap().to_lowercase();
    let body_page = page.to_owned();
    let scenario =
        Scenario::blocking(format!("docs::commands_of_{name}"), move || run_page(&body_page, &commands))
            .needing(Need::command("curl"));
    let is_language = page.parent().unwrap().ends_with("languages");
    Some(match name.as_str() {
        // Its functions in TypeScript need a package of the registry.
        "nodejs" => scenario.needing(Need::command("npm")).needing(Need::Packages),
        "bring-your-own-image" => scenario.needing(Need::command("busybox")),
        "write-a-runtime" => ["bash", "jq", "python3"]
            .into_iter()
            .fold(scenario, |scenario, name| scenario.needing(Need::command(name))),
        "native" => ["bash", "jq", "perl"]
            .into_iter()
            .fold(scenario, |scenario, name| scenario.needing(Need::command(name))),
        "deno" => scenario.needing(Need::Deno),
        "dotnet" => scenario.needing(Need::command("python3")).needing(Need::DotNet),
        "tls" => scenario.needing(Need::command("openssl")),
        "swift" => scenario.needing(Need::RareCommand("swiftc")),
        "rust" => scenario.needing(Need::command("rustc")).needing(Need::Packages),
        _ if is_language => scenario.needing(Need::Command(name.into())),
        _ => scenario,
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn pages() -> Vec<PathBuf> {
    let root = root();
    let mut pages = files(&root.join("docs"));
    pages.extend(
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SPECIFICATION.md"].map(|page| root.join(page)),
    );
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The lines of all blocks that are to be run.
fn commands(page: &str) -> String {
    let mut commands = String::new();
    let mut inside = false;
    for line in page.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => {
                commands.push_str(line);
                commands.push('\n');
            }
            _ => {}
        }
    }
    commands
}

fn run_page(page: &Path, commands: &str) {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("chasen");
    if page.ends_with("deno.md") {
        built_roots::lend_deno(&data);
    }
    if page.ends_with("dotnet.md") {
        dotnet::lend(&data);
    }
    let node = node().data(&data).start();
    let address = node.base().trim_start_matches("http://");
    let script = format!("set -eu\n{}", commands.replace(DEFAULT_ADDRESS, address));
    let folder = binary().parent().unwrap().to_owned();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(root()).env("PATH", path);
    // The default data folder, which `chasen admin` works on, is this node's.
    shell.env("XDG_DATA_HOME", home.path());
    let finished = run(shell);
    assert_eq!(finished.code, Some(0), "{}: {finished:?}\n{}", page.display(), node.log());
}

fn links() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            assert!(page.parent().unwrap().join(path).exists(), "{}: nothing at {target}", page.display());
        }
    }
}
