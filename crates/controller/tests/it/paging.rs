//! Pages of lists: whatever the page, it is the same stretch of the whole.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::client::{Connection, Request};
use crate::world::{World, guest, later};

const PACKAGES: &str = "/api/v1/namespaces/_/packages";
const MANY: u64 = 47;

fn names(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_page_is_a_stretch_of_the_whole_list() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (world, whole) = runtime.block_on(async {
        let world = World::new().await;
        for at in 0..MANY {
            let response = world.guest_json(&format!("PUT {PACKAGES}/p{at}"), json!({})).await;
            assert_eq!(response.status, 200);
            // Some share a millisecond, most do not.
            if at % 3 > 0 {
                later();
            }
        }
        let whole = names(&world.guest(&format!("GET {PACKAGES}?limit=200")).await.json());
        (world, whole)
    });
    assert_eq!(whole.len() as u64, MANY);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(100) });
    let page = (0..MANY + 5, prop::option::of(0..201u64));
    runner
        .run(&page, |(skip, limit)| {
            let asked = limit.map_or(String::new(), |limit| format!("&limit={limit}"));
            let get = |query: String| {
                let request = Request::new(&format!("GET {PACKAGES}?{query}")).auth(&guest());
                runtime.block_on(async { Connection::open(world.address).await.send(&request).await.json() })
            };
            let length = match limit {
                None => 30,
                Some(0) => 200,
                Some(limit) => limit,
            };
            let stretch: Vec<String> = whole
                .iter()
                .skip(usize::try_from(skip).unwrap())
                .take(usize::try_from(length).unwrap())
                .cloned()
                .collect();
            prop_assert_eq!(names(&get(format!("skip={skip}{asked}"))), stretch);
            let count = get(format!("count=true&skip={skip}{asked}"));
            prop_assert_eq!(count, json!({"packages": MANY.saturating_sub(skip)}));
            Ok(())
        })
        .unwrap();
}
