//! Imported images as one container factory among others: well-behaved ones, and all the others.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use chasen_entity::exec::BLACKBOX;
use chasen_entity::response::Answer;
use chasen_entity::{
    ByteSize, ExecutableAction, Invocation, NetworkPolicy, PayloadLimits, Response, error_text,
};
use chasen_images::{Bounds, ImageError, Images};
use chasen_sandbox::image::ImageFactory;
use chasen_spi::conformance::{Sample, Samples, container_factory};
use chasen_spi::container_factory::InitCode;
use chasen_spi::memory::invocation;
use chasen_spi::{Container, ContainerFactory, ContainerSpec, CreateError, ImageStore, RunReply};
use chasen_test_images::{Image, Layer, busybox, of_misbehaving, of_shell};
use libtest_mimic::Trial;
use serde_json::json;

use crate::house::{groups_of, test};
use crate::world::World;

/// Our proxy, a shell, and nothing else.
pub(crate) const SHELL: &str = "chasen-test/shell:1";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("imported_images_conform", conforms),
        test("imported_images_run_as_they_say", as_they_say),
        test("imported_images_keep_their_cells_apart", apart),
        test("images_without_a_program_are_told", not_executable),
        test("images_of_bad_manners_leave_nothing", bad_manners),
        test("images_that_listen_late_are_waited_for", late),
        test("images_that_run_stay", stay),
        test("kinds_run_on_their_imported_images", kinds),
        test("logs_of_images_are_waited_for_where_the_manifest_promises_an_end", promised_ends),
        test("images_of_many_layers_are_one_root", deep),
        test("images_of_whole_systems_run", python),
    ]
}

/// A factory with a store of its own.
pub(crate) struct Quay {
    pub(crate) world: World,
    pub(crate) images: Arc<Images>,
    factory: ImageFactory,
}

impl Quay {
    pub(crate) async fn open() -> Self {
        Self::with(World::open().await)
    }

    fn with(world: World) -> Self {
        let images = Arc::new(Images::new(world.data.path().join("images"), Bounds::default()));
        let factory = world.factory.images(images.clone());
        Self { world, images, factory }
    }

    /// Imports an image under its own name, which it gives back.
    pub(crate) fn import(&self, image: &Image) -> String {
        let file = self.world.data.path().join("archive.tar");
        std::fs::write(&file, image.docker_archive()).unwrap();
        self.images.import(&file, None, &()).unwrap();
        image.reference.clone()
    }

    pub(crate) async fn create(&self, image: &str) -> Result<Arc<dyn Container>, CreateError> {
        assert!(self.factory.serves(BLACKBOX, Some(image)), "{image}");
        self.factory.create(&of_image(image)).await
    }

    async fn guest(&self, image: &str) -> Guest {
        let container = self.create(image).await.unwrap();
        let action = ExecutableAction::clone(&invocation("guest", "hello", BLACKBOX, "{}").action);
        Guest { container, action }
    }

    /// A container of [`SHELL`], or of what was made of it, with this script.
    pub(crate) async fn script(&self, image: &str, script: &str) -> Guest {
        let guest = self.guest(image).await;
        let reply = guest.init(Some(script)).await;
        assert!(matches!(reply.answer, Answer::Ok(_)), "{reply:?}");
        guest
    }

    pub(crate) async fn close(self) {
        self.factory.close().await;
        assert!(groups_of(&self.world.node_id).is_empty(), "nothing is left");
    }
}

fn of_image(image: &str) -> ContainerSpec {
    ContainerSpec {
        kind: BLACKBOX.to_owned(),
        image: Some(image.to_owned()),
        memory: ByteSize::mb(256),
        network: NetworkPolicy::Internet,
    }
}

pub(crate) struct Guest {
    pub(crate) container: Arc<dyn Container>,
    action: ExecutableAction,
}

impl Guest {
    fn limit(mut self, millis: u32) -> Self {
        self.action.limits.timeout = millis;
        self
    }

    fn invocation(&self, arguments: &str) -> Invocation {
        Invocation {
            action: Arc::new(self.action.clone()),
            ..invocation("guest", "hello", BLACKBOX, arguments)
        }
    }

