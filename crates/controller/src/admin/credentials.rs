//! Who the operator is: one user and one password.

use std::fmt;

use http::header::{AUTHORIZATION, HeaderMap};
use subtle::ConstantTimeEq;

use crate::authenticate::{MAX_ENCODED, credentials};

/// User and password of the operator's door. Never printed.
#[derive(Clone)]
pub struct AdminCredentials(Box<[u8]>);

/// What a request brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presented {
    /// The right ones.
    Right,
    /// Others.
    Wrong,
    /// None that can be read.
    None,
}

impl AdminCredentials {
    /// Takes `user:password`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.as_bytes().into())
    }

    /// What these headers bring. The time it takes tells at most how long the password is.
    pub(super) fn presented(&self, headers: &HeaderMap) -> Presented {
        if !headers.contains_key(AUTHORIZATION) {
            return Presented::None;
        }
        let mut decoded = [0; MAX_ENCODED];
        match credentials(headers, &mut decoded) {
            Err(_) => Presented::None,
            Ok(presented) if bool::from(presented.ct_eq(&self.0)) => Presented::Right,
            Ok(_) => Presented::Wrong,
        }
    }
}

impl fmt::Debug for AdminCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminCredentials(…)")
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_very_credentials_are_right() {
        let own = AdminCredentials::new("admin:secret");
        for (value, presented) in [
            ("Basic YWRtaW46c2VjcmV0", Presented::Right),
            ("basic YWRtaW46c2VjcmV0", Presented::Right),
            ("Basic YWRtaW46c2VjcmU=", Presented::Wrong),
            ("Basic YWRtaW46c2VjcmV0cw==", Presented::Wrong),
            ("Basic Og==", Presented::Wrong),
            ("Basic !", Presented::None),
            ("Bearer YWRtaW46c2VjcmV0", Presented::None),
        ] {
            let headers = [(AUTHORIZATION, HeaderValue::from_static(value))].into_iter().collect();
            assert_eq!(own.presented(&headers), presented, "{value}");
        }
        assert_eq!(own.presented(&HeaderMap::new()), Presented::None);
        assert!(!format!("{own:?}").contains("secret"));
    }
}
