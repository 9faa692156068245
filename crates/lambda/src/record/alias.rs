//! An alias: a name for a version, or for two by weight.

use ephyra_core::arn::Place;
use ephyra_core::id::{AliasName, FunctionName, Qualifier, RequestId, Version};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Attached;

/// The second version of a weighted alias.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Routing {
    pub version: u64,
    /// The share that goes there, 0 to 1.
    pub weight: f64,
}

/// An alias's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AliasRecord {
    pub name: AliasName,
    pub description: String,
    pub version: Version,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,
    pub revision_id: RequestId,
    #[serde(default)]
    pub attached: Attached,
}

impl AliasRecord {
    /// The document that clients see.
    pub(crate) fn describe(&self, function: &FunctionName, place: &Place) -> Value {
        let qualifier = Qualifier::Alias(self.name.clone());
        let mut document = json!({
            "AliasArn": place.function_arn(function, Some(&qualifier)),
            "Name": self.name,
            "FunctionVersion": self.version,
            "Description": self.description,
            "RevisionId": self.revision_id,
        });
        if let Some(routing) = self.routing {
            document["RoutingConfig"] =
                json!({ "AdditionalVersionWeights": { routing.version.to_string(): routing.weight } });
        }
        document
    }

    /// Whether it points at this version, by weight or wholly.
    pub(crate) fn refers_to(&self, number: u64) -> bool {
        self.version == Version::Number(number) || self.routing.is_some_and(|routing| routing.version == number)
    }
}