    async fn init(&self, code: Option<&str>) -> RunReply {
        let code = code.map(|code| code.to_owned().into());
        let code = InitCode { action: Arc::new(self.action.clone()), text: code };
        self.container.init(&self.invocation("{}"), code).await
    }

    async fn run(&self, arguments: &str) -> RunReply {
        self.container.run(&self.invocation(arguments), u64::MAX, &|| {}).await
    }

    pub(crate) async fn result(&self, arguments: &str) -> serde_json::Value {
        let reply = self.run(arguments).await;
        let limit = Duration::from_millis(u64::from(self.action.limits.timeout));
        let response = Response::of_run(reply.answer, limit, &PayloadLimits::default());
        serde_json::from_str(response.result.unwrap().as_str()).unwrap()
    }
}

/// The image of every test; `None`, and said so, if the machine lacks its parts.
pub(crate) fn shell() -> Option<Image> {
    let image = of_shell(SHELL);
    if image.is_none() {
        println!("skipped: the parts of the image are missing");
    }
    image
}

pub(crate) fn renamed(image: &Image, name: &str) -> Image {
    Image { reference: name.to_owned(), ..image.clone() }
}

async fn conforms() {
    let Some(image) = shell() else { return };
    let quay = Quay::open().await;
    quay.import(&image);
    let gone = quay.import(&of_misbehaving("chasen-test/gone:1", &["init=exit"]));
    let leaving = quay.import(&of_misbehaving("chasen-test/leaving:1", &["run=exit"]));
    let sample =
        |image: &str| Sample { kind: BLACKBOX.to_owned(), image: Some(image.to_owned()), code: None };
    let node_id = quay.world.node_id.clone();
    let samples = Samples {
        shell: sample(SHELL),
        end_in_init: vec![sample(&gone)],
        end_in_run: vec![sample(&leaving)],
        refusals: vec![(of_image("nobody/has:1"), CreateError::Pull("nobody/has:1".to_owned()))],
        left: Some(Box::new(move |name| {
            let groups = groups_of(&node_id).into_iter().map(|group| group.display().to_string());
            groups.filter(|group| group.ends_with(&format!("/{name}"))).collect()
        })),
    };
    container_factory(&quay.factory, &samples).await;
    quay.close().await;
}

/// User, folder, environment and files are the image's; what the node gives is the node's.
async fn as_they_say() {
    let Some(image) = shell() else { return };
    let quay = Quay::open().await;
    let script = r#"#!/bin/sh
echo hello > "$HOME/mine" && chmod 600 "$HOME/mine" && rm -f /etc/motd && mkdir /made
printf '{"id":"%s","pwd":"%s","flavour":"%s","home":"%s","host":"%s","motd":"%s","tmp":"%s","dev":"%s","owner":"%s"}' \
    "$(id -u):$(id -g)" "$INIT_PWD" "$FLAVOUR" "$HOME" "$(cat /etc/hostname)" "$(ls /etc/motd 2>/dev/null)" \
    "$(cat /tmp/kept)" "$(cat /dev/null; echo x > /dev/full 2>/dev/null || echo full)" "$(ls -ln /etc/group | sed 's/  */ /g' | { read -r a b c d e; echo "$c:$d"; })"
"#;
    let layer = || {
        Layer::default()
            .file("etc/motd", 0o644, b"x")
            .file("tmp/kept", 0o600, b"kept")
            .file("start", 0o755, b"#!/bin/sh\nexport INIT_PWD=$PWD\nexec /chasen-proxy --kind blackbox\n")
            .folder("home/", 0o755)
    };
    let with = |name: &str, user: &str, folder: &str| {
        renamed(&image, name)
            .layer(layer())
            .with("User", json!(user))
            .with("WorkingDir", json!(folder))
            .with("Entrypoint", json!(["start"]))
            .with("Env", json!(["PATH=/nowhere:/:/bin", "FLAVOUR=strong", "HOME=/home"]))
    };
    for (name, user, folder, id) in [
        ("root", "", "/not/there/yet", "0:0"),
        ("nobody", "nobody", "/home", "65534:65534"),
        ("number", "4711:12", "/", "4711:12"),
    ] {
        let reference = quay.import(&with(&format!("chasen-test/{name}:1"), user, folder));
        let guest = quay.script(&reference, script).await;
        let result = guest.result("{}").await;
        let host = guest.container.name().to_owned();
        // Where owners cannot be mapped, the image's files are nobody's and open to everybody.
        let layer = &quay.images.hold(&reference).unwrap().unwrap().layers[0];
        let is_open = layer.metadata().unwrap().permissions().mode() & 0o007 == 0o007;
        let owner = if is_open { "65534:65534" } else { id };
        let expected = json!({
            "id": id, "pwd": folder, "flavour": "strong", "home": "/home", "host": host,
            "motd": "", "tmp": "kept", "dev": "full", "owner": owner,
        });
        assert_eq!(result, expected, "{name}");
        guest.container.stop().await;
    }
    quay.close().await;
}

