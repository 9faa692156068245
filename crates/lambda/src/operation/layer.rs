//! What the operations on layers share: the names of layers and the numbers of their versions.

use ephyra_wire::error::ApiError;
use ephyra_wire::validation::{Constraint, Violations};

use crate::error;
use crate::lambda::{Call, Inner};
use crate::name;
use crate::runtime;
use crate::settings::ARCHITECTURES;

const NAME_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-zA-Z0-9-_]{1,140}|[a-zA-Z0-9-_]{1,140})";

/// The layer that the path names, by name or ARN.
pub(super) fn read_name(call: &Call, mut violations: Violations) -> Result<String, ApiError> {
    let text = call.labels.get("LayerName");
    let is_name = |text: &str| name::is_word(text) && text.len() <= 140;
    let parts: Vec<&str> = text.split(':').collect();
    let found = match parts.as_slice() {
        [only] if is_name(only) => Some((*only, None)),
        ["arn", _, "lambda", region, account, "layer", layer] if name::is_account(account) && is_name(layer) => {
            Some((*layer, Some((*region, *account))))
        }
        _ => None,
    };
    violations.check_length("layerName", text, 1, 2048);
    if found.is_none() {
        violations.add("layerName", text, Constraint::Pattern(NAME_PATTERN));
    }
    violations.finish()?;
    match found {
        Some((layer, place)) => {
            check_place(call.inner(), place)?;
            Ok(layer.to_owned())
        }
        None => Err(error::resource_not_found()),
    }
}

/// Refuses layers of other accounts and regions.
pub(super) fn check_place(inner: &Inner, place: Option<(&str, &str)>) -> Result<(), ApiError> {
    let ours = inner.place();
    match place {
        Some((_, account)) if account != ours.account.as_str() => Err(error::access_denied()),
        Some((region, _)) if region != ours.region.as_str() => Err(error::resource_not_found()),
        _ => Ok(()),
    }
}

/// The version number in the path.
pub(super) fn read_number(call: &Call) -> Result<u64, ApiError> {
    let text = call.labels.get("VersionNumber");
    let number: i64 = text
        .parse()
        .map_err(|_| error::invalid_parameter("Layer Version must be a number"))?;
    match u64::try_from(number) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(error::invalid_parameter("Layer Version Cannot be less than 1")),
    }
}

/// What `ListLayers` and `ListLayerVersions` may be narrowed to: a runtime and an architecture.
pub(super) fn read_filter(call: &Call) -> Result<(Option<&str>, Option<&str>), ApiError> {
    let runtime = call.request.query("CompatibleRuntime");
    let architecture = call.request.query("CompatibleArchitecture");
    let mut violations = Violations::default();
    if let Some(runtime) = runtime.filter(|runtime| !runtime::is_known_to_layers(runtime)) {
        violations.add(
            "compatibleRuntime",
            runtime,
            Constraint::Enum(runtime::NAMED_IN_LAYER_LISTS),
        );
    }
    if let Some(architecture) = architecture {
        violations.check_enum("compatibleArchitecture", architecture, ARCHITECTURES);
    }
    violations.finish()?;
    Ok((runtime, architecture))
}
