//! Names in a zip, which may say anything, and the paths they become, which stay inside the package.

use std::collections::HashMap;

/// The longest path in bytes, and the longest of its parts: less than file systems take, so that a package can be
/// put under any folder.
const PATH_BYTES: usize = 1024;
const PART_BYTES: usize = 255;
/// How many folders deep a package may be.
const DEPTH: usize = 64;
/// The longest target of a link, in bytes.
pub(super) const TARGET_BYTES: usize = 1024;

/// Why a name cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    #[error("it is not UTF-8 or holds a NUL")]
    NotText,
    #[error("it is an absolute path")]
    Absolute,
    #[error("it leaves the package")]
    Outside,
    #[error("it is too long or too deep")]
    TooLong,
    #[error("it names nothing")]
    Empty,
    #[error("it is there twice, or is both a file and a folder")]
    Twice,
}

/// The parts of a path below the package's root, none of them special.
pub(super) type Parts = Vec<String>;

/// Reads a name. `Ok` with no parts is the root itself.
pub(super) fn parse(name: &[u8]) -> Result<Parts, PathError> {
    let name = text(name)?;
    if name.starts_with('/') {
        return Err(PathError::Absolute);
    }
    if name.len() > PATH_BYTES {
        return Err(PathError::TooLong);
    }
    let mut parts = Parts::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(PathError::Outside),
            part if part.len() > PART_BYTES => return Err(PathError::TooLong),
            part => parts.push(part.to_owned()),
        }
    }
    if parts.len() > DEPTH {
        return Err(PathError::TooLong);
    }
    Ok(parts)
}

/// Checks a link's target: relative, and inside the package seen from the link's own folder, `depth` folders below
/// the root. `..` may only stand at the front: behind a name it could climb out by way of another link.
pub(super) fn check_target(target: &[u8], depth: usize) -> Result<&str, PathError> {
    let target = text(target)?;
    if target.is_empty() {
        return Err(PathError::Empty);
    }
    if target.starts_with('/') {
        return Err(PathError::Absolute);
    }
    if target.len() > TARGET_BYTES {
        return Err(PathError::TooLong);
    }
    let mut ups = 0;
    let mut has_name = false;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if has_name => return Err(PathError::Outside),
            ".." => ups += 1,
            part if part.len() > PART_BYTES => return Err(PathError::TooLong),
            _ => has_name = true,
        }
    }
    if ups > depth {
        return Err(PathError::Outside);
    }
    Ok(target)
}

fn text(bytes: &[u8]) -> Result<&str, PathError> {
    let text = std::str::from_utf8(bytes).map_err(|_| PathError::NotText)?;
    if text.contains('\0') {
        return Err(PathError::NotText);
    }
    Ok(text)
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Folder,
    /// A file or a link.
    Leaf,
}

/// Every path of a package, each with its kind. Folders may be named twice, all else once.
#[derive(Debug, Default)]
pub(super) struct Tree(HashMap<String, Kind>);

impl Tree {
    /// Notes a folder and those above it.
    pub(super) fn add_folder(&mut self, parts: &[String]) -> Result<(), PathError> {
        let mut path = String::new();
        for part in parts {
            path.push('/');
            path.push_str(part);
            if *self.0.entry(path.clone()).or_insert(Kind::Folder) == Kind::Leaf {
                return Err(PathError::Twice);
            }
        }
        Ok(())
    }

    /// Notes a file or link and the folders above it.
    pub(super) fn add_leaf(&mut self, parts: &[String]) -> Result<(), PathError> {
        let Some((_, folders)) = parts.split_last() else {
            return Err(PathError::Empty);
        };
        self.add_folder(folders)?;
        let path: String = parts.iter().flat_map(|part| ["/", part]).collect();
        match self.0.insert(path, Kind::Leaf) {
            None => Ok(()),
            Some(_) => Err(PathError::Twice),
        }
    }

    /// How many paths there are, the folders that no entry names included.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_become_plain_parts() {
        assert_eq!(parse(b"./a//b/").unwrap(), ["a", "b"]);
        assert_eq!(parse(b"./").unwrap(), Vec::<String>::new());
        assert_eq!(parse(b"a\\b").unwrap(), ["a\\b"]);
    }

    #[test]
    fn hostile_names_are_refused() {
        assert_eq!(parse(b"/etc/passwd"), Err(PathError::Absolute));
        assert_eq!(parse(b"a/../../b"), Err(PathError::Outside));
        assert_eq!(parse(b"a\0b"), Err(PathError::NotText));
        assert_eq!(parse(b"\xff"), Err(PathError::NotText));
        assert_eq!(parse("x".repeat(300).as_bytes()), Err(PathError::TooLong));
        assert_eq!(parse("x/".repeat(65).as_bytes()), Err(PathError::TooLong));
    }

    #[test]
    fn links_stay_inside() {
        assert_eq!(check_target(b"b", 0), Ok("b"));
        assert_eq!(check_target(b"../b", 1), Ok("../b"));
        assert_eq!(check_target(b"../b", 0), Err(PathError::Outside));
        assert_eq!(check_target(b"b/../c", 5), Err(PathError::Outside));
        assert_eq!(check_target(b"/etc", 5), Err(PathError::Absolute));
        assert_eq!(check_target(b"", 5), Err(PathError::Empty));
    }

    #[test]
    fn a_path_is_one_thing_once() {
        let mut tree = Tree::default();
        let parts = |text: &str| parse(text.as_bytes()).unwrap();
        tree.add_leaf(&parts("a/b")).unwrap();
        tree.add_folder(&parts("a")).unwrap();
        assert_eq!(tree.add_leaf(&parts("a/b")), Err(PathError::Twice));
        assert_eq!(tree.add_leaf(&parts("a")), Err(PathError::Twice));
        assert_eq!(tree.add_leaf(&parts("a/b/c")), Err(PathError::Twice));
        assert_eq!(tree.len(), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn no_name_leads_out(name in proptest::collection::vec(
            prop_oneof![Just(b'/'), Just(b'.'), Just(0u8), Just(b'a'), any::<u8>()], 0..60)) {
            if let Ok(parts) = parse(&name) {
                for part in parts {
                    prop_assert!(!part.is_empty() && part != "." && part != ".." && !part.contains('/'));
                }
            }
        }

        #[test]
        fn no_target_climbs_above_the_root(target in "[./a]{0,30}", depth in 0usize..4) {
            if check_target(target.as_bytes(), depth).is_ok() {
                let mut level = i64::try_from(depth).unwrap();
                for part in target.split('/') {
                    match part {
                        "" | "." => {}
                        ".." => level -= 1,
                        _ => level += 1,
                    }
                    prop_assert!(level >= 0);
                }
            }
        }
    }
}
