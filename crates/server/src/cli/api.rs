//! Where the API is, for commands that speak with it as any client does.

use chasen_client::Client;
use clap::Args;

use super::Failure;
use super::admin::given_or_from_stdin;
use super::properties::Properties;

/// Where a node listens unless somebody says otherwise.
pub(super) const DEFAULT_HOST: &str = "http://127.0.0.1:3233";

/// Where the API is, and with which key. By default as `wsk` has it: APIHOST and AUTH of `~/.wskprops`.
#[derive(Debug, Clone, Args)]
pub(super) struct ApiArgs {
    /// Where the API is; the key goes there and nowhere else
    #[arg(long, value_name = "URL")]
    pub(super) apihost: Option<String>,
    /// Key; `-` reads it from stdin, where other users of the machine cannot see it
    #[arg(short = 'u', long = "auth", value_name = "UUID:KEY", allow_hyphen_values = true)]
    pub(super) credentials: Option<String>,
}

impl ApiArgs {
    /// A client with the key.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let properties = Properties::read()?;
        let typed = self.credentials.as_deref().map(given_or_from_stdin).transpose()?;
        let key = typed.or(properties.key).ok_or_else(no_key)?;
        let host = self.apihost.as_deref().or(properties.host.as_deref()).unwrap_or(DEFAULT_HOST);
        let base = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
        Ok(Client::new(&base).with_credentials(key.trim()))
    }
}

/// What is said where there is no key.
pub(super) fn no_key() -> Failure {
    Failure::Usage("there is no key: give it with --auth, or as AUTH in ~/.wskprops".to_owned())
}
