//! Knative: one route for everything, initialisation from the environment, answers as web actions give them.

mod after;
mod before;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chasen_runtime::personality::Personality;
use http::header::{ALLOW, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use serde_json::json;
use tokio::sync::Mutex;

use crate::action::Action;
use crate::answer::{Answer, Outcome};
use crate::manners::Manners;
use crate::settings::{BadSettings, Variables};
use before::Incoming;

const VARIABLE: &str = "__OW_RUNTIME_PLATFORM";
const OPENWHISK: &str = "openwhisk";
const KNATIVE: &str = "knative";
/// Exit status of a runtime that does not know its platform.
const UNKNOWN_PLATFORM: u8 = 9;
/// What may be asked for; everything else in the list is passed over.
const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS];

/// Who talks to the proxy.
#[derive(Debug)]
pub(crate) enum Platform {
    /// `/init` and `/run`.
    OpenWhisk,
    /// One route.
    Knative(Knative),
}

/// What the environment says about the one route.
#[derive(Debug)]
pub(crate) struct Knative {
    methods: Vec<Method>,
    dedicated: Option<Dedicated>,
    /// True if the action wants its input raw.
    raw: AtomicBool,
    /// Held by the request that initialises: a dedicated action is initialised by the first of many.
    beginning: Mutex<()>,
}

/// The action that a container was built for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Dedicated {
    name: String,
    main: String,
    code: String,
    binary: bool,
}

/// One request, read.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

impl Platform {
    /// Reads the variables that say who it is.
    pub(crate) fn read(personality: Personality, variables: &Variables) -> Result<Self, BadSettings> {
        let given = variables.get(VARIABLE).map_or("", String::as_str);
        let name = if personality == Personality::Node { given.to_owned() } else { given.to_lowercase() };
        match name.as_str() {
            "" | OPENWHISK => Ok(Self::OpenWhisk),
            KNATIVE => Ok(Self::Knative(Knative::read(variables))),
            _ => {
                let why = format!("{VARIABLE} ({given}) is not supported by the runtime.");
                if personality == Personality::Node {
                    return Err(BadSettings { why, exit: UNKNOWN_PLATFORM });
                }
                warn(&format!("{why} Going on as for {OPENWHISK}."));
                Ok(Self::OpenWhisk)
            }
        }
    }
}

/// Before anything is served there is only the standard error.
fn warn(text: &str) {
    // Nobody is left to tell when this fails too.
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Knative {
    fn read(variables: &Variables) -> Self {
        let get = |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
        let flag = |name: &str| get(name).is_some_and(|value| value == "true");
        let dedicated = get("__OW_ACTION_CODE").map(|code| Dedicated {
            name: get("__OW_ACTION_NAME").unwrap_or_default(),
            main: get("__OW_ACTION_MAIN").unwrap_or_else(|| "main".to_owned()),
            code,
            binary: flag("__OW_ACTION_BINARY"),
        });
        let raw = AtomicBool::new(dedicated.is_some() && flag("__OW_ACTION_RAW"));
        Self {
            methods: methods(variables.get("__OW_HTTP_METHODS").map_or("", String::as_str)),
            dedicated,
            raw,
            beginning: Mutex::default(),
        }
    }

    /// Answers a request.
    pub(crate) async fn answer(
        &self,
        action: &Arc<Action>,
        personality: Personality,
        request: Request<'_>,
    ) -> Outcome {
        let refuse = |status, text: &str| Ok(Answer::new(status, personality.error_body(text).into()));
        if request.path != "/" {
            return refuse(404, "There is nothing at this path: every request goes to /.");
        }
        if !self.methods.contains(request.method) {
            let allowed = self.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
            let mut answer = Answer::empty(StatusCode::METHOD_NOT_ALLOWED);
            answer.headers.extend(HeaderValue::from_str(&allowed).ok().map(|allowed| (ALLOW, allowed)));
            return Ok(answer);
        }
        let incoming = match Incoming::read(request.body) {
            Ok(incoming) => incoming,
            Err(why) => return refuse(500, &why),
        };
        let beginning = self.beginning.lock().await;
        let init = match (&self.dedicated, incoming.init()) {
            (Some(_), Some(_)) if personality == Personality::Node => {
                return refuse(500, "internal error during request processing.");
            }
            (Some(_), Some(_)) => {
                return refuse(404, "Cannot initialize a runtime with a dedicated function.");
            }
            (Some(dedicated), None) => (!action.is_initialized()).then(|| dedicated.init_body()),
            (None, None) => None,
            (None, Some(init)) => {
                self.raw.store(init.raw, Ordering::Relaxed);
                Some(init.body.clone())
            }
        };
        if let Some(body) = init {
            let answer = action.init(&body).await?;
            if answer.status != StatusCode::OK || incoming.is_init_only() {
                return Ok(answer);
            }
        }
        drop(beginning);
        let body = incoming.run_body(&request, self.raw.load(Ordering::Relaxed));
        let answer = action.run(&body).await?;
        Ok(if answer.status == StatusCode::OK { after::web_answer(answer, request.headers) } else { answer })
    }
}

impl Dedicated {
    fn init_body(&self) -> Vec<u8> {
        let Self { name, main, code, binary } = self;
        let value = json!({ "name": name, "main": main, "code": code, "binary": binary });
        json!({ "value": value }).to_string().into_bytes()
    }
}

/// Reads `[get,post]`; without brackets, or with nothing known in them, it is POST.
fn methods(text: &str) -> Vec<Method> {
    let list = text.trim().strip_prefix('[').and_then(|list| list.strip_suffix(']')).unwrap_or_default();
    let mut methods = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match METHODS.iter().find(|method| method.as_str().eq_ignore_ascii_case(name)) {
            Some(method) if !methods.contains(method) => methods.push(method.clone()),
            Some(_) => {}
            None => warn(&format!("__OW_HTTP_METHODS: '{name}' is not supported and left out.")),
        }
    }
    if methods.is_empty() {
        methods.push(Method::POST);
    }
    methods
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_a_list_in_brackets() {
        for (text, expected) in [
            ("[get,post]", vec![Method::GET, Method::POST]),
            ("[ PUT , patch, put]", vec![Method::PUT]),
            ("get", vec![Method::POST]),
            ("", vec![Method::POST]),
            ("[head]", vec![Method::POST]),
        ] {
            assert_eq!(methods(text), expected, "{text}");
        }
    }

    #[test]
    fn platforms_are_told_apart_as_each_image_does() {
        let read = |personality, name: &str| {
            Platform::read(personality, &Variables::from([(VARIABLE.to_owned(), name.to_owned())]))
        };
        assert!(matches!(read(Personality::Node, "knative"), Ok(Platform::Knative(_))));
        let refusal = read(Personality::Node, "Knative").unwrap_err();
        assert_eq!(refusal.why, "__OW_RUNTIME_PLATFORM (Knative) is not supported by the runtime.");
        assert_eq!(refusal.exit, 9);
        assert!(matches!(read(Personality::Skeleton, "Knative"), Ok(Platform::Knative(_))));
        assert!(matches!(read(Personality::Skeleton, "cloud"), Ok(Platform::OpenWhisk)));
        assert!(matches!(read(Personality::Node, ""), Ok(Platform::OpenWhisk)));
    }
}
