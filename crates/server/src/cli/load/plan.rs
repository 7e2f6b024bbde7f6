//! What is to be done, from what was typed, the load file and the properties; what was typed goes first.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chasen_loadgen::{Api, LoadFile, MAX_BODY, Pace, Plan, RecordCheck, Stage, Target};
use rustls::ClientConfig;

use super::super::admin::given_or_from_stdin;
use super::super::api::{DEFAULT_HOST, no_key};
use super::super::properties::Properties;
use super::super::{Failure, usage};
use super::grammar::{LoadArgs, PaceArgs};

const DURATION: Duration = Duration::from_secs(10);
/// Bound on the time of runs that end after a number of requests.
const LONGEST: Duration = Duration::from_hours(1);
const CLOSED_CLIENTS: u32 = 8;
const OPEN_CLIENTS: u32 = 256;

/// A run, and what is looked at afterwards.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) title: String,
    pub(super) plan: Plan,
    pub(super) check: Option<RecordCheck>,
    pub(super) max_error_rate: Option<f64>,
    pub(super) max_p99: Option<Duration>,
}

impl Job {
    pub(super) fn new(args: &LoadArgs, properties: &Properties) -> Result<Self, Failure> {
        let api = api(args, properties)?;
        let file = match &args.file {
            Some(path) => LoadFile::read(path).map_err(usage)?,
            None => LoadFile::default(),
        };
        let (title, targets) = match &args.file {
            Some(path) => (path.display().to_string(), file.targets(&api).map_err(usage)?),
            None => {
                let target = target(args, &api)?;
                (target.name.clone(), vec![target])
            }
        };
        let mut plan = Plan::new(targets, pace(&args.pace, &file)?, DURATION);
        let pace = &args.pace;
        plan.requests = pace.requests.or(file.requests);
        let default = if plan.requests.is_some() { LONGEST } else { DURATION };
        plan.duration = pace.duration.or(file.duration).unwrap_or(default);
        plan.warm_up = pace.warm_up.or(file.warm_up).unwrap_or_default();
        plan.timeout = pace.timeout.or(file.timeout).unwrap_or(plan.timeout);
        plan.threads = pace.threads.or(file.threads).unwrap_or(plan.threads);
        plan.keep_alive = !pace.no_keep_alive && file.keep_alive.unwrap_or(true);
        plan.seed = pace.seed.or(file.seed).unwrap_or(plan.seed);
        plan.collect_ids = args.check;
        plan.tls = tls(args, &plan.targets)?;
        plan.check().map_err(usage)?;
        let check = args.check.then(|| {
            let mut check = api.record_check().ok_or_else(no_key)?;
            check.tls.clone_from(&plan.tls);
            check.wait = args.check_wait.unwrap_or(check.wait);
            Ok::<_, Failure>(check)
        });
        let max_error_rate = args.max_error_rate.or(file.max_error_rate);
        if let Some(share) = max_error_rate.filter(|share| !(0.0..=1.0).contains(share)) {
            return Err(Failure::Usage(format!("the share of errors may be 0 to 1, not {share}")));
        }
        let max_p99 = args.max_p99.or(file.max_p99);
        Ok(Self { title, plan, check: check.transpose()?, max_error_rate, max_p99 })
    }
}

/// What handshakes are made with, if anybody is asked at `https`.
fn tls(args: &LoadArgs, targets: &[Target]) -> Result<Option<Arc<ClientConfig>>, Failure> {
    let is_needed = targets.iter().any(|target| target.authority().is_encrypted());
    let config = is_needed.then(|| args.client.trust()?.config().map_err(Failure::Usage));
    Ok(config.transpose()?.map(Arc::new))
}

