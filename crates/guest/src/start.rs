//! What a runtime process is started with, and what it is told afterwards.
//!
//! A runtime that is started before it is known which function it will be has the variables that all functions of the
//! runtime have in common; it is told the others. Some variables act only while an interpreter starts: a function
//! that sets one of those needs a start of its own.

use ephyra_core::revision::Revision;
use ephyra_sandbox::supervisor::StartCommand;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::frame;
use crate::runtime::{Bootstrap, Runtime, RuntimeKind, command, program, wrapper};
use crate::variables::foundation;

/// Where a runtime is started.
const DIRECTORY: &str = "/var/task";

/// Variables that are read while a program or an interpreter starts, and hardly ever again. A name that ends in `*`
/// stands for all that begin so. (`AWS_LAMBDA_EXEC_WRAPPER`, when it is not empty, is itself what is started.)
const AT_START: &[&str] = &[
    // The dynamic linker and the C library: search paths, preloads, the allocator, the locale.
    "LD_*",
    "GLIBC_TUNABLES",
    "MALLOC_*",
    "GCONV_PATH",
    "LANG",
    "LC_*",
    "LOCPATH",
    "OPENSSL_*",
    // Python: all but a few are read by the interpreter before its first line.
    "PYTHON*",
    // Node, V8 and libuv. Not NODE_ENV and NODE_TLS_REJECT_UNAUTHORIZED, which are read whenever they matter.
    "NODE_COMPILE_CACHE*",
    "NODE_DEBUG*",
    "NODE_DISABLE_*",
    "NODE_EXTRA_CA_CERTS",
    "NODE_ICU_DATA",
    "NODE_NO_WARNINGS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_PENDING_DEPRECATION",
    "NODE_PRESERVE_SYMLINKS*",
    "NODE_REDIRECT_WARNINGS",
    "NODE_USE_*",
    "NODE_V8_COVERAGE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "UV_*",
    // Java.
    "CLASSPATH",
    "JAVA_OPTIONS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
];

fn acts_at_start(name: &str) -> bool {
    AT_START.iter().any(|entry| match entry.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == *entry,
    })
}

/// Whether a runtime that was started before it knew its function can become `revision`: it is a managed one, and
/// nothing about the function acts only while an interpreter starts.
pub(crate) fn is_shared(revision: &Revision, runtime: &Runtime) -> bool {
    let foundation = foundation(runtime);
    let is_common = |name: &str, value: &str| foundation.iter().any(|(ours, other)| ours == name && other == value);
    runtime.kind != RuntimeKind::Provided
        && wrapper(revision, runtime).is_none()
        && !revision
            .variables
            .iter()
            .any(|(name, value)| acts_at_start(name) && !is_common(name, value))
}

/// How a runtime is started for one function alone, with all its variables; `None` when there is nothing to start.
pub(crate) fn own(
    revision: &Revision,
    runtime: &Runtime,
    bootstrap: Option<Bootstrap>,
    variables: Vec<(String, String)>,
) -> Option<StartCommand> {
    Some(StartCommand {
        arguments: command(revision, runtime, bootstrap)?,
        variables,
        directory: DIRECTORY.to_owned(),
    })
}

/// How a managed runtime is started that can become any function of so much memory.
pub(crate) fn shared(runtime: &Runtime, memory_mb: u32) -> StartCommand {
    StartCommand {
        arguments: program(runtime, memory_mb),
        variables: foundation(runtime),
        directory: DIRECTORY.to_owned(),
    }
}

/// How the zygote of a runtime is started, if the runtime has one: with what [`shared`] gives, but for its program.
pub fn zygote(runtime: &Runtime) -> Option<StartCommand> {
    const PROGRAM: &str = "/var/runtime/zygote.py";
    if !runtime.has_zygote || runtime.kind != RuntimeKind::Python {
        return None;
    }
    // A Python has no heap of a fixed size.
    let mut command = shared(runtime, 0);
    *command.arguments.last_mut()? = PROGRAM.to_owned();
    Some(command)
}

/// What zygotes import before they are copied: what most functions and their SDKs import themselves.
pub const ZYGOTE_MODULES: &[&str] = &[
    "base64",
    "collections",
    "datetime",
    "decimal",
    "functools",
    "hashlib",
    "http.client",
    "json",
    "logging",
    "random",
    "re",
    "ssl",
    "tempfile",
    "traceback",
    "typing",
    "urllib.parse",
    "urllib.request",
    "uuid",
];

/// The configuration, a whole frame, for a runtime that was started with all that it needs to know.
pub(crate) fn no_configuration() -> Option<Vec<u8>> {
    frame::encode_configuration(b"{\"variables\":{}}")
}

/// The configuration, a whole frame, for a runtime that was started with `known` and is to have `variables`.
/// `None` when there is more to say than a frame may hold.
pub(crate) fn configuration(
    revision: &Revision,
    variables: &[(String, String)],
    known: &[(String, String)],
) -> Option<Vec<u8>> {
    #[derive(Serialize)]
    struct Configuration<'a> {
        variables: Told<'a>,
        handler: &'a str,
    }
    let body = serde_json::to_vec(&Configuration {
        variables: Told { variables, known },
        handler: &revision.handler,
    });
    frame::encode_configuration(&body.ok()?)
}

