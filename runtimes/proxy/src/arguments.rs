//! The command line: the flags of OpenWhisk's own proxy, and ours.

use std::ffi::OsString;
use std::net::{Ipv6Addr, SocketAddr};

/// Version that `-version` prints, in the words of OpenWhisk's own proxy.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How to call the proxy.
pub(crate) const USAGE: &str = "usage: chasen-proxy [OPTIONS] [-- LAUNCHER [ARGS]…]

  --kind KIND       what actions are: a kind of the runtimes manifest (nodejs:20, python, …), blackbox for
                    executables started anew for every run, actionloop (default) for executables that speak lines
  --listen ADDRESS  address and port (default: port 8080 of all interfaces), or 'stdin' for a listening socket there
  -compile MAIN     reads code on stdin, compiles it, writes a zip that can be uploaded to stdout
  -env JSON         environment for -compile, as an object
  -debug            allows to initialise again; keeps the folders of actions that did not start
  -version          says the version

LAUNCHER is a program that speaks frames on descriptor 3; kinds of the manifest bring theirs. The environment can set
the first two as well: CHASEN_KIND, CHASEN_LISTEN.";

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    /// Serve one action.
    Serve(Options),
    /// Compile and end.
    Compile {
        /// Entry point.
        main: String,
        /// Environment, the text of a JSON object.
        env: String,
        /// What kind of code it is.
        options: Options,
    },
    /// Print this and end.
    Say(String),
}

/// What the command line says about serving.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Kind, family or way of running; the environment's where absent.
    pub(crate) kind: Option<String>,
    /// Where to listen; the environment's where absent.
    pub(crate) listen: Option<String>,
    /// Initialise again, keep folders.
    pub(crate) debug: bool,
    /// Launcher to start instead of the kind's.
    pub(crate) launcher: Vec<OsString>,
}

/// Where requests come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    /// This address.
    Address(SocketAddr),
    /// A listening socket on standard input.
    StandardInput,
}

impl Task {
    /// Reads the command line without its first word. The error says what is wrong with it.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut options = Options::default();
        let (mut compile, mut env) = (None, None);
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let text = argument.to_string_lossy();
            let flag = text.strip_prefix("--").or_else(|| text.strip_prefix('-')).unwrap_or_default();
            if text == "--" {
                options.launcher = arguments.collect();
                break;
            }
            let mut value = || {
                let value = arguments.next().and_then(|value| value.into_string().ok());
                value.ok_or_else(|| format!("{text} needs a value\n\n{USAGE}"))
            };
            match flag {
                "kind" => options.kind = Some(value()?),
                "listen" => options.listen = Some(value()?),
                "compile" => compile = Some(value()?),
                "env" => env = Some(value()?),
                "debug" => options.debug = true,
                "version" => {
                    return Ok(Self::Say(format!(
                        "OpenWhisk ActionLoop Proxy v{VERSION}, built as chasen-proxy"
                    )));
                }
                "help" | "h" => return Ok(Self::Say(USAGE.to_owned())),
                _ => return Err(format!("'{text}' is no option\n\n{USAGE}")),
            }
        }
        Ok(match compile {
            Some(main) => Self::Compile { main, env: env.unwrap_or_else(|| "{}".to_owned()), options },
            None => Self::Serve(options),
        })
    }
}

impl Listen {
    /// Reads `stdin`, a port, or an address with a port.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "stdin" {
            return Ok(Self::StandardInput);
        }
        let address = text.parse::<u16>().map(Self::every_interface).or_else(|_| text.parse());
        address.map(Self::Address).map_err(|_| {
            format!("'{text}' is no address: write HOST:PORT with a numeric host, PORT alone, or stdin")
        })
    }

    /// This port on all interfaces, of both families.
    pub(crate) fn every_interface(port: u16) -> SocketAddr {
        (Ipv6Addr::UNSPECIFIED, port).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Task, String> {
        Task::parse(line.split_ascii_whitespace().map(OsString::from))
    }

    #[test]
    fn flags_of_both_proxies_are_read() {
        assert_eq!(parse(""), Ok(Task::Serve(Options::default())));
        let Ok(Task::Serve(options)) = parse("-debug --kind nodejs:20 -- node -x launcher.js") else {
            panic!("not to serve")
        };
        assert_eq!((options.kind.as_deref(), options.debug), (Some("nodejs:20"), true));
        assert_eq!(options.launcher, ["node", "-x", "launcher.js"]);
        let compile = parse("-compile niam -env {}");
        assert!(matches!(compile, Ok(Task::Compile { main, env, .. }) if main == "niam" && env == "{}"));
        assert!(
            matches!(parse("-version"), Ok(Task::Say(text)) if text.starts_with("OpenWhisk ActionLoop Proxy v"))
        );
        for bad in ["--kind", "serve", "-x", "--compile"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_ports_or_whole() {
        assert_eq!(Listen::parse("stdin"), Ok(Listen::StandardInput));
        for (text, address) in [("9000", "[::]:9000"), ("127.0.0.1:1", "127.0.0.1:1"), ("[::1]:2", "[::1]:2")]
        {
            assert_eq!(Listen::parse(text), Ok(Listen::Address(address.parse().unwrap())), "{text}");
        }
        assert!(Listen::parse("localhost:1").is_err());
        assert!(Listen::parse("70000").is_err());
    }
}
