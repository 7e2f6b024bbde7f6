//! Entities against the in-memory reference, under any sequence of changes.

use chasen_spi::memory::MemoryArtifactStore;
use chasen_spi::{ArtifactStore, Change, Collection, Document, DocumentId, DocumentQuery};
use proptest::prelude::*;

use crate::fixture::open;

const COLLECTIONS: [Collection; 4] =
    [Collection::Actions, Collection::Packages, Collection::Rules, Collection::Triggers];
const PATHS: [&str; 4] = ["guest", "guest/pkg", "guest/pkg2", "guest2"];

/// A change whose revision is found when it is made.
#[derive(Debug, Clone)]
struct Draft {
    document: Document,
    is_delete: bool,
    /// Whether it names the stored state, none, or another one.
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Stored,
    New,
    Other(u64),
}

fn any_draft() -> impl Strategy<Value = Draft> {
    let id = (prop::sample::select(PATHS.to_vec()), 0..4u8)
        .prop_map(|(path, name)| DocumentId { path: path.to_owned(), name: format!("n{name}") });
    let state =
        prop_oneof![8 => Just(State::Stored), 1 => Just(State::New), 1 => (1..40u64).prop_map(State::Other)];
    let document = (id, prop::sample::select(COLLECTIONS.to_vec()), 0..4u64, any::<bool>(), "[a-z]{0,5}")
        .prop_map(|(id, collection, updated, public, body)| Document {
            id,
            collection,
            revision: 0,
            updated,
            public,
            attachment: None,
            body,
        });
    (document, prop::bool::weighted(0.3), state).prop_map(|(document, is_delete, state)| Draft {
        document,
        is_delete,
        state,
    })
}

fn any_query() -> impl Strategy<Value = DocumentQuery> {
    let path = prop::sample::select(["nobody"].into_iter().chain(PATHS).collect::<Vec<_>>());
    (prop::sample::select(COLLECTIONS.to_vec()), path, any::<bool>(), any::<bool>(), 0..6u64, 0..6u64)
        .prop_map(|(collection, path, path_exact, public_only, skip, limit)| DocumentQuery {
            collection,
            path: path.to_owned(),
            path_exact,
            public_only,
            skip,
            limit,
        })
}

/// Fills in the revisions, as a caller does who has read the documents.
async fn changes(store: &dyn ArtifactStore, drafts: Vec<Draft>) -> Vec<Change> {
    let mut changes = Vec::new();
    for Draft { document, is_delete, state } in drafts {
        let revision = match state {
            State::Stored => store.get(&document.id).await.unwrap().map_or(0, |stored| stored.revision),
            State::New => 0,
            State::Other(revision) => revision,
        };
        changes.push(if is_delete {
            Change::Delete(document.id, revision)
        } else {
            Change::Put(Document { revision, ..document })
        });
    }
    changes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_changes_have_the_outcome_of_the_reference(
        batches in prop::collection::vec(prop::collection::vec(any_draft(), 0..6), 1..16),
        queries in prop::collection::vec(any_query(), 12),
        size in 1..4u64,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let node = open(folder.path());
            let (store, reference) = (node.artifact_store(), MemoryArtifactStore::default());
            for batch in batches {
                let changes = changes(&reference, batch).await;
                prop_assert_eq!(
                    store.apply(changes.clone()).await,
                    reference.apply(changes.clone()).await,
                    "{:?}", changes
                );
            }
            for query in queries {
                let all = DocumentQuery { skip: 0, limit: u64::MAX, ..query.clone() };
                let whole = store.list(&all).await.unwrap();
                prop_assert_eq!(&whole, &reference.list(&all).await.unwrap(), "{:?}", all);
                prop_assert_eq!(store.list(&query).await, reference.list(&query).await, "{:?}", query);
                prop_assert_eq!(store.count(&query).await, Ok(whole.len() as u64));
                let mut pages = Vec::new();
                for page in 0..=whole.len() as u64 / size {
                    let query = DocumentQuery { skip: page * size, limit: size, ..all.clone() };
                    pages.extend(store.list(&query).await.unwrap());
                }
                prop_assert_eq!(pages, whole, "pages of {} make up the list", size);
            }
            node.close().await;
            Ok(())
        })?;
    }
}
