//! What memory a call may have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

/// The linear memories of one call's instances together.
#[derive(Debug)]
pub(crate) struct Limits {
    bytes: u64,
    used: u64,
    peak: Arc<AtomicU64>,
    /// Whether more was asked for than there may be.
    pub(crate) is_exhausted: bool,
}

impl Limits {
    /// At most `bytes`; the most that is in use at once is told through `peak`, also when the call is broken off.
    pub(crate) const fn new(bytes: u64, peak: Arc<AtomicU64>) -> Self {
        Self {
            bytes,
            used: 0,
            peak,
            is_exhausted: false,
        }
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let used = self.used.saturating_sub(current as u64).saturating_add(desired as u64);
        if used > self.bytes {
            self.is_exhausted = true;
            return Ok(false);
        }
        self.used = used;
        self.peak.fetch_max(used, Ordering::Relaxed);
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> wasmtime::Result<bool> {
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
        let mut limits = Limits::new(100, Arc::clone(&peak));
        assert!(limits.memory_growing(0, 60, None).unwrap());
        assert!(!limits.memory_growing(0, 60, None).unwrap());
        assert!(limits.is_exhausted);
        assert!(limits.memory_growing(60, 90, None).unwrap());
        assert!(limits.memory_growing(0, 10, None).unwrap());
        assert_eq!(peak.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn a_modules_own_maximum_is_not_ours() {
        let mut limits = Limits::new(100, Arc::default());
        assert!(!limits.memory_growing(0, 60, Some(50)).unwrap());
        assert!(!limits.is_exhausted);
    }
}
