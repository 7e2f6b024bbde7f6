//! Where functions may connect to: policies of namespaces and actions, and what follows from both.

mod destination;
mod subnet;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Parameters, RawJson, error_text};

pub use destination::{Destination, Hosts, NamePattern};
pub use subnet::{NotASubnet, Subnet};

/// Most destinations of a list.
pub const MAX_DESTINATIONS: usize = 64;
/// Annotation by which an action narrows what its namespace allows.
pub const ANNOTATION: &str = "network";

/// Most characters of a value that an error shows.
const ECHO: usize = 256;
const NONE: &str = "none";
const INTERNET: &str = "internet";
const ALLOW: &str = "allow:";

/// Where functions may connect to. Cheap to clone. In documents a text: `none`, `internet`, or `allow:` and destinations
/// with commas between them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum NetworkPolicy {
    /// Nowhere: not even the API and the name servers.
    None,
    /// Every public address.
    #[default]
    Internet,
    /// The API, and these.
    Allow(Arc<Allowed>),
}

/// Some destinations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Allowed {
    /// Each opens what it names; at most [`MAX_DESTINATIONS`], or the product of two such lists where both narrow.
    pub destinations: Vec<Destination>,
    /// Whether private addresses among them count, where the operator lends those: only a namespace says so.
    pub private: bool,
}

impl NetworkPolicy {
    /// Reads one; the error says why it is none.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            NONE => return Ok(Self::None),
            INTERNET => return Ok(Self::Internet),
            _ => {}
        }
        let Some(list) = text.strip_prefix(ALLOW) else {
            return Err(error_text::network::unknown(&shown(text)));
        };
        let list = list.strip_prefix('[').and_then(|list| list.strip_suffix(']')).unwrap_or(list);
        let mut destinations = Vec::new();
        for one in list.split(',').map(str::trim).filter(|_| !list.trim().is_empty()) {
            if destinations.len() >= MAX_DESTINATIONS {
                return Err(error_text::network::too_many(MAX_DESTINATIONS));
            }
            let one = Destination::parse(one)
                .map_err(|why| error_text::network::no_destination(&shown(one), why))?;
            if !destinations.contains(&one) {
                destinations.push(one);
            }
        }
        Ok(Self::Allow(Arc::new(Allowed { destinations, private: true })))
    }

    /// What an action's annotations ask for; the error is the reason why that is nothing that there is.
    ///
    /// # Errors
    /// See [`NetworkPolicy::parse`].
    pub fn asked_by(annotations: &Parameters) -> Result<Option<Self>, String> {
        let Some(value) = annotations.get(ANNOTATION) else { return Ok(None) };
        match value.text() {
            Some(text) => Self::parse(&text).map(Self::without_private).map(Some),
            None => Err(error_text::network::unknown(&cut(value.as_str()))),
        }
    }

    /// What the functions of a namespace of this policy may do where their action asks for `own`: no more than either
    /// allows. Where nobody can tell whether a destination of one is within the other, it is not allowed.
    #[must_use]
    pub fn narrowed(&self, own: &Self) -> Self {
        match (self, own) {
            (Self::None, _) | (_, Self::None) => Self::None,
            (Self::Internet, own) => own.clone().without_private(),
            (own, Self::Internet) => own.clone().without_private(),
            (Self::Allow(outer), Self::Allow(inner)) => {
                let mut destinations: Vec<Destination> = Vec::new();
                for one in &inner.destinations {
                    for common in outer.destinations.iter().filter_map(|other| one.common(other)) {
                        if !destinations.iter().any(|known| common.is_within(known)) {
                            destinations.retain(|known| !known.is_within(&common));
                            destinations.push(common);
                        }
                    }
                }
                Self::Allow(Arc::new(Allowed { destinations, private: outer.private }))
            }
        }
    }

    /// The first thing that `own` asks for beyond this policy, in words of its text; `None` if it only narrows.
    #[must_use]
    pub fn exceeded_by(&self, own: &Self) -> Option<String> {
        match (self, own) {
            (_, Self::None) | (Self::Internet, Self::Internet) => None,
            (Self::None, own) | (Self::Allow(_), own @ Self::Internet) => Some(own.head()),
            (Self::Internet, Self::Allow(own)) => {
                let is_private = |one: &&Destination| match one.hosts {
                    Hosts::Network(network) => network.is_private(),
                    Hosts::Named(_) => false,
                };
                own.destinations.iter().find(is_private).map(ToString::to_string)
            }
            (Self::Allow(outer), Self::Allow(own)) => {
                let is_beyond =
                    |one: &&Destination| !outer.destinations.iter().any(|other| one.is_within(other));
                own.destinations.iter().find(is_beyond).map(ToString::to_string)
            }
        }
    }

    fn without_private(self) -> Self {
        match self {
            Self::Allow(allowed) if allowed.private => {
                Self::Allow(Arc::new(Allowed { private: false, destinations: allowed.destinations.clone() }))
            }
            other => other,
        }
    }

    /// Its name, without destinations.
    fn head(&self) -> String {
        match self {
            Self::None => NONE.to_owned(),
            Self::Internet => INTERNET.to_owned(),
            Self::Allow(_) => "allow".to_owned(),
        }
    }
}

