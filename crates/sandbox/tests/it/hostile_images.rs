//! Images whose makers mean harm: by links, by rights, and by what they say of how they want to be run.

use chasen_test_images::{Image, Layer};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::house::test;
use crate::images::{Quay, SHELL, renamed, shell};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("links_of_images_lead_nowhere_on_the_host", links),
        test("the_first_user_of_an_image_has_no_rights", rights),
        test("images_may_say_what_they_like_of_how_they_are_run", words),
    ]
}

const ANSWER: &str = "#!/bin/sh\nprintf '{\"ok\":true}'";

/// Where the node makes files and folders of its own, the image has links that lead to the host's.
async fn links() {
    let Some(image) = shell() else { return };
    let quay = Quay::open().await;
    let outside = tempfile::tempdir().unwrap();
    let absolute = outside.path().display().to_string();
    let upwards = format!("{}{absolute}", "../".repeat(24).trim_end_matches('/'));
    for (number, to) in [absolute, upwards].iter().enumerate() {
        let below = |name: &str| format!("{to}/{name}");
        let files = ["hosts", "hostname", "resolv.conf"];
        let of_files = files
            .iter()
            .fold(Layer::default(), |layer, name| layer.link(&format!("etc/{name}"), &below(name)));
        let of_folders =
            ["etc", "dev", "proc", "tmp"].iter().fold(Layer::default(), |layer, name| layer.link(name, to));
        let of_the_working_folder = Layer::default().link("home", to);
        for (what, layer) in [("files", of_files), ("folders", of_folders), ("home", of_the_working_folder)] {
            let image = renamed(&image, &format!("chasen-test/{what}:{number}")).layer(layer);
            let reference = quay.import(&image.with("WorkingDir", json!("/home/deeper/still")));
            // Whether it can be run is its own affair.
            if let Ok(container) = quay.create(&reference).await {
                container.stop().await;
            }
            let made: Vec<_> =
                outside.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
            assert!(made.is_empty(), "{what} by {to}: {made:?}");
        }
    }
    quay.close().await;
}

/// Number 0 inside is nobody outside, and has nothing of what it stands for elsewhere; nor do programs that give it.
async fn rights() {
    const DEEDS: [&str; 12] = [
        // Which shows that deeds are done.
        "true",
        "mount -t tmpfs none /tmp",
        "umount /proc",
        "chroot / /bin/busybox true",
        "mknod /disk b 8 0",
        "hostname evil",
        "unshare -U true",
        "unshare -m true",
        "nice -n -5 true",
        "ip link set lo down",
        "tee /proc/sys/kernel/core_pattern",
        "chown 4711 /etc/passwd",
    ];
    let Some(image) = shell() else { return };
    let quay = Quay::open().await;
    let layer = Layer::default().file("bin/elevated", 0o6755, b"#!/bin/sh\n");
    let reference =
        quay.import(&renamed(&image, "chasen-test/rights:1").layer(layer).with("User", json!("0:0")));
    let deeds = DEEDS.map(|deed| format!("'{deed}'")).join(" ");
    let script = format!(
        "#!/bin/sh\nfor deed in {deeds}; do busybox $deed </dev/null >/dev/null 2>&1 && did=\"$did $deed;\"; done\n\
         printf '{{\"user\":%s,\"did\":\"%s\",\"elevating\":%s}}' \
         \"$(id -u)\" \"$did\" \"$(busybox grep -c -v nosuid /proc/self/mounts)\""
    );
    let guest = quay.script(&reference, &script).await;
    assert_eq!(guest.result("{}").await, json!({ "user": 0, "did": " true;", "elevating": 0 }));
    guest.container.stop().await;
    quay.close().await;
}

async fn words() {
    let Some(image) = shell() else { return };
    let quay = Quay::open().await;
    let cases: Vec<(&str, Value)> = vec![
        ("User", json!("4294967295")),
        ("User", json!("0:4294967295")),
        ("User", json!("-1")),
        ("User", json!("99999999999999999999")),
        ("User", json!("../../etc/passwd")),
        ("User", json!("root\nevil:x:0:0:::")),
        ("User", json!(":")),
        ("WorkingDir", json!("/proc/1/root")),
        ("WorkingDir", json!("/proc/self/fd/3/x")),
        ("WorkingDir", json!("/dev/null/x")),
        ("WorkingDir", json!("/".to_owned() + &"x/".repeat(3000))),
        ("Entrypoint", json!(["/proc/self/exe"])),
        ("Entrypoint", json!(["/proc/1/exe", "serve"])),
        ("Entrypoint", json!(["/dev/zero"])),
        ("Entrypoint", json!(["/bin/sh", "-c", "kill -9 -1; kill -9 1; sleep 1000"])),
        ("Env", json!(["LD_PRELOAD=/x.so", "LD_LIBRARY_PATH=/", "PATH=", "=x", "x", "IFS=/", "ENV=/x"])),
        (
            "Env",
            json!(["__OW_API_KEY=mine", "__OW_API_HOST=http://elsewhere", "CHASEN_OPEN_WALLS=call-filter"]),
        ),
        ("Env", json!(vec!["x=y"; 10_000])),
    ];
    for (number, (key, value)) in cases.into_iter().enumerate() {
        let image = renamed(&image, &format!("chasen-test/words:{number}")).with(key, value);
        // Whether it can be run is its own affair.
        if let Some(reference) = try_to_import(&quay, &image)
            && let Ok(container) = quay.create(&reference).await
        {
            container.stop().await;
        }
    }
    quay.import(&image);
    let guest = quay.script(SHELL, ANSWER).await;
    assert_eq!(guest.result("{}").await, json!({ "ok": true }), "the node goes on");
    guest.container.stop().await;
    quay.close().await;
}

/// Imports an image, if it is taken, under its own name.
fn try_to_import(quay: &Quay, image: &Image) -> Option<String> {
    let file = quay.world.data.path().join("archive.tar");
    std::fs::write(&file, image.docker_archive()).unwrap();
    quay.images.import(&file, None, &()).ok().map(|_| image.reference.clone())
}
