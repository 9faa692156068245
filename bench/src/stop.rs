//! When a run has to end: its time limit, and signals.
//!
//! Everything that may wait asks here, so that what was started is ended by its owner in every case.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static DEADLINE: OnceLock<Instant> = OnceLock::new();

/// Begins to watch. `limit` is for the whole run.
pub(crate) fn watch(limit: Duration) -> Result<()> {
    DEADLINE.get_or_init(|| Instant::now() + limit);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut terminate = {
        let _entered = runtime.enter();
        signal(SignalKind::terminate())?
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = terminate.recv() => {}
                }
            });
            INTERRUPTED.store(true, Ordering::Relaxed);
        })
        .context("could not watch for signals")?;
    Ok(())
}

/// An error when the run has to end.
pub(crate) fn check() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    if DEADLINE.get().is_some_and(|deadline| *deadline <= Instant::now()) {
        bail!("the time limit of the whole run is over (--time-limit)");
    }
    Ok(())
}

/// Waits, and ends early with an error when the run has to end.
pub(crate) fn pause(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        check()?;
        let rest = end.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Ok(());
        }
        std::thread::sleep(rest.min(Duration::from_millis(200)));
    }
}

/// Waits until `is_so` says yes.
pub(crate) fn until(what: &str, limit: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + limit;
    while !is_so()? {
        check()?;
        if Instant::now() >= end {
            bail!("{what} did not come within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_its_condition_or_its_limit() {
        let mut asked = 0;
        until("a third question", Duration::from_secs(5), || {
            asked += 1;
            Ok(asked == 3)
        })
        .unwrap();
        let error = until("nothing", Duration::from_millis(5), || Ok(false)).unwrap_err();
        assert!(error.to_string().contains("nothing did not come"));
        pause(Duration::from_millis(1)).unwrap();
    }
}