/// The beginning of a text, as JSON.
fn shown(text: &str) -> String {
    RawJson::from_value(&cut(text)).as_str().to_owned()
}

fn cut(text: &str) -> String {
    text.chars().take(ECHO).collect()
}

impl fmt::Display for NetworkPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str(NONE),
            Self::Internet => f.write_str(INTERNET),
            Self::Allow(allowed) => {
                f.write_str(ALLOW)?;
                for (number, one) in allowed.destinations.iter().enumerate() {
                    let comma = if number == 0 { "" } else { "," };
                    write!(f, "{comma}{one}")?;
                }
                Ok(())
            }
        }
    }
}

impl From<NetworkPolicy> for String {
    fn from(policy: NetworkPolicy) -> Self {
        policy.to_string()
    }
}

impl TryFrom<String> for NetworkPolicy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> NetworkPolicy {
        NetworkPolicy::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn policies_are_read_and_written_alike() {
        for (text, written) in [
            ("none", "none"),
            ("internet", "internet"),
            ("allow:", "allow:"),
            ("allow:[]", "allow:"),
            ("allow:[203.0.113.0/24, db.example:5432]", "allow:203.0.113.0/24,db.example:5432"),
            ("allow:a.b,a.b", "allow:a.b"),
        ] {
            assert_eq!(of(text).to_string(), written);
            assert_eq!(serde_json::to_string(&of(text)).unwrap(), format!("{written:?}"));
            assert_eq!(serde_json::from_str::<NetworkPolicy>(&format!("{text:?}")).unwrap(), of(written));
        }
    }

