//! `key=value&…`: the form of queries and of HTML forms.

use std::borrow::Cow;

use crate::wire::percent;

/// The decoded pairs in order; a key without `=` has the value `""`.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent::decode_query(key), percent::decode_query(value))
    })
}

/// The query in one spelling: a space is `+`, and only what needs an escape has one, in upper case.
pub(crate) fn rendered(query: &str) -> String {
    let mut out = String::with_capacity(query.len());
    for (at, pair) in query.split('&').enumerate() {
        if at > 0 {
            out.push('&');
        }
        let (key, value) = pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value)));
        encode(&mut out, key);
        if let Some(value) = value {
            out.push('=');
            encode(&mut out, value);
        }
    }
    out
}

fn encode(out: &mut String, text: &str) {
    for byte in percent::bytes(&text.replace('+', " ")) {
        match byte {
            b' ' => out.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"-._~!$'()*,:@/?".contains(&byte) => {
                out.push(char::from(byte));
            }
            byte => {
                out.push('%');
                for nibble in [byte >> 4, byte & 15] {
                    out.push(char::from_digit(nibble.into(), 16).unwrap_or('0').to_ascii_uppercase());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_in_order() {
        for (text, expected) in [
            ("", &[][..]),
            ("a=1&b=2&a=3", &[("a", "1"), ("b", "2"), ("a", "3")]),
            ("a&&b=&=c", &[("a", ""), ("b", ""), ("", "c")]),
            ("a+b=%C3%A9%26&c=d=e", &[("a b", "\u{e9}&"), ("c", "d=e")]),
            ("%zz=%f", &[("%zz", "%f")]),
        ] {
            let found: Vec<_> = pairs(text).collect();
            let found: Vec<_> = found.iter().map(|(key, value)| (&**key, &**value)).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn queries_have_one_spelling() {
        for (query, expected) in [
            ("", ""),
            ("a=b%20c+d&a=e&f", "a=b+c+d&a=e&f"),
            ("a=%41%2b%c3%a9%ff&b=c=d", "a=A%2B%C3%A9%FF&b=c%3Dd"),
            ("x=/?:@-._~!$'()*,;", "x=/?:@-._~!$'()*,%3B"),
            ("b=&%zz", "b=&%25zz"),
        ] {
            assert_eq!(rendered(query), expected);
            assert_eq!(rendered(expected), expected);
        }
    }
}
