//! One event as one line: the milliseconds, a space, the text with `\` before each backslash and `\n` for a line end.

use std::io::{self, BufRead, Read as _};

/// What is kept of an event's text, in bytes: CloudWatch's limit of 256 KiB.
pub(super) const MESSAGE_BYTES: usize = 256 * 1024;
/// The longest line: all of the text escaped, and the time.
const LINE_BYTES: u64 = 2 * MESSAGE_BYTES as u64 + 32;

/// Adds an event's line to `buffer`.
pub(super) fn write(buffer: &mut Vec<u8>, timestamp_ms: i64, message: &[u8]) {
    use std::io::Write as _;
    let message = message.get(..MESSAGE_BYTES).unwrap_or(message);
    // Writing into memory does not fail.
    let _ = write!(buffer, "{timestamp_ms} ");
    buffer.reserve(message.len() + 1);
    let mut rest = message;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\\')) {
        let (plain, special) = rest.split_at(at);
        buffer.extend_from_slice(plain);
        buffer.extend_from_slice(if special.first() == Some(&b'\n') {
            b"\\n"
        } else {
            b"\\\\"
        });
        rest = special.get(1..).unwrap_or_default();
    }
    buffer.extend_from_slice(rest);
    buffer.push(b'\n');
}

/// Reads a line without its end; `None` for what [`write`] does not make.
pub(super) fn read(line: &[u8]) -> Option<(i64, Vec<u8>)> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let (time, text) = line.split_at(space);
    let time = std::str::from_utf8(time).ok()?.parse().ok()?;
    let mut message = Vec::with_capacity(text.len());
    let mut bytes = text.iter().skip(1);
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => message.push(if *bytes.next()? == b'n' { b'\n' } else { b'\\' }),
            _ => message.push(*byte),
        }
    }
    Some((time, message))
}

/// Calls `each` with every whole line of `file`; what is longer than a line can be is passed over.
pub(super) fn for_each(file: &mut impl BufRead, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        file.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line)?;
        if line.pop_if(|last| *last == b'\n').is_some() {
            each(&line);
        } else if u64::try_from(line.len()).is_ok_and(|length| length < LINE_BYTES) {
            return Ok(());
        } else {
            file.skip_until(b'\n')?;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_text_is_cut() {
        let mut buffer = Vec::new();
        write(&mut buffer, 1, &vec![b'\n'; MESSAGE_BYTES + 1]);
        let mut lines = Vec::new();
        for_each(&mut &buffer[..], |line| lines.push(read(line))).unwrap();
        assert_eq!(lines, [Some((1, vec![b'\n'; MESSAGE_BYTES]))]);
    }

    #[test]
    fn what_is_no_line_is_passed_over() {
        let mut file = vec![b'x'; 2 * usize::try_from(LINE_BYTES).unwrap()];
        file.extend_from_slice(b"\nnonsense\n5 five\n6 cut o");
        let mut found = Vec::new();
        for_each(&mut &file[..], |line| found.extend(read(line))).unwrap();
        assert_eq!(found, [(5, b"five".to_vec())]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_event_is_one_line_and_reads_back(time in any::<i64>(), text in "[a\\\\\n ä]{0,20}") {
            let mut buffer = Vec::new();
            write(&mut buffer, time, text.as_bytes());
            prop_assert_eq!(buffer.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert_eq!(read(&buffer[..buffer.len() - 1]), Some((time, text.into_bytes())));
        }

        #[test]
        fn no_bytes_make_it_panic(line in proptest::collection::vec(any::<u8>(), 0..40)) {
            drop(read(&line));
        }
    }
}
