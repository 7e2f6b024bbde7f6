//! Runs in closed and open loop: every request is counted once, as what it was.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chasen_loadgen::{ErrorClass, Halt, Measured, Pace, Plan, RunError, Stage, Target, run};

use crate::server::{Server, reply, say};

const SHORT: Duration = Duration::from_millis(400);
/// Long enough for some replies on however busy a machine.
const AMPLE: Duration = Duration::from_secs(3);
/// A bound that no test should meet.
const LONG: Duration = Duration::from_secs(120);

fn plan(server: &Server, pace: Pace, duration: Duration) -> Plan {
    Plan::new(vec![Target::new("GET", &server.url("/")).unwrap()], pace, duration)
}

fn measure(plan: &Plan) -> Measured {
    run(plan, &Halt::default(), |_| {}).unwrap()
}

fn failures(measured: &Measured, class: ErrorClass) -> u64 {
    measured.failures.iter().find(|(found, _)| *found == class).map_or(0, |(_, count)| *count)
}

#[test]
fn a_closed_loop_keeps_its_connections_and_counts_every_reply_once() {
    let server = Server::start(|_, _, stream| say(stream, &reply("200 OK", "", "hello")));
    let mut plan = plan(&server, Pace::closed(3), LONG);
    plan.requests = Some(1000);
    let measured = measure(&plan);
    assert_eq!((measured.successes(), measured.errors()), (1000, 0));
    assert_eq!(measured.statuses, [(200, 1000)]);
    assert_eq!(server.requests.load(Ordering::SeqCst), 1000);
    // Where the others were quicker, a client has nothing left to connect for.
    assert!((1..=3).contains(&measured.connections), "{}", measured.connections);
    assert!(measured.rate() > 0.0 && measured.length < LONG);
    assert_eq!(measured.slices.iter().map(|slice| slice.successes).sum::<u64>(), 1000);
}

#[test]
fn progress_tells_whole_slices_only() {
    let server = Server::start(|_, _, stream| say(stream, &reply("200 OK", "", "hello")));
    let mut plan = plan(&server, Pace::closed(2), LONG);
    plan.requests = Some(20);
    let begun = Instant::now();
    let over = |tick: &chasen_loadgen::Tick| tick.slice.begin + tick.slice.length;
    let measured = run(&plan, &Halt::default(), |tick| assert!(over(tick) <= begun.elapsed())).unwrap();
    assert_eq!(measured.successes(), 20);
}

#[test]
fn without_keep_alive_every_request_has_its_connection() {
    let server = Server::start(|head, _, stream| {
        assert!(head.contains("Connection: close"), "{head}");
        say(stream, &reply("200 OK", "Connection: close\r\n", "x"));
        false
    });
    let mut plan = plan(&server, Pace::closed(2), LONG);
    (plan.requests, plan.keep_alive) = (Some(50), false);
    let measured = measure(&plan);
    assert_eq!((measured.successes(), measured.errors(), measured.connections), (50, 0, 50));
}

