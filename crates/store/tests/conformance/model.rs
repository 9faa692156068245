//! A table beside a map: any run of operations gives the same answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ephyra_store::clock::SystemClock;
use ephyra_store::sqlite::Sqlite;
use ephyra_store::{Expect, StoreError, Table};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Put(String, u8, Guess),
    Delete(String, Guess),
    Get(String),
    Scan(String, Option<String>, usize),
}

/// What a step expects of its key.
#[derive(Clone, Copy, Debug)]
enum Guess {
    Any,
    Absent,
    Right,
    Wrong,
}

fn key() -> impl Strategy<Value = String> {
    "[ab/ä]{0,3}"
}

fn guess() -> impl Strategy<Value = Guess> {
    prop_oneof![
        3 => Just(Guess::Any),
        1 => Just(Guess::Absent),
        2 => Just(Guess::Right),
        1 => Just(Guess::Wrong),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (key(), any::<u8>(), guess()).prop_map(|(key, value, guess)| Step::Put(key, value, guess)),
        2 => (key(), guess()).prop_map(|(key, guess)| Step::Delete(key, guess)),
        1 => key().prop_map(Step::Get),
        2 => (key(), proptest::option::of(key()), 0_usize..8).prop_map(|(prefix, after, limit)| Step::Scan(prefix, after, limit)),
    ]
}

/// The map, with the greatest revision of each key ever.
#[derive(Default)]
struct Model {
    entries: BTreeMap<String, (u8, u64)>,
    greatest: BTreeMap<String, u64>,
}

impl Model {
    fn expect(&self, key: &str, guess: Guess) -> (Expect, bool) {
        let entry = self.entries.get(key);
        match (guess, entry) {
            (Guess::Any, _) => (Expect::Any, true),
            (Guess::Absent, _) => (Expect::Absent, entry.is_none()),
            (Guess::Right, Some((_, revision))) => (Expect::Revision(*revision), true),
            (Guess::Right, None) => (Expect::Revision(self.greatest.get(key).copied().unwrap_or(1)), false),
            (Guess::Wrong, _) => (Expect::Revision(u64::from(u32::MAX)), false),
        }
    }

    async fn check(&mut self, table: &Sqlite, step: Step) {
        match step {
            Step::Put(key, value, guess) => {
                let (expect, holds) = self.expect(&key, guess);
                let written = table.put(&key, Bytes::copy_from_slice(&[value]), expect).await;
                assert_eq!(holds, written.is_ok(), "{written:?}");
                if let Ok(revision) = written {
                    let before = self.greatest.insert(key.clone(), revision);
                    assert!(before < Some(revision));
                    self.entries.insert(key, (value, revision));
                }
            }
            Step::Delete(key, guess) => {
                let (expect, holds) = self.expect(&key, guess);
                let deleted = table.delete(&key, expect).await;
                assert!(matches!(&deleted, Ok(()) | Err(StoreError::Conflict)), "{deleted:?}");
                assert_eq!(holds, deleted.is_ok());
                if holds {
                    self.entries.remove(&key);
                }
            }
            Step::Get(key) => {
                let found = table.get(&key).await.unwrap();
                let found = found.map(|entry| (entry.value[0], entry.revision));
                assert_eq!(found.as_ref(), self.entries.get(&key));
            }
            Step::Scan(prefix, after, limit) => {
                let found = table.scan(&prefix, after.as_deref(), limit).await.unwrap();
                let found: Vec<_> = found.into_iter().map(|(key, entry)| (key, entry.revision)).collect();
                let want: Vec<_> = self
                    .entries
                    .iter()
                    .filter(|(key, _)| key.starts_with(&prefix) && Some(*key) > after.as_ref())
                    .map(|(key, (_, revision))| (key.clone(), *revision))
                    .take(limit)
                    .collect();
                assert_eq!(found, want);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_does_what_a_map_does(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            let table = Sqlite::open(dir.path(), Arc::new(SystemClock)).unwrap();
            let mut model = Model::default();
            for step in steps {
                model.check(&table, step).await;
            }
        });
    }
}
