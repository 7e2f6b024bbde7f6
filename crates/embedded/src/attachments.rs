//! Code in files named by the digest of their content.
//!
//! A text is written beside its place, synced and renamed in, so a file under its own name is always whole.
//! A file's time is when it was last stored or let go of by an entity; a sweep removes files that no entity refers
//! to and whose time is an hour past, so that work which was accepted with them can still run. Both take the same
//! short lock, so a text just stored is never swept.

use std::fs::{self, FileTimes};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use chasen_entity::Code;
use chasen_spi::{AttachmentStore, StoreError};
use parking_lot::Mutex;
use rusqlite::Transaction;
use sha2::{Digest, Sha256};

use crate::background::Background;
use crate::database::Database;
use crate::sqlite::store_error;
use crate::{OpenError, files};

/// How long a text that nobody refers to stays: code is stored before its action, and work may wait that was
/// accepted before its action changed.
pub(crate) const GRACE: Duration = Duration::from_secs(3600);
/// How often the sweep runs.
const SWEEP: Duration = Duration::from_secs(3600);
/// How long after the start it runs first: work of an earlier life may need its code.
const FIRST_SWEEP: Duration = Duration::from_secs(600);
/// Folder of unfinished files.
const DRAFTS: &str = "drafts";
const DIGEST_LENGTH: usize = 64;

/// The store of code.
#[derive(Clone)]
pub(crate) struct Attachments {
    shelves: Arc<Shelves>,
}

struct Shelves {
    folder: PathBuf,
    drafts: AtomicU64,
    placing: Mutex<()>,
}

impl Attachments {
    /// Opens the store in this folder, and clears what an earlier life left unfinished.
    pub(crate) fn open(folder: &Path) -> Result<Self, OpenError> {
        let drafts = folder.join(DRAFTS);
        files::create_folder(&drafts)?;
        for draft in fs::read_dir(&drafts).map_err(OpenError::io("read the folder", &drafts))?.flatten() {
            files::remove(&draft.path()).map_err(OpenError::io("remove", &draft.path()))?;
        }
        let shelves =
            Shelves { folder: folder.to_owned(), drafts: AtomicU64::new(0), placing: Mutex::default() };
        Ok(Self { shelves: Arc::new(shelves) })
    }

    /// Sweeps soon after the start and then every hour, in the background.
    pub(crate) fn keep_swept(&self, database: Arc<Database>) -> Result<Background, OpenError> {
        let (attachments, mut next) = (self.clone(), Instant::now() + FIRST_SWEEP);
        Background::every(FIRST_SWEEP, "code-sweep", move || {
            if Instant::now() < next {
                return;
            }
            next = Instant::now() + SWEEP;
            match attachments.sweep(&database, GRACE) {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "removed code that no action refers to"),
                Err(error) => {
                    tracing::warn!(%error, "unused code could not be removed; trying again in an hour")
                }
            }
        })
    }

    /// An entity does not refer to this text any more: from now on it has its grace.
    pub(crate) fn let_go(&self, digest: &str) {
        let Some(place) = self.shelves.place(digest) else { return };
        if let Err(error) = self.shelves.renew(&place, None) {
            tracing::debug!(%error, "code that was let go of may be removed early");
        }
    }

    /// Removes files that no entity refers to and that were not stored again within the grace. Blocks.
    /// Returns how many it removed.
    pub(crate) fn sweep(&self, database: &Database, grace: Duration) -> Result<u64, StoreError> {
        let Some(before) = SystemTime::now().checked_sub(grace) else { return Ok(0) };
        let mut removed = 0;
        for path in self.shelves.stored().map_err(|error| io_error(&self.shelves.folder, &error))? {
            if !is_older(&path, before) {
                continue;
            }
            let shelves = self.shelves.clone();
            // In the writer's turn: no entity can begin to refer to the file between the question and the removal.
            let gone = database.write_blocking(move |transaction| {
                let digest = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let _placing = shelves.placing.lock();
                if is_used(transaction, digest)? || !is_older(&path, before) {
                    return Ok(false);
                }
                files::remove(&path).map_err(|error| io_error(&path, &error))?;
                Ok(true)
            })?;
            removed += u64::from(gone);
        }
        Ok(removed)
    }
}

