//! How the end of an activation becomes its record. Pure.

use std::time::Duration;

use chasen_entity::invocation::REPLAY_OF;
use chasen_entity::resource_use::{self, RUN_TIME, START_KIND};
use chasen_entity::{
    Activation, Invocation, Millis, Outcome, Parameters, ResourceUse, Response, StartKind, error_text,
};
use chasen_spi::{Rejection, RunReport, StartFailure};

/// Annotations that a record has at most: room for them is made at once.
const MOST_ANNOTATIONS: usize = 14;

/// How an activation ended.
#[derive(Debug)]
pub(crate) struct Ending {
    /// When its initialisation or run began, epoch milliseconds.
    start: Millis,
    /// Milliseconds of both together.
    duration: u64,
    /// Milliseconds of an initialisation that it waited for.
    init_time: Option<u64>,
    response: Response,
    logs: Vec<String>,
    timed_out: bool,
    /// What it found; `None` if it got no container.
    start_kind: Option<StartKind>,
    /// Time of the run alone.
    run_time: Option<Duration>,
    used: ResourceUse,
}

/// The beginning of a container's life, for the activation that waited for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beginning {
    /// New, or a stem cell.
    pub(crate) kind: StartKind,
    /// How long the initialisation took.
    pub(crate) init_time: Duration,
}

impl Ending {
    /// It ran; with a beginning if it waited for the container's initialisation. The part of that time which
    /// passed before the activation was there is not its own.
    pub(crate) fn ran(invocation: &Invocation, report: RunReport, beginning: Option<Beginning>) -> Self {
        let waited = report.started_at.saturating_sub(invocation.accepted_at);
        let init_time = beginning.map(|beginning| millis(beginning.init_time).min(waited));
        Self {
            start: report.started_at.saturating_sub(init_time.unwrap_or_default()),
            duration: millis(report.duration).saturating_add(init_time.unwrap_or_default()),
            init_time,
            response: report.response,
            logs: report.logs,
            timed_out: report.timed_out,
            start_kind: Some(beginning.map_or(StartKind::Warm, |beginning| beginning.kind)),
            run_time: Some(report.duration),
            used: report.used,
        }
    }

    /// There was no container for it.
    pub(crate) fn not_started(invocation: &Invocation, failure: &StartFailure, now: Millis) -> Self {
        match failure {
            StartFailure::Init { response, init_started_at, init_time, logs, timed_out, start, used } => {
                let init_time = millis(*init_time);
                Self {
                    start: (*init_started_at).max(invocation.accepted_at),
                    duration: init_time,
                    init_time: Some(init_time),
                    response: response.clone(),
                    logs: logs.clone(),
                    timed_out: *timed_out,
                    start_kind: Some(*start),
                    run_time: None,
                    used: *used,
                }
            }
            StartFailure::Provision { response, .. } => Self::without_run(response.clone(), now),
            StartFailure::Draining => Self::interrupted(now),
            StartFailure::Withdrawn => Self::not_provisioned(now),
        }
    }

    /// It waited too long.
    pub(crate) fn not_provisioned(now: Millis) -> Self {
        Self::without_run(Response::error(Outcome::WhiskError, error_text::NOT_PROVISIONED), now)
    }

    /// Its parameters cannot be unlocked.
    pub(crate) fn not_unlocked(now: Millis) -> Self {
        Self::without_run(Response::error(Outcome::WhiskError, error_text::NOT_UNLOCKED), now)
    }

    /// It was accepted, and has no place any more: its kind may not be among those of the platform.
    pub(crate) fn not_placed(why: &Rejection, now: Millis) -> Self {
        let Rejection::NoDomain(kind) = why else { return Self::not_provisioned(now) };
        Self::without_run(Response::error(Outcome::DeveloperError, &error_text::unsupported_kind(kind)), now)
    }

    /// Its containers end as soon as they have taken the action.
    pub(crate) fn exited(now: Millis) -> Self {
        Self::without_run(Response::error(Outcome::DeveloperError, error_text::RUN_EXITED), now)
    }

    /// The platform does not know its end, or stopped it.
    pub(crate) fn interrupted(now: Millis) -> Self {
        Self::without_run(Response::error(Outcome::WhiskError, error_text::INTERRUPTED), now)
    }

    /// Its namespace may not run anything by now.
    pub(crate) fn blacklisted(now: Millis) -> Self {
        Self::without_run(Response::error(Outcome::ApplicationError, error_text::BLACKLISTED), now)
    }

    /// Somebody wanted it to end.
    pub(crate) fn cancelled(now: Millis) -> Self {
        Self::without_run(Response::error(Outcome::ApplicationError, error_text::CANCELLED), now)
    }

