//! The function of the harness: tells the witness of each run, then does a little, or conducts.
//!
//! An ActionLoop executable: a line of JSON in, a line out on descriptor 3.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a function of tests")]

use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use chasen_crash::deployed::{CONDUCTED, CONDUCTOR};
use chasen_crash::witness::Note;
use serde_json::{Value, json};

fn main() {
    let mut answers = File::options().write(true).open("/proc/self/fd/3").expect("descriptor 3 is open");
    if std::env::var_os("__OW_WAIT_FOR_ACK").is_some() {
        answers.write_all(b"{\"ok\":true}\n").expect("the platform listens");
    }
    let mut witness = None;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let message: Value = serde_json::from_str(&line).unwrap_or_default();
        let answer = run(&message, &mut witness).unwrap_or_else(|why| json!({"error": why}));
        answers.write_all(format!("{answer}\n").as_bytes()).expect("the platform listens");
    }
}

fn run(message: &Value, witness: &mut Option<TcpStream>) -> Result<Value, String> {
    let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
    let action = text("action_name").rsplit('/').next().unwrap_or_default().to_owned();
    let mut value = message["value"].clone();
    if action == CONDUCTOR {
        return Ok(conduct(value));
    }
    let hops = value["hops"].as_u64().unwrap_or_default();
    let note = Note {
        token: value["token"].as_u64().ok_or("no token")?,
        step: format!("{action}#{hops}"),
        id: text("activation_id"),
        at: 0,
    };
    let told = tell(witness, value["witness"].as_str().unwrap_or_default(), &note);
    told.map_err(|error| format!("the witness: {error}"))?;
    std::thread::sleep(Duration::from_millis(value["ms"].as_u64().unwrap_or_default()));
    value["hops"] = (hops + 1).into();
    Ok(value)
}

/// Asks for another run of the action, some times.
fn conduct(mut value: Value) -> Value {
    let turn = value["turn"].as_u64().unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("turn");
    }
    match turn < CONDUCTED {
        true => json!({"action": "/_/again", "params": value, "state": {"turn": turn + 1}}),
        false => json!({"params": value}),
    }
}

fn tell(witness: &mut Option<TcpStream>, address: &str, note: &Note) -> std::io::Result<()> {
    let mut stream = match witness.take() {
        Some(open) => open,
        None => TcpStream::connect(address)?,
    };
    stream.write_all(format!("{}\n", serde_json::to_string(note)?).as_bytes())?;
    stream.read_exact(&mut [0])?;
    *witness = Some(stream);
    Ok(())
}
