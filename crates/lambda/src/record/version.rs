//! A version of a function: `$LATEST`, or a published one that never changes.

use ephyra_core::arn::Place;
use ephyra_core::compute::EventConfig;
use ephyra_core::digest::Digest;
use ephyra_core::id::{FunctionName, RequestId, RevisionId, Version};
use ephyra_core::limits;
use ephyra_core::revision::Revision;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Config, Package, Policy, UrlConfig};
use crate::time;

/// Where a version is on its way to being usable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    /// Its code is being made durable.
    Pending,
    /// It can run.
    Active,
    /// It cannot, for this reason.
    Failed(String),
}

/// How the last change went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Update {
    InProgress,
    Successful,
    Failed(String),
}

/// `PutFunctionEventInvokeConfig`'s members; those not given stay absent and mean the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventInvoke {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_success: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<String>,
    pub modified_ms: i64,
}

impl EventInvoke {
    /// The configuration of a qualifier that may have none.
    pub(crate) fn effective(config: Option<&Self>) -> EventConfig {
        EventConfig {
            max_retries: config
                .and_then(|config| config.max_retries)
                .unwrap_or(limits::EVENT_RETRIES),
            max_age_seconds: config
                .and_then(|config| config.max_age_seconds)
                .unwrap_or(*limits::EVENT_AGE_SECONDS.end()),
        }
    }
}

/// Environments to be kept started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Provisioned {
    pub count: u32,
    pub modified_ms: i64,
}

/// `PutRuntimeManagementConfig`'s members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RuntimeUpdate {
    /// `Auto`, `Manual` or `FunctionUpdate`.
    pub on: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_arn: Option<String>,
}

/// What is attached to a version or an alias beside what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attached {
    #[serde(default, skip_serializing_if = "Policy::is_empty")]
    pub policy: Policy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<EventInvoke>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<Provisioned>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_update: Option<RuntimeUpdate>,
    /// Never a published version's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<UrlConfig>,
}

/// A version's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionRecord {
    pub version: Version,
    pub config: Config,
    pub code: Package,
    /// Names what runs; another after each change of code or configuration.
    pub revision: RevisionId,
    /// What clients see as `RevisionId`; another after each change of anything, state included.
    pub revision_id: RequestId,
    pub modified_ms: i64,
    pub state: State,
    /// `StateReasonCode` or `LastUpdateStatusReasonCode` of what failed; `InternalError` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_code: Option<String>,
    /// Absent until the version was active once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Update>,
    #[serde(default)]
    pub attached: Attached,
}

/// How much of a version an answer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// As in `GetFunction`.
    Full,
    /// As in lists: without state and runtime version.
    Brief,
}

impl VersionRecord {
    /// What is to run.
    pub(crate) fn to_revision(&self, function: &FunctionName, place: &Place) -> Revision {
        Revision {
            id: self.revision,
            function: function.clone(),
            version: self.version,
            function_arn: place.function_arn(function, None),
            runtime: self.config.runtime.clone(),
            handler: self.config.handler.clone(),
            code: self.code.digest,
            layers: self.config.layers.iter().map(|layer| layer.package.digest).collect(),
            memory_mb: self.config.memory_mb,
            ephemeral_storage_mb: self.config.ephemeral_storage_mb,
            timeout_seconds: self.config.timeout_seconds,
            variables: self
                .config
                .variables
                .as_ref()
                .map(|pairs| pairs.0.clone())
                .unwrap_or_default(),
            logging: self.config.logging.clone(),
        }
    }

