//! What the command line says: results on stdout, everything else on stderr, progress where it takes long.

use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Time that passes before work counts as long.
const LONG: Duration = Duration::from_secs(1);

/// Prints to stdout. A reader that went away is no error.
pub fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Prints a line to stderr.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
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
