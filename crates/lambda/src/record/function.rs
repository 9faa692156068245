//! A function: its `$LATEST`, and what belongs to the function as a whole.

use std::collections::BTreeMap;

use ephyra_core::digest::Digest;
use ephyra_core::id::FunctionName;
use serde::{Deserialize, Serialize};

use super::VersionRecord;

/// The last publication, to tell whether anything has changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Published {
    pub number: u64,
    /// [`FunctionRecord::fingerprint`] at that time.
    pub fingerprint: Digest,
}

/// A function's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FunctionRecord {
    pub name: FunctionName,
    pub latest: VersionRecord,
    /// The highest version number ever given; numbers are not given twice.
    #[serde(default)]
    pub last_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<u32>,
    /// Whether recursive loops are allowed rather than terminated.
    #[serde(default)]
    pub allows_recursion: bool,
}

impl FunctionRecord {
    /// Names the code and configuration of `$LATEST` by their content.
    pub(crate) fn fingerprint(&self) -> Digest {
        let content = serde_json::to_vec(&(&self.latest.config, &self.latest.code)).unwrap_or_default();
        Digest::of(&content)
    }
}
