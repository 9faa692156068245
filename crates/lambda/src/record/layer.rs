//! A version of a layer.

use ephyra_core::arn::Place;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Package, Policy, sha256_base64};
use crate::time;

/// A layer version's record; only its policy changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub name: String,
    pub number: u64,
    pub package: Package,
    pub description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtimes: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architectures: Option<Vec<String>>,
    pub created_ms: i64,
    #[serde(default, skip_serializing_if = "Policy::is_empty")]
    pub policy: Policy,
}

impl LayerRecord {
    /// Its ARN.
    pub(crate) fn arn(&self, place: &Place) -> String {
        place.layer_arn(&self.name, Some(self.number))
    }

    /// As lists show it.
    pub(crate) fn describe_brief(&self, place: &Place) -> Value {
        let mut document = json!({
            "LayerVersionArn": self.arn(place),
            "Version": self.number,
            "Description": self.description,
            "CreatedDate": time::iso_millis(self.created_ms),
        });
        if let Some(runtimes) = &self.runtimes {
            document["CompatibleRuntimes"] = json!(runtimes);
        }
        if let Some(architectures) = &self.architectures {
            document["CompatibleArchitectures"] = json!(architectures);
        }
        if let Some(license) = &self.license {
            document["LicenseInfo"] = json!(license);
        }
        document
    }

    /// With its content, downloadable at `location`.
    pub(crate) fn describe(&self, place: &Place, location: &str) -> Value {
        let mut document = self.describe_brief(place);
        document["LayerArn"] = json!(place.layer_arn(&self.name, None));
        document["Content"] = json!({
            "Location": location,
            "CodeSha256": sha256_base64(self.package.digest),
            "CodeSize": self.package.zip_bytes,
        });
        document
    }

    /// Whether it is for this runtime and architecture, where one is asked for.
    pub(crate) fn is_for(&self, runtime: Option<&str>, architecture: Option<&str>) -> bool {
        let holds = |listed: &Option<Vec<String>>, wanted: Option<&str>| {
            wanted.is_none_or(|wanted| listed.iter().flatten().any(|one| one == wanted))
        };
        holds(&self.runtimes, runtime) && holds(&self.architectures, architecture)
    }
}
