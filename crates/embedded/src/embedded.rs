//! The engines of one data folder, opened and closed together.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chasen_entity::ByteSize;
use chasen_spi::{
    ActivationStore, ArtifactStore, AttachmentStore, DeadLetterStore, EventLog, IdempotencyStore,
    SubjectStore,
};

use crate::activations::Activations;
use crate::activations::catalog::{Catalog, Retention};
use crate::activations::tail::{self, Tail};
use crate::attachments::Attachments;
use crate::background::Background;
use crate::database::Database;
use crate::dead_letters::DeadLetters;
use crate::entities::Entities;
use crate::event_log::{Log, LogConfig};
use crate::faults::Faults;
use crate::idempotency::Idempotency;
use crate::lock::NodeLock;
use crate::node_key::{KeyFile, NodeKey};
use crate::parameter_keys::{ParameterKeyError, ParameterKeys, ParameterKeysConfig};
use crate::subjects::{self, Subjects};
use crate::{OpenError, files, format};

/// What a data folder is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// The folder; made if there is none.
    pub data_dir: PathBuf,
    /// Where the node listens, for the one who finds the folder taken.
    pub address: String,
    /// How long records of activations stay.
    pub retention: Duration,
    /// How large the files of records may become together; the event log comes on top.
    pub max_bytes: ByteSize,
    /// Size of a segment of the event log, at least 64 KB and at most 1 GB. Two are allocated while the node runs.
    pub segment_bytes: ByteSize,
    /// Work that nobody waits for, and work that is to be synced, is refused while bringing an event to the disk takes
    /// longer than this.
    pub slow_commit: Duration,
    /// What is to go wrong; `None` for what the environment says.
    #[cfg(any(test, feature = "faults"))]
    pub faults: Option<Faults>,
}

impl EmbeddedConfig {
    /// The defaults: a week, 10 GB, segments of 64 MB, 50 ms.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            address: String::new(),
            retention: Duration::from_secs(7 * 24 * 3600),
            max_bytes: ByteSize::mb(10 * 1024),
            segment_bytes: ByteSize::mb(64),
            slow_commit: Duration::from_millis(50),
            #[cfg(any(test, feature = "faults"))]
            faults: None,
        }
    }
}

/// An open data folder. Dropping it closes it, blocking; [`Embedded::close`] does so off the runtime's threads.
pub struct Embedded {
    lock: NodeLock,
    _sweep: Background,
    database: Arc<Database>,
    entities: Arc<Entities>,
    subjects: Arc<Subjects>,
    attachments: Attachments,
    log: Arc<Log>,
    activations: Arc<Activations>,
    dead_letters: Arc<DeadLetters>,
    idempotency: Arc<Idempotency>,
    parameter_key: KeyFile,
}

impl Embedded {
    /// Locks the folder, opens everything in it and reads the log of the earlier life. Blocks for as long as
    /// that takes: milliseconds, or a fraction of a second after a crash.
    pub fn open(config: EmbeddedConfig) -> Result<Self, OpenError> {
        let folder = &config.data_dir;
        files::create_folder(folder)?;
        let lock = NodeLock::acquire(folder, &config.address)?;
        format::admit(folder)?;
        let key = Arc::new(NodeKey::open(folder)?);
        let database = subjects::open_database(folder, &key)?;
        let parameter_key = subjects::open_parameter_key(folder)?;
        let subjects = Arc::new(Subjects::new(database.clone(), key.clone())?);
        let attachments = Attachments::open(&folder.join("attachments"))?;
        let sweep = attachments.keep_swept(database.clone())?;

        let retention = Retention { age: config.retention, size: config.max_bytes };
        let catalog = Arc::new(Catalog::open(&folder.join("activations"), retention)?);
        let tail = Arc::new(Tail::new(tail::MOST));
        #[cfg(any(test, feature = "faults"))]
        let faults = config.faults.clone().map_or_else(Faults::from_env, Ok)?;
        #[cfg(not(any(test, feature = "faults")))]
        let faults = Faults;
        let log_config = LogConfig {
            segment_bytes: usize::try_from(config.segment_bytes.as_bytes()).unwrap_or(usize::MAX),
            slow: config.slow_commit,
            faults: faults.clone(),
        };
        let dead_letters = Arc::new(DeadLetters::open(folder, key.clone())?);
        let idempotency = Arc::new(Idempotency::open(folder)?);
        let is_recorded = |id: &_| catalog.holds(id).unwrap_or(false);
        let log = Arc::new(Log::open(&folder.join("events"), log_config, key, tail.clone(), is_recorded)?);
        let activations = Arc::new(Activations::open(tail, catalog, log.clone(), faults)?);
        let entities = Arc::new(Entities::new(database.clone(), attachments.clone()));
        Ok(Self {
            lock,
            _sweep: sweep,
            database,
            entities,
            subjects,
            attachments,
            log,
            activations,
            dead_letters,
            idempotency,
            parameter_key,
        })
    }

    /// Writes down where the node listens, once that is known.
    pub fn announce(&self, address: &str) -> Result<(), OpenError> {
        self.lock.announce(address)
    }

    /// Entities.
    #[must_use]
    pub fn artifact_store(&self) -> Arc<dyn ArtifactStore> {
        self.entities.clone()
    }

    /// Code.
    #[must_use]
    pub fn attachment_store(&self) -> Arc<dyn AttachmentStore> {
        Arc::new(self.attachments.clone())
    }

    /// Subjects.
    #[must_use]
    pub fn subject_store(&self) -> Arc<dyn SubjectStore> {
        self.subjects.clone()
    }

    /// Events of activations.
    #[must_use]
    pub fn event_log(&self) -> Arc<dyn EventLog> {
        self.log.clone()
    }

    /// Records of activations.
    #[must_use]
    pub fn activation_store(&self) -> Arc<dyn ActivationStore> {
        self.activations.clone()
    }

    /// Work that was given up.
    #[must_use]
    pub fn dead_letter_store(&self) -> Arc<dyn DeadLetterStore> {
        self.dead_letters.clone()
    }

    /// Keys of requests.
    #[must_use]
    pub fn idempotency_store(&self) -> Arc<dyn IdempotencyStore> {
        self.idempotency.clone()
    }

    /// What parameters are locked with: as configured, with the folder's own key beside.
    pub fn parameter_keys(&self, config: &ParameterKeysConfig) -> Result<ParameterKeys, ParameterKeyError> {
        Ok(ParameterKeys::new(config)?.with_node(&self.parameter_key.bytes, config))
    }

    /// Brings everything to the disk and frees the folder. Whoever still holds a store gets errors from it.
    pub async fn close(self) {
        if let Err(error) = tokio::task::spawn_blocking(move || drop(self)).await {
            tracing::error!(%error, "the data folder was not closed in order");
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.log.refuse();
        self.activations.close();
        self.log.close();
        self.dead_letters.close();
        self.idempotency.close();
        self.database.close();
    }
}
