use std::os::unix::fs::MetadataExt as _;

use proptest::prelude::*;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

const BUDGET: u64 = 1_000_000;

/// Builds a zip of files: name, mode, content. A mode with a file type is written as it is.
fn zip_of(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, mode, content) in entries {
        let options = SimpleFileOptions::default().unix_permissions(mode & 0o7777);
        match mode & TYPE {
            LINK => writer
                .add_symlink(*name, std::str::from_utf8(content).unwrap(), options)
                .unwrap(),
            FOLDER => writer.add_directory(*name, options).unwrap(),
            _ => {
                writer.start_file(*name, options).unwrap();
                writer.write_all(content).unwrap();
            }
        }
    }
    writer.finish().unwrap().into_inner()
}

/// Replaces a text by another of the same length, in all headers.
fn forge(zip: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    for at in 0..=zip.len() - from.len() {
        if zip[at..].starts_with(from) {
            zip[at..at + from.len()].copy_from_slice(to);
        }
    }
}

/// Sets the Unix mode of every entry in the directory.
fn forge_mode(zip: &mut [u8], mode: u32) {
    for at in 0..zip.len() - 46 {
        if zip[at..].starts_with(b"PK\x01\x02") {
            zip[at + 5] = 3;
            zip[at + 38..at + 42].copy_from_slice(&(mode << 16).to_le_bytes());
        }
    }
}

#[track_caller]
fn check_refused(zip: &[u8]) -> UnpackError {
    let dir = TempDir::new().unwrap();
    let target = dir.path().join("package");
    let error = unpack(zip, &target, BUDGET).expect_err("it is hostile");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "something was left on disk"
    );
    error
}

#[test]
fn files_folders_modes_and_links_are_kept() {
    let dir = TempDir::new().unwrap();
    let target = dir.path().join("package");
    let zip = zip_of(&[
        ("bin/run", 0o755, b"#!/bin/sh"),
        ("lib/a.py", 0o644, b"pass"),
        ("lib/b.py", LINK | 0o777, b"a.py"),
        ("lib/up", LINK | 0o777, b"../bin/run"),
        ("empty/", FOLDER | 0o500, b""),
        ("set", 0o4755, b""),
        ("private", 0o600, b""),
    ]);
    assert_eq!(unpack(&zip, &target, BUDGET).unwrap(), 13);
    let mode = |path: &str| fs::metadata(target.join(path)).unwrap().mode() & 0o7777;
    assert_eq!(mode("bin/run"), 0o755);
    assert_eq!(mode("lib/a.py"), 0o644);
    assert_eq!(mode("set"), 0o755, "set-user-id is taken away");
    assert_eq!(
        mode("empty"),
        0o755,
        "the owner can remove it, the function can read it"
    );
    assert_eq!(mode("private"), 0o644, "the function can read it");
    assert_eq!(mode(""), 0o755);
    assert_eq!(fs::read_link(target.join("lib/b.py")).unwrap(), Path::new("a.py"));
    assert_eq!(fs::read(target.join("lib/up")).unwrap(), b"#!/bin/sh");
}

#[test]
fn a_zip_without_modes_gets_the_usual_ones() {
    let dir = TempDir::new().unwrap();
    let target = dir.path().join("package");
    let mut zip = zip_of(&[("a/b.py", 0o600, b"x")]);
    forge_mode(&mut zip, 0);
    unpack(&zip, &target, BUDGET).unwrap();
    assert_eq!(fs::metadata(target.join("a/b.py")).unwrap().mode() & 0o777, 0o644);
}

#[test]
fn paths_that_lead_out_are_refused() {
    let mut zip = zip_of(&[("aaaaa.py", 0o644, b"x")]);
    forge(&mut zip, b"aaaaa.py", b"../a5.py");
    check_refused(&zip);
    let mut zip = zip_of(&[("aaaaa.py", 0o644, b"x")]);
    forge(&mut zip, b"aaaaa.py", b"/tmp/xyz");
    check_refused(&zip);
    let mut zip = zip_of(&[("aaaaa.py", 0o644, b"x")]);
    forge(&mut zip, b"aaaaa.py", b"aa\0aa.py");
    check_refused(&zip);
}

#[test]
fn links_that_lead_out_are_refused() {
    for target in ["/etc/passwd", "../outside", "a/../../b", ""] {
        check_refused(&zip_of(&[("link", LINK | 0o777, target.as_bytes())]));
    }
}

#[test]
fn nothing_is_written_through_a_link() {
    check_refused(&zip_of(&[("d", LINK | 0o777, b"e"), ("d/f", 0o644, b"x")]));
    check_refused(&zip_of(&[("d/f", 0o644, b"x"), ("d", LINK | 0o777, b"e")]));
}

#[test]
fn duplicates_are_refused() {
    let mut zip = zip_of(&[("aa.py", 0o644, b"1"), ("ab.py", 0o644, b"2")]);
    forge(&mut zip, b"ab.py", b"aa.py");
    check_refused(&zip);
    check_refused(&zip_of(&[("a", 0o644, b"1"), ("./a", 0o644, b"2")]));
    check_refused(&zip_of(&[("a", 0o644, b"1"), ("a/b", 0o644, b"2")]));
}

