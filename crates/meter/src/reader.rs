//! Reading records back.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use ephyra_core::usage::UsageRecord;

use crate::day::Day;
use crate::keeper::days;

/// The longest line that can be a record, in bytes.
const LINE_BYTES: u64 = 4096;

/// The records of a span of time, in the order of their writing, which is that of the invocations' ends.
///
/// A last line that is still being written, or was cut off by the loss of power, is passed over; so is what is no
/// record, which [`UsageReader::skipped`] counts.
#[derive(Debug)]
pub struct UsageReader {
    span_ms: Range<i64>,
    files: std::vec::IntoIter<PathBuf>,
    open: Option<BufReader<File>>,
    skipped: u64,
}

impl UsageReader {
    /// Opens the log in `data`/usage for the records whose start lies in `span_ms`, in milliseconds since 1970.
    pub fn open(data: &Path, span_ms: Range<i64>) -> io::Result<Self> {
        let first = Day::of_ms(span_ms.start);
        // An invocation may end on the day after it started.
        let last = Day::of_ms(span_ms.end).later(1);
        let days = match days(&data.join("usage")) {
            Ok(days) => days,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let files = days.into_iter().filter(|(day, _)| (first..=last).contains(day));
        Ok(Self {
            span_ms,
            files: files.map(|(_, path)| path).collect::<Vec<_>>().into_iter(),
            open: None,
            skipped: 0,
        })
    }

    /// How many lines were passed over so far because they are no records.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The next record of the open file; `None` at its end.
    fn next_here(&mut self) -> io::Result<Option<UsageRecord>> {
        let Some(file) = &mut self.open else { return Ok(None) };
        let mut line = Vec::new();
        while read_line(file, &mut line)? {
            if line.is_empty() {
                continue;
            }
            match serde_json::from_slice::<UsageRecord>(&line) {
                Ok(record) if self.span_ms.contains(&record.start_ms) => return Ok(Some(record)),
                Ok(_) => {}
                Err(_) => self.skipped += 1,
            }
        }
        Ok(None)
    }
}

impl Iterator for UsageReader {
    type Item = io::Result<UsageRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_here() {
                Ok(Some(record)) => return Some(Ok(record)),
                Ok(None) => self.open = None,
                Err(error) => {
                    self.open = None;
                    return Some(Err(error));
                }
            }
            let path = self.files.next()?;
            match File::open(path) {
                Ok(file) => self.open = Some(BufReader::new(file)),
                // It grew too old since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Reads a whole line without its end; of one that is too long to be a record, as much as tells it from one.
/// False at the end, be it within a line.
fn read_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    file.take(LINE_BYTES).read_until(b'\n', line)?;
    if line.pop_if(|last| *last == b'\n').is_some() {
        return Ok(true);
    }
    if u64::try_from(line.len()).is_ok_and(|length| length < LINE_BYTES) {
        return Ok(false);
    }
    file.skip_until(b'\n')?;
    Ok(true)
}
