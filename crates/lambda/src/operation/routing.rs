//! What `CreateAlias` and `UpdateAlias` share: the version pointed at, and the second one by weight.

use std::collections::BTreeMap;

use ephyra_core::id::Version;
use ephyra_wire::error::ApiError;
use ephyra_wire::validation::{self, Constraint, Violations};
use serde::Deserialize;

use crate::error;
use crate::lambda::Inner;
use crate::record::{FunctionRecord, Routing};

pub(super) const ALIAS_PATTERN: &str = "(?!^[0-9]+$)([a-zA-Z0-9-_]+)";
const VERSION_PATTERN: &str = r"(\$LATEST(\.PUBLISHED)?|[0-9]+)";

/// `RoutingConfig` as sent.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RoutingInput {
    additional_version_weights: Option<BTreeMap<String, f64>>,
}

impl RoutingInput {
    fn weights(&self) -> impl Iterator<Item = (&str, f64)> {
        let weights = self.additional_version_weights.iter().flatten();
        weights.map(|(version, weight)| (version.as_str(), *weight))
    }

    /// Notes broken constraints of the model.
    pub(super) fn check(&self, violations: &mut Violations) {
        let member = "routingConfig.additionalVersionWeights";
        let shown = || validation::map(self.weights().map(|(version, weight)| (version, format!("{weight:?}"))));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !self.weights().all(|(version, _)| is_number(version)) {
            let each = [
                Constraint::MaxLength(1024),
                Constraint::MinLength(1),
                Constraint::Pattern("[0-9]+"),
            ];
            violations.add(member, shown(), Constraint::MapKeys(&each));
        }
        if !self.weights().all(|(_, weight)| (0.0..=1.0).contains(&weight)) {
            let each = [
                Constraint::MaxValue("1.0"),
                Constraint::MinValue("0.0"),
                Constraint::NotNull,
            ];
            violations.add(member, shown(), Constraint::MapValues(&each));
        }
    }

    /// Finds the second version; `None` when no weight is given.
    pub(super) async fn resolve(
        &self,
        inner: &Inner,
        function: &FunctionRecord,
        first: Version,
    ) -> Result<Option<Routing>, ApiError> {
        let weights: Vec<(&str, f64)> = self.weights().collect();
        let (text, weight) = match weights.as_slice() {
            [] => return Ok(None),
            [one] => *one,
            _ => {
                return Err(error::invalid_parameter(
                    "Number of items in AdditionalVersionWeights cannot be greater than 1",
                ));
            }
        };
        if text == first.to_string() {
            return Err(error::invalid_parameter(format!(
                "Invalid function version {text}. Function version {text} is already included in routing \
                 configuration."
            )));
        }
        if first == Version::Latest {
            return Err(error::untyped_invalid_parameter(
                "$LATEST is not supported for an alias pointing to more than 1 version",
            ));
        }
        let arn = format!("{}:{text}", inner.place().function_arn(&function.name, None));
        let Ok(Version::Number(version)) = text.parse() else {
            return Err(error::function_not_found(&arn));
        };
        match inner.version(&function.name, version).await? {
            Some(_) => Ok(Some(Routing { version, weight })),
            None => Err(error::function_not_found(&arn)),
        }
    }
}

/// Notes what is wrong with the text of a version.
pub(super) fn check_version(violations: &mut Violations, text: &str) {
    let is_version = text.starts_with("$LATEST") && matches!(text, "$LATEST" | "$LATEST.PUBLISHED");
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    violations.check_length("functionVersion", text, 1, 1024);
    if !is_version && !is_number {
        violations.add("functionVersion", text, Constraint::Pattern(VERSION_PATTERN));
    }
}

/// Notes what is wrong with the name of an alias.
pub(super) fn check_name(violations: &mut Violations, text: &str) {
    violations.check_length("name", text, 1, 128);
    if !crate::name::is_word(text) || text.bytes().all(|b| b.is_ascii_digit()) {
        violations.add("name", text, Constraint::Pattern(ALIAS_PATTERN));
    }
}

/// Finds a version that an alias is to point at; `arn` of the function, without qualifier.
pub(super) async fn find_version(
    inner: &Inner,
    function: &FunctionRecord,
    arn: &str,
    text: &str,
) -> Result<Version, ApiError> {
    let missing = || error::function_not_found(&format!("{arn}:{text}"));
    match text.parse().map_err(|_| missing())? {
        Version::Latest => Ok(Version::Latest),
        Version::Number(number) => match inner.version(&function.name, number).await? {
            Some(_) => Ok(Version::Number(number)),
            None => Err(missing()),
        },
    }
}
