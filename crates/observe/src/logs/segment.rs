//! The files of a group: `STREAM.NUMBER.log`, the numbers of a stream rising.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::name;

/// One file of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// The stream's name, as far as the file's name tells it.
    pub(super) stream: String,
    pub(super) number: u64,
    /// When it was written last, in milliseconds since 1970.
    pub(super) written_ms: i64,
    pub(super) bytes: u64,
}

/// The file name of a stream's segment.
pub(super) fn file_name(escaped_stream: &str, number: u64) -> String {
    format!("{escaped_stream}.{number}.log")
}

/// The segments of a group's folder, in no order; none when it is absent.
pub(super) fn list(group: &Path) -> io::Result<Vec<Segment>> {
    walk(group)?.collect()
}

/// The same, one after the other.
pub(super) fn walk(group: &Path) -> io::Result<impl Iterator<Item = io::Result<Segment>>> {
    Ok(read_dir(group)?.filter_map(|entry| entry.and_then(|entry| of(&entry)).transpose()))
}

/// The segment that a folder's entry is; `None` for other files, and those that are gone meanwhile.
fn of(entry: &fs::DirEntry) -> io::Result<Option<Segment>> {
    let Some((stream, number)) = parse(&entry.file_name()) else {
        return Ok(None);
    };
    let metadata = match entry.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let written = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Some(Segment {
        path: entry.path(),
        stream,
        number,
        written_ms: i64::try_from(written.as_millis()).unwrap_or(i64::MAX),
        bytes: metadata.len(),
    }))
}

/// The entries of a folder; none when it is absent.
pub(super) fn read_dir(dir: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

fn parse(file: &OsStr) -> Option<(String, u64)> {
    let (escaped, number) = file.to_str()?.strip_suffix(".log")?.rsplit_once('.')?;
    let stream = match name::unescape(escaped) {
        Some(stream) => stream,
        None if name::is_shortened(escaped) => escaped.to_owned(),
        None => return None,
    };
    Some((stream, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_no_segments() {
        let parse = |file: &str| parse(OsStr::new(file));
        assert_eq!(parse("a.b.7.log"), Some(("a.b".to_owned(), 7)));
        for file in ["name", "7.log", "a.log", "a.x.log", "a b.1.log", ".1.log", "a.-1.log"] {
            assert_eq!(parse(file), None, "{file}");
        }
    }
}
