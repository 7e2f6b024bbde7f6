//! What every container factory must do, on a real kernel.
//!
//! The programs are one shell script, for a runtime that starts an executable anew for every run: arguments on standard
//! input, the last line of standard output is the result. Every factory serves such a runtime, with or without an image.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chasen_entity::exec::Code;
use chasen_entity::response::Answer;
use chasen_entity::{
    ByteSize, ExecutableAction, Invocation, NetworkPolicy, Outcome, Parameter, PayloadLimits, RawJson,
    Response, error_text,
};

use crate::container_factory::InitCode;
use crate::memory::invocation;
use crate::{Container, ContainerFactory, ContainerSpec, CreateError, RunReply};

/// How long anything may take that is not the platform's to bound.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a container is kept frozen.
const FROZEN: Duration = Duration::from_millis(600);
/// How long it runs between two freezes.
const RUNNING: Duration = Duration::from_millis(50);

/// Does what the arguments say.
const PROGRAM: &str = r#"#!/bin/sh
input=$(cat)
case $input in
*'"do":"environment"'*)
    printf '{"greeting":"%s","empty":"%s","action":"%s","id":"%s"}' \
        "$GREETING" "${EMPTY-unset}" "$__OW_ACTION_NAME" "$__OW_ACTIVATION_ID" ;;
*'"do":"say"'*) echo out; echo err >&2; printf '{}' ;;
*'"do":"flood"'*) yes 0123456789 | head -n 300000; printf '{}' ;;
*'"do":"apologise"'*) printf '{"error":"sorry","more":1}' ;;
*'"do":"mumble"'*) echo 'no JSON' ;;
*'"do":"count"'*) echo one >> counted; printf '{"count":%d}' "$(wc -l < counted)" ;;
*'"do":"tick"'*)
    first= widest=0
    while read -r up _ < /proc/uptime; do
        now=${up%.*}${up#*.}
        : "${first:=$now}" "${before:=$now}"
        [ $((now - before)) -gt $widest ] && widest=$((now - before))
        before=$now
        [ $widest -ge 50 ] || [ $((now - first)) -ge 2000 ] && break
        sleep 0.01
    done
    printf '{"gap":%d}' "$widest" ;;
*'"do":"hang"'*) sleep 1000 ;;
*'"do":"grow"'*) x=xxxxxxxx; while :; do x=$x$x; done ;;
*) printf '%s' "$input" ;;
esac
"#;

/// Something that runs.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Kind; `blackbox` for an image.
    pub kind: String,
    /// Image of a blackbox.
    pub image: Option<String>,
    /// Its code, as text.
    pub code: Option<String>,
}

/// What a factory's tests say about it.
#[derive(Default)]
pub struct Samples {
    /// A runtime that starts executables anew for every run; the suite brings the code.
    pub shell: Sample,
    /// Samples whose runtime, not only a process of it, ends while it initialises.
    pub end_in_init: Vec<Sample>,
    /// Samples whose runtime ends while it runs.
    pub end_in_run: Vec<Sample>,
    /// What cannot be had, and a failure of the same sort and words.
    pub refusals: Vec<(ContainerSpec, CreateError)>,
    /// What stopped containers are looked for with.
    pub left: Option<Probe>,
}

/// Asked for what is left in the machine of a container of this name.
pub type Probe = Box<dyn Fn(&str) -> Vec<String> + Send + Sync>;

/// A container and the action that it is for.
struct Guest {
    container: Arc<dyn Container>,
    action: Arc<ExecutableAction>,
    text: Option<String>,
}

/// Containers: created, initialised, run, frozen, ended; and whatever may go wrong with them.
pub async fn container_factory(factory: &dyn ContainerFactory, samples: &Samples) {
    let suite = Suite { factory, samples };
    suite.values().await;
    suite.environment().await;
    suite.logs().await;
    suite.errors().await;
    suite.state_and_company().await;
    suite.freezing().await;
    suite.time().await;
    suite.memory().await;
    suite.ends().await;
    suite.refusals().await;
}

struct Suite<'a> {
    factory: &'a dyn ContainerFactory,
    samples: &'a Samples,
}