    /// True if it is the platform that is to blame.
    pub(crate) fn is_platforms(&self) -> bool {
        self.response.outcome == Outcome::WhiskError
    }

    /// It ran, and was ended because somebody wanted it.
    pub(crate) fn cancel(self) -> Self {
        Self { response: Response::error(Outcome::ApplicationError, error_text::CANCELLED), ..self }
    }

    /// The record of work that its opener has ended because somebody wanted it to.
    pub(crate) fn cancelled_session(record: Activation) -> Activation {
        Activation { response: Response::error(Outcome::ApplicationError, error_text::CANCELLED), ..record }
    }

    /// It ran, and the platform stopped it: what the runtime said is about its container's end.
    pub(crate) fn cut_off(self) -> Self {
        Self { response: Response::error(Outcome::WhiskError, error_text::INTERRUPTED), ..self }
    }

    fn without_run(response: Response, now: Millis) -> Self {
        Self {
            start: now,
            duration: 0,
            init_time: None,
            response,
            logs: Vec::new(),
            timed_out: false,
            start_kind: None,
            run_time: None,
            used: ResourceUse::default(),
        }
    }

    /// The record of this end, written `now`: after the last line of the logs.
    pub(crate) fn into_record(self, invocation: &Invocation, now: Millis) -> Activation {
        let annotations = self.annotations(invocation);
        let end = self.start.saturating_add(self.duration);
        let mut logs = self.logs;
        let limits = &invocation.action.limits;
        if self.used.out_of_memory && limits.logs > 0 {
            let text = error_text::memory_ran_out(limits.memory, self.used.peak_memory);
            logs.push(notice(now, &text));
        }
        if self.response.outcome == Outcome::DeveloperError && limits.logs > 0 {
            logs.push(notice(now, error_text::LOGS_AFTER_DEVELOPER_ERROR));
        }
        Activation { start: self.start, end, logs, annotations, ..Activation::of(invocation, self.response) }
    }

    fn annotations(&self, invocation: &Invocation) -> Parameters {
        let action = &invocation.action;
        let texts = action.texts();
        let mut annotations = Parameters::with_capacity(MOST_ANNOTATIONS);
        annotations.put("path", texts.path.clone());
        annotations.set("waitTime", &self.start.saturating_sub(invocation.accepted_at));
        annotations.put("kind", texts.kind.clone());
        annotations.set("timeout", &self.timed_out);
        annotations.put("limits", texts.limits.clone());
        if let Some(init_time) = self.init_time {
            annotations.set("initTime", &init_time);
        }
        if let Some(kind) = &self.start_kind {
            annotations.set(START_KIND, kind);
        }
        if let Some(time) = self.run_time {
            annotations.set(RUN_TIME, &resource_use::millis(time));
        }
        self.used.annotate(&mut annotations);
        if invocation.cause.is_some() {
            annotations.set("causedBy", "sequence");
        }
        if let Some(binding) = &invocation.binding {
            annotations.set("binding", binding);
        }
        if let Some(earlier) = &invocation.replay_of {
            annotations.set(REPLAY_OF, earlier);
        }
        annotations
    }
}

