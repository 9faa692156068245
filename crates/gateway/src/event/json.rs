//! JSON, written into a buffer.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// For each byte, what follows the backslash when it has to be escaped; `u` for `\u00XX`, 0 for none.
static ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

/// Writes a string with its quotes.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// Writes a part of a string.
pub(super) fn escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = find_special(rest) {
        let (clean, special) = rest.split_at(at);
        out.extend_from_slice(clean);
        let byte = special[0];
        match ESCAPES[usize::from(byte)] {
            b'u' => {
                let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            }
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        rest = &special[1..];
    }
    out.extend_from_slice(rest);
}

/// Where the first byte is that has to be escaped. Bodies may be megabytes of bytes that have not to be: eight are looked at at once.
fn find_special(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    /// The top bit of the first byte that is 0, and perhaps of some behind it.
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & TOPS
    }
    let (words, _) = bytes.as_chunks::<8>();
    let is_special = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        let controls = word.wrapping_sub(ONES * 0x20) & !word;
        let quotes = zeros(word ^ (ONES * 0x22));
        let slashes = zeros(word ^ (ONES * 0x5c));
        (controls & TOPS) | quotes | slashes != 0
    };
    let start = words.iter().position(is_special).unwrap_or(words.len()) * 8;
    let at = bytes[start..]
        .iter()
        .position(|byte| ESCAPES[usize::from(*byte)] != 0)?;
    Some(start + at)
}

/// Writes `"name":`; the name needs no escaping.
pub(super) fn name(out: &mut Vec<u8>, name: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Writes `"name":"value",`; the name needs no escaping.
pub(super) fn member(out: &mut Vec<u8>, key: &str, value: &str) {
    name(out, key);
    string(out, value);
    out.push(b',');
}

/// Writes bytes in base64, straight to where they stay.
pub(super) fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]);
    // There is always room: it was made for exactly as many.
    out.truncate(start + written.unwrap_or_default());
}

/// Writes a number.
pub(super) fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(Number::new(value).as_str().as_bytes());
}

/// Removes the comma behind the last member, if there is one, and closes the object or list.
pub(super) fn close(out: &mut Vec<u8>, bracket: u8) {
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.push(bracket);
}

/// Writes a time such as `12/Mar/2020:19:03:58 +0000`.
pub(super) fn log_time(out: &mut Vec<u8>, ms: i64) {
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    // Beyond the years that a calendar has there is no time to tell.
    let Ok(time) = jiff::Timestamp::from_millisecond(ms) else {
        return;
    };
    let time = jiff::tz::Offset::UTC.to_datetime(time);
    let two = |out: &mut Vec<u8>, value: i8| {
        let value = value.unsigned_abs();
        out.extend_from_slice(&[b'0' + value / 10, b'0' + value % 10]);
    };
    two(out, time.day());
    out.push(b'/');
    let month = usize::from(time.month().unsigned_abs()).saturating_sub(1) * 3;
    out.extend_from_slice(&MONTHS[month..month + 3]);
    out.push(b'/');
    let year = time.year().unsigned_abs();
    out.extend([1000, 100, 10, 1].map(|unit| digit((year / unit).into())));
    for part in [time.hour(), time.minute(), time.second()] {
        out.push(b':');
        two(out, part);
    }
    out.extend_from_slice(b" +0000");
}

/// The last digit of a number.
const fn digit(value: u64) -> u8 {
    b'0' + (value % 10) as u8
}

/// A number as text, without an allocation.
pub(super) struct Number {
    digits: [u8; 20],
    start: usize,
}

impl Number {
    pub(super) fn new(mut value: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = digit(value);
            value /= 10;
            if value == 0 {
                return Self { digits, start };
            }
        }
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits[self.start..]).unwrap_or_default()
    }
}

/// An address as text, without an allocation.
pub(super) struct Address {
    text: [u8; 48],
    len: usize,
}

impl Address {
    pub(super) fn new(address: IpAddr) -> Self {
        use std::io::Write as _;
        let mut text = [0; 48];
        let mut rest = &mut text[..];
        // The longest address has 45 characters.
        let _fits = write!(rest, "{}", address.to_canonical());
        let left = rest.len();
        Self { text, len: 48 - left }
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.len]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_those_of_the_common_log_format() {
        for (ms, text) in [
            (1_584_039_838_390, "12/Mar/2020:19:03:58 +0000"),
            (0, "01/Jan/1970:00:00:00 +0000"),
            (1_709_164_799_999, "28/Feb/2024:23:59:59 +0000"),
            (253_402_207_200_000, "30/Dec/9999:22:00:00 +0000"),
        ] {
            assert_eq!(written(|out| log_time(out, ms)), text);
        }
    }

    #[test]
    fn addresses_are_short() {
        for (address, text) in [
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("2001:db8::1", "2001:db8::1"),
            (
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            ),
        ] {
            assert_eq!(Address::new(address.parse().unwrap()).as_str(), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn strings_are_read_as_they_were(text in "[\\x00-\\x7f]{0,40}|\\PC{0,40}") {
            let json = written(|out| string(out, &text));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn what_is_special_is_found(bytes in proptest::collection::vec(prop_oneof![9 => 0x1eu8..0x80, 1 => any::<u8>()], 0..40)) {
            let wanted = bytes.iter().position(|byte| ESCAPES[usize::from(*byte)] != 0);
            prop_assert_eq!(find_special(&bytes), wanted);
        }

        #[test]
        fn numbers_are_their_digits(value: u64) {
            let number = Number::new(value);
            prop_assert_eq!(number.as_str(), value.to_string());
        }

        #[test]
        fn bytes_are_read_as_they_were(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let text = written(|out| base64(out, &bytes));
            prop_assert_eq!(STANDARD.decode(text).unwrap(), bytes);
        }

        #[test]
        fn times_are_jiffs(ms in 0..253_402_207_200_000i64) {
            let time = jiff::Timestamp::from_millisecond(ms).unwrap();
            let wanted = time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
            prop_assert_eq!(written(|out| log_time(out, ms)), wanted);
        }
    }
}
