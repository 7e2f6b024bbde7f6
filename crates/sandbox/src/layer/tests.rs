//! Hostile archives, sharing and retention.

use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zip::write::SimpleFileOptions;

use super::*;

const SMALL: Bounds =
    Bounds { total: 1 << 20, entries: 20, ratio: 50, ratio_free: 64 << 10, depth: 4, path_len: 64 };

fn store(bounds: Bounds, retention: Retention) -> (tempfile::TempDir, Layers) {
    let temp = tempfile::tempdir().unwrap();
    let layers = Layers::open(temp.path().join("layers"), bounds, retention).unwrap();
    (temp, layers)
}

fn encode(bytes: &[u8]) -> Bytes {
    STANDARD.encode(bytes).into()
}

enum Item<'a> {
    File(&'a str, u32, &'a [u8]),
    Folder(&'a str),
    Link(&'a str, &'a str),
}

fn zip_of(items: &[Item<'_>]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for item in items {
        match item {
            Item::File(name, mode, content) => {
                writer.start_file(*name, SimpleFileOptions::default().unix_permissions(*mode)).unwrap();
                writer.write_all(content).unwrap();
            }
            Item::Folder(name) => writer.add_directory(*name, SimpleFileOptions::default()).unwrap(),
            Item::Link(name, to) => writer.add_symlink(*name, *to, SimpleFileOptions::default()).unwrap(),
        }
    }
    writer.finish().unwrap().into_inner()
}

fn tar_gz(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    fill(&mut builder);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&builder.into_inner().unwrap()).unwrap();
    gz.finish().unwrap()
}

/// A tar entry with exactly this name, which the builder would refuse to write.
fn raw_entry(
    builder: &mut tar::Builder<Vec<u8>>,
    name: &str,
    kind: tar::EntryType,
    link: &str,
    content: &[u8],
) {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append(&header, content).unwrap();
}

