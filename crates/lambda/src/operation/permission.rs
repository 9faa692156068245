//! What the operations on policies share: finding whose policy it is, and writing it back.

use ephyra_core::id::{Qualifier, RequestId, Version};
use ephyra_wire::error::ApiError;

use crate::error;
use crate::lambda::Call;
use crate::ledger::Stored;
use crate::name::Named;
use crate::record::{AliasRecord, Attached, FunctionRecord, VersionRecord};

/// The record that something is attached to: a function's, a version's or an alias's.
pub(super) enum Owner {
    Function(Stored<FunctionRecord>),
    Version(Box<FunctionRecord>, u64, Stored<VersionRecord>),
    Alias(Box<FunctionRecord>, Stored<AliasRecord>),
}

impl Owner {
    /// Finds the record that a name and its qualifier mean; `None` when there is none. `$LATEST` is the function.
    pub(super) async fn find(call: &Call, named: &Named) -> Result<Option<Self>, ApiError> {
        let inner = call.inner();
        let Some(function) = inner.function(named.function()).await? else {
            return Ok(None);
        };
        let name = &function.record.name;
        Ok(match named.parsed_qualifier() {
            Err(()) => None,
            Ok(None | Some(Qualifier::Version(Version::Latest))) => Some(Self::Function(function)),
            Ok(Some(Qualifier::Version(Version::Number(number)))) => inner
                .version(name, number)
                .await?
                .map(|version| Self::Version(Box::new(function.record), number, version)),
            Ok(Some(Qualifier::Alias(alias))) => inner
                .alias(name, &alias)
                .await?
                .map(|alias| Self::Alias(Box::new(function.record), alias)),
        })
    }

    pub(super) fn function(&self) -> &FunctionRecord {
        match self {
            Self::Function(stored) => &stored.record,
            Self::Version(function, ..) | Self::Alias(function, _) => function,
        }
    }

    pub(super) const fn attached(&self) -> &Attached {
        match self {
            Self::Function(stored) => &stored.record.latest.attached,
            Self::Version(_, _, stored) => &stored.record.attached,
            Self::Alias(_, stored) => &stored.record.attached,
        }
    }

    pub(super) const fn attached_mut(&mut self) -> &mut Attached {
        match self {
            Self::Function(stored) => &mut stored.record.latest.attached,
            Self::Version(_, _, stored) => &mut stored.record.attached,
            Self::Alias(_, stored) => &mut stored.record.attached,
        }
    }

    /// Gives the record a new `RevisionId`.
    pub(super) fn touch(&mut self) {
        match self {
            Self::Function(stored) => stored.record.latest.touch(),
            Self::Version(_, _, stored) => stored.record.touch(),
            Self::Alias(_, stored) => stored.record.revision_id = RequestId::new(),
        }
    }

    /// Writes the record back.
    pub(super) async fn write(&self, call: &Call) -> Result<(), ApiError> {
        let inner = call.inner();
        let name = &self.function().name;
        match self {
            Self::Function(stored) => inner.ledger.update_function(stored).await,
            Self::Version(_, number, stored) => inner.ledger.update_version(name, *number, stored).await,
            Self::Alias(_, stored) => inner.ledger.update_alias(name, stored).await,
        }
        .map_err(error::store)?;
        inner.cache.forget(name.as_str());
        Ok(())
    }
}
