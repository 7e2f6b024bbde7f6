//! Administration of subjects, on the data folder, whether a node runs on it or not.

use chasen_entity::identity::KEY_LENGTH;
use chasen_entity::{AuthKey, EntityName, Subject};
use chasen_spi::{StoreError, SubjectDocument, SubjectNamespace, SubjectStore};
use uuid::Uuid;

/// Why nothing was done. The texts are those that scripts know.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The subject's name is too short.
    #[error("{0}")]
    Subject(&'static str),
    /// The namespace's name cannot be one.
    #[error("namespace '{0}' contains characters that names cannot have")]
    Namespace(String),
    /// Credentials without a colon, or whose first part is no UUID.
    #[error("authorization id is not a valid UUID")]
    Uuid,
    /// Credentials whose second part is too short.
    #[error("authorization key must be at least {KEY_LENGTH} characters long")]
    KeyTooShort,
    /// Credentials whose second part is too long to log in with.
    #[error("authorization key must be at most {KEY_LENGTH} characters long")]
    KeyTooLong,
    /// The namespace is there already.
    #[error("Namespace already exists")]
    Exists,
    /// The subject is blocked.
    #[error("The subject you want to edit is blocked")]
    Blocked,
    /// No such subject.
    #[error("there is no subject '{0}'")]
    NoSubject(String),
    /// No such namespace.
    #[error("subject '{subject}' has no namespace '{namespace}'")]
    NoNamespace {
        /// Whose.
        subject: String,
        /// Which.
        namespace: String,
    },
    /// No random numbers.
    #[error("a key could not be made: {0}")]
    Random(getrandom::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What to create.
#[derive(Debug, Clone, Default)]
pub struct Create {
    /// Who.
    pub subject: String,
    /// Namespace; the subject's name if absent.
    pub namespace: Option<String>,
    /// Credentials (`uuid:key`); made up if absent.
    pub credentials: Option<String>,
    /// Replace the key of a namespace that is there already.
    pub renew: bool,
    /// Store nothing, only make up credentials.
    pub dry: bool,
}

/// Creates a subject or adds a namespace to it; gives the credentials.
pub async fn create(subjects: &dyn SubjectStore, wanted: &Create) -> Result<String, AdminError> {
    let subject = Subject::new(&wanted.subject).map_err(AdminError::Subject)?;
    let name = wanted.namespace.as_deref().unwrap_or(subject.as_str());
    let name = EntityName::new(name).ok_or_else(|| AdminError::Namespace(name.to_owned()))?;
    let given = wanted.credentials.as_deref().map(credentials).transpose()?;
    if wanted.dry {
        return given.map_or_else(new_key, Ok).map(|key| key.to_credentials());
    }
    let mut document = subjects.get(subject.as_str()).await?.unwrap_or_else(|| SubjectDocument {
        subject: subject.clone(),
        blocked: false,
        namespaces: Vec::new(),
    });
    if document.blocked {
        return Err(AdminError::Blocked);
    }
    let key = match document.namespaces.iter_mut().find(|own| own.name == name) {
        Some(_) if !wanted.renew => return Err(AdminError::Exists),
        Some(own) => {
            // The namespace keeps its id, by which its counters go on.
            own.auth_key = match given {
                Some(key) => key,
                None => AuthKey { uuid: own.auth_key.uuid.clone(), ..new_key()? },
            };
            own.auth_key.clone()
        }
        None => {
            let key = given.map_or_else(new_key, Ok)?;
            document.namespaces.push(SubjectNamespace { name, auth_key: key.clone() });
            key
        }
    };
    subjects.put(&document).await?;
    Ok(key.to_credentials())
}

/// The credentials of one namespace, by default that of the subject's name.
pub async fn get(
    subjects: &dyn SubjectStore,
    subject: &str,
    namespace: Option<&str>,
) -> Result<String, AdminError> {
    let document = load(subjects, subject).await?;
    let namespace = namespace.unwrap_or(subject);
    let own = document.namespaces.iter().find(|own| own.name.as_str() == namespace);
    own.map(|own| own.auth_key.to_credentials()).ok_or_else(|| no_namespace(subject, namespace))
}

/// Every namespace of a subject with its credentials.
pub async fn get_all(
    subjects: &dyn SubjectStore,
    subject: &str,
) -> Result<Vec<(String, String)>, AdminError> {
    let document = load(subjects, subject).await?;
    Ok(document.namespaces.iter().map(|own| (own.name.to_string(), own.auth_key.to_credentials())).collect())
}

/// Removes a subject, or one of its namespaces and with the last one the subject; says which.
pub async fn delete(
    subjects: &dyn SubjectStore,
    subject: &str,
    namespace: Option<&str>,
) -> Result<&'static str, AdminError> {
    let mut document = load(subjects, subject).await?;
    let Some(namespace) = namespace else {
        subjects.delete(subject).await?;
        return Ok("Subject deleted");
    };
    let owned = document.namespaces.len();
    document.namespaces.retain(|own| own.name.as_str() != namespace);
    if document.namespaces.len() == owned {
        return Err(no_namespace(subject, namespace));
    }
    if document.namespaces.is_empty() {
        subjects.delete(subject).await?;
    } else {
        subjects.put(&document).await?;
    }
    Ok("Namespace deleted")
}

async fn load(subjects: &dyn SubjectStore, subject: &str) -> Result<SubjectDocument, AdminError> {
    subjects.get(subject).await?.ok_or_else(|| AdminError::NoSubject(subject.to_owned()))
}

fn no_namespace(subject: &str, namespace: &str) -> AdminError {
    AdminError::NoNamespace { subject: subject.to_owned(), namespace: namespace.to_owned() }
}

fn credentials(text: &str) -> Result<AuthKey, AdminError> {
    let (uuid, key) = text.split_once(':').ok_or(AdminError::Uuid)?;
    Uuid::try_parse(uuid).map_err(|_| AdminError::Uuid)?;
    match key.len() {
        KEY_LENGTH => Ok(AuthKey { uuid: uuid.into(), key: key.into() }),
        length if length < KEY_LENGTH => Err(AdminError::KeyTooShort),
        _ => Err(AdminError::KeyTooLong),
    }
}

/// A fresh id and a secret of letters and digits.
fn new_key() -> Result<AuthKey, AdminError> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut key = String::with_capacity(KEY_LENGTH);
    while key.len() < KEY_LENGTH {
        let mut random = [0; KEY_LENGTH];
        getrandom::fill(&mut random).map_err(AdminError::Random)?;
        // Bytes beyond the last whole multiple would favour the first letters.
        let letters = random.iter().filter_map(|byte| {
            let fair = usize::from(*byte) < 256 / ALPHABET.len() * ALPHABET.len();
            ALPHABET.get(usize::from(*byte) % ALPHABET.len()).filter(|_| fair)
        });
        key.extend(letters.take(KEY_LENGTH - key.len()).map(|letter| char::from(*letter)));
    }
    Ok(AuthKey { uuid: Uuid::new_v4().to_string().into(), key: key.into() })
}

