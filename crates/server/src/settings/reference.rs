//! Settings as people read them: the effective tree, and the reference page.

use std::fmt::Write;

use super::layers::{Origin, environment_name};
use super::reader::Row;

/// The effective tree as a settings file; each value says in a comment where it came from.
#[must_use]
pub fn effective(rows: &[Row]) -> String {
    let mut text = String::new();
    let width = rows.iter().map(|row| assignment(row).chars().count()).max().unwrap_or_default();
    let mut section = "";
    for row in rows {
        let own = section_of(row.key);
        if own != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{own}]");
            section = own;
        }
        let line = match row.secret && row.origin != Origin::Default {
            true => format!("# {} is given and not shown", name_of(row.key)),
            false => assignment(row),
        };
        let _ = writeln!(text, "{line:width$}  # {}", row.origin);
    }
    text
}

/// The reference page, in Markdown.
#[must_use]
pub fn reference(rows: &[Row]) -> String {
    let mut text = String::from(
        "# Settings\n\n\
         Every setting can be given in a TOML file (`--config FILE`), in the environment, and by `--set KEY=VALUE`; \
         the later of these wins. `chasen config` prints the effective values and where each came from. \
         This page is what `chasen config --reference` prints.\n",
    );
    let mut section = "";
    for row in rows {
        let own = section_of(row.key);
        if own != section {
            let _ = writeln!(text, "\n## {own}\n");
            section = own;
        }
        let default =
            if row.default.is_empty() { "nothing".to_owned() } else { format!("`{}`", row.default) };
        let _ = writeln!(
            text,
            "- **`{}`**: {}  \n  Value: {}. Default: {default}. Environment: `{}`.",
            row.key,
            row.about,
            row.expected,
            environment_name(row.key),
        );
    }
    text
}

fn section_of(key: &str) -> &str {
    key.split_once('.').map_or("", |(section, _)| section)
}

fn name_of(key: &str) -> &str {
    key.split_once('.').map_or(key, |(_, name)| name)
}

/// `key = value` as TOML; numbers and truth values stay bare.
fn assignment(row: &Row) -> String {
    let name = name_of(row.key);
    let bare = row.value.parse::<u64>().is_ok() || row.value.parse::<bool>().is_ok();
    if bare { format!("{name} = {}", row.value) } else { format!("{name} = {:?}", row.value) }
}
