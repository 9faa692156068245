//! What is made for functions of which runtime, and how.

use std::sync::LazyLock;

use ephyra_core::digest::Digest;
use ephyra_core::environment::Purpose;
use ephyra_core::revision::Revision;
use ephyra_sandbox::supervisor::StartCommand;

use crate::java;
use crate::runtime::{Runtime, RuntimeKind, asset_digests, command};
use crate::start;
use crate::variables::{Credentials, variables};

/// Runs the JVM to its end, which archives what it has loaded.
const ARCHIVE: &str = "\"$@\" learn; dd if=/tmp/function.jsa bs=64k status=none >&3";
/// The most that an archive may be in bytes.
const ARCHIVE_BYTES: usize = 128 << 20;
/// Node writes by itself.
const COMPILE: &str = "exec \"$@\" learn";
/// The most that the code of scripts may be in bytes.
const CODE_BYTES: usize = 32 << 20;

/// How something is made for a function.
pub(super) struct Recipe {
    /// Over all of the runtime that decides what is made.
    pub(super) foundation: Digest,
    /// What the runtime boots from meanwhile.
    pub(super) base: Option<Digest>,
    /// The name of the file that it becomes.
    pub(super) file: &'static str,
    /// The most that it may be in bytes.
    pub(super) most_bytes: usize,
    script: &'static str,
}

/// What can be made for a function, and the name of its folder, over all that decides what is in it; `base` is what its
/// runtime boots from. `None` when nothing can be made.
pub(super) fn of(revision: &Revision, runtime: &Runtime, base: Option<Digest>) -> Option<(Digest, Recipe)> {
    // A variable that acts while an interpreter starts may change what it makes of a function.
    if !start::is_shared(revision, runtime) {
        return None;
    }
    let foundation = foundation(runtime, base)?;
    let is_java = runtime.kind == RuntimeKind::Java;
    let recipe = Recipe {
        foundation,
        base,
        file: if is_java { java::FUNCTION_ARCHIVE_NAME } else { "code" },
        most_bytes: if is_java { ARCHIVE_BYTES } else { CODE_BYTES },
        script: if is_java { ARCHIVE } else { COMPILE },
    };
    // V8 uses no code that was made with another heap.
    let memory = if is_java {
        String::new()
    } else {
        revision.memory_mb.to_string()
    };
    // One function's must never be another's.
    let words = [recipe.script, &revision.function_arn, &revision.handler, &memory];
    let mut all = words.join("\0").into_bytes();
    for digest in [foundation, revision.code].iter().chain(&revision.layers) {
        all.extend_from_slice(digest.as_bytes());
    }
    Some((Digest::of(&all), recipe))
}

/// Over all of a runtime that decides what is made; `base` is what it boots from. `None` when nothing can be made.
pub(super) fn foundation(runtime: &Runtime, base: Option<Digest>) -> Option<Digest> {
    let ours = match runtime.kind {
        RuntimeKind::Java => base?,
        RuntimeKind::Node => *NODE,
        RuntimeKind::Python | RuntimeKind::Provided => return None,
    };
    let words = [
        &*runtime.identifier,
        &runtime.version,
        &runtime.executable,
        &ours.to_string(),
    ];
    Some(Digest::of(words.join("\0").as_bytes()))
}

impl Recipe {
    /// What loads the function and writes what that has made to descriptor 3.
    pub(super) fn command(&self, revision: &Revision, runtime: &Runtime) -> StartCommand {
        let mut arguments = ["/bin/sh", "-ec", self.script, "sh"].map(str::to_owned).to_vec();
        let mut program = command(revision, runtime, None).unwrap_or_default();
        if runtime.kind == RuntimeKind::Java {
            java::archive_to(&mut program, "/tmp/function.jsa");
        }
        arguments.append(&mut program);
        let stream = "ahead";
        let variables = variables(revision, runtime, Purpose::Prewarmed, stream, &Credentials::random());
        StartCommand {
            arguments,
            variables,
            directory: "/var/task".to_owned(),
        }
    }
}

/// Over our own files of the Node runtime.
static NODE: LazyLock<Digest> = LazyLock::new(|| Digest::of(&asset_digests(RuntimeKind::Node)));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::tests::{revision, runtime};

    fn name(change: impl FnOnce(&mut Revision, &mut Runtime)) -> Option<Digest> {
        let mut java = runtime("java17", RuntimeKind::Java, "/usr/bin/java");
        let mut revision = revision("java17", &[]);
        change(&mut revision, &mut java);
        of(&revision, &java, Some(Digest::of(b"base"))).map(|(name, _)| name)
    }

    #[test]
    fn a_folder_is_one_functions_and_goes_with_all_that_made_it() {
        let ours = name(|_, _| {});
        assert!(ours.is_some());
        assert_eq!(name(|revision, _| revision.memory_mb = 1024), ours);
        assert_eq!(
            name(|revision, _| revision.variables.push(("A".to_owned(), "1".to_owned()))),
            ours
        );
        let others = [
            name(|revision, _| revision.code = Digest::of(b"other")),
            name(|revision, _| revision.layers.push(Digest::of(b"layer"))),
            name(|revision, _| revision.handler.push('x')),
            name(|revision, _| revision.function_arn.push('x')),
            name(|_, runtime| runtime.version.push_str(".1")),
            name(|_, runtime| runtime.kind = RuntimeKind::Node),
        ];
        assert!(
            others.iter().all(|other| other.is_some() && *other != ours),
            "{others:?}"
        );
        assert_eq!(name(|_, runtime| runtime.kind = RuntimeKind::Python), None);
        let agent = ("JAVA_TOOL_OPTIONS".to_owned(), "-javaagent:x.jar".to_owned());
        assert_eq!(name(|revision, _| revision.variables.push(agent)), None);
    }

    #[test]
    fn without_an_archive_of_the_runtime_there_is_none_of_a_function() {
        let java = runtime("java17", RuntimeKind::Java, "/usr/bin/java");
        assert!(of(&revision("java17", &[]), &java, None).is_none());
    }
}
