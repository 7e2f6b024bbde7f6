//! Builds with real processes whose programs are stand-ins.

use super::*;

/// Stand-ins for debootstrap and for what is started inside of the system that it makes. Each writes down that it ran;
/// a file named `fail-NAME` makes NAME fail once.
struct Bench {
    folder: tempfile::TempDir,
}

const RAN: &str = r#"echo "$(basename "$0") $*" >> "$BENCH/ran"
fail() { if [ -e "$BENCH/fail-$1" ]; then rm "$BENCH/fail-$1"; echo "E: $1 broke" >&2; exit 9; fi; }
"#;
/// Arguments: options, suite, folder, mirror.
const DEBOOTSTRAP: &str = r#"for last; do before=$target; target=$last; done
mkdir -p "$before/proc" "$before/usr/bin" "$before/usr/sbin" "$before/etc/apt/apt.conf.d"
fail debootstrap
echo "I: Configuring libc6..."
"#;
/// Arguments: folder, env -i NAME=VALUE…, program and its arguments.
const CHROOT: &str = r#"root=$1; shift 3
while case "$1" in *=*) true;; *) false;; esac; do shift; done
case "$*" in
  *"apt-get install "*)
    fail apt-get
    grep -q "http://mirror/ trixie-updates main" "$root/etc/apt/sources.list"
    echo pmstatus:swiftlang:100.0:Installed; touch "$root/usr/bin/swiftc";;
  /usr/bin/swiftc*)
    echo '{"compilerVersion": "Swift version 6.0.3 (x)", "paths": {"runtimeResourcePath": "/usr/libexec/swift/lib/swift"}}';;
esac
"#;

impl Bench {
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: systems are built by root only");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let bench = Self { folder };
        for (name, text) in [("debootstrap", DEBOOTSTRAP), ("chroot", CHROOT)] {
            let (source, path) = (bench.path(name), bench.path("bin").join(name));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let head = format!("#!/bin/sh\nset -e\nBENCH='{}'\n{RAN}", bench.folder.path().display());
            fs::write(&source, head + text).unwrap();
            // A file that this process has open for writing cannot be started, nor can one that a process inherits
            // which another test starts meanwhile.
            let copied = std::process::Command::new("install").arg(&source).arg(&path).status();
            assert!(copied.unwrap().success());
        }
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn roots(&self) -> Roots {
        let mut path = self.path("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        Roots::new(&self.path("data"), path)
    }

    async fn build(&self) -> Done<BuiltRoot> {
        let bar = StageBar::new("swift");
        let recipe = Recipe { disk_mb: 1, ..recipe::all()["swift"].clone() };
        self.roots().build_as("swift", &recipe, Some("http://mirror/"), &bar).await
    }

    /// How often each program ran.
    fn ran(&self, program: &str) -> usize {
        let text = fs::read_to_string(self.path("ran")).unwrap_or_default();
        text.lines().filter(|line| line.contains(program)).count()
    }

    fn breaks(&self, program: &str) {
        fs::write(self.path(&format!("fail-{program}")), "").unwrap();
    }
}

#[tokio::test]
async fn a_build_goes_on_where_it_stopped() {
    let Some(bench) = Bench::new() else { return };
    bench.breaks("debootstrap");
    let first = bench.build().await.unwrap_err().to_string();
    assert!(first.contains("the base system failed: E: debootstrap broke"), "{first}");
    assert!(first.contains("swift.unfinished/log"), "{first}");
    bench.breaks("apt-get");
    let second = bench.build().await.unwrap_err().to_string();
    assert!(second.contains("the packages failed: E: apt-get broke"), "{second}");
    assert!(bench.roots().built().is_empty() && bench.roots().is_begun("swift"), "it is not used");
    let built = bench.build().await.unwrap();
    assert_eq!(
        (bench.ran("debootstrap "), bench.ran("apt-get install")),
        (2, 2),
        "the system was made once more only"
    );
    let held = &built.record.interpreters[0];
    assert_eq!((held.command.as_str(), held.version.as_str()), ("swiftc", "6.0.3"));
    assert_eq!(held.program, Path::new("/usr/libexec/swift/bin/swiftc"));
    assert!(
        !bench.roots().is_begun("swift") && !built.files.join("etc/apt/apt.conf.d/99chasen-build").exists()
    );
    assert_eq!(bench.build().await.unwrap(), built, "it is there");
    assert_eq!(bench.ran("debootstrap "), 2);
}

#[tokio::test]
async fn another_recipe_begins_anew() {
    let Some(bench) = Bench::new() else { return };
    bench.breaks("apt-get");
    bench.build().await.unwrap_err();
    fs::write(bench.path("data/rootfs/swift.unfinished/stage"), "0000 base").unwrap();
    bench.build().await.unwrap();
    assert_eq!(bench.ran("debootstrap "), 2);
}

#[tokio::test]
async fn one_builds_at_a_time_and_what_is_there_can_be_removed() {
    let Some(bench) = Bench::new() else { return };
    let roots = bench.roots();
    assert!(matches!(roots.remove("swift"), Err(RootfsError::NotBuilt(_))));
    bench.build().await.unwrap();
    let held = roots.lock("swift").unwrap();
    assert!(matches!(bench.build().await, Err(RootfsError::Busy(_))));
    assert!(matches!(roots.remove("swift"), Err(RootfsError::Busy(_))));
    drop(held);
    roots.remove("swift").unwrap();
    assert_eq!(fs::read_dir(bench.path("data/rootfs")).unwrap().count(), 0, "nothing is left");
    assert!(matches!(roots.remove("../x"), Err(RootfsError::NotBuilt(_))));
}

#[tokio::test]
async fn what_cannot_be_built_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let bar = StageBar::new("x");
    let roots = Roots::new(folder.path(), "/nowhere".into());
    let unknown = roots.build("debian-1", None, &bar).await.unwrap_err().to_string();
    assert!(
        unknown.contains("no recipe 'debian-1'; the recipes are debian-12, debian-13, deno, dotnet, swift"),
        "{unknown}"
    );
    let npm = roots.build("deno", None, &bar).await.unwrap_err().to_string();
    assert_eq!(npm, "'npm' is not installed; get it with: apt-get install npm");
    let recipe = &Recipe { disk_mb: u64::MAX >> 20, ..recipe::all()["swift"].clone() };
    let job =
        Job { name: "swift", recipe, folder: folder.path().join("swift.unfinished"), tools: &roots.tools };
    let full = job.check_room(folder.path()).unwrap_err().to_string();
    assert!(full.contains("'swift' needs 17592186044415 MB of disk and "), "{full}");
}
