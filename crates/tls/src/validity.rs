//! From when to when a certificate is valid: the one field of X.509 that rustls does not tell (RFC 5280, 4.1).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The explicit tag of the version.
const VERSION: u8 = 0xa0;

/// From when to when; None when that cannot be read.
pub(crate) fn of(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (certificate, _) = expect(der, SEQUENCE)?;
    let (mut fields, _) = expect(certificate, SEQUENCE)?;
    if let Some((_, rest)) = expect(fields, VERSION) {
        fields = rest;
    }
    let (_, fields) = expect(fields, INTEGER)?;
    let (_, fields) = expect(fields, SEQUENCE)?;
    let (_, fields) = expect(fields, SEQUENCE)?;
    let (validity, _) = expect(fields, SEQUENCE)?;
    let (from, rest) = time(validity)?;
    let (to, _) = time(rest)?;
    Some((from, to))
}

/// The content of the first element, which has this tag, and what is behind it.
fn expect(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// Tag, content, and what is behind the element (DER: X.690, 8.1).
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.is_empty() || digits.len() > 4 {
            return None;
        }
        let length = digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

fn time(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (tag, content, rest) = element(bytes)?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i16>().ok();
    let (year, at) = match tag {
        // RFC 5280, 4.1.2.5.1: two digits are 1950 to 2049.
        UTC_TIME => match number(0, 2)? {
            year @ 0..50 => (2000 + year, 2),
            year => (1900 + year, 2),
        },
        GENERALIZED_TIME => (number(0, 4)?, 4),
        _ => return None,
    };
    let part = |index: usize| i8::try_from(number(at + 2 * index, at + 2 * index + 2)?).ok();
    if text.len() != at + 10 {
        return None;
    }
    let time = DateTime::new(year, part(0)?, part(1)?, part(2)?, part(3)?, part(4)?, 0).ok()?;
    let time = time.to_zoned(TimeZone::UTC).ok()?;
    Some((time.timestamp(), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_of_two_forms() {
        let check = |tag: u8, text: &str, want: Option<&str>| {
            let mut bytes = vec![tag, u8::try_from(text.len()).unwrap()];
            bytes.extend(text.as_bytes());
            assert_eq!(
                time(&bytes).map(|(time, _)| time.to_string()).as_deref(),
                want,
                "{text}"
            );
        };
        check(UTC_TIME, "261123184500Z", Some("2026-11-23T18:45:00Z"));
        check(UTC_TIME, "501123184500Z", Some("1950-11-23T18:45:00Z"));
        check(GENERALIZED_TIME, "20501123184501Z", Some("2050-11-23T18:45:01Z"));
        for text in [
            "",
            "Z",
            "261123184500",
            "2611231845Z",
            "261323184500Z",
            "26-123184500Z",
            "2611231845000Z",
        ] {
            check(UTC_TIME, text, None);
        }
        check(INTEGER, "261123184500Z", None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = of(&bytes);
            if let Some((_, content, rest)) = element(&bytes) {
                prop_assert!(content.len() + rest.len() < bytes.len());
            }
        }

        #[test]
        fn what_is_written_is_read(from in 1960_i32..2200, years in 1_i32..100) {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::default();
            params.not_before = rcgen::date_time_ymd(from, 2, 28);
            params.not_after = rcgen::date_time_ymd(from + years, 12, 31);
            let certificate = params.self_signed(&key).unwrap();
            let (begin, end) = of(certificate.der()).unwrap();
            prop_assert_eq!(begin.to_string(), format!("{from}-02-28T00:00:00Z"));
            prop_assert_eq!(end.to_string(), format!("{}-12-31T00:00:00Z", from + years));
            // Cut anywhere, it is refused or says the same.
            for cut in 0..certificate.der().len() {
                prop_assert_eq!(of(&certificate.der()[..cut]), None);
            }
        }
    }
}
