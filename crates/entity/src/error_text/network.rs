//! Texts about where functions may connect to.

use crate::NetworkPolicy;

/// `value` is JSON, cut.
#[must_use]
pub fn unknown(value: &str) -> String {
    format!("{value} is not a network policy; there are none, internet, allow:DESTINATION,….")
}

/// A list is too long.
#[must_use]
pub fn too_many(most: usize) -> String {
    format!("A network policy allows at most {most} destinations.")
}

/// `value` is JSON, cut.
#[must_use]
pub fn no_destination(value: &str, why: &str) -> String {
    format!("{value} is not a destination: {why}. Write NETWORK, HOST, NETWORK:PORT or HOST:PORT.")
}

/// An action asks for what its namespace does not allow.
#[must_use]
pub fn wider(beyond: &str, namespace: &NetworkPolicy) -> String {
    let namespace = match namespace {
        NetworkPolicy::Allow(allowed) => format!("a list of {} destinations", allowed.destinations.len()),
        named => named.to_string(),
    };
    format!(
        "The annotation 'network' asks for '{beyond}', which the namespace's network policy, {namespace}, does not allow. An action may only narrow it."
    )
}

/// Whoever runs the function cannot keep its network policy.
#[must_use]
pub fn not_kept(policy: &str, host: &str) -> String {
    format!("The network policy {policy} of this action cannot be kept by {host}; it is not run without.")
}
