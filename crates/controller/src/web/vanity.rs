//! Vanity hosts: `http://{namespace}.{domain}/x/y` is the web action at `/api/v1/web/{namespace}/x/y`.

use std::borrow::Cow;

use http::header::HOST;
use http::request::Parts;

/// Longest label of a host name.
const MAX_LABEL: usize = 63;

/// The path that a request is for, whatever host it was sent to. Where the domain is not known only plain hosts are.
pub(crate) fn path<'a>(head: &'a Parts, domain: Option<&str>) -> Cow<'a, str> {
    let path = head.uri.path();
    let host = head.uri.host().or_else(|| head.headers.get(HOST)?.to_str().ok());
    let namespace = host.zip(domain).and_then(|(host, domain)| namespace(host, domain));
    match (namespace, path) {
        (None, _) => Cow::Borrowed(path),
        (Some(namespace), "/" | "") => Cow::Owned(format!("/api/v1/web/{namespace}/public/index.html")),
        (Some(namespace), _) => Cow::Owned(format!("/api/v1/web/{namespace}{path}")),
    }
}

/// The namespace that is put before the domain.
fn namespace<'a>(host: &'a str, domain: &str) -> Option<&'a str> {
    let host = host.split_once(':').map_or(host, |(host, _port)| host);
    let dot = host.len().checked_sub(domain.len() + 1)?;
    let (namespace, tail) = host.split_at_checked(dot)?;
    let known = tail.strip_prefix('.').is_some_and(|tail| tail.eq_ignore_ascii_case(domain));
    let label = (1..=MAX_LABEL).contains(&namespace.len())
        && namespace.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (known && label).then_some(namespace)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn seen(host: &str, target: &str) -> String {
        let request = Request::get(target).header(HOST, host).body(()).unwrap();
        path(&request.into_parts().0, Some("api.example")).into_owned()
    }

    #[test]
    fn namespaces_before_the_domain_are_taken() {
        for (host, target, path) in [
            ("guest.api.example", "/x/y.json/z?q=1", "/api/v1/web/guest/x/y.json/z"),
            ("Guest-1.API.example:3233", "/", "/api/v1/web/Guest-1/public/index.html"),
            ("guest.api.example", "/?q=1", "/api/v1/web/guest/public/index.html"),
            ("guest.api.example", "//x", "/api/v1/web/guest//x"),
            ("api.example", "/x", "/x"),
            (".api.example", "/x", "/x"),
            ("a.b.api.example", "/x", "/x"),
            ("a_b.api.example", "/x", "/x"),
            ("guestapi.example", "/x", "/x"),
            ("127.0.0.1:3233", "/x", "/x"),
            ("[::1]:3233", "/x", "/x"),
            ("other", "http://guest.api.example/x", "/api/v1/web/guest/x"),
        ] {
            assert_eq!(seen(host, target), path, "{host} {target}");
        }
        assert_eq!(seen(&format!("{}.api.example", "a".repeat(64)), "/x"), "/x");
        let request = Request::get("/x").header(HOST, "a.api.example").body(()).unwrap();
        assert_eq!(path(&request.into_parts().0, None), "/x");
    }
}
