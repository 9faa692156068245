//! One change of an API at a time: what it writes, and in which order.

use std::sync::Arc;

use bytes::Bytes;
use ephyra_store::StoreError;
use serde::Serialize;

use super::frozen::{self, DeploymentRecord};
use super::held::{ApiRecord, Held, StageRecord};
use super::key::{self, Kind};
use super::{ApiStore, Changed, encode};
use crate::api::model::{Authorizer, Content, Deployment, Integration, Route, Stage, Time};

/// An API that nobody else reads or changes meanwhile.
pub(crate) struct Turn<'s> {
    store: &'s ApiStore,
    _guard: tokio::sync::MutexGuard<'s, ()>,
    /// `None` only when dropped, or when the API was deleted.
    held: Option<Box<Held>>,
    /// Whether the memory is what the table is. Not while a write is under way, nor after one that failed.
    is_sound: bool,
}

/// All that a person edits of an API's inside.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) routes: Vec<Route>,
    pub(crate) integrations: Vec<Integration>,
    pub(crate) authorizers: Vec<Authorizer>,
}

/// The new id of an automatic deployment and its time.
#[derive(Clone, Debug)]
pub(crate) struct AutoDeployment {
    pub(crate) id: String,
    pub(crate) now: Time,
}

impl ApiStore {
    /// Takes the turn of an API; `None`: there is none.
    pub(crate) async fn turn(&self, api_id: &str) -> Result<Option<Turn<'_>>, StoreError> {
        let guard = self.wait(api_id).await;
        let known = self.recent.lock().take(api_id);
        let held = match known {
            Some(held) => held,
            None => match Held::read(self, api_id).await? {
                None => return Ok(None),
                Some(held) => Box::new(held),
            },
        };
        Ok(Some(Turn {
            store: self,
            _guard: guard,
            held: Some(held),
            is_sound: true,
        }))
    }

    /// Makes an API with all that it has; it is there when the last write is done. Its id must be new.
    pub(crate) async fn create(&self, record: ApiRecord, parts: Parts, stage: Option<Stage>) -> Result<(), StoreError> {
        let api_id = record.api.api_id.clone();
        let _guard = self.wait(&api_id).await;
        let mut entries = part_entries(&api_id, record.generation, &parts)?;
        if let Some(stage) = stage {
            let automatic = stage.deployment_id.as_ref().map(|id| Deployment {
                deployment_id: id.clone(),
                auto_deployed: true,
                created_date: stage.created_date,
                ..Deployment::default()
            });
            let key = key::stage(&api_id, &stage.stage_name);
            let value = encode(&key, &StageRecord { stage, automatic })?;
            entries.push((key, value));
        }
        self.write_all(entries).await?;
        self.write(&key::api(&api_id), &record).await?;
        self.notify(Changed::Api(&api_id));
        Ok(())
    }
}

/// The records of a generation.
fn part_entries(api_id: &str, generation: u32, parts: &Parts) -> Result<Vec<(String, Bytes)>, StoreError> {
    let mut entries = Vec::new();
    let mut add = |kind, id: &str, document: &dyn erased::Document| {
        let key = key::kind(api_id, generation, kind) + id;
        let value = document.encode(&key)?;
        entries.push((key, value));
        Ok::<(), StoreError>(())
    };
    for one in &parts.integrations {
        add(Kind::Integration, &one.integration_id, one)?;
    }
    for one in &parts.authorizers {
        add(Kind::Authorizer, &one.authorizer_id, one)?;
    }
    for one in &parts.routes {
        add(Kind::Route, &one.route_id, one)?;
    }
    Ok(entries)
}

/// Documents of any type.
mod erased {
    use super::{Bytes, Serialize, StoreError, encode};

    pub(super) trait Document {
        fn encode(&self, key: &str) -> Result<Bytes, StoreError>;
    }

    impl<T: Serialize> Document for T {
        fn encode(&self, key: &str) -> Result<Bytes, StoreError> {
            encode(key, self)
        }
    }
}

