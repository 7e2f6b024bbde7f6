//! The same seed makes the same history, to the last byte.

use chasen_simulator::cli::{Arguments, run};
use clap::Parser;

pub(crate) fn answer(words: &str) -> String {
    let arguments = Arguments::try_parse_from(std::iter::once("simulator").chain(words.split_whitespace()));
    run(&arguments.unwrap(), &mut |_, _, _| {}).unwrap()
}

#[test]
fn a_seed_makes_one_history() {
    for trace in ["steady", "burst", "zipf", "hourly", "neighbour"] {
        let words = format!(
            "--trace {trace} --json --seconds 40 --rate 40 --actions 60 --nodes 2x2GB --fault 1@20+5"
        );
        let first = answer(&format!("{words} --seed 5"));
        assert_eq!(first, answer(&format!("{words} --seed 5")), "{trace}");
        assert_eq!(
            first,
            answer(&format!("{words} --seed 5 --check-every 100")),
            "{trace}: looking changes nothing"
        );
        assert_ne!(first, answer(&format!("{words} --seed 6")), "{trace}");
    }
}

#[test]
fn reports_are_for_people_and_for_programs() {
    let words = "--trace steady,burst --seconds 35 --seed 2";
    let text = answer(words);
    assert_eq!(text.matches("| event-driven | sharding |").count(), 2, "{text}");
    let reports: serde_json::Value = serde_json::from_str(&answer(&format!("{words} --json"))).unwrap();
    let reports = reports.as_array().unwrap();
    assert_eq!(reports.len(), 4);
    for report in reports {
        let number = |pointer: &str| report.pointer(pointer).unwrap().as_f64().unwrap();
        assert_eq!(number("/activations"), number("/completed"), "{report}");
        assert!(number("/cold") >= 1.0 && number("/coldShare") < 1.0 && number("/memory/total") > 0.0);
        assert!(number("/wait/p50") <= number("/wait/p99") && number("/wait/p99") <= number("/wait/max"));
    }
}
