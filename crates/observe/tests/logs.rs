//! Log lines are kept, read and followed.
#![allow(clippy::unwrap_used, reason = "a test panics by design")]

use std::fs;
use std::future::Future;
use std::time::{Duration, Instant};

use ephyra_core::logs::LogSink as _;
use ephyra_observe::logs::{Followed, LogEvent, LogOptions, LogStore};
use futures_util::StreamExt as _;

const GROUP: &str = "/aws/lambda/hello";
const STREAM: &str = "2026/11/23/[$LATEST]0123456789abcdef0123456789abcdef";

struct House {
    store: LogStore,
    dir: tempfile::TempDir,
}

fn open(options: LogOptions) -> House {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path(), options).unwrap();
    House { store, dir }
}

fn write(store: &LogStore, group: &str, stream: &str, events: &[(i64, &str)]) {
    let mut stream = store.open(group, stream);
    for (time, text) in events {
        stream.append(*time, text.as_bytes());
    }
    stream.flush();
}

fn texts(events: &[LogEvent]) -> Vec<&str> {
    events
        .iter()
        .map(|event| std::str::from_utf8(&event.message).unwrap())
        .collect()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("resolves in time")
}

#[tokio::test]
async fn streams_are_read_together_in_the_order_of_time() {
    let House { store, .. } = &open(LogOptions::default());
    assert!(store.tail(GROUP, 0, 10).await.unwrap().is_empty());
    write(
        store,
        GROUP,
        STREAM,
        &[(1, "one"), (3, "three\nlines \\n\n"), (5, "five")],
    );
    write(store, GROUP, "other", &[(2, "two"), (3, "three"), (4, "")]);
    write(store, "/aws/lambda/hell", STREAM, &[(3, "elsewhere")]);
    let events = store.tail(GROUP, 0, 10).await.unwrap();
    assert_eq!(
        texts(&events),
        ["one", "two", "three\nlines \\n\n", "three", "", "five"]
    );
    assert_eq!((events[0].timestamp_ms, &*events[0].stream), (1, STREAM));
    assert_eq!(texts(&store.tail(GROUP, 4, 10).await.unwrap()), ["", "five"]);
    assert_eq!(texts(&store.tail(GROUP, 0, 1).await.unwrap()), ["five"]);
    assert!(store.tail(GROUP, 0, 0).await.unwrap().is_empty());
    assert_eq!(store.groups().await.unwrap(), ["/aws/lambda/hell", GROUP]);
    let streams = store.streams(GROUP).await.unwrap();
    assert_eq!(
        streams.iter().map(|stream| stream.name.as_str()).collect::<Vec<_>>(),
        [STREAM, "other"]
    );
    assert!(streams.iter().all(|stream| stream.bytes > 0 && stream.written_ms > 0));
}

#[tokio::test]
async fn nothing_is_opened_before_the_first_flush_and_a_drop_flushes() {
    let House { store, dir } = &open(LogOptions::default());
    let mut stream = store.open(GROUP, STREAM);
    stream.flush();
    assert_eq!(fs::read_dir(dir.path().join("logs")).unwrap().count(), 0);
    stream.append(1, b"one");
    assert!(store.tail(GROUP, 0, 10).await.unwrap().is_empty());
    drop(stream);
    assert_eq!(texts(&store.tail(GROUP, 0, 10).await.unwrap()), ["one"]);
}

#[tokio::test]
async fn what_is_foreseen_is_empty_and_written_to_as_ever() {
    let House { store, .. } = &open(LogOptions::default());
    for group in [GROUP.to_owned(), "long".repeat(200)] {
        store.foresee(&group);
        store.foresee(&group);
        assert!(store.tail(&group, 0, 10).await.unwrap().is_empty());
        write(store, &group, STREAM, &[(1, "one")]);
        assert_eq!(texts(&store.tail(&group, 0, 10).await.unwrap()), ["one"]);
    }
    assert_eq!(store.groups().await.unwrap().len(), 2);
    assert_eq!(store.failures(), 0);
}

