//! The controller and the parts it is made of.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use chasen_entity::{Identity, Millis};
use chasen_spi::{
    ActivationStore, ArtifactStore, AttachmentStore, DeadLetterStore, Entitlement, IdempotencyStore, Invoke,
    ParameterLock, Runtimes, SubjectStore,
};

use crate::activate::Switch;
use crate::api::dead_letters::InHand;
use crate::api::info::InfoDocuments;
use crate::authenticate::Identities;
use crate::clock;
use crate::config::ControllerConfig;
use crate::entities::Entities;
use crate::entitle::Rights;
use crate::guessing::Guesses;
use crate::keys::Keys;
use crate::throttle::Throttles;
use crate::turns::Turns;
use crate::wire::memory::MemoryBound;

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
    /// Work that was given up.
    pub dead_letters: Arc<dyn DeadLetterStore>,
    /// Keys of requests.
    pub idempotency: Arc<dyn IdempotencyStore>,
    /// The door to every execution.
    pub invoke: Arc<dyn Invoke>,
    /// Rights beyond ownership and sharing.
    pub entitlement: Arc<dyn Entitlement>,
    /// Locks parameters at rest.
    pub parameter_lock: Arc<dyn ParameterLock>,
    /// Kinds of this platform.
    pub runtimes: Arc<Runtimes>,
    /// Bounds.
    pub config: ControllerConfig,
}

/// The REST front. One serves any number of listeners.
pub struct Controller {
    /// Itself, for work that goes on in the background.
    pub(crate) own: Weak<Self>,
    pub(crate) entities: Entities,
    pub(crate) attachments: Arc<dyn AttachmentStore>,
    pub(crate) activations: Arc<dyn ActivationStore>,
    pub(crate) dead_letters: Arc<dyn DeadLetterStore>,
    pub(crate) letters_in_hand: InHand,
    pub(crate) keys: Keys,
    pub(crate) invoke: Switch,
    pub(crate) subjects: Arc<dyn SubjectStore>,
    pub(crate) entitlement: Arc<dyn Entitlement>,
    pub(crate) parameter_lock: Arc<dyn ParameterLock>,
    pub(crate) runtimes: Arc<Runtimes>,
    pub(crate) config: ControllerConfig,
    pub(crate) identities: Identities,
    pub(crate) throttles: Throttles,
    pub(crate) info: InfoDocuments,
    /// Memory of bodies on their way in.
    pub(crate) uploads: MemoryBound,
    /// Memory of documents and lists on their way out.
    pub(crate) downloads: MemoryBound,
    /// Memory of what conductors want back when their components have run.
    pub(crate) conductors: MemoryBound,
    pub(crate) turns: Turns,
    /// When it was made; epoch milliseconds.
    pub(crate) started_at: Millis,
    pub(crate) guesses: Guesses,
}

impl Controller {
    /// A controller of these parts. It does nothing until [`serve`](Self::serve) is called.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { artifacts, attachments, subjects, activations, invoke, .. } = parts;
        let Parts { dead_letters, idempotency, .. } = parts;
        let Parts { entitlement, parameter_lock, runtimes, config, .. } = parts;
        Arc::new_cyclic(|own| Self {
            own: own.clone(),
            identities: Identities::new(subjects.clone(), config.namespace_limits.clone()),
            throttles: Throttles::new(config.rates),
            entities: Entities::new(artifacts, runtimes.clone(), config.entity_cache),
            info: InfoDocuments::new(&config),
            uploads: MemoryBound::new(config.max_upload_memory),
            downloads: MemoryBound::new(config.max_download_memory),
            conductors: MemoryBound::new(config.max_conductor_memory),
            turns: Turns::new(),
            started_at: clock::now(),
            dead_letters,
            letters_in_hand: InHand::default(),
            keys: Keys::new(idempotency),
            guesses: Guesses::default(),
            attachments,
            activations,
            invoke: Switch::new(invoke),
            subjects,
            entitlement,
            parameter_lock,
            runtimes,
            config,
        })
    }

    /// Offers these of the optional kinds from now on, and no others of them.
    pub fn offer_kinds(&self, found: BTreeSet<String>) {
        if self.runtimes.offer(found) {
            self.entities.runtimes_changed();
            let manifest = self.runtimes.manifest();
            let kinds: Vec<&str> = manifest.kinds().map(|kind| kind.kind.as_str()).collect();
            tracing::info!(?kinds, "the kinds that can run here changed");
        }
    }

    /// What an identity may do.
    pub(crate) fn rights<'a>(&'a self, identity: &'a Identity) -> Rights<'a> {
        Rights { identity, entities: &self.entities, grants: &*self.entitlement }
    }
}
