//! A full disk: no new work, what was accepted still ends, and room that appears is found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chasen_entity::{ActivationId, Event};
use chasen_spi::StoreError;

use crate::fixture::{eventually, invocation, newest, open, record, take_up_all};

/// A file system of a few megabytes, gone with the value.
pub(crate) struct TinyDisk {
    folder: tempfile::TempDir,
}

impl TinyDisk {
    pub(crate) fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self { folder })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Uses up all that is left.
    fn fill(&self) -> PathBuf {
        let filler = self.path().join("filler");
        let zeros = vec![1u8; 64 << 20];
        fs::write(&filler, zeros).unwrap_err();
        filler
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

fn large_record(id: ActivationId) -> Event {
    let mut large = chasen_entity::Activation::clone(&record(id, 1));
    large.logs = vec!["x".repeat(20_000)];
    Event::Finished(large.into())
}

#[tokio::test]
async fn accepted_work_ends_on_a_full_disk_and_new_work_waits_for_room() {
    let Some(disk) = TinyDisk::mount("4m") else {
        eprintln!("SKIPPED: mounting a small disk needs root");
        return;
    };
    let node = open(&disk.path().join("data"));
    let (log, records) = (node.event_log(), node.activation_store());
    let work: Vec<_> = (0..40).map(|_| invocation("{}")).collect();
    for one in &work {
        log.append(&Event::Accepted(one.clone())).unwrap();
    }
    let filler = disk.fill();
    // The spare is there still; once it is used there is no next one.
    let mut extra = Vec::new();
    let refused = loop {
        let one = invocation(&format!(r#"{{"text":"{}"}}"#, "x".repeat(2000)));
        match log.append(&Event::Accepted(one.clone())) {
            Ok(_) => extra.push(one.activation_id),
            Err(error) => break error,
        }
        assert!(extra.len() < 10_000, "the disk is not full");
        tokio::task::yield_now().await;
    };
    assert!(
        matches!(&refused, StoreError::Full(why) if why.contains("no room for the event log")),
        "{refused}"
    );

    // 40 × 20 kB do not fit into the segment that is left: the last ones are held in memory.
    let mut positions = Vec::new();
    for one in &work {
        positions.push(log.append(&large_record(one.activation_id)).unwrap());
        assert!(records.get("guest", &one.activation_id).await.unwrap().is_some(), "readable at once");
    }
    let held = log.sync(*positions.last().unwrap()).await.unwrap_err();
    assert!(matches!(&held, StoreError::Full(why) if why.contains("in memory")), "{held}");
    log.sync(positions[0]).await.unwrap();
    assert_eq!(records.count(&newest(0)).await, Ok(40));

    // Nor does any event, however small, once the rest of it is used up.
    let started = Event::Started { activation_id: extra[0], attempt: 1, at: 1 };
    while log.append(&started).is_ok() {}
    let under_way = log.open_count();
    for id in &extra {
        positions.push(log.append(&Event::Ended(*id)).unwrap());
    }
    assert_eq!(log.open_count(), under_way - extra.len(), "what ended is not under way");
    assert!(log.open(usize::MAX).unwrap().is_empty());

    fs::remove_file(filler).unwrap();
    eventually("room is found", async || log.append(&Event::Accepted(invocation("{}"))).is_ok()).await;
    eventually("held records reach the disk", async || log.sync(*positions.last().unwrap()).await.is_ok())
        .await;
    node.close().await;

    let node = open(&disk.path().join("data"));
    assert_eq!(node.activation_store().count(&newest(0)).await, Ok(40));
    let unfinished = take_up_all(&*node.event_log());
    assert!(
        unfinished.iter().all(|open| work.iter().all(|one| *one != open.invocation)),
        "what ended stays so"
    );
    assert!(
        unfinished.iter().all(|open| !extra.contains(&open.invocation.activation_id)),
        "without a record too"
    );
    assert!(!unfinished.is_empty(), "what was accepted stays so");
    node.close().await;
}
