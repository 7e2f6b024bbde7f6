//! Attacks over the network: on the node, on other functions, on what only the machine reaches.

use chasen_testkit::internet::{FORBIDDEN, PUBLIC};
use serde_json::{Value, json};

use super::Surroundings;
use super::attack::Attack;
use crate::functions::Language;

/// A port of the machine where something other than the node answers.
pub(super) const STORE: u16 = 7777;
/// Where another function listens.
pub(super) const LISTENER: u16 = 8080;
/// The abstract socket of a program of the machine.
pub(super) const ABSTRACT: &str = "chasen-containment";

const FILTER: &[&str] = &["packet-filter"];

/// More connections than one function may open at once, and in a second.
const CROWD: (u32, u32) = (2500, 400);

/// The attacks, while another function listens.
pub(super) fn attacks(at_hand: &Surroundings) -> Vec<Attack> {
    let Surroundings { port, door, addresses, neighbour, .. } = at_hand;
    let at = |host: &str, port: u16| json!({"host": host, "port": port});
    let connect = |name, targets: Vec<Value>, walls| {
        Attack::new(name, "connect", json!({"targets": targets, "patience": 10}), walls)
    };
    let door = door.to_string();
    let others = || addresses.iter().filter(|address| **address != door);
    let [private @ .., metadata] = FORBIDDEN;
    vec![
        connect("ports_of_the_node", others().map(|address| at(address, *port)).collect(), FILTER),
        connect(
            "stores_of_the_machine",
            addresses.iter().map(|address| at(address, STORE)).collect(),
            FILTER,
        ),
        Attack::new(
            "table_of_connections",
            "connections",
            json!({"host": PUBLIC, "port": 80, "count": 10_000, "at_once": CROWD.0, "per_second": CROWD.1}),
            FILTER,
        )
        .by(&[Language::Python]),
        connect("loopback_of_the_machine", vec![at("127.0.0.1", STORE)], &["network-namespace"]),
        connect("metadata_of_the_machine", vec![at(&metadata.to_string(), 80)], FILTER),
        connect(
            "private_networks",
            private.iter().map(|address| at(&address.to_string(), 80)).collect(),
            FILTER,
        ),
        connect("port_of_a_neighbour", vec![at(neighbour, LISTENER)], &["packet-filter", "freezing"]),
        Attack::new(
            "abstract_socket_of_the_machine",
            "abstract_socket",
            json!({"name": ABSTRACT}),
            &["network-namespace"],
        ),
    ]
}
