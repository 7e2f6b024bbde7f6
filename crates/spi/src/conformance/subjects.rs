//! What every subject store must do.

use chasen_entity::{AuthKey, EntityName, Subject, UserLimits};

use crate::{SubjectDocument, SubjectNamespace, SubjectStore};

fn key(uuid: &str) -> AuthKey {
    AuthKey { uuid: uuid.into(), key: "k".repeat(64).into() }
}

fn subject(name: &str, namespaces: &[(&str, &str)]) -> SubjectDocument {
    let namespace = |(name, uuid): &(&str, &str)| SubjectNamespace {
        name: EntityName::new(name).unwrap(),
        auth_key: key(uuid),
    };
    SubjectDocument {
        subject: Subject::new(name).unwrap(),
        blocked: false,
        namespaces: namespaces.iter().map(namespace).collect(),
    }
}

/// Subjects: keys found, blocked ones not, owners of namespaces, limits, changes seen.
pub async fn subject_store(store: &dyn SubjectStore) {
    keys(store).await;
    namespaces(store).await;
    limits(store).await;
}

async fn keys(store: &dyn SubjectStore) {
    let alice = subject("alice", &[("alice-ns", "id-1")]);
    let before = store.generation();
    store.put(&alice).await.unwrap();
    assert_ne!(store.generation(), before);
    assert_eq!(store.get("alice").await.unwrap(), Some(alice.clone()));
    let identity = store.identity(&key("id-1")).await.unwrap().unwrap();
    assert_eq!((identity.subject.as_str(), identity.namespace.name.as_str()), ("alice", "alice-ns"));
    assert_eq!(identity.auth_key, key("id-1"));
    let wrong = AuthKey { key: "x".repeat(64).into(), ..key("id-1") };
    assert_eq!(store.identity(&wrong).await.unwrap(), None);
    store.put(&SubjectDocument { blocked: true, ..alice }).await.unwrap();
    assert_eq!(store.identity(&key("id-1")).await.unwrap(), None, "blocked");
    assert_eq!(store.delete("alice").await, Ok(true));
    assert_eq!(store.delete("alice").await, Ok(false));
}

/// Who owns a namespace, and who speaks for it.
async fn namespaces(store: &dyn SubjectStore) {
    let anton = subject("anton", &[("anton", "id-a"), ("shared", "id-as")]);
    let berta = subject("berta", &[("shared", "id-bs"), ("berta", "id-b")]);
    let blocked = |one: &SubjectDocument| SubjectDocument { blocked: true, ..one.clone() };
    assert_eq!(store.owners("shared").await, Ok(Vec::new()));
    assert_eq!(store.identity_of_namespace("shared").await, Ok(None));
    store.put(&berta).await.unwrap();
    store.put(&anton).await.unwrap();
    assert_eq!(store.owners("shared").await, Ok(vec![anton.clone(), berta.clone()]), "by name");
    assert_eq!(store.owners("anton").await, Ok(vec![anton.clone()]));

    let speaker = async |namespace: &str| {
        let identity = store.identity_of_namespace(namespace).await.unwrap()?;
        assert_eq!(identity.namespace.name.as_str(), namespace);
        assert_eq!(identity.namespace.uuid, identity.auth_key.uuid);
        assert_eq!(Some(&identity), store.identity(&identity.auth_key).await.unwrap().as_ref());
        Some((identity.subject.as_str().to_owned(), identity.auth_key.uuid.to_string()))
    };
    let of = |name: &str, uuid: &str| Some((name.to_owned(), uuid.to_owned()));
    assert_eq!(speaker("shared").await, of("anton", "id-as"), "of several the first by name");
    store.put(&blocked(&anton)).await.unwrap();
    assert_eq!(speaker("shared").await, of("berta", "id-bs"), "who is blocked does not speak");
    assert_eq!(speaker("anton").await, None);
    assert_eq!(store.owners("shared").await, Ok(vec![blocked(&anton), berta.clone()]), "but owns");
    store.put(&blocked(&berta)).await.unwrap();
    assert_eq!(speaker("shared").await, None);

    let moved = subject("berta", &[("berta", "id-b2")]);
    store.put(&moved).await.unwrap();
    assert_eq!(store.owners("shared").await, Ok(vec![blocked(&anton)]), "given up");
    assert_eq!(store.identity(&key("id-b")).await, Ok(None), "the old key is no more");
    assert_eq!(speaker("berta").await, of("berta", "id-b2"));
    assert_eq!(store.list(Some("anto"), 1).await, Ok(vec![blocked(&anton)]), "pages by name");
    assert_eq!(store.list(Some("anton"), 1).await, Ok(vec![moved]));
    for name in ["anton", "berta"] {
        assert_eq!(store.delete(name).await, Ok(true));
    }
    assert_eq!(store.owners("shared").await, Ok(Vec::new()));
}

async fn limits(store: &dyn SubjectStore) {
    let owner = subject("carla", &[("carla", "id-c")]);
    store.put(&owner).await.unwrap();
    assert_eq!(store.limits("carla").await, Ok(None));
    let limits = UserLimits {
        invocations_per_minute: Some(5),
        allowed_kinds: Some(vec!["nodejs:20".to_owned()]),
        store_activations: Some(false),
        ..UserLimits::default()
    };
    let before = store.generation();
    store.set_limits("carla", Some(&limits)).await.unwrap();
    assert_ne!(store.generation(), before, "identities carry them");
    assert_eq!(store.limits("carla").await, Ok(Some(limits.clone())));
    assert_eq!(store.limits("other").await, Ok(None));
    for identity in [store.identity(&key("id-c")).await, store.identity_of_namespace("carla").await] {
        assert_eq!(identity.unwrap().unwrap().limits, limits);
    }
    let other = UserLimits { fires_per_minute: Some(0), ..UserLimits::default() };
    store.set_limits("carla", Some(&other)).await.unwrap();
    assert_eq!(store.limits("carla").await, Ok(Some(other)), "set anew as a whole");
    let before = store.generation();
    store.set_limits("carla", None).await.unwrap();
    assert_ne!(store.generation(), before);
    assert_eq!(store.limits("carla").await, Ok(None));
    store.set_limits("carla", None).await.unwrap();
    assert_eq!(store.identity(&key("id-c")).await.unwrap().unwrap().limits, UserLimits::default());
    assert_eq!(store.delete("carla").await, Ok(true));
}
