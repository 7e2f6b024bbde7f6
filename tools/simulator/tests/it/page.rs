//! The runs of the page about the simulator come to what the page says.

use std::fs;
use std::path::Path;

use crate::histories::answer;

const COMMAND: &str = "cargo xtask simulate ";

#[test]
fn documented_runs_come_to_what_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/simulator.md");
    let page = fs::read_to_string(path).unwrap();
    let mut runs = 0;
    for block in page.split("```sh skip\n").skip(1) {
        let (commands, rest) = block.split_once("```").unwrap();
        let Some(words) = commands.trim().strip_prefix(COMMAND) else { continue };
        let Some((_, table)) = rest.split_once("```text\n").filter(|(before, _)| before.trim().is_empty())
        else {
            continue;
        };
        let (documented, _) = table.split_once("```").unwrap();
        let real = answer(&format!("{words} --check-every 10000"));
        assert!(documented == real, "write the page anew: `{COMMAND}{words}` comes to\n{real}");
        runs += 1;
    }
    assert!(runs >= 2, "{runs}");
}
