//! A request's path, taken apart once.

use std::borrow::Cow;

use crate::request::decode_path;

/// A path between its slashes, as sent and as it is meant.
///
/// It is taken apart at the slashes as sent: an encoded slash is part of a segment and never makes two of one, so that no
/// route can be reached by writing its path in another way than with slashes.
#[derive(Clone, Debug)]
pub struct Path<'a> {
    raw: &'a str,
    segments: Vec<Part<'a>>,
}

#[derive(Clone, Debug)]
struct Part<'a> {
    /// Where it begins in the path as sent.
    start: usize,
    decoded: Cow<'a, str>,
}

impl<'a> Path<'a> {
    /// Takes `raw` apart; what comes before the first slash is not looked at.
    pub fn new(raw: &'a str) -> Self {
        let mut segments = Vec::new();
        let mut start = raw.find('/').map_or(raw.len(), |at| at + 1);
        if start < raw.len() {
            for text in raw[start..].split('/') {
                segments.push(Part {
                    start,
                    decoded: decode_path(text),
                });
                start += text.len() + 1;
            }
        }
        Self { raw, segments }
    }

    /// How many segments there are; `/` has none, `/a/` has two.
    pub fn count(&self) -> usize {
        self.segments.len()
    }

    /// A segment, decoded.
    pub fn segment(&self, index: usize) -> &str {
        self.segments.get(index).map_or("", |part| &part.decoded)
    }

    /// All from a segment on, as sent, without a slash before it.
    pub fn raw_from(&self, index: usize) -> &'a str {
        self.segments.get(index).map_or("", |part| &self.raw[part.start..])
    }

    /// All from a segment on, decoded.
    pub fn from(&self, index: usize) -> Cow<'a, str> {
        decode_path(self.raw_from(index))
    }

    /// Whether a segment means a folder above, or the same: what is behind a server could take that for another path.
    pub fn has_dots(&self) -> bool {
        let is_dots = |part: &Part<'_>| part.decoded.split(['/', '\\']).any(|text| text == "." || text == "..");
        self.segments.iter().any(is_dots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(raw: &str) -> Vec<String> {
        let path = Path::new(raw);
        (0..path.count()).map(|index| path.segment(index).to_owned()).collect()
    }

    #[test]
    fn a_path_is_taken_apart_at_slashes_as_sent() {
        assert_eq!(all(""), [""; 0]);
        assert_eq!(all("/"), [""; 0]);
        assert_eq!(all("/a/b"), ["a", "b"]);
        assert_eq!(all("/a/"), ["a", ""]);
        assert_eq!(all("//a"), ["", "a"]);
        assert_eq!(all("/a%2Fb/c%20d/%zz/%ff"), ["a/b", "c d", "%zz", "\u{fffd}"]);
        let path = Path::new("/a/b%20c/d");
        assert_eq!((path.raw_from(1), path.from(1).as_ref()), ("b%20c/d", "b c/d"));
        assert_eq!(path.raw_from(7), "");
    }

    #[test]
    fn dots_are_found_however_they_are_written() {
        for raw in ["/a/..", "/./a", "/%2e%2E/a", "/a%2f..%2fb", "/a/..%5Cb"] {
            assert!(Path::new(raw).has_dots(), "{raw}");
        }
        for raw in ["/", "/a/...", "/..a/b..", "/.well-known/x"] {
            assert!(!Path::new(raw).has_dots(), "{raw}");
        }
    }
}
