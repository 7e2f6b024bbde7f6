//! What a request says of the activation that it asks for: how safe it is to be, when it runs, and under which key it
//! was asked for.

use chasen_entity::{Durability, Millis, error_text};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::call::Call;
use crate::wire::error::ApiError;

/// Header that asks for more than the usual durability.
pub(crate) const DURABILITY: HeaderName = HeaderName::from_static("x-chasen-durability");
/// The same as people write it.
const DURABILITY_SHOWN: &str = "X-Chasen-Durability";
/// Header that names the request, so that it is done once however often it is sent.
pub(crate) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The same as people write it.
const KEY_SHOWN: &str = "Idempotency-Key";
/// Longest key, in characters.
const MAX_KEY: usize = 255;
/// How far ahead an activation may be due.
const MOST_DAYS: u64 = 30;
const DAY: Millis = 86_400_000;
/// How late a time may arrive and still mean now.
const LATE: Millis = 60_000;

/// The durability that the request asks for.
pub(crate) fn durability(headers: &HeaderMap) -> Result<Option<Durability>, ApiError> {
    let Some(value) = single(headers, &DURABILITY) else { return Ok(None) };
    let text = String::from_utf8_lossy(&value);
    let bad = || ApiError::header(DURABILITY_SHOWN, &error_text::bad_durability(&text));
    Durability::parse(&text).map(Some).ok_or_else(bad)
}

/// True if the request says that it has a key.
pub(crate) fn has_key(headers: &HeaderMap) -> bool {
    headers.contains_key(&KEY)
}

/// The key of the request.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = single(headers, &KEY) else { return Ok(None) };
    let is_key = (1..=MAX_KEY).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    match String::from_utf8(value) {
        Ok(key) if is_key => Ok(Some(key)),
        _ => Err(ApiError::header(KEY_SHOWN, &error_text::bad_key(MAX_KEY))),
    }
}

/// When the activation is to run, if not at once; epoch milliseconds.
pub(crate) fn due(call: &Call<'_>, blocking: bool) -> Result<Option<Millis>, ApiError> {
    let due = match (call.query.get("delay"), call.query.get("at")) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(ApiError::bad_request(error_text::DELAY_AND_AT)),
        (Some(delay), None) => after(&delay, call.arrived)?,
        (None, Some(time)) => at(&time, call.arrived)?,
    };
    if blocking {
        return Err(ApiError::bad_request(error_text::DUE_AND_BLOCKING));
    }
    Ok((due > call.arrived).then_some(due))
}

fn after(delay: &str, now: Millis) -> Result<Millis, ApiError> {
    let bad = || ApiError::query("delay", &error_text::bad_delay(MOST_DAYS));
    let (whole, part) = delay.split_once('.').unwrap_or((delay, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(part) {
        return Err(bad());
    }
    // Milliseconds are enough of a fraction.
    let fraction: String = part.chars().chain("00".chars()).take(3).collect();
    let millis = |seconds: Millis| seconds.checked_mul(1000)?.checked_add(fraction.parse().ok()?);
    let millis = whole.parse().ok().and_then(millis).filter(|millis| *millis <= MOST_DAYS * DAY);
    millis.map(|millis| now.saturating_add(millis)).ok_or_else(bad)
}

fn at(time: &str, now: Millis) -> Result<Millis, ApiError> {
    // A plus sign that was not encoded arrives as a space.
    let text = match time.rsplit_once(' ') {
        Some((before, zone)) if before.contains('T') => format!("{before}+{zone}"),
        _ => time.to_owned(),
    };
    let bad = || ApiError::query("at", &error_text::bad_time(time));
    let at = text.parse::<Timestamp>().map_err(|_| bad())?.as_millisecond();
    let at = u64::try_from(at).unwrap_or(0);
    if at.saturating_add(LATE) < now || at > now.saturating_add(MOST_DAYS * DAY) {
        return Err(ApiError::query("at", &error_text::time_out_of_range(MOST_DAYS)));
    }
    Ok(at)
}

/// The value of a header. What stands there several times is a list, as in every header.
fn single(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let values: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    (!values.is_empty()).then(|| values.join(&b", "[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_800_000_000_000;

    #[test]
    fn delays_are_seconds_with_or_without_a_fraction() {
        for (delay, millis) in [
            ("0", 0),
            ("0.0", 0),
            ("5", 5_000),
            ("1.5", 1_500),
            ("0.0019", 1),
            ("007", 7_000),
            ("2592000", 30 * DAY),
        ] {
            assert_eq!(after(delay, NOW).unwrap(), NOW + millis, "{delay}");
        }
        for delay in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            "NaN",
            "inf",
            "0x10",
            " 1",
            "1 ",
            "1,5",
            "1.5.0",
            "٣",
            "2592000.001",
            "2592001",
            "18446744073709551615",
            "99999999999999999999999",
        ] {
            let error = after(delay, NOW).unwrap_err();
            assert!(error.text().contains("from 0 to 2592000 (30 days)"), "{delay}: {}", error.text());
        }
    }

    #[test]
    fn times_are_those_of_the_internet() {
        let text =
            |millis: Millis| Timestamp::from_millisecond(i64::try_from(millis).unwrap()).unwrap().to_string();
        for due in [NOW, NOW + 1, NOW + 30 * DAY, NOW - LATE] {
            assert_eq!(at(&text(due), NOW).unwrap(), due);
        }
        assert_eq!(at("2027-01-15T09:00:00+01:00", NOW).unwrap(), NOW);
        assert_eq!(at("2027-01-15T09:00:00 01:00", NOW).unwrap(), NOW, "as an unencoded plus arrives");
        for far in [NOW - LATE - 1, NOW + 30 * DAY + 1] {
            assert!(at(&text(far), NOW).unwrap_err().text().contains("at most one minute in the past"));
        }
        for bad in
            ["", "now", "2027-01-15", "2027-01-15T08:00:00", "1800000000000", "2027-13-15T08:00:00Z", "Z"]
        {
            assert!(at(bad, NOW).unwrap_err().text().contains("is not a time like"), "{bad}");
        }
    }

    #[test]
    fn keys_are_visible_and_not_long() {
        let read = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(KEY, HeaderValue::from_bytes(value).unwrap());
            }
            key(&headers)
        };
        assert_eq!(read(&[]).unwrap(), None);
        let long = [b'k'; MAX_KEY];
        for good in [&b"a"[..], b"order-17/3", b"~!{}", &long] {
            assert_eq!(read(&[good]).unwrap().unwrap().as_bytes(), good);
        }
        for bad in [&b""[..], b"a b", b"a\tb", "ü".as_bytes(), b"\xff", &[b'k'; MAX_KEY + 1]] {
            assert!(read(&[bad]).unwrap_err().text().contains("1 to 255 visible ASCII characters"));
        }
        assert!(read(&[b"a", b"b"]).is_err(), "two are none");
    }

    #[test]
    fn durabilities_are_words() {
        let read = |value: &'static str| {
            durability(&HeaderMap::from_iter([(DURABILITY, HeaderValue::from_static(value))]))
        };
        assert_eq!(durability(&HeaderMap::new()).unwrap(), None);
        assert_eq!(read("memory").unwrap(), Some(Durability::Memory));
        assert_eq!(read("synced").unwrap(), Some(Durability::Synced));
        for bad in ["", "Synced", "disk", "memory, synced"] {
            assert!(read(bad).unwrap_err().text().contains("is not one of memory and synced."), "{bad}");
        }
    }
}
