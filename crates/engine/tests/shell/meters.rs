//! What is counted, seen through a recorder of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ephyra_core::compute::{Invoke, Steer};
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;

use crate::fake::{call, engine, revision};

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>);

/// Counts what is recorded.
struct Recorded(Arc<AtomicU64>);

impl HistogramFn for Recorded {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Seen {
    fn of(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::clone(self.0.lock().entry(name).or_default())
    }

    #[track_caller]
    fn check(&self, name: &str, want: u64) {
        let seen = self.0.lock();
        let found = seen.get(name).map(|value| value.load(Ordering::Relaxed));
        assert_eq!(found, Some(want), "{name} among {:?}", seen.keys());
    }
}

impl Recorder for Seen {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Recorded(self.of(key))))
    }
}

#[tokio::test(start_paused = true)]
async fn invocations_throttles_and_environments_are_counted() {
    let seen = Seen::default();
    let _guard = metrics::set_default_local_recorder(&seen);
    let (engine, _world) = engine(|_| {});
    let (function, closed) = (revision("a", 128), revision("closed", 128));
    for event in ["1", "1", "1 exit", "1 timeout", "1"] {
        engine.invoke(call(&function, event)).await.unwrap();
    }
    engine.set_reserved(&closed.function, Some(0));
    assert!(engine.invoke(call(&closed, "1")).await.is_err());
    seen.check("ephyra_invocations_total{function=a,outcome=success}", 3);
    seen.check("ephyra_invocations_total{function=a,outcome=error}", 1);
    seen.check("ephyra_invocations_total{function=a,outcome=timeout}", 1);
    seen.check(
        "ephyra_throttles_total{reason=ReservedFunctionConcurrentInvocationLimitExceeded}",
        1,
    );
    seen.check("ephyra_duration_seconds{}", 5);
    for phase in ["queue", "environment", "boot", "init", "first_call"] {
        seen.check(&format!("ephyra_cold_start_seconds{{phase={phase}}}"), 3);
    }
    seen.check("ephyra_concurrency{}", 0.0_f64.to_bits());
    seen.check("ephyra_environments{state=idle}", 1.0_f64.to_bits());
    seen.check("ephyra_environments{state=busy}", 0.0_f64.to_bits());
    seen.check("ephyra_environments{state=starting}", 0.0_f64.to_bits());
    seen.check("ephyra_memory_reserved_bytes{}", 134_217_728.0_f64.to_bits());
}