impl Suite<'_> {
    async fn guest(&self, sample: &Sample, change: impl FnOnce(&mut ExecutableAction)) -> Guest {
        let mut action = ExecutableAction::clone(&invocation("guest", "hello", &sample.kind, "{}").action);
        action.exec.image.clone_from(&sample.image);
        action.exec.code = sample.code.as_deref().map(stored);
        change(&mut action);
        let spec = ContainerSpec {
            kind: sample.kind.clone(),
            image: sample.image.clone(),
            memory: ByteSize::mb(u64::from(action.limits.memory)),
            network: NetworkPolicy::Internet,
        };
        assert!(self.factory.serves(&spec.kind, spec.image.as_deref()), "{spec:?}");
        let container = self.factory.create(&spec).await.unwrap_or_else(|error| panic!("{spec:?}: {error}"));
        Guest { container, action: Arc::new(action), text: sample.code.clone() }
    }

    /// A container that has the suite's program.
    async fn shell(&self, change: impl FnOnce(&mut ExecutableAction)) -> Guest {
        let sample = Sample { code: Some(PROGRAM.to_owned()), ..self.samples.shell.clone() };
        let guest = self.guest(&sample, change).await;
        let reply = guest.init().await;
        assert!(matches!(reply.answer, Answer::Ok(_)), "{reply:?}");
        assert!(reply.logs.is_empty(), "{reply:?}");
        guest
    }

    /// What goes in comes out: objects, arrays, every character, a megabyte.
    async fn values(&self) {
        let guest = self.shell(|_| {}).await;
        let large = format!(r#"{{"arg":"{}"}}"#, "a".repeat(1_048_561));
        for arguments in ["{}", r#"{"n":1.0e400,"ü":"\u00fc ❄ 𝄞"}"#, r#"["a",{"b":[]}]"#, "[]", &large]
        {
            assert_eq!(guest.result(arguments).await, (Outcome::Success, arguments.to_owned()));
        }
        self.end(guest).await;
    }

    async fn environment(&self) {
        let guest = self.shell(|_| {}).await;
        let call = guest.invocation(r#"{"do":"environment"}"#);
        let (outcome, text) = guest.meaning(&guest.call(&call).await);
        let expected = format!(
            r#"{{"greeting":"good morning","empty":"","action":"/guest/hello","id":"{}"}}"#,
            call.activation_id
        );
        assert_eq!((outcome, text), (Outcome::Success, expected));
        self.end(guest).await;
    }

    /// Lines have their stream and belong to the run that printed them; a limit is kept, and zero keeps nothing.
    async fn logs(&self) {
        let guest = self.shell(|action| action.limits.logs = 1).await;
        // From the first run on a host knows how the ends of its logs can be told.
        assert_eq!(guest.result("{}").await, (Outcome::Success, "{}".to_owned()));
        for _ in 0..3 {
            let reply = guest.run(r#"{"do":"say"}"#).await;
            let mut texts: Vec<&str> = reply.logs.iter().map(|line| &line[31..]).collect();
            texts.sort_unstable();
            assert_eq!(texts, ["stderr: err", "stdout: out"]);
            assert!(reply.logs.iter().all(|line| line[..30].trim_end().ends_with('Z')), "{:?}", reply.logs);
        }
        let flooded = guest.run(r#"{"do":"flood"}"#).await;
        assert_eq!(guest.meaning(&flooded).0, Outcome::Success);
        let length: usize = flooded.logs.iter().map(String::len).sum();
        assert!((500_000..=(1 << 20) + 200).contains(&length), "{length}");
        assert!(flooded.logs.last().unwrap().ends_with(&error_text::logs_truncated(1 << 20)));
        let quiet = guest.run("{}").await;
        assert!(quiet.logs.is_empty(), "{} lines of somebody else", quiet.logs.len());
        self.end(guest).await;
        let silent = self.shell(|action| action.limits.logs = 0).await;
        assert!(silent.run(r#"{"do":"say"}"#).await.logs.is_empty());
        self.end(silent).await;
    }

    async fn errors(&self) {
        let guest = self.shell(|_| {}).await;
        let sorry = (Outcome::ApplicationError, r#"{"error":"sorry"}"#.to_owned());
        assert_eq!(guest.result(r#"{"do":"apologise"}"#).await, sorry);
        let reply = guest.run(r#"{"do":"mumble"}"#).await;
        assert!(matches!(reply.answer, Answer::Refused(_)), "{reply:?}");
        assert_eq!(guest.meaning(&reply).0, Outcome::DeveloperError);
        self.end(guest).await;
    }

    /// Runs of one container share its files, containers share nothing.
    async fn state_and_company(&self) {
        let (first, second) = tokio::join!(self.shell(|_| {}), self.shell(|_| {}));
        assert_ne!(first.container.name(), second.container.name());
        let counted = |count| (Outcome::Success, format!(r#"{{"count":{count}}}"#));
        let count = r#"{"do":"count"}"#;
        assert_eq!(first.result(count).await, counted(1));
        let (again, other) = tokio::join!(first.result(count), second.result(count));
        assert_eq!((again, other), (counted(2), counted(1)));
        self.end(first).await;
        assert_eq!(second.result(count).await, counted(2), "the end of one is not that of another");
        self.end(second).await;
    }

    /// A frozen container stands still and goes on after.
    async fn freezing(&self) {
        let guest = self.shell(|_| {}).await;
        let (outcome, text) = guest.while_it_freezes(guest.result(r#"{"do":"tick"}"#)).await;
        assert_eq!(outcome, Outcome::Success, "{text}");
        let hundredths: u64 = RawJson::parse(text.as_bytes()).unwrap().get("gap").unwrap().read().unwrap();
        assert!(hundredths >= 50, "never stood still for more than {hundredths} hundredths of a second");
        guest.container.freeze().await.unwrap();
        self.end(guest).await;
    }

    /// An overdue run ends with its container, and with nobody else's.
    async fn time(&self) {
        let (mut slow, other) = tokio::join!(self.shell(|_| {}), self.shell(|_| {}));
        // Only now: a slow machine may take longer to start it.
        let mut action = ExecutableAction::clone(&slow.action);
        action.limits.timeout = 1000;
        slow.action = Arc::new(action);
        let reply = slow.run(r#"{"do":"hang"}"#).await;
        assert_eq!(reply.answer, Answer::TimedOut);
        assert!(reply.duration >= Duration::from_millis(1000), "{:?}", reply.duration);
        within(slow.container.exited()).await;
        assert_eq!(other.result("{}").await.0, Outcome::Success);
        self.end(slow).await;
        self.end(other).await;
    }

    async fn memory(&self) {
        let guest = self.shell(|action| action.limits.memory = 128).await;
        let reply = guest.run(r#"{"do":"grow"}"#).await;
        assert_eq!(reply.answer, Answer::OutOfMemory, "{reply:?}");
        self.end(guest).await;
    }

    /// A runtime that ends by itself: the call is told, and whoever waits for the end.
    async fn ends(&self) {
        for sample in &self.samples.end_in_init {
            let guest = self.guest(sample, |_| {}).await;
            assert_eq!(guest.init().await.answer, Answer::Gone, "{sample:?}");
            within(guest.container.exited()).await;
            self.end(guest).await;
        }
        for sample in &self.samples.end_in_run {
            let guest = self.guest(sample, |_| {}).await;
            let reply = guest.init().await;
            assert!(matches!(reply.answer, Answer::Ok(_)), "{sample:?}: {reply:?}");
            assert_eq!(guest.run("{}").await.answer, Answer::Gone, "{sample:?}");
            within(guest.container.exited()).await;
            // It takes no more, and says so before anything is sent.
            let unsent = || panic!("sent to nobody");
            let reply = guest.container.run(&guest.invocation("{}"), 0, &unsent).await;
            assert_eq!(reply.answer, Answer::Gone, "{sample:?}");
            self.end(guest).await;
        }
        let idle = self.shell(|_| {}).await;
        let (ended, ()) = tokio::join!(within(idle.container.exited()), idle.container.stop());
        assert_eq!(ended, ());
        self.end(idle).await;
    }

    async fn refusals(&self) {
        for (spec, expected) in &self.samples.refusals {
            let error = self.factory.create(spec).await.err().unwrap();
            let same = std::mem::discriminant(&error) == std::mem::discriminant(expected);
            assert!(same && error.to_string().contains(&expected.to_string()), "{spec:?}: {error}");
        }
    }

    /// Stops it, twice, and looks for what is left.
    async fn end(&self, guest: Guest) {
        within(guest.container.stop()).await;
        within(guest.container.exited()).await;
        within(guest.container.stop()).await;
        let Some(left) = &self.samples.left else { return };
        let begun = Instant::now();
        loop {
            let left = left(guest.container.name());
            if left.is_empty() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "left of {}: {left:?}", guest.container.name());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Guest {
    fn invocation(&self, arguments: &str) -> Invocation {
        let mut call = Invocation {
            action: Arc::clone(&self.action),
            ..invocation("guest", "hello", &self.action.exec.kind, arguments)
        };
        for (key, value) in [("GREETING", "\"good morning\""), ("EMPTY", "\"\"")] {
            let value = RawJson::parse(value.as_bytes()).unwrap();
            call.init_parameters.insert(Parameter {
                key: key.to_owned(),
                value,
                init: true,
                encryption: None,
            });
        }
        call
    }

    async fn init(&self) -> RunReply {
        let code = InitCode { action: Arc::clone(&self.action), text: self.text.clone().map(Into::into) };
        self.container.init(&self.invocation("{}"), code).await
    }

    async fn call(&self, call: &Invocation) -> RunReply {
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + self.limit();
        self.container.run(call, u64::try_from(deadline.as_millis()).unwrap(), &|| {}).await
    }

    async fn run(&self, arguments: &str) -> RunReply {
        self.call(&self.invocation(arguments)).await
    }

    async fn result(&self, arguments: &str) -> (Outcome, String) {
        self.meaning(&self.run(arguments).await)
    }

    /// The container is frozen and thawed again and again until the work is done.
    async fn while_it_freezes<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(RUNNING) => {}
            }
            self.container.freeze().await.unwrap();
            tokio::time::sleep(FROZEN).await;
            self.container.thaw().await.unwrap();
        }
    }

    /// What a record says of a reply.
    fn meaning(&self, reply: &RunReply) -> (Outcome, String) {
        let response = Response::of_run(reply.answer.clone(), self.limit(), &PayloadLimits::default());
        (response.outcome, response.result.unwrap().as_str().trim_end().to_owned())
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(u64::from(self.action.limits.timeout))
    }
}

/// The code as it would be stored: texts that differ have digests that differ.
fn stored(text: &str) -> Code {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Code { digest: format!("{:064x}", hasher.finish()), length: text.len() as u64 }
}

async fn within(work: impl Future<Output = ()>) {
    assert!(tokio::time::timeout(PATIENCE, work).await.is_ok(), "it took longer than {PATIENCE:?}");
}
