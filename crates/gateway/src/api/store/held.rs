//! An API in memory, while it is being worked on.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use ephyra_store::StoreError;
use serde::{Deserialize, Serialize};

use super::ApiStore;
use super::frozen::DeploymentRecord;
use super::key::{self, Kind};
use crate::api::model::{Api, Authorizer, Content, Deployment, Integration, Route, Stage};

/// How many APIs stay in memory after they were worked on.
const KEPT_APIS: usize = 16;
/// How many routes, integrations and authorizers these have together.
const KEPT_PARTS: usize = 40_000;

/// An API's first record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ApiRecord {
    /// The API.
    pub(crate) api: Api,
    /// Which generation of routes, integrations and authorizers counts.
    pub(super) generation: u32,
}

impl ApiRecord {
    /// The record of a new API.
    pub(crate) const fn new(api: Api) -> Self {
        Self { api, generation: 0 }
    }
}

/// A stage's record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StageRecord {
    /// The stage.
    pub(super) stage: Stage,
    /// The automatic deployment that it serves, if it is not frozen.
    pub(super) automatic: Option<Deployment>,
}

/// All of an API but the pieces of its deployments.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) record: ApiRecord,
    pub(crate) routes: BTreeMap<String, Arc<Route>>,
    /// The ids of the routes by their keys.
    pub(crate) keys: HashMap<String, String>,
    pub(crate) integrations: BTreeMap<String, Arc<Integration>>,
    pub(crate) authorizers: BTreeMap<String, Arc<Authorizer>>,
    pub(crate) stages: BTreeMap<String, Arc<Stage>>,
    pub(crate) deployments: BTreeMap<String, Arc<DeploymentRecord>>,
    /// The API as it stands, when somebody has asked for it.
    pub(super) current: Option<Arc<Content>>,
}

impl Held {
    /// An API without anything.
    pub(crate) fn new(record: ApiRecord) -> Self {
        Self {
            record,
            routes: BTreeMap::new(),
            keys: HashMap::new(),
            integrations: BTreeMap::new(),
            authorizers: BTreeMap::new(),
            stages: BTreeMap::new(),
            deployments: BTreeMap::new(),
            current: None,
        }
    }

    /// Reads an API, and removes what a crash has left of changes that never came to be.
    pub(super) async fn read(store: &ApiStore, api_id: &str) -> Result<Option<Self>, StoreError> {
        let Some(record) = store.read::<ApiRecord>(&key::api(api_id)).await? else {
            return Ok(None);
        };
        let generation = record.generation;
        clear_other_generations(store, api_id, generation).await?;
        let mut held = Self::new(record);
        let of = |kind| key::kind(api_id, generation, kind);
        for route in store.read_all::<Route>(&of(Kind::Route)).await? {
            held.keys.insert(route.route_key.clone(), route.route_id.clone());
            held.routes.insert(route.route_id.clone(), Arc::new(route));
        }
        for one in store.read_all::<Integration>(&of(Kind::Integration)).await? {
            held.integrations.insert(one.integration_id.clone(), Arc::new(one));
        }
        for one in store.read_all::<Authorizer>(&of(Kind::Authorizer)).await? {
            held.authorizers.insert(one.authorizer_id.clone(), Arc::new(one));
        }
        for one in store.read_all::<DeploymentRecord>(&key::deployments(api_id)).await? {
            held.deployments
                .insert(one.deployment.deployment_id.clone(), Arc::new(one));
        }
        for StageRecord { stage, automatic } in store.read_all(&key::stages(api_id)).await? {
            if let Some(deployment) = automatic {
                let id = deployment.deployment_id.clone();
                let record = || Arc::new(DeploymentRecord::automatic(deployment));
                held.deployments.entry(id).or_insert_with(record);
            }
            held.stages.insert(stage.stage_name.clone(), Arc::new(stage));
        }
        held.clear_pieces(store, api_id).await?;
        Ok(Some(held))
    }

    /// Whether a stage serves a deployment.
    pub(crate) fn is_served(&self, deployment_id: &str) -> bool {
        let mut stages = self.stages.values();
        stages.any(|stage| stage.deployment_id.as_deref() == Some(deployment_id))
    }

    /// Forgets automatic deployments that are not frozen and that no stage serves any more.
    pub(super) fn forget_unserved(&mut self) {
        let stages = &self.stages;
        let is_served = |id: &String| stages.values().any(|stage| stage.deployment_id.as_ref() == Some(id));
        self.deployments
            .retain(|id, record| record.is_frozen() || is_served(id));
    }

    /// Deletes pieces that no deployment has.
    async fn clear_pieces(&self, store: &ApiStore, api_id: &str) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        let prefix = key::all_pieces(api_id);
        while let Some((found, _)) = store.table.scan(&prefix, after.as_deref(), 1).await?.pop() {
            let id = key::deployment_of_piece(&found);
            if !self.deployments.get(id).is_some_and(|record| record.is_frozen()) {
                store.clear(&key::pieces(api_id, id)).await?;
            }
            after = Some(key::behind_pieces(api_id, id));
        }
        Ok(())
    }

    fn parts(&self) -> usize {
        self.routes.len() + self.integrations.len() + self.authorizers.len()
    }
}

async fn clear_other_generations(store: &ApiStore, api_id: &str, generation: u32) -> Result<(), StoreError> {
    let mut after: Option<String> = None;
    let prefix = key::generations(api_id);
    while let Some((found, _)) = store.table.scan(&prefix, after.as_deref(), 1).await?.pop() {
        let Some(number) = key::generation_of(&found) else {
            return Ok(());
        };
        if number != generation {
            store.clear(&key::generation(api_id, number)).await?;
        }
        after = Some(key::behind_generation(api_id, number));
    }
    Ok(())
}

/// The APIs that were worked on last.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The last comes last.
    apis: VecDeque<Box<Held>>,
}

impl Recent {
    pub(super) fn take(&mut self, api_id: &str) -> Option<Box<Held>> {
        let place = self.apis.iter().position(|held| held.record.api.api_id == api_id)?;
        self.apis.remove(place)
    }

    pub(super) fn keep(&mut self, held: Box<Held>) {
        self.apis.push_back(held);
        while self.apis.len() > KEPT_APIS || self.apis.iter().map(|held| held.parts()).sum::<usize>() > KEPT_PARTS {
            self.apis.pop_front();
        }
    }
}
