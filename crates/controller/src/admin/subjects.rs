//! Subjects and their keys, on a store of subjects, whether a node runs on it or not.

use chasen_entity::identity::KEY_LENGTH;
use chasen_entity::{AuthKey, EntityName, Subject};
use chasen_spi::{StoreError, SubjectDocument, SubjectNamespace, SubjectStore};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::AdminError;

/// A namespace and the credentials that it is entered with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceKey {
    /// Its name.
    pub namespace: String,
    /// `uuid:key`
    pub auth: String,
}

/// A subject, as the operator sees it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectView {
    /// Its name.
    pub subject: String,
    /// True while its keys are refused.
    pub blocked: bool,
    /// What it owns.
    pub namespaces: Vec<NamespaceKey>,
}

/// Whose credentials are whose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Who.
    pub subject: String,
    /// Which of the subject's namespaces.
    pub namespace: String,
}

/// Somebody who may enter a namespace.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Who.
    pub subject: String,
    /// `uuid:key`
    pub auth: String,
}

/// How a namespace gets its key.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyWish {
    /// These credentials (`uuid:key`); without them some are made up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<String>,
    /// Replace the key of a namespace that is there already.
    pub revoke: bool,
}

/// Creates a subject, adds a namespace to it, or renews a key.
pub async fn create(
    subjects: &dyn SubjectStore,
    subject: &str,
    namespace: Option<&str>,
    wish: &KeyWish,
) -> Result<NamespaceKey, AdminError> {
    let subject = Subject::new(subject).map_err(AdminError::Subject)?;
    let name = namespace.unwrap_or(subject.as_str());
    let name = EntityName::new(name).ok_or_else(|| AdminError::Namespace(name.to_owned()))?;
    let given = wish.auth.as_deref().map(credentials).transpose()?;
    let mut document = subjects.get(subject.as_str()).await?.unwrap_or_else(|| SubjectDocument {
        subject: subject.clone(),
        blocked: false,
        namespaces: Vec::new(),
    });
    if document.blocked {
        return Err(AdminError::Blocked);
    }
    let key = match document.namespaces.iter_mut().find(|own| own.name == name) {
        Some(_) if !wish.revoke => return Err(AdminError::Exists),
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
            document.namespaces.push(SubjectNamespace { name: name.clone(), auth_key: key.clone() });
            key
        }
    };
    subjects.put(&document).await.map_err(|error| match error {
        StoreError::Conflict => AdminError::KeyTaken,
        other => other.into(),
    })?;
    Ok(NamespaceKey { namespace: name.to_string(), auth: key.to_credentials() })
}

/// Credentials that nobody has, or the given ones if they are some.
pub fn generate(given: Option<&str>) -> Result<String, AdminError> {
    let key = given.map_or_else(new_key, credentials)?;
    Ok(key.to_credentials())
}

/// A subject with all it has.
pub async fn get(subjects: &dyn SubjectStore, subject: &str) -> Result<SubjectView, AdminError> {
    Ok(view(load(subjects, subject).await?))
}

/// The credentials of one namespace of a subject, by default that of its own name.
pub async fn key(
    subjects: &dyn SubjectStore,
    subject: &str,
    namespace: Option<&str>,
) -> Result<NamespaceKey, AdminError> {
    let namespace = namespace.unwrap_or(subject);
    let found = get(subjects, subject).await?.namespaces.into_iter().find(|own| own.namespace == namespace);
    found.ok_or_else(|| no_namespace(subject, namespace))
}

/// Removes a subject and every key of it.
pub async fn delete(subjects: &dyn SubjectStore, subject: &str) -> Result<(), AdminError> {
    match subjects.delete(subject).await? {
        true => Ok(()),
        false => Err(AdminError::NoSubject(subject.to_owned())),
    }
}

