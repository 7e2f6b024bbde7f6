//! Every form of archive leads to the same image; damaged ones lead to nothing, and say why.

use chasen_images::{Digest, ImageError, Images};
use chasen_spi::ImageStore;
use serde_json::json;

use crate::build::{Layout, architecture, config, docker_save, file, gzip, layer, tarball, with};
use crate::{World, read};

fn layers() -> Vec<Vec<u8>> {
    vec![layer(&[file("a", "one")]), layer(&[file("b", "two")])]
}

#[test]
fn all_forms_are_one_image() {
    let world = World::new();
    let run =
        json!({ "Entrypoint": ["/a"], "Cmd": ["x"], "Env": ["K=V"], "WorkingDir": "/w", "User": "5:6" });
    let image = config(&run, &layers());
    let id = Digest::of(image.to_string().as_bytes()).to_string();

    docker_save(&world.archive(), &["x/save:1", "x/save:2"], &image, &layers());
    let imported = world.images.import(&world.archive(), None, &()).unwrap();
    assert_eq!(imported[0].references, ["docker.io/x/save:1", "docker.io/x/save:2"]);
    assert_eq!((imported[0].new_layers, imported[0].shared_layers), (2, 0));

    let packed = world.folder.path().join("archive.tar.gz");
    std::fs::write(&packed, gzip(&std::fs::read(world.archive()).unwrap())).unwrap();
    let imported = world.images.import(&packed, Some("x/packed"), &()).unwrap();
    assert_eq!((imported[0].new_layers, imported[0].shared_layers), (0, 2));

    let mut layout = Layout::default();
    let manifest = layout.image(&image, &layers());
    let inner = layout.blob(
        json!({ "manifests": [
            with(manifest.clone(), "platform", json!({ "os": "linux", "architecture": architecture() })),
            with(manifest, "platform", json!({ "os": "plan9", "architecture": "mips" })),
        ] })
        .to_string()
        .into_bytes(),
    );
    let name = json!({ "org.opencontainers.image.ref.name": "x/layout:3" });
    layout.index(&[with(inner, "annotations", name)]);
    let folder = world.folder.path().join("layout");
    layout.lay(&folder);
    world.images.import(&folder, None, &()).unwrap();
    tarball(&world.archive(), &layout.members);
    world.images.import(&world.archive(), Some("x/layout-tar"), &()).unwrap();

    for name in ["x/save:1", "docker.io/x/save:2", "x/packed:latest", "x/layout:3", "x/layout-tar"] {
        assert!(world.images.has(name), "{name}");
        let held = world.images.hold(name).unwrap().unwrap();
        assert_eq!(held.id, id, "{name}");
        assert_eq!(held.config.command, ["/a", "x"]);
        assert_eq!((held.config.uid, held.config.gid, held.config.working_dir.as_str()), (5, 6, "/w"));
        assert_eq!(
            (read(&held.layers[0].join("a")), read(&held.layers[1].join("b"))),
            ("one".into(), "two".into())
        );
    }
    let listed = world.images.list().unwrap();
    assert_eq!(listed.len(), 5);
    assert_eq!((listed[0].layers, listed[0].bytes), (2, 6));
    assert_eq!(listed[0].created.as_deref(), Some("2024-01-02T03:04:05Z"));
    assert_eq!((world.entries("layers"), world.entries("records"), world.entries("scratch")), (2, 1, 0));
}

#[test]
fn another_store_on_the_same_folder_sees_new_images() {
    let world = World::new();
    let node = Images::new(world.folder.path().join("images"), chasen_images::Bounds::default());
    assert!(!node.has("t"));
    assert!(node.hold("t").unwrap().is_none() && node.list().unwrap().is_empty());
    world.import(&json!({}), &layers()).unwrap();
    assert!(node.has("t") && !node.has("t:other") && !node.has("not a name"));
}

