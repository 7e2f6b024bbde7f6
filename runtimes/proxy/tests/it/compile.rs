//! `-compile`: archives that start elsewhere without a compiler.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{Proxy, program, script, zip_of};

pub(crate) const ALL: &[(&str, fn())] = &[
    ("archives_come_back_as_they_were", archives_come_back_as_they_were),
    ("sources_are_compiled_and_start_elsewhere", sources_are_compiled_and_start_elsewhere),
    ("single_sources_become_archives_of_their_kind", single_sources_become_archives_of_their_kind),
    ("what_python_archives_list_is_installed", what_python_archives_list_is_installed),
    ("errors_are_told", errors_are_told),
];

const ECHO: &str = "#!/bin/bash\nwhile read -r line; do echo \"[\\\"$WHO\\\"]\" >&3; done\n";

fn compile(arguments: &[&str], env: &[(&str, &str)], code: &[u8]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(program())
        .args(arguments)
        .envs(env.iter().copied())
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read.
    let _ = child.stdin.take().unwrap().write_all(code);
    let output = child.wait_with_output().unwrap();
    let left = folder.path().join("action/1").exists();
    assert!(!left, "the folder is removed");
    output
}

fn names(archive: &[u8]) -> Vec<String> {
    let archive = zip::ZipArchive::new(std::io::Cursor::new(archive)).unwrap();
    let mut names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    names.sort();
    names
}

fn archives_come_back_as_they_were() {
    let output = compile(&["-compile", "main"], &[], &zip_of(&[("exec", ECHO), ("lib/a", "x")]));
    assert!(output.status.success());
    assert_eq!(names(&output.stdout), ["exec", "lib/", "lib/a"]);
    let proxy = Proxy::start("actionloop", &[]);
    assert_eq!(proxy.init(&output.stdout, true, &json!({ "WHO": "me" })).0, 200);
    assert_eq!(proxy.run(&json!({})).1, "[\"me\"]\n");
}

fn sources_are_compiled_and_start_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = folder.path().join("compiler");
    script(
        &compiler,
        "#!/bin/sh\n{ echo '#!/bin/bash'; echo \"BUILT=$MODE-$1\"; cat \"$2/exec\"; } > \"$3/exec\"\n",
    );
    let env = [("OW_COMPILER", compiler.to_str().unwrap())];
    let source = b"while read -r line; do echo \"[\\\"$BUILT\\\"]\" >&3; done\n";
    let output = compile(&["-compile", "niam", "-env", r#"{"MODE":7}"#], &env, source);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let proxy = Proxy::start("actionloop", &[]);
    assert_eq!(proxy.init(&output.stdout, true, &Value::Null).0, 200);
    assert_eq!(proxy.run(&json!({})).1, "[\"7-niam\"]\n");
}

fn single_sources_become_archives_of_their_kind() {
    // No interpreter is needed for that: any launcher will do.
    for (kind, name) in [("nodejs", "index.js"), ("python", "__main__.py"), ("ruby", "main.rb")] {
        let arguments = ["--kind", kind, "-compile", "main", "--", "/bin/true"];
        let output = compile(&arguments, &[], b"source of main");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(names(&output.stdout), [name]);
    }
}

/// By the kind's own compiler, the same that a node's build cells call.
fn what_python_archives_list_is_installed() {
    if !Command::new("python3").args(["-m", "pip", "--version"]).output().is_ok_and(|it| it.status.success())
    {
        println!("skipped: what_python_archives_list_is_installed: no python3 with pip");
        return;
    }
    let compiler = concat!(env!("CARGO_MANIFEST_DIR"), "/../python/compile");
    let arguments = ["--kind", "python", "-compile", "main", "--", "/bin/true"];
    let listing = [("__main__.py", "main = dict"), ("requirements.txt", "# nothing\n")];
    let output = compile(&arguments, &[("OW_COMPILER", compiler)], &zip_of(&listing));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(names(&output.stdout).contains(&"virtualenv/bin/activate_this.py".to_owned()));
    let listing = [("__main__.py", "main = dict"), ("requirements.txt", "./nowhere.whl\n")];
    let output = compile(&arguments, &[("OW_COMPILER", compiler)], &zip_of(&listing));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere.whl"), "{output:?}");
}

fn errors_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = folder.path().join("compiler");
    script(&compiler, "#!/bin/sh\necho 'line 3: no'\n");
    let env = [("OW_COMPILER", compiler.to_str().unwrap())];
    for (arguments, code, text) in [
        (&["-compile", "main"][..], "source", "line 3: no"),
        (&["-compile", "main"], "", "Missing main/no code to execute."),
        (&["-compile", "main", "-env", "[]"], "source", "-env is no JSON object"),
        (&["-compile", "main"], "PK\x03\x04", "the archive is damaged"),
    ] {
        let output = compile(arguments, &env, code.as_bytes());
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.starts_with(text), "{error}");
    }
    fs::remove_file(compiler).unwrap();
}