/// Removes one namespace of a subject, and with the last one the subject.
pub async fn delete_namespace(
    subjects: &dyn SubjectStore,
    subject: &str,
    namespace: &str,
) -> Result<(), AdminError> {
    let mut document = load(subjects, subject).await?;
    let owned = document.namespaces.len();
    document.namespaces.retain(|own| own.name.as_str() != namespace);
    if document.namespaces.len() == owned {
        return Err(no_namespace(subject, namespace));
    }
    if document.namespaces.is_empty() {
        return delete(subjects, subject).await;
    }
    Ok(subjects.put(&document).await?)
}

/// Refuses the keys of a subject from the next request on, or takes them again.
pub async fn set_blocked(
    subjects: &dyn SubjectStore,
    subject: &str,
    blocked: bool,
) -> Result<(), AdminError> {
    let document = load(subjects, subject).await?;
    Ok(subjects.put(&SubjectDocument { blocked, ..document }).await?)
}

/// Whose credentials these are. Those of a blocked subject are nobody's.
pub async fn whois(subjects: &dyn SubjectStore, auth: &str) -> Result<Owner, AdminError> {
    let key = AuthKey::parse(auth.trim()).ok_or(AdminError::NotRecognized)?;
    let identity = subjects.identity(&key).await?.ok_or(AdminError::NotRecognized)?;
    let (subject, namespace) = (identity.subject.to_string(), identity.namespace.name.to_string());
    Ok(Owner { subject, namespace })
}

/// Who may enter a namespace, by subject.
pub async fn holders(subjects: &dyn SubjectStore, namespace: &str) -> Result<Vec<Holder>, AdminError> {
    let owners = subjects.owners(namespace).await?;
    let keys = owners.into_iter().filter(|owner| !owner.blocked).flat_map(|owner| {
        let view = view(owner);
        let own = view.namespaces.into_iter().filter(|own| own.namespace == namespace);
        let subject = view.subject;
        own.map(move |own| Holder { subject: subject.clone(), auth: own.auth }).collect::<Vec<_>>()
    });
    Ok(keys.collect())
}

async fn load(subjects: &dyn SubjectStore, subject: &str) -> Result<SubjectDocument, AdminError> {
    subjects.get(subject).await?.ok_or_else(|| AdminError::NoSubject(subject.to_owned()))
}

