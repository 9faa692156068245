//! Measures what one usage record costs.
//!
//! `cargo run --release -p ephyra-meter --example usage_cost`

use std::time::Instant;

use ephyra_core::id::{RequestId, Version};
use ephyra_core::invocation::Origin;
use ephyra_core::usage::{ColdUsage, UsageOutcome, UsageRecord, UsageSink as _};
use ephyra_meter::{UsageLog, UsageOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const COUNT: u32 = 200_000;
    let dir = tempfile::tempdir()?;
    let log = UsageLog::open(dir.path(), &UsageOptions::default())?;
    let mut record = UsageRecord {
        request_id: RequestId::new(),
        function: "a-function-of-usual-name".parse()?,
        version: Version::Number(17),
        start_ms: 1_795_392_000_000,
        duration_ms: 123.456,
        billed_ms: 124,
        memory_mb: 512,
        ephemeral_storage_mb: 512,
        peak_memory_bytes: 87_654_321,
        cpu_us: 98_765,
        bytes_in: 1234,
        bytes_out: 5678,
        cold: None,
        outcome: UsageOutcome::Success,
    };
    for name in ["warm", "cold"] {
        let start = Instant::now();
        for _ in 0..COUNT {
            log.record(&record);
        }
        println!(
            "{name}: {:?} a record, {} failed",
            start.elapsed() / COUNT,
            log.failures()
        );
        record.cold = Some(ColdUsage {
            queue_us: 51_234,
            environment_us: 10_123,
            boot_us: 20_234,
            init_us: 12_345,
            restore_us: 0,
            origin: Origin::Pool,
        });
    }
    Ok(())
}
