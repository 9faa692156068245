//! Cuts a guest's output into log lines: a pure splitter.

/// The longest line in bytes; a longer one becomes several. (What CloudWatch takes as one event.)
pub const LINE_BYTES: usize = 256 * 1024;

/// Collects bytes into lines.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes bytes, cut anywhere, and hands each line that became complete to `line`, without its end.
    pub fn feed(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = LINE_BYTES - self.partial.len();
            let near = &bytes[..bytes.len().min(room)];
            if let Some(end) = near.iter().position(|byte| *byte == b'\n') {
                if self.partial.is_empty() {
                    line(without_return(&near[..end]));
                } else {
                    self.partial.extend_from_slice(&near[..end]);
                    line(without_return(&self.partial));
                    self.partial = Vec::new();
                }
                bytes = &bytes[end + 1..];
                continue;
            }
            self.partial.extend_from_slice(near);
            bytes = &bytes[near.len()..];
            if self.partial.len() == LINE_BYTES {
                let cut = LINE_BYTES - begun_character(&self.partial);
                line(&self.partial[..cut]);
                self.partial.drain(..cut);
            }
        }
    }

    /// Hands over what there is of an unfinished line: nothing more is expected now.
    pub fn finish(&mut self, line: impl FnOnce(&[u8])) {
        if !self.partial.is_empty() {
            line(&std::mem::take(&mut self.partial));
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// How many bytes at the end begin a UTF-8 character without finishing it: 0 to 3.
fn begun_character(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let length = match bytes[bytes.len() - back] {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if length > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(parts: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for part in parts {
            lines.feed(part, |line| found.push(line.to_vec()));
        }
        lines.finish(|line| found.push(line.to_vec()));
        found
    }

    #[test]
    fn lines_end_at_line_feeds_and_at_the_end() {
        assert_eq!(split(&[b"a\nb", b"c\r\n", b"\nd"]), [&b"a"[..], b"bc", b"", b"d"]);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let text = format!("{}äöü", "x".repeat(LINE_BYTES - 1));
        let found = split(&[text.as_bytes()]);
        assert_eq!(
            found,
            [text.as_bytes()[..LINE_BYTES - 1].to_vec(), "äöü".as_bytes().to_vec()]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn cuts_change_nothing(
            text in "[ab\n]{0,60}",
            cuts in proptest::collection::vec(0..60usize, 0..5),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(split(&parts), split(&[bytes]));
        }

        #[test]
        fn no_byte_is_lost_from_bytes_without_ends(bytes in proptest::collection::vec(0x80..=0xffu8, 0..100)) {
            let mut whole = vec![b'x'; LINE_BYTES - 50];
            whole.extend_from_slice(&bytes);
            prop_assert_eq!(split(&[&whole]).concat(), whole);
        }
    }
}
