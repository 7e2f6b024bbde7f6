//! The well-known guest: credentials that everybody knows, so that a first try needs no set-up.
//!
//! They exist on nodes that only their own machine reaches, or where the operator insists.

use chasen_entity::{AuthKey, EntityName, Subject};
use chasen_spi::{StoreError, SubjectDocument, SubjectNamespace, SubjectStore};

/// Credentials of the guest, as published.
pub const CREDENTIALS: &str =
    "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:123zO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP";
/// Subject and namespace of the guest.
const NAME: &str = "guest";

/// Makes the store agree with whether the guest may exist. A subject `guest` with other keys is somebody's
/// own and is left alone.
pub async fn admit(subjects: &dyn SubjectStore, allowed: bool) -> Result<(), StoreError> {
    let Some((subject, namespace)) = well_known() else { return Ok(()) };
    match (subjects.get(NAME).await?, allowed) {
        (None, true) => {
            subjects.put(&SubjectDocument { subject, blocked: false, namespaces: vec![namespace] }).await
        }
        (Some(mut document), false) => {
            let owned = document.namespaces.len();
            document.namespaces.retain(|own| own.auth_key != namespace.auth_key);
            match document.namespaces.len() {
                kept if kept == owned => Ok(()),
                0 => subjects.delete(NAME).await.map(drop),
                _ => subjects.put(&document).await,
            }
        }
        (None, false) | (Some(_), true) => Ok(()),
    }
}

fn well_known() -> Option<(Subject, SubjectNamespace)> {
    let namespace = SubjectNamespace { name: EntityName::new(NAME)?, auth_key: AuthKey::parse(CREDENTIALS)? };
    Some((Subject::new(NAME).ok()?, namespace))
}

#[cfg(test)]
mod tests {
    use chasen_spi::memory::MemorySubjectStore;

    use super::*;

    async fn known(subjects: &MemorySubjectStore) -> bool {
        subjects.identity(&AuthKey::parse(CREDENTIALS).unwrap()).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn the_guest_comes_and_goes() {
        let subjects = MemorySubjectStore::default();
        for allowed in [true, true, false, false, true] {
            admit(&subjects, allowed).await.unwrap();
            assert_eq!(known(&subjects).await, allowed);
        }
    }

    #[tokio::test]
    async fn a_guest_with_own_keys_is_left_alone() {
        let subjects = MemorySubjectStore::default();
        let key = AuthKey::parse(&format!("own:{}", "k".repeat(64))).unwrap();
        let namespace = SubjectNamespace { name: EntityName::new(NAME).unwrap(), auth_key: key };
        let own = SubjectDocument {
            subject: Subject::new(NAME).unwrap(),
            blocked: false,
            namespaces: vec![namespace],
        };
        subjects.put(&own).await.unwrap();
        for allowed in [true, false] {
            admit(&subjects, allowed).await.unwrap();
            assert_eq!(subjects.get(NAME).await.unwrap().as_ref(), Some(&own));
        }
    }
}
