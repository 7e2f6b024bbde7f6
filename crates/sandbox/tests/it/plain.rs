//! Insecure process mode: the same door, plain processes behind it.

use std::fs;

use chasen_sandbox::cell::ExitStatus;
use chasen_sandbox::helper::Mode;
use libtest_mimic::Trial;

use crate::house::{House, eventually, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("plain_process_runs_with_its_own_folders", lives),
        test("plain_process_group_ends_with_its_leader", ends),
        test("plain_process_can_be_frozen", freezes),
    ]
}

async fn lives() {
    let house = House::open(Mode::InsecureProcess).await;
    let mut guest = house.start(&["obey"]).await;
    assert_eq!(guest.line(), "ready");
    let layer = house.data().join("layer");
    fs::create_dir_all(layer.join("lib")).unwrap();
    fs::write(layer.join("lib/a"), "text").unwrap();
    guest.cell.mount_code(&layer, 1 << 20).await.unwrap();
    let action = guest.cell.action_folder();
    guest.say(&format!("read {}/lib/a", action.display()));
    assert_eq!(guest.line(), "ok text");
    guest.say(&format!("write {}/lib/a other", action.display()));
    assert_eq!(guest.line(), "ok");
    assert_eq!(fs::read_to_string(layer.join("lib/a")).unwrap(), "text");
    assert_eq!(guest.cell.kill().await.unwrap().status, ExitStatus::Signal(libc::SIGKILL));
    assert!(!action.exists());
    assert_eq!(house.start(&["exit", "5"]).await.cell.exited().await.status, ExitStatus::Code(5));
    let missing = house.start_with(&[], |spec| spec.argv = vec!["/not/there".to_owned()]).await;
    assert!(missing.is_err_and(|error| error.to_string().contains("/not/there")));
}

async fn ends() {
    let house = House::open(Mode::InsecureProcess).await;
    let mut guest = house
        .start_with(&[], |spec| {
            spec.argv = ["/bin/sh", "-c", "sleep 1000 & echo $! >&3; wait"].map(str::to_owned).to_vec();
        })
        .await
        .unwrap();
    let sleeper = guest.line();
    guest.cell.kill().await.unwrap();
    eventually("the sleeper is gone", || !fs::exists(format!("/proc/{sleeper}")).unwrap_or(false)).await;
}

async fn freezes() {
    let house = House::open(Mode::InsecureProcess).await;
    let mut guest = house.start(&["obey"]).await;
    assert_eq!(guest.line(), "ready");
    guest.cell.freeze().unwrap();
    let status = format!("/proc/{}/status", guest.cell.pid());
    eventually("it is stopped", || fs::read_to_string(&status).unwrap().contains("State:\tT")).await;
    guest.cell.thaw().unwrap();
    guest.say("ping");
    assert_eq!(guest.line(), "ok pong");
}
