//! What is kept: one record for each function (with its `$LATEST`), published version, alias and layer version.
//!
//! Everything that belongs to a named thing (its policy, its event configuration, its provisioned concurrency) is
//! inside that thing's record: one write changes it, and deleting the thing deletes all of it. A function URL is there too;
//! beside it there is the way from its id to that record, which counts for nothing alone.

mod alias;
mod config;
mod function;
mod layer;
mod policy;
mod url;
mod version;

pub(crate) use alias::{AliasRecord, Routing};
pub(crate) use config::{Config, LayerUse, Package};
pub(crate) use function::{FunctionRecord, Published};
pub(crate) use layer::LayerRecord;
pub(crate) use policy::{POLICY_BYTES, Policy, Statement, principal};
pub(crate) use url::{UrlConfig, UrlPlace, is_url_id, url_id};
pub(crate) use version::{
    Attached, Detail, EventInvoke, Provisioned, RuntimeUpdate, State, Update, VersionRecord, sha256_base64,
};
