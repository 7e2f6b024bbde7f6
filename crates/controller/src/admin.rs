//! Administration: a door of its own, for the operator.
//!
//! What is done with subjects, limits, kinds and stores is in [`subjects`], [`limits`], [`kinds`] and [`dump`], which
//! know nothing of this door and serve as well where no node runs.

mod call;
mod credentials;
pub mod dump;
mod error;
pub mod kinds;
pub mod limits;
mod routes;
mod runtimes;
mod status;
pub mod subjects;
mod users;

use std::sync::Arc;

use chasen_spi::{NodeStatus, RuntimesKeeper};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

pub use self::credentials::AdminCredentials;
pub use self::error::AdminError;
pub(crate) use self::routes::route;
use crate::controller::Controller;
use crate::wire::server::{Door, Entrance};

/// What the operator's door is made of.
pub struct Admin {
    status: Arc<dyn NodeStatus>,
    keeper: Arc<dyn RuntimesKeeper>,
    credentials: AdminCredentials,
    /// Held while kinds are changed: one change is made from what the one before it left.
    changing: Mutex<()>,
    /// The same for subjects and limits.
    editing: Mutex<()>,
}

impl Admin {
    /// A door for who has these credentials.
    #[must_use]
    pub fn new(
        status: Arc<dyn NodeStatus>,
        keeper: Arc<dyn RuntimesKeeper>,
        credentials: AdminCredentials,
    ) -> Arc<Self> {
        Arc::new(Self { status, keeper, credentials, changing: Mutex::default(), editing: Mutex::default() })
    }
}

impl Controller {
    /// Serves the operator's door as [`serve`](Self::serve) serves the API.
    pub async fn serve_admin(
        self: Arc<Self>,
        listener: TcpListener,
        admin: Arc<Admin>,
        shutdown: impl Future<Output = ()>,
    ) {
        let per_source = self.config.max_connections_per_address;
        let entrance = Entrance { door: Door::Admin(admin), per_source, tls: None };
        self.listen(listener, entrance, shutdown).await;
    }
}
