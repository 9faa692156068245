//! What waits to be sent to one subscriber: a bounded batch, pure.

use std::time::Instant;

use bytes::Bytes;
use serde_json::json;

use super::subscription::Buffering;

/// Records on their way, and what of them was lost.
#[derive(Debug)]
pub(crate) struct Buffer {
    limits: Buffering,
    records: Vec<Bytes>,
    bytes: usize,
    /// When the first of them came.
    since: Option<Instant>,
    /// Nothing waits for its time any more.
    is_urgent: bool,
    lost: Lost,
}

/// Records that were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Lost {
    /// The record that tells of them.
    pub(crate) fn to_record(self, time: &str) -> String {
        json!({
            "time": time, "type": "platform.logsDropped",
            "record": {
                "droppedBytes": self.bytes, "droppedRecords": self.records,
                "reason": "Consumer seems to have fallen behind as it has not acknowledged receipt of logs.",
            },
        })
        .to_string()
    }
}

/// What is sent at once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) records: Vec<Bytes>,
    /// What was lost before it.
    pub(crate) lost: Lost,
}

impl Buffer {
    pub(crate) const fn new(limits: Buffering) -> Self {
        Self {
            limits,
            records: Vec::new(),
            bytes: 0,
            since: None,
            is_urgent: false,
            lost: Lost { records: 0, bytes: 0 },
        }
    }

    /// Adds a record, or drops it when there is no room. Says whether the sender should look: this is the first one,
    /// or the batch is full.
    pub(crate) fn push(&mut self, record: Bytes, now: Instant) -> bool {
        let fits = self.records.len() < self.limits.items && self.bytes + record.len() <= self.limits.bytes;
        // A record alone may be larger than a batch.
        if !fits && !self.records.is_empty() {
            self.lose(Lost {
                records: 1,
                bytes: record.len() as u64,
            });
            return false;
        }
        let is_first = self.records.is_empty();
        self.since.get_or_insert(now);
        self.bytes += record.len();
        self.records.push(record);
        is_first || self.is_full()
    }

    /// Counts records as dropped.
    pub(crate) const fn lose(&mut self, lost: Lost) {
        self.lost.records += lost.records;
        self.lost.bytes += lost.bytes;
    }

    /// From now on whatever is there is due.
    pub(crate) const fn hurry(&mut self) {
        self.is_urgent = true;
    }

    /// When the batch is due: `None` while there is none.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        let since = self.since?;
        let is_due = self.is_urgent || self.is_full();
        Some(if is_due { since } else { since + self.limits.timeout })
    }

    /// The batch, when it is due.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Batch> {
        if self.due_at()? > now {
            return None;
        }
        self.since = None;
        self.bytes = 0;
        Some(Batch {
            records: std::mem::take(&mut self.records),
            lost: std::mem::take(&mut self.lost),
        })
    }

    /// A quarter is left for what comes while a sender wakes up.
    const fn is_full(&self) -> bool {
        self.records.len() >= self.limits.items - self.limits.items / 4
            || self.bytes >= self.limits.bytes - self.limits.bytes / 4
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: Buffering = Buffering {
        items: 8,
        bytes: 80,
        timeout: Duration::from_millis(100),
    };

    fn record(bytes: usize) -> Bytes {
        Bytes::from(vec![b'x'; bytes])
    }

    #[test]
    fn a_batch_is_due_when_it_is_old_full_or_urgent() {
        let start = Instant::now();
        let mut buffer = Buffer::new(LIMITS);
        assert_eq!((buffer.due_at(), buffer.take(start)), (None, None));
        assert!(buffer.push(record(1), start), "the first one starts the clock");
        assert!(!buffer.push(record(1), start + Duration::from_millis(50)));
        assert_eq!(buffer.take(start + Duration::from_millis(99)), None);
        assert_eq!(buffer.take(start + LIMITS.timeout).unwrap().records.len(), 2);
        for number in 0..6 {
            assert_eq!(buffer.push(record(1), start), number == 0 || number == 5);
        }
        assert_eq!(buffer.take(start).unwrap().records.len(), 6);
        buffer.push(record(60), start);
        assert_eq!(buffer.take(start).unwrap().records.len(), 1);
        buffer.hurry();
        buffer.push(record(1), start);
        assert!(buffer.take(start).is_some());
    }

    #[test]
    fn what_has_no_room_is_counted_and_told() {
        let start = Instant::now();
        let mut buffer = Buffer::new(LIMITS);
        buffer.push(record(500), start);
        buffer.push(record(10), start);
        buffer.push(record(20), start);
        let batch = buffer.take(start).unwrap();
        assert_eq!((batch.records.len(), batch.lost), (1, Lost { records: 2, bytes: 30 }));
        buffer.push(record(1), start);
        assert_eq!(buffer.take(start + LIMITS.timeout).unwrap().lost, Lost::default());
        let told: serde_json::Value = serde_json::from_str(&batch.lost.to_record("T")).unwrap();
        assert_eq!(told["record"]["droppedRecords"], 2);
        assert_eq!(told["record"]["droppedBytes"], 30);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn nothing_is_lost_uncounted_and_no_bound_is_passed(
            steps in proptest::collection::vec((0..100usize, 0..60u64, any::<bool>()), 0..60),
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut buffer = Buffer::new(LIMITS);
            let (mut pushed, mut taken, mut lost) = (0, 0, 0);
            for (bytes, wait, takes) in steps {
                now += Duration::from_millis(wait);
                buffer.push(record(bytes), now);
                pushed += 1;
                prop_assert!(buffer.records.len() <= LIMITS.items);
                prop_assert!(buffer.bytes <= LIMITS.bytes || buffer.records.len() == 1);
                if takes && let Some(batch) = buffer.take(now) {
                    taken += batch.records.len() as u64;
                    lost += batch.lost.records;
                }
            }
            buffer.hurry();
            if let Some(batch) = buffer.take(now) {
                taken += batch.records.len() as u64;
                lost += batch.lost.records;
            }
            prop_assert_eq!(pushed, taken + lost + buffer.lost.records);
        }
    }
}
