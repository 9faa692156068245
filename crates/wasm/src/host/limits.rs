//! What memory a call may have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::yield_now;
use wasmtime::ResourceLimiterAsync;
use wasmtime_wasi::async_trait;

/// The linear memory in bytes beyond which a call goes on behind others. A guest is interrupted between operations, and the
/// longest of them is filling or copying all of its memory: some milliseconds for as much, two seconds for 4 GB.
pub(crate) const LIGHT: u64 = 32 << 20;

/// What all calls of a host together may have.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: u64,
    used: AtomicU64,
}

impl Budget {
    /// At most `bytes`.
    pub(crate) const fn new(bytes: u64) -> Self {
        let used = AtomicU64::new(0);
        Self { bytes, used }
    }

    fn take(&self, bytes: u64) -> bool {
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|used| *used <= self.bytes)
        });
        taken.is_ok()
    }
}

/// The linear memories of one call's instances together.
#[derive(Debug)]
pub(crate) struct Limits {
    budget: Arc<Budget>,
    bytes: u64,
    used: u64,
    peak: Arc<AtomicU64>,
    /// Whether more was asked for than the function has.
    pub(crate) is_exhausted: bool,
    /// Whether more was asked for than the host has left.
    pub(crate) is_crowded: bool,
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.used, Ordering::Relaxed);
    }
}

impl Limits {
    /// At most `bytes`; the most that is in use at once is told through `peak`, also when the call is broken off.
    pub(crate) const fn new(bytes: u64, budget: Arc<Budget>, peak: Arc<AtomicU64>) -> Self {
        Self {
            budget,
            bytes,
            used: 0,
            peak,
            is_exhausted: false,
            is_crowded: false,
        }
    }

    /// Whether a memory may grow, which then counts.
    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return false;
        }
        let used = self.used.saturating_sub(current as u64).saturating_add(desired as u64);
        if used > self.bytes {
            self.is_exhausted = true;
            return false;
        }
        // Memories do not shrink.
        if !self.budget.take(used.saturating_sub(self.used)) {
            self.is_crowded = true;
            return false;
        }
        self.used = used;
        self.peak.fetch_max(used, Ordering::Relaxed);
        true
    }
}

#[async_trait]
impl ResourceLimiterAsync for Limits {
    async fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let before = self.used;
        let may_grow = self.grow(current, desired, maximum);
        if before <= LIGHT && self.used > LIGHT {
            // From here on it runs elsewhere: before it can do anything with so much.
            yield_now().await;
        }
        Ok(may_grow)
    }

    async fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        // The pool bounds each table and how many there are.
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_share_one_limit() {
        let peak = Arc::new(AtomicU64::new(0));
        let mut limits = Limits::new(100, Arc::new(Budget::new(1000)), Arc::clone(&peak));
        assert!(limits.grow(0, 60, None));
        assert!(!limits.grow(0, 60, None));
        assert!(limits.is_exhausted);
        assert!(limits.grow(60, 90, None));
        assert!(limits.grow(0, 10, None));
        assert_eq!(peak.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn calls_share_one_budget_and_give_it_back() {
        let budget = Arc::new(Budget::new(100));
        let mut one = Limits::new(80, Arc::clone(&budget), Arc::default());
        let mut two = Limits::new(80, Arc::clone(&budget), Arc::default());
        assert!(one.grow(0, 60, None));
        assert!(!two.grow(0, 60, None));
        assert!(two.is_crowded && !two.is_exhausted);
        drop(one);
        assert!(two.grow(0, 60, None));
        assert!(!two.grow(60, 90, None));
        drop(two);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_modules_own_maximum_is_not_ours() {
        let mut limits = Limits::new(100, Arc::new(Budget::new(1000)), Arc::default());
        assert!(!limits.grow(0, 60, Some(50)));
        assert!(!limits.is_exhausted);
    }
}
