//! The initialisation: code laid out, then loaded by a launcher or started itself.

use std::path::PathBuf;
use std::sync::Arc;

use chasen_entity::error_text::runtime::{
    ALREADY_INITIALIZED, CANNOT_START, MISSING_CODE, NO_BINARY, NOT_STARTED, UNREADABLE,
};
use chasen_runtime::code::{Shape, UnpackError, is_executable};
use chasen_runtime::connection::Reply;
use chasen_runtime::personality::Personality;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::{Action, END_GRACE, error_of, time_left};
use crate::answer::{Answer, Outcome, Silence};
use crate::code::{self, Code, Placed};
use crate::compiler;
use crate::environment::{from_object, json_error};
use crate::instance::{Instance, KEEP, NotStarted};
use crate::kind::Launcher;
use crate::manners::Manners;

/// The body of an initialisation.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Init {
    value: Option<Map<String, Value>>,
}

/// Why there was none.
enum Failure {
    /// The caller is told.
    Refused(Refusal),
    /// The server behind the proxy has ended.
    Silent,
}

/// Status, text for the caller, and whether sentinels follow.
struct Refusal {
    status: u16,
    text: String,
    mark: bool,
}

/// Why there is no executable, or none that runs.
enum NoExecutable {
    /// What the compiler says.
    Words(String),
    NotStarted(NotStarted),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Action {
    /// `POST /init`.
    pub(crate) async fn init(self: &Arc<Self>, body: &[u8]) -> Outcome {
        let _turn = self.beginning.lock().await;
        let parsed = serde_json::from_slice::<Init>(body);
        let env =
            parsed.as_ref().ok().and_then(|init| init.value.as_ref()).and_then(|value| value.get("env"));
        let limit = time_left(env.and_then(|env| env.get("__OW_DEADLINE")));
        let work = async {
            let init = parsed.map_err(|error| json_error(body, &error));
            match self.settings.kind.launcher {
                Launcher::Action => self.init_action(init).await,
                Launcher::Frames(_) | Launcher::Native => self.init_launcher(init, body).await,
            }
        };
        let done = timeout(limit, work).await.unwrap_or_else(|_| {
            let loading = self.state.lock().instance.clone();
            loading.iter().for_each(|instance| self.give_up(instance));
            Err(Failure::Silent)
        });
        match done {
            Ok(()) => {
                self.state.lock().initialized = true;
                let body = self.personality().initialized().as_bytes().to_vec();
                Ok(Answer::new(200, body.into()))
            }
            Err(Failure::Refused(refused)) => {
                self.output.finish(refused.mark).await;
                Ok(Answer::new(refused.status, self.personality().error_body(&refused.text).into()))
            }
            Err(Failure::Silent) => {
                self.output.finish(true).await;
                Err(Silence)
            }
        }
    }

    /// Starts the action's own executable.
    async fn init_action(self: &Arc<Self>, init: Result<Init, String>) -> Result<(), Failure> {
        let refuse = |status, text: &str| Err(Refusal { status, text: text.to_owned(), mark: false }.into());
        if self.is_initialized() && !self.settings.allow_again {
            self.output.complain(ALREADY_INITIALIZED).await;
            return refuse(403, ALREADY_INITIALIZED);
        }
        let mut value = match init {
            Ok(init) => init.value.unwrap_or_default(),
            Err(why) => return refuse(400, &format!("{UNREADABLE}{why}")),
        };
        let text = match value.remove("code") {
            Some(Value::String(text)) if !text.is_empty() => text,
            _ => return refuse(403, MISSING_CODE),
        };
        let main =
            value.get("main").and_then(Value::as_str).filter(|main| !main.is_empty()).unwrap_or("main");
        let mut env = self.settings.child.clone();
        if let Some(Value::Object(given)) = value.get("env") {
            env.extend(from_object(given));
        }
        let placed = self.place(text, is_true(value.get("binary")), "src").await?;
        let built = compiler::build(&placed, main, &env, &self.settings, &self.children).await;
        let started = match built {
            Ok(folder) => Instance::execute(&folder, &env, &self.settings, &self.children, &self.output)
                .await
                .map_err(NoExecutable::NotStarted),
            Err(words) => Err(NoExecutable::Words(words)),
        };
        match started {
            Ok(instance) => {
                let former = self.state.lock().instance.replace(Arc::new(instance));
                former.iter().for_each(|former| former.process.kill());
                Ok(())
            }
            Err(why) => {
                if !self.settings.debug {
                    placed.own.iter().for_each(|own| code::remove(own));
                }
                Err(self.report(why).await.into())
            }
        }
    }

    /// Has a launcher load the action. What is wrong with the request is mostly for the launcher to say.
    async fn init_launcher(self: &Arc<Self>, init: Result<Init, String>, body: &[u8]) -> Result<(), Failure> {
        if self.is_initialized() && self.settings.allow_again {
            self.lose();
        }
        let again = self.is_initialized();
        if again && self.state.lock().instance.is_none() {
            self.output.complain(ALREADY_INITIALIZED).await;
            return Err(self.refusal(ALREADY_INITIALIZED.to_owned()).into());
        }
        let instance = match self.launcher().await {
            Ok(Some(instance)) => instance,
            Ok(None) => return Err(Failure::Silent),
            Err(why) => {
                self.output.complain(&why).await;
                return Err(self.refusal(NOT_STARTED.to_owned()).into());
            }
        };
        let (payload, own) = match init {
            // It knows of no code that it may load.
            _ if again => (b"{}".to_vec(), None),
            Err(why) if self.personality().is_action_loop() => {
                return Err(self.refusal(format!("{UNREADABLE}{why}")).into());
            }
            Err(_) => (body.to_vec(), None),
            Ok(init) => self.init_frame(init.value.unwrap_or_default()).await?,
        };
        let failure = match instance.init(&payload).await {
            Ok(Reply::Initialized) => return Ok(()),
            Ok(Reply::Result(body) | Reply::DeveloperError(body)) => {
                let text = error_of(&body);
                if text == NOT_STARTED {
                    // It says so on its way out.
                    let _ = timeout(END_GRACE, instance.process.exited()).await;
                }
                self.refusal(text).into()
            }
            Err(broken) => {
                self.after_break(&instance, &broken).await;
                self.personality()
                    .ended_in_init()
                    .map_or(Failure::Silent, |text| Failure::Refused(self.refusal(text)))
            }
        };
        own.iter().for_each(|own| code::remove(own));
        Err(failure)
    }

    /// A refusal with what belongs to its text.
    fn refusal(&self, text: String) -> Refusal {
        let status = self.personality().status(&text);
        Refusal { status, mark: self.personality().marks_refused_init(status, &text), text }
    }

    /// The payload of an `Init` frame, with the code laid out where it says, and the folder to remove if that fails.
    async fn init_frame(&self, mut value: Map<String, Value>) -> Result<(Vec<u8>, Option<PathBuf>), Refusal> {
        let text = match value.remove("code") {
            // Those images look for both.
            Some(Value::String(_))
                if self.personality() == Personality::DotNet && !value.contains_key("binary") =>
            {
                String::new()
            }
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let binary = is_true(value.get("binary"));
        let placed = if !text.is_empty() {
            self.place(text, binary, "bin").await?
        } else {
            let folder = match self.personality() {
                // What the image brought.
                Personality::Skeleton => self.settings.actions.clone(),
                // Nothing is there for the launcher to take for code.
                _ => self.settings.actions.join("none"),
            };
            Placed { own: None, folder, shape: Shape::Source }
        };
        let is_binary = match placed.shape {
            Shape::Source => false,
            Shape::Archive => true,
            Shape::Executable => is_executable(&placed.folder),
        };
        value.insert("path".to_owned(), placed.folder.to_string_lossy().into_owned().into());
        value.insert("binary".to_owned(), is_binary.into());
        value.insert("maxPayload".to_owned(), KEEP.into());
        let mut frame = Map::new();
        frame.insert("value".to_owned(), Value::Object(value));
        Ok((Value::Object(frame).to_string().into_bytes(), placed.own))
    }

    async fn place(&self, text: String, binary: bool, name: &'static str) -> Result<Placed, Refusal> {
        let personality = self.personality();
        let (actions, jar) = (self.settings.actions.clone(), self.settings.save_jar.clone());
        let work = move || -> Result<Placed, UnpackError> {
            let code = Code::from_text(text, binary)?;
            if personality == Personality::Skeleton {
                return code.place_over(&actions);
            }
            code.place(&actions, name, jar.as_deref())
        };
        let why = match tokio::task::spawn_blocking(work).await {
            Ok(Ok(placed)) => match personality.check_shape(placed.shape, &placed.folder) {
                Ok(()) => return Ok(placed),
                Err(why) => why.to_owned(),
            },
            Ok(Err(UnpackError::Code(bad))) => bad.to_string(),
            Ok(Err(UnpackError::Disk(error))) => {
                let folder = self.settings.actions.display();
                let text = format!(
                    "the code cannot be written below {folder} ({error}): the folder must be writable and the disk not full"
                );
                return Err(Refusal { status: 502, text, mark: true });
            }
            Err(error) => error.to_string(),
        };
        let texts = personality.bad_code(&why);
        if let Some(log) = texts.log {
            self.output.complain(&log).await;
        }
        Err(self.refusal(texts.answer))
    }

    /// Says why there is no executable: in the answer, or in the log where the image wants that.
    async fn report(&self, why: NoExecutable) -> Refusal {
        let logged = self.settings.log_init_error;
        let (text, generic, complaints) = match why {
            NoExecutable::Words(words) => (words, NO_BINARY, Vec::new()),
            NoExecutable::NotStarted(NotStarted { why, notes: (notes, complaints) }) => {
                for note in notes {
                    self.output.print(&note).await;
                }
                let text = if logged { why } else { format!("{CANNOT_START}{why}") };
                (text, NOT_STARTED, complaints)
            }
        };
        if !logged {
            return Refusal { status: 502, text, mark: false };
        }
        for complaint in complaints.iter().chain([&text]) {
            self.output.complain(complaint.trim_end()).await;
        }
        Refusal { status: 502, text: generic.to_owned(), mark: true }
    }
}

/// True for `true` and for `"true"`.
fn is_true(value: Option<&Value>) -> bool {
    value.is_some_and(|value| value.as_bool() == Some(true) || value.as_str() == Some("true"))
}
