//! The canonical request: the one spelling of a request that both sides hash.

use std::borrow::Cow;
use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use sha2::{Digest, Sha256};

use super::{ALGORITHM, Parts, SigningTime, hex_digest};

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same without the slash that divides a path.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// How a service's signatures spell a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRule {
    /// What is encoded on the wire is encoded once more.
    pub double_encode: bool,
    /// `.` and `..` and empty segments are resolved.
    pub normalize: bool,
}

impl PathRule {
    /// The rule of all services but S3.
    pub const STANDARD: Self = Self {
        double_encode: true,
        normalize: true,
    };
    /// S3's rule: a key is taken as it is.
    pub const S3: Self = Self {
        double_encode: false,
        normalize: false,
    };

    /// The rule of a service, by its name in the signature's scope.
    pub fn of(service: &str) -> Self {
        if service == "s3" { Self::S3 } else { Self::STANDARD }
    }
}

/// A signed header that the request does not have.
#[derive(Debug)]
pub(super) struct MissingHeader;

/// What goes into the canonical request besides the parts themselves.
pub(super) struct Canonical<'a> {
    pub(super) parts: Parts<'a>,
    pub(super) rule: PathRule,
    /// Names of the signed headers as they are listed, divided by semicolons.
    pub(super) signed_headers: &'a str,
    /// Parameters of the query that are left out.
    pub(super) is_left_out: fn(&str) -> bool,
    /// Parameters of the query that the wire does not have yet.
    pub(super) added: &'a [(&'a str, &'a str)],
    /// The hash of the body, or what stands for it.
    pub(super) payload: &'a str,
}

impl Canonical<'_> {
    /// Appends the canonical request to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), MissingHeader> {
        out.extend_from_slice(self.parts.method.as_bytes());
        out.push(b'\n');
        write_path(out, self.parts.path, self.rule);
        out.push(b'\n');
        write_query(out, self.parts.query, self.is_left_out, self.added);
        out.push(b'\n');
        for name in self.signed_headers.split(';') {
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            write_header(out, &self.parts, name)?;
            out.push(b'\n');
        }
        out.push(b'\n');
        out.extend_from_slice(self.signed_headers.as_bytes());
        out.push(b'\n');
        out.extend_from_slice(self.payload.as_bytes());
        Ok(())
    }
}

/// The canonical request as text, to see why two sides differ. `signed_headers` are names divided by semicolons,
/// `added` parameters that the query does not have yet, `payload` the body's hash. None when a signed header is
/// missing.
pub fn canonical_request(
    parts: Parts<'_>,
    rule: PathRule,
    signed_headers: &str,
    added: &[(&str, &str)],
    payload: &str,
) -> Option<String> {
    let mut out = Vec::new();
    let canonical = Canonical {
        parts,
        rule,
        signed_headers,
        is_left_out: |_| false,
        added,
        payload,
    };
    canonical.write(&mut out).ok()?;
    String::from_utf8(out).ok()
}

/// Replaces the canonical request in `buffer` by the string to sign. `scope` is `date/region/service/aws4_request`.
pub(super) fn replace_by_string_to_sign(buffer: &mut Vec<u8>, time: &SigningTime, scope: &str) {
    let hash = hex_digest(Sha256::digest(&*buffer).into());
    buffer.clear();
    for line in [ALGORITHM, time.as_str(), scope] {
        buffer.extend_from_slice(line.as_bytes());
        buffer.push(b'\n');
    }
    buffer.extend_from_slice(&hash);
}

fn write_encoded(out: &mut Vec<u8>, bytes: &[u8], set: &'static AsciiSet) {
    for chunk in percent_encode(bytes, set) {
        out.extend_from_slice(chunk.as_bytes());
    }
}

fn write_path(out: &mut Vec<u8>, path: &str, rule: PathRule) {
    let path = if rule.normalize {
        normalize(path)
    } else if path.is_empty() {
        Cow::Borrowed("/")
    } else {
        Cow::Borrowed(path)
    };
    if rule.double_encode {
        write_encoded(out, path.as_bytes(), RESERVED_IN_PATH);
    } else {
        let decoded: Cow<'_, [u8]> = percent_decode_str(&path).into();
        write_encoded(out, &decoded, RESERVED_IN_PATH);
    }
}

/// Resolves dots (RFC 3986, 5.2.4) and drops empty segments. The result starts with a slash, and ends with one if
/// the path did.
fn normalize(path: &str) -> Cow<'_, str> {
    if path.starts_with('/') && !path.contains("/.") && !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut kept = Vec::new();
    let mut is_directory = true;
    for segment in path.split('/') {
        is_directory = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    let mut normal = String::with_capacity(path.len() + 1);
    for segment in &kept {
        normal.push('/');
        normal.push_str(segment);
    }
    if is_directory || kept.is_empty() {
        normal.push('/');
    }
    Cow::Owned(normal)
}

