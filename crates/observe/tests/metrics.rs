//! What rooms count is rendered for Prometheus.
#![allow(clippy::unwrap_used, reason = "a test panics by design")]

use ephyra_observe::metrics::Metrics;

#[test]
fn what_is_counted_is_rendered() {
    let all = Metrics::install().unwrap();
    metrics::counter!("ephyra_invocations_total", "function" => "hello").increment(3);
    metrics::histogram!("ephyra_cold_start_seconds", "phase" => "boot").record(0.02);
    metrics::gauge!("ephyra_environments", "state" => "idle").set(2.0);
    let text = all.render();
    for want in [
        "# TYPE ephyra_invocations_total counter",
        "ephyra_invocations_total{function=\"hello\"} 3",
        "ephyra_cold_start_seconds_bucket{phase=\"boot\",le=\"0.025\"} 1",
        "ephyra_cold_start_seconds_bucket{phase=\"boot\",le=\"0.01\"} 0",
        "ephyra_cold_start_seconds_bucket{phase=\"boot\",le=\"900\"} 1",
        "ephyra_environments{state=\"idle\"} 2",
        "# HELP ephyra_environments Execution environments, by state.",
        "ephyra_uptime_seconds ",
    ] {
        assert!(text.contains(want), "{want} is not in\n{text}");
    }
    let memory = text
        .lines()
        .find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    assert!(memory.unwrap().parse::<f64>().unwrap() > 1e6);
    assert!(Metrics::install().is_err());
}
