//! Names of groups and streams as names of files: no name leaves its folder, and no two share a file.

use ephyra_core::digest::Digest;

/// File names have at most 255 bytes; a segment's number and ending come behind.
const LENGTH: usize = 200;
/// What is kept of a longer name, before the digest that tells it from others.
const KEPT: usize = 120;

/// Letters, digits, `-` and `_` stay, and so does a dot that is not the first byte; `/`, which is in most names,
/// becomes `+`; all else becomes `%` and two digits. A result that is too long ends in `~` and the name's digest.
pub(super) fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len() + 8);
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => escaped.push(char::from(byte)),
            b'.' if at > 0 => escaped.push('.'),
            b'/' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    if escaped.is_empty() {
        return "~".to_owned();
    }
    if escaped.len() > LENGTH {
        escaped.truncate(KEPT);
        escaped.push_str(&format!("~{}", Digest::of(name.as_bytes())));
    }
    escaped
}

/// Whether an escaped name does not hold the whole name.
pub(super) fn is_shortened(escaped: &str) -> bool {
    escaped.len() > 1 && escaped.contains('~')
}

/// The name behind an escaped one; `None` for what [`escape`] does not make, or shortened.
pub(super) fn unescape(escaped: &str) -> Option<String> {
    if escaped == "~" {
        return Some(String::new());
    }
    let mut name = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => name.push(b'/'),
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                name.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            _ => name.push(byte),
        }
    }
    let name = String::from_utf8(name).ok()?;
    (escape(&name) == escaped).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(name: &str, want: &str) {
        assert_eq!(escape(name), want);
        assert_eq!(unescape(want).as_deref(), Some(name));
    }

    #[test]
    fn names_stay_readable() {
        check("/aws/lambda/my-func_1", "+aws+lambda+my-func_1");
        check("2026/11/23/[$LATEST]0af", "2026+11+23+%5B%24LATEST%5D0af");
        check("..", "%2E.");
        check(".hidden", "%2Ehidden");
        check("", "~");
        check("a+b~c%d e\0", "a%2Bb%7Ec%25d%20e%00");
    }

    #[test]
    fn long_names_are_told_apart() {
        let (one, other) = ("x".repeat(511) + "1", "x".repeat(511) + "2");
        assert_ne!(escape(&one), escape(&other));
        assert!(escape(&one).len() <= LENGTH && is_shortened(&escape(&one)));
        assert_eq!(unescape(&escape(&one)), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_name_is_more_than_one_plain_file_name(name in any::<String>()) {
            let escaped = escape(&name);
            prop_assert!(!escaped.is_empty() && escaped.len() <= LENGTH && escaped.is_ascii());
            prop_assert!(!escaped.contains(['/', '\0']) && !escaped.starts_with('.'));
            match unescape(&escaped) {
                Some(back) => prop_assert_eq!(back, name),
                None => prop_assert!(is_shortened(&escaped)),
            }
        }
    }
}
