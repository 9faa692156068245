//! Times as Lambda writes them.

use jiff::Timestamp;

/// `2025-11-25T02:27:51.123+0000`, from milliseconds since 1970.
pub(crate) fn iso_millis(ms: i64) -> String {
    Timestamp::from_millisecond(ms)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%S.%3f+0000")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_aws_writes_them() {
        assert_eq!(iso_millis(1_764_037_671_023), "2025-11-25T02:27:51.023+0000");
        assert_eq!(iso_millis(i64::MAX), "1970-01-01T00:00:00.000+0000");
    }
}
