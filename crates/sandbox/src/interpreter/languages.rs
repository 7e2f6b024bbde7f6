//! The interpreters that the sandbox knows: how each is asked about itself, and how to get it.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde::Deserialize;

use crate::programs::of_the_machine;

/// What a candidate says of itself.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    /// The real program.
    pub(super) program: PathBuf,
    /// Its whole version.
    pub(super) version: String,
    /// Files and folders that it needs.
    pub(super) needs: Vec<PathBuf>,
}

/// How a command is asked about itself and what to tell who does not have it.
pub(super) struct Language {
    /// As the manifest names it.
    pub(super) command: &'static str,
    /// Arguments that make it say what it is.
    pub(super) question: &'static [&'static str],
    /// Reads what it says, inside the root that it was asked in; the error follows its path in a sentence.
    pub(super) read: fn(&Output, root: &Path) -> Result<Answer, String>,
    /// Folder whose subfolders' `bin` hold more of them, besides those on the path.
    pub(super) homes: Option<&'static str>,
    /// How to get a version of it; `{}` stands for the version.
    pub(super) install: &'static str,
}

pub(super) const LANGUAGES: &[Language] = &[
    Language {
        command: "node",
        question: &[
            "-e",
            "const libraries = fs.readFileSync('/proc/self/maps', 'utf8').match(/\\/\\S+\\.so\\S*/g) ?? [];\
             console.log(JSON.stringify({ program: process.execPath, version: process.versions.node, needs: libraries }))",
        ],
        read: json,
        homes: None,
        install: "nvm install {}",
    },
    Language {
        command: "python",
        question: &[
            "-I",
            "-c",
            "import json, os, sys\n\
             print(json.dumps({'program': os.path.realpath(sys.executable), 'version': sys.version.split()[0],\
              'needs': [sys.base_prefix, sys.base_exec_prefix]}))",
        ],
        read: json,
        homes: None,
        install: "apt-get install python{}, or: pyenv install {}",
    },
    Language {
        command: "ruby",
        question: &[
            "--disable=gems",
            "-rjson",
            "-rrbconfig",
            "-e",
            "puts JSON.generate({ program: RbConfig.ruby, version: RUBY_VERSION,\
              needs: [RbConfig::CONFIG['prefix']] })",
        ],
        read: json,
        homes: None,
        install: "apt-get install ruby ruby-bundler, or: rbenv install {}",
    },
    Language {
        command: "php",
        question: &[
            "-r",
            "preg_match_all('~/\\S+\\.so\\S*~', file_get_contents('/proc/self/maps'), $libraries);\
             echo json_encode(['program' => PHP_BINARY, 'version' => PHP_VERSION, 'needs' => $libraries[0]],\
              JSON_UNESCAPED_SLASHES);",
        ],
        read: json,
        homes: None,
        install: "apt-get install php{}-cli",
    },
    Language {
        command: "java",
        question: &["-XshowSettings:properties", "-version"],
        read: java,
        homes: Some("/usr/lib/jvm"),
        install: "apt-get install openjdk-{}-jdk-headless libgoogle-gson-java",
    },
    Language {
        command: "swiftc",
        question: &["-print-target-info"],
        read: swift,
        homes: None,
        install: "chasen runtimes build swift",
    },
    Language {
        command: "go",
        question: &["env", "-json", "GOROOT", "GOVERSION"],
        read: go,
        homes: None,
        install: "apt-get install golang-go",
    },
    Language {
        command: "rustc",
        question: &["--print", "sysroot"],
        read: rust,
        homes: None,
        install: "apt-get install rustc cargo gcc, or: rustup default stable",
    },
    Language {
        command: "deno",
        question: &[
            "eval",
            "--quiet",
            "--no-config",
            "console.log(JSON.stringify({ program: Deno.execPath(), version: Deno.version.deno, needs: [] }))",
        ],
        read: json,
        homes: None,
        install: "chasen runtimes build deno",
    },
    Language {
        command: "dotnet",
        question: &["--list-runtimes"],
        read: dotnet,
        homes: None,
        install: "dotnet-install.sh --channel {}",
    },
];

/// The library that functions in Java are written against.
const GSON: &str = "/usr/share/java/gson.jar";

fn json(output: &Output, _: &Path) -> Result<Answer, String> {
    serde_json::from_slice(&output.stdout).map_err(|_| "does not say what it is".to_owned())
}

/// `    java.home = /usr/lib/jvm/…`, among other properties. The launcher is compiled, so it must be a whole JDK.
fn java(output: &Output, root: &Path) -> Result<Answer, String> {
    let text = String::from_utf8_lossy(&output.stderr);
    let property = |name: &str| {
        let pairs = text.lines().filter_map(|line| line.trim().split_once(" = "));
        let found = pairs.into_iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.to_owned()).ok_or("does not say what it is")
    };
    let (home, version) = (PathBuf::from(property("java.home")?), property("java.version")?);
    for (file, what) in [(home.join("bin/javac"), "compiler"), (PathBuf::from(GSON), "library Gson")] {
        if !root.join(file.strip_prefix("/").unwrap_or(&file)).is_file() {
            return Err(format!("is {version} but lacks its {what}, {}", file.display()));
        }
    }
    Ok(Answer { program: home.join("bin/java"), version, needs: vec![home] })
}

