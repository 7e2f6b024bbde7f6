//! Where the API is, for commands that speak with it as any client does.

use std::path::PathBuf;

use chasen_client::{Client, Trust};
use clap::Args;

use super::admin::given_or_from_stdin;
use super::properties::Properties;
use super::{Failure, usage};

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

/// The same, and whom to trust there.
#[derive(Debug, Clone, Args)]
pub(super) struct ClientArgs {
    #[command(flatten)]
    pub(super) api: ApiArgs,
    /// Authorities that vouch for an API at https://, PEM; by default those of the machine
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    cacert: Option<PathBuf>,
    /// Believe whoever answers at https://
    #[arg(short = 'i', long)]
    insecure: bool,
}

impl ClientArgs {
    /// A client with the key.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let properties = Properties::read()?;
        let typed = self.api.credentials.as_deref().map(given_or_from_stdin).transpose()?;
        let key = typed.or(properties.key).ok_or_else(no_key)?;
        let host = self.api.apihost.as_deref().or(properties.host.as_deref()).unwrap_or(DEFAULT_HOST);
        let base = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
        let client = Client::trusting(&base, &self.trust()?).map_err(usage)?;
        Ok(client.with_credentials(key.trim()))
    }

    /// Whom to trust.
    pub(super) fn trust(&self) -> Result<Trust, Failure> {
        match &self.cacert {
            _ if self.insecure => Ok(Trust::Anybody),
            None => Ok(Trust::Machine),
            Some(path) => {
                let failed = |error| Failure::Usage(format!("{} cannot be read: {error}", path.display()));
                std::fs::read(path).map(Trust::Authorities).map_err(failed)
            }
        }
    }
}

/// What is said where there is no key.
pub(super) fn no_key() -> Failure {
    Failure::Usage("there is no key: give it with --auth, or as AUTH in ~/.wskprops".to_owned())
}
