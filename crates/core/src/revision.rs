//! What is run: a function's code and configuration as they were at one moment.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{FunctionName, RevisionId, Version};

/// An immutable pair of code and configuration. Environments belong to one revision and never outlive its use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Names this revision; another after each change of code or configuration.
    pub id: RevisionId,
    /// The function.
    pub function: FunctionName,
    /// `$LATEST` or the published version.
    pub version: Version,
    /// The function's ARN without qualifier.
    pub function_arn: String,
    /// The runtime identifier, such as `python3.13`, `nodejs22.x` or `provided.al2023`.
    pub runtime: String,
    /// What the runtime calls, such as `app.handler`.
    pub handler: String,
    /// The package.
    pub code: Digest,
    /// The layers, in the order of configuration: a later one covers an earlier one.
    pub layers: Vec<Digest>,
    /// Memory in MB.
    pub memory_mb: u32,
    /// The size of `/tmp` in MB.
    pub ephemeral_storage_mb: u32,
    /// The time of one invocation, in seconds.
    pub timeout_seconds: u32,
    /// The user's environment variables.
    pub variables: Vec<(String, String)>,
    /// How and where it logs.
    pub logging: Logging,
}

/// A function's `LoggingConfig`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    /// Text or JSON.
    pub format: LogFormat,
    /// What of the function's own lines is kept; meant for JSON alone.
    pub application_level: LogLevel,
    /// What of the platform's own lines is kept; meant for JSON alone.
    pub system_level: LogLevel,
    /// The log group, by default `/aws/lambda/NAME`.
    pub group: String,
}

/// `LogFormat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// Lines as the function wrote them.
    Text,
    /// One JSON object a line.
    #[serde(rename = "JSON")]
    Json,
}

/// `ApplicationLogLevel` and, without `Trace`, `Error` and `Fatal`, `SystemLogLevel`; in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LogLevel {
    /// The most detailed.
    Trace,
    /// For debugging.
    Debug,
    /// The default.
    Info,
    /// Something is amiss.
    Warn,
    /// Something failed.
    Error,
    /// Nothing goes on.
    Fatal,
}
