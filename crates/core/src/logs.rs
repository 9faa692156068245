//! Where log lines go.

/// Keeps log lines.
pub trait LogSink: Send + Sync + 'static {
    /// Opens a stream of a group for appending; cheap until the first line.
    fn open(&self, group: &str, stream: &str) -> Box<dyn LogStream>;

    /// Makes ready what a group's first stream would have to wait for. Blocks.
    fn foresee(&self, group: &str) {
        let _nothing = group;
    }
}

/// One log stream: the lines of one environment, in order.
pub trait LogStream: Send + 'static {
    /// Adds one event: its time in milliseconds since 1970 and its text, without a line end. Buffered.
    fn append(&mut self, timestamp_ms: i64, message: &[u8]);

    /// Hands what is buffered to the operating system, from where it survives the death of this process, and to
    /// those that follow. Cheap when nothing is buffered. A failure to write is counted and logged, and drops the lines.
    fn flush(&mut self);
}
