//! What every artifact store and attachment store must do.

use bytes::Bytes;

use crate::{
    ArtifactStore, AttachmentStore, Change, Collection, Document, DocumentId, DocumentQuery, StoreError,
};

fn id(path: &str, name: &str) -> DocumentId {
    DocumentId { path: path.to_owned(), name: name.to_owned() }
}

fn document(path: &str, name: &str, updated: u64) -> Document {
    Document {
        id: id(path, name),
        collection: Collection::Actions,
        revision: 0,
        updated,
        public: false,
        attachment: None,
        body: format!(r#"{{"name":"{name}"}}"#),
    }
}

fn all_of(path: &str) -> DocumentQuery {
    DocumentQuery {
        collection: Collection::Actions,
        path: path.to_owned(),
        path_exact: false,
        public_only: false,
        skip: 0,
        limit: 100,
    }
}

fn names(documents: Vec<Document>) -> Vec<String> {
    documents.into_iter().map(|document| document.id.name).collect()
}

/// Entities: revisions, conflicts, order, pages, collections, changes made together.
pub async fn artifact_store(store: &dyn ArtifactStore) {
    one_by_one(store).await;
    collections(store).await;
    public_ones(store).await;
    together(store).await;
}

async fn one_by_one(store: &dyn ArtifactStore) {
    let first = document("guest", "a", 1);
    let created = store.put(first.clone()).await.unwrap();
    assert!(created > 0);
    assert_eq!(store.put(first.clone()).await, Err(StoreError::Conflict), "create over an existing one");
    let read = store.get(&first.id).await.unwrap().unwrap();
    assert_eq!((read.revision, read.body.as_str()), (created, r#"{"name":"a"}"#));
    let updated = store.put(Document { updated: 5, ..read.clone() }).await.unwrap();
    assert!(updated > created);
    assert_eq!(store.put(read.clone()).await, Err(StoreError::Conflict), "stale update");
    assert_eq!(store.delete(&first.id, created).await, Err(StoreError::Conflict), "stale delete");

    store.put(document("guest", "b", 3)).await.unwrap();
    store.put(document("guest/pkg", "c", 4)).await.unwrap();
    store.put(document("guest2", "d", 9)).await.unwrap();
    assert_eq!(
        names(store.list(&all_of("guest")).await.unwrap()),
        ["a", "c", "b"],
        "newest first, packages too"
    );
    let exact = DocumentQuery { path_exact: true, ..all_of("guest") };
    assert_eq!(names(store.list(&exact).await.unwrap()), ["a", "b"]);
    let page = DocumentQuery { skip: 1, limit: 1, ..all_of("guest") };
    assert_eq!(names(store.list(&page).await.unwrap()), ["c"]);
    assert_eq!(store.count(&page).await, Ok(3), "counting ignores the page");

    store.delete(&first.id, updated).await.unwrap();
    assert_eq!(store.get(&first.id).await, Ok(None));
    assert_eq!(store.delete(&first.id, updated).await, Err(StoreError::Conflict), "nothing to delete");
    assert_eq!(store.delete(&first.id, 0).await, Err(StoreError::Conflict), "nothing has no state");
    let again = store.put(first).await.unwrap();
    assert!(again > updated, "revisions never repeat");
}

/// Lists keep collections apart; ids are one space.
async fn collections(store: &dyn ArtifactStore) {
    let all = [
        Collection::Actions,
        Collection::Packages,
        Collection::Rules,
        Collection::Triggers,
        Collection::Versions,
    ];
    for collection in all {
        let one = Document { collection, ..document("sorts", collection.as_str(), 1) };
        store.put(one).await.unwrap();
    }
    for collection in all {
        let query = DocumentQuery { collection, ..all_of("sorts") };
        assert_eq!(names(store.list(&query).await.unwrap()), [collection.as_str()]);
        assert_eq!(store.count(&query).await, Ok(1));
        let read = store.get(&id("sorts", collection.as_str())).await.unwrap().unwrap();
        assert_eq!(read.collection, collection);
        for other in all {
            let taken = Document { collection: other, ..document("sorts", collection.as_str(), 1) };
            assert_eq!(store.put(taken).await, Err(StoreError::Conflict), "{other:?} over {collection:?}");
        }
    }
}

/// What other namespaces find.
async fn public_ones(store: &dyn ArtifactStore) {
    let package = |name: &str, updated, public| Document {
        collection: Collection::Packages,
        public,
        ..document("shares", name, updated)
    };
    let first = package("first", 1, true);
    let revision = store.put(first.clone()).await.unwrap();
    for (name, updated, public) in [("private", 2, false), ("second", 3, true), ("third", 4, true)] {
        store.put(package(name, updated, public)).await.unwrap();
    }
    store.put(Document { public: true, ..document("shares/second", "inside", 9) }).await.unwrap();
    let all = DocumentQuery { collection: Collection::Packages, ..all_of("shares") };
    assert_eq!(names(store.list(&all).await.unwrap()), ["third", "second", "private", "first"]);
    for path_exact in [false, true] {
        let public = DocumentQuery { public_only: true, path_exact, ..all.clone() };
        assert_eq!(names(store.list(&public).await.unwrap()), ["third", "second", "first"]);
        let page = DocumentQuery { skip: 1, limit: 1, ..public.clone() };
        assert_eq!(names(store.list(&page).await.unwrap()), ["second"]);
        assert_eq!(store.count(&page).await, Ok(3));
    }
    let inside = DocumentQuery { public_only: true, path_exact: true, ..all_of("shares/second") };
    assert_eq!(names(store.list(&inside).await.unwrap()), ["inside"]);
    let public = DocumentQuery { public_only: true, ..all };
    store.put(Document { public: false, revision, ..first }).await.unwrap();
    assert_eq!(names(store.list(&public).await.unwrap()), ["third", "second"], "taken back");
}

/// Several changes are made together or not at all.
async fn together(store: &dyn ArtifactStore) {
    assert_eq!(store.apply(Vec::new()).await, Ok(Vec::new()));
    let put = |name: &str, revision, body: &str| {
        Change::Put(Document { revision, body: body.to_owned(), ..document("batch", name, 1) })
    };
    let made = store.apply(vec![put("a", 0, "1"), put("b", 0, "1"), put("c", 0, "1")]).await.unwrap();
    let [a, b, c] = made[..] else { panic!("{made:?}") };
    assert!(0 < a && a < b && b < c, "in their order");

    let before = store.list(&all_of("batch")).await.unwrap();
    let stale_in_the_middle = vec![put("a", a, "2"), put("b", a, "2"), Change::Delete(id("batch", "c"), c)];
    let missing_at_the_end =
        vec![put("a", a, "2"), put("new", 0, "2"), Change::Delete(id("batch", "none"), 1)];
    let twice_the_same_state = vec![put("a", a, "2"), put("a", a, "3")];
    let deleted_before = vec![Change::Delete(id("batch", "a"), a), put("a", a, "2")];
    for changes in [stale_in_the_middle, missing_at_the_end, twice_the_same_state, deleted_before] {
        assert_eq!(store.apply(changes.clone()).await, Err(StoreError::Conflict), "{changes:?}");
        assert_eq!(store.list(&all_of("batch")).await.unwrap(), before, "nothing of {changes:?}");
        assert_eq!(store.get(&id("batch", "new")).await, Ok(None));
    }

    let changes = vec![
        put("a", a, "2"),
        Change::Delete(id("batch", "b"), b),
        put("b", 0, "2"),
        Change::Delete(id("batch", "c"), c),
    ];
    let made = store.apply(changes).await.unwrap();
    assert_eq!((made[1], made[3]), (b, c), "what is removed had these");
    assert!(c < made[0] && made[0] < made[2], "{made:?}");
    let after = store.list(&all_of("batch")).await.unwrap();
    let found: Vec<_> =
        after.iter().map(|one| (one.id.name.as_str(), one.revision, one.body.as_str())).collect();
    assert_eq!(found, [("a", made[0], "2"), ("b", made[2], "2")], "equal times by name");
    assert_eq!(store.namespaces(Some("batc"), 1).await, Ok(vec!["batch".to_owned()]));
    assert!(!store.namespaces(Some("batch"), u64::MAX).await.unwrap().contains(&"batch".to_owned()));
}

/// Code: equal texts once, any size, any bytes.
pub async fn attachment_store(store: &dyn AttachmentStore) {
    let text = Bytes::from_static("fünction main() {}".as_bytes());
    let code = store.put(text.clone()).await.unwrap();
    assert_eq!(code.length, text.len() as u64);
    assert_eq!(store.put(text.clone()).await.unwrap(), code);
    assert_eq!(store.get(&code).await.unwrap(), Some(text));
    let large = Bytes::from(vec![b'x'; 3 << 20]);
    let other = store.put(large.clone()).await.unwrap();
    assert_ne!(other.digest, code.digest);
    assert_eq!(store.get(&other).await.unwrap(), Some(large));
    let unknown = chasen_entity::Code { digest: "f".repeat(64), length: 1 };
    assert_eq!(store.get(&unknown).await.unwrap(), None);
}
