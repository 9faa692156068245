//! Reading events back, across streams in the order of their time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read as _};
use std::sync::Arc;

use super::segment::Segment;
use super::{LogEvent, line};

/// What one reading returns at most, in bytes of text beyond its last event.
const TAIL_BYTES: usize = 8 * 1024 * 1024;

/// By how much a file's time of writing may be behind the time of its last event: file systems round it down.
const ROUNDED_MS: i64 = 1000;

/// An event's place: by time, and within a millisecond by stream and line.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    timestamp_ms: i64,
    stream: Arc<str>,
    segment: u64,
    line: u64,
}

/// The newest events, the oldest of them on top.
#[derive(Default)]
struct Newest {
    events: BinaryHeap<Reverse<(Place, Vec<u8>)>>,
    bytes: usize,
    limit: usize,
}

impl Newest {
    fn add(&mut self, place: Place, message: Vec<u8>) {
        self.bytes += message.len();
        self.events.push(Reverse((place, message)));
        while self.events.len() > self.limit || (self.bytes > TAIL_BYTES && self.events.len() > 1) {
            let Some(Reverse((_, message))) = self.events.pop() else {
                return;
            };
            self.bytes -= message.len();
        }
    }

    /// The time before which nothing is wanted any more.
    fn floor_ms(&self) -> Option<i64> {
        let is_full = self.events.len() >= self.limit || self.bytes >= TAIL_BYTES;
        let Reverse((place, _)) = self.events.peek().filter(|_| is_full)?;
        Some(place.timestamp_ms)
    }
}

/// The newest `limit` events at or after `since_ms` in these segments, each as long as it was when it was listed.
pub(super) fn tail(mut segments: Vec<Segment>, since_ms: i64, limit: usize) -> io::Result<Vec<LogEvent>> {
    let mut newest = Newest {
        limit,
        ..Newest::default()
    };
    // An event is written after its time, so a segment holds nothing newer than its last writing.
    let is_behind = |floor_ms: i64, segment: &Segment| floor_ms > segment.written_ms.saturating_add(ROUNDED_MS);
    segments.sort_by_key(|segment| Reverse(segment.written_ms));
    for segment in segments {
        if limit == 0 || is_behind(newest.floor_ms().unwrap_or(since_ms).max(since_ms), &segment) {
            break;
        }
        let file = match File::open(&segment.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let stream: Arc<str> = segment.stream.into();
        let mut count = 0;
        line::for_each(&mut BufReader::new(file.take(segment.bytes)), |line| {
            count += 1;
            let Some((timestamp_ms, message)) = line::read(line) else {
                return;
            };
            if timestamp_ms >= since_ms {
                let place = Place {
                    timestamp_ms,
                    stream: Arc::clone(&stream),
                    segment: segment.number,
                    line: count,
                };
                newest.add(place, message);
            }
        })?;
    }
    let events = newest.events.into_sorted_vec().into_iter().rev();
    Ok(events
        .map(|Reverse((place, message))| LogEvent {
            timestamp_ms: place.timestamp_ms,
            stream: place.stream,
            message: message.into(),
        })
        .collect())
}
