//! One stream, appended to.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ephyra_core::logs::LogStream;

use super::{Inner, LogEvent, line, name, segment};

/// What is buffered at most before it is flushed by itself, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// How often it is looked whether the file is still there: whoever deletes it loses what was written in between.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// An open stream. Its file is opened with its first flush.
pub(super) struct Writer {
    inner: Arc<Inner>,
    group: String,
    stream: Arc<str>,
    dir: PathBuf,
    escaped: String,
    buffer: Vec<u8>,
    file: Option<(File, u64)>,
    /// When the file was last looked at, and how many deletions there had been then.
    looked: (Instant, u64),
    number: u64,
}

impl Writer {
    pub(super) fn new(inner: Arc<Inner>, group: &str, stream: &str) -> Self {
        Self {
            dir: inner.group_dir(group),
            inner,
            group: group.to_owned(),
            stream: stream.into(),
            escaped: name::escape(stream),
            buffer: Vec::new(),
            file: None,
            looked: (Instant::now(), 0),
            number: 0,
        }
    }

    /// Writes the buffer with one write(2) and then tells those who follow.
    fn write(&mut self) -> io::Result<()> {
        let inner = Arc::clone(&self.inner);
        let _not_between_these = inner.flushing.read();
        self.ready()?;
        let Some((file, bytes)) = &mut self.file else {
            return Err(ErrorKind::NotFound.into());
        };
        let length = u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        let written = file.write(&self.buffer);
        *bytes += length;
        if !matches!(&written, Ok(count) if *count == self.buffer.len()) {
            // The file may end within a line: what comes next goes to another.
            self.file = None;
            return written.and_then(|_| Err(ErrorKind::StorageFull.into()));
        }
        inner.sweeper.wrote(length);
        if !inner.followers.is_empty() {
            let stream = &self.stream;
            let lines = self.buffer.split(|byte| *byte == b'\n');
            let events = lines.filter_map(line::read).map(|(timestamp_ms, message)| LogEvent {
                timestamp_ms,
                stream: Arc::clone(stream),
                message: Bytes::from(message),
            });
            inner.followers.tell(&self.group, events);
        }
        Ok(())
    }

    /// Sees to it that a segment is open that is not full and was not deleted.
    fn ready(&mut self) -> io::Result<()> {
        if let Some((file, bytes)) = &self.file
            && *bytes < self.inner.options.segment_bytes
        {
            let (now, deletions) = (Instant::now(), self.inner.sweeper.deletions());
            if self.looked.1 == deletions && now < self.looked.0 + LOOK_EVERY {
                return Ok(());
            }
            self.looked = (now, deletions);
            if file.metadata()?.nlink() > 0 {
                return Ok(());
            }
        }
        self.file = None;
        self.file = Some((self.open_next()?, 0));
        self.inner.sweeper.opened();
        Ok(())
    }

    /// Opens a segment that nobody has written to.
    fn open_next(&mut self) -> io::Result<File> {
        make_group(&self.dir, &self.group)?;
        loop {
            self.number += 1;
            let path = self.dir.join(segment::file_name(&self.escaped, self.number));
            match File::options().create_new(true).append(true).mode(0o600).open(path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => return other,
            }
        }
    }
}

/// Makes a group's folder, with its name in it when the folder's own name is too short for it.
pub(super) fn make_group(dir: &std::path::Path, group: &str) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let is_shortened = dir
        .file_name()
        .and_then(|dir| dir.to_str())
        .is_some_and(name::is_shortened);
    if is_shortened {
        fs::write(dir.join(super::NAME_FILE), group)?;
    }
    Ok(())
}

impl LogStream for Writer {
    fn append(&mut self, timestamp_ms: i64, message: &[u8]) {
        line::write(&mut self.buffer, timestamp_ms, message);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        if let Err(error) = self.write() {
            self.inner.count_failure(&self.group, &error);
        }
        self.buffer.clear();
        // One long line is no reason to hold so much for the rest of an environment's life.
        self.buffer.shrink_to(BUFFER_BYTES);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush();
    }
}
