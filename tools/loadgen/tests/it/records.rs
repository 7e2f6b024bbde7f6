//! The look for records: each id until it is there, or the wait is over.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use chasen_loadgen::{CheckError, Halt, RecordCheck, check_records};

use crate::server::{Server, reply, say};

fn check(server: &Server, wait: Duration) -> RecordCheck {
    RecordCheck {
        api: server.url(""),
        authorization: "Basic abc".to_owned(),
        wait,
        connections: 3,
        tls: None,
    }
}

#[test]
fn records_are_waited_for_and_missing_ones_are_listed() {
    let looks: Mutex<HashMap<String, u32>> = Mutex::default();
    let server = Server::start(move |head, _, stream| {
        assert!(head.contains("Authorization: Basic abc"), "{head}");
        let id = head.split("/activations/").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        let mut looks = looks.lock().unwrap();
        let look = looks.entry(id.clone()).or_default();
        *look += 1;
        // Number 5 never appears, every third one is late, and connections end now and then.
        let is_there = !id.ends_with('5') && (*look > 2 || u128::from_str_radix(&id, 16).unwrap() % 3 != 0);
        say(stream, &reply(if is_there { "200 OK" } else { "404 Not Found" }, "", "{}"));
        *look % 2 == 1
    });
    let ids: Vec<u128> = (1..=9).collect();
    let checked =
        check_records(&check(&server, Duration::from_secs(8)), &ids, &Halt::default(), |_| {}).unwrap();
    assert_eq!((checked.found, checked.missing), (8, vec![5]));
}

#[test]
fn every_id_is_looked_for_once_even_without_a_wait() {
    let server = Server::start(|_, _, stream| say(stream, &reply("200 OK", "", "{}")));
    let ids: Vec<u128> = (1..=500).collect();
    let checked = check_records(&check(&server, Duration::ZERO), &ids, &Halt::default(), |_| {}).unwrap();
    assert_eq!((checked.found, checked.missing.len()), (500, 0));
    let none = check_records(&check(&server, Duration::ZERO), &[], &Halt::default(), |_| {}).unwrap();
    assert_eq!((none.found, none.missing.len()), (0, 0));
}

#[test]
fn a_key_that_may_not_read_is_an_error() {
    let server = Server::start(|_, _, stream| say(stream, &reply("401 Unauthorized", "", "")));
    let error =
        check_records(&check(&server, Duration::ZERO), &[1, 2], &Halt::default(), |_| {}).unwrap_err();
    assert!(matches!(error, CheckError::Refused(401)), "{error}");
}

#[test]
fn a_server_that_goes_away_does_not_hold_up_the_end() {
    let server = Server::start(|_, _, _| false);
    let ids: Vec<u128> = (1..=1000).collect();
    let checked = check_records(&check(&server, Duration::ZERO), &ids, &Halt::default(), |_| {}).unwrap();
    assert_eq!((checked.found, checked.missing.len()), (0, 1000));
}