    #[test]
    fn nonsense_is_refused_in_words_that_stay_short() {
        for (text, why) in [
            ("", "\"\" is not a network policy; there are none, internet, allow:DESTINATION,…."),
            ("all", "\"all\" is not a network policy"),
            ("allow", "\"allow\" is not a network policy"),
            ("allow:a b", "\"a b\" is not a destination"),
            ("allow:a,,b", "\"\" is not a destination"),
        ] {
            let error = NetworkPolicy::parse(text).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
        let many: Vec<String> = (0..=MAX_DESTINATIONS).map(|number| format!("h{number}.example")).collect();
        assert!(NetworkPolicy::parse(&format!("allow:{}", many.join(","))).unwrap_err().contains("64"));
        assert!(NetworkPolicy::parse(&format!("allow:{}", many[1..].join(","))).is_ok());
        let long = "x".repeat(1_000_000);
        assert!(NetworkPolicy::parse(&long).unwrap_err().len() < 500);
        assert!(NetworkPolicy::parse(&format!("allow:{long}")).unwrap_err().len() < 500);
    }

    #[test]
    fn annotations_are_texts_and_never_lend_private_addresses() {
        let mut annotations = Parameters::new();
        assert_eq!(NetworkPolicy::asked_by(&annotations), Ok(None));
        annotations.set(ANNOTATION, &"allow:10.0.0.0/8");
        let Ok(Some(NetworkPolicy::Allow(allowed))) = NetworkPolicy::asked_by(&annotations) else { panic!() };
        assert!(!allowed.private);
        annotations.set(ANNOTATION, &7);
        assert!(NetworkPolicy::asked_by(&annotations).unwrap_err().starts_with("7 is not a network policy"));
    }

    #[test]
    fn an_action_narrows_and_never_widens() {
        for (namespace, action, together, beyond) in [
            ("internet", "none", "none", None),
            ("internet", "internet", "internet", None),
            ("internet", "allow:a.example,1.1.1.1", "allow:a.example,1.1.1.1/32", None),
            ("internet", "allow:10.1.0.0/16", "allow:10.1.0.0/16", Some("10.1.0.0/16")),
            ("none", "internet", "none", Some("internet")),
            ("none", "allow:", "none", Some("allow")),
            ("allow:a.example", "internet", "allow:a.example", Some("internet")),
            ("allow:*.a.example:443", "allow:b.a.example:443", "allow:b.a.example:443", None),
            ("allow:*.a.example:443", "allow:b.a.example", "allow:b.a.example:443", Some("b.a.example")),
            ("allow:1.0.0.0/8", "allow:1.1.0.0/16,2.0.0.0/8", "allow:1.1.0.0/16", Some("2.0.0.0/8")),
            ("allow:1.0.0.0/8", "allow:one.one.one.one", "allow:", Some("one.one.one.one")),
        ] {
            assert_eq!(of(namespace).narrowed(&of(action)).to_string(), together, "{namespace} {action}");
            assert_eq!(of(namespace).exceeded_by(&of(action)).as_deref(), beyond, "{namespace} {action}");
        }
    }

    #[test]
    fn private_addresses_count_for_namespaces_only() {
        let private = |policy: &NetworkPolicy| match policy {
            NetworkPolicy::Allow(allowed) => allowed.private,
            _ => false,
        };
        let list = of("allow:10.0.0.0/8");
        assert!(private(&list) && private(&list.narrowed(&of("allow:10.1.0.0/16"))));
        assert!(!private(&NetworkPolicy::Internet.narrowed(&list)));
        assert!(!private(&list.narrowed(&NetworkPolicy::Internet)));
    }

    fn policy() -> impl Strategy<Value = NetworkPolicy> {
        let destination = prop_oneof![
            Just("1.0.0.0/8"),
            Just("1.1.0.0/16"),
            Just("1.1.0.0/16:80"),
            Just("2.2.2.2:80"),
            Just("*.a.b"),
            Just("c.a.b"),
            Just("c.a.b:80"),
            Just("*.c.a.b"),
            Just("10.0.0.0/8"),
        ];
        let list = prop::collection::vec(destination, 0..6);
        prop_oneof![
            Just(NetworkPolicy::None),
            Just(NetworkPolicy::Internet),
            list.prop_map(|list| NetworkPolicy::parse(&format!("allow:{}", list.join(","))).unwrap()),
        ]
    }

    proptest! {
        #[test]
        fn what_narrows_is_what_is_allowed_and_nothing_exceeds(outer in policy(), own in policy()) {
            let both = outer.narrowed(&own);
            if outer.exceeded_by(&own).is_none() {
                prop_assert_eq!(both.exceeded_by(&own), None, "what only narrows is had as it is");
            }
            if matches!((&outer, &own), (NetworkPolicy::Allow(_), NetworkPolicy::Allow(_))) {
                prop_assert_eq!(outer.exceeded_by(&both), None);
                prop_assert_eq!(own.exceeded_by(&both), None);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            if let Ok(policy) = NetworkPolicy::parse(&format!("allow:{text}")) {
                prop_assert_eq!(NetworkPolicy::parse(&policy.to_string()), Ok(policy));
            }
        }
    }
}
