//! Code laid over a running cell.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use chasen_sandbox::helper::{Mode, MountError};
use libtest_mimic::Trial;

use crate::house::{Guest, House, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("code_appears_in_a_running_cell_and_changes_stay_there", copy_up),
        test("code_can_be_executed", executed),
        test("upper_layer_is_bounded", bounded),
        test("code_is_laid_once_and_for_life", once),
        test("a_layer_that_is_not_there_is_refused", missing_layer),
        test("many_cells_share_a_layer", shared),
        test("names_with_every_character_work", odd_names),
    ]
}

/// A layer as the unpacker leaves it: readable and writable by everybody.
fn layer(house: &House, name: &str) -> PathBuf {
    let layer = house.data().join(name);
    fs::create_dir_all(layer.join("lib")).unwrap();
    fs::write(layer.join("exec"), "original").unwrap();
    fs::write(layer.join("lib/module"), "module").unwrap();
    for (path, mode) in [("", 0o777), ("lib", 0o777), ("exec", 0o666), ("lib/module", 0o666)] {
        fs::set_permissions(layer.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    layer
}

async fn stem(house: &House) -> Guest {
    let mut guest = house.start(&["obey"]).await;
    assert_eq!(guest.line(), "ready");
    guest
}

fn ask(guest: &mut Guest, what: &str) -> String {
    guest.say(what);
    guest.line()
}

async fn copy_up() {
    let house = House::open(Mode::Isolated).await;
    let layer = layer(&house, "layer");
    let mut guest = stem(&house).await;
    assert_eq!(ask(&mut guest, "exists /action/exec"), "ok false");
    guest.cell.mount_code(&layer, 8 << 20).await.unwrap();
    assert_eq!(ask(&mut guest, "read /action/exec"), "ok original");
    assert_eq!(ask(&mut guest, "append /action/exec -changed"), "ok");
    assert_eq!(ask(&mut guest, "read /action/exec"), "ok original-changed");
    assert_eq!(ask(&mut guest, "write /action/new text"), "ok");
    assert_eq!(ask(&mut guest, "write /action/lib/new text"), "ok");
    assert_eq!(ask(&mut guest, "mkdir /action/folder"), "ok");
    assert_eq!(ask(&mut guest, "remove /action/lib/module"), "ok");
    assert_eq!(ask(&mut guest, "exists /action/lib/module"), "ok false");
    guest.cell.kill().await.unwrap();

    assert_eq!(fs::read_to_string(layer.join("exec")).unwrap(), "original");
    assert_eq!(fs::read_to_string(layer.join("lib/module")).unwrap(), "module");
    assert_eq!(fs::read_dir(&layer).unwrap().count(), 2);
    assert_eq!(fs::read_dir(layer.join("lib")).unwrap().count(), 1);
}

async fn executed() {
    let house = House::open(Mode::Isolated).await;
    let layer = layer(&house, "layer");
    fs::write(layer.join("exec"), "#!/bin/sh\necho $0 runs\n").unwrap();
    fs::set_permissions(layer.join("exec"), fs::Permissions::from_mode(0o777)).unwrap();
    let mut guest = stem(&house).await;
    guest.cell.mount_code(&layer, 1 << 20).await.unwrap();
    assert_eq!(ask(&mut guest, "run /action/exec"), "ok /action/exec runs");
}

async fn bounded() {
    let house = House::open(Mode::Isolated).await;
    let layer = layer(&house, "layer");
    let mut guest = stem(&house).await;
    guest.cell.mount_code(&layer, 1 << 20).await.unwrap();
    assert_eq!(ask(&mut guest, "fill /action/big 4194304"), "ENOSPC");
    assert_eq!(ask(&mut guest, "ping"), "ok pong");
}

async fn once() {
    let house = House::open(Mode::Isolated).await;
    let layer = layer(&house, "layer");
    let guest = stem(&house).await;
    guest.cell.mount_code(&layer, 1 << 20).await.unwrap();
    let again = guest.cell.mount_code(&layer, 1 << 20).await;
    assert!(matches!(again, Err(MountError::Refused(_))));
    guest.cell.kill().await.unwrap();
    assert!(matches!(guest.cell.mount_code(&layer, 1 << 20).await, Err(MountError::Refused(_))));
}

async fn missing_layer() {
    let house = House::open(Mode::Isolated).await;
    let mut guest = stem(&house).await;
    let missing = house.data().join("missing");
    let Err(MountError::Refused(reason)) = guest.cell.mount_code(&missing, 1 << 20).await else {
        panic!("mounted")
    };
    assert!(reason.contains("missing"), "{reason}");
    assert_eq!(ask(&mut guest, "ping"), "ok pong");
    guest.cell.mount_code(&layer(&house, "layer"), 1 << 20).await.unwrap();
    assert_eq!(ask(&mut guest, "read /action/exec"), "ok original");
}

async fn shared() {
    let house = House::open(Mode::Isolated).await;
    let layer = layer(&house, "layer");
    let (mut one, mut other) = (stem(&house).await, stem(&house).await);
    one.cell.mount_code(&layer, 1 << 20).await.unwrap();
    other.cell.mount_code(&layer, 1 << 20).await.unwrap();
    assert_eq!(ask(&mut one, "write /action/exec mine"), "ok");
    assert_eq!(ask(&mut other, "read /action/exec"), "ok original");
}

async fn odd_names() {
    let house = House::open(Mode::Isolated).await;
    let layer = layer(&house, "a:b,c\\d e");
    let mut guest = stem(&house).await;
    guest.cell.mount_code(&layer, 1 << 20).await.unwrap();
    assert_eq!(ask(&mut guest, "read /action/exec"), "ok original");
}
