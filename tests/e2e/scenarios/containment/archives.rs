//! Archives that want to be unpacked elsewhere.

use std::path::Path;

use serde_json::json;

use super::stage::{Stage, ordinary};
use crate::archives::{Entry, tar, zip};
use crate::functions::{Function, Language, call};
use crate::scenario::{Need, Scenario};

/// What stops them.
pub(super) const WALLS: &[&str] = &["archive-names"];

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("containment::archives_that_lead_out_fail", || async {
            let stage = Stage::new(ordinary()).await;
            assert_eq!(escapes(&stage).await, Vec::<&str>::new());
            assert_eq!(stage.canary().await, None);
        }),
        Scenario::new("containment::archives_that_lead_out_succeed_where_walls_are_open", || async {
            let stage = Stage::without(WALLS, ordinary()).await;
            assert_eq!(escapes(&stage).await, ["zip", "tar"]);
        })
        .needing(Need::OpenWalls),
    ]
}

/// The formats in which an entry could leave its folder.
async fn escapes(stage: &Stage) -> Vec<&'static str> {
    let outside = tempfile::tempdir().unwrap();
    let mut escaped = Vec::new();
    for (format, archive) in [("zip", zip as fn(&[Entry<'_>]) -> String), ("tar", tar)] {
        let place = outside.path().join(format);
        let upwards = format!("{}{}", "../".repeat(24).trim_end_matches('/'), place.display());
        let entries =
            [Entry::File("exec", b"#!/bin/sh\necho '{}'\n"), Entry::File(&upwards, b"of the archive")];
        Function::new("unpacked", Language::Native, &archive(&entries)).put(stage.client()).await;
        let called = call(stage.client(), "unpacked", &json!({})).await;
        if is_there(&place) {
            escaped.push(format);
        } else {
            assert_eq!(called.status, 502, "{}", called.text);
        }
    }
    escaped
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
