//! What layers may hold, what it becomes, and what is refused.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use serde_json::json;

use crate::build::{device, file, folder, hard_link, layer, symlink};
use crate::{World, read};

#[test]
fn files_links_modes_and_times_are_kept() {
    let world = World::new();
    let root = world
        .unpack(&[
            folder("./"),
            folder("bin/").mode(0o555),
            file("bin/tool", "#!").mode(0o4755),
            hard_link("bin/same", "bin/tool"),
            symlink("bin/up", "../etc/name"),
            symlink("bin/absolute", "/etc/name"),
            file("/etc/name", "x").mode(0o004),
            folder("tmp").mode(0o1777),
            file("./deep/er/file", "y")
                .attribute("user.colour", "blue")
                .attribute("user.overlay.opaque", "y"),
            device("dev/null"),
        ])
        .unwrap();
    let mode = |name: &str| root.join(name).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("bin"), mode("bin/tool"), mode("etc/name"), mode("tmp")), (0o755, 0o755, 0o604, 0o1777));
    assert_eq!(root.join("bin/same").metadata().unwrap().nlink(), 2);
    assert_eq!(root.join("bin/tool").metadata().unwrap().mtime(), 1_000_000_000);
    assert_eq!(root.join("bin/up").read_link().unwrap().to_str(), Some("../etc/name"));
    assert_eq!(root.join("bin/absolute").read_link().unwrap().to_str(), Some("/etc/name"));
    assert_eq!(read(&root.join("deep/er/file")), "y");
    assert!(!root.join("dev/null").exists(), "sandboxes have devices of their own");
    let own = std::fs::metadata(world.folder.path()).unwrap();
    let tool = root.join("bin/tool").metadata().unwrap();
    assert_eq!((tool.uid(), tool.gid()), (own.uid(), own.gid()), "owners are one");
    let mut names = [0; 256];
    let count = rustix::fs::listxattr(root.join("deep/er/file"), &mut names).unwrap();
    assert!(!names[..count].windows(12).any(|part| part == b"user.overlay"), "marks cannot be forged");
}

#[test]
fn removals_are_marked_the_overlays_way() {
    let world = World::new();
    let lower = layer(&[file("a/old", "1"), file("b/old", "1"), file("c", "1")]);
    let upper = layer(&[
        folder("a"),
        file("a/.wh..wh..opq", ""),
        file("a/new", "2"),
        file("b/.wh.old", ""),
        file("b/.wh..wh.plnk", ""),
        file(".wh.c", ""),
        folder("c"),
    ]);
    world.import(&json!({}), &[lower, upper]).unwrap();
    let upper = &world.layer_folders("t")[1];
    let opaque = |name: &str| {
        let mut value = [0; 1];
        ["trusted", "user"].iter().any(|kind| {
            rustix::fs::getxattr(upper.join(name), format!("{kind}.overlay.opaque"), &mut value).is_ok()
        })
    };
    assert!(opaque("a") && opaque("c") && !opaque("b"));
    let old = upper.join("b/old").symlink_metadata().unwrap();
    assert!(old.file_type().is_char_device() && old.rdev() == 0);
    assert!(!upper.join("b/.wh..wh.plnk").exists() && !upper.join("a/.wh..wh..opq").exists());
}

#[test]
fn later_entries_replace_earlier_ones() {
    let world = World::new();
    let root = world
        .unpack(&[
            file("a", "1"),
            folder("a"),
            file("a/b", "2"),
            file("a", "3"),
            symlink("l", "a"),
            file("l", "4"),
            folder("d/e"),
            symlink("to-d", "d"),
            file("to-d/e/f", "5"),
        ])
        .unwrap();
    assert_eq!((read(&root.join("a")), read(&root.join("l"))), ("3".into(), "4".into()));
    assert_eq!(read(&root.join("d/e/f")), "5", "links lead within the layer");
}

#[test]
fn what_leads_out_is_refused() {
    for (items, why) in [
        (vec![file("../x", "")], "`..`"),
        (vec![file("a/../../x", "")], "`..`"),
        (vec![folder("..")], "`..`"),
        (vec![file("a", ""), hard_link("b", "/etc/passwd")], "absolute"),
        (vec![hard_link("b", "../../etc/passwd")], "`..`"),
        (vec![hard_link("b", "nowhere")], "does not hold"),
        (vec![symlink("l", "/etc"), hard_link("b", "l/passwd")], "does not hold"),
        (vec![folder("d"), hard_link("b", "d")], "does not hold"),
        (vec![file(".wh..", "")], "cannot be"),
        (vec![file("a", ""), file("a/b", "")], "in another one's way"),
        (vec![symlink("l", "l"), file("l/x", "")], "in another one's way"),
        (vec![symlink("l", "")], "link to nothing"),
    ] {
        let world = World::new();
        let error = world.unpack(&items).unwrap_err().to_string();
        assert!(error.contains(why) && error.starts_with("the layer sha256:"), "{why}: {error}");
        assert_eq!((world.entries("layers"), world.entries("scratch")), (0, 0), "nothing is left: {why}");
    }
}

