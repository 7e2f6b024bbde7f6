//! Callers and actions that mean no good, or do not know better.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Proxy, answer};

pub(crate) const ALL: &[(&str, fn())] = &[
    ("garbage_is_answered_or_cut_off", garbage_is_answered_or_cut_off),
    ("bodies_beyond_the_bound_are_refused", bodies_beyond_the_bound_are_refused),
    ("bodies_in_pieces_arrive", bodies_in_pieces_arrive),
    ("callers_who_dawdle_hold_up_nobody", callers_who_dawdle_hold_up_nobody),
    ("a_caller_who_leaves_does_not_end_the_run", a_caller_who_leaves_does_not_end_the_run),
    ("many_callers_are_served_one_after_the_other", many_callers_are_served_one_after_the_other),
    ("an_answer_of_20_mb_comes_whole", an_answer_of_20_mb_comes_whole),
    ("answers_without_an_end_are_cut", answers_without_an_end_are_cut),
    ("floods_of_log_pass_and_do_not_hold_up", floods_of_log_pass_and_do_not_hold_up),
    ("answers_that_nobody_asked_for_are_thrown_away", answers_that_nobody_asked_for_are_thrown_away),
    ("an_overdue_run_is_ended", an_overdue_run_is_ended),
    ("an_overdue_initialisation_is_ended", an_overdue_initialisation_is_ended),
    ("a_program_for_another_machine_does_not_start", a_program_for_another_machine_does_not_start),
];

const LINES: &str = "#!/bin/bash\nwhile read -r line; do sleep 0.3; echo ran; echo '{\"n\":1}' >&3; done\n";

/// Milliseconds to a deadline that has not passed when the proxy reads it: one of the past is none.
const SOON: u64 = 3000;

fn millis_from_now(millis: u64) -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    (now + Duration::from_millis(millis)).as_millis().to_string()
}

fn started(code: &str) -> Proxy {
    let proxy = Proxy::start("actionloop", &[]);
    assert_eq!(proxy.init(code.as_bytes(), true, &Value::Null).0, 200);
    proxy
}

fn garbage_is_answered_or_cut_off() {
    let proxy = started(LINES);
    for garbage in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"POST /run\r\n\r\n",
        b"POST /run HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /run HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /run HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nXYZ\r\n",
        b"\0\0\0\0",
    ] {
        let mut stream = proxy.connect();
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(Shutdown::Write);
        if let Some(answer) = answer(stream) {
            assert!((400..500).contains(&answer.status), "{answer:?}");
        }
    }
    let mut stream = proxy.connect();
    let _ = stream.write_all(format!("POST /run HTTP/1.1\r\nX: {}", "x".repeat(1 << 20)).as_bytes());
    drop(stream);
    assert_eq!(proxy.run(&json!({})).0, 200, "the next one is served");
}

fn bodies_beyond_the_bound_are_refused() {
    let proxy = started(LINES);
    let mut stream = proxy.connect();
    let length = 65 << 20;
    write!(stream, "POST /run HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")
        .unwrap();
    let answer = answer(stream).unwrap();
    assert_eq!(answer.status, 413);
    assert!(answer.body.contains("larger than 64 MB"));
    assert_eq!(proxy.run(&json!({})).0, 200);
}

