//! A function's configuration: what `UpdateFunctionConfiguration` changes.

use ephyra_core::digest::Digest;
use ephyra_core::revision::{LogFormat, Logging};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::pairs::Pairs;

/// A package that is stored and unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Package {
    /// Its name.
    pub digest: Digest,
    /// The zip's size in bytes.
    pub zip_bytes: u64,
    /// The unpacked size in bytes.
    pub unpacked_bytes: u64,
}

/// A layer version as a function uses it. It stays usable after the layer version was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerUse {
    /// The layer version's ARN.
    pub arn: String,
    /// Its package.
    pub package: Package,
}

/// The configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    pub runtime: String,
    pub handler: String,
    pub role: String,
    pub description: String,
    pub timeout_seconds: u32,
    pub memory_mb: u32,
    pub ephemeral_storage_mb: u32,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// Absent when the caller never gave an `Environment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variables: Option<Pairs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_arn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_arn: Option<String>,
    /// `Active` or `PassThrough`.
    pub tracing_mode: String,
    /// `None` or `PublishedVersions`.
    pub snap_start: String,
    /// Whether an (empty) `VpcConfig` was given, which is then shown.
    #[serde(default)]
    pub has_vpc_config: bool,
    #[serde(default)]
    pub layers: Vec<LayerUse>,
    pub logging: Logging,
}

impl Config {
    /// Whether published versions have a template.
    pub(crate) fn has_snap_start(&self) -> bool {
        self.snap_start == "PublishedVersions"
    }

    /// The members of `FunctionConfiguration` that come from here.
    pub(crate) fn describe(&self, document: &mut Map<String, Value>, has_template: bool) {
        let mut set = |name: &str, value: Value| {
            document.insert(name.to_owned(), value);
        };
        set("Runtime", json!(self.runtime));
        set("Handler", json!(self.handler));
        set("Role", json!(self.role));
        set("Description", json!(self.description));
        set("Timeout", json!(self.timeout_seconds));
        set("MemorySize", json!(self.memory_mb));
        set("EphemeralStorage", json!({ "Size": self.ephemeral_storage_mb }));
        set("Architectures", json!([self.architecture]));
        set("PackageType", json!("Zip"));
        set("TracingConfig", json!({ "Mode": self.tracing_mode }));
        set(
            "SnapStart",
            json!({ "ApplyOn": self.snap_start, "OptimizationStatus": if has_template { "On" } else { "Off" } }),
        );
        set("LoggingConfig", describe_logging(&self.logging));
        if let Some(variables) = &self.variables {
            set("Environment", json!({ "Variables": variables }));
        }
        if let Some(arn) = &self.dead_letter_arn {
            set("DeadLetterConfig", json!({ "TargetArn": arn }));
        }
        if let Some(arn) = &self.kms_key_arn {
            set("KMSKeyArn", json!(arn));
        }
        if self.has_vpc_config {
            set(
                "VpcConfig",
                json!({ "SubnetIds": [], "SecurityGroupIds": [], "VpcId": "", "Ipv6AllowedForDualStack": false }),
            );
        }
        if !self.layers.is_empty() {
            let layers: Vec<Value> = self
                .layers
                .iter()
                .map(|layer| json!({ "Arn": layer.arn, "CodeSize": layer.package.zip_bytes }))
                .collect();
            set("Layers", Value::Array(layers));
        }
    }
}

fn describe_logging(logging: &Logging) -> Value {
    match logging.format {
        LogFormat::Text => json!({ "LogFormat": "Text", "LogGroup": logging.group }),
        LogFormat::Json => json!({
            "LogFormat": "JSON",
            "ApplicationLogLevel": logging.application_level,
            "SystemLogLevel": logging.system_level,
            "LogGroup": logging.group,
        }),
    }
}