#[test]
fn links_out_of_the_layer_lead_nowhere() {
    let world = World::new();
    let outside = world.folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let target: &'static str = Box::leak(outside.display().to_string().into_boxed_str());
    let root = world
        .unpack(&[folder("x"), symlink("l", target), symlink("up", "../../../../.."), file("up/x/in", "1")])
        .unwrap();
    assert_eq!(read(&root.join("x/in")), "1");
    let error = world.unpack(&[symlink("l", target), file("l/file", "1")]);
    assert!(error.is_err() || !outside.join("file").exists());
    assert_eq!(outside.read_dir().unwrap().count(), 0);
}

#[test]
fn hostile_archives_do_no_harm() {
    for reserve in [1, u64::MAX / 2] {
        let world = World::bounded(|bounds| bounds.reserve = reserve);
        let victim = world.folder.path().join("victim");
        for hostile in chasen_test_images::hostile_archives(&victim.display().to_string()) {
            std::fs::write(world.archive(), &hostile.archive).unwrap();
            let outcome = world.images.import(&world.archive(), None, &());
            assert!(!hostile.refused || outcome.is_err(), "{}: {outcome:?}", hostile.name);
            assert!(!victim.exists(), "{}", hostile.name);
            if let Ok(imported) = outcome {
                world.images.remove(&imported[0].references[0]).unwrap();
            }
            assert_eq!((world.entries("layers"), world.entries("scratch")), (0, 0), "{}", hostile.name);
        }
    }
}

#[test]
fn sizes_are_bounded() {
    let many: Vec<_> = (0..50).map(|_| file("f", "x")).collect();
    let error = World::bounded(|bounds| bounds.entries = 49).unpack(&many).unwrap_err().to_string();
    assert!(error.contains("49 entries"), "{error}");
    let big = [file("f", &"x".repeat(2000))];
    let error = World::bounded(|bounds| bounds.file = 1999).unpack(&big).unwrap_err().to_string();
    assert!(error.contains("2000 bytes, more than 1999"), "{error}");
    let two = [file("f", &"x".repeat(2000)), file("g", &"x".repeat(2000))];
    let error = World::bounded(|bounds| bounds.total = 3999).unpack(&two).unwrap_err().to_string();
    assert!(error.contains("more than 3999 bytes"), "{error}");
    let nested = [file("a/b/c/d/e/f/g/h/i/j", ""), file("k", "")];
    let error = World::bounded(|bounds| bounds.entries = 9).unpack(&nested).unwrap_err().to_string();
    assert!(error.contains("9 entries"), "folders count that no entry stands for: {error}");
    let error =
        World::bounded(|bounds| bounds.depth = 3).unpack(&[folder("a/b/c/d")]).unwrap_err().to_string();
    assert!(error.contains("too deep"), "{error}");
    let long: &'static str = Box::leak("x/".repeat(40).into_boxed_str());
    let error =
        World::bounded(|bounds| bounds.path_len = 79).unpack(&[folder(long)]).unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");
}

#[test]
fn links_do_not_lead_deeper_than_names_may() {
    for last in [folder("m/c/d"), file("m/c/d/e", "")] {
        let world = World::bounded(|bounds| bounds.depth = 6);
        let items = [folder("a/b/c"), symlink("l", "a/b/c"), folder("l/a/b"), symlink("m", "l/a/b"), last];
        let error = world.unpack(&items).unwrap_err().to_string();
        assert!(error.contains("too deep"), "{error}");
        assert_eq!((world.entries("layers"), world.entries("scratch")), (0, 0));
    }
    let world = World::bounded(|bounds| bounds.depth = 6);
    world.unpack(&[folder("a/b/c"), symlink("l", "a/b/c"), folder("l/a/b/c")]).unwrap();
}

#[test]
fn holes_in_files_are_bounded_like_what_is_there() {
    let mut header = tar::Header::new_gnu();
    header.set_path("holes").unwrap();
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_size(0);
    let gnu = header.as_gnu_mut().unwrap();
    // 1 MiB of nothing.
    gnu.realsize.copy_from_slice(b"00004000000\0");
    gnu.sparse[0].offset.copy_from_slice(b"00004000000\0");
    gnu.sparse[0].numbytes.copy_from_slice(b"00000000000\0");
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append(&header, std::io::empty()).unwrap();
    let layers = [archive.into_inner().unwrap()];
    World::new().import(&json!({}), &layers).unwrap();
    let world = World::bounded(|bounds| {
        bounds.ratio = 10;
        bounds.ratio_free = 4096;
    });
    let error = world.import(&json!({}), &layers).unwrap_err().to_string();
    assert!(error.contains("packed size does not account for"), "{error}");
}

#[test]
fn what_is_packed_too_well_is_refused() {
    use crate::build::{Layout, config, tarball};
    let world = World::bounded(|bounds| {
        bounds.ratio = 10;
        bounds.ratio_free = 4096;
    });
    let layers = [layer(&[file("zeros", &"0".repeat(1 << 20))])];
    let mut layout = Layout::default();
    let manifest = layout.image(&config(&json!({}), &layers), &layers);
    layout.index(&[manifest]);
    tarball(&world.archive(), &layout.members);
    let error = world.images.import(&world.archive(), Some("t"), &()).unwrap_err().to_string();
    assert!(error.contains("packed size does not account for"), "{error}");
    assert_eq!(world.entries("layers"), 0);
}
