//! The controller and the parts it is made of.

use std::sync::Arc;

use chasen_entity::Manifest;
use chasen_spi::{ActivationStore, ArtifactStore, AttachmentStore, Invoke, SubjectStore};

use crate::action_cache::ActionCache;
use crate::api::info::InfoDocuments;
use crate::authenticate::Identities;
use crate::config::ControllerConfig;
use crate::listing::Turns;
use crate::memory::MemoryBound;
use crate::throttle::Throttles;

/// What a controller is wired from.
pub struct Parts {
    /// Entities.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// Code.
    pub attachments: Arc<dyn AttachmentStore>,
    /// Callers.
    pub subjects: Arc<dyn SubjectStore>,
    /// Records.
    pub activations: Arc<dyn ActivationStore>,
    /// The door to every execution.
    pub invoke: Arc<dyn Invoke>,
    /// Kinds of this platform.
    pub manifest: Arc<Manifest>,
    /// Bounds.
    pub config: ControllerConfig,
}

/// The REST front. One serves any number of listeners.
pub struct Controller {
    pub(crate) artifacts: Arc<dyn ArtifactStore>,
    pub(crate) attachments: Arc<dyn AttachmentStore>,
    pub(crate) activations: Arc<dyn ActivationStore>,
    pub(crate) invoke: Arc<dyn Invoke>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) config: ControllerConfig,
    pub(crate) identities: Identities,
    pub(crate) throttles: Throttles,
    pub(crate) actions: ActionCache,
    pub(crate) info: InfoDocuments,
    /// Memory of bodies on their way in.
    pub(crate) uploads: MemoryBound,
    /// Memory of documents and lists on their way out.
    pub(crate) downloads: MemoryBound,
    pub(crate) turns: Turns,
}

impl Controller {
    /// A controller of these parts. It does nothing until [`serve`](Self::serve) is called.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { artifacts, attachments, subjects, activations, invoke, manifest, config } = parts;
        Arc::new(Self {
            identities: Identities::new(subjects),
            throttles: Throttles::new(config.rates),
            actions: ActionCache::new(config.action_cache),
            info: InfoDocuments::new(&manifest, &config),
            uploads: MemoryBound::new(config.max_upload_memory),
            downloads: MemoryBound::new(config.max_download_memory),
            turns: Turns::new(),
            artifacts,
            attachments,
            activations,
            invoke,
            manifest,
            config,
        })
    }
}