    /// The packages it uses.
    pub(crate) fn packages(&self) -> impl Iterator<Item = Package> + '_ {
        std::iter::once(self.code).chain(self.config.layers.iter().map(|layer| layer.package))
    }

    /// A new `RevisionId`, after any change.
    pub(crate) fn touch(&mut self) {
        self.revision_id = RequestId::new();
    }

    /// Whether a change or the first start is still under way.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.state == State::Pending || self.update == Some(Update::InProgress)
    }

    /// Whether a template of it is kept: an environment that is initialised ahead.
    pub(crate) fn has_template(&self) -> bool {
        self.version != Version::Latest && self.config.has_snap_start()
    }

    /// Whether it waits for its first template before it is usable.
    pub(crate) fn awaits_template(&self) -> bool {
        self.state == State::Pending && self.has_template()
    }

    /// Ends what is under way: the function failed, for this reason.
    pub(crate) fn reject(&mut self, code: &str, reason: String) {
        self.state = State::Failed(reason);
        self.failure_code = Some(code.to_owned());
        self.touch();
    }

    /// Ends what is under way, well.
    pub(crate) fn settle(&mut self) {
        self.state = State::Active;
        self.update = Some(Update::Successful);
        self.touch();
    }

    /// Ends what is under way, badly.
    pub(crate) fn fail(&mut self, code: &str, reason: &str) {
        self.failure_code = Some(code.to_owned());
        if self.state == State::Pending {
            self.state = State::Failed(reason.to_owned());
        } else {
            self.update = Some(Update::Failed(reason.to_owned()));
        }
        self.touch();
    }

    /// The document that clients see; `arn` with the qualifier that is to be shown.
    pub(crate) fn describe(
        &self,
        function: &FunctionName,
        arn: &str,
        place: &Place,
        detail: Detail,
    ) -> Map<String, Value> {
        let mut document = Map::new();
        let has_template = self.has_template() && !matches!(self.state, State::Failed(_));
        self.config.describe(&mut document, has_template);
        let mut set = |name: &str, value: Value| {
            document.insert(name.to_owned(), value);
        };
        set("FunctionName", json!(function));
        set("FunctionArn", json!(arn));
        set("Version", json!(self.version));
        set("CodeSize", json!(self.code.zip_bytes));
        set("CodeSha256", json!(sha256_base64(self.code.digest)));
        set("LastModified", json!(time::iso_millis(self.modified_ms)));
        set("RevisionId", json!(self.revision_id));
        if detail == Detail::Brief {
            return document;
        }
        set(
            "RuntimeVersionConfig",
            json!({ "RuntimeVersionArn": runtime_version_arn(&self.config.runtime, place) }),
        );
        match &self.state {
            State::Active => set("State", json!("Active")),
            State::Pending => {
                set("State", json!("Pending"));
                set("StateReason", json!("The function is being created."));
                set("StateReasonCode", json!("Creating"));
            }
            State::Failed(reason) => {
                set("State", json!("Failed"));
                set("StateReason", json!(reason));
                let code = self.failure_code.as_deref().unwrap_or("InternalError");
                set("StateReasonCode", json!(code));
            }
        }
        match &self.update {
            None => {}
            Some(Update::Successful) => set("LastUpdateStatus", json!("Successful")),
            Some(Update::InProgress) => {
                set("LastUpdateStatus", json!("InProgress"));
                set("LastUpdateStatusReason", json!("The function is being created."));
                set("LastUpdateStatusReasonCode", json!("Creating"));
            }
            Some(Update::Failed(reason)) => {
                set("LastUpdateStatus", json!("Failed"));
                set("LastUpdateStatusReason", json!(reason));
                let code = self.failure_code.as_deref().unwrap_or("InternalError");
                set("LastUpdateStatusReasonCode", json!(code));
            }
        }
        document
    }
}

/// A digest as `CodeSha256` shows it.
pub(crate) fn sha256_base64(digest: Digest) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(digest.as_bytes())
}

/// The ARN of a runtime's version: ours is told by the runtime's name alone.
pub(crate) fn runtime_version_arn(runtime: &str, place: &Place) -> String {
    format!(
        "arn:aws:lambda:{}::runtime:{}",
        place.region,
        Digest::of(runtime.as_bytes())
    )
}
