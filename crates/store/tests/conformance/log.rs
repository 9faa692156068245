//! The suite for logs.

use std::time::Duration;

use bytes::Bytes;
use ephyra_store::{LOG_VALUE_BYTES, Leased, Log, StoreError};
use futures_util::FutureExt as _;

use crate::soon;

const MINUTE: Duration = Duration::from_secs(60);

/// All that a [`Log`] must do, on an empty one; `advance` moves its clock.
pub(crate) async fn suite(log: &impl Log, advance: impl Fn(Duration)) {
    hands_out_in_order_until_acknowledged(log, &advance).await;
    leases_end(log, &advance).await;
    postponed_items_come_later(log, &advance).await;
    due_wakes(log, &advance).await;
    topics_are_apart(log).await;
    large_values_are_handed_out_in_parts(log).await;
}

async fn append(log: &impl Log, topic: &str, value: &'static str, delay: Duration) -> u64 {
    let value = Bytes::from_static(value.as_bytes());
    log.append(topic, value, delay).await.unwrap()
}

async fn lease(log: &impl Log, topic: &str, max: usize) -> Vec<Leased> {
    log.lease(topic, max, MINUTE).await.unwrap()
}

fn values(items: &[Leased]) -> Vec<&str> {
    items
        .iter()
        .map(|item| std::str::from_utf8(&item.value).unwrap())
        .collect()
}

async fn hands_out_in_order_until_acknowledged(log: &impl Log, advance: &impl Fn(Duration)) {
    append(log, "order", "later", MINUTE).await;
    append(log, "order", "a", Duration::ZERO).await;
    append(log, "order", "b", Duration::ZERO).await;
    advance(Duration::from_millis(1));
    append(log, "order", "c", Duration::ZERO).await;
    let first = lease(log, "order", 2).await;
    assert_eq!(values(&first), ["a", "b"]);
    assert!(first.iter().all(|item| item.deliveries == 1));
    assert_eq!(values(&lease(log, "order", 9).await), ["c"]);
    assert!(lease(log, "order", 9).await.is_empty());
    for item in first {
        log.acknowledge("order", item.id).await.unwrap();
        log.acknowledge("order", item.id).await.unwrap();
    }
    advance(MINUTE);
    assert_eq!(values(&lease(log, "order", 9).await), ["later", "c"]);
}

async fn leases_end(log: &impl Log, advance: &impl Fn(Duration)) {
    let id = append(log, "lease", "a", Duration::ZERO).await;
    let appended_ms = lease(log, "lease", 1).await[0].appended_ms;
    advance(MINUTE - Duration::from_millis(1));
    assert!(lease(log, "lease", 1).await.is_empty());
    advance(Duration::from_millis(1));
    let value = Bytes::from_static(b"a");
    let second = Leased {
        id,
        value,
        appended_ms,
        deliveries: 2,
    };
    assert_eq!(lease(log, "lease", 1).await, [second]);
    log.release_all("lease").await.unwrap();
    assert_eq!(lease(log, "lease", 1).await[0].deliveries, 3);
}

async fn postponed_items_come_later(log: &impl Log, advance: &impl Fn(Duration)) {
    let id = append(log, "later", "a", Duration::ZERO).await;
    lease(log, "later", 1).await;
    log.postpone("later", id, None, 2 * MINUTE).await.unwrap();
    // It is nobody's any more, so ending leases does not bring it forward.
    log.release_all("later").await.unwrap();
    assert!(lease(log, "later", 1).await.is_empty());
    advance(2 * MINUTE);
    assert_eq!(values(&lease(log, "later", 1).await), ["a"]);
    let other = Some(Bytes::from_static(b"b"));
    log.postpone("later", id, other, Duration::ZERO).await.unwrap();
    assert_eq!(values(&lease(log, "later", 1).await), ["b"]);
    log.acknowledge("later", id).await.unwrap();
    log.postpone("later", id, None, Duration::ZERO).await.unwrap();
    assert!(lease(log, "later", 1).await.is_empty());
}

async fn due_wakes(log: &impl Log, advance: &impl Fn(Duration)) {
    let mut due = log.due("due");
    assert!(due.as_mut().now_or_never().is_none());
    append(log, "due", "at once", Duration::ZERO).await;
    soon(due).await.unwrap();
    let item = lease(log, "due", 1).await.remove(0);
    let mut due = log.due("due");
    assert!(due.as_mut().now_or_never().is_none());
    log.postpone("due", item.id, None, 10 * MINUTE).await.unwrap();
    assert!(due.as_mut().now_or_never().is_none());
    advance(9 * MINUTE);
    assert!(due.as_mut().now_or_never().is_none());
    advance(MINUTE);
    soon(due).await.unwrap();
    lease(log, "due", 1).await;
    let mut due = log.due("due");
    assert!(due.as_mut().now_or_never().is_none());
    log.release_all("due").await.unwrap();
    soon(due).await.unwrap();
}

async fn topics_are_apart(log: &impl Log) {
    let id = append(log, "one", "a", Duration::ZERO).await;
    assert!(lease(log, "two", 1).await.is_empty());
    log.acknowledge("two", id).await.unwrap();
    log.postpone("two", id, None, MINUTE).await.unwrap();
    assert_eq!(values(&lease(log, "one", 1).await), ["a"]);
    log.release_all("two").await.unwrap();
    assert!(lease(log, "one", 1).await.is_empty());
}

async fn large_values_are_handed_out_in_parts(log: &impl Log) {
    let largest = Bytes::from(vec![7; LOG_VALUE_BYTES]);
    for _ in 0..14 {
        log.append("large", largest.clone(), Duration::ZERO).await.unwrap();
    }
    let first = lease(log, "large", 100).await;
    assert!(!first.is_empty() && first.len() < 14, "{}", first.len());
    assert!(first.iter().all(|item| item.value == largest));
    let rest = lease(log, "large", 100).await;
    assert_eq!(first.len() + rest.len(), 14);
    let refused = log
        .append("large", vec![7; LOG_VALUE_BYTES + 1].into(), Duration::ZERO)
        .await;
    assert!(matches!(refused, Err(StoreError::TooLarge(_))));
}

/// Appends two items and leases the first.
pub(crate) async fn take_one(log: &impl Log) {
    append(log, "restart", "taken", Duration::ZERO).await;
    append(log, "restart", "free", Duration::ZERO).await;
    assert_eq!(values(&lease(log, "restart", 1).await), ["taken"]);
}

/// The lease of [`take_one`] still holds, until all are ended.
pub(crate) async fn is_taken_until_released(log: &impl Log) {
    assert_eq!(values(&lease(log, "restart", 2).await), ["free"]);
    log.release_all("restart").await.unwrap();
    assert_eq!(values(&lease(log, "restart", 2).await), ["taken", "free"]);
}