/// The variables that are not known already, as a JSON object.
struct Told<'a> {
    variables: &'a [(String, String)],
    known: &'a [(String, String)],
}

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for pair @ (name, value) in self.variables {
            if !self.known.contains(pair) {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use ephyra_core::environment::Purpose;
    use ephyra_core::limits;
    use serde_json::Value;

    use super::*;
    use crate::variables::tests::{revision, runtime};
    use crate::variables::{Credentials, variables};

    fn node() -> Runtime {
        runtime("nodejs22.x", RuntimeKind::Node, "/usr/bin/node")
    }

    fn all(revision: &Revision, runtime: &Runtime) -> Vec<(String, String)> {
        let credentials = Credentials::from_entropy([0; 64]);
        variables(revision, runtime, Purpose::OnDemand, "2026/01/01/[7]00", &credentials)
    }

    #[test]
    fn only_what_acts_at_the_start_of_an_interpreter_needs_a_start_of_its_own() {
        for (name, value, want) in [
            ("MINE", "1", true),
            ("PATH", "/opt/mine", true),
            ("TZ", "Europe/Berlin", true),
            ("NODE_ENV", "production", true),
            ("NODE_TLS_REJECT_UNAUTHORIZED", "0", true),
            ("LANG", "en_US.UTF-8", true),
            ("AWS_LAMBDA_EXEC_WRAPPER", "", true),
            ("LANG", "de_DE.UTF-8", false),
            ("LC_ALL", "C", false),
            ("AWS_LAMBDA_EXEC_WRAPPER", "/opt/wrap", false),
            ("LD_PRELOAD", "/opt/lib/x.so", false),
            ("LD_LIBRARY_PATH", "/opt/lib", false),
            ("GLIBC_TUNABLES", "glibc.malloc.arena_max=1", false),
            ("MALLOC_ARENA_MAX", "1", false),
            ("OPENSSL_CONF", "/opt/openssl.cnf", false),
            ("PYTHONPATH", "/opt/lib", false),
            ("PYTHONHASHSEED", "1", false),
            ("NODE_OPTIONS", "--enable-source-maps", false),
            ("NODE_EXTRA_CA_CERTS", "/opt/ca.pem", false),
            ("NODE_PATH", "/opt/mine", false),
            ("UV_THREADPOOL_SIZE", "8", false),
            ("JAVA_TOOL_OPTIONS", "-Xss1m", false),
        ] {
            let revision = revision("nodejs22.x", &[(name, value)]);
            assert_eq!(is_shared(&revision, &node()), want, "{name}={value}");
        }
        let python = runtime("python3.13", RuntimeKind::Python, "/usr/bin/python3.13");
        for (name, value, want) in [
            ("PYTHONPATH", "/var/runtime", true),
            ("PYTHONPATH", "/opt/python", false),
        ] {
            let revision = revision("python3.13", &[(name, value)]);
            assert_eq!(is_shared(&revision, &python), want, "{name}={value}");
        }
        let provided = runtime("provided.al2023", RuntimeKind::Provided, "");
        assert!(!is_shared(&revision("provided.al2023", &[]), &provided));
    }

    #[test]
    fn a_zygote_is_started_like_what_it_is_copied_for() {
        let mut python = runtime("python3.13", RuntimeKind::Python, "/usr/bin/python3.13");
        assert_eq!(zygote(&python), None);
        python.has_zygote = true;
        let (zygote, plain) = (zygote(&python).unwrap(), shared(&python, 128));
        assert_eq!(
            (&zygote.variables, &zygote.directory),
            (&plain.variables, &plain.directory)
        );
        assert_eq!(zygote.arguments.last().unwrap(), "/var/runtime/zygote.py");
        let count = plain.arguments.len() - 1;
        assert_eq!(zygote.arguments[..count], plain.arguments[..count]);
    }

    #[test]
    fn what_is_known_and_what_is_told_are_together_what_is_set() {
        for (revision, runtime) in [
            (revision("nodejs22.x", &[("A", "1"), ("TZ", "Asia/Tokyo")]), node()),
            (
                revision("python3.13", &[("PATH", "/x"), ("QUOTED", "\"\n\u{1}\u{e4}")]),
                runtime("python3.13", RuntimeKind::Python, "/opt/py/bin/python3.13"),
            ),
        ] {
            let all = all(&revision, &runtime);
            let command = shared(&runtime, 256);
            let frame = configuration(&revision, &all, &command.variables).unwrap();
            let told: Value = serde_json::from_slice(&frame[frame::HEADER_BYTES..]).unwrap();
            assert_eq!(told["handler"], "app.handler");
            let mut seen: std::collections::BTreeMap<String, String> = command.variables.into_iter().collect();
            assert!(!told["variables"].as_object().unwrap().contains_key("LAMBDA_TASK_ROOT"));
            for (name, value) in told["variables"].as_object().unwrap() {
                seen.insert(name.clone(), value.as_str().unwrap().to_owned());
            }
            assert_eq!(seen, all.into_iter().collect());
        }
    }

    #[test]
    fn the_most_that_a_function_may_set_can_be_told() {
        // One byte each for the shortest name, the rest in a value that grows by escaping.
        let value = "\u{1}".repeat(limits::VARIABLES_BYTES - 1);
        let mut revision = revision("nodejs22.x", &[("A", &value)]);
        revision.handler = "\u{1}".repeat(128);
        revision.logging.group = "/".repeat(512);
        let all = all(&revision, &node());
        assert!(configuration(&revision, &all, &[]).is_some());
        assert!(no_configuration().is_some());
    }
}
