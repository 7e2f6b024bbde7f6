//! Whole images.

use std::fs;

use serde_json::json;

use crate::archive::Image;
use crate::layer::Layer;
use crate::parts::{busybox, misbehaving, proxy};

/// What scripts of tests call.
const TOOLS: [&str; 16] = [
    "sh", "cat", "echo", "printf", "yes", "head", "tail", "wc", "sleep", "env", "id", "ls", "mkdir", "mv",
    "nc", "sed",
];

/// Our proxy before executables that are started anew for every run, a shell, and nothing else. `None`, and said so, if
/// a part is missing.
#[must_use]
pub fn of_shell(reference: &str) -> Option<Image> {
    of_proxy(reference, "blackbox")
}

/// The same before executables that speak lines.
#[must_use]
pub fn of_actionloop(reference: &str) -> Option<Image> {
    of_proxy(reference, "actionloop")
}

fn of_proxy(reference: &str, kind: &str) -> Option<Image> {
    let (proxy, busybox) = (proxy()?, busybox()?);
    let mut tools = Layer::default()
        .folder("bin/", 0o755)
        .folder("etc/", 0o755)
        .folder("proc/", 0o555)
        .folder("dev/", 0o755)
        .folder("tmp/", 0o1777)
        .file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
        .file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")
        .file("bin/busybox", 0o755, &fs::read(busybox).unwrap());
    for tool in TOOLS {
        tools = tools.link(&format!("bin/{tool}"), "busybox");
    }
    let entry = Layer::default().file("chasen-proxy", 0o755, &fs::read(proxy).unwrap());
    let image = Image::new(reference)
        .layer(tools)
        .layer(entry)
        .with("Entrypoint", json!(["/chasen-proxy", "--kind", kind]))
        .with("WorkingDir", json!("/"))
        .with("Env", json!(["PATH=/bin", "FLAVOUR=plain"]));
    Some(image)
}

/// A server and nothing else, which does as its arguments say; see the program itself.
#[must_use]
pub fn of_misbehaving(reference: &str, arguments: &[&str]) -> Image {
    let program = fs::read(misbehaving()).unwrap();
    Image::new(reference)
        .layer(Layer::default().folder("tmp/", 0o1777).file("misbehaving", 0o755, &program))
        .with("Entrypoint", json!(["/misbehaving"]))
        .with("Cmd", json!(arguments))
}