/// The API and its key. With --target the API is where that is, and a key of the properties goes there only if it is
/// their host, too.
fn api(args: &LoadArgs, properties: &Properties) -> Result<Api, Failure> {
    let typed = args.client.api.credentials.as_deref().map(given_or_from_stdin).transpose()?;
    let known = args.client.api.apihost.as_deref().or(properties.host.as_deref()).unwrap_or(DEFAULT_HOST);
    let Some(url) = &args.target else {
        return Api::new(known, typed.as_deref().or(properties.key.as_deref())).map_err(usage);
    };
    let target = Target::new("GET", url).map_err(usage)?;
    let own = Api::new(&target.authority().origin(), typed.as_deref()).map_err(usage)?;
    match Api::new(known, properties.key.as_deref()) {
        Ok(api) if typed.is_none() && api.is_at(target.authority()) => Ok(api),
        _ => Ok(own),
    }
}

/// The one target that was typed.
fn target(args: &LoadArgs, api: &Api) -> Result<Target, Failure> {
    let body = match (&args.body, &args.body_file) {
        (Some(text), _) => Some(text.as_bytes().to_vec()),
        (None, Some(path)) => Some(read_body(path)?),
        (None, None) => None,
    };
    let default = if body.is_some() { "POST" } else { "GET" };
    let method = args.method.as_deref().unwrap_or(default);
    let needs_key = args.action.is_some() || args.trigger.is_some();
    if needs_key && !api.has_key() {
        return Err(no_key());
    }
    let target = match (&args.action, &args.trigger, &args.web, &args.target) {
        (Some(action), ..) => api.invoke(action, !args.non_blocking),
        (_, Some(trigger), ..) => api.fire(trigger),
        (.., Some(path), _) => api.web(method, path),
        (.., url) => Target::new(method, url.as_deref().unwrap_or_default()),
    };
    let mut target = target.map_err(usage)?;
    for header in &args.headers {
        let (name, value) = header.split_once(':').ok_or_else(|| {
            // The whole may be a secret value.
            Failure::Usage("a header is written as 'NAME: VALUE'".to_owned())
        })?;
        target = target.header(name.trim(), value.trim()).map_err(usage)?;
    }
    if let Some(body) = body {
        target = target.body(body).map_err(usage)?;
    }
    if args.target.is_some() { api.authorized(target).map_err(usage) } else { Ok(target) }
}

