use std::collections::BTreeMap;

use bytes::Bytes;
use ephyra_core::id::{FunctionName, RequestId, RevisionId, Version};
use ephyra_core::limits;
use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use ephyra_wire::validation::Violations;
use serde::Deserialize;
use serde_json::Value;

use super::{INLINE_BYTES, created, read_large, unblocked};
use crate::error;
use crate::lambda::{Call, Inner, Kept};
use crate::name::{self, Shape};
use crate::package;
use crate::record::{Attached, Config, Detail, FunctionRecord, LayerUse, Package, Published, State, VersionRecord};
use crate::settings::{self, Settings};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    function_name: Option<String>,
    code: Option<Code>,
    publish: Option<bool>,
    publish_to: Option<Value>,
    package_type: Option<String>,
    architectures: Option<Vec<String>>,
    tags: Option<BTreeMap<String, String>>,
    code_signing_config_arn: Option<String>,
    #[serde(flatten)]
    settings: Settings,
}

/// Where code comes from, as `CreateFunction`, `UpdateFunctionCode` and `PublishLayerVersion` say it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Code {
    zip_file: Option<String>,
    s3_bucket: Option<Value>,
    s3_key: Option<Value>,
    s3_object_version: Option<Value>,
    image_uri: Option<Value>,
}

impl Code {
    /// Whether it names a container image.
    pub(super) const fn is_image(&self) -> bool {
        self.image_uri.is_some()
    }

    /// Takes the zip out, or says why there is none to take.
    pub(super) async fn into_zip(self) -> Result<Bytes, ApiError> {
        let has_s3 = self.s3_bucket.is_some() || self.s3_key.is_some() || self.s3_object_version.is_some();
        if let Some(zip) = self.zip_file {
            if has_s3 || self.image_uri.is_some() {
                return Err(error::invalid_parameter(
                    "Please do not provide other FunctionCode parameters when providing a ZipFile.",
                ));
            }
            if zip.len() <= INLINE_BYTES {
                return package::decode(&zip);
            }
            return unblocked(move || package::decode(&zip)).await;
        }
        if self.image_uri.is_some() {
            return Err(images_are_absent());
        }
        if has_s3 {
            return Err(error::invalid_parameter(
                "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket \
                 does not exist. (This version of Ephyra has no S3 service yet: send the package as ZipFile.)",
            ));
        }
        Err(error::invalid_parameter("Please provide a source for function code."))
    }
}

fn images_are_absent() -> ApiError {
    error::invalid_parameter("Container images are not available in this version of Ephyra: use PackageType Zip.")
}

/// Creates a function in state Pending; it becomes Active in the background.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let input: Input = read_large(&call.request.body).await?;
    let mut violations = Violations::default();
    let named = match &input.function_name {
        Some(text) => Some(name::check(&mut violations, text, None, Shape::Write, inner.place())),
        None => {
            violations.add_null("functionName");
            None
        }
    };
    if input.settings.role.is_none() {
        violations.add_null("role");
    }
    if input.code.is_none() {
        violations.add_null("code");
    }
    if let Some(package_type) = &input.package_type {
        violations.check_enum("packageType", package_type, &["Image", "Zip"]);
    }
    input.settings.check(&mut violations);
    let given = input.architectures.as_ref();
    let architecture = settings::check_architectures(&mut violations, given, &inner.options.architecture);
    violations.finish()?;
    // Both were found, or the violations have answered.
    let (Some(named), Some(code)) = (named, input.code) else {
        return Err(error::service("The request could not be read."));
    };
    let name = function_name(&named?.name)?;

    if input.package_type.as_deref() == Some("Image") {
        return Err(images_are_absent());
    }
    if input.settings.runtime.is_none() || input.settings.handler.is_none() {
        return Err(error::invalid_parameter(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
        ));
    }
    let architecture = architecture?;
    input
        .settings
        .check_possible(&call.request.body, &inner.options.runtimes)?;
    refuse_absent("PublishTo", input.publish_to.is_some())?;
    refuse_absent("CodeSigningConfigArn", input.code_signing_config_arn.is_some())?;
    let tags = input.tags.unwrap_or_default();
    settings::check_tags(&tags)?;
    let zip = code.into_zip().await?;

    let _turn = inner.turn(name.as_str()).await;
    if inner.function(Some(name.clone())).await?.is_some() {
        return Err(error::conflict(format!("Function already exist: {name}")));
    }
    let mut config = settings::defaults(&name, &architecture);
    let mut kept = Kept::none(call.lambda.clone());
    let layers = match &input.settings.layers {
        Some(arns) => Some(use_layers(inner, arns, &mut kept).await?),
        None => None,
    };
    input.settings.apply(&mut config, layers)?;
    check_storage(inner, zip.len() as u64)?;
    let code = inner.depot.keep(zip).await?;
    kept.add(code);
    check_unpacked(code, &config)?;
    let mut record = new_function(inner, name, config, code, tags);
    if input.publish == Some(true) {
        publish_first(inner, &mut record).await?;
    }
    inner.ledger.create_function(&record).await.map_err(error::store)?;
    kept.hand_over();
    inner.totals.add_function();
    inner.totals.add_code(code.zip_bytes);
    call.lambda.settle_later(&record.name);
    let arn = inner.place().function_arn(&record.name, None);
    let mut document = record.latest.describe(&record.name, &arn, inner.place(), Detail::Full);
    if let Some(published) = record.published {
        document.insert("Version".to_owned(), published.number.to_string().into());
    }
    Ok(created(&document))
}

