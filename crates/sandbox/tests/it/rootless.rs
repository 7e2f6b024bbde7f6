//! Cells without root: a node of an ordinary user, in a version 2 group that was handed over to it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use chasen_images::{Bounds, Images};
use chasen_sandbox::cell::CellSpec;
use chasen_sandbox::helper::{HelperConfig, Mode};
use chasen_sandbox::root::{ImageRoot, RootSpec};
use chasen_spi::ImageStore;
use chasen_test_images::{Image, Layer, of_shell};
use libtest_mimic::Trial;

use crate::house::{House, eventually, own_exe, runtime, test};

/// Where the image's archive lies in the data folder.
const IMAGE: &str = "image.tar";
/// The user that owns nothing.
const NOBODY: u32 = 65534;

pub(crate) fn tests() -> Vec<Trial> {
    vec![test("cells_live_without_root", without_root)]
}

async fn without_root() {
    let Some(tree) = version_2_tree() else {
        println!("skipped: this machine has no version 2 control group tree");
        return;
    };
    // Neither the build folder nor the usual temporary folder need be open to that user.
    let shared = tempfile::tempdir().unwrap();
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let exe = shared.path().join("it");
    fs::copy(own_exe(), &exe).unwrap();
    let data = shared.path().join("data");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
    // Who is not root marks opaque folders by attributes of users, which tmpfs has from Linux 6.6 on.
    let marks = rustix::fs::setxattr(&data, "user.mark", b"", rustix::fs::XattrFlags::empty()).is_ok();
    match image().filter(|_| marks) {
        Some(image) => fs::write(data.join(IMAGE), image.docker_archive()).unwrap(),
        None => {
            println!("skipped: images without root: parts of the image, or attributes of files, are missing")
        }
    }
    // What the service manager does for a delegated group; where version 1 has the controllers there is nothing to give.
    let _ = fs::write(Path::new(&tree).join("cgroup.subtree_control"), "+memory +pids +cpu");
    let group = Path::new(&tree).join(format!("chasen-rootless{}", std::process::id()));
    fs::create_dir(&group).unwrap();
    for file in ["", "cgroup.procs", "cgroup.subtree_control"] {
        chown(group.join(file), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let node = Command::new(&exe).arg("rootless-node").args([&data, &group]).output().unwrap();
    let output = String::from_utf8_lossy(&node.stdout).into_owned() + &String::from_utf8_lossy(&node.stderr);
    assert!(output.contains("rootless cells are fine"), "{output}");
    // Where controllers are handed down, the node has moved into a leaf, which goes with whoever made the group.
    eventually("only the node's own leaf is left", || {
        let left = fs::read_dir(&group).unwrap().flatten().filter(|entry| entry.path().is_dir());
        left.filter(|entry| entry.file_name() != "chasen-itself").count() == 0
    })
    .await;
    let leaf = group.join("chasen-itself");
    eventually("the leaf is empty", || !leaf.exists() || fs::remove_dir(&leaf).is_ok()).await;
    // The helper's last moments may outlive the node by a little.
    eventually("the group is empty", || fs::remove_dir(&group).is_ok()).await;
}

fn version_2_tree() -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut trees = mounts.lines().filter(|line| line.split(' ').nth(2) == Some("cgroup2"));
    Some(trees.next()?.split(' ').nth(1)?.to_owned())
}

/// The part of the node: hides the version 1 trees, enters its group, gives up root, and lets a cell live.
pub(crate) fn node(data: &Path, group: &Path) {
    fs::write(group.join("cgroup.procs"), "0").unwrap();
    become_nobody();
    runtime().block_on(async {
        let mut config = HelperConfig::new(Mode::Isolated, data, "rootless");
        config.deadline = crate::house::PATIENCE;
        let house = House::open_with(config).await;
        let mut guest = house.start(&["obey"]).await;
        assert_eq!(guest.line(), "ready");
        let layer = data.join("layer");
        fs::create_dir(&layer).unwrap();
        fs::write(layer.join("exec"), "original").unwrap();
        guest.cell.mount_code(&layer, 1 << 20).await.unwrap();
        for (question, answer) in [
            ("read /action/exec", "ok original"),
            ("write /action/exec changed", "ok"),
            ("remove /action/exec", "ok"),
            ("write /usr/x y", "EROFS"),
        ] {
            guest.say(question);
            assert_eq!(guest.line(), answer, "{question}");
        }
        guest.cell.freeze().unwrap();
        guest.cell.thaw().unwrap();
        assert_eq!(fs::read_to_string(layer.join("exec")).unwrap(), "original");
        let status = house.start(&["read", "/proc/self/status"]).await.all();
        assert!(status.contains("Uid:\t1000") && status.contains("CapBnd:\t0000000000000000"), "{status}");
        guest.cell.kill().await.unwrap();
        if data.join(IMAGE).exists() {
            run_image(&house, data).await;
        }
        house.helper.close().await.unwrap();
        println!("rootless cells are fine");
    });
}

/// An image with everything that only overlays understand.
fn image() -> Option<Image> {
    let lower = Layer::default().file("gone/a", 0o644, b"1").file("dropped", 0o644, b"1");
    let upper = Layer::default()
        .folder("gone/", 0o755)
        .whiteout("gone", ".wh..opq")
        .file("gone/b", 0o600, b"1")
        .whiteout("", "dropped");
    Some(of_shell("rootless:1")?.layer(lower).layer(upper).with("User", serde_json::json!("nobody")))
}

/// Imports the image and looks around in it.
async fn run_image(house: &House, data: &Path) {
    let images = Images::new(data.join("images"), Bounds::default());
    images.import(&data.join(IMAGE), None, &()).unwrap();
    let held = images.hold("rootless:1").unwrap().unwrap();
    let root = ImageRoot {
        layers: held.layers.clone(),
        uid: held.config.uid,
        gid: held.config.gid,
        working_dir: "/made/by/the/node".into(),
    };
    let script = "echo \"$(id -u) $(echo /gone/* /dropped* /etc/hos*)\" >&3; echo x > /etc/hosts && echo x > new \
                  && mv /gone /moved && cat /moved/b new >&3";
    let change = |spec: &mut CellSpec| {
        spec.root = Arc::new(RootSpec::image(root, "cell", &[]));
        spec.argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        spec.env = held.config.env.clone();
        spec.cwd = "/made/by/the/node".to_owned();
    };
    let mut guest = house.start_with(&[], change).await.unwrap();
    assert_eq!(guest.all(), "65534 /gone/b /dropped* /etc/hostname /etc/hosts\n1x\n");
    guest.cell.kill().await.unwrap();
}

#[allow(unsafe_code)]
fn become_nobody() {
    // SAFETY: called before any thread is made; the mount namespace left behind is nobody else's.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0);
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        assert_eq!(
            libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null()),
            0
        );
    }
    for line in fs::read_to_string("/proc/self/mounts").unwrap().lines() {
        let mut fields = line.split(' ').skip(1);
        if let (Some(folder), Some("cgroup")) = (fields.next(), fields.next()) {
            let folder = std::ffi::CString::new(folder).unwrap();
            // SAFETY: the path is a valid string for the call.
            unsafe { libc::umount2(folder.as_ptr(), libc::MNT_DETACH) };
        }
    }
    // SAFETY: plain system calls of a process with one thread.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setresgid(NOBODY, NOBODY, NOBODY), 0);
        assert_eq!(libc::setresuid(NOBODY, NOBODY, NOBODY), 0);
        // A change of user hides the process from itself, as far as files under /proc go.
        assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
    }
}
