//! Lambda's quotas, each with the unit in its name or type.
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>.

use std::ops::RangeInclusive;

/// The largest event of a synchronous invocation, in bytes.
pub const SYNC_REQUEST_BYTES: usize = 6_291_456;
/// The largest buffered answer, in bytes: 6 MiB and 100 bytes.
pub const SYNC_RESPONSE_BYTES: usize = 6_291_556;
/// The largest event of an asynchronous invocation, in bytes.
pub const ASYNC_REQUEST_BYTES: usize = 1_048_576;
/// The largest streamed answer, in bytes.
pub const STREAMED_RESPONSE_BYTES: u64 = 200 * 1024 * 1024;
/// What `X-Amz-Log-Result` carries at most, in bytes before base64.
pub const LOG_TAIL_BYTES: usize = 4096;
/// The largest zip in a request, in bytes.
pub const ZIP_BYTES: usize = 52_428_800;
/// The largest request that carries a zip, in bytes: the zip in base64 and what is around it.
pub const ZIP_REQUEST_BYTES: usize = 70_167_211;
/// The largest package when unpacked, its layers included, in bytes.
pub const UNZIPPED_BYTES: u64 = 262_144_000;
/// All code that an account may store, in bytes.
pub const CODE_STORAGE_BYTES: u64 = 80_530_636_800;
/// All environment variables of a function together, as JSON, in bytes.
pub const VARIABLES_BYTES: usize = 4096;
/// The base64 of a client context, in bytes.
pub const CLIENT_CONTEXT_BYTES: usize = 3583;
/// How many layers a function may have.
pub const LAYERS: usize = 5;
/// A function's time for one invocation, in seconds.
pub const TIMEOUT_SECONDS: RangeInclusive<u32> = 1..=900;
/// A function's memory, in MB (of 1,048,576 bytes).
pub const MEMORY_MB: RangeInclusive<u32> = 128..=10_240;
/// A function's `/tmp`, in MB.
pub const EPHEMERAL_STORAGE_MB: RangeInclusive<u32> = 512..=10_240;
/// The memory that comes with one whole CPU, in MB.
pub const MEMORY_MB_OF_ONE_CPU: u32 = 1769;
/// Open files in an environment.
pub const OPEN_FILES: u64 = 1024;
/// Processes and threads in an environment.
pub const PROCESSES: u32 = 1024;
/// Invocations at once in an account, unless configured otherwise.
pub const ACCOUNT_CONCURRENCY: u32 = 1000;
/// What reserving must leave unreserved.
pub const UNRESERVED_CONCURRENCY: u32 = 100;
/// The time a runtime has to initialise before it is counted as failed, in seconds.
pub const INIT_SECONDS: u64 = 10;
/// Retries of an accepted event, unless configured otherwise.
pub const EVENT_RETRIES: u32 = 2;
/// How long an accepted event may wait, in seconds.
pub const EVENT_AGE_SECONDS: RangeInclusive<u32> = 60..=21_600;
