//! Moments as signatures write them.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A moment to the second, written `20150830T123600Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningTime {
    text: [u8; 16],
    seconds: i64,
}

impl SigningTime {
    /// Reads the basic format of ISO 8601 that signatures use, and no other.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: &[u8; 16] = text.as_bytes().try_into().ok()?;
        if bytes[8] != b'T' || bytes[15] != b'Z' {
            return None;
        }
        let number = |from: usize, to: usize| -> Option<i16> {
            bytes[from..to].iter().try_fold(0_i16, |sum, byte| {
                byte.is_ascii_digit().then(|| sum * 10 + i16::from(byte - b'0'))
            })
        };
        let small = |from: usize| number(from, from + 2).and_then(|n| i8::try_from(n).ok());
        // A leap second is not a moment that any clock of a client shows for long; it is refused with the rest.
        let civil = DateTime::new(
            number(0, 4)?,
            small(4)?,
            small(6)?,
            small(9)?,
            small(11)?,
            small(13)?,
            0,
        )
        .ok()?;
        let seconds = TimeZone::UTC.to_timestamp(civil).ok()?.as_second();
        Some(Self { text: *bytes, seconds })
    }

    /// Reads the `Date` header's format, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn parse_http_date(text: &str) -> Option<Self> {
        let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
        let seconds = zoned.timestamp().as_second();
        (seconds >= 0).then(|| Self::from_seconds(seconds))
    }

    /// Reads a clock. Moments before 1970 are taken as 1970, those past the year 9999 as its end.
    pub fn from_clock(now: SystemTime) -> Self {
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
    }

    /// From milliseconds since 1970, bounded as [`SigningTime::from_clock`] is.
    pub fn from_unix_ms(ms: i64) -> Self {
        Self::from_seconds(ms.max(0) / 1000)
    }

    /// This moment and `seconds` more, or fewer.
    pub fn plus(self, seconds: i64) -> Self {
        Self::from_seconds(self.seconds.saturating_add(seconds))
    }

    /// Seconds since 1970.
    pub fn seconds(&self) -> i64 {
        self.seconds
    }

    /// `20150830T123600Z`.
    pub fn as_str(&self) -> &str {
        super::as_ascii(&self.text)
    }

    /// `20150830`.
    pub fn date(&self) -> &str {
        super::as_ascii(&self.text[..8])
    }

    fn from_seconds(seconds: i64) -> Self {
        let seconds = seconds.clamp(0, Timestamp::MAX.as_second());
        let civil = TimeZone::UTC.to_datetime(Timestamp::from_second(seconds).unwrap_or_default());
        let mut text = *b"00000000T000000Z";
        let mut put = |at: usize, width: usize, value: i16| {
            let mut rest = value.unsigned_abs();
            for digit in text[at..at + width].iter_mut().rev() {
                *digit = b'0' + (rest % 10).to_le_bytes()[0];
                rest /= 10;
            }
        };
        put(0, 4, civil.year());
        put(4, 2, civil.month().into());
        put(6, 2, civil.day().into());
        put(9, 2, civil.hour().into());
        put(11, 2, civil.minute().into());
        put(13, 2, civil.second().into());
        Self { text, seconds }
    }
}

impl fmt::Display for SigningTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn a_moment_is_written_as_it_was_read() {
        for (text, seconds) in [
            ("20150830T123600Z", 1_440_938_160),
            ("19700101T000000Z", 0),
            ("20240229T235959Z", 1_709_251_199),
        ] {
            let time = SigningTime::parse(text).unwrap();
            assert_eq!(time.seconds(), seconds, "{text}");
            let from_clock = SigningTime::from_clock(UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs()));
            assert_eq!(from_clock, time);
            assert_eq!(from_clock.as_str(), text);
        }
        let date = SigningTime::parse_http_date("Sun, 30 Aug 2015 12:36:00 GMT").unwrap();
        assert_eq!(date.as_str(), "20150830T123600Z");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "20150830T123600",
            "2015-08-30T12:36:00Z",
            "20150230T123600Z",
            "20150830T246000Z",
            "20150830t123600z",
            "+0150830T123600Z",
            "2015083éT12360Z",
        ] {
            assert_eq!(SigningTime::parse(text), None, "{text}");
        }
        assert_eq!(SigningTime::from_clock(UNIX_EPOCH).plus(-5).seconds(), 0);
        assert_eq!(SigningTime::from_clock(UNIX_EPOCH).plus(i64::MAX).date(), "99991230");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_text_is_a_moment_or_none(text in "\\PC{0,20}|[0-9]{8}T[0-9]{6}Z|[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} (GMT|[+-][0-9]{4})", more in any::<i64>()) {
            if let Some(time) = SigningTime::parse(&text) {
                prop_assert_eq!(time.as_str(), &text);
                prop_assert!(time.plus(more).as_str().ends_with('Z'));
            }
            if let Some(time) = SigningTime::parse_http_date(&text) {
                prop_assert_eq!(SigningTime::parse(time.as_str()), Some(time));
            }
        }
    }
}
