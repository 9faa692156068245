//! Finds what a name means: from the cache, or from the records.

use std::sync::Arc;

use ephyra_core::compute::{Resolve, ResolveError, Resolved};
use ephyra_core::id::{FunctionName, Qualifier, Version};
use ephyra_store::StoreError;
use futures_util::future::BoxFuture;

use crate::cache::Meaning;
use crate::lambda::{Inner, Lambda};
use crate::record::{EventInvoke, FunctionRecord, State, VersionRecord};

/// Why a name means nothing that can run.
#[derive(Debug)]
pub(crate) enum Miss {
    /// No such function, version or alias.
    Absent,
    /// The function is `Pending` or `Failed`.
    State(&'static str),
    /// The records could not be read.
    Store(StoreError),
}

impl From<StoreError> for Miss {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Inner {
    /// What a name and qualifier mean; both as text, which need not be valid.
    pub(crate) async fn meaning(&self, name: &str, qualifier: Option<&str>) -> Result<Arc<Meaning>, Miss> {
        match self.cache.get(name, qualifier) {
            Some(meaning) => Ok(meaning),
            None => Box::pin(self.read_meaning(name, qualifier)).await,
        }
    }

    async fn read_meaning(&self, name: &str, qualifier: Option<&str>) -> Result<Arc<Meaning>, Miss> {
        let before = self.cache.before();
        let function: FunctionName = name.parse().map_err(|_| Miss::Absent)?;
        let parsed: Option<Qualifier> = qualifier.map(str::parse).transpose().map_err(|_| Miss::Absent)?;
        let record = self.ledger.function(&function).await?.ok_or(Miss::Absent)?.record;
        let invoked_arn = self.place().function_arn(&function, parsed.as_ref());
        let meaning = match &parsed {
            Some(Qualifier::Alias(alias)) => {
                let alias = self.ledger.alias(&function, alias).await?.ok_or(Miss::Absent)?.record;
                let version = self.runnable(&record, alias.version).await?;
                let other = match alias.routing {
                    None => None,
                    Some(routing) => {
                        let version = self.runnable(&record, Version::Number(routing.version)).await?;
                        Some((Arc::new(version.to_revision(&function, self.place())), routing.weight))
                    }
                };
                Meaning {
                    invoked_arn,
                    revision: Arc::new(version.to_revision(&function, self.place())),
                    other,
                    events: EventInvoke::effective(alias.attached.events.as_ref()),
                }
            }
            None | Some(Qualifier::Version(_)) => {
                let version = match parsed {
                    Some(Qualifier::Version(version)) => version,
                    _ => Version::Latest,
                };
                let version = self.runnable(&record, version).await?;
                Meaning {
                    invoked_arn,
                    revision: Arc::new(version.to_revision(&function, self.place())),
                    other: None,
                    events: EventInvoke::effective(version.attached.events.as_ref()),
                }
            }
        };
        let meaning = Arc::new(meaning);
        self.cache.put(before, name, qualifier, Arc::clone(&meaning));
        Ok(meaning)
    }

    async fn runnable(&self, function: &FunctionRecord, version: Version) -> Result<VersionRecord, Miss> {
        let qualifier = Qualifier::Version(version);
        let version = self.qualified(function, Some(&qualifier)).await?.ok_or(Miss::Absent)?;
        match version.state {
            State::Active => Ok(version),
            State::Pending => Err(Miss::State("Pending")),
            State::Failed(_) => Err(Miss::State("Failed")),
        }
    }
}

impl Resolve for Lambda {
    fn resolve<'a>(
        &'a self,
        function: &'a FunctionName,
        qualifier: Option<&'a Qualifier>,
    ) -> BoxFuture<'a, Result<Resolved, ResolveError>> {
        Box::pin(async move {
            let inner = &self.inner;
            let text = qualifier.map(ToString::to_string);
            match inner.meaning(function.as_str(), text.as_deref()).await {
                Ok(meaning) => Ok(Resolved {
                    revision: Arc::clone(meaning.choose(&*inner.deps.dice)),
                    invoked_arn: meaning.invoked_arn.clone(),
                    events: meaning.events,
                }),
                Err(Miss::Absent) => Err(ResolveError::NotFound(inner.place().function_arn(function, qualifier))),
                Err(Miss::State(state)) => Err(ResolveError::NotReady {
                    reason: format!("the function is {state}"),
                    retry: state == "Pending",
                }),
                Err(Miss::Store(error)) => Err(ResolveError::Store(Box::new(error))),
            }
        })
    }

    fn is_stopped<'a>(&'a self, function: &'a FunctionName) -> BoxFuture<'a, Result<bool, ResolveError>> {
        Box::pin(async move {
            match self.inner.ledger.function(function).await {
                Ok(Some(function)) => Ok(function.record.reserved == Some(0)),
                Ok(None) => Ok(false),
                Err(error) => Err(ResolveError::Store(Box::new(error))),
            }
        })
    }
}
