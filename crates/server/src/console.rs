//! What the command line says: results on stdout, everything else on stderr, progress where it takes long.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Time that passes before work counts as long.
const LONG: Duration = Duration::from_secs(1);

/// Prints to stdout. A reader that went away is no error.
pub fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(as_text(text).as_bytes()).and_then(|()| stdout.flush());
}

/// Prints a line to stderr.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", as_text(text));
}

/// The same without what terminals take for commands: functions print, and name, what they like. Written as JSON writes it,
/// so that a document stays the same document.
fn as_text(text: &str) -> Cow<'_, str> {
    let is_command = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(is_command) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_command(c) {
            // Writing into a string cannot fail.
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

/// Awaits work; if it takes longer than a second, says what is going on until it ends: a spinner on a
/// terminal, one line elsewhere.
pub async fn with_progress<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    if let Ok(done) = tokio::time::timeout(LONG, &mut work).await {
        return done;
    }
    let spinner = ProgressBar::new_spinner();
    if spinner.is_hidden() {
        note(&format!("{what} …"));
        return work.await;
    }
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        spinner.set_style(style);
    }
    spinner.set_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(100));
    let done = work.await;
    spinner.finish_and_clear();
    done
}

/// How far work of several stages is: a bar on a terminal, a line per stage elsewhere.
#[derive(Debug)]
pub struct StageBar(ProgressBar);

impl StageBar {
    /// A bar for what is called like this.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let bar = ProgressBar::new(100);
        if let Ok(style) =
            ProgressStyle::with_template("{prefix} {bar:30} {percent:>3}% ({elapsed}) {wide_msg}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// A stage begins.
    pub fn begin(&self, number: usize, of: usize, what: &str) {
        let line = format!("[{number}/{of}] {what}");
        if self.0.is_hidden() {
            note(&format!("{}: {line} …", self.0.prefix()));
        }
        self.0.reset();
        self.0.set_message(line);
    }

    /// The stage is so far, and busy with this.
    pub fn at(&self, percent: u64, what: &str) {
        // Programs go back to what they have begun; a bar does not.
        self.0.set_position(percent.max(self.0.position()));
        self.0.set_message(what.to_owned());
    }

    /// Everything is done.
    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}

/// How many bytes of a known number are done: a bar on a terminal, nothing elsewhere.
#[derive(Debug)]
pub struct ByteBar(ProgressBar);

impl ByteBar {
    /// A bar for what is called like this.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let bar = ProgressBar::new(0);
        let template = "{prefix} {bar:30} {bytes}/{total_bytes} ({elapsed})";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        Self(bar)
    }

    /// Everything is done.
    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}

impl chasen_images::Progress for ByteBar {
    fn begin(&self, bytes: u64) {
        self.0.set_length(bytes);
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_given_no_commands() {
        assert_eq!(as_text("plain\ttext\n"), "plain\ttext\n");
        assert_eq!(as_text("\u{1b}]0;evil\u{7}\u{9b}2J"), "\\u001b]0;evil\\u0007\\u009b2J");
        let document = "{\"key\":\"\u{9b}\u{7f}\"}";
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parse(&as_text(document)), parse(document));
    }
}
