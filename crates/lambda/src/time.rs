//! Times as Lambda writes them.

use jiff::Timestamp;

/// `2025-11-25T02:27:51.123+0000`, from milliseconds since 1970.
pub(crate) fn iso_millis(ms: i64) -> String {
    format(ms, "%Y-%m-%dT%H:%M:%S.%3f+0000")
}

/// `2025-11-25T02:27:51+0000`, from milliseconds since 1970.
pub(crate) fn iso_seconds(ms: i64) -> String {
    format(ms, "%Y-%m-%dT%H:%M:%S+0000")
}

fn format(ms: i64, pattern: &str) -> String {
    Timestamp::from_millisecond(ms)
        .unwrap_or_default()
        .strftime(pattern)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_aws_writes_them() {
        assert_eq!(iso_millis(1_764_037_671_023), "2025-11-25T02:27:51.023+0000");
        assert_eq!(iso_seconds(1_764_037_671_023), "2025-11-25T02:27:51+0000");
        assert_eq!(iso_seconds(i64::MAX), "1970-01-01T00:00:00+0000");
    }
}
