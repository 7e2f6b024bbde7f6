//! Code that is compiled first: in cells of its own, once, and kept.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use chasen_entity::ByteSize;
use chasen_entity::manifest::Manifest;
use chasen_entity::response::Answer;
use chasen_sandbox::factory::SandboxConfig;
use chasen_spi::{ContainerFactory, Runtimes};
use libtest_mimic::Trial;

use crate::house::{eventually, test};
use crate::world::{Draft, Guest, World, texts, zip_of};

/// A kind whose source is what its compiler is told to do, by a shell.
const SHELL: &str = "shell:1";
/// A kind of archives, some of which are prepared before they are loaded.
const PREPARED: &str = "prepared:1";

/// Their interpreter does nothing here, but is part of what a build depends on: it must be the same each time it is looked
/// for, and of Ruby there is one and no more on most machines.
const MANIFEST: &str = r#"{"runtimes":{
    "shell":[{"kind":"shell:1","image":{"name":"shell"},"chasen":{
        "interpreter":{"command":"ruby","version":"3.1","accepts":["2","3"]},
        "compiler":{"program":"shell/compile"}}}],
    "prepared":[{"kind":"prepared:1","image":{"name":"prepared"},"chasen":{
        "interpreter":{"command":"ruby","version":"3.1","accepts":["2","3"]},
        "compiler":{"program":"shell/prepare","when":["list"],"unless":["there"]}}}]}}"#;

/// The source is a script that is sourced: it may do what it likes, and then makes the executable.
const COMPILE: &str = "#!/bin/sh\nmain=$1 source=$2 bin=$3\n. ./exec\n";
const PREPARE: &str = "#!/bin/sh\ncp exec \"$3\" && echo \"made of $(cat list)\" > \"$3/made\"\n";

/// An executable that answers with what was known when it was built.
const ANSWER: &str = r#"
cat > "$bin/exec" <<END
#!/bin/bash
while read -r line; do echo '{"main":"$main","built":"$(od -An -N8 -tx8 /dev/urandom)"}' >&3; done
END
"#;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("code_is_compiled_once_for_all_containers_and_lives", once),
        test("those_who_come_together_share_a_build", together),
        test("code_that_cannot_be_compiled_is_the_developers_fault_with_its_compilers_words", refused),
        test("builds_end_with_the_time_of_their_initialisation", overdue),
        test("builds_without_end_are_in_nobody_elses_way", in_nobodys_way),
        test("builds_are_alone_in_their_cells", alone),
        test("builds_stay_within_their_memory", memory),
        test("what_a_hostile_build_makes_is_not_believed", hostile),
        test("archives_are_prepared_only_if_they_ask_for_it", prepared),
        test("executables_are_not_compiled", executables),
    ]
}

/// `None`, and said so, where there is no toolchain to pretend with.
async fn world() -> Option<World> {
    let world = World::open_with(compilers).await;
    let manifest = Manifest::parse(MANIFEST).unwrap();
    let launch = manifest.resolve(SHELL).unwrap().launch.clone().unwrap();
    match world.factory.interpreters().find(&launch.interpreter).await {
        Ok(_) => Some(world),
        Err(missing) => {
            println!("skipped: {missing}");
            None
        }
    }
}