#[cfg(test)]
mod tests {
    use chasen_spi::memory::MemorySubjectStore;

    use super::*;

    fn wanted(subject: &str) -> Create {
        Create { subject: subject.to_owned(), ..Create::default() }
    }

    #[tokio::test]
    async fn keys_are_made_renewed_and_removed() {
        let subjects = MemorySubjectStore::default();
        let first = create(&subjects, &wanted("whisker")).await.unwrap();
        assert!(AuthKey::parse(&first).is_some());
        assert!(matches!(create(&subjects, &wanted("whisker")).await, Err(AdminError::Exists)));
        let renewed = create(&subjects, &Create { renew: true, ..wanted("whisker") }).await.unwrap();
        assert_eq!(renewed.split_once(':').unwrap().0, first.split_once(':').unwrap().0);
        assert_ne!(renewed, first);
        assert_eq!(get(&subjects, "whisker", None).await.unwrap(), renewed);
        assert_eq!(delete(&subjects, "whisker", None).await.unwrap(), "Subject deleted");
        assert!(matches!(get(&subjects, "whisker", None).await, Err(AdminError::NoSubject(_))));
    }

    #[tokio::test]
    async fn nothing_is_stored_of_what_is_only_made_up() {
        let subjects = MemorySubjectStore::default();
        let key = create(&subjects, &Create { dry: true, ..wanted("whisker") }).await.unwrap();
        assert!(AuthKey::parse(&key).is_some());
        assert_eq!(subjects.get("whisker").await.unwrap(), None);
    }

    #[tokio::test]
    async fn blocked_subjects_are_not_edited() {
        let subjects = MemorySubjectStore::default();
        create(&subjects, &wanted("whisker")).await.unwrap();
        let mut document = subjects.get("whisker").await.unwrap().unwrap();
        document.blocked = true;
        subjects.put(&document).await.unwrap();
        assert!(matches!(create(&subjects, &wanted("whisker")).await, Err(AdminError::Blocked)));
    }

    #[test]
    fn made_up_keys_differ() {
        let keys: std::collections::BTreeSet<_> =
            (0..50).map(|_| new_key().unwrap().to_credentials()).collect();
        assert_eq!(keys.len(), 50);
    }
}
