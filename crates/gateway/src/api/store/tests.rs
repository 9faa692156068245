//! What is kept, over a table in memory that can lose its power at any write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use ephyra_store::{Change, Entry, Expect, StoreError, Table};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;
use crate::api::model::{Api, Deployment, Integration, ProtocolType, Route, Stage, Time};

/// A table that refuses all writes after some.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    entries: Arc<parking_lot::Mutex<BTreeMap<String, Bytes>>>,
    left: Arc<AtomicUsize>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        let memory = Self::default();
        memory.left.store(usize::MAX, Ordering::SeqCst);
        memory
    }

    /// What is on disk, in another process.
    fn after_a_crash(&self) -> Self {
        let memory = Self::new();
        *memory.entries.lock() = self.entries.lock().clone();
        memory
    }

    fn spend(&self) -> Result<(), StoreError> {
        let spent = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        spent.map(|_| ()).map_err(|_| StoreError::Backend {
            operation: "writing".into(),
            source: "no power".into(),
        })
    }
}

impl Table for Memory {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        let value = self.entries.lock().get(key).cloned();
        async move { Ok(value.map(|value| Entry { value, revision: 1 })) }.boxed()
    }

    fn put<'a>(&'a self, key: &'a str, value: Bytes, _: Expect) -> BoxFuture<'a, Result<u64, StoreError>> {
        assert!(value.len() <= ephyra_store::VALUE_BYTES);
        async move {
            self.spend()?;
            self.entries.lock().insert(key.to_owned(), value);
            Ok(1)
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a str, _: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            self.spend()?;
            self.entries.lock().remove(key);
            Ok(())
        }
        .boxed()
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, StoreError>> {
        let entries = self.entries.lock();
        let found = entries
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after))
            .take(limit)
            .map(|(key, value)| {
                let value = value.clone();
                (key.clone(), Entry { value, revision: 1 })
            })
            .collect();
        async move { Ok(found) }.boxed()
    }

    fn watch(&self, _: &str) -> mpsc::Receiver<Change> {
        mpsc::channel(1).1
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn record(id: &str) -> ApiRecord {
    ApiRecord::new(Api {
        api_id: id.into(),
        name: "n".into(),
        protocol_type: ProtocolType::Http,
        route_selection_expression: String::new(),
        api_key_selection_expression: String::new(),
        description: None,
        version: None,
        cors_configuration: None,
        disable_execute_api_endpoint: false,
        ip_address_type: "ipv4".into(),
        import_info: Vec::new(),
        warnings: Vec::new(),
        tags: BTreeMap::new(),
        created_date: Time(0),
    })
}

fn integration(id: &str) -> Integration {
    let uri = "http://example.com".to_owned();
    crate::api::operation::new_integration(id.into(), false, uri)
}

fn route(id: &str) -> Route {
    Route {
        route_id: id.into(),
        route_key: format!("GET /{id}"),
        target: Some("integrations/i".into()),
        ..Route::default()
    }
}

fn parts(routes: &[&str]) -> Parts {
    Parts {
        routes: routes.iter().map(|id| route(id)).collect(),
        integrations: vec![integration("i")],
        authorizers: Vec::new(),
    }
}

fn stage(name: &str, auto_deploy: bool) -> Stage {
    Stage {
        stage_name: name.into(),
        auto_deploy,
        ..Stage::default()
    }
}

fn next(id: &str) -> AutoDeployment {
    AutoDeployment {
        id: id.into(),
        now: Time(1),
    }
}

fn manual(id: &str) -> Deployment {
    Deployment {
        deployment_id: id.into(),
        ..Deployment::default()
    }
}

/// The keys of the routes that a stage serves; `None`: nothing was deployed there.
fn served(live: &LiveApi, stage: &str) -> Option<Vec<String>> {
    let content = live.stages[stage].content.as_ref()?;
    let mut keys: Vec<String> = content.routes.iter().map(|route| route.route_key.clone()).collect();
    keys.sort();
    Some(keys)
}

#[test]
fn a_deployment_stays_and_automatic_ones_follow() {
    run(async {
        let store = ApiStore::open(Arc::new(Memory::new())).await.unwrap();
        store.create(record("a"), parts(&["x"]), None).await.unwrap();
        {
            let mut turn = store.turn("a").await.unwrap().unwrap();
            turn.put_stage(stage("auto", true)).await.unwrap();
            turn.auto_deploy(&next("d1")).await.unwrap();
            turn.freeze(manual("d2")).await.unwrap();
            let fixed = Stage {
                deployment_id: Some("d2".into()),
                ..stage("fixed", false)
            };
            turn.put_stage(fixed).await.unwrap();
            turn.put_route(route("y")).await.unwrap();
            turn.auto_deploy(&next("d3")).await.unwrap();
            assert!(!turn.held().deployments.contains_key("d1"), "nobody has it any more");
        }
        let live = store.live("a").await.unwrap().unwrap();
        assert_eq!(served(&live, "auto").unwrap(), ["GET /x", "GET /y"]);
        assert_eq!(served(&live, "fixed").unwrap(), ["GET /x"]);
        assert_eq!(live.stages["auto"].stage.deployment_id.as_deref(), Some("d3"));
        assert!(store.live("b").await.unwrap().is_none());
    });
}

#[test]
fn what_was_served_automatically_stays_when_that_ends() {
    run(async {
        let memory = Memory::new();
        let store = ApiStore::open(Arc::new(memory.clone())).await.unwrap();
        store.create(record("a"), parts(&["x"]), None).await.unwrap();
        {
            let mut turn = store.turn("a").await.unwrap().unwrap();
            turn.put_stage(stage("s", true)).await.unwrap();
            turn.auto_deploy(&next("d1")).await.unwrap();
            turn.keep_deployment("d1").await.unwrap();
            let kept = Stage {
                deployment_id: Some("d1".into()),
                ..stage("s", false)
            };
            turn.put_stage(kept).await.unwrap();
            turn.delete_route("x").await.unwrap();
            turn.auto_deploy(&next("d2")).await.unwrap();
        }
        let again = ApiStore::open(Arc::new(memory.after_a_crash())).await.unwrap();
        for store in [store, again] {
            let live = store.live("a").await.unwrap().unwrap();
            assert_eq!(served(&live, "s").unwrap(), ["GET /x"]);
        }
    });
}

#[test]
fn ten_thousand_routes_fit_into_a_deployment() {
    run(async {
        let memory = Memory::new();
        let store = ApiStore::open(Arc::new(memory.clone())).await.unwrap();
        let ids: Vec<String> = (0..10_000).map(|number| format!("r{number}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        store.create(record("a"), parts(&ids), None).await.unwrap();
        {
            let mut turn = store.turn("a").await.unwrap().unwrap();
            turn.freeze(manual("d")).await.unwrap();
            let fixed = Stage {
                deployment_id: Some("d".into()),
                ..stage("s", false)
            };
            turn.put_stage(fixed).await.unwrap();
        }
        let live = store.live("a").await.unwrap().unwrap();
        assert_eq!(served(&live, "s").unwrap().len(), 10_000);
        let turn = store.turn("a").await.unwrap().unwrap();
        turn.delete_api().await.unwrap();
        assert!(memory.entries.lock().is_empty(), "nothing is left of it");
    });
}

#[test]
fn hooks_hear_of_changes_after_the_count() {
    run(async {
        let store = Arc::new(ApiStore::open(Arc::new(Memory::new())).await.unwrap());
        let heard = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let note = Arc::clone(&heard);
        store.on_change(Box::new(move |changed| note.lock().push(format!("{changed:?}"))));
        store.create(record("a"), Parts::default(), None).await.unwrap();
        let turn = store.turn("a").await.unwrap().unwrap();
        turn.delete_api().await.unwrap();
        assert_eq!(*heard.lock(), [r#"Api("a")"#, r#"Api("a")"#]);
        assert_eq!(store.changes(), 2);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whichever write is the last before a crash: the API is as before or as behind, and what nobody has is removed.
    #[test]
    fn a_crash_leaves_nothing_half_seen(change in 0..6_u8, writes in 0..12_usize) {
        run(async {
            let memory = Memory::new();
            let store = ApiStore::open(Arc::new(memory.clone())).await.unwrap();
            store.create(record("a"), parts(&["x"]), None).await.unwrap();
            {
                let mut turn = store.turn("a").await.unwrap().unwrap();
                turn.put_stage(stage("auto", true)).await.unwrap();
                turn.auto_deploy(&next("d1")).await.unwrap();
                turn.freeze(manual("d2")).await.unwrap();
                let fixed = Stage { deployment_id: Some("d2".into()), ..stage("fixed", false) };
                turn.put_stage(fixed).await.unwrap();
            }
            memory.left.store(writes, Ordering::SeqCst);
            let one = async |change: u8| -> Result<(), StoreError> {
                if change == 0 {
                    return store.create(record("b"), parts(&["x"]), Some(stage("s", true))).await;
                }
                let mut turn = store.turn("a").await?.unwrap();
                match change {
                    1 => {
                        let record = turn.held().record.clone();
                        turn.replace(record, parts(&["y", "z"])).await?;
                        turn.auto_deploy(&next("d3")).await
                    }
                    2 => turn.delete_api().await,
                    3 => {
                        turn.freeze(manual("d4")).await?;
                        let fixed = Stage { deployment_id: Some("d4".into()), ..stage("fixed", false) };
                        turn.put_stage(fixed).await
                    }
                    4 => {
                        turn.put_route(route("y")).await?;
                        turn.auto_deploy(&next("d3")).await
                    }
                    _ => {
                        turn.keep_deployment("d1").await?;
                        let kept = Stage { deployment_id: Some("d1".into()), ..stage("auto", false) };
                        turn.put_stage(kept).await
                    }
                }
            };
            let done = one(change).await;
            let crashed = memory.after_a_crash();
            let again = ApiStore::open(Arc::new(crashed.clone())).await.unwrap();
            let a = again.live("a").await.unwrap();
            let b = again.live("b").await.unwrap();
            if done.is_ok() {
                assert_eq!(b.is_some(), change == 0);
                assert_eq!(a.is_none(), change == 2);
            }
            if let Some(b) = b {
                assert!(b.stages.contains_key("s"));
                let turn = again.turn("b").await.unwrap().unwrap();
                assert_eq!(turn.held().routes.len(), 1);
                assert_eq!(turn.held().integrations.len(), 1);
            } else {
                let entries = crashed.entries.lock();
                assert!(entries.keys().all(|key| !key.contains("/b")), "parts of an API that never was");
            }
            if let Some(a) = &a {
                let fixed = served(a, "fixed").unwrap();
                assert_eq!(fixed, ["GET /x"]);
                let auto = served(a, "auto").unwrap();
                let possible = [vec!["GET /x"], vec!["GET /y", "GET /z"], vec!["GET /x", "GET /y"]];
                assert!(possible.iter().any(|keys| *keys == auto), "{auto:?}");
                for live in a.stages.values() {
                    let content = live.content.as_ref().unwrap();
                    assert!(content.routes.iter().all(|route| {
                        route.integration_id().is_some_and(|id| content.integrations.contains_key(id))
                    }));
                    let turn = again.turn("a").await.unwrap().unwrap();
                    let id = live.stage.deployment_id.as_deref().unwrap();
                    assert!(turn.held().deployments.contains_key(id), "a stage's deployment is there");
                }
            } else {
                let entries = crashed.entries.lock();
                assert!(entries.keys().all(|key| !key.contains("/a")), "parts of an API that is gone");
            }
        });
    }
}