impl Turn<'_> {
    /// The API.
    pub(crate) fn held(&self) -> &Held {
        self.held.as_deref().expect("it is there until the turn ends")
    }

    fn held_mut(&mut self) -> &mut Held {
        self.held.as_deref_mut().expect("it is there until the turn ends")
    }

    fn id(&self) -> &str {
        &self.held().record.api.api_id
    }

    fn part_key(&self, kind: Kind, id: &str) -> String {
        let record = &self.held().record;
        key::kind(&record.api.api_id, record.generation, kind) + id
    }

    async fn write(&mut self, key: &str, record: &impl Serialize) -> Result<(), StoreError> {
        self.is_sound = false;
        self.store.write(key, record).await?;
        self.is_sound = true;
        Ok(())
    }

    async fn delete_key(&mut self, key: &str) -> Result<(), StoreError> {
        self.is_sound = false;
        self.store.delete(key).await?;
        self.is_sound = true;
        Ok(())
    }

    /// The API as it stands.
    pub(crate) fn current(&mut self) -> Arc<Content> {
        let held = self.held_mut();
        let made = held.current.take().unwrap_or_else(|| {
            let api = &held.record.api;
            Arc::new(Content {
                routes: held.routes.values().cloned().collect(),
                integrations: held.integrations.clone(),
                authorizers: held.authorizers.clone(),
                cors: api.cors_configuration.clone(),
                is_endpoint_disabled: api.disable_execute_api_endpoint,
            })
        });
        held.current = Some(Arc::clone(&made));
        made
    }

    /// What a deployment froze; `None`: there is no such deployment.
    pub(crate) async fn frozen(&mut self, deployment_id: &str) -> Result<Option<Content>, StoreError> {
        let Some(record) = self.held().deployments.get(deployment_id).cloned() else {
            return Ok(None);
        };
        match &record.frozen {
            Some(head) => Ok(Some(frozen::read(self.store, self.id(), deployment_id, head).await?)),
            None => Ok(Some(self.current().as_ref().clone())),
        }
    }

    /// Writes the API's own record.
    pub(crate) async fn put_api(&mut self, record: ApiRecord) -> Result<(), StoreError> {
        self.write(&key::api(&record.api.api_id), &record).await?;
        let held = self.held_mut();
        held.record = record;
        held.current = None;
        Ok(())
    }

    /// Writes a route, new or changed.
    pub(crate) async fn put_route(&mut self, route: Route) -> Result<(), StoreError> {
        let key = self.part_key(Kind::Route, &route.route_id);
        self.write(&key, &route).await?;
        let held = self.held_mut();
        held.current = None;
        held.keys.insert(route.route_key.clone(), route.route_id.clone());
        let (id, route_key) = (route.route_id.clone(), route.route_key.clone());
        let before = held.routes.insert(id, Arc::new(route));
        if let Some(before) = before
            && before.route_key != route_key
        {
            held.keys.remove(&before.route_key);
        }
        Ok(())
    }

    pub(crate) async fn delete_route(&mut self, id: &str) -> Result<(), StoreError> {
        let key = self.part_key(Kind::Route, id);
        self.delete_key(&key).await?;
        let held = self.held_mut();
        held.current = None;
        if let Some(route) = held.routes.remove(id) {
            held.keys.remove(&route.route_key);
        }
        Ok(())
    }

    /// Writes an integration, new or changed.
    pub(crate) async fn put_integration(&mut self, integration: Integration) -> Result<(), StoreError> {
        let key = self.part_key(Kind::Integration, &integration.integration_id);
        self.write(&key, &integration).await?;
        let held = self.held_mut();
        held.current = None;
        let id = integration.integration_id.clone();
        held.integrations.insert(id, Arc::new(integration));
        Ok(())
    }

    pub(crate) async fn delete_integration(&mut self, id: &str) -> Result<(), StoreError> {
        let key = self.part_key(Kind::Integration, id);
        self.delete_key(&key).await?;
        let held = self.held_mut();
        held.current = None;
        held.integrations.remove(id);
        Ok(())
    }

    /// Writes an authorizer, new or changed.
    pub(crate) async fn put_authorizer(&mut self, authorizer: Authorizer) -> Result<(), StoreError> {
        let key = self.part_key(Kind::Authorizer, &authorizer.authorizer_id);
        self.write(&key, &authorizer).await?;
        let held = self.held_mut();
        held.current = None;
        let id = authorizer.authorizer_id.clone();
        held.authorizers.insert(id, Arc::new(authorizer));
        Ok(())
    }

    pub(crate) async fn delete_authorizer(&mut self, id: &str) -> Result<(), StoreError> {
        let key = self.part_key(Kind::Authorizer, id);
        self.delete_key(&key).await?;
        let held = self.held_mut();
        held.current = None;
        held.authorizers.remove(id);
        Ok(())
    }

    /// Writes a stage, new or changed, with the automatic deployment that it serves.
    pub(crate) async fn put_stage(&mut self, stage: Stage) -> Result<(), StoreError> {
        let served = stage.deployment_id.as_ref();
        let served = served.and_then(|id| self.held().deployments.get(id));
        let automatic = served.filter(|record| !record.is_frozen());
        let record = StageRecord {
            automatic: automatic.map(|record| record.deployment.clone()),
            stage,
        };
        let key = key::stage(self.id(), &record.stage.stage_name);
        self.write(&key, &record).await?;
        let name = record.stage.stage_name.clone();
        self.held_mut().stages.insert(name, Arc::new(record.stage));
        Ok(())
    }

    pub(crate) async fn delete_stage(&mut self, name: &str) -> Result<(), StoreError> {
        let key = key::stage(self.id(), name);
        self.delete_key(&key).await?;
        let held = self.held_mut();
        held.stages.remove(name);
        held.forget_unserved();
        Ok(())
    }

    /// Freezes the API as it stands as a new deployment.
    pub(crate) async fn freeze(&mut self, deployment: Deployment) -> Result<(), StoreError> {
        let content = self.current();
        self.is_sound = false;
        let head = frozen::write(self.store, self.id(), &deployment.deployment_id, &content).await?;
        let record = DeploymentRecord {
            deployment,
            frozen: Some(head),
        };
        self.put_deployment(record).await
    }

    /// Makes sure that a deployment stays as it is, if it does not yet.
    pub(crate) async fn keep_deployment(&mut self, id: &str) -> Result<(), StoreError> {
        match self.held().deployments.get(id) {
            Some(record) if !record.is_frozen() => {
                let deployment = record.deployment.clone();
                self.freeze(deployment).await
            }
            _ => Ok(()),
        }
    }

    /// Writes a deployment: its record, or those of the stages that serve it.
    pub(crate) async fn put_deployment(&mut self, record: DeploymentRecord) -> Result<(), StoreError> {
        let id = record.deployment.deployment_id.clone();
        if record.is_frozen() {
            self.write(&key::deployment(self.id(), &id), &record).await?;
            self.held_mut().deployments.insert(id, Arc::new(record));
            return Ok(());
        }
        let held = self.held_mut();
        let serves = |stage: &&Arc<Stage>| stage.deployment_id.as_ref() == Some(&id);
        let stages: Vec<Stage> = held.stages.values().filter(serves).map(|s| Stage::clone(s)).collect();
        held.deployments.insert(id, Arc::new(record));
        for stage in stages {
            self.put_stage(stage).await?;
        }
        Ok(())
    }

    pub(crate) async fn delete_deployment(&mut self, id: &str) -> Result<(), StoreError> {
        let api_id = self.id().to_owned();
        self.delete_key(&key::deployment(&api_id, id)).await?;
        self.held_mut().deployments.remove(id);
        self.store.clear(&key::pieces(&api_id, id)).await
    }

    /// Begins a new automatic deployment and leads the stages to it that deploy automatically, once there are routes.
    pub(crate) async fn auto_deploy(&mut self, next: &AutoDeployment) -> Result<(), StoreError> {
        let held = self.held();
        let stages: Vec<Arc<Stage>> = held.stages.values().filter(|s| s.auto_deploy).cloned().collect();
        let has_deployed = stages.iter().any(|stage| stage.deployment_id.is_some());
        if stages.is_empty() || (held.routes.is_empty() && !has_deployed) {
            return Ok(());
        }
        let record = DeploymentRecord::automatic(Deployment {
            deployment_id: next.id.clone(),
            auto_deployed: true,
            created_date: next.now,
            ..Deployment::default()
        });
        self.held_mut().deployments.insert(next.id.clone(), Arc::new(record));
        for stage in stages {
            let mut stage = Stage::clone(&stage);
            serve(&mut stage, next);
            self.put_stage(stage).await?;
        }
        self.held_mut().forget_unserved();
        Ok(())
    }

    /// Replaces all routes, integrations and authorizers and the API's own record by one write.
    pub(crate) async fn replace(&mut self, mut record: ApiRecord, parts: Parts) -> Result<(), StoreError> {
        let before = self.held().record.generation;
        record.generation = before.wrapping_add(1);
        let api_id = record.api.api_id.clone();
        self.is_sound = false;
        self.store.clear(&key::generation(&api_id, record.generation)).await?;
        let entries = part_entries(&api_id, record.generation, &parts)?;
        self.store.write_all(entries).await?;
        self.write(&key::api(&api_id), &record).await?;
        let held = self.held_mut();
        held.record = record;
        held.current = None;
        held.keys = parts
            .routes
            .iter()
            .map(|route| (route.route_key.clone(), route.route_id.clone()))
            .collect();
        let routes = parts.routes.into_iter();
        held.routes = routes.map(|one| (one.route_id.clone(), Arc::new(one))).collect();
        let integrations = parts.integrations.into_iter();
        held.integrations = integrations
            .map(|one| (one.integration_id.clone(), Arc::new(one)))
            .collect();
        let authorizers = parts.authorizers.into_iter();
        held.authorizers = authorizers
            .map(|one| (one.authorizer_id.clone(), Arc::new(one)))
            .collect();
        self.store.clear(&key::generation(&api_id, before)).await
    }

    /// Deletes the API with all that it has.
    pub(crate) async fn delete_api(mut self) -> Result<(), StoreError> {
        let api_id = self.id().to_owned();
        self.is_sound = false;
        self.store.delete(&key::api(&api_id)).await?;
        self.held = None;
        self.store.notify(Changed::Api(&api_id));
        self.store.clear(&key::parts(&api_id)).await
    }

    /// Tells of the change. Call it last.
    pub(crate) fn notify(&self) {
        self.store.notify(Changed::Api(self.id()));
    }
}

/// Leads a stage to an automatic deployment.
pub(crate) fn serve(stage: &mut Stage, next: &AutoDeployment) {
    stage.deployment_id = Some(next.id.clone());
    stage.last_deployment_status_message =
        Some(format!("Successfully deployed stage with deployment ID '{}'", next.id));
    stage.last_updated_date = next.now;
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.is_sound
            && let Some(held) = self.held.take()
        {
            self.store.recent.lock().keep(held);
        }
    }
}
