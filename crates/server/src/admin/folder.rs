//! Administration of a data folder that no node runs on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chasen_controller::admin::dump::{Database, Page, Stores};
use chasen_controller::admin::subjects::{self, Holder, KeyWish, NamespaceKey, Owner, SubjectView};
use chasen_controller::admin::{AdminError, kinds, limits};
use chasen_embedded::{Embedded, EmbeddedConfig, Subjects};
use chasen_entity::{ByteSize, Manifest, UserLimits};
use chasen_spi::RuntimesKeeper;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{Done, Failure};
use crate::runtimes::KeptRuntimes;

/// The folder's stores. Subjects are open beside a node that may start meanwhile; everything else only when it is
/// needed, for then no node can start.
pub struct Folder {
    path: PathBuf,
    subjects: Subjects,
    kept: KeptRuntimes,
    all: OnceCell<Embedded>,
}

impl Folder {
    pub(super) fn open(path: &Path, kept: KeptRuntimes) -> Done<Self> {
        let subjects = Subjects::open_shared(path)?;
        Ok(Self { path: path.to_owned(), subjects, kept, all: OnceCell::new() })
    }

    pub(super) async fn create(
        &self,
        subject: &str,
        namespace: Option<&str>,
        wish: &KeyWish,
    ) -> Done<NamespaceKey> {
        Ok(subjects::create(&self.subjects, subject, namespace, wish).await?)
    }

    pub(super) async fn subject(&self, subject: &str) -> Done<SubjectView> {
        Ok(subjects::get(&self.subjects, subject).await?)
    }

    pub(super) async fn key(&self, subject: &str, namespace: Option<&str>) -> Done<NamespaceKey> {
        Ok(subjects::key(&self.subjects, subject, namespace).await?)
    }

    pub(super) async fn delete(&self, subject: &str) -> Done<()> {
        Ok(subjects::delete(&self.subjects, subject).await?)
    }

    pub(super) async fn delete_namespace(&self, subject: &str, namespace: &str) -> Done<()> {
        Ok(subjects::delete_namespace(&self.subjects, subject, namespace).await?)
    }

    pub(super) async fn set_blocked(&self, subject: &str, blocked: bool) -> Done<()> {
        Ok(subjects::set_blocked(&self.subjects, subject, blocked).await?)
    }

    pub(super) async fn whois(&self, auth: &str) -> Done<Owner> {
        Ok(subjects::whois(&self.subjects, auth).await?)
    }

    pub(super) async fn holders(&self, namespace: &str) -> Done<Vec<Holder>> {
        Ok(subjects::holders(&self.subjects, namespace).await?)
    }

    pub(super) async fn limits(&self, namespace: &str) -> Done<Option<UserLimits>> {
        Ok(limits::get(&self.subjects, namespace).await?)
    }

    pub(super) async fn merge_limits(&self, namespace: &str, document: &Value) -> Done<UserLimits> {
        Ok(limits::set(&self.subjects, namespace, document, true).await?)
    }

    pub(super) async fn delete_limits(&self, namespace: &str) -> Done<()> {
        Ok(limits::delete(&self.subjects, namespace).await?)
    }

    pub(super) async fn dump(&self, database: &str, next: Option<&str>, docs: bool) -> Done<Page> {
        let Some(database) = Database::named(database) else {
            return Err(Failure::Answered(format!("there is no database '{database}'")));
        };
        let all = self.all.get_or_try_init(async || self.open_all().await).await?;
        let (artifacts, activations) = (all.artifact_store(), all.activation_store());
        let stores = Stores { artifacts: &*artifacts, subjects: &self.subjects, activations: &*activations };
        Ok(stores.page(database, next, docs).await?)
    }

    async fn open_all(&self) -> Done<Embedded> {
        let config = EmbeddedConfig {
            address: "no address: chasen admin".to_owned(),
            // Reading must not be what old records go away with.
            retention: Duration::from_hours(100 * 365 * 24),
            max_bytes: ByteSize::bytes(u64::MAX),
            ..EmbeddedConfig::new(&self.path)
        };
        match tokio::task::spawn_blocking(move || Embedded::open(config)).await {
            Ok(opened) => Ok(opened?),
            Err(error) => Err(Failure::Answered(error.to_string())),
        }
    }

    pub(super) async fn runtimes(&self) -> Done<Manifest> {
        Ok(self.kept.start()?)
    }

    pub(super) async fn set_runtimes(&self, text: &str) -> Done<Manifest> {
        self.keep(kinds::read_manifest(text)?).await
    }

    pub(super) async fn reset_runtimes(&self) -> Done<Manifest> {
        Ok(self.kept.forget().await.map_err(AdminError::from)?)
    }

    pub(super) async fn put_kind(&self, kind: &str, text: &str) -> Done<Manifest> {
        self.keep(kinds::with_kind(self.kept.start()?, kind, text)?).await
    }

    pub(super) async fn delete_kind(&self, kind: &str) -> Done<Manifest> {
        self.keep(kinds::without_kind(self.kept.start()?, kind)?).await
    }

    async fn keep(&self, manifest: Manifest) -> Done<Manifest> {
        // One that cannot be read is not in force, and is what this one may be to repair.
        let present = self.kept.start().unwrap_or_default();
        kinds::check_news(&self.kept, &present, &manifest)?;
        self.kept.keep(&manifest).await.map_err(AdminError::from)?;
        Ok(manifest)
    }
}
