//! Keys of requests under load, and beside other writers.

use std::sync::Arc;
use std::time::Instant;

use chasen_entity::{ActivationId, EntityName};
use chasen_spi::{Claim, IdempotencyStore, KeyedRequest};

use crate::fixture::open;

const CALLERS: u32 = 64;
const EACH: u32 = 100;

fn request(key: String, at: u64) -> KeyedRequest {
    let (namespace, activation_id) = (EntityName::new("guest").unwrap(), ActivationId::generate());
    KeyedRequest { namespace, key, digest: [1; 32], activation_id, at }
}

async fn claim_all(store: Arc<dyn IdempotencyStore>, caller: u32) {
    for number in 0..EACH {
        let claim = store.claim(&request(format!("{caller}-{number}"), 1)).await;
        assert_eq!(claim, Ok(Claim::New));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_claims_at_once_share_the_disk_and_outlive_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path());
    let begun = Instant::now();
    let callers: Vec<_> =
        (0..CALLERS).map(|caller| tokio::spawn(claim_all(node.idempotency_store(), caller))).collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let rate = f64::from(CALLERS * EACH) / begun.elapsed().as_secs_f64();
    eprintln!("{rate:.0} claims/s by {CALLERS} callers");
    node.close().await;
    let node = open(folder.path());
    let store = node.idempotency_store();
    for caller in 0..CALLERS {
        let again = store.claim(&request(format!("{caller}-0"), 2)).await.unwrap();
        assert!(matches!(again, Claim::Same(_)), "{again:?}");
    }
    node.close().await;
}
