//! What every backend of the store must do, run against those there are.
#![allow(clippy::unwrap_used, reason = "a test panics by design")]

mod blobs;
mod log;
mod model;
mod table;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ephyra_store::clock::{ManualClock, SystemClock};
use ephyra_store::files::FileBlobs;
use ephyra_store::sqlite::Sqlite;

/// Long enough for a busy machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `future`, but not for ever.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("resolves in time")
}

#[tokio::test]
async fn sqlite_is_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(dir.path(), Arc::new(SystemClock)).unwrap();
    table::suite(&sqlite).await;
}

#[tokio::test]
async fn sqlite_is_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(1_000_000));
    let sqlite = Sqlite::open(dir.path(), clock.clone()).unwrap();
    log::suite(&sqlite, |by| clock.advance(by)).await;
}

#[tokio::test]
async fn files_are_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let files = FileBlobs::open(dir.path()).unwrap();
    blobs::suite(&files).await;
}

#[tokio::test]
async fn revisions_and_leases_outlive_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(0));
    let before = table::write_and_delete(&Sqlite::open(dir.path(), clock.clone()).unwrap()).await;
    let sqlite = Sqlite::open(dir.path(), clock.clone()).unwrap();
    table::grows_beyond(&sqlite, before).await;
    log::take_one(&sqlite).await;
    drop(sqlite);
    let sqlite = Sqlite::open(dir.path(), clock).unwrap();
    log::is_taken_until_released(&sqlite).await;
}

#[test]
fn what_a_crash_left_unfinished_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    drop(FileBlobs::open(dir.path()).unwrap());
    let left = dir.path().join("blobs/unfinished/half");
    std::fs::write(&left, "half").unwrap();
    drop(FileBlobs::open(dir.path()).unwrap());
    assert!(!left.exists());
}
