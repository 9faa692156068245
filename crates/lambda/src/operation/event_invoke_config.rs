//! `PutFunctionEventInvokeConfig`, and its Update, Get and Delete: how accepted events of a qualifier are treated.
//!
//! Destinations are kept and shown; nothing is delivered to them yet.

use ephyra_core::arn::Place;
use ephyra_core::limits;
use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use ephyra_wire::validation::{Constraint, Violations};
use serde::Deserialize;
use serde_json::{Value, json};

use super::permission::Owner;
use super::{no_content, ok};
use crate::error;
use crate::lambda::Call;
use crate::name::{self, Named, Shape};
use crate::record::EventInvoke;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    maximum_retry_attempts: Option<i64>,
    maximum_event_age_in_seconds: Option<i64>,
    destination_config: Option<Destinations>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Destinations {
    on_success: Option<Target>,
    on_failure: Option<Target>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Target {
    destination: Option<String>,
}

impl Target {
    /// The ARN; an empty one is none.
    fn arn(&self) -> Option<&str> {
        self.destination.as_deref().filter(|arn| !arn.is_empty())
    }
}

impl Input {
    fn check(&self, violations: &mut Violations) {
        if let Some(attempts) = self.maximum_retry_attempts {
            let most = i64::from(limits::EVENT_RETRIES);
            violations.check_range("maximumRetryAttempts", attempts, 0, most);
        }
        if let Some(age) = self.maximum_event_age_in_seconds {
            let (least, most) = (*limits::EVENT_AGE_SECONDS.start(), *limits::EVENT_AGE_SECONDS.end());
            violations.check_range("maximumEventAgeInSeconds", age, i64::from(least), i64::from(most));
        }
        let Some(destinations) = &self.destination_config else {
            return;
        };
        for (member, target) in [
            ("destinationConfig.onSuccess.destination", &destinations.on_success),
            ("destinationConfig.onFailure.destination", &destinations.on_failure),
        ] {
            if let Some(arn) = target.as_ref().and_then(Target::arn)
                && !is_destination(arn)
            {
                let pattern = r"$|kafka://([^.]([a-zA-Z0-9\-_.]{0,248}))|arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*)";
                violations.add(member, arn, Constraint::Pattern(pattern));
            }
        }
    }

    /// Changes what is given, and nothing else.
    fn apply(&self, config: &mut EventInvoke) {
        let number = |value: i64| u32::try_from(value).ok();
        if let Some(attempts) = self.maximum_retry_attempts {
            config.max_retries = number(attempts);
        }
        if let Some(age) = self.maximum_event_age_in_seconds {
            config.max_age_seconds = number(age);
        }
        if let Some(destinations) = &self.destination_config {
            let arn = |target: &Option<Target>| target.as_ref().and_then(Target::arn).map(str::to_owned);
            config.on_success = arn(&destinations.on_success);
            config.on_failure = arn(&destinations.on_failure);
        }
    }
}

pub(super) async fn put(call: Call) -> Result<Response, ApiError> {
    change(call, true).await
}

pub(super) async fn update(call: Call) -> Result<Response, ApiError> {
    change(call, false).await
}

async fn change(call: Call, replaces: bool) -> Result<Response, ApiError> {
    let inner = call.inner();
    let input: Input = read_json(&call.request.body)?;
    let mut violations = Violations::default();
    let named = name::check(
        &mut violations,
        call.labels.get("FunctionName"),
        call.request.query("Qualifier"),
        Shape::Read,
        inner.place(),
    );
    input.check(&mut violations);
    violations.finish()?;
    let named = named?;
    let is_empty = input.maximum_retry_attempts.is_none()
        && input.maximum_event_age_in_seconds.is_none()
        && input.destination_config.is_none();
    if replaces && is_empty {
        return Err(error::invalid_parameter(
            "You must specify at least one of error handling or destination setting.",
        ));
    }
    let _turn = inner.turn(&named.name).await;
    let mut owner = Owner::find(&call, &named)
        .await?
        .ok_or_else(|| error::not_found("The function doesn't exist."))?;
    if let Some(destinations) = &input.destination_config {
        check_destinations(&call, &named, destinations).await?;
    }
    let mut config = match owner.attached().events.clone() {
        Some(config) if !replaces => config,
        None if !replaces => return Err(absent(&named, inner.place())),
        _ => EventInvoke::default(),
    };
    input.apply(&mut config);
    config.modified_ms = inner.now_ms();
    owner.attached_mut().events = Some(config.clone());
    owner.write(&call).await?;
    Ok(ok(&show(&config, &named.qualified_arn(inner.place()))))
}

pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let place = call.inner().place();
    let named = call.named(Shape::Read)?;
    let owner = Owner::find(&call, &named).await?;
    match owner.and_then(|owner| owner.attached().events.clone()) {
        Some(config) => Ok(ok(&show(&config, &named.qualified_arn(place)))),
        None => Err(absent(&named, place)),
    }
}