/// Kinds and compilers of these tests, in the data folder.
fn compilers(config: &mut SandboxConfig) {
    let folder = config.data_dir.join("compilers");
    std::fs::create_dir_all(folder.join("shell")).unwrap();
    for (name, text) in [("shell/compile", COMPILE), ("shell/prepare", PREPARE)] {
        std::fs::write(folder.join(name), text).unwrap();
        std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    config.runtimes = Runtimes::new(Manifest::parse(MANIFEST).unwrap());
    config.runtimes_dir = folder;
    config.build_memory = ByteSize::mb(64);
    config.code_bounds.total = 8 << 20;
}

fn builds(data: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data.join("builds")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

async fn once() {
    let Some(world) = world().await else { return };
    let Some(guest) = world.start(Draft::new(SHELL, ANSWER)).await else { return };
    let first = guest.result("{}").await;
    assert!(first.contains(r#""main":"main""#), "{first}");
    assert_eq!(guest.result("{}").await, first);
    let second = world.start(Draft::new(SHELL, ANSWER)).await.unwrap();
    assert_eq!(second.result("{}").await, first, "a second container");
    let mut other = Draft::new(SHELL, ANSWER);
    other.main = Some("other".to_owned());
    let other = world.start(other).await.unwrap().result("{}").await;
    assert!(other.contains(r#""main":"other""#), "another entry point is another build: {other}");
    assert_eq!(builds(world.data.path()).len(), 2);
    let World { factory, data, .. } = world;
    factory.close().await;
    drop((factory, guest, second));
    std::fs::create_dir(data.path().join("builds/7.partial")).unwrap();
    let world = World::open_in(data, compilers).await;
    assert_eq!(builds(world.data.path()).len(), 2, "what a dead node left unfinished is gone");
    let guest = world.start(Draft::new(SHELL, ANSWER)).await.unwrap();
    assert_eq!(guest.result("{}").await, first, "another life of the node");
}

async fn together() {
    let Some(world) = world().await else { return };
    let Some(first) = world.create(Draft::new(SHELL, ANSWER)).await else { return };
    let second = world.create(Draft::new(SHELL, ANSWER)).await.unwrap();
    let (one, two) = tokio::join!(first.init(), second.init());
    assert_eq!((one.answer, two.answer), (Answer::Ok(Vec::new()), Answer::Ok(Vec::new())));
    assert_eq!(first.result("{}").await, second.result("{}").await);
}

/// The text of an initialisation that is refused, and its log.
async fn refusal(guest: &Guest) -> (String, Vec<String>) {
    let reply = guest.init().await;
    assert!(matches!(reply.answer, Answer::Refused(_)), "{:?}", reply.answer);
    (guest.text_of(&reply), texts(&reply).into_iter().map(str::to_owned).collect())
}

async fn refused() {
    let Some(world) = world().await else { return };
    let text = r#"{"error":"The action failed to generate or locate a binary. See logs for details."}"#;
    for (source, log) in [
        (
            "echo 'main.x:3: no such name'; echo also >&2; exit 2",
            &["stderr: main.x:3: no such name", "stderr: also"][..],
        ),
        ("echo a warning; echo '#!/bin/sh' > $bin/exec", &["stderr: a warning"]),
        ("exit 3", &["stderr: cannot compile"]),
        ("touch $bin/other", &["stderr: cannot compile"]),
        ("kill -9 $$", &["stderr: Killed"]),
    ] {
        let Some(guest) = world.create(Draft::new(SHELL, source)).await else { return };
        let (answer, lines) = refusal(&guest).await;
        assert_eq!(answer, text, "{source}");
        assert!(
            lines.starts_with(&log.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()),
            "{lines:?}"
        );
    }
    eventually("nothing of the builds is left", || builds(world.data.path()).is_empty()).await;
}

async fn overdue() {
    let Some(world) = world().await else { return };
    let Some(guest) = world.create(Draft::new(SHELL, "sleep 1000").timeout(500)).await else { return };
    let reply = guest.init().await;
    assert_eq!(reply.answer, Answer::TimedOut);
    assert!(reply.duration >= Duration::from_millis(500));
    eventually("nothing of the build is left", || builds(world.data.path()).is_empty()).await;
    // Its turn is somebody else's.
    world.start(Draft::new(SHELL, ANSWER)).await.unwrap();
}

async fn in_nobodys_way() {
    let Some(world) = world().await else { return };
    let mut endless = Vec::new();
    // More than there can be turns.
    for number in 0..=std::thread::available_parallelism().map_or(1, usize::from) {
        let draft = Draft::new(SHELL, format!("sleep 1000 # {number}")).timeout(300_000);
        let Some(guest) = world.create(draft.of("hostile")).await else { return };
        endless.push(tokio::spawn(async move { guest.init().await }));
    }
    eventually("a build is under way", || !builds(world.data.path()).is_empty()).await;
    world.start(Draft::new(SHELL, ANSWER)).await.unwrap();
    assert!(endless.iter().all(|endless| !endless.is_finished()));
    endless.iter().for_each(tokio::task::JoinHandle::abort);
}

async fn alone() {
    const LOOK: &str = r#"
        id -u
        for place in $(dirname "$0") /usr /opt/chasen /etc; do touch "$place/x" 2>/dev/null && echo "writes to $place"; done
        ls -A /tmp $source
        cat /proc/net/dev | tail -n +3 | cut -d: -f1
        ls /proc | grep -c '^[0-9]' > /dev/null
        grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status
    "#;
    let Some(world) = world().await else { return };
    let Some(guest) = world.create(Draft::new(SHELL, LOOK)).await else { return };
    let lines = refusal(&guest).await.1.join("\n").replace("stderr: ", "");
    let expected =
        "1000\n/action:\nexec\n\n/tmp:\nbin\n    lo\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2";
    assert!(lines.starts_with(expected), "{lines}");
}

async fn memory() {
    let Some(world) = world().await else { return };
    let hog = "head -c 200M /dev/zero > /tmp/zeros; echo '#!/bin/sh' > $bin/exec";
    for hog in [hog, "x=$(yes | head -c 200000000)"] {
        let Some(guest) = world.create(Draft::new(SHELL, hog)).await else { return };
        let (_, lines) = refusal(&guest).await;
        let told = |part: &str| lines.iter().any(|line| line.contains(part));
        assert!(told("64 MB of memory (sandbox.build-memory)") || told("No space left"), "{lines:?}");
    }
}

async fn hostile() {
    let Some(world) = world().await else { return };
    for (source, part) in [
        ("ln -s /etc/passwd $bin/exec", "leads out of it"),
        ("ln -s ../../../x $bin/y; echo > $bin/exec", "leads out of it"),
        ("mkfifo $bin/exec", "neither a file"),
        ("truncate -s 1G $bin/exec", "unpacks to more than"),
        ("ln -s /usr/bin/env $bin/exec", "cannot compile"),
        ("exec 3>&1; (sleep 1000 &) ; echo loud", "loud"),
    ] {
        let Some(guest) = world.create(Draft::new(SHELL, source)).await else { return };
        let (_, lines) = refusal(&guest).await;
        assert!(lines.iter().any(|line| line.contains(part)), "{source}: {lines:?}");
    }
    eventually("nothing of the builds is left", || builds(world.data.path()).is_empty()).await;
}

async fn prepared() {
    let Some(world) = world().await else { return };
    let exec = "#!/bin/bash\nwhile read -r line; do echo \"{\\\"made\\\":\\\"$(cat made 2>/dev/null)\\\"}\" >&3; done";
    for (files, made) in [
        (vec![("exec", exec), ("list", "leaves")], "made of leaves"),
        (vec![("exec", exec), ("list", "leaves"), ("there", "")], ""),
        (vec![("exec", exec)], ""),
    ] {
        let Some(guest) = world.start(Draft::archive(PREPARED, &zip_of(&files))).await else { return };
        assert_eq!(guest.result("{}").await, format!(r#"{{"made":"{made}"}}"#));
    }
}

async fn executables() {
    let Some(world) = world().await else { return };
    let exec = "#!/bin/bash\nwhile read -r line; do echo '{\"own\":true}' >&3; done";
    for draft in [Draft::new(SHELL, exec), Draft::archive(SHELL, &zip_of(&[("exec", exec)]))] {
        let Some(guest) = world.start(draft).await else { return };
        assert_eq!(guest.result("{}").await, r#"{"own":true}"#);
    }
    eventually("nothing of the builds is left", || builds(world.data.path()).is_empty()).await;
}