/// What one container writes, no other one sees, nor the next of the same image; and the image stays as it is.
async fn apart() {
    let Some(image) = shell() else { return };
    let quay = Quay::open().await;
    quay.import(&image);
    let write = "#!/bin/sh\nls /etc; echo changed > /etc/passwd; echo new > /etc/new; printf '{}'";
    for _ in 0..2 {
        let guest = quay.script(SHELL, write).await;
        let reply = guest.run("{}").await;
        assert!(matches!(reply.answer, Answer::Ok(_)), "{reply:?}");
        let listed: Vec<&str> = reply.logs.iter().map(|line| &line[31..]).collect();
        assert!(listed.contains(&"stdout: passwd") && !listed.contains(&"stdout: new"), "{listed:?}");
        guest.container.stop().await;
    }
    let image = quay.images.hold(SHELL).unwrap().unwrap();
    assert!(std::fs::read_to_string(image.layers[0].join("etc/passwd")).unwrap().starts_with("root"));
    // Half of the memory is for files.
    let fill = "#!/bin/sh\nhead -c 200000000 /dev/zero > /fill 2>/dev/null || printf '{\"full\":true}'";
    let guest = quay.script(SHELL, fill).await;
    assert_eq!(guest.result("{}").await, json!({ "full": true }));
    guest.container.stop().await;
    let mounts = "#!/bin/sh\ncat /proc/mounts | sed -n 's/ .*//p' >&2; mount -o remount,dev / 2>/dev/null && exit; \
                  printf '{\"caps\":\"%s\"}' \"$(sed -n 's/CapEff:.//p' /proc/self/status)\"";
    let guest = quay.script(SHELL, mounts).await;
    assert_eq!(guest.result("{}").await, json!({ "caps": "0000000000000000" }));
    guest.container.stop().await;
    quay.close().await;
}

async fn not_executable() {
    let quay = Quay::open().await;
    let base = || {
        Layer::default().folder("tmp/", 0o1777).file("plain", 0o644, b"x").file(
            "odd",
            0o755,
            b"\x7fELF\x02odd",
        )
    };
    for (name, entry) in [
        ("none", json!([])),
        ("missing", json!(["/nothing"])),
        ("path", json!(["nothing"])),
        ("folder", json!(["/tmp"])),
        ("plain", json!(["/plain"])),
        ("foreign", json!(["/odd"])),
    ] {
        let image = quay
            .import(&Image::new(&format!("chasen-test/{name}:1")).layer(base()).with("Entrypoint", entry));
        let error = quay.create(&image).await.err().unwrap();
        assert_eq!(error, CreateError::NotExecutable(image.clone()), "{name}");
        assert_eq!(error.to_string(), format!("executable file not found in image {image}"));
    }
    let image = Image::new("chasen-test/up:1").layer(base()).with("Cmd", json!(["/x"]));
    let image = quay.import(&image.with("WorkingDir", json!("/a/../..")));
    let error = quay.create(&image).await.err().unwrap();
    assert!(matches!(&error, CreateError::Failed(why) if why.contains("not a plain path")), "{error}");
    quay.close().await;
}

