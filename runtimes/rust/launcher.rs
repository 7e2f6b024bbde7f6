//! The launcher of Rust functions: the program around the crate `actions`.
//!
//! It answers each line on standard input with one line on descriptor 3. A panic of the function ends the process, as
//! in any program.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::FromRawFd;

use serde_json::{Map, Value, json};

fn main() -> io::Result<()> {
    // SAFETY: descriptor 3 is there for this and used for nothing else.
    let mut answers = unsafe { File::from_raw_fd(3) };
    if std::env::var_os("__OW_WAIT_FOR_ACK").is_some_and(|value| !value.is_empty()) {
        writeln!(answers, "{}", json!({ "ok": true }))?;
    }
    for line in io::stdin().lock().lines() {
        let answer = run(&line?).unwrap_or_else(|error| {
            eprintln!("error: {error}");
            json!({ "error": error.to_string() }).to_string()
        });
        io::stdout().flush()?;
        // The line at once: a piece of one is no answer.
        answers.write_all(format!("{answer}\n").as_bytes())?;
    }
    Ok(())
}

/// One request in, the text of one result out.
fn run(line: &str) -> Result<String, serde_json::Error> {
    let mut request: Map<String, Value> = serde_json::from_str(line)?;
    let argument = request.remove("value").unwrap_or_else(|| json!({}));
    for (key, value) in request {
        let text = match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        if !key.is_empty() && !key.contains(['=', '\0']) && !text.contains('\0') {
            std::env::set_var(format!("__OW_{}", key.to_uppercase()), text);
        }
    }
    serde_json::to_string(&actions::ENTRY(argument)?)
}
