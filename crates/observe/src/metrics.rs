//! Metrics of all rooms, rendered as Prometheus text.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::Weak;
use std::thread;
use std::time::{Duration, Instant};

use metrics::Unit;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// Upper bounds of durations in seconds, from 10 µs to the longest invocation.
const BUCKETS: [f64; 24] = [
    1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0, 120.0, 300.0, 900.0,
];
/// How often samples are put into their buckets. Until then each takes eight bytes.
const UPKEEP_EVERY: Duration = Duration::from_secs(10);

/// The metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// Most likely they were set up before.
    #[error("the metrics could not be installed")]
    Install(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The thread that keeps them small.
    #[error("the thread for metrics could not be started")]
    Thread(#[source] io::Error),
}

/// All metrics of the process.
#[derive(Clone, Debug)]
pub struct Metrics {
    handle: Arc<PrometheusHandle>,
    started: Instant,
}

impl Metrics {
    /// Becomes what the `metrics` macros of all rooms write to. Once for a process.
    pub fn install() -> Result<Self, MetricsError> {
        let recorder = recorder().map_err(|error| MetricsError::Install(error.into()))?;
        let handle = Arc::new(recorder.handle());
        metrics::set_global_recorder(recorder).map_err(|error| MetricsError::Install(error.to_string().into()))?;
        describe();
        start_upkeep(Arc::downgrade(&handle)).map_err(MetricsError::Thread)?;
        Ok(Self {
            handle,
            started: Instant::now(),
        })
    }

    /// All metrics in Prometheus' text format, the process's memory and age among them.
    pub fn render(&self) -> String {
        metrics::gauge!("ephyra_uptime_seconds").set(self.started.elapsed().as_secs_f64());
        match resident_bytes() {
            Ok(bytes) => metrics::gauge!("process_resident_memory_bytes").set(bytes),
            Err(error) => tracing::debug!(%error, "the process's memory is not known"),
        }
        self.handle.render()
    }
}

fn recorder() -> Result<PrometheusRecorder, BuildError> {
    // Nothing is forgotten when idle: rooms keep handles to their metrics for the hot path, and a handle to a
    // forgotten metric would count into nowhere. So the rooms bound their labels.
    Ok(PrometheusBuilder::new().set_buckets(&BUCKETS)?.build_recorder())
}

/// Runs until the metrics are dropped.
fn start_upkeep(handle: Weak<PrometheusHandle>) -> io::Result<()> {
    let upkeep = move || {
        while let Some(handle) = handle.upgrade() {
            handle.run_upkeep();
            drop(handle);
            thread::sleep(UPKEEP_EVERY);
        }
    };
    thread::Builder::new()
        .name("metrics-upkeep".to_owned())
        .spawn(upkeep)
        .map(drop)
}

/// What the scheduler and this crate count; other rooms describe their own.
fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(
        "ephyra_invocations_total",
        "Invocations that reached an environment, by function and outcome."
    );
    describe_counter!("ephyra_throttles_total", "Invocations refused by a limit, by reason.");
    describe_histogram!(
        "ephyra_duration_seconds",
        Unit::Seconds,
        "From an event's delivery to its answer's end."
    );
    describe_histogram!(
        "ephyra_cold_start_seconds",
        Unit::Seconds,
        "The phases of cold starts, by phase."
    );
    describe_gauge!("ephyra_concurrency", "Invocations that run now.");
    describe_gauge!("ephyra_environments", "Execution environments, by state.");
    describe_gauge!(
        "ephyra_memory_reserved_bytes",
        Unit::Bytes,
        "Memory set aside for environments."
    );
    describe_counter!(
        "ephyra_log_write_failures_total",
        "Flushes of function logs that could not be written."
    );
    describe_counter!(
        "ephyra_usage_write_failures_total",
        "Usage records that could not be written."
    );
    describe_gauge!(
        "ephyra_uptime_seconds",
        Unit::Seconds,
        "How long the server has been running."
    );
    describe_gauge!(
        "process_resident_memory_bytes",
        Unit::Bytes,
        "Memory of the server itself."
    );
}

/// The resident memory of this process (proc_pid_status(5)).
fn resident_bytes() -> io::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<u32> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kib.map(|kib| f64::from(kib) * 1024.0)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no VmRSS in /proc/self/status"))
}
