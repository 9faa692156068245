//! What was acknowledged is there after kill -9. The test starts itself anew as the process that is killed.
#![allow(clippy::unwrap_used, reason = "a test panics by design")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ephyra_core::digest::Digest;
use ephyra_store::clock::SystemClock;
use ephyra_store::files::FileBlobs;
use ephyra_store::sqlite::Sqlite;
use ephyra_store::{Blobs as _, Expect, Log as _, Table as _};

const TEST: &str = "what_was_acknowledged_survives_kill_9";
const DIR: &str = "EPHYRA_STORE_CRASH_DIR";
const ROUND: &str = "EPHYRA_STORE_CRASH_ROUND";
const WRITERS: u64 = 8;
const KEYS: u64 = 4;
const ROUNDS: u64 = 4;

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    if let Some(dir) = std::env::var_os(DIR) {
        let round = std::env::var(ROUND).unwrap();
        runtime.block_on(write_until_killed(Path::new(&dir), &round));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::default();
    for round in 0..ROUNDS {
        run_and_kill(dir.path(), round, &mut acknowledged);
        runtime.block_on(acknowledged.check(dir.path()));
    }
}

/// The `n`th write to a key: every fifth deletes it.
fn written(n: u64) -> Option<u64> {
    (n % 5 != 4).then_some(n)
}

async fn write_until_killed(dir: &Path, round: &str) {
    let sqlite = Arc::new(Sqlite::open(dir, Arc::new(SystemClock)).unwrap());
    let blobs = FileBlobs::open(dir).unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let (sqlite, blobs, round) = (Arc::clone(&sqlite), blobs.clone(), round.to_owned());
        tokio::spawn(async move {
            for n in 0.. {
                for key in 0..KEYS {
                    let key = format!("{round}/{writer}/{key}");
                    match written(n) {
                        Some(n) => drop(sqlite.put(&key, n.to_string().into(), Expect::Any).await.unwrap()),
                        None => sqlite.delete(&key, Expect::Any).await.unwrap(),
                    }
                    println!("\nkey {key} {n}");
                }
                let text = format!("{round}/{writer}/{n}");
                let id = sqlite
                    .append("events", text.clone().into(), Duration::ZERO)
                    .await
                    .unwrap();
                println!("\nappended {id} {text}");
                if n % 3 == 0 {
                    println!("\nacknowledging {id}");
                    sqlite.acknowledge("events", id).await.unwrap();
                    println!("\nacknowledged {id}");
                }
                if n % 7 == 0 {
                    let content = Bytes::from(text.repeat(10_000));
                    println!("\nblob {} {text}", blobs.put(content).await.unwrap());
                }
            }
        })
    });
    futures_util::future::join_all(writers.collect::<Vec<_>>()).await;
}

/// Starts the writing process, kills it after a random number of acknowledgements and notes them all.
fn run_and_kill(dir: &Path, round: u64, acknowledged: &mut Acknowledged) {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let enough = 50 + nanos % 400;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([TEST, "--exact", "--nocapture"])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut count = 0;
    while count < enough {
        let line = lines.next().expect("it writes until it is killed").unwrap();
        count += u32::from(acknowledged.note(&line));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said before it died was acknowledged too; its last line may be torn.
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    for line in rest.split_last().map_or(&[][..], |(_, whole)| whole) {
        acknowledged.note(line);
    }
}

#[derive(Default)]
struct Acknowledged {
    keys: BTreeMap<String, u64>,
    items: BTreeMap<u64, String>,
    maybe_gone: BTreeSet<u64>,
    gone: BTreeSet<u64>,
    blobs: BTreeMap<Digest, String>,
}

impl Acknowledged {
    /// Notes one line; says whether it was an acknowledgement.
    fn note(&mut self, line: &str) -> bool {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["key", key, n] => drop(self.keys.insert(key.to_owned(), n.parse().unwrap())),
            ["appended", id, text] => drop(self.items.insert(id.parse().unwrap(), text.to_owned())),
            ["acknowledging", id] => drop(self.maybe_gone.insert(id.parse().unwrap())),
            ["acknowledged", id] => drop(self.gone.insert(id.parse().unwrap())),
            ["blob", digest, text] => drop(self.blobs.insert(digest.parse().unwrap(), text.to_owned())),
            _ => return false,
        }
        true
    }

    async fn check(&self, dir: &Path) {
        let sqlite = Sqlite::open(dir, Arc::new(SystemClock)).unwrap();
        for (key, n) in &self.keys {
            let entry = sqlite.get(key).await.unwrap();
            let found = entry.map(|entry| std::str::from_utf8(&entry.value).unwrap().parse::<u64>().unwrap());
            // The write after the last acknowledged one may have come through as well.
            assert!(
                found == written(*n) || found == written(n + 1),
                "{key}: {found:?} after {n}"
            );
        }

        sqlite.release_all("events").await.unwrap();
        let items = sqlite
            .lease("events", usize::MAX, Duration::from_secs(60))
            .await
            .unwrap();
        let found: BTreeMap<u64, Bytes> = items.into_iter().map(|item| (item.id, item.value)).collect();
        for (id, text) in &self.items {
            match found.get(id) {
                Some(value) => assert_eq!(value, text),
                None => assert!(self.maybe_gone.contains(id), "item {id} is lost"),
            }
        }
        assert!(self.gone.iter().all(|id| !found.contains_key(id)));

        let blobs = FileBlobs::open(dir).unwrap();
        for (digest, text) in &self.blobs {
            let content = blobs.get(*digest).await.unwrap().expect("the blob is there");
            assert_eq!(content, text.repeat(10_000));
        }
        for digest in blobs.list().await.unwrap() {
            let content = blobs.get(digest).await.unwrap().unwrap();
            assert_eq!(Digest::of(&content), digest, "a torn blob");
        }
    }
}
