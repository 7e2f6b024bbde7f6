//! Attacks over the network: on the node, on other functions, on what only the machine reaches.

use std::net::Ipv4Addr;

use chasen_testkit::internet::{FORBIDDEN, MACHINE};
use serde_json::{Value, json};

use super::attack::{Attack, BY_CALLS, EVERYWHERE};

/// A port of the machine where something other than the node answers.
pub(super) const STORE: u16 = 7777;
/// Where another function listens.
pub(super) const LISTENER: u16 = 8080;
/// The abstract socket of a program of the machine.
pub(super) const ABSTRACT: &str = "chasen-containment";

const FILTER: &[&str] = &["packet-filter"];

/// The attacks on a node whose API listens on `port`, while another function has this address.
pub(super) fn attacks(port: u16, door: Ipv4Addr, neighbour: &str) -> Vec<Attack> {
    let at = |host: &str, port: u16| json!({"host": host, "port": port});
    let connect = |name, targets: Vec<Value>, walls| {
        Attack::new(name, "connect", json!({"targets": targets, "patience": 2}), walls).by(EVERYWHERE)
    };
    let machine = MACHINE.to_string();
    let door = door.to_string();
    let [private @ .., metadata] = FORBIDDEN;
    vec![
        connect("ports_of_the_node", vec![at(&machine, port)], FILTER),
        connect("stores_of_the_machine", vec![at(&machine, STORE), at(&door, STORE)], FILTER),
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
        )
        .by(BY_CALLS),
    ]
}
