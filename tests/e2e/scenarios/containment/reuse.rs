//! What one call of an action leaves for the next: its own memory and files, for itself alone.

use serde_json::json;

use super::stage::{Stage, ordinary};
use crate::functions::{Function, call};
use crate::scenario::Scenario;

/// Remembers what it is given, and tells what it remembers.
const REMEMBERS: &str = "import os\nmemory = []\ndef main(args):\n    \
    told = {'memory': list(memory), 'files': [name for name in os.listdir('/tmp') if name.startswith('note')]}\n    \
    if 'note' in args:\n        memory.append(args['note'])\n        open('/tmp/note-' + args['note'], 'w').close()\n    \
    return told\n";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("containment::a_reused_sandbox_keeps_what_its_own_action_left", reuse)]
}

/// Stated in the documents: calls of one action may find what earlier ones left. No other action does, and no other state
/// of the same.
async fn reuse() {
    let stage = Stage::new(ordinary()).await;
    let client = stage.client();
    let nothing = json!({"memory": [], "files": []});
    Function::python("remembers", REMEMBERS).put(client).await;
    let first = call(client, "remembers", &json!({"note": "a"})).await;
    assert_eq!(first.result(), &nothing);
    let second = call(client, "remembers", &json!({})).await;
    assert_eq!(
        second.result(),
        &json!({"memory": ["a"], "files": ["note-a"]}),
        "the sandbox was not used again"
    );
    Function::python("other", REMEMBERS).put(client).await;
    assert_eq!(call(client, "other", &json!({})).await.result(), &nothing);
    // The same code in another state of the action.
    Function::python("remembers", REMEMBERS).parameter("with", json!(1)).put(client).await;
    assert_eq!(call(client, "remembers", &json!({})).await.result(), &nothing);
}
