//! UTC days and the names of their files.

use std::path::{Path, PathBuf};

use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan as _};

const DAY_MS: i64 = 86_400_000;
const SUFFIX: &str = ".jsonl";

/// Days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(i64);

impl Day {
    /// The day of a time in milliseconds since 1970.
    pub(crate) const fn of_ms(ms: i64) -> Self {
        Self(ms.div_euclid(DAY_MS))
    }

    /// The day `count` days later.
    pub(crate) const fn later(self, count: i64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// Its file in a folder, `YYYY-MM-DD.jsonl`.
    pub(crate) fn file(self, dir: &Path) -> PathBuf {
        // Days that no calendar has, of records whose times are nonsense, share the file of the last that it has.
        let date = epoch().checked_add(self.0.clamp(-4_000_000, 4_000_000).days());
        dir.join(format!("{}{SUFFIX}", date.unwrap_or(Date::MAX)))
    }

    /// The day whose file has this name.
    pub(crate) fn of_file(name: &str) -> Option<Self> {
        let date: Date = name.strip_suffix(SUFFIX)?.parse().ok()?;
        let start = Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
        let day = Self::of_ms(start.as_millisecond());
        // Only the one way of writing it.
        (day.file(Path::new("")).to_str() == Some(name)).then_some(day)
    }
}

fn epoch() -> Date {
    Offset::UTC.to_datetime(Timestamp::UNIX_EPOCH).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_for_its_day() {
        let name = |ms| Day::of_ms(ms).file(Path::new("usage"));
        assert_eq!(name(0), Path::new("usage/1970-01-01.jsonl"));
        assert_eq!(name(-1), Path::new("usage/1969-12-31.jsonl"));
        assert_eq!(name(1_795_392_000_000 - 1), Path::new("usage/2026-11-22.jsonl"));
        assert_eq!(name(1_795_392_000_000), Path::new("usage/2026-11-23.jsonl"));
        assert_eq!(name(i64::MAX), Path::new("usage/9999-12-31.jsonl"));
    }

    #[test]
    fn only_such_names_are_days() {
        let day = Day::of_ms(1_795_392_000_000);
        assert_eq!(Day::of_file("2026-11-23.jsonl"), Some(day));
        for name in [
            "2026-11-23",
            "20261123.jsonl",
            "2026-13-01.jsonl",
            "x.jsonl",
            "2026-11-23T00.jsonl",
            ".jsonl",
        ] {
            assert_eq!(Day::of_file(name), None, "{name}");
        }
    }
}
