//! What an environment logs: the guest's lines and the platform's own, in order, into one stream, with a tail.

use std::os::fd::OwnedFd;

use bytes::Bytes;
use ephyra_core::limits::LOG_TAIL_BYTES;
use ephyra_core::logs::LogStream;
use ephyra_core::revision::{LogFormat, LogLevel, Logging};
use serde::Deserialize;

use crate::lines::Lines;
use crate::platform::Event;
use crate::telemetry::{Category, SharedHub};

/// One environment's log.
pub struct Journal {
    lines: Lines,
    extension_lines: Lines,
    log: Log,
}

struct Log {
    stream: Box<dyn LogStream>,
    format: LogFormat,
    application_level: LogLevel,
    system_level: LogLevel,
    tail: Option<Vec<u8>>,
    is_dirty: bool,
    /// Who is told of everything besides.
    hub: Option<SharedHub>,
}

impl Journal {
    /// A journal that writes to `stream` what `logging` keeps.
    pub fn new(stream: Box<dyn LogStream>, logging: &Logging) -> Self {
        let log = Log {
            stream,
            format: logging.format,
            application_level: logging.application_level,
            system_level: logging.system_level,
            // What initialisation logs: the first call gets it when that has failed.
            tail: Some(Vec::new()),
            is_dirty: false,
            hub: None,
        };
        Self {
            lines: Lines::default(),
            extension_lines: Lines::default(),
            log,
        }
    }

    /// The same, and everything is told to `hub` besides.
    pub(crate) fn with_hub(mut self, hub: SharedHub) -> Self {
        self.log.hub = Some(hub);
        self
    }

    /// Whom everything is told to besides; `None` where nobody has subscribed in time.
    pub(crate) fn hub(&self) -> Option<&SharedHub> {
        self.log.hub.as_ref()
    }

    /// Nobody subscribes any more.
    pub(crate) fn close_hub(&mut self) {
        self.log.hub.take_if(|hub| !hub.close());
    }

    /// Passes a socket on to a subscriber that waits for it.
    pub(crate) fn take_socket(&self, socket: Option<OwnedFd>) {
        let (Some(hub), Some(socket)) = (self.hub(), socket) else {
            return tracing::debug!("a sandbox gave no socket for telemetry, or too late");
        };
        if let Err(error) = hub.take_socket(socket) {
            tracing::warn!(%error, "a sandbox gave something else than a socket");
        }
    }

    /// Begins to keep the last 4 KB, when they are wanted; `with_init` keeps what initialisation has logged among them.
    pub fn begin_tail(&mut self, is_wanted: bool, with_init: bool) {
        let init = self.log.tail.take().filter(|_| with_init);
        self.log.tail = is_wanted.then(|| init.unwrap_or_default());
    }

    /// Takes the tail.
    pub fn take_tail(&mut self) -> Option<Bytes> {
        let tail = self.log.tail.take()?;
        let start = tail.len().saturating_sub(LOG_TAIL_BYTES);
        Some(Bytes::from(tail).slice(start..))
    }

    /// Takes what the guest has written; says how many ends of lines, within an event or after it, are in it.
    pub fn write(&mut self, bytes: &[u8], now_ms: i64) -> usize {
        self.write_from(Category::Function, bytes, now_ms)
    }

    /// Takes an unfinished line for a whole one.
    pub fn finish_line(&mut self, now_ms: i64) {
        self.finish_line_from(Category::Function, now_ms);
    }

    /// Takes what the function or its extensions have written.
    pub(crate) fn write_from(&mut self, category: Category, bytes: &[u8], now_ms: i64) -> usize {
        let (lines, log) = self.lines(category);
        lines.feed(bytes, |line| log.guest_line(category, line, now_ms));
        bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count()
    }