/// `"compilerVersion": "Swift version 6.0.3 (…)"`, and the folder that holds the standard library.
fn swift(output: &Output, _: &Path) -> Result<Answer, String> {
    let unclear = || "does not say what it is".to_owned();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|_| unclear())?;
    let text = told.get("compilerVersion").and_then(serde_json::Value::as_str);
    let version =
        text.and_then(|text| text.split(' ').find(|word| word.starts_with(|c: char| c.is_ascii_digit())));
    let resources =
        told.pointer("/paths/runtimeResourcePath").and_then(serde_json::Value::as_str).map(PathBuf::from);
    let (Some(version), Some(resources)) = (version, resources) else { return Err(unclear()) };
    // `<home>/lib/swift` beside `<home>/bin/swiftc`: a toolchain is a folder of its own wherever it is unpacked.
    let home = resources.ancestors().nth(2).map(Path::to_path_buf).ok_or_else(unclear)?;
    Ok(Answer { program: home.join("bin/swiftc"), version: version.to_owned(), needs: vec![home] })
}

/// `{"GOROOT": "/usr/local/go", "GOVERSION": "go1.26.8"}`
fn go(output: &Output, _: &Path) -> Result<Answer, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "UPPERCASE")]
    struct Told {
        goroot: PathBuf,
        goversion: String,
    }
    let told: Told =
        serde_json::from_slice(&output.stdout).map_err(|_| "does not say what it is".to_owned())?;
    // `go1.27-devel_…` of a version that is not out yet.
    let version = told.goversion.trim_start_matches("go").split(['-', ' ']).next().unwrap_or_default();
    Ok(Answer { program: told.goroot.join("bin/go"), version: version.to_owned(), needs: vec![told.goroot] })
}

/// `Microsoft.NETCore.App 3.1.2 [/…/shared/Microsoft.NETCore.App]`, oldest first: the newest is what the launcher runs
/// on. That is compiled, so it must be a whole SDK.
fn dotnet(output: &Output, root: &Path) -> Result<Answer, String> {
    let unclear = || "does not say what it is".to_owned();
    let text = String::from_utf8_lossy(&output.stdout);
    let newest = text.lines().filter_map(|line| line.strip_prefix("Microsoft.NETCore.App ")).next_back();
    let (version, place) =
        newest.and_then(|newest| newest.strip_suffix(']')?.split_once(" [")).ok_or_else(unclear)?;
    let home = Path::new(place).ancestors().nth(2).map(Path::to_path_buf).ok_or_else(unclear)?;
    let sdks = home.join("sdk");
    let listing = std::fs::read_dir(root.join(sdks.strip_prefix("/").unwrap_or(&sdks)));
    let mut listing = listing.into_iter().flatten().flatten();
    if !listing.any(|sdk| sdk.path().join("Roslyn/bincore/csc.dll").is_file()) {
        return Err(format!("is {version} but lacks its SDK, {}", sdks.display()));
    }
    Ok(Answer { program: home.join("dotnet"), version: version.to_owned(), needs: vec![home] })
}

/// Minor version of the oldest Rust that reads the lock of the pinned crates.
const OLDEST_RUST: u32 = 78;

/// The folder of the toolchain; its own compiler says which version it is. Libraries are built and linked too.
fn rust(output: &Output, root: &Path) -> Result<Answer, String> {
    let unclear = || "does not say what it is".to_owned();
    let home = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if !home.is_absolute() {
        return Err(unclear());
    }
    let inside = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let program = home.join("bin/rustc");
    let told = of_the_machine(inside(&program)).arg("--version").output().map_err(|_| unclear())?;
    let told = String::from_utf8_lossy(&told.stdout);
    let version = told.split(' ').nth(1).ok_or_else(unclear)?.to_owned();
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok()).ok_or_else(unclear)?;
    if minor < OLDEST_RUST {
        return Err(format!("is {version}, and the crates of functions need 1.{OLDEST_RUST}"));
    }
    for (file, what) in [(home.join("bin/cargo"), "Cargo"), (PathBuf::from("/usr/bin/cc"), "linker")] {
        if !inside(&file).is_file() {
            return Err(format!("is {version} but lacks its {what}, {}", file.display()));
        }
    }
    Ok(Answer { program, version, needs: vec![home] })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn the_newest_runtime_of_dotnet_counts_where_there_is_an_sdk() {
        let root = tempfile::tempdir().unwrap();
        let said = |text: &str| {
            let output = Output {
                status: ExitStatus::from_raw(0),
                stdout: text.as_bytes().to_vec(),
                stderr: Vec::new(),
            };
            dotnet(&output, root.path()).map(|answer| (answer.version, answer.needs))
        };
        let text = "Microsoft.AspNetCore.App 9.0.1 [/opt/net/shared/Microsoft.AspNetCore.App]\n\
                    Microsoft.NETCore.App 3.1.2 [/opt/net/shared/Microsoft.NETCore.App]\n\
                    Microsoft.NETCore.App 8.0.4 [/opt/net/shared/Microsoft.NETCore.App]\n";
        assert_eq!(said(text).unwrap_err(), "is 8.0.4 but lacks its SDK, /opt/net/sdk");
        let compiler = root.path().join("opt/net/sdk/8.0.204/Roslyn/bincore");
        std::fs::create_dir_all(&compiler).unwrap();
        std::fs::write(compiler.join("csc.dll"), "").unwrap();
        assert_eq!(said(text), Ok(("8.0.4".to_owned(), vec![PathBuf::from("/opt/net")])));
        for unclear in ["", "Microsoft.NETCore.App", "Microsoft.NETCore.App 3.1.2 [/]", "3.1.2"] {
            assert_eq!(said(unclear).unwrap_err(), "does not say what it is", "{unclear}");
        }
    }
}