#[test]
fn chunks_bodies_until_close_and_heads_in_two_pieces_are_replies() {
    let turn = AtomicU64::new(0);
    let server = Server::start(move |_, _, stream| match turn.fetch_add(1, Ordering::SeqCst) % 4 {
        0 => say(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        1 => say(stream, "HTTP/1.1 100 Continue\r\n\r\n") && say(stream, &reply("201 Created", "", "")),
        2 => {
            say(stream, "HTTP/1.1 200 OK\r\n\r\nuntil the end");
            false
        }
        _ => say(stream, "HTTP/1.1 204 No Con") && say(stream, "tent\r\n\r\n"),
    });
    let mut plan = plan(&server, Pace::closed(1), LONG);
    plan.requests = Some(400);
    let measured = measure(&plan);
    assert_eq!(measured.statuses, [(200, 200), (201, 100), (204, 100)]);
    assert_eq!(measured.errors(), 0, "{:?}", measured.examples);
}

#[test]
fn large_bodies_go_out_whole() {
    let server = Server::start(|_, body, stream| {
        let is_whole = body.len() == 5_000_000 && body.iter().all(|byte| *byte == b'x');
        say(stream, &reply(if is_whole { "200 OK" } else { "400 Bad Request" }, "", ""))
    });
    let mut plan = plan(&server, Pace::closed(2), LONG);
    plan.targets = vec![Target::new("POST", &server.url("/")).unwrap().body(vec![b'x'; 5_000_000]).unwrap()];
    plan.requests = Some(6);
    assert_eq!(measure(&plan).statuses, [(200, 6)]);
}

#[test]
fn errors_are_told_apart_with_an_example_each() {
    let turn = AtomicU64::new(0);
    let server = Server::start(move |_, _, stream| match turn.fetch_add(1, Ordering::SeqCst) % 4 {
        0 => say(stream, &reply("429 Too Many", "", "slow down")),
        1 => {
            say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
            false
        }
        2 => {
            say(stream, "SMTP ready\r\n\r\n");
            false
        }
        _ => say(stream, &reply("200 OK", "", "")),
    });
    let mut plan = plan(&server, Pace::closed(1), LONG);
    plan.requests = Some(40);
    let measured = measure(&plan);
    assert_eq!((measured.successes(), measured.errors()), (10, 30));
    assert_eq!(measured.statuses, [(200, 10), (429, 10)]);
    assert_eq!(failures(&measured, ErrorClass::Broken), 20);
    assert!(
        measured.examples.contains(&("status 429".to_owned(), "slow down".to_owned())),
        "{:?}",
        measured.examples
    );
    assert!((measured.error_share() - 0.75).abs() < 1e-9);
}

#[test]
fn silence_is_a_timeout() {
    let server = Server::start(|_, _, _| true);
    let mut plan = plan(&server, Pace::closed(2), LONG);
    (plan.requests, plan.timeout) = (Some(2), Duration::from_millis(150));
    let measured = measure(&plan);
    assert_eq!(failures(&measured, ErrorClass::Timeout), 2);
    assert_eq!(measured.successes(), 0);
}

#[test]
fn targets_are_asked_by_weight_and_on_different_servers() {
    let [one, two] = [(); 2].map(|()| Server::start(|_, _, stream| say(stream, &reply("200 OK", "", ""))));
    let target = |server: &Server, path: &str, weight| {
        Target::new("GET", &server.url(path)).unwrap().weight(weight).unwrap()
    };
    let targets = vec![target(&one, "/a", 1), target(&one, "/b", 2), target(&two, "/c", 7)];
    let mut plan = Plan::new(targets, Pace::closed(4), LONG);
    plan.requests = Some(4000);
    let measured = measure(&plan);
    let counts: Vec<u64> = measured.targets.iter().map(|target| target.successes).collect();
    assert_eq!(counts.iter().sum::<u64>(), 4000);
    for (count, share) in counts.iter().zip([0.1, 0.2, 0.7]) {
        assert!((*count as f64 / 4000.0 - share).abs() < 0.05, "{counts:?}");
    }
    assert_eq!(one.requests.load(Ordering::SeqCst), counts[0] + counts[1]);
}

#[test]
fn an_open_loop_sends_what_is_due_whether_answers_come_or_not() {
    let server = Server::start(|_, _, stream| say(stream, &reply("200 OK", "", "")));
    let measured = measure(&plan(&server, Pace::open(500.0), SHORT));
    assert_eq!(measured.successes() + measured.errors(), 200);
}

#[test]
fn a_server_that_stands_still_makes_everything_late_that_was_due() {
    let turn = AtomicU64::new(0);
    let server = Server::start(move |_, _, stream| {
        if turn.fetch_add(1, Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(300));
        }
        say(stream, &reply("200 OK", "", ""))
    });
    let mut plan =
        plan(&server, Pace::Open { stages: Vec::new(), rate: 100.0, clients: 1 }, Duration::from_millis(600));
    plan.threads = 1;
    let measured = measure(&plan);
    // With coordinated omission one request would be late; here all are that were due while nothing moved.
    let late = measured.latencies.count_between(50_000_000, u64::MAX / 4);
    let unsent = failures(&measured, ErrorClass::Unsent);
    assert!(late + unsent >= 20, "{late} of {}, {unsent} unsent", measured.successes());
}