#[test]
fn digests_are_verified() {
    let world = World::new();
    let good = layers();
    let mut lying = good.clone();
    lying[1] = layer(&[file("b", "six")]);
    docker_save(&world.archive(), &["t"], &config(&json!({}), &good), &lying);
    let error = world.images.import(&world.archive(), None, &()).unwrap_err();
    assert!(matches!(error, ImageError::Digest { .. }), "{error}");

    let mut layout = Layout::default();
    let manifest = layout.image(&config(&json!({}), &good), &good);
    layout.index(&[manifest]);
    for changed in 0..layout.members.len() - 1 {
        let mut members = layout.members.clone();
        // A byte of the time in the packed layers' header, and of some text elsewhere.
        members[changed].1[5] ^= 1;
        tarball(&world.archive(), &members);
        let error = world.images.import(&world.archive(), Some("t"), &()).unwrap_err();
        assert!(matches!(error, ImageError::Digest { .. }), "{error}");
    }
    assert!(!world.images.has("t"));
    assert_eq!((world.entries("layers"), world.entries("scratch")), (0, 0), "nothing is left");
}

#[test]
fn images_for_other_machines_are_refused() {
    let world = World::new();
    let mut other = config(&json!({}), &layers());
    other["architecture"] = json!("pdp11");
    docker_save(&world.archive(), &["t"], &other, &layers());
    let error = world.images.import(&world.archive(), None, &()).unwrap_err().to_string();
    assert!(error.contains("linux/pdp11") && error.contains("--platform linux/"), "{error}");

    let mut layout = Layout::default();
    let manifest = layout.image(&other, &layers());
    layout.index(&[with(manifest, "platform", json!({ "os": "linux", "architecture": "pdp11" }))]);
    tarball(&world.archive(), &layout.members);
    let error = world.images.import(&world.archive(), Some("t"), &()).unwrap_err();
    assert!(matches!(error, ImageError::Platform { .. }), "{error}");
}

#[test]
fn what_is_no_archive_says_so() {
    let world = World::new();
    let refused = |path: &std::path::Path| world.images.import(path, Some("t"), &()).unwrap_err().to_string();
    assert!(refused(&world.archive()).contains("No such file"));
    std::fs::write(world.archive(), b"not a tar file, whatever its name").unwrap();
    assert!(refused(&world.archive()).contains("docker save"));
    std::fs::write(world.archive(), [0x1f, 0x8b, 8, 0, 1, 2, 3]).unwrap();
    assert!(refused(&world.archive()).contains("damaged"));
    tarball(&world.archive(), &[("x".to_owned(), b"y".to_vec())]);
    assert!(refused(&world.archive()).contains("neither manifest.json nor index.json"));
    tarball(&world.archive(), &[("manifest.json".to_owned(), b"[]".to_vec())]);
    assert!(refused(&world.archive()).contains("no image"));
    let up = json!([{ "Config": "../../../etc/passwd", "RepoTags": null, "Layers": [] }]);
    tarball(&world.archive(), &[("manifest.json".to_owned(), up.to_string().into_bytes())]);
    assert!(refused(&world.archive()).contains("no digest"));
    let image = config(&json!({}), &layers());
    docker_save(&world.archive(), &["t"], &image, &layers()[..1]);
    assert!(refused(&world.archive()).contains("2 layers and 1 are there"));
    for (start, why) in
        [(&b"BZh9"[..], "packed with bzip2"), (&[0x28, 0xb5, 0x2f, 0xfd, 0xff][..], "damaged")]
    {
        let layers = [start.to_vec()];
        docker_save(&world.archive(), &["t"], &config(&json!({}), &layers), &layers);
        assert!(refused(&world.archive()).contains(why), "{why}");
    }
    let full = std::fs::read(world.archive()).unwrap();
    std::fs::write(world.archive(), &full[..700]).unwrap();
    assert!(!refused(&world.archive()).is_empty());
    assert!(!world.images.has("t"));
}

#[test]
fn images_need_a_name_and_a_user() {
    let world = World::new();
    let image = config(&json!({}), &layers());
    docker_save(&world.archive(), &[], &image, &layers());
    let error = world.images.import(&world.archive(), None, &()).unwrap_err().to_string();
    assert!(error.contains("--name REPOSITORY:TAG"), "{error}");
    let error = world.images.import(&world.archive(), Some("No Name"), &()).unwrap_err();
    assert!(matches!(error, ImageError::Name(_)), "{error}");
    let error = world.import(&json!({ "User": "stranger" }), &layers()).unwrap_err().to_string();
    assert!(error.contains("user 'stranger'"), "{error}");
}
