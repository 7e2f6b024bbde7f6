//! What the environment says: the variables of OpenWhisk's own proxies, and two of ours.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use chasen_runtime::personality::Personality;

use crate::arguments::{Listen, Options};
use crate::kind::Kind;
use crate::knative::{Knative, Platform};

/// Where every platform looks for a runtime.
const PORT: u16 = 8080;
/// Folder of actions, below the working directory.
const ACTIONS: &str = "action";
const DEFAULT_KIND: &str = "actionloop";
/// Variable with the folder of the kind's modules.
pub(crate) const MODULES: &str = "CHASEN_MODULES";

/// What children get when the image does not say: OpenWhisk's proxy gives them none of these.
const DEFAULTS: [(&str, &str); 3] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/tmp"),
    ("LANG", "C.UTF-8"),
];

/// Variables by name; what is not Unicode is not ours to read.
pub(crate) type Variables = BTreeMap<String, String>;

/// Everything that is fixed when the proxy starts.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) kind: Kind,
    pub(crate) listen: Listen,
    /// Absolute folder of actions.
    pub(crate) actions: PathBuf,
    /// Initialise again, keep folders of what did not start, tell children where to write what they debug.
    pub(crate) debug: bool,
    /// Initialise again.
    pub(crate) allow_again: bool,
    /// Send runs while others are under way, to launchers that can.
    pub(crate) concurrent: bool,
    /// Program that makes executables of sources.
    pub(crate) compiler: Option<PathBuf>,
    /// Folder of what the compiler finds made already, as a node's kinds have it.
    pub(crate) modules: Option<String>,
    /// File name under which a jar is kept whole.
    pub(crate) save_jar: Option<String>,
    /// Executables must acknowledge their start.
    pub(crate) wait_for_ack: bool,
    /// What the code's `exec.env` must say.
    pub(crate) execution_env: Option<String>,
    /// Why an initialisation failed goes to the log and not into the answer.
    pub(crate) log_init_error: bool,
    pub(crate) platform: Platform,
    /// Variables of the image that the action's own executable gets.
    pub(crate) child: Variables,
}

/// Why the proxy does not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadSettings {
    pub(crate) why: String,
    pub(crate) exit: u8,
}

impl From<String> for BadSettings {
    fn from(why: String) -> Self {
        Self { why, exit: 2 }
    }
}

