//! What is counted of the pool, for Prometheus.

use std::collections::BTreeMap;

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use parking_lot::Mutex;

use super::Key;

pub(super) struct Meters {
    lost: Counter,
    bytes: Gauge,
    /// Blanks by runtime. A series that has been seen stays, at 0.
    sizes: Mutex<BTreeMap<String, Gauge>>,
}

impl Meters {
    pub(super) fn new() -> Self {
        describe_counter!(
            "ephyra_pool_starts_total",
            "Starts of environments, by runtime and whether the pool had a blank one for them"
        );
        describe_counter!("ephyra_pool_lost_total", "Blank environments that ended by themselves");
        describe_gauge!(
            "ephyra_pool_blanks",
            "Blank environments that are held ready, by runtime"
        );
        describe_gauge!("ephyra_pool_bytes", "Memory of blank environments, as far as is known");
        Self {
            lost: counter!("ephyra_pool_lost_total"),
            bytes: gauge!("ephyra_pool_bytes"),
            sizes: Mutex::default(),
        }
    }

    /// An environment was started, with or without a blank of the pool.
    pub(super) fn took(&self, key: &Key, is_hit: bool) {
        let result = if is_hit { "hit" } else { "miss" };
        counter!("ephyra_pool_starts_total", "runtime" => key.runtime.clone(), "result" => result).increment(1);
    }

    /// So many blanks ended by themselves.
    pub(super) fn lost(&self, count: usize) {
        self.lost.increment(count as u64);
    }

    /// What is held: blanks, and bytes of each, by key.
    #[expect(
        clippy::cast_precision_loss,
        reason = "numbers of blanks and of their bytes are small"
    )]
    pub(super) fn hold(&self, held: &BTreeMap<Key, (usize, u64)>) {
        let mut sizes = self.sizes.lock();
        let mut counts: BTreeMap<&str, usize> = sizes.keys().map(|runtime| (runtime.as_str(), 0)).collect();
        let mut bytes = 0;
        for (key, (count, each)) in held {
            *counts.entry(&key.runtime).or_default() += count;
            bytes += each * *count as u64;
        }
        let counts: Vec<(String, usize)> = counts
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count))
            .collect();
        for (runtime, count) in counts {
            let size = sizes
                .entry(runtime)
                .or_insert_with_key(|runtime| gauge!("ephyra_pool_blanks", "runtime" => runtime.clone()));
            size.set(count as f64);
        }
        self.bytes.set(bytes as f64);
    }
}