pub(super) async fn delete(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Read)?;
    let _turn = inner.turn(&named.name).await;
    let mut owner = Owner::find(&call, &named)
        .await?
        .ok_or_else(|| absent(&named, inner.place()))?;
    if owner.attached_mut().events.take().is_none() {
        return Err(absent(&named, inner.place()));
    }
    owner.write(&call).await?;
    Ok(no_content())
}

/// The document that clients see.
pub(super) fn show(config: &EventInvoke, arn: &str) -> Value {
    let target = |arn: &Option<String>| match arn {
        Some(arn) => json!({ "Destination": arn }),
        None => json!({}),
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "a time of day in seconds has room in a double"
    )]
    let modified = config.modified_ms as f64 / 1000.0;
    let mut document = json!({
        "FunctionArn": arn,
        "LastModified": modified,
        "DestinationConfig": {
            "OnSuccess": target(&config.on_success),
            "OnFailure": target(&config.on_failure),
        },
    });
    if let Some(retries) = config.max_retries {
        document["MaximumRetryAttempts"] = json!(retries);
    }
    if let Some(age) = config.max_age_seconds {
        document["MaximumEventAgeInSeconds"] = json!(age);
    }
    document
}

fn absent(named: &Named, place: &Place) -> ApiError {
    error::not_found(format!(
        "The function {} doesn't have an EventInvokeConfig",
        named.qualified_arn(place)
    ))
}

async fn check_destinations(call: &Call, named: &Named, destinations: &Destinations) -> Result<(), ApiError> {
    let inner = call.inner();
    let given = [&destinations.on_success, &destinations.on_failure];
    for arn in given.into_iter().flatten().filter_map(Target::arn) {
        let service = arn.split(':').nth(2).unwrap_or_default();
        if !["lambda", "sqs", "sns", "events", "s3"].contains(&service) {
            return Err(error::invalid_parameter(format!(
                "The provided destination config DestinationConfig(onSuccess={}, onFailure={}) is invalid.",
                as_aws_prints("OnSuccess", destinations.on_success.as_ref()),
                as_aws_prints("OnFailure", destinations.on_failure.as_ref()),
            )));
        }
        if service != "lambda" {
            continue;
        }
        let invalid = || error::invalid_parameter(format!("The destination ARN {arn} is invalid."));
        let other = name::read(arn, None, Shape::Read, inner.place()).map_err(|_| invalid())?;
        if other.name == named.name {
            return Err(error::invalid_parameter(
                "You can't specify the function as a destination for itself.",
            ));
        }
        if inner.function(other.function()).await?.is_none() {
            return Err(invalid());
        }
    }
    Ok(())
}

fn as_aws_prints(name: &str, target: Option<&Target>) -> String {
    match target {
        None => "null".to_owned(),
        Some(target) => format!("{name}(destination={})", target.arn().unwrap_or("null")),
    }
}

/// The model's pattern for destinations.
fn is_destination(text: &str) -> bool {
    if let Some(topic) = text.strip_prefix("kafka://") {
        return !topic.is_empty() && topic.len() <= 249 && !topic.starts_with('.');
    }
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, service, region, account, _] = parts.as_slice() else {
        return false;
    };
    let is_word = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    partition.strip_prefix("aws").is_some_and(is_word)
        && !service.is_empty()
        && is_word(service)
        && (region.is_empty() || name::is_region(region))
        && (account.is_empty() || name::is_account(account))
}