    /// Takes an unfinished line of the function's or its extensions' for a whole one.
    pub(crate) fn finish_line_from(&mut self, category: Category, now_ms: i64) {
        let (lines, log) = self.lines(category);
        lines.finish(|line| log.guest_line(category, line, now_ms));
    }

    fn lines(&mut self, category: Category) -> (&mut Lines, &mut Log) {
        let lines = match category {
            Category::Extension => &mut self.extension_lines,
            Category::Function | Category::Platform => &mut self.lines,
        };
        (lines, &mut self.log)
    }

    /// Logs an event of the platform, if its level is kept, and tells it to those who have subscribed.
    pub fn platform(&mut self, event: Event<'_>, now_ms: i64) {
        if let Some(hub) = &self.log.hub {
            hub.platform(event, now_ms);
        }
        self.log_platform(event, now_ms);
    }

    /// Logs an event of the platform, if its level is kept.
    pub(crate) fn log_platform(&mut self, event: Event<'_>, now_ms: i64) {
        let text = match self.log.format {
            LogFormat::Text => event.to_text(),
            LogFormat::Json if event.level() >= self.log.system_level => event.to_json(&to_time(now_ms)),
            LogFormat::Json => return,
        };
        if !text.is_empty() {
            self.log.append(text.as_bytes(), now_ms);
        }
    }

    /// Logs a line of the platform that exists as text alone.
    pub fn platform_text(&mut self, text: &str, now_ms: i64) {
        if self.log.format == LogFormat::Text {
            self.log.append(text.as_bytes(), now_ms);
        }
    }

    /// Hands what is buffered to those who follow.
    pub fn flush(&mut self) {
        if std::mem::take(&mut self.log.is_dirty) {
            self.log.stream.flush();
        }
    }
}

impl Log {
    fn guest_line(&mut self, category: Category, line: &[u8], now_ms: i64) {
        let is_kept = self.format == LogFormat::Text || is_kept(line, self.application_level);
        if !is_kept && self.hub.is_none() {
            return;
        }
        let mut text = String::from_utf8_lossy(line);
        if text.contains('\r') {
            // How a runtime writes an event of several lines.
            text = text.replace('\r', "\n").into();
        }
        if let Some(hub) = &self.hub {
            hub.line(category, &text, now_ms);
        }
        if is_kept {
            self.append(text.as_bytes(), now_ms);
        }
    }

    fn append(&mut self, line: &[u8], now_ms: i64) {
        self.stream.append(now_ms, line);
        self.is_dirty = true;
        if let Some(tail) = &mut self.tail {
            let line = &line[line.len().saturating_sub(LOG_TAIL_BYTES)..];
            if tail.len() + line.len() > 4 * LOG_TAIL_BYTES {
                tail.drain(..tail.len().saturating_sub(LOG_TAIL_BYTES));
            }
            tail.extend_from_slice(line);
            tail.push(b'\n');
        }
    }
}

/// Milliseconds since 1970 as RFC 3339 with milliseconds.
pub fn to_time(now_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(now_ms)
        .map(|time| format!("{time:.3}"))
        .unwrap_or_default()
}

/// Whether a line passes the application's level: JSON objects by their `level`, which is INFO when it is missing or
/// unknown; anything else always.
fn is_kept(line: &[u8], level: LogLevel) -> bool {
    #[derive(Deserialize)]
    struct Levelled<'a> {
        #[serde(borrow, alias = "log_level", alias = "Level", alias = "LogLevel")]
        level: Option<std::borrow::Cow<'a, str>>,
    }
    if level == LogLevel::Trace || !line.starts_with(b"{") {
        return true;
    }
    let Ok(found) = serde_json::from_slice::<Levelled<'_>>(line) else {
        return !is_object(line) || level <= LogLevel::Info;
    };
    let found = found.level.unwrap_or_default();
    let is = |name: &str| found.eq_ignore_ascii_case(name);
    let found = if is("trace") {
        LogLevel::Trace
    } else if is("debug") {
        LogLevel::Debug
    } else if is("warn") || is("warning") {
        LogLevel::Warn
    } else if is("error") {
        LogLevel::Error
    } else if is("fatal") || is("critical") {
        LogLevel::Fatal
    } else {
        LogLevel::Info
    };
    found >= level
}

