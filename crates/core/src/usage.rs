//! The record that each invocation leaves for billing.

use serde::{Deserialize, Serialize};

use crate::id::{FunctionName, RequestId, Version};
use crate::invocation::Origin;

/// What one attempt of an invocation used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// The invocation.
    pub request_id: RequestId,
    /// The function.
    pub function: FunctionName,
    /// The version that ran.
    pub version: Version,
    /// When the event was delivered, in milliseconds since 1970.
    pub start_ms: i64,
    /// From delivery to the answer's end, in milliseconds with their fraction.
    pub duration_ms: f64,
    /// What is billed, in milliseconds.
    pub billed_ms: u64,
    /// The function's memory in MB.
    pub memory_mb: u32,
    /// The function's `/tmp` in MB.
    pub ephemeral_storage_mb: u32,
    /// The most memory that the environment has used, in bytes.
    pub peak_memory_bytes: u64,
    /// CPU time in microseconds.
    pub cpu_us: u64,
    /// Bytes of the event.
    pub bytes_in: u64,
    /// Bytes of the answer.
    pub bytes_out: u64,
    /// The phases of a cold start in microseconds; absent when warm.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cold: Option<ColdUsage>,
    /// How it ended.
    pub outcome: UsageOutcome,
}

/// The phases of a cold start, in microseconds; the last, the first call, is the record's own duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColdUsage {
    /// Waiting for an environment's start to begin: for a place, or for others' turns.
    pub queue_us: u64,
    /// Building the sandbox, or assigning one that was built ahead.
    #[serde(alias = "sandbox_us")]
    pub environment_us: u64,
    /// Booting the runtime.
    pub boot_us: u64,
    /// Loading the function.
    pub init_us: u64,
    /// Restoring a template of SnapStart.
    #[serde(default)]
    pub restore_us: u64,
    /// Where the environment came from.
    #[serde(default)]
    pub origin: Origin,
}

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsageOutcome {
    /// The function answered.
    Success,
    /// The function failed.
    Error,
    /// The function ran out of time.
    Timeout,
}

/// Keeps usage records.
pub trait UsageSink: Send + Sync + 'static {
    /// Hands a record to the operating system, from where it survives the death of this process. A failure to write
    /// is counted and logged: an invocation does not fail because it cannot be billed.
    fn record(&self, record: &UsageRecord);
}