/// A log line of the platform itself: time padded to 30 columns, stream, text.
fn notice(at: Millis, text: &str) -> String {
    let time = i64::try_from(at).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    let time = format!("{:.3}", time.unwrap_or_default());
    format!("{time:<30} stderr: {text}")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use chasen_entity::{ActivationId, ByteSize};
    use chasen_spi::memory::invocation;

    use super::*;

    fn accepted_at(at: Millis) -> Invocation {
        Invocation { accepted_at: at, ..invocation("guest", "hello", "memory:1", "{}") }
    }

    fn report(started_at: Millis, response: Response) -> RunReport {
        let duration = Duration::from_micros(7_900);
        RunReport {
            started_at,
            duration,
            response,
            logs: Vec::new(),
            timed_out: false,
            container_lives: true,
            used: ResourceUse::default(),
        }
    }

    fn success() -> Response {
        Response { outcome: Outcome::Success, result: None, size: None }
    }

    fn number(record: &Activation, key: &str) -> Option<u64> {
        record.annotations.get(key).map(|value| value.read().unwrap())
    }

    #[test]
    fn times_of_a_cold_start_include_its_initialisation() {
        let invocation = accepted_at(1_000);
        for (what, init, start, duration, wait, init_time) in [
            ("warm", None, 1_100, 7, 100, None),
            ("cold", Some(60), 1_040, 67, 40, Some(60)),
            ("it came while the container was initialised", Some(500), 1_000, 107, 0, Some(100)),
        ] {
            let beginning =
                init.map(|init| Beginning { kind: StartKind::Stem, init_time: Duration::from_millis(init) });
            let ending = Ending::ran(&invocation, report(1_100, success()), beginning);
            let record = ending.into_record(&invocation, 0);
            let found = if init.is_some() { r#""stem""# } else { r#""warm""# };
            assert_eq!(record.annotations.get(START_KIND).unwrap().as_str(), found, "{what}");
            assert_eq!(record.annotations.get(RUN_TIME).unwrap().as_str(), "7.9", "{what}");
            assert_eq!((record.start, record.duration()), (start, Some(duration)), "{what}");
            assert_eq!(number(&record, "waitTime"), Some(wait), "{what}");
            assert_eq!(number(&record, "initTime"), init_time, "{what}");
        }
    }

    #[test]
    fn a_failed_start_is_told_with_its_time_and_its_logs() {
        let invocation = accepted_at(1_000);
        let failure = StartFailure::Init {
            response: Response::error(Outcome::DeveloperError, "no"),
            init_started_at: 1_050,
            init_time: Duration::from_millis(30),
            logs: vec!["a line".to_owned()],
            timed_out: true,
            start: StartKind::Cold,
            used: ResourceUse {
                peak_memory: Some(ByteSize::bytes(268_400_000)),
                cpu_time: None,
                out_of_memory: true,
            },
        };
        let record = Ending::not_started(&invocation, &failure, 2_000).into_record(&invocation, 2_000);
        assert_eq!((record.start, record.end), (1_050, 1_080));
        assert_eq!((number(&record, "waitTime"), number(&record, "initTime")), (Some(50), Some(30)));
        assert_eq!(record.annotations.get("timeout").unwrap().as_str(), "true");
        assert_eq!(record.annotations.get(START_KIND).unwrap().as_str(), r#""cold""#);
        assert_eq!(record.annotations.get(RUN_TIME), None);
        assert_eq!(
            record.logs,
            [
                "a line",
                "1970-01-01T00:00:02.000Z       stderr: Memory ran out and a process of the action was ended: limit 256 MB, peak 256 MB.",
                "1970-01-01T00:00:02.000Z       stderr: The action did not initialize or run as expected. Log data might be missing.",
            ]
        );
    }

    #[test]
    fn an_action_without_logs_gets_no_notice_and_others_errors_none_either() {
        let mut invocation = accepted_at(1_000);
        let whisk = Ending::not_provisioned(2_000).into_record(&invocation, 2_000);
        assert_eq!((whisk.response.outcome, whisk.logs.len()), (Outcome::WhiskError, 0));
        let mut action = chasen_entity::ExecutableAction::clone(&invocation.action);
        action.limits.logs = 0;
        invocation.action = std::sync::Arc::new(action);
        assert_eq!(Ending::exited(2_000).into_record(&invocation, 2_000).logs.len(), 0);
    }

    #[test]
    fn what_a_run_used_is_told_of_one_that_survived_it_too() {
        let invocation = accepted_at(1_000);
        let mut report = report(1_000, success());
        report.used = ResourceUse {
            peak_memory: Some(ByteSize::mb(256)),
            cpu_time: Some(Duration::from_micros(412)),
            out_of_memory: true,
        };
        let used = report.used;
        let record = Ending::ran(&invocation, report, None).into_record(&invocation, 2_000);
        assert_eq!(ResourceUse::of(&record.annotations), used);
        assert_eq!(record.logs.len(), 1);
        assert!(record.logs[0].ends_with("limit 256 MB, peak 256 MB."), "{:?}", record.logs);
        let never = Ending::not_provisioned(2_000).into_record(&invocation, 2_000);
        assert_eq!(never.annotations.get(START_KIND), None, "it had no container");
    }

    #[test]
    fn steps_and_bindings_say_so() {
        let invocation = Invocation {
            cause: Some(ActivationId::from_bytes([3; 16])),
            binding: Some("guest/bound".to_owned()),
            ..accepted_at(1_000)
        };
        let record = Ending::ran(&invocation, report(1_000, success()), None).into_record(&invocation, 0);
        assert_eq!(record.cause, invocation.cause);
        assert_eq!(record.annotations.get("causedBy").unwrap().as_str(), r#""sequence""#);
        assert_eq!(record.annotations.get("binding").unwrap().as_str(), r#""guest/bound""#);
        assert_eq!(record.annotations.get("path").unwrap().as_str(), r#""guest/hello""#);
    }
}