fn is_object(line: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl LogStream for Kept {
        fn append(&mut self, _timestamp_ms: i64, message: &[u8]) {
            self.0
                .lock()
                .unwrap()
                .push(String::from_utf8(message.to_vec()).unwrap());
        }
        fn flush(&mut self) {}
    }

    fn journal(format: LogFormat, level: LogLevel) -> (Journal, Kept) {
        let kept = Kept::default();
        let logging = Logging {
            format,
            application_level: level,
            system_level: LogLevel::Info,
            group: "/g".to_owned(),
        };
        (Journal::new(Box::new(kept.clone()), &logging), kept)
    }

    #[test]
    fn the_tail_is_the_last_4096_bytes_and_only_there_when_wanted() {
        let (mut journal, _) = journal(LogFormat::Text, LogLevel::Info);
        journal.begin_tail(false, false);
        journal.write(b"x\n", 0);
        assert_eq!(journal.take_tail(), None);
        journal.begin_tail(true, false);
        for number in 0..5000 {
            journal.write(format!("{number:04}\n").as_bytes(), 0);
        }
        let tail = journal.take_tail().unwrap();
        assert_eq!(tail.len(), 4096);
        assert!(tail.ends_with(b"\n4998\n4999\n"));
        journal.begin_tail(true, false);
        journal.write(&[b'y'; 10_000], 0);
        journal.finish_line(0);
        assert_eq!(journal.take_tail().unwrap().len(), 4096);
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_replaced() {
        let (mut journal, kept) = journal(LogFormat::Text, LogLevel::Info);
        journal.write(b"a\xffb\n", 0);
        assert_eq!(*kept.0.lock().unwrap(), ["a\u{fffd}b"]);
    }

    #[test]
    fn carriage_returns_part_the_lines_of_one_event() {
        let (mut journal, kept) = journal(LogFormat::Text, LogLevel::Info);
        journal.write(b"a\rb\r\nc\n", 0);
        assert_eq!(*kept.0.lock().unwrap(), ["a\nb", "c"]);
    }

    #[test]
    fn json_lines_below_the_level_are_dropped() {
        let (mut journal, kept) = journal(LogFormat::Json, LogLevel::Warn);
        let lines = [
            (r#"{"level":"debug","message":"a"}"#, false),
            (r#"{"level":"INFO"}"#, false),
            (r#"{"message":"no level is INFO"}"#, false),
            (r#"{"level":7}"#, false),
            (r#"{"level":"warning"}"#, true),
            (r#"{"log_level":"ERROR"}"#, true),
            (r#"{"level":"FATAL"}"#, true),
            ("plain text", true),
            ("{not json", true),
        ];
        for (line, _) in lines {
            journal.write(format!("{line}\n").as_bytes(), 0);
        }
        let want: Vec<&str> = lines.iter().filter(|(_, kept)| *kept).map(|(line, _)| *line).collect();
        assert_eq!(*kept.0.lock().unwrap(), want);
    }

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(to_time(1_700_000_000_000), "2023-11-14T22:13:20.000Z");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(100))]

        #[test]
        fn any_line_has_a_level_or_none(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80),
            level in "\\PC{0,12}",
        ) {
            let object = [b"{".as_slice(), &bytes].concat();
            let levelled = serde_json::json!({ "level": level }).to_string().into_bytes();
            for line in [bytes, object, levelled] {
                // Whatever passes a level passes those below it.
                let kept = [LogLevel::Fatal, LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace]
                    .map(|level| is_kept(&line, level));
                proptest::prop_assert!(kept.is_sorted() && kept[5], "{kept:?}");
            }
        }
    }
}