fn view(document: SubjectDocument) -> SubjectView {
    let key = |own: SubjectNamespace| NamespaceKey {
        namespace: own.name.to_string(),
        auth: own.auth_key.to_credentials(),
    };
    SubjectView {
        subject: document.subject.to_string(),
        blocked: document.blocked,
        namespaces: document.namespaces.into_iter().map(key).collect(),
    }
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

    const RENEWED: KeyWish = KeyWish { auth: None, revoke: true };

    async fn created(subjects: &MemorySubjectStore, subject: &str, namespace: Option<&str>) -> String {
        create(subjects, subject, namespace, &KeyWish::default()).await.unwrap().auth
    }

    #[tokio::test]
    async fn keys_are_made_renewed_and_removed() {
        let subjects = MemorySubjectStore::default();
        let first = created(&subjects, "whisker", None).await;
        assert!(AuthKey::parse(&first).is_some());
        let again = create(&subjects, "whisker", None, &KeyWish::default()).await;
        assert!(matches!(again, Err(AdminError::Exists)));
        let renewed = create(&subjects, "whisker", None, &RENEWED).await.unwrap().auth;
        assert_eq!(renewed.split_once(':').unwrap().0, first.split_once(':').unwrap().0);
        assert_ne!(renewed, first);
        assert_eq!(key(&subjects, "whisker", None).await.unwrap().auth, renewed);
        delete(&subjects, "whisker").await.unwrap();
        assert!(matches!(key(&subjects, "whisker", None).await, Err(AdminError::NoSubject(_))));
        assert!(matches!(delete(&subjects, "whisker").await, Err(AdminError::NoSubject(_))));
    }

    #[tokio::test]
    async fn namespaces_come_and_go_and_the_last_takes_the_subject_along() {
        let subjects = MemorySubjectStore::default();
        created(&subjects, "whisker", None).await;
        let shared = created(&subjects, "whisker", Some("shared")).await;
        created(&subjects, "another", Some("shared")).await;
        let names: Vec<_> = get(&subjects, "whisker")
            .await
            .unwrap()
            .namespaces
            .into_iter()
            .map(|own| own.namespace)
            .collect();
        assert_eq!(names, ["whisker", "shared"]);
        let holders = async || -> Vec<String> {
            let found = holders(&subjects, "shared").await.unwrap();
            found.into_iter().map(|holder| holder.subject).collect()
        };
        assert_eq!(holders().await, ["another", "whisker"]);
        let owner = whois(&subjects, &shared).await.unwrap();
        assert_eq!((owner.subject.as_str(), owner.namespace.as_str()), ("whisker", "shared"));
        delete_namespace(&subjects, "whisker", "shared").await.unwrap();
        assert!(matches!(
            delete_namespace(&subjects, "whisker", "shared").await,
            Err(AdminError::NoNamespace { .. })
        ));
        assert!(matches!(whois(&subjects, &shared).await, Err(AdminError::NotRecognized)));
        delete_namespace(&subjects, "whisker", "whisker").await.unwrap();
        assert!(matches!(get(&subjects, "whisker").await, Err(AdminError::NoSubject(_))));
        assert_eq!(holders().await, ["another"]);
    }

    #[tokio::test]
    async fn blocked_subjects_are_nobody_and_not_edited() {
        let subjects = MemorySubjectStore::default();
        let auth = created(&subjects, "whisker", None).await;
        set_blocked(&subjects, "whisker", true).await.unwrap();
        for wish in [KeyWish::default(), RENEWED] {
            let edited = create(&subjects, "whisker", Some("more"), &wish).await;
            assert!(matches!(edited, Err(AdminError::Blocked)));
        }
        assert!(matches!(whois(&subjects, &auth).await, Err(AdminError::NotRecognized)));
        assert!(holders(&subjects, "whisker").await.unwrap().is_empty());
        assert_eq!(key(&subjects, "whisker", None).await.unwrap().auth, auth, "its key is kept");
        set_blocked(&subjects, "whisker", false).await.unwrap();
        assert!(whois(&subjects, &auth).await.is_ok());
        assert!(matches!(set_blocked(&subjects, "nobody", true).await, Err(AdminError::NoSubject(_))));
    }

    #[tokio::test]
    async fn what_cannot_be_is_not_stored() {
        let subjects = MemorySubjectStore::default();
        let wish = |auth: &str| KeyWish { auth: Some(auth.to_owned()), revoke: false };
        let uuid = "23bc46b1-71f6-4ed5-8c54-816aa4f8c502";
        for (subject, namespace, wish, text) in [
            ("who", None, KeyWish::default(), "Subject name must be at least 5 characters".to_owned()),
            (
                "whisker",
                Some("a/b"),
                KeyWish::default(),
                "namespace 'a/b' contains characters that names cannot have".to_owned(),
            ),
            ("whisker", None, wish("nobody"), "authorization id is not a valid UUID".to_owned()),
            ("whisker", None, wish("a:b"), "authorization id is not a valid UUID".to_owned()),
            (
                "whisker",
                None,
                wish(&format!("{uuid}:short")),
                "authorization key must be at least 64 characters long".to_owned(),
            ),
            (
                "whisker",
                None,
                wish(&format!("{uuid}:{}", "k".repeat(65))),
                "authorization key must be at most 64 characters long".to_owned(),
            ),
        ] {
            let error = create(&subjects, subject, namespace, &wish).await.err().unwrap();
            assert_eq!(error.to_string(), text);
            assert_eq!(subjects.list(None, 9).await.unwrap(), []);
        }
    }

    #[test]
    fn made_up_keys_differ() {
        let keys: std::collections::BTreeSet<_> = (0..50).map(|_| generate(None).unwrap()).collect();
        assert_eq!(keys.len(), 50);
    }
}