#[tokio::test]
async fn hostile_names_stay_in_their_folder() {
    let House { store, dir } = &open(LogOptions::default());
    let long = "g".repeat(512);
    let names = ["..", "/", "../../etc", ".", "a\0b", &long, "ä", "name", ""];
    for name in names {
        write(store, name, name, &[(1, name)]);
        assert_eq!(texts(&store.tail(name, 0, 10).await.unwrap()), [name]);
    }
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    assert_eq!(store.groups().await.unwrap(), sorted);
    assert_eq!(store.failures(), 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(fs::read_dir(dir.path().join("logs")).unwrap().count(), names.len());
}

#[tokio::test]
async fn followers_see_what_is_written_once() {
    let House { store, .. } = &open(LogOptions::default());
    write(store, GROUP, STREAM, &[(1, "before")]);
    let (tail, follower) = store.tail_and_follow(GROUP, 0, 10).await.unwrap();
    let mut other = store.follow(GROUP);
    write(store, "/aws/lambda/other", STREAM, &[(2, "elsewhere")]);
    write(store, GROUP, STREAM, &[(3, "after\nit"), (4, "all")]);
    assert_eq!(texts(&tail), ["before"]);
    let followed: Vec<_> = soon(Box::pin(follower.into_stream()).take(2).collect()).await;
    let events: Vec<_> = followed
        .into_iter()
        .map(|followed| match followed {
            Followed::Event(event) => event,
            Followed::Skipped(count) => panic!("{count} skipped"),
        })
        .collect();
    assert_eq!(texts(&events), ["after\nit", "all"]);
    assert_eq!((events[0].timestamp_ms, &*events[0].stream), (3, STREAM));
    assert_eq!(soon(other.next()).await, Some(Followed::Event(events[0].clone())));
}

#[tokio::test]
async fn every_event_is_in_the_tail_or_followed_and_never_in_both() {
    let House { store, .. } = &open(LogOptions::default());
    let writer = std::thread::spawn({
        let store = store.clone();
        move || {
            let mut stream = store.open(GROUP, STREAM);
            for n in 0..500 {
                stream.append(n, n.to_string().as_bytes());
                stream.flush();
            }
        }
    });
    let (tail, mut follower) = store.tail_and_follow(GROUP, 0, 1000).await.unwrap();
    let mut seen: Vec<i64> = tail.iter().map(|event| event.timestamp_ms).collect();
    while seen.last() != Some(&499) {
        match soon(follower.next()).await {
            Some(Followed::Event(event)) => seen.push(event.timestamp_ms),
            other => panic!("{other:?}"),
        }
    }
    writer.join().unwrap();
    assert!(seen.into_iter().eq(0..500));
}

#[tokio::test]
async fn a_slow_follower_is_told_what_it_missed() {
    let House { store, .. } = &open(LogOptions::default());
    let mut follower = store.follow(GROUP);
    let mut stream = store.open(GROUP, STREAM);
    for n in 0..1500 {
        stream.append(n, b"line");
    }
    stream.flush();
    assert_eq!(soon(follower.next()).await, Some(Followed::Skipped(1500 - 1024)));
    let Some(Followed::Event(event)) = soon(follower.next()).await else {
        panic!("an event")
    };
    assert_eq!(event.timestamp_ms, 1500 - 1024);
}

#[tokio::test]
async fn a_deleted_group_is_gone_and_can_be_written_again() {
    let House { store, .. } = &open(LogOptions::default());
    let mut stream = store.open(GROUP, STREAM);
    stream.append(1, b"one");
    stream.flush();
    store.delete(GROUP).await.unwrap();
    store.delete(GROUP).await.unwrap();
    assert!(store.groups().await.unwrap().is_empty());
    stream.append(2, b"two");
    stream.flush();
    assert_eq!(texts(&store.tail(GROUP, 0, 10).await.unwrap()), ["two"]);
    assert_eq!(store.failures(), 0);
}

#[tokio::test]
async fn the_oldest_is_deleted_while_a_stream_goes_on() {
    let House { store, dir } = &open(LogOptions {
        group_bytes: 64 * 1024,
        segment_bytes: 4 * 1024,
        ..LogOptions::default()
    });
    let mut stream = store.open(GROUP, STREAM);
    let text = [b'x'; 1000];
    for n in 0..2000 {
        stream.append(n, &text);
        stream.flush();
    }
    // The sweep goes on in the background.
    let folder = dir.path().join("logs/+aws+lambda+hello");
    let size = || -> u64 {
        let files = fs::read_dir(&folder).unwrap();
        files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum()
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while size() > 64 * 1024 + 8 * 1024 {
        assert!(Instant::now() < deadline, "{} bytes are left", size());
        stream.append(2000, &text);
        stream.flush();
        tokio::task::yield_now().await;
    }
    stream.append(3000, b"last");
    stream.flush();
    let events = store.tail(GROUP, 0, 10_000).await.unwrap();
    assert_eq!(events.last().map(|event| event.timestamp_ms), Some(3000));
    assert!(events.len() < 200, "{}", events.len());
    assert_eq!(store.failures(), 0);
}

#[tokio::test]
async fn what_is_too_old_is_deleted_at_the_start() {
    let House { store, dir } = open(LogOptions::default());
    write(&store, GROUP, STREAM, &[(1, "one")]);
    let folder = dir.path().join("logs/+aws+lambda+hello");
    let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(15 * 86_400);
    fs::File::options()
        .append(true)
        .open(file)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    drop(store);
    let store = LogStore::open(dir.path(), LogOptions::default()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !store.tail(GROUP, 0, 10).await.unwrap().is_empty() {
        assert!(Instant::now() < deadline);
    }
}

#[tokio::test]
async fn what_cannot_be_written_is_counted() {
    let House { store, dir } = &open(LogOptions::default());
    fs::remove_dir(dir.path().join("logs")).unwrap();
    fs::write(dir.path().join("logs"), "in the way").unwrap();
    write(store, GROUP, STREAM, &[(1, "one")]);
    assert_eq!(store.failures(), 1);
}