fn bodies_in_pieces_arrive() {
    let proxy = started("#!/bin/sh\nexec cat >&3\n");
    let mut stream = proxy.connect();
    let head = "POST /run HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    for piece in ["{\"val", "ue\":", "[1]}"] {
        write!(stream, "{:x}\r\n{piece}\r\n", piece.len()).unwrap();
        stream.flush().unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(answer(stream).unwrap().body, "{\"value\":[1]}\n");
}

fn callers_who_dawdle_hold_up_nobody() {
    let proxy = started(LINES);
    let mut dawdling = Vec::new();
    for number in 0..200 {
        let mut stream = proxy.connect();
        let text = ["", "POST /run HTTP/1.1\r\n", "POST /run HTTP/1.1\r\nContent-Length: 60000000\r\n\r\n{"];
        stream.write_all(text[number % 2].as_bytes()).unwrap();
        dawdling.push(stream);
    }
    let begun = Instant::now();
    assert_eq!(proxy.run(&json!({})).0, 200);
    assert!(begun.elapsed() < Duration::from_secs(25), "less than a dawdler may");
}

fn a_caller_who_leaves_does_not_end_the_run() {
    let proxy = started(LINES);
    drop(proxy.send("POST", "/run", "", b"{}"));
    assert_eq!(proxy.run(&json!({})).0, 200);
    let logs = proxy.stop();
    // The run of the one who left is there unless the connection was gone before it was read.
    assert!(logs.stdout == "ran\nran\n" && logs.sentinels == [2, 2] || logs.sentinels == [1, 1], "{logs:?}");
}

fn many_callers_are_served_one_after_the_other() {
    let proxy = started("#!/bin/sh\nexec cat >&3\n");
    let sent: Vec<_> = (0..200)
        .map(|n| (n, proxy.send("POST", "/run", "", format!("{{\"value\":[{n}]}}").as_bytes())))
        .collect();
    for (n, stream) in sent {
        assert_eq!(answer(stream).unwrap().body, format!("{{\"value\":[{n}]}}\n"));
    }
    assert_eq!(proxy.stop().sentinels, [200, 200]);
}

fn an_answer_of_20_mb_comes_whole() {
    let proxy = started(
        "#!/bin/bash\nwhile read -r line; do { printf '[\"'; head -c 20000000 /dev/zero | tr '\\0' x; echo '\"]'; } >&3; done\n",
    );
    for _ in 0..2 {
        let (status, body) = proxy.run(&json!({}));
        assert_eq!((status, body.len()), (200, 20_000_005));
    }
}

fn answers_without_an_end_are_cut() {
    let proxy = started("#!/bin/bash\nread -r line\ntr '\\0' x < /dev/zero >&3\n");
    assert_eq!(proxy.run(&json!({})).0, 400);
    assert_eq!(proxy.run(&json!({})).0, 500);
}

fn floods_of_log_pass_and_do_not_hold_up() {
    let proxy = started(
        "#!/bin/bash\nread -r line\nhead -c 50000000 /dev/zero | tr '\\0' '\\n'\nyes >&2 &\necho '{}' >&3\nread -r line\n",
    );
    assert_eq!(proxy.run(&json!({})).0, 200, "while the flood goes on");
    let begun = Instant::now();
    let logs = proxy.stop();
    assert!(begun.elapsed() < PATIENCE);
    assert!(logs.stdout.len() >= 50_000_000);
    assert_eq!(logs.sentinels, [1, 1]);
}

fn answers_that_nobody_asked_for_are_thrown_away() {
    let code = "#!/bin/bash\nwhile read -r line; do echo '[1]' >&3; echo '[2]' >&3; touch both; done\n";
    let proxy = started(code);
    let both = proxy.folder.path().join("both");
    for _ in 0..3 {
        assert_eq!(proxy.run(&json!({})).1, "[1]\n");
        let begun = Instant::now();
        while !both.exists() {
            assert!(begun.elapsed() < PATIENCE, "it does not say both");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::fs::remove_file(&both).unwrap();
    }
}

fn an_overdue_run_is_ended() {
    let proxy = started("#!/bin/bash\ntrap '' TERM\nread -r line\necho begun\nwhile :; do sleep 1; done\n");
    let begun = Instant::now();
    let body = json!({ "value": {}, "deadline": millis_from_now(SOON) }).to_string();
    assert!(proxy.try_post("/run", &body).is_none(), "the platform has given it up");
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(proxy.run(&json!({})).0, 500);
    let logs = proxy.stop();
    assert_eq!((logs.stdout.as_str(), logs.sentinels), ("begun\n", [1, 1]));
}

fn an_overdue_initialisation_is_ended() {
    let proxy = Proxy::start("actionloop", &[("OW_WAIT_FOR_ACK", "1")]);
    let value =
        json!({ "code": "#!/bin/sh\nsleep 1000\n", "env": { "__OW_DEADLINE": millis_from_now(SOON) } });
    assert!(proxy.try_post("/init", &json!({ "value": value }).to_string()).is_none());
    let ready = "#!/bin/bash\necho '{\"ok\":true}' >&3\nread -r line\n";
    assert_eq!(proxy.init(ready.as_bytes(), true, &Value::Null).0, 200, "another attempt is welcome");
}

fn a_program_for_another_machine_does_not_start() {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(18, 0);
    elf.extend_from_slice(&[0xf3, 0x00]);
    elf.resize(4096, 0);
    let proxy = Proxy::start("actionloop", &[]);
    let (status, body) = proxy.init(&elf, true, &Value::Null);
    assert_eq!(status, 502);
    assert!(body.contains("cannot start action: command exited"), "{body}");
    let proxy = Proxy::start("blackbox", &[]);
    assert_eq!(proxy.init(&elf, true, &Value::Null).0, 200);
    assert_eq!(proxy.run(&json!({})).0, 502);
}