/// Each ends as it should, is gone soon after, and the next container serves.
async fn bad_manners() {
    let quay = Quay::open().await;
    let good = quay.import(&of_misbehaving("chasen-test/good:1", &["run=echo"]));
    for (name, manner, in_init, check) in [
        ("never", "listen=never", true, (|answer| *answer == Answer::TimedOut) as fn(&Answer) -> bool),
        ("exit-in-init", "init=exit", true, |answer| *answer == Answer::Gone),
        ("garbage-in-init", "init=garbage", true, |answer| *answer == Answer::Gone),
        ("exit-in-run", "run=exit", false, |answer| *answer == Answer::Gone),
        ("garbage", "run=garbage", false, |answer| *answer == Answer::Gone),
        ("close", "run=close", false, |answer| *answer == Answer::Gone),
        ("half", "run=half", false, |answer| *answer == Answer::Gone),
        (
            "huge",
            "run=huge",
            false,
            |answer| matches!(answer, Answer::TooLong { length, .. } if *length > 20 << 20),
        ),
        ("hang", "run=hang", false, |answer| *answer == Answer::TimedOut),
        ("drip", "run=drip", false, |answer| *answer == Answer::TimedOut),
        ("decline", "run=decline", false, |answer| *answer == Answer::Declined),
        ("status", "run=status:502", false, |answer| matches!(answer, Answer::Refused(_))),
    ] {
        let image = quay.import(&of_misbehaving(&format!("chasen-test/{name}:1"), &[manner]));
        let mut guest = quay.guest(&image).await;
        if manner.starts_with("listen=never") {
            guest = guest.limit(500);
        }
        let init = guest.init(None).await;
        let answer = if in_init {
            init.answer
        } else {
            assert!(matches!(init.answer, Answer::Ok(_)), "{name}: {init:?}");
            if matches!(name, "hang" | "drip") {
                guest = guest.limit(500);
            }
            guest.run("{}").await.answer
        };
        assert!(check(&answer), "{name}: {answer:?}");
        let name = guest.container.name().to_owned();
        guest.container.stop().await;
        let left = groups_of(&quay.world.node_id);
        assert!(!left.iter().any(|group| group.ends_with(&name)), "{left:?}");
        quay.images.remove(&image).unwrap();
        let next = quay.guest(&good).await;
        assert!(matches!(next.init(None).await.answer, Answer::Ok(_)));
        assert_eq!(next.result(r#"{"a":1}"#).await["value"], json!({ "a": 1 }));
        next.container.stop().await;
    }
    quay.close().await;
}

async fn late() {
    let quay = Quay::open().await;
    let image = quay.import(&of_misbehaving("chasen-test/late:1", &["listen=late:700", "run=say"]));
    let guest = quay.guest(&image).await;
    let reply = guest.init(None).await;
    assert!(matches!(reply.answer, Answer::Ok(_)), "{reply:?}");
    let logs = guest.run("{}").await.logs;
    let mut texts: Vec<&str> = logs.iter().map(|line| &line[31..]).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["stderr: complained", "stdout: said"]);
    guest.container.stop().await;
    quay.close().await;
}

/// Images come while the factory lives, and go only when nobody runs them.
async fn stay() {
    let quay = Quay::open().await;
    let name = "chasen-test/good:1";
    assert!(!quay.factory.serves(BLACKBOX, Some(name)));
    quay.import(&of_misbehaving(name, &["run=echo"]));
    let guest = quay.guest(name).await;
    assert!(matches!(quay.images.remove(name), Err(ImageError::InUse(_))));
    guest.container.stop().await;
    assert!(quay.images.remove(name).unwrap().image_gone);
    assert!(!quay.factory.serves(BLACKBOX, Some(name)));
    let error = quay.factory.create(&of_image(name)).await.err().unwrap();
    assert_eq!(error.to_string(), format!("Failed to pull container image '{name}'."));
    quay.close().await;
}

async fn kinds() {
    let text =
        r#"{"runtimes":{"own":[{"kind":"own:1","image":{"prefix":"chasen-test","name":"kind","tag":"1"}}]}}"#;
    let runtimes = chasen_spi::Runtimes::new(chasen_entity::Manifest::parse(text).unwrap());
    let quay = Quay::with(World::open_with(|config| config.runtimes = runtimes).await);
    assert!(!quay.factory.serves("own:1", None));
    quay.import(&of_misbehaving("chasen-test/kind:1", &["run=echo", "marks"]));
    assert!(quay.factory.serves("own:1", None) && !quay.factory.serves("other:1", None));
    let spec = ContainerSpec {
        kind: "own:1".to_owned(),
        image: None,
        memory: ByteSize::mb(256),
        network: NetworkPolicy::Internet,
    };
    let container = quay.factory.create(&spec).await.unwrap();
    let action = ExecutableAction::clone(&invocation("guest", "hello", "own:1", "{}").action);
    let guest = Guest { container, action };
    assert!(matches!(guest.init(Some("code")).await.answer, Answer::Ok(_)));
    assert_eq!(guest.result(r#"{"a":1}"#).await["value"], json!({ "a": 1 }));
    guest.container.stop().await;
    quay.close().await;
}

async fn promised_ends() {
    let image = r#""image":{"prefix":"chasen-test","name":"unmarked","tag":"1"}"#;
    let text = format!(
        r#"{{"runtimes":{{"own":[{{"kind":"own:1",{image},"default":true,"sentinelledLogs":false}},{{"kind":"own:2",{image}}}]}}}}"#
    );
    let runtimes = chasen_spi::Runtimes::new(chasen_entity::Manifest::parse(&text).unwrap());
    let quay = Quay::with(World::open_with(|config| config.runtimes = runtimes).await);
    quay.import(&of_misbehaving("chasen-test/unmarked:1", &["run=echo"]));
    for (kind, is_missed) in [("own:1", false), ("own:2", true)] {
        let spec = ContainerSpec {
            kind: kind.to_owned(),
            image: None,
            memory: ByteSize::mb(256),
            network: NetworkPolicy::Internet,
        };
        let container = quay.factory.create(&spec).await.unwrap();
        let action = ExecutableAction::clone(&invocation("guest", "hello", kind, "{}").action);
        let guest = Guest { container, action };
        assert!(matches!(guest.init(Some("code")).await.answer, Answer::Ok(_)));
        let reply = guest.run("{}").await;
        let says_so = reply.logs.iter().any(|line| line.ends_with(error_text::LOGS_INCOMPLETE));
        assert_eq!(says_so, is_missed, "{kind}: {reply:?}");
        guest.container.stop().await;
    }
    quay.close().await;
}

/// Higher layers change and hide what lower ones have.
async fn deep() {
    let (Some(image), Some(_)) = (shell(), busybox()) else { return };
    let quay = Quay::open().await;
    let mut image = renamed(&image, "chasen-test/deep:1");
    image = image.layer(
        Layer::default().file("gone/a", 0o644, b"1").file("gone/b", 0o644, b"1").file("etc/one", 0o644, b"1"),
    );
    for number in 0..60 {
        let content = number.to_string();
        image = image.layer(Layer::default().file("etc/number", 0o644, content.as_bytes()));
    }
    let opaque =
        Layer::default().folder("gone/", 0o755).whiteout("gone", ".wh..opq").file("gone/c", 0o644, b"1");
    let quay_image = quay.import(&image.layer(opaque).layer(Layer::default().whiteout("etc", "one")));
    let script = "#!/bin/sh\nprintf '{\"number\":%s,\"gone\":\"%s\",\"one\":\"%s\"}' \
                  \"$(cat /etc/number)\" \"$(echo /gone/*)\" \"$(echo /etc/on*)\"";
    let guest = quay.script(&quay_image, script).await;
    assert_eq!(guest.result("{}").await, json!({ "number": 59, "gone": "/gone/c", "one": "/etc/on*" }));
    guest.container.stop().await;
    quay.close().await;
}

/// The server of a runtime in Python, as images have them: started by name, loads code, keeps it.
const SERVER: &str = r#"
import http.server, json, os, sys
loaded = {}
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        value = json.loads(self.rfile.read(int(self.headers['Content-Length'])))['value']
        if self.path == '/init':
            os.environ.update(value['env'])
            with open('action.py', 'w') as file:
                file.write(value['code'])
            exec(compile(value['code'], 'action.py', 'exec'), loaded)
            result = {'ok': True}
        else:
            result = loaded[ 'main'](value)
        sys.stdout.flush()
        body = json.dumps(result).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
http.server.ThreadingHTTPServer(('0.0.0.0', 8080), Handler).serve_forever()
"#;

/// An interpreter with all that it needs, of this machine: dynamic libraries, links, a standard library, root as user.
async fn python() {
    let Some(interpreter) = python_of_this_machine() else {
        println!("skipped: this machine has no /usr/bin/python3 with its library in /usr/lib");
        return;
    };
    let quay = Quay::open().await;
    let image = interpreter
        .layer(Layer::default().folder("app/", 0o755).file("app/server.py", 0o644, SERVER.as_bytes()))
        .with("Env", json!(["PATH=/usr/local/bin:/usr/bin", "LANG=C.UTF-8"]))
        .with("WorkingDir", json!("/app"))
        .with("Entrypoint", json!(["python3"]))
        .with("Cmd", json!(["server.py"]));
    let image = quay.import(&image);
    let code = "import os, threading\ncount = 0\ndef main(args):\n    global count\n    count += 1\n    \
                print('asked', args)\n    return {'count': count, 'uid': os.getuid(), 'cwd': os.getcwd(), \
                'files': sorted(os.listdir()), 'threads': threading.active_count() > 1}";
    let guest = quay.script(&image, code).await;
    for count in 1..=2 {
        let result = guest.result(r#"{"tea":1}"#).await;
        let files = ["action.py", "server.py"];
        let expected = json!({ "count": count, "uid": 0, "cwd": "/app", "files": files, "threads": true });
        assert_eq!(result, expected);
    }
    let logs = guest.run("{}").await.logs;
    assert_eq!(logs.iter().map(|line| &line[31..]).collect::<Vec<_>>(), ["stdout: asked {}"]);
    guest.container.freeze().await.unwrap();
    guest.container.thaw().await.unwrap();
    assert_eq!(guest.result("{}").await["count"], json!(4));
    guest.container.stop().await;
    quay.close().await;
}

fn python_of_this_machine() -> Option<Image> {
    let program = std::fs::canonicalize("/usr/bin/python3").ok()?;
    let name = program.file_name()?.to_str()?.to_owned();
    let library = std::path::Path::new("/usr/lib").join(&name);
    if !library.join("http/server.py").is_file() {
        return None;
    }
    let mut files = vec![program.clone()];
    let mut open = vec![library];
    while let Some(folder) = open.pop() {
        for entry in folder.read_dir().ok()? {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_string_lossy().into_owned();
            // Large, and not needed to serve.
            let skipped =
                ["__pycache__", "test", "idlelib", "ensurepip", "lib2to3", "pydoc_data", "dist-packages"];
            if path.is_symlink() || skipped.contains(&name.as_str()) || name.starts_with("config-") {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else {
                files.push(path);
            }
        }
    }
    let modules = files.iter().filter(|path| path.extension().is_some_and(|end| end == "so"));
    let linked = std::process::Command::new("ldd").arg(&program).args(modules).output().ok()?;
    let text = String::from_utf8_lossy(&linked.stdout).into_owned();
    let libraries: std::collections::BTreeSet<&str> =
        text.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':')).collect();
    let mut system = Layer::default().folder("tmp/", 0o1777).link("usr/bin/python3", &name);
    for path in files.iter().filter_map(|path| path.to_str()).chain(libraries) {
        // Links of the machine become files: the loader asks for their names.
        let mode = if path.ends_with(".py") { 0o644 } else { 0o755 };
        system = system.file(path.trim_start_matches('/'), mode, &std::fs::read(path).ok()?);
    }
    Some(Image::new("chasen-test/python:1").layer(system))
}
