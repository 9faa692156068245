//! The Java runtime: how a JVM is started. What it boots from is made once for each, see [`base`].

pub mod base;
mod library;

use crate::runtime::Runtime;

/// Where a blank finds what was prepared for its runtime.
const JAR: &str = "/var/lang/base/runtime.jar";
/// The classes of the JDK and of our runtime that a start needs, as the JVM has them in memory.
const ARCHIVE: &str = "/var/lang/base/classes.jsa";
/// The archive of a function's classes, atop of the other.
pub(crate) const FUNCTION_ARCHIVE_NAME: &str = "function.jsa";
const FUNCTION_ARCHIVE: &str = "/var/lang/function/function.jsa";
/// Arguments that depend on what was prepared: an archive comes later than the jar.
const ARGUMENTS: &str = "@/var/lang/base/arguments";
/// The heap's share of the function's memory, in percent: the rest is for code, classes, threads and buffers.
const HEAP_PERCENT: u32 = 80;

/// The major version: 8 for `1.8.0_392`, 17 for `17.0.15`.
fn major(version: &str) -> u32 {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    match next() {
        Some(1) => next().unwrap_or(0),
        major => major.unwrap_or(0),
    }
}

/// The JVM's arguments for a function of so much memory.
pub(crate) fn arguments(runtime: &Runtime, memory_mb: u32) -> Vec<String> {
    let major = major(&runtime.version);
    // One function, one invocation: no threads for collecting.
    let mut arguments = vec!["-XX:+UseSerialGC".to_owned()];
    arguments.extend(flags(major));
    arguments.push(format!("-Xmx{}m", u64::from(memory_mb) * u64::from(HEAP_PERCENT) / 100));
    if has_archive(major) {
        arguments.push(ARGUMENTS.to_owned());
    }
    arguments.extend(["-jar".to_owned(), JAR.to_owned()]);
    arguments
}

/// Has a JVM use its function's archive, where its arguments are those of [`arguments`].
pub(crate) fn use_function_archive(arguments: &mut Vec<String>) {
    // Of two files the later one counts; that says itself which one it is atop of.
    insert(arguments, format!("-XX:SharedArchiveFile={FUNCTION_ARCHIVE}"));
}

/// Has a JVM archive at its end what it has loaded beyond what it boots from.
pub(crate) fn archive_to(arguments: &mut Vec<String>, path: &str) {
    insert(arguments, format!("-XX:ArchiveClassesAtExit={path}"));
}

fn insert(arguments: &mut Vec<String>, argument: String) {
    let at = arguments.iter().position(|one| one == ARGUMENTS);
    if let Some(at) = at {
        arguments.insert(at + 1, argument);
    }
}

/// Whether JVMs of this version share classes of programs. (Version 8 does only in vendors' own builds.)
const fn has_archive(major: u32) -> bool {
    major >= 11
}

/// What an archive has to agree on with the JVMs that use it.
fn flags(major: u32) -> Vec<String> {
    let mut flags = vec![
        // Functions are short: the first compiler starts sooner and is good enough, as on Lambda.
        "-XX:TieredStopAtLevel=1",
        // A file in /tmp that is written each time the JVM starts.
        "-XX:-UsePerfData",
        // The limits are given below; what the JVM could read of control groups is not in a guest.
        "-XX:-UseContainerSupport",
        "-Xshare:auto",
        // The function's folder is mounted after the JVM has booted: names are to be looked up when they are used.
        "-Dsun.nio.fs.chdirAllowed=true",
        // What locales a machine has decides nothing.
        "-Dfile.encoding=UTF-8",
        "-Dsun.jnu.encoding=UTF-8",
        "-Duser.language=en",
        "-Duser.country=US",
    ];
    if major >= 9 {
        // Its own warnings would come among the function's lines, on standard output.
        flags.push("-Xlog:disable");
    }
    flags.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::RuntimeKind;

    fn runtime(version: &str) -> Runtime {
        Runtime {
            version: version.to_owned(),
            ..crate::variables::tests::runtime("java", RuntimeKind::Java, "/usr/bin/java")
        }
    }

    #[test]
    fn a_jvm_is_started_as_its_version_can() {
        for (version, major_version, shares) in [
            ("1.8.0_392", 8, false),
            ("11.0.2", 11, true),
            ("17.0.15", 17, true),
            ("25", 25, true),
        ] {
            let runtime = runtime(version);
            assert_eq!(major(&runtime.version), major_version);
            let arguments = arguments(&runtime, 512);
            assert!(arguments.contains(&"-Xmx409m".to_owned()), "{arguments:?}");
            assert_eq!(arguments.iter().any(|one| one == ARGUMENTS), shares);
            assert_eq!(arguments.contains(&"-Xlog:disable".to_owned()), shares);
            assert_eq!(arguments[arguments.len() - 2..], ["-jar", JAR]);
        }
    }
}
