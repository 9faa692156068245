//! What went wrong with a call, in AWS's words where AWS has any.

use bytes::Bytes;
use ephyra_core::id::RequestId;
use ephyra_core::invocation::FunctionError;
use ephyra_core::limits;
use serde_json::json;

use crate::message::Ended;

/// A failure that is the function's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The time was up.
    Timeout,
    /// The guest wanted more memory than the function has.
    OutOfMemory,
    /// The guest ended itself.
    Exit(i32),
    /// The guest trapped.
    Trap {
        /// As wasmtime names it.
        name: String,
        /// What it is, and the calls that led to it, a line each.
        trace: String,
    },
    /// There is no answer that could be given.
    NoAnswer(String),
    /// The answer is larger than one may be.
    TooLarge {
        /// Whether it was streamed.
        streams: bool,
    },
    /// The package cannot be run.
    Invalid(String),
    /// The host process ended.
    HostGone,
    /// The host had no room.
    Busy(String),
}

impl Failure {
    /// What an end means; `None` when there is an answer.
    pub(crate) fn of(ended: Ended, streams: bool) -> Option<Self> {
        Some(match ended {
            Ended::Answered => return None,
            Ended::Unloadable(why) => Self::Invalid(why),
            Ended::Exit(status) => Self::Exit(status),
            Ended::Trap { name, trace } => Self::Trap { name, trace },
            Ended::OutOfMemory => Self::OutOfMemory,
            Ended::Timeout => Self::Timeout,
            Ended::Cancelled => Self::HostGone,
            Ended::TooLarge => Self::TooLarge { streams },
            Ended::NoAnswer(why) => Self::NoAnswer(why),
            Ended::Busy(why) => Self::Busy(why),
        })
    }

    /// The value of `errorType`.
    pub(crate) fn error_type(&self) -> String {
        match self {
            Self::Timeout => "Sandbox.Timedout".to_owned(),
            Self::OutOfMemory => "Runtime.OutOfMemory".to_owned(),
            Self::Exit(_) | Self::HostGone => "Runtime.ExitError".to_owned(),
            Self::Trap { name, .. } => {
                // The host says it, so it is not believed to be a name.
                let name: String = name.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
                format!("Trap.{name}")
            }
            Self::NoAnswer(_) => "Runtime.NoAnswer".to_owned(),
            Self::TooLarge { .. } => "Function.ResponseSizeTooLarge".to_owned(),
            Self::Invalid(_) => "Runtime.InvalidEntrypoint".to_owned(),
            Self::Busy(_) => "Runtime.Busy".to_owned(),
        }
    }

    /// As the caller sees it. `timeout_seconds` is the function's.
    pub(crate) fn to_error(&self, request_id: RequestId, timeout_seconds: u32) -> FunctionError {
        let reason = self.reason(timeout_seconds);
        let message = match self {
            Self::TooLarge { .. } => reason,
            _ => format!("RequestId: {request_id} Error: {reason}"),
        };
        let error_type = self.error_type();
        let mut document = json!({ "errorType": error_type, "errorMessage": message });
        if let Self::Trap { trace, .. } = self {
            let calls: Vec<&str> = trace.lines().skip(1).map(str::trim).collect();
            document["stackTrace"] = json!(calls);
        }
        FunctionError {
            error_type,
            payload: Bytes::from(document.to_string()),
        }
    }

    /// The line of the log.
    pub(crate) fn to_line(&self, request_id: RequestId, time: &str, timeout_seconds: u32) -> String {
        match self {
            Self::Timeout => format!("{time} {request_id} {}", self.reason(timeout_seconds)),
            Self::Trap { trace, .. } => format!("RequestId: {request_id} Error: {trace}"),
            _ => format!("RequestId: {request_id} Error: {}", self.reason(timeout_seconds)),
        }
    }

    fn reason(&self, timeout_seconds: u32) -> String {
        match self {
            Self::Timeout => format!("Task timed out after {timeout_seconds}.00 seconds"),
            Self::OutOfMemory => "Runtime exited with error: signal: killed".to_owned(),
            Self::Exit(status) => format!("Runtime exited with error: exit status {status}"),
            Self::Trap { trace, .. } => trace.lines().next().unwrap_or_default().to_owned(),
            Self::NoAnswer(why) | Self::Busy(why) => why.clone(),
            Self::TooLarge { streams } => {
                let limit = if *streams {
                    limits::STREAMED_RESPONSE_BYTES
                } else {
                    limits::SYNC_RESPONSE_BYTES as u64
                };
                format!("Response payload size exceeded maximum allowed payload size ({limit} bytes).")
            }
            Self::Invalid(why) => format!("The package cannot be run: {why}"),
            Self::HostGone => "Runtime exited without providing a reason".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_is_named_and_traced() {
        let trap = Failure::Trap {
            name: "Unreachable\"Code".to_owned(),
            trace: "wasm trap: x\n    at f\n    at g".to_owned(),
        };
        let error = trap.to_error(RequestId::from_bytes([0; 16]), 3);
        assert_eq!(error.error_type, "Trap.UnreachableCode");
        let document: serde_json::Value = serde_json::from_slice(&error.payload).unwrap();
        let want = json!({
            "errorType": "Trap.UnreachableCode",
            "errorMessage": "RequestId: 00000000-0000-0000-0000-000000000000 Error: wasm trap: x",
            "stackTrace": ["at f", "at g"],
        });
        assert_eq!(document, want);
    }
}