#[async_trait]
impl AttachmentStore for Attachments {
    async fn put(&self, text: Bytes) -> Result<Code, StoreError> {
        let shelves = self.shelves.clone();
        off_the_runtime(move || shelves.store(&text).map_err(|error| io_error(&shelves.folder, &error))).await
    }

    async fn get(&self, code: &Code) -> Result<Option<Bytes>, StoreError> {
        let (shelves, code) = (self.shelves.clone(), code.clone());
        off_the_runtime(move || shelves.load(&code)).await
    }
}

impl Shelves {
    /// Every whole file, whatever its age.
    fn stored(&self) -> io::Result<Vec<PathBuf>> {
        let mut stored = Vec::new();
        for folder in fs::read_dir(&self.folder)?.flatten().filter(|folder| folder.file_name().len() == 2) {
            stored.extend(fs::read_dir(folder.path())?.flatten().map(|file| file.path()));
        }
        Ok(stored)
    }

    /// Place of a text; `None` for what is no digest.
    fn place(&self, digest: &str) -> Option<PathBuf> {
        let legal = digest.len() == DIGEST_LENGTH
            && digest.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        legal.then(|| self.folder.join(digest.get(..2).unwrap_or_default()).join(digest))
    }

    fn store(&self, text: &[u8]) -> io::Result<Code> {
        let code = Code { digest: format!("{:x}", Sha256::digest(text)), length: text.len() as u64 };
        let Some(place) = self.place(&code.digest) else { return Err(io::ErrorKind::InvalidInput.into()) };
        if self.renew(&place, Some(code.length))? {
            return Ok(code);
        }
        let draft = self.folder.join(DRAFTS).join(self.drafts.fetch_add(1, Ordering::Relaxed).to_string());
        let written = write(&draft, text).and_then(|()| self.put_in_place(&draft, &place));
        if written.is_err() {
            files::remove(&draft)?;
        }
        written.map(|()| code)
    }

    fn put_in_place(&self, draft: &Path, place: &Path) -> io::Result<()> {
        let shelf = place.parent().unwrap_or(&self.folder);
        if !shelf.exists() {
            fs::create_dir_all(shelf)?;
            files::sync_folder(&self.folder)?;
        }
        {
            let _placing = self.placing.lock();
            fs::rename(draft, place)?;
        }
        files::sync_folder(shelf)
    }

    /// Renews the time of a file; false if it is not there or has another length than this.
    fn renew(&self, place: &Path, length: Option<u64>) -> io::Result<bool> {
        let _placing = self.placing.lock();
        match files::private().open(place) {
            Ok(file) if length.is_none() || length == Some(file.metadata()?.len()) => {
                file.set_times(FileTimes::new().set_modified(SystemTime::now()))?;
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn load(&self, code: &Code) -> Result<Option<Bytes>, StoreError> {
        let Some(place) = self.place(&code.digest) else { return Ok(None) };
        let mut file = match fs::File::open(&place) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&place, &error)),
        };
        let length = file.metadata().map_err(|error| io_error(&place, &error))?.len();
        let wrong = |found: u64| StoreError::Corrupt {
            what: format!("the code {}", code.digest),
            why: format!("it has {found} bytes instead of {}; update the action with its code", code.length),
        };
        if length != code.length {
            return Err(wrong(length));
        }
        let mut text = Vec::with_capacity(usize::try_from(length).map_err(|_| wrong(length))?);
        file.read_to_end(&mut text).map_err(|error| io_error(&place, &error))?;
        if text.len() as u64 == length { Ok(Some(text.into())) } else { Err(wrong(text.len() as u64)) }
    }
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| StoreError::Unavailable(format!("code was not read or written: {error}")))?
}

fn write(draft: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = files::private().create(true).truncate(true).open(draft)?;
    file.write_all(text)?;
    file.sync_all()
}

fn is_older(path: &Path, moment: SystemTime) -> bool {
    fs::metadata(path).and_then(|data| data.modified()).is_ok_and(|modified| modified <= moment)
}

