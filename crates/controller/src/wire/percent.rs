//! Percent-encoding.

use std::borrow::Cow;

/// The text behind an encoding. Escapes that are none stay as they are; bytes that are no UTF-8 become `U+FFFD`.
pub(crate) fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        String::from_utf8(bytes(text))
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

/// The bytes behind an encoding, whether they are text or not.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, next) = match (first, tail) {
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', tail),
            },
            _ => (*first, tail),
        };
        decoded.push(byte);
        rest = next;
    }
    decoded
}

/// True for a part of a query that may mean something else than it shows.
pub(crate) fn is_encoded(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'%' | b'+'))
}

/// The same for queries, where `+` is a space.
pub(crate) fn decode_query(text: &str) -> Cow<'_, str> {
    if text.contains('+') { Cow::Owned(decode(&text.replace('+', " ")).into_owned()) } else { decode(text) }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_and_broken_ones_kept() {
        for (text, decoded) in [
            ("a%20b", "a b"),
            ("%2F", "/"),
            ("%", "%"),
            ("%2", "%2"),
            ("%zz", "%zz"),
            ("%ff", "\u{fffd}"),
            ("é", "é"),
        ] {
            assert_eq!(decode(text), decoded);
        }
        assert_eq!(decode_query("a+b%2Bc"), "a b+c");
        assert!(matches!(decode("plain"), Cow::Borrowed(_)));
    }
}
