//! Settings: every problem at once, nearest names, origins.

use chasen_testkit::{chasen, run};

use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::blocking("settings::unknown_keys_are_errors_with_the_nearest_name", unknown_key)
            .needing_nothing(),
        Scenario::blocking("settings::later_layers_win_and_are_named", layers).needing_nothing(),
    ]
}

fn unknown_key() {
    for command in ["serve", "config"] {
        let mut chasen = chasen();
        chasen
            .args([command, "--set", "limits.fires-per-minut=3"])
            .env("CHASEN_SERVER__DRAIN_TIMEOUT", "soon");
        let finished = run(chasen);
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains("did you mean limits.fires-per-minute?"), "{finished:?}");
        assert!(finished.stderr.contains("CHASEN_SERVER__DRAIN_TIMEOUT"), "{finished:?}");
    }
}

fn layers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chasen.toml");
    std::fs::write(&file, "[limits]\nfires-per-minute = 1\nsequence-length = 2\n[log]\nfilter = 'warn'\n")
        .unwrap();
    let mut chasen = chasen();
    chasen.args(["config", "--set", "limits.fires-per-minute=4", "--config"]).arg(&file);
    chasen.env("CHASEN_LIMITS__FIRES_PER_MINUTE", "3").env("CHASEN_LOG__FILTER", "debug");
    let finished = run(chasen);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let line = |name: &str| finished.stdout.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    for (name, value, origin) in [
        ("fires-per-minute", "= 4 ", "# flag --set"),
        ("sequence-length", "= 2 ", "chasen.toml"),
        ("filter", "\"debug\"", "# environment CHASEN_LOG__FILTER"),
        ("drain-timeout", "\"30 s\"", "# default"),
    ] {
        let line = line(name);
        assert!(line.contains(value) && line.contains(origin), "{line}");
    }
}