#[test]
fn what_is_due_and_cannot_be_sent_is_told() {
    let server = Server::start(|_, _, stream| {
        std::thread::sleep(SHORT * 2);
        say(stream, &reply("200 OK", "", ""))
    });
    let measured = measure(&plan(&server, Pace::Open { stages: Vec::new(), rate: 100.0, clients: 1 }, SHORT));
    let unsent = failures(&measured, ErrorClass::Unsent);
    assert!(unsent >= 39 && unsent + measured.successes() == 40, "{measured:?}");
}

#[test]
fn ramps_change_the_number_of_clients() {
    let server = Server::start(|_, _, stream| say(stream, &reply("200 OK", "", "")));
    let stages = vec![Stage { duration: Duration::ZERO, to: 1.0 }, Stage { duration: AMPLE, to: 6.0 }];
    let measured = measure(&plan(&server, Pace::Closed { stages, clients: 6 }, AMPLE));
    assert!(measured.errors() == 0 && measured.successes() > 0);
    assert!((2..=6).contains(&measured.connections), "{}", measured.connections);
}

#[test]
fn the_warm_up_is_not_counted() {
    let server = Server::start(|_, _, stream| say(stream, &reply("200 OK", "", "")));
    let mut plan = plan(&server, Pace::closed(1), AMPLE);
    plan.warm_up = SHORT;
    let measured = measure(&plan);
    let asked = server.requests.load(Ordering::SeqCst);
    assert!(measured.successes() > 0 && measured.successes() < asked, "{} of {asked}", measured.successes());
    assert_eq!(measured.length, AMPLE);
}

#[test]
fn ids_of_activations_are_collected() {
    let next = AtomicU64::new(1);
    let server = Server::start(move |_, _, stream| {
        let id = next.fetch_add(1, Ordering::SeqCst);
        say(stream, &reply("202 Accepted", &format!("x-openwhisk-activation-id: {id:032x}\r\n"), ""))
    });
    let mut plan = plan(&server, Pace::closed(4), LONG);
    (plan.requests, plan.collect_ids) = (Some(100), true);
    let mut ids = measure(&plan).ids;
    ids.sort_unstable();
    assert_eq!(ids, (1..=100).collect::<Vec<u128>>());
}

#[test]
fn nobody_there_is_told_before_anything_is_sent() {
    // A port that the system gives to nobody, and so to no test beside this one.
    let closed = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let target = Target::new("GET", &format!("http://{closed}/")).unwrap();
    let error = run(&Plan::new(vec![target], Pace::closed(8), LONG), &Halt::default(), |_| {}).unwrap_err();
    assert!(
        matches!(error, RunError::Unreachable(_)) && error.to_string().contains(&closed.to_string()),
        "{error}"
    );
}

#[test]
fn a_server_that_goes_away_is_a_few_errors_not_thousands() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Accepts the look at whether it is there, and is gone.
    let gone = std::thread::spawn(move || drop(listener.accept()));
    let target = Target::new("GET", &format!("http://{address}/")).unwrap();
    let mut plan = Plan::new(vec![target], Pace::closed(2), AMPLE);
    plan.timeout = SHORT;
    let measured = measure(&plan);
    gone.join().unwrap();
    assert!((1..=150).contains(&measured.errors()), "{measured:?}");
}

#[test]
fn a_stopped_run_gives_what_it_has() {
    let server = Server::start(|_, _, stream| say(stream, &reply("200 OK", "", "")));
    let plan = plan(&server, Pace::closed(2), LONG);
    let (halt, begun) = (Halt::default(), Instant::now());
    let stopper = halt.clone();
    let measured = run(&plan, &halt, |tick| {
        if tick.successes > 0 {
            stopper.stop();
        }
    })
    .unwrap();
    assert!(measured.stopped && measured.successes() > 0 && begun.elapsed() < LONG);
    assert!(measured.length < LONG && measured.rate() > 0.0);
}
