//! Names come and go, layers are shared, and what runs stays.

use std::sync::atomic::{AtomicU64, Ordering};

use chasen_images::{Bounds, ImageError, Images, Progress};
use chasen_spi::ImageStore;
use serde_json::json;

use crate::World;
use crate::build::{config, docker_save, file, layer};

fn import(world: &World, name: &str, layers: &[Vec<u8>]) {
    docker_save(&world.archive(), &[name], &config(&json!({}), layers), layers);
    world.images.import(&world.archive(), None, &()).unwrap();
}

#[test]
fn shared_layers_stay_until_the_last_image_goes() {
    let world = World::new();
    let base = layer(&[file("base", "12345")]);
    import(&world, "one", std::slice::from_ref(&base));
    import(&world, "two", &[base, layer(&[file("more", "678")])]);
    assert_eq!((world.entries("layers"), world.entries("records")), (2, 2));
    let removed = world.images.remove("two:latest").unwrap();
    assert_eq!((removed.image_gone, removed.freed), (true, 3));
    assert_eq!(removed.reference, "docker.io/library/two:latest");
    assert_eq!(world.entries("layers"), 1);
    assert_eq!(world.images.remove("one").unwrap().freed, 5);
    assert_eq!((world.entries("layers"), world.entries("records")), (0, 0));
    let error = world.images.remove("one").unwrap_err();
    assert!(matches!(error, ImageError::Unknown(_)), "{error}");
}

#[test]
fn an_image_with_another_name_stays() {
    let world = World::new();
    let layers = [layer(&[file("a", "1")])];
    import(&world, "one", &layers);
    import(&world, "two", &layers);
    assert!(!world.images.remove("one").unwrap().image_gone);
    assert!(!world.images.has("one") && world.images.has("two"));
    assert!(world.images.hold("two").unwrap().is_some());
}

#[test]
fn what_runs_is_not_removed() {
    let world = World::new();
    import(&world, "one", &[layer(&[file("a", "1")])]);
    let held = world.images.hold("one").unwrap().unwrap();
    let again = world.images.hold("one").unwrap();
    let error = world.images.remove("one").unwrap_err();
    assert!(matches!(error, ImageError::InUse(_)), "{error}");
    drop(again);
    assert!(world.images.remove("one").is_err() && world.images.has("one"));
    drop(held);
    assert!(world.images.remove("one").unwrap().image_gone);
}

#[test]
fn a_name_that_moves_leaves_what_runs_alone() {
    let world = World::new();
    import(&world, "one", &[layer(&[file("a", "1")])]);
    let held = world.images.hold("one").unwrap().unwrap();
    import(&world, "one", &[layer(&[file("a", "2")])]);
    let new = world.images.hold("one").unwrap().unwrap();
    assert_ne!(held.id, new.id);
    assert_eq!(crate::read(&held.layers[0].join("a")), "1");
    assert_eq!(world.entries("records"), 2);
    drop(held);
    import(&world, "other", &[layer(&[file("a", "3")])]);
    assert_eq!(world.entries("records"), 2, "the next change clears away what nobody uses any more");
}

#[test]
fn what_a_killed_import_left_is_used_or_goes() {
    let world = World::new();
    let layers = [layer(&[file("a", "1")]), layer(&[file("b", "2")])];
    import(&world, "one", &layers);
    let store = world.folder.path().join("images");
    // As if it had been killed before its second layer and its records were there.
    std::fs::remove_dir_all(&world.layer_folders("one")[1]).unwrap();
    std::fs::remove_dir_all(store.join("records")).unwrap();
    std::fs::remove_file(store.join("index.json")).unwrap();
    std::fs::create_dir_all(store.join("scratch/half")).unwrap();
    std::fs::write(store.join("scratch/half/file"), "x").unwrap();
    docker_save(&world.archive(), &["one"], &config(&json!({}), &layers), &layers);
    let imported = world.images.import(&world.archive(), None, &()).unwrap();
    assert_eq!((imported[0].shared_layers, imported[0].new_layers), (1, 1));
    assert_eq!(world.entries("scratch"), 0);
}

#[test]
fn a_full_disk_is_told_and_left_as_it_was() {
    let world = World::bounded(|bounds| bounds.reserve = u64::MAX);
    let error = world.unpack(&[file("a", "1")]).unwrap_err();
    assert!(matches!(error, ImageError::Full { .. }), "{error}");
    assert_eq!((world.entries("layers"), world.entries("scratch")), (0, 0));
}

#[test]
fn progress_ends_where_it_said() {
    #[derive(Default)]
    struct Seen(AtomicU64, AtomicU64);
    impl Progress for Seen {
        fn begin(&self, bytes: u64) {
            self.0.store(bytes, Ordering::Relaxed);
        }
        fn advance(&self, bytes: u64) {
            self.1.fetch_add(bytes, Ordering::Relaxed);
        }
    }
    let world = World::new();
    let layers = [layer(&[file("a", "1")]), layer(&[file("b", "2")])];
    docker_save(&world.archive(), &["one"], &config(&json!({}), &layers), &layers);
    for _ in 0..2 {
        let seen = Seen::default();
        world.images.import(&world.archive(), None, &seen).unwrap();
        assert!(seen.0.load(Ordering::Relaxed) > 0);
        assert_eq!(seen.0.load(Ordering::Relaxed), seen.1.load(Ordering::Relaxed));
    }
}

/// A disk of a few megabytes, in memory.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, and said so, without the right to mount one.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: mounting a small disk needs root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("disk", folder.path(), "tmpfs", flags, Some(c"size=4m")).unwrap();
        Some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

#[test]
fn an_image_larger_than_the_disk_leaves_nothing() {
    let Some(disk) = SmallDisk::new() else { return };
    let world = World::new();
    let layers = [layer(&[file("a", "1")]), layer(&[file("b", &"x".repeat(8 << 20))])];
    docker_save(&world.archive(), &["large"], &config(&json!({}), &layers), &layers);
    let store = disk.0.path().join("images");
    // Noticed before it is full, and when it is.
    for reserve in [1 << 20, 0] {
        let images = Images::new(&store, Bounds { reserve, ..Bounds::default() });
        let error = images.import(&world.archive(), None, &()).unwrap_err();
        assert!(matches!(error, ImageError::Full { .. }), "{error}");
        for left in ["layers", "records", "scratch"] {
            assert_eq!(store.join(left).read_dir().map_or(0, Iterator::count), 0, "{left}");
        }
        docker_save(
            &world.folder.path().join("small"),
            &["small"],
            &config(&json!({}), &layers[..1]),
            &layers[..1],
        );
        images.import(&world.folder.path().join("small"), None, &()).unwrap();
        images.remove("small").unwrap();
    }
}
