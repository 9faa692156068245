//! External extensions: what they are started with, and how their ends are told.

use std::io;

use ephyra_core::revision::Revision;
use ephyra_sandbox::supervisor::{EXTENSIONS, StartCommand};

use crate::failure::Failure;
use crate::supervisor::Exit;

/// Where extensions are in a sandbox.
const FOLDER: &str = "/opt/extensions";
/// What is the runtime's alone of a function's variables.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>.
const RUNTIME_ONLY: [&str; 10] = [
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "_AWS_XRAY_DAEMON_ADDRESS",
    "_AWS_XRAY_DAEMON_PORT",
    "_HANDLER",
];
/// What is for an interpreter of ours, unless the function sets it.
const OURS: [&str; 2] = ["NODE_PATH", "PYTHONPATH"];

/// An external extension and how it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct External {
    /// The name of its file.
    pub(crate) name: String,
    pub(crate) command: StartCommand,
}

/// The external extensions by the names of their files; `variables` are the function's.
pub(crate) fn externals(names: Vec<String>, revision: &Revision, variables: &[(String, String)]) -> Vec<External> {
    let is_users = |name: &str| revision.variables.iter().any(|(users, _)| users == name);
    let external = |name: String| {
        let variables = variables.iter().filter(|(name, _)| {
            !RUNTIME_ONLY.contains(&name.as_str()) && (!OURS.contains(&name.as_str()) || is_users(name))
        });
        let command = StartCommand {
            arguments: vec![format!("{FOLDER}/{name}")],
            variables: variables.cloned().collect(),
            directory: "/".to_owned(),
        };
        External { name, command }
    };
    names.into_iter().map(external).collect()
}

/// The failure of more extensions than there may be.
pub(crate) fn too_many(externals: &[External]) -> Option<Failure> {
    (externals.len() > EXTENSIONS).then(|| Failure::Extension {
        error_type: "Extension.LaunchError",
        reason: format!("{} extensions are more than {EXTENSIONS}", externals.len()),
    })
}

/// The failure of an extension whose process has ended, in the words of AWS's supervisor.
pub(crate) fn failure_of_exit(name: &str, error_type: &'static str, exit: Exit) -> Failure {
    let reason = match exit {
        Exit::ExecFailed(errno) => format!("fork/exec {FOLDER}/{name}: {}", error_text(errno)),
        Exit::Status(0) => "exit code 0".to_owned(),
        Exit::Status(status) => format!("exit status {status}"),
        Exit::Signal(signal) => format!("signal: {}", crate::failure::signal_name(signal)),
        Exit::Vanished => "signal: killed".to_owned(),
    };
    Failure::Extension { error_type, reason }
}

/// Why a program could not be executed, as a word.
pub(crate) const fn launch_error(errno: i32) -> &'static str {
    match errno {
        1 | 13 => "PermissionDenied",
        _ => "UnknownError",
    }
}

/// The error's text as Go has it.
fn error_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::tests::revision;

    #[test]
    fn extensions_see_what_is_not_the_runtimes_own() {
        let all = [
            "_HANDLER",
            "PYTHONPATH",
            "NODE_PATH",
            "AWS_REGION",
            "MINE",
            "LAMBDA_TASK_ROOT",
        ]
        .map(|name| (name.to_owned(), "x".to_owned()));
        let revision = revision("python3.13", &[("NODE_PATH", "x")]);
        let seen = externals(vec!["ext".to_owned()], &revision, &all);
        assert_eq!(seen[0].command.arguments, ["/opt/extensions/ext"]);
        let names: Vec<_> = seen[0]
            .command
            .variables
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["NODE_PATH", "AWS_REGION", "MINE"]);
        assert_eq!(too_many(&seen), None);
        assert!(too_many(&vec![seen[0].clone(); 11]).is_some());
    }

    #[test]
    fn ends_read_as_on_aws() {
        for (exit, want) in [
            (Exit::ExecFailed(13), "fork/exec /opt/extensions/e: permission denied"),
            (Exit::ExecFailed(8), "fork/exec /opt/extensions/e: exec format error"),
            (Exit::Status(0), "exit code 0"),
            (Exit::Status(3), "exit status 3"),
            (Exit::Signal(9), "signal: killed"),
        ] {
            let Failure::Extension { reason, .. } = failure_of_exit("e", "Extension.Crash", exit) else {
                panic!("another failure");
            };
            assert_eq!(reason, want);
        }
        assert_eq!(
            (launch_error(13), launch_error(8)),
            ("PermissionDenied", "UnknownError")
        );
    }
}