async fn outcome(code: &[u8]) -> Result<Arc<Layer>, LayerError> {
    let (_temp, layers) = store(SMALL, Retention::default());
    layers.layer("d", &encode(code), true).await
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn each_shape_is_recognised() {
    let (_temp, layers) = store(SMALL, Retention::default());
    let source = layers.layer("1", &Bytes::from_static("let é;".as_bytes()), false).await.unwrap();
    assert_eq!(source.shape(), Shape::Source);
    assert_eq!(fs::read_to_string(source.path().join("exec")).unwrap(), "let é;");

    let elf = layers.layer("2", &encode(b"\x7fELF...."), true).await.unwrap();
    assert_eq!(elf.shape(), Shape::Executable);
    assert_eq!(mode(&elf.path().join("exec")), 0o777);

    let zip = zip_of(&[
        Item::Folder("lib/"),
        Item::File("lib/a.js", 0o600, b"a"),
        Item::File("run.sh", 0o4755, b"#!"),
        Item::File("deep/er/x", 0o644, b"x"),
        Item::Link("deep/l", "../lib/a.js"),
        Item::Link("dangling", "nowhere"),
        Item::Link("virtualenv/bin/python", "python3"),
        Item::Link("virtualenv/bin/python3", "/usr/bin/python3"),
    ]);
    let zip = layers.layer("3", &encode(&zip), true).await.unwrap();
    assert_eq!(zip.shape(), Shape::Archive);
    assert_eq!(fs::read(zip.path().join("deep/l")).unwrap(), b"a");
    let interpreter = fs::read_link(zip.path().join("virtualenv/bin/python3")).unwrap();
    assert_eq!(interpreter, std::path::Path::new("/usr/bin/python3"));
    assert_eq!(mode(&zip.path().join("lib")), 0o777);
    assert_eq!(mode(&zip.path().join("lib/a.js")), 0o666);
    assert_eq!(mode(&zip.path().join("run.sh")), 0o777, "executable, not set-user-id");

    let tar = tar_gz(|tar| {
        raw_entry(tar, "./a/b", tar::EntryType::Regular, "", b"tar");
        raw_entry(tar, "l", tar::EntryType::Symlink, "a/b", b"");
    });
    let tar = layers.layer("4", &encode(&tar), true).await.unwrap();
    assert_eq!(fs::read(tar.path().join("l")).unwrap(), b"tar");
}

#[tokio::test]
async fn hostile_archives_are_the_developers_fault() {
    let zeros = vec![0u8; 900 << 10];
    let many: Vec<String> = (0..30).map(|n| format!("f{n}")).collect();
    let many: Vec<Item<'_>> = many.iter().map(|name| Item::File(name, 0o644, b"")).collect();
    let nested: Vec<String> = (0..6).map(|n| format!("{n}/a/b/f")).collect();
    let nested: Vec<Item<'_>> = nested.iter().map(|name| Item::File(name, 0o644, b"")).collect();
    let tar = |name: &str, kind, link: &str| tar_gz(|tar| raw_entry(tar, name, kind, link, b""));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("parent", zip_of(&[Item::File("../x", 0o644, b"")]), "illegal name"),
        ("absolute", zip_of(&[Item::File("/etc/x", 0o644, b"")]), "illegal name"),
        ("inner parent", tar("a/../../x", tar::EntryType::Regular, ""), "illegal name"),
        ("deep", zip_of(&[Item::File("a/b/c/d/e", 0o644, b"")]), "illegal name"),
        ("long", zip_of(&[Item::File(&"n".repeat(65), 0o644, b"")]), "illegal name"),
        ("link out", zip_of(&[Item::Link("l", "../x")]), "leads out"),
        ("absolute link", zip_of(&[Item::Link("l", "/etc/passwd")]), "leads out"),
        ("link out by way of the system", zip_of(&[Item::Link("l", "/usr/../etc/passwd")]), "leads out"),
        (
            "link through the system",
            zip_of(&[Item::Link("s", "/usr/lib"), Item::Link("l", "s/../../etc/passwd")]),
            "leads out",
        ),
        ("link to a name with NUL", zip_of(&[Item::Link("l", "a\0b")]), "leads out"),
        ("link loop", zip_of(&[Item::Link("a", "b"), Item::Link("b", "a")]), "leads out"),
        ("link through a link", zip_of(&[Item::Link("x", "."), Item::Link("y", "x/../..")]), "leads out"),
        (
            "file through a link",
            zip_of(&[Item::Link("d", "/tmp"), Item::File("d/x", 0o644, b"")]),
            "conflicts",
        ),
        ("link below a link", zip_of(&[Item::Link("d", "."), Item::Link("d/x", "y")]), "conflicts"),
        ("folder and file", zip_of(&[Item::Folder("a/"), Item::File("a", 0o644, b"")]), "conflicts"),
        ("hard link", tar("h", tar::EntryType::Link, "/etc/passwd"), "neither a file"),
        ("device", tar("d", tar::EntryType::Char, ""), "neither a file"),
        ("fifo", tar("p", tar::EntryType::Fifo, ""), "neither a file"),
        ("bomb", zip_of(&[Item::File("zeros", 0o644, &zeros)]), "unpacks to more than"),
        (
            "tar bomb",
            tar_gz(|tar| raw_entry(tar, "zeros", tar::EntryType::Regular, "", &zeros)),
            "unpacks to more than",
        ),
        (
            "long name bomb",
            tar_gz(|tar| raw_entry(tar, "n", tar::EntryType::GNULongName, "", &vec![b'n'; 2 << 20])),
            "header is too long",
        ),
        ("entries", zip_of(&many), "more than 20 entries"),
        ("folders in names", zip_of(&nested), "more than 20 entries"),
        ("truncated zip", zip_of(&[Item::File("a", 0o644, b"abc")])[..40].to_vec(), "damaged"),
        (
            "truncated tar",
            tar_gz(|tar| raw_entry(tar, "a", tar::EntryType::Regular, "", b"abc"))[..20].to_vec(),
            "damaged",
        ),
        ("not a zip", b"PK\x03\x04 nothing of the kind".to_vec(), "damaged"),
    ];
    for (name, code, text) in cases {
        match outcome(&code).await {
            Err(LayerError::Code(bad)) => assert!(bad.to_string().contains(text), "{name}: {bad}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_lying_header_does_not_get_more_than_the_bound() {
    let zeros = vec![0u8; 400 << 10];
    let mut code = zip_of(&[Item::File("zeros", 0o644, &zeros)]);
    // Uncompressed size in the local header and in the directory: claim ten bytes.
    for at in [22, code.windows(4).position(|w| w == b"PK\x01\x02").unwrap() + 24] {
        code[at..at + 4].copy_from_slice(&10u32.to_le_bytes());
    }
    assert!(matches!(outcome(&code).await, Err(LayerError::Code(_))));
}

#[tokio::test]
async fn bad_base64_says_so() {
    let (_temp, layers) = store(SMALL, Retention::default());
    let error = layers.layer("d", &Bytes::from_static(b"a==="), true).await.unwrap_err();
    assert!(error.to_string().contains("illegal base64"), "{error}");
}

#[tokio::test]
async fn a_layer_is_built_once_and_nothing_else_stays() {
    let (_temp, layers) = store(SMALL, Retention::default());
    let text = Bytes::from_static(b"code");
    let (a, b) = tokio::join!(layers.layer("d", &text, false), layers.layer("d", &text, false));
    assert!(Arc::ptr_eq(&a.unwrap(), &b.unwrap()));
    assert!(layers.layer("bad", &encode(b"PK\x03\x04"), true).await.is_err());
    assert_eq!(fs::read_dir(&layers.folder).unwrap().count(), 1);
}

#[tokio::test]
async fn unused_layers_go_and_used_ones_stay() {
    let (_temp, layers) = store(SMALL, Retention { total: 20_000, age: Duration::from_secs(3600) });
    let text = Bytes::from(vec![b' '; 4096]);
    let used = layers.layer("used", &text, false).await.unwrap();
    let unused = layers.layer("unused", &text, false).await.unwrap().path().to_path_buf();
    let last = layers.layer("last", &text, false).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while unused.exists() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!unused.exists());
    assert!(used.path().exists() && last.path().exists());
}

#[tokio::test]
async fn leftovers_of_a_former_life_are_removed() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("layers");
    fs::create_dir_all(folder.join("00000001/x")).unwrap();
    let layers = Layers::open(folder.clone(), SMALL, Retention::default()).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    let deadline = Instant::now() + Duration::from_secs(60);
    while folder.with_extension("old").exists() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!folder.with_extension("old").exists());
    drop(layers);
}