fn is_used(transaction: &Transaction<'_>, digest: &str) -> Result<bool, StoreError> {
    transaction
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM documents WHERE attachment = ?1)")
        .and_then(|mut statement| statement.query_row([digest], |row| row.get(0)))
        .map_err(store_error)
}

fn io_error(path: &Path, error: &io::Error) -> StoreError {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::Full(format!("{text}; free space on the disk of the data folder"))
        }
        _ => StoreError::Unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use chasen_spi::{ArtifactStore, Collection, Document, DocumentId};

    use super::*;
    use crate::entities::Entities;
    use crate::node_key::NodeKey;

    fn database(folder: &Path) -> Arc<Database> {
        crate::subjects::open_database(folder, &NodeKey::open(folder).unwrap()).unwrap()
    }

    async fn sweep(attachments: &Attachments, database: &Arc<Database>, grace: Duration) -> u64 {
        let (attachments, database) = (attachments.clone(), database.clone());
        tokio::task::spawn_blocking(move || attachments.sweep(&database, grace)).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_sweep_removes_what_is_old_and_unused() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(folder.path());
        let attachments = Attachments::open(&folder.path().join("attachments")).unwrap();
        let used = attachments.put("used".into()).await.unwrap();
        let unused = attachments.put("unused".into()).await.unwrap();
        let entity = Document {
            id: DocumentId { path: "guest".to_owned(), name: "a".to_owned() },
            collection: Collection::Actions,
            revision: 0,
            updated: 1,
            public: false,
            attachment: Some(used.digest.clone()),
            body: "{}".to_owned(),
        };
        let entities = Entities::new(database.clone(), attachments.clone());
        let revision = entities.put(entity.clone()).await.unwrap();
        assert_eq!(sweep(&attachments, &database, GRACE).await, 0, "both are young");

        let age = |code: &Code| {
            let times = FileTimes::new().set_modified(SystemTime::now() - 2 * GRACE);
            let place = attachments.shelves.place(&code.digest).unwrap();
            fs::File::open(place).unwrap().set_times(times).unwrap();
        };
        age(&used);
        age(&unused);
        attachments.put("unused".into()).await.unwrap();
        assert_eq!(sweep(&attachments, &database, GRACE).await, 0, "storing again makes it young");
        age(&unused);
        assert_eq!(sweep(&attachments, &database, GRACE).await, 1);
        assert_eq!(attachments.get(&unused).await.unwrap(), None);
        assert_eq!(sweep(&attachments, &database, Duration::ZERO).await, 0, "what is used stays at any age");
        assert_eq!(attachments.get(&used).await.unwrap().unwrap(), "used");

        let revision = entities.put(Document { revision, updated: 2, ..entity.clone() }).await.unwrap();
        assert_eq!(sweep(&attachments, &database, GRACE).await, 0, "an update keeps its code");
        age(&used);
        entities.delete(&entity.id, revision).await.unwrap();
        assert_eq!(sweep(&attachments, &database, GRACE).await, 0, "what was let go of has its grace");
        age(&used);
        assert_eq!(sweep(&attachments, &database, GRACE).await, 1);
    }

    #[tokio::test]
    async fn damaged_and_unfinished_files_are_not_taken_for_code() {
        let folder = tempfile::tempdir().unwrap();
        let attachments = Attachments::open(folder.path()).unwrap();
        let code = attachments.put("function main() {}".into()).await.unwrap();
        let place = attachments.shelves.place(&code.digest).unwrap();
        fs::write(&place, "func").unwrap();
        let error = attachments.get(&code).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert_eq!(
            attachments.put("function main() {}".into()).await.unwrap(),
            code,
            "storing again mends it"
        );
        assert!(attachments.get(&code).await.unwrap().is_some());

        fs::write(folder.path().join(DRAFTS).join("7"), "half").unwrap();
        Attachments::open(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path().join(DRAFTS)).unwrap().count(), 0);
        for digest in ["../../etc/passwd", &"/".repeat(64), &"F".repeat(64), ""] {
            let hostile = Code { digest: digest.to_owned(), length: 1 };
            assert_eq!(attachments.get(&hostile).await.unwrap(), None, "{digest}");
        }
    }
}