fn read_body(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |why: String| Failure::Usage(format!("{} cannot be read: {why}", path.display()));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(MAX_BODY as u64 + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() > MAX_BODY {
        return Err(failed(format!("it has more than {MAX_BODY} bytes")));
    }
    Ok(bytes)
}

/// Open or closed: what was typed decides, then the file; without either there are a few clients.
fn pace(typed: &PaceArgs, file: &LoadFile) -> Result<Pace, Failure> {
    let (stages, is_rate) = match stages(typed)? {
        Some(typed) => typed,
        None if typed.rate.is_some() => (Vec::new(), false),
        None => match file.stages().map_err(usage)? {
            Some(_) if typed.duration.is_some() => {
                let why = "the stages of the file have durations of their own: leave out --duration, or give --rate too";
                return Err(Failure::Usage(why.to_owned()));
            }
            stages => stages.unwrap_or_default(),
        },
    };
    let rate = typed.rate.or(if stages.is_empty() { file.rate } else { None });
    let clients = typed.clients.or(file.clients);
    if is_rate || rate.is_some() {
        let (rate, clients) = (rate.unwrap_or_default(), clients.unwrap_or(OPEN_CLIENTS));
        return Ok(Pace::Open { stages, rate, clients });
    }
    let peak = stages.iter().map(|stage| stage.to).fold(0.0, f64::max) as u32;
    let default = if stages.is_empty() { CLOSED_CLIENTS } else { peak };
    Ok(Pace::Closed { clients: clients.unwrap_or(default).max(peak), stages })
}

/// The stages that were typed, and whether they are rates.
fn stages(typed: &PaceArgs) -> Result<Option<(Vec<Stage>, bool)>, Failure> {
    let Some(first) = typed.stages.first() else { return Ok(None) };
    if typed.stages.iter().any(|stage| stage.is_rate != first.is_rate) {
        return Err(Failure::Usage("stages are rates (500/s) or clients (64), not both".to_owned()));
    }
    let stages = typed.stages.iter().map(|stage| Stage { duration: stage.duration, to: stage.to });
    Ok(Some((stages.collect(), first.is_rate)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::super::grammar::{Cli, Command};
    use super::*;

    fn job(words: &[&str]) -> Result<Job, String> {
        let properties =
            Properties { host: Some("http://127.0.0.1:1".to_owned()), key: Some("c:d".to_owned()) };
        let words = ["chasen", "load"].iter().chain(words);
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Command::Load(args) => Job::new(&args, &properties).map_err(|failure| failure.to_string()),
            _ => Err("another command".to_owned()),
        }
    }

    const URL: [&str; 2] = ["--target", "http://127.0.0.1:1/x"];

    #[test]
    fn words_become_a_plan() {
        let plan = |words: &[&str]| job(&[&URL[..], words].concat()).unwrap().plan;
        assert_eq!(plan(&[]).pace, Pace::closed(8));
        assert_eq!(plan(&["--clients", "3"]).pace, Pace::closed(3));
        assert_eq!(plan(&["--rate", "50"]).pace, Pace::open(50.0));
        let ramp = plan(&["--stage", "0s:1", "--stage", "5s:40"]);
        assert_eq!((ramp.pace.clients(), ramp.length()), (40, Duration::from_secs(5)));
        assert!(plan(&["--stage", "5s:40/s"]).pace.is_open());
        assert_eq!(plan(&["--requests", "5"]).duration, LONGEST);
    }

    #[test]
    fn stages_of_a_file_are_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("load.json");
        let text = r#"{"targets": [{"url": "http://h/"}], "stages": [{"duration": "4s", "rate": 7}]}"#;
        std::fs::write(&path, text).unwrap();
        let with = |words: &[&str]| job(&[&[path.to_str().unwrap()], words].concat()).map(|job| job.plan);
        let whole = with(&[]).unwrap();
        assert!(whole.pace.is_open() && whole.length() == Duration::from_secs(4));
        let replaced = with(&["--rate", "3", "--duration", "2s"]).unwrap();
        assert_eq!((replaced.pace.clone(), replaced.length()), (Pace::open(3.0), Duration::from_secs(2)));
        assert!(with(&["--duration", "2s"]).unwrap_err().contains("durations of their own"));
    }

    #[test]
    fn a_key_of_the_properties_goes_to_their_host_only() {
        for (words, has_key) in [
            (&["--target", "http://127.0.0.1:1/x"][..], true),
            (&["--target", "http://127.0.0.1:2/x"], false),
            (&["--target", "http://127.0.0.1:2/x", "--auth", "a:b"], true),
            (&["--action", "hello"], true),
            (&["--web", "guest/default/x"], false),
        ] {
            let plan = job(words).unwrap().plan;
            assert!(
                plan.targets.iter().all(|target| target.has_header("Authorization") == has_key),
                "{words:?}"
            );
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_an_error_of_usage() {
        for words in [
            &["--clients", "0"][..],
            &["--clients", "1000000"],
            &["--rate", "0"],
            &["--rate", "NaN"],
            &["--rate", "1e12"],
            &["--duration", "0s"],
            &["--duration", "900h"],
            &["--timeout", "0ms"],
            &["--requests", "0"],
            &["--threads", "1000"],
            &["--stage", "1s:5", "--stage", "1s:5/s"],
            &["--stage", "1s:0"],
            &["--max-error-rate", "1.5"],
            &["--header", "nonsense"],
            &["--body-file", "/nonexistent/body"],
            &["--action", "both"],
        ] {
            assert!(job(&[&URL[..], words].concat()).is_err(), "{words:?}");
        }
        assert!(job(&[]).is_err());
        assert!(job(&["--target", "https://h/", "--cacert", "/nonexistent/authority"]).is_err());
    }

    #[test]
    fn handshakes_are_made_where_somebody_is_asked_at_https() {
        assert!(job(&URL).unwrap().plan.tls.is_none());
        let encrypted = job(&["--target", "https://h/", "-i", "--check", "--auth", "a:b"]).unwrap();
        assert!(encrypted.plan.tls.is_some() && encrypted.check.unwrap().tls.is_some());
        assert!(encrypted.plan.targets[0].has_header("Authorization"));
    }
}
