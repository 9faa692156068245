//! The suite for tables.

use bytes::Bytes;
use ephyra_store::{Change, Entry, Expect, StoreError, Table, VALUE_BYTES};
use tokio::sync::mpsc::Receiver;

use crate::soon;

/// All that a [`Table`] must do, on an empty one.
pub(crate) async fn suite(table: &impl Table) {
    compare_and_set(table).await;
    revisions_grow_across_deletion(table).await;
    scans_in_order(table).await;
    values_have_a_limit(table).await;
    watchers_see_every_change(table).await;
    slow_watchers_are_parted_with(table).await;
}

async fn put(table: &impl Table, key: &str, value: &'static str, expect: Expect) -> Result<u64, StoreError> {
    table.put(key, Bytes::from_static(value.as_bytes()), expect).await
}

fn is_conflict<T>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Conflict))
}

async fn compare_and_set(table: &impl Table) {
    assert_eq!(table.get("cas").await.unwrap(), None);
    assert!(is_conflict(put(table, "cas", "a", Expect::Revision(1)).await));
    let first = put(table, "cas", "a", Expect::Absent).await.unwrap();
    assert!(is_conflict(put(table, "cas", "b", Expect::Absent).await));
    assert!(is_conflict(put(table, "cas", "b", Expect::Revision(first + 1)).await));
    let second = put(table, "cas", "b", Expect::Revision(first)).await.unwrap();
    assert!(second > first);
    let value = Bytes::from_static(b"b");
    let entry = Entry {
        value,
        revision: second,
    };
    assert_eq!(table.get("cas").await.unwrap(), Some(entry));

    assert!(is_conflict(table.delete("cas", Expect::Absent).await));
    assert!(is_conflict(table.delete("cas", Expect::Revision(first)).await));
    table.delete("cas", Expect::Revision(second)).await.unwrap();
    assert_eq!(table.get("cas").await.unwrap(), None);
    assert!(is_conflict(table.delete("cas", Expect::Revision(second)).await));
    table.delete("cas", Expect::Any).await.unwrap();
    table.delete("cas", Expect::Absent).await.unwrap();
}

async fn revisions_grow_across_deletion(table: &impl Table) {
    let first = put(table, "again", "a", Expect::Any).await.unwrap();
    table.delete("again", Expect::Any).await.unwrap();
    let second = put(table, "again", "a", Expect::Any).await.unwrap();
    assert!(second > first, "{second} > {first}");
}

async fn scans_in_order(table: &impl Table) {
    let keys = [
        "s/",
        "s/a",
        "s/a/1",
        "s/a\u{0}",
        "s/b",
        "s/ä",
        "s/\u{10ffff}",
        "s0",
        "r/z",
    ];
    for key in keys {
        put(table, key, "v", Expect::Any).await.unwrap();
    }
    let want = ["s/", "s/a", "s/a\u{0}", "s/a/1", "s/b", "s/ä", "s/\u{10ffff}"];
    assert_eq!(scan(table, "s/", None, 100).await, want);
    assert_eq!(scan(table, "s/", None, 2).await, want[..2]);
    assert_eq!(scan(table, "s/", Some("s/a"), 2).await, want[2..4]);
    assert_eq!(scan(table, "s/", Some("a"), 1).await, want[..1]);
    assert!(scan(table, "s/", Some("t"), 100).await.is_empty());
    assert!(scan(table, "s/", None, 0).await.is_empty());
    assert_eq!(scan(table, "", Some("s/b"), 3).await, ["s/ä", "s/\u{10ffff}", "s0"]);
}

async fn scan(table: &impl Table, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let entries = table.scan(prefix, after, limit).await.unwrap();
    entries.into_iter().map(|(key, _)| key).collect()
}

async fn values_have_a_limit(table: &impl Table) {
    let largest = Bytes::from(vec![7; VALUE_BYTES]);
    table.put("large", largest.clone(), Expect::Any).await.unwrap();
    assert_eq!(table.get("large").await.unwrap().unwrap().value, largest);
    let refused = table.put("large", vec![7; VALUE_BYTES + 1].into(), Expect::Any).await;
    assert!(matches!(refused, Err(StoreError::TooLarge(_))));
}

async fn watchers_see_every_change(table: &impl Table) {
    let mut changes = table.watch("w/");
    let revision = put(table, "w/1", "a", Expect::Any).await.unwrap();
    put(table, "other", "a", Expect::Any).await.unwrap();
    assert!(is_conflict(put(table, "w/1", "b", Expect::Absent).await));
    table.delete("w/none", Expect::Any).await.unwrap();
    table.delete("w/1", Expect::Any).await.unwrap();
    let value = Bytes::from_static(b"a");
    assert_eq!(next(&mut changes).await.entry, Some(Entry { value, revision }));
    let deleted = next(&mut changes).await;
    assert_eq!((deleted.key.as_str(), deleted.entry), ("w/1", None));
    assert!(changes.try_recv().is_err());
}

async fn next(changes: &mut Receiver<Change>) -> Change {
    soon(changes.recv()).await.expect("the channel is open")
}

async fn slow_watchers_are_parted_with(table: &impl Table) {
    let mut changes = table.watch("slow/");
    for round in 0..17 {
        let writes = (0..64).map(|n| async move {
            let key = format!("slow/{round}/{n}");
            table.put(&key, Bytes::new(), Expect::Any).await.unwrap();
        });
        futures_util::future::join_all(writes).await;
    }
    for _ in 0..1024 {
        next(&mut changes).await;
    }
    assert_eq!(soon(changes.recv()).await, None);
}

/// Writes and deletes a key, and returns its revision.
pub(crate) async fn write_and_delete(table: &impl Table) -> u64 {
    let revision = put(table, "restart", "a", Expect::Any).await.unwrap();
    table.delete("restart", Expect::Any).await.unwrap();
    revision
}

/// The key's next revision is greater.
pub(crate) async fn grows_beyond(table: &impl Table, before: u64) {
    let after = put(table, "restart", "a", Expect::Absent).await.unwrap();
    assert!(after > before, "{after} > {before}");
}
