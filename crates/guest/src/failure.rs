//! What went wrong with an invocation, in AWS's words.

use bytes::Bytes;
use ephyra_core::id::RequestId;
use ephyra_core::invocation::FunctionError;
use ephyra_core::limits;
use serde::Serialize;

use crate::frame::Document;
use crate::supervisor::Exit;

const SIGKILL: u8 = 9;

/// A failure that is the function's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// As the guest told it.
    Reported(Document),
    /// As the guest told it before it exited.
    Fatal(Document),
    /// The time was up.
    Timeout,
    /// The runtime process ended.
    Exit(Exit),
    /// The kernel ended the runtime process for want of memory.
    OutOfMemory,
    /// The answer is larger than this many bytes.
    TooLarge(u64),
    /// Neither the package nor a layer has a `bootstrap` that runs.
    NoBootstrap,
    /// The guest broke the protocol, in this way.
    Breach(String),
    /// An extension failed.
    Extension {
        /// Such as `Extension.Crash`.
        error_type: &'static str,
        /// In the words of AWS's supervisor.
        reason: String,
    },
}

impl Failure {
    /// The failure of a runtime process that ended; `oom_kills` says whether the kernel has reported any.
    pub(crate) fn of_exit(exit: Exit, oom_kills: bool) -> Self {
        // Without a report a kill from inside cannot be told from one for want of memory, and AWS takes it for one.
        if oom_kills || matches!(exit, Exit::Signal(SIGKILL) | Exit::Vanished) {
            Self::OutOfMemory
        } else {
            Self::Exit(exit)
        }
    }

    /// The value of `errorType`.
    pub(crate) fn error_type(&self) -> &str {
        match self {
            Self::Reported(document) | Self::Fatal(document) => &document.error_type,
            Self::Timeout => "Sandbox.Timedout",
            Self::Exit(_) | Self::Breach(_) => "Runtime.ExitError",
            Self::OutOfMemory => "Runtime.OutOfMemory",
            Self::TooLarge(_) => "Function.ResponseSizeTooLarge",
            Self::NoBootstrap => "Runtime.InvalidEntrypoint",
            Self::Extension { error_type, .. } => error_type,
        }
    }

    /// Whether the environment can go on.
    pub(crate) fn leaves_a_usable_environment(&self) -> bool {
        matches!(self, Self::Reported(_) | Self::TooLarge(_))
    }

    /// As the caller sees it. `timeout_seconds` is the function's.
    pub(crate) fn to_error(&self, request_id: Option<RequestId>, timeout_seconds: u32) -> FunctionError {
        let payload = match self {
            Self::Reported(document) | Self::Fatal(document) => document.json.clone(),
            Self::TooLarge(_) => to_json(self.error_type(), &self.reason(timeout_seconds)),
            _ => {
                let id = request_id.map(|id| id.to_string()).unwrap_or_default();
                let message = format!("RequestId: {id} Error: {}", self.reason(timeout_seconds));
                to_json(self.error_type(), &message)
            }
        };
        FunctionError {
            error_type: self.error_type().to_owned(),
            payload,
        }
    }

    /// The line that AWS writes into the log, if it does; the guest has logged its own failures itself.
    pub(crate) fn to_line(&self, request_id: RequestId, time: &str, timeout_seconds: u32) -> Option<String> {
        match self {
            Self::Reported(_) | Self::Fatal(_) | Self::TooLarge(_) => None,
            Self::Timeout => Some(format!("{time} {request_id} {}", self.reason(timeout_seconds))),
            _ => Some(format!(
                "RequestId: {request_id} Error: {}",
                self.reason(timeout_seconds)
            )),
        }
    }

    fn reason(&self, timeout_seconds: u32) -> String {
        match self {
            Self::Reported(document) | Self::Fatal(document) => document.error_type.clone(),
            Self::Timeout => format!("Task timed out after {timeout_seconds}.00 seconds"),
            Self::Exit(Exit::Status(0)) => "Runtime exited without providing a reason".to_owned(),
            Self::Exit(Exit::Status(status)) => format!("Runtime exited with error: exit status {status}"),
            Self::Exit(Exit::ExecFailed(_)) => "Runtime exited with error: exit status 127".to_owned(),
            Self::Exit(Exit::Signal(signal)) => format!("Runtime exited with error: signal: {}", signal_name(*signal)),
            Self::Exit(Exit::Vanished) | Self::OutOfMemory => "Runtime exited with error: signal: killed".to_owned(),
            Self::TooLarge(limit) => {
                format!("Response payload size exceeded maximum allowed payload size ({limit} bytes).")
            }
            Self::NoBootstrap => "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]".to_owned(),
            Self::Breach(how) => format!("Runtime broke the protocol: {how}"),
            Self::Extension { reason, .. } => reason.clone(),
        }
    }

    /// An answer larger than a buffered one may be.
    pub(crate) const fn too_large() -> Self {
        Self::TooLarge(limits::SYNC_RESPONSE_BYTES as u64)
    }
}

fn to_json(error_type: &str, message: &str) -> Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Json<'a> {
        error_type: &'a str,
        error_message: &'a str,
    }
    // Two strings always have a form in JSON.
    serde_json::to_vec(&Json {
        error_type,
        error_message: message,
    })
    .map_or_else(|_| Bytes::from_static(b"{}"), Bytes::from)
}

/// A signal as Go, in which AWS's own supervisor is written, names it.
pub(crate) fn signal_name(signal: u8) -> String {
    match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        31 => "bad system call",
        _ => return format!("signal {signal}"),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(failure: Failure, error_type: &str, message: &str) {
        let error = failure.to_error(Some(RequestId::from_bytes([0; 16])), 1);
        assert_eq!(error.error_type, error_type);
        let want = serde_json::json!({ "errorType": error_type, "errorMessage": message });
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&error.payload).unwrap(),
            want
        );
    }

    #[test]
    fn failures_read_as_on_aws() {
        let id = "RequestId: 00000000-0000-0000-0000-000000000000 Error:";
        check(
            Failure::Timeout,
            "Sandbox.Timedout",
            &format!("{id} Task timed out after 1.00 seconds"),
        );
        check(
            Failure::of_exit(Exit::Status(0), false),
            "Runtime.ExitError",
            &format!("{id} Runtime exited without providing a reason"),
        );
        check(
            Failure::of_exit(Exit::Status(3), false),
            "Runtime.ExitError",
            &format!("{id} Runtime exited with error: exit status 3"),
        );
        check(
            Failure::of_exit(Exit::Signal(11), false),
            "Runtime.ExitError",
            &format!("{id} Runtime exited with error: signal: segmentation fault"),
        );
        for (exit, oom_kills) in [
            (Exit::Signal(9), false),
            (Exit::Vanished, false),
            (Exit::Status(1), true),
        ] {
            check(
                Failure::of_exit(exit, oom_kills),
                "Runtime.OutOfMemory",
                &format!("{id} Runtime exited with error: signal: killed"),
            );
        }
        check(
            Failure::too_large(),
            "Function.ResponseSizeTooLarge",
            "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        );
    }
}