/// The name of a function that is to be made.
fn function_name(text: &str) -> Result<FunctionName, ApiError> {
    text.parse().map_err(|_| {
        let mut violations = Violations::default();
        violations.check_length("functionName", text, 1, 64);
        match violations.finish() {
            Err(too_long) => error::invalid_parameter(too_long.message),
            Ok(()) => error::invalid_parameter(format!("{text} cannot be the name of a function.")),
        }
    })
}

fn new_function(
    inner: &Inner,
    name: FunctionName,
    config: Config,
    code: Package,
    tags: BTreeMap<String, String>,
) -> FunctionRecord {
    let latest = VersionRecord {
        version: Version::Latest,
        config,
        code,
        revision: RevisionId::new(),
        revision_id: RequestId::new(),
        modified_ms: inner.now_ms(),
        state: State::Pending,
        failure_code: None,
        update: None,
        attached: Attached::default(),
    };
    FunctionRecord {
        name,
        latest,
        last_version: 0,
        published: None,
        tags,
        reserved: None,
        allows_recursion: false,
    }
}

/// Writes the version that is published with the function, before the function that counts it.
async fn publish_first(inner: &Inner, record: &mut FunctionRecord) -> Result<(), ApiError> {
    let number = 1;
    let version = as_version(record, number);
    inner
        .ledger
        .create_version(&record.name, number, &version)
        .await
        .map_err(error::store)?;
    inner.share(&version);
    inner.totals.add_code(version.code.zip_bytes);
    record.last_version = number;
    record.published = Some(Published {
        number,
        fingerprint: record.fingerprint(),
    });
    Ok(())
}

/// `$LATEST` as a published version: the same code and configuration, and nothing attached.
pub(super) fn as_version(record: &FunctionRecord, number: u64) -> VersionRecord {
    VersionRecord {
        version: Version::Number(number),
        revision: RevisionId::new(),
        revision_id: RequestId::new(),
        attached: Attached::default(),
        ..record.latest.clone()
    }
}

/// Refuses a member of AWS's that is given and means something that is not there.
pub(super) fn refuse_absent(member: &str, is_given: bool) -> Result<(), ApiError> {
    if is_given {
        return Err(error::invalid_parameter(format!(
            "{member} is not available in this version of Ephyra."
        )));
    }
    Ok(())
}

/// Refuses a zip that the account has no room for.
pub(super) fn check_storage(inner: &Inner, bytes: u64) -> Result<(), ApiError> {
    if inner.totals.code_bytes().saturating_add(bytes) > limits::CODE_STORAGE_BYTES {
        return Err(ApiError::new(
            http::StatusCode::BAD_REQUEST,
            "CodeStorageExceededException",
            "Code storage limit exceeded.",
        )
        .with("Type", "User"));
    }
    Ok(())
}

/// Refuses code that is too large together with its layers.
pub(crate) fn check_unpacked(code: Package, config: &Config) -> Result<(), ApiError> {
    let layers = config.layers.iter().map(|layer| layer.package.unpacked_bytes);
    let sum = layers.fold(code.unpacked_bytes, u64::saturating_add);
    if sum > limits::UNZIPPED_BYTES {
        return Err(error::invalid_parameter(format!(
            "Function code combined with layers exceeds the maximum allowed size of {} bytes. The actual size is {sum} \
             bytes.",
            limits::UNZIPPED_BYTES
        )));
    }
    Ok(())
}

/// Finds the layer versions that a function is to use, and counts their packages for it.
pub(super) async fn use_layers(inner: &Inner, arns: &[String], kept: &mut Kept) -> Result<Vec<LayerUse>, ApiError> {
    if arns.len() > limits::LAYERS {
        return Err(error::invalid_parameter(format!(
            "Cannot reference more than {} layers.",
            limits::LAYERS
        )));
    }
    let _no_deletion = inner.layers.read().await;
    let place = inner.place();
    let mut found: Vec<(String, LayerUse)> = Vec::new();
    for arn in arns {
        let parts: Vec<&str> = arn.split(':').collect();
        let missing = || error::invalid_parameter(format!("Layer version {arn} does not exist."));
        let ["arn", _, "lambda", region, account, "layer", name, number] = parts.as_slice() else {
            return Err(missing());
        };
        if *region != place.region.as_str() {
            return Err(error::invalid_parameter(format!(
                "Layers are not in the same region as the function. Layers are expected to be in region {}.",
                place.region
            )));
        }
        if let Some((_, other)) = found.iter().find(|(other, _)| other == name) {
            return Err(error::invalid_parameter(format!(
                "Two different versions of the same layer are not allowed to be referenced in the same function. {} \
                 and {arn} are versions of the same layer.",
                other.arn
            )));
        }
        let number: u64 = number.parse().map_err(|_| missing())?;
        if *account != place.account.as_str() {
            return Err(missing());
        }
        let layer = inner.ledger.layer(name, number).await.map_err(error::store)?;
        let layer = layer.ok_or_else(missing)?.record;
        inner.depot.share(layer.package);
        kept.add(layer.package);
        found.push((
            (*name).to_owned(),
            LayerUse {
                arn: arn.clone(),
                package: layer.package,
            },
        ));
    }
    Ok(found.into_iter().map(|(_, layer)| layer).collect())
}
