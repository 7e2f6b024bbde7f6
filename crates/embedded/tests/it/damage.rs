//! Damaged log files: a torn end is cut off, a hole in the middle is skipped, the rest is kept.

use std::fs;
use std::path::Path;

use chasen_entity::ActivationId;
use chasen_spi::Position;
use proptest::prelude::*;

use crate::fixture::{events, files, open};

/// Each record's id and where the log ended after it.
type Written = Vec<(ActivationId, Position)>;

/// A log as a kill leaves it before any record is filed: the files of a running node, copied.
fn written_log(records: u64) -> (tempfile::TempDir, Written) {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path());
    let mut written = Vec::new();
    for start in 0..records {
        let [.., finished] = events("{}", start);
        let position = node.event_log().append(&finished).unwrap();
        written.push((finished.activation_id(), position));
    }
    let copy = tempfile::tempdir().unwrap();
    copy_log(folder.path(), copy.path());
    (copy, written)
}

fn copy_log(from: &Path, to: &Path) {
    fs::create_dir(to.join("events")).unwrap();
    fs::copy(from.join("node.key"), to.join("node.key")).unwrap();
    for file in files(&from.join("events"), ".log") {
        // Segments that are done with may go while we copy.
        let _ = fs::copy(&file, to.join("events").join(file.file_name().unwrap()));
    }
}

/// Which of the records are there.
fn survivors(folder: &Path, written: &Written) -> Vec<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let node = open(folder);
        let store = node.activation_store();
        let mut found = Vec::new();
        for (id, _) in written {
            found.push(store.get("guest", id).await.unwrap().is_some());
        }
        node.close().await;
        found
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_cut_file_loses_what_was_cut_off(cut in any::<prop::sample::Index>()) {
        let (folder, written) = written_log(120);
        let segment = files(&folder.path().join("events"), ".log").remove(0);
        let used = (written.last().unwrap().1.0 & 0xffff_ffff) as usize;
        let cut = cut.index(used + 1000);
        fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(cut as u64).unwrap();
        // Padding after a payload does not matter.
        let expected: Vec<bool> = written.iter().map(|(_, end)| (end.0 & 0xffff_ffff) as usize <= cut).collect();
        let found = survivors(folder.path(), &written);
        let spared = found.iter().zip(&expected).filter(|(found, expected)| found != expected).count();
        prop_assert!(spared <= 1, "{spared} differ");
        prop_assert!(found.iter().zip(&expected).all(|(found, expected)| *found || !expected));
        prop_assert_eq!(survivors(folder.path(), &written), found, "and the next life finds the same");
    }

    #[test]
    fn a_flipped_bit_loses_at_most_the_record_it_hits(place in any::<prop::sample::Index>(), bit in 0..8u8) {
        let (folder, written) = written_log(120);
        let segment = files(&folder.path().join("events"), ".log").remove(0);
        let mut bytes = fs::read(&segment).unwrap();
        let place = place.index((written.last().unwrap().1.0 & 0xffff_ffff) as usize);
        bytes[place] ^= 1 << bit;
        fs::write(&segment, bytes).unwrap();
        let hit = written.iter().position(|(_, end)| place < (end.0 & 0xffff_ffff) as usize).unwrap();
        for (index, found) in survivors(folder.path(), &written).into_iter().enumerate() {
            prop_assert!(found || index == hit, "record {index} is lost, the damage is in {hit}");
        }
    }
}

#[test]
fn a_lost_checkpoint_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let id = runtime.block_on(async {
        let node = open(folder.path());
        let [accepted, _, finished] = events("{}", 1);
        let stays = crate::fixture::invocation("{}");
        for event in [chasen_entity::Event::Accepted(stays), accepted, finished.clone()] {
            node.event_log().append(&event).unwrap();
        }
        node.close().await;
        finished.activation_id()
    });
    fs::remove_file(folder.path().join("events/checkpoint")).unwrap();
    assert_eq!(survivors(folder.path(), &vec![(id, Position(0))]), [true]);
    runtime.block_on(async {
        let node = open(folder.path());
        assert_eq!(node.activation_store().count(&crate::fixture::newest(0)).await, Ok(1), "filed once");
        assert_eq!(node.event_log().inherited().len(), 1);
        node.close().await;
    });
}

#[tokio::test]
async fn a_damaged_file_of_records_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path());
    node.event_log().append(&events("{}", 1)[2]).unwrap();
    node.close().await;
    let activations = folder.path().join("activations");
    fs::write(files(&activations, ".db").remove(0), "no database any more, but long enough for one").unwrap();
    let node = open(folder.path());
    let [.., finished] = events("{}", 2);
    node.event_log().append(&finished).unwrap();
    node.close().await;
    assert_eq!(files(&activations, ".db.damaged").len(), 1, "kept for whoever wants to mend it");
    let node = open(folder.path());
    assert!(node.activation_store().get("guest", &finished.activation_id()).await.unwrap().is_some());
    node.close().await;
}
