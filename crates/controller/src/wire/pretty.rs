//! JSON as people read it: two spaces per object, arrays on one line. Only the white space between tokens changes.

use std::iter::repeat_n;

/// Times that a text may grow, beside [`SLACK`]: deep nesting would make it grow with the square of its length.
const GROWTH: usize = 8;
/// Bytes that any text may grow by.
const SLACK: usize = 64 * 1024;
/// Spaces per object.
const INDENT: usize = 2;

/// Prints a JSON text, which must be valid. One that would grow beyond measure stays as it is.
pub(crate) fn pretty(text: &str) -> Vec<u8> {
    let bound = text.len().saturating_mul(GROWTH).saturating_add(SLACK);
    let printer = Printer { out: Vec::with_capacity(text.len() * 2), bound, open: Vec::new(), objects: 0 };
    printer.print(text.as_bytes()).unwrap_or_else(|| text.as_bytes().to_vec())
}

/// What a bracket that is still open began.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Object,
    Array,
}

struct Printer {
    out: Vec<u8>,
    bound: usize,
    open: Vec<Open>,
    /// Objects among the open ones.
    objects: usize,
}

impl Printer {
    /// The printed text; `None` where it is over the bound.
    fn print(mut self, text: &[u8]) -> Option<Vec<u8>> {
        let mut rest = text;
        while let [byte, after @ ..] = rest {
            rest = match byte {
                b' ' | b'\t' | b'\n' | b'\r' => after,
                b'"' => {
                    let (quoted, after) = rest.split_at(string_length(rest));
                    self.out.extend_from_slice(quoted);
                    after
                }
                other => {
                    self.token(*other, after);
                    after
                }
            };
            if self.out.len() > self.bound {
                return None;
            }
        }
        Some(self.out)
    }

    fn token(&mut self, byte: u8, after: &[u8]) {
        match byte {
            b'{' => {
                self.open.push(Open::Object);
                self.objects += 1;
                self.out.extend_from_slice(b"{\n");
                if after.trim_ascii_start().first() != Some(&b'}') {
                    self.indent();
                }
            }
            b'}' => {
                self.open.pop();
                self.objects = self.objects.saturating_sub(1);
                self.out.push(b'\n');
                self.indent();
                self.out.push(b'}');
            }
            b'[' => {
                self.open.push(Open::Array);
                self.out.push(b'[');
            }
            b']' => {
                self.open.pop();
                self.out.push(b']');
            }
            b',' if self.open.last() == Some(&Open::Object) => {
                self.out.extend_from_slice(b",\n");
                self.indent();
            }
            b',' => self.out.extend_from_slice(b", "),
            b':' => self.out.extend_from_slice(b": "),
            other => self.out.push(other),
        }
    }

    fn indent(&mut self) {
        self.out.extend(repeat_n(b' ', INDENT * self.objects));
    }
}

/// Bytes of the string that the text begins with, quotes included.
pub(crate) fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    let inner = text.iter().skip(1).take_while(|byte| {
        let ends = **byte == b'"' && !escaped;
        escaped = **byte == b'\\' && !escaped;
        !ends
    });
    (inner.count() + 2).min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> String {
        String::from_utf8(pretty(text)).unwrap()
    }

    #[test]
    fn objects_take_lines_and_arrays_one() {
        for (text, expected) in [
            ("{}", "{\n\n}"),
            ("[]", "[]"),
            ("1.50e400", "1.50e400"),
            (r#"{"a":{},"b":[1,{"c":[]}]}"#, "{\n  \"a\": {\n\n  },\n  \"b\": [1, {\n    \"c\": []\n  }]\n}"),
            ("[1,{\"a\":1}]", "[1, {\n  \"a\": 1\n}]"),
            ("[ 1 ,\n[ true , null ] ]", "[1, [true, null]]"),
            (
                r#"{ "k,:{" : "\"}\\" , "é" : "\u00e9" }"#,
                "{\n  \"k,:{\": \"\\\"}\\\\\",\n  \"é\": \"\\u00e9\"\n}",
            ),
        ] {
            assert_eq!(printed(text), expected);
        }
    }

    #[test]
    fn what_would_grow_beyond_measure_stays_as_it_is() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
        assert_eq!(printed(&deep), deep);
        let flat = format!("[{}1]", r#"{"a":1},"#.repeat(100_000));
        assert!(printed(&flat).starts_with("[{\n  \"a\": 1\n}, {"));
    }

    #[test]
    fn strings_end_at_their_quote() {
        for (text, length) in [(r#""" x"#, 2), (r#""a\"b","#, 6), (r#""\\","#, 4), ("\"open", 5)] {
            assert_eq!(string_length(text.as_bytes()), length, "{text}");
        }
    }
}
