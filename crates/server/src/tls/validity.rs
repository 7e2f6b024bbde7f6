//! How long a certificate is good: the two times in it.

use std::path::Path;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use rustls::sign::CertifiedKey;

/// Days before its end from which on a certificate is spoken of.
const SOON: i64 = 14;
const DAY: i64 = 24 * 60 * 60;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// From when to when a certificate is good, in epoch seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Validity {
    /// Reads it out of a certificate in DER; `None` if that is none.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate, _) = element(certificate)?;
        let (_, mut rest, _) = element(certificate)?;
        let (tag, _, after) = element(rest)?;
        // Serial number, algorithm and issuer come first, and the version, where there is one.
        let skipped = if tag == VERSION { 3 } else { 2 };
        rest = after;
        for _ in 0..skipped {
            (_, _, rest) = element(rest)?;
        }
        let (tag, times, _) = element(rest)?;
        let (first, from, after) = element(times)?;
        let (second, to, _) = element(after)?;
        (tag == SEQUENCE).then_some(())?;
        Some(Self { from: time(first, from)?, to: time(second, to)? })
    }
}

/// Says if a certificate that was read from `path` has ended, or will soon.
pub(super) fn warn(pair: &CertifiedKey, path: &Path) {
    let Some(validity) = pair.cert.first().and_then(|first| Validity::of(first)) else { return };
    let path = path.display();
    match (validity.to - Timestamp::now().as_second()) / DAY {
        days if days < 0 => {
            tracing::error!(%path, "the certificate has ended: clients will refuse it; renew it")
        }
        days if days < SOON => tracing::warn!(%path, days, "the certificate ends soon; renew it"),
        _ => {}
    }
}

/// Tag, content and what follows of the element that the bytes begin with.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((*tag, content, after))
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = digits.split_at_checked(match tag {
        UTC_TIME => 2,
        GENERALIZED_TIME => 4,
        _ => return None,
    })?;
    let year: i16 = year.parse().ok()?;
    let year = match tag {
        UTC_TIME if year < 50 => 2000 + year,
        UTC_TIME => 1900 + year,
        _ => year,
    };
    let pairs: Vec<i8> =
        (0..5).map(|at| rest.get(2 * at..2 * at + 2)?.parse().ok()).collect::<Option<_>>()?;
    let &[month, day, hour, minute, second] = pairs.as_slice() else { return None };
    let (date, time) = (Date::new(year, month, day).ok()?, Time::new(hour, minute, second, 0).ok()?);
    Some(DateTime::from_parts(date, time).to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_a_certificate() {
        let mut parameters = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap();
        for (year, from) in [(2026, 1_767_225_600), (2051, 2_556_144_000)] {
            parameters.not_before = rcgen::date_time_ymd(year, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(year, 1, 2);
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = parameters.self_signed(&key).unwrap();
            let validity = Validity::of(certificate.der()).unwrap();
            assert_eq!(validity, Validity { from, to: from + DAY }, "{year}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_none() {
        let certificate = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap().cert;
        let whole: &[u8] = certificate.der();
        for end in 0..whole.len().min(200) {
            // Cut anywhere, or with a byte that is another: no time, or one, and no panic.
            let _ = Validity::of(&whole[..end]);
            let mut other = whole.to_vec();
            other[end] ^= 0xff;
            let _ = Validity::of(&other);
        }
        assert_eq!(Validity::of(b""), None);
        assert_eq!(Validity::of(b"\x30\x84\xff\xff\xff\xff"), None);
    }
}