fn write_query(out: &mut Vec<u8>, query: &str, is_left_out: fn(&str) -> bool, added: &[(&str, &str)]) {
    if query.is_empty() && added.is_empty() {
        return;
    }
    // All names and values are encoded into one buffer; only their places are sorted.
    let mut text = Vec::with_capacity(query.len() * 2 + 256);
    let mut places: Vec<(Range<usize>, Range<usize>)> = Vec::with_capacity(16);
    let mut put = |name: &[u8], value: &[u8]| {
        let start = text.len();
        write_encoded(&mut text, name, RESERVED);
        let middle = text.len();
        write_encoded(&mut text, value, RESERVED);
        places.push((start..middle, middle..text.len()));
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !is_left_out(name) {
            put(&decode_query(name), &decode_query(value));
        }
    }
    for (name, value) in added {
        put(name.as_bytes(), value.as_bytes());
    }
    places.sort_by(|a, b| (&text[a.0.clone()], &text[a.1.clone()]).cmp(&(&text[b.0.clone()], &text[b.1.clone()])));
    for (index, (name, value)) in places.into_iter().enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(&text[name]);
        out.push(b'=');
        out.extend_from_slice(&text[value]);
    }
}

/// Undoes percent-encoding and the plus that stands for a space in a query.
pub(crate) fn decode_query(text: &str) -> Cow<'_, [u8]> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        Cow::Owned(percent_decode_str(&spaced).collect())
    } else {
        percent_decode_str(text).into()
    }
}

/// Encodes a name or a value of a query.
pub(crate) fn encode_query(out: &mut String, text: &str) {
    out.extend(percent_encode(text.as_bytes(), RESERVED));
}

fn write_header(out: &mut Vec<u8>, parts: &Parts<'_>, name: &str) -> Result<(), MissingHeader> {
    let mut values = parts.headers.get_all(name).iter();
    match (values.next(), parts.authority) {
        (Some(first), _) => {
            write_folded(out, first.as_bytes());
            for value in values {
                out.push(b',');
                write_folded(out, value.as_bytes());
            }
            Ok(())
        }
        (None, Some(authority)) if name == "host" => {
            out.extend_from_slice(authority.as_bytes());
            Ok(())
        }
        (None, _) => Err(MissingHeader),
    }
}

/// Appends a header's value without the blanks around it and with one space for each run of blanks in it.
fn write_folded(out: &mut Vec<u8>, value: &[u8]) {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let mut words = value.split(is_blank).filter(|word| !word.is_empty());
    if let Some(first) = words.next() {
        out.extend_from_slice(first);
    }
    for word in words {
        out.push(b' ');
        out.extend_from_slice(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check_path(path: &str, rule: PathRule, want: &str) {
        let mut out = Vec::new();
        write_path(&mut out, path, rule);
        assert_eq!(String::from_utf8(out).unwrap(), want, "{path}");
    }

    #[test]
    fn an_arn_in_a_path_is_encoded_once_more_than_on_the_wire() {
        let rule = PathRule::STANDARD;
        check_path("/functions/arn%3Aaws", rule, "/functions/arn%253Aaws");
        check_path("/functions/arn:aws", rule, "/functions/arn%3Aaws");
        check_path("/2015-03-31/functions/", rule, "/2015-03-31/functions/");
        check_path("", rule, "/");
        check_path("a", rule, "/a");
        check_path("/a/..b/.c", rule, "/a/..b/.c");
        check_path("/../a/./b//..", rule, "/a/");
    }

    #[test]
    fn s3_takes_a_key_as_it_is() {
        check_path("/bucket//a/../b%20c:d", PathRule::S3, "/bucket//a/../b%20c%3Ad");
        check_path("", PathRule::S3, "/");
    }

    #[test]
    fn a_query_is_sorted_by_its_encoded_form() {
        let mut out = Vec::new();
        write_query(
            &mut out,
            "b&a=2&a=1&&a%20b=%zz&c=x+y",
            |name| name == "b",
            &[("a", "1 ")],
        );
        assert_eq!(String::from_utf8(out).unwrap(), "a=1&a=1%20&a=2&a%20b=%25zz&c=x%20y");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_normal_path_stays_as_it_is(path in "[/.a%]{0,24}") {
            let once = normalize(&path).into_owned();
            prop_assert!(once.starts_with('/'));
            prop_assert_eq!(normalize(&once).into_owned(), once);
        }
    }
}