#[test]
fn devices_and_their_like_are_refused() {
    for kind in [0o010_000, 0o020_000, 0o060_000, 0o140_000] {
        let mut zip = zip_of(&[("a", 0o644, b"x")]);
        forge_mode(&mut zip, kind | 0o644);
        check_refused(&zip);
    }
}

#[test]
fn encrypted_and_unknown_methods_are_refused() {
    // The flags and the method stand in both headers.
    let mut zip = zip_of(&[("a", 0o644, b"x")]);
    for at in 0..zip.len() - 12 {
        if zip[at..].starts_with(b"PK\x03\x04") {
            zip[at + 6] |= 1;
        } else if zip[at..].starts_with(b"PK\x01\x02") {
            zip[at + 8] |= 1;
        }
    }
    check_refused(&zip);
    let mut zip = zip_of(&[("a", 0o644, b"x")]);
    for at in 0..zip.len() - 12 {
        if zip[at..].starts_with(b"PK\x03\x04") {
            zip[at + 8] = 99;
        } else if zip[at..].starts_with(b"PK\x01\x02") {
            zip[at + 10] = 99;
        }
    }
    check_refused(&zip);
}

#[test]
fn bombs_are_stopped_by_what_they_inflate_to() {
    let zeros = vec![0; 3_000_000];
    let zip = zip_of(&[("bomb", 0o644, &zeros)]);
    assert!(zip.len() < 10_000);
    assert!(matches!(check_refused(&zip), UnpackError::TooLarge));
    // A header that lies about the size changes nothing.
    let mut zip = zip_of(&[("bomb", 0o644, &zeros)]);
    forge(&mut zip, &3_000_000u32.to_le_bytes(), &5u32.to_le_bytes());
    check_refused(&zip);
    let half = vec![0; 600_000];
    let zip = zip_of(&[("a", 0o644, &half), ("b", 0o644, &half)]);
    assert!(matches!(check_refused(&zip), UnpackError::TooLarge));
}

#[test]
fn what_is_no_zip_is_refused() {
    assert!(matches!(check_refused(b""), UnpackError::Zip(_)));
    assert!(matches!(check_refused(b"this is not a zip"), UnpackError::Zip(_)));
    assert!(matches!(check_refused(&zip_of(&[])), UnpackError::Empty));
    let mut zip = b"PK\x06\x07".to_vec();
    zip.extend([0; 16]);
    zip.extend(b"PK\x05\x06");
    zip.extend([0; 18]);
    assert!(matches!(check_refused(&zip), UnpackError::Refused { .. }));
}

/// Everything below a folder, links not followed.
fn all_paths(folder: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() {
            paths.extend(all_paths(&path));
        }
        paths.push(path);
    }
    paths
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn bytes_of_any_kind_stay_inside_and_do_no_harm(
        noise in proptest::collection::vec((0usize..400, any::<u8>()), 0..12),
        cut in 0usize..400,
    ) {
        let mut zip = zip_of(&[
            ("a/b.py", 0o644, b"print()"),
            ("c", LINK | 0o777, b"a/b.py"),
            ("d/", FOLDER | 0o755, b""),
        ]);
        for (at, byte) in noise {
            let length = zip.len();
            zip[at % length] = byte;
        }
        if cut < 40 {
            let length = zip.len();
            zip.truncate(length - cut);
        }
        let dir = TempDir::new().unwrap();
        let target = dir.path().join("package");
        match unpack(&zip, &target, BUDGET) {
            Ok(_) => {
                for path in all_paths(dir.path()) {
                    prop_assert!(path.starts_with(&target));
                    let kind = path.symlink_metadata().unwrap().file_type();
                    prop_assert!(kind.is_file() || kind.is_dir() || kind.is_symlink());
                }
            }
            Err(_) => prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0),
        }
    }

    #[test]
    fn pure_noise_is_never_a_package(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check_refused(&bytes);
    }
}

#[test]
fn names_are_refused_before_anything_is_written() {
    let dir = TempDir::new().unwrap();
    // Nothing could be written here.
    let target = dir.path().join("absent").join("package");
    let zip = zip_of(&[("app.py", 0o644, b"fine"), ("a/b", 0o644, b"")]);
    assert!(matches!(unpack(&zip, &target, BUDGET), Err(UnpackError::Write { .. })));
    let mut hostile = zip_of(&[("app.py", 0o644, b"fine"), ("xx/b", 0o644, b"")]);
    forge(&mut hostile, b"xx/b", b"../b");
    assert!(matches!(
        unpack(&hostile, &target, BUDGET),
        Err(UnpackError::Refused { .. })
    ));
    let deep: Vec<String> = (0..1100).map(|top| format!("{top}{}", "/d".repeat(60))).collect();
    let deep: Vec<(&str, u32, &[u8])> = deep.iter().map(|name| (name.as_str(), 0o644, &b""[..])).collect();
    assert!(matches!(
        unpack(&zip_of(&deep), &target, BUDGET),
        Err(UnpackError::Refused { .. })
    ));
}