/// The variables of this process.
pub(crate) fn variables() -> Variables {
    let text = |text: OsString| text.into_string().ok();
    env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

impl Settings {
    /// Reads `variables`, which the command line may overrule.
    pub(crate) fn read(options: Options, variables: &Variables) -> Result<Self, BadSettings> {
        let set = |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
        let name = options.kind.or_else(|| set("CHASEN_KIND")).unwrap_or_else(|| DEFAULT_KIND.to_owned());
        let kind = Kind::find(&name, options.launcher)?;
        let platform = Platform::read(kind.personality, variables)?;
        let listen = match options.listen.or_else(|| set("CHASEN_LISTEN")) {
            Some(text) => Listen::parse(&text)?,
            None => Listen::Address(Listen::every_interface(port(&kind, &platform, &set)?)),
        };
        let save_jar = set("OW_SAVE_JAR");
        if let Some(name) = &save_jar
            && !is_file_name(name)
        {
            return Err(format!("OW_SAVE_JAR is '{name}', which is no file name").into());
        }
        let actions = env::current_dir()
            .map_err(|error| format!("the working directory cannot be read ({error})"))?
            .join(ACTIONS);
        let again = kind.personality == Personality::Skeleton
            && set("PROXY_ALLOW_REINIT").is_some_and(|value| value == "1");
        let mut settings = Self {
            actions,
            debug: options.debug,
            allow_again: options.debug || again,
            concurrent: set("__OW_ALLOW_CONCURRENT").is_some_and(|value| value.eq_ignore_ascii_case("true")),
            compiler: set("OW_COMPILER").map(PathBuf::from),
            modules: set(MODULES),
            save_jar,
            wait_for_ack: set("OW_WAIT_FOR_ACK").is_some(),
            execution_env: set("OW_EXECUTION_ENV"),
            log_init_error: set("OW_LOG_INIT_ERROR").is_some(),
            child: Variables::new(),
            kind,
            listen,
            platform,
        };
        settings.child = settings.child_variables(variables);
        Ok(settings)
    }

    fn child_variables(&self, variables: &Variables) -> Variables {
        let mut child = Variables::new();
        for (name, default) in DEFAULTS {
            let value = variables.get(name).map_or(default, String::as_str);
            child.insert(name.to_owned(), value.to_owned());
        }
        let mut add = |name: &str, value: &str| drop(child.insert(name.to_owned(), value.to_owned()));
        add("__OW_PROXY_VERSION", env!("CARGO_PKG_VERSION"));
        if let Some(env) = &self.execution_env {
            add("__OW_EXECUTION_ENV", env);
        }
        if self.wait_for_ack {
            add("__OW_WAIT_FOR_ACK", "true");
        }
        if self.debug {
            add("OW_DEBUG", "/tmp/action.log");
        }
        for (name, value) in variables.iter().filter(|(name, _)| name.starts_with("__OW_")) {
            add(name, value);
        }
        child
    }

    /// The dedicated action's settings, where there is one.
    pub(crate) fn knative(&self) -> Option<&Knative> {
        match &self.platform {
            Platform::OpenWhisk => None,
            Platform::Knative(knative) => Some(knative),
        }
    }
}

fn port(kind: &Kind, platform: &Platform, set: &dyn Fn(&str) -> Option<String>) -> Result<u16, String> {
    let name = match platform {
        Platform::Knative(_) => "PORT",
        Platform::OpenWhisk if kind.personality == Personality::Skeleton => "FLASK_PROXY_PORT",
        Platform::OpenWhisk => return Ok(PORT),
    };
    let Some(text) = set(name) else { return Ok(PORT) };
    text.parse().map_err(|_| format!("{name} is '{text}', which is no port"))
}

fn is_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, BadSettings> {
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::read(Options::default(), &variables)
    }

    #[test]
    fn without_a_word_it_is_a_proxy_for_executables_on_8080() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.listen, Listen::Address("[::]:8080".parse().unwrap()));
        assert_eq!(settings.kind.personality, Personality::ActionLoop);
        assert!(!settings.wait_for_ack && !settings.log_init_error && !settings.allow_again);
        let names: Vec<&str> = settings.child.keys().map(String::as_str).collect();
        assert_eq!(names, ["HOME", "LANG", "PATH", "__OW_PROXY_VERSION"]);
    }

    #[test]
    fn children_get_the_platforms_variables_whole_and_nothing_else_of_the_image() {
        let settings = read(&[
            ("PATH", "/opt/bin"),
            ("SECRET", "x"),
            ("__OW_API_HOST", "https://a?b=c=d"),
            ("OW_WAIT_FOR_ACK", "1"),
            ("OW_EXECUTION_ENV", "e/1"),
        ])
        .unwrap();
        assert_eq!(settings.child["__OW_API_HOST"], "https://a?b=c=d");
        assert_eq!(settings.child["__OW_EXECUTION_ENV"], "e/1");
        assert_eq!(settings.child["__OW_WAIT_FOR_ACK"], "true");
        assert_eq!(settings.child["PATH"], "/opt/bin");
        assert!(!settings.child.contains_key("SECRET"));
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        for (name, value) in [("OW_SAVE_JAR", "../x"), ("CHASEN_LISTEN", "here"), ("CHASEN_KIND", "cobol")] {
            let refusal = read(&[(name, value)]).unwrap_err();
            assert!(refusal.exit == 2 && refusal.why.contains(value), "{refusal:?}");
        }
        let skeleton = [("CHASEN_KIND", "blackbox"), ("FLASK_PROXY_PORT", "81x")];
        assert!(read(&skeleton).unwrap_err().why.contains("FLASK_PROXY_PORT"));
        assert!(read(&[("CHASEN_KIND", "blackbox"), ("PROXY_ALLOW_REINIT", "1")]).unwrap().allow_again);
    }
}
