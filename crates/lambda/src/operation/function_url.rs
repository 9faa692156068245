//! `CreateFunctionUrlConfig`, and its Get, Update and Delete: a function's or an alias's own address.

use ephyra_core::id::{AliasName, Qualifier, RequestId};
use ephyra_core::url::{Cors, InvokeMode, UrlAuth};
use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use ephyra_wire::validation::{self, Constraint, Violations};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::permission::Owner;
use super::{created, no_content, ok};
use crate::error;
use crate::lambda::{Call, Inner};
use crate::name::{self, Named, Shape};
use crate::record::{Attached, UrlConfig, UrlPlace, url_id};
use crate::time;

/// The longest that a browser may remember what it was told, in seconds.
const LONGEST_AGE: i64 = 86_400;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    auth_type: Option<String>,
    invoke_mode: Option<String>,
    cors: Option<CorsInput>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CorsInput {
    allow_credentials: Option<bool>,
    allow_headers: Option<Vec<String>>,
    allow_methods: Option<Vec<String>>,
    allow_origins: Option<Vec<String>>,
    expose_headers: Option<Vec<String>>,
    max_age: Option<i64>,
}

impl Input {
    fn check(&self, violations: &mut Violations) {
        if let Some(auth) = &self.auth_type {
            violations.check_enum("authType", auth, &["NONE", "AWS_IAM"]);
        }
        if let Some(mode) = &self.invoke_mode {
            violations.check_enum("invokeMode", mode, &["RESPONSE_STREAM", "BUFFERED"]);
        }
        if let Some(cors) = &self.cors {
            cors.check(violations);
        }
    }

    fn auth(&self) -> Option<UrlAuth> {
        self.auth_type.as_deref().map(|auth| match auth {
            "NONE" => UrlAuth::None,
            _ => UrlAuth::AwsIam,
        })
    }

    fn mode(&self) -> Option<InvokeMode> {
        self.invoke_mode.as_deref().map(|mode| match mode {
            "RESPONSE_STREAM" => InvokeMode::ResponseStream,
            _ => InvokeMode::Buffered,
        })
    }
}

impl CorsInput {
    /// The model's constraints.
    fn check(&self, violations: &mut Violations) {
        for (member, list, items, least, most) in [
            ("cors.allowHeaders", &self.allow_headers, 100, 0, 1024),
            ("cors.allowMethods", &self.allow_methods, 6, 0, 6),
            ("cors.allowOrigins", &self.allow_origins, 100, 1, 253),
            ("cors.exposeHeaders", &self.expose_headers, 100, 0, 1024),
        ] {
            let Some(list) = list else {
                continue;
            };
            if list.len() > items {
                violations.add(member, validation::list(list), Constraint::MaxLength(items));
            }
            let is_item = |item: &String| {
                let length = item.chars().count();
                (least..=most).contains(&length) && !item.contains(['\n', '\r'])
            };
            if !list.iter().all(is_item) {
                let each = [
                    Constraint::MaxLength(most),
                    Constraint::MinLength(least),
                    Constraint::Pattern(".*"),
                ];
                violations.add(member, validation::list(list), Constraint::Each(&each));
            }
        }
        if let Some(age) = self.max_age {
            violations.check_range("cors.maxAge", age, 0, LONGEST_AGE);
        }
    }

    /// What the model does not say: every item is to stand in a header of an answer, in a list with commas.
    fn read(&self) -> Result<Cors, ApiError> {
        for (member, list) in [
            ("AllowHeaders", &self.allow_headers),
            ("AllowMethods", &self.allow_methods),
            ("ExposeHeaders", &self.expose_headers),
        ] {
            check_items(member, list, is_token)?;
        }
        check_items("AllowOrigins", &self.allow_origins, is_origin)?;
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        Ok(Cors {
            allow_credentials: self.allow_credentials.unwrap_or_default(),
            allow_headers: list(&self.allow_headers),
            allow_methods: list(&self.allow_methods),
            allow_origins: list(&self.allow_origins),
            expose_headers: list(&self.expose_headers),
            max_age: self.max_age.and_then(|age| u32::try_from(age).ok()).unwrap_or_default(),
        })
    }
}

fn check_items(member: &str, list: &Option<Vec<String>>, is_item: fn(&str) -> bool) -> Result<(), ApiError> {
    match list.iter().flatten().find(|item| !is_item(item)) {
        None => Ok(()),
        Some(item) => Err(error::invalid_parameter(format!(
            "Cors.{member} cannot contain '{item}'."
        ))),
    }
}

/// A token of HTTP (RFC 9110, 5.6.2), of which `*` is one.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// `*`, or a scheme and what follows it, without anything that ends an item of a header.
fn is_origin(text: &str) -> bool {
    let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b',');
    text == "*"
        || text
            .split_once("://")
            .is_some_and(|(scheme, rest)| scheme.bytes().all(|b| b.is_ascii_alphanumeric()) && is_plain(rest))
}

pub(super) async fn create(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let input: Input = read_json(&call.request.body)?;
    let mut violations = Violations::default();
    let named = check_name(&call, &mut violations);
    if input.auth_type.is_none() {
        violations.add_null("authType");
    }
    input.check(&mut violations);
    violations.finish()?;
    let named = named?;
    let cors = input.cors.as_ref().map(CorsInput::read).transpose()?;
    let _turn = inner.turn(&named.name).await;
    let mut owner = Owner::find(&call, &named).await?.ok_or_else(no_function)?;
    let arn = named.arn(inner.place());
    if owner.attached().url.is_some() {
        return Err(error::conflict(format!(
            "Failed to create function url config for [functionArn = {arn}]. Error message:  FunctionUrlConfig exists \
             for this Lambda function"
        )));
    }
    let now = inner.now_ms();
    let random = [RequestId::new(), RequestId::new()].map(|id| *id.as_bytes());
    let config = UrlConfig {
        id: url_id(random.as_flattened()),
        auth: input.auth().unwrap_or(UrlAuth::AwsIam),
        invoke_mode: input.mode().unwrap_or_default(),
        cors: cors.filter(|cors| *cors != Cors::default()),
        created_ms: now,
        modified_ms: now,
    };
    // The way to it goes first: alone it counts for nothing, and the next start removes it.
    let place = UrlPlace {
        function: owner.function().name.clone(),
        alias: alias(&named)?,
    };
    inner.ledger.put_url(&config.id, &place).await.map_err(error::store)?;
    owner.attached_mut().url = Some(config.clone());
    owner.write(&call).await?;
    let mut document = config.describe(&arn, inner.place(), &inner.options.origin);
    show_mode(&mut document, &input);
    Ok(created(&document))
}

pub(super) async fn update(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let input: Input = read_json(&call.request.body)?;
    let mut violations = Violations::default();
    let named = check_name(&call, &mut violations);
    input.check(&mut violations);
    violations.finish()?;
    let named = named?;
    let cors = input.cors.as_ref().map(CorsInput::read).transpose()?;
    let _turn = inner.turn(&named.name).await;
    let mut owner = Owner::find(&call, &named).await?.ok_or_else(no_function)?;
    let config = owner
        .attached_mut()
        .url
        .as_mut()
        .ok_or_else(error::resource_not_found)?;
    if let Some(auth) = input.auth() {
        config.auth = auth;
    }
    if let Some(mode) = input.mode() {
        config.invoke_mode = mode;
    }
    if let Some(cors) = cors {
        // An empty one takes away what was there.
        config.cors = Some(cors).filter(|cors| *cors != Cors::default());
    }
    config.modified_ms = inner.now_ms();
    let config = config.clone();
    owner.write(&call).await?;
    let mut document = config.describe(&named.arn(inner.place()), inner.place(), &inner.options.origin);
    document.insert(
        "LastModifiedTime".to_owned(),
        json!(time::iso_millis(config.modified_ms)),
    );
    show_mode(&mut document, &input);
    Ok(ok(&document))
}

pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Url)?;
    let owner = Owner::find(&call, &named).await?;
    let config = owner
        .as_ref()
        .and_then(|owner| owner.attached().url.as_ref())
        .ok_or_else(error::resource_not_found)?;
    Ok(ok(&show(config, &named.arn(inner.place()), inner)))
}

pub(super) async fn delete(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Url)?;
    let _turn = inner.turn(&named.name).await;
    let mut owner = Owner::find(&call, &named)
        .await?
        .ok_or_else(error::resource_not_found)?;
    let before = owner.attached().clone();
    if owner.attached_mut().url.take().is_none() {
        return Err(error::resource_not_found());
    }
    owner.write(&call).await?;
    lose(inner, &before).await?;
    Ok(no_content())
}

/// Removes the way to a URL whose configuration is gone.
pub(super) async fn lose(inner: &Inner, attached: &Attached) -> Result<(), ApiError> {
    match &attached.url {
        None => Ok(()),
        Some(url) => inner.ledger.delete_url(&url.id).await.map_err(error::store),
    }
}

/// The document of `GetFunctionUrlConfig` and of lists.
pub(super) fn show(config: &UrlConfig, arn: &str, inner: &Inner) -> Map<String, Value> {
    let mut document = config.describe(arn, inner.place(), &inner.options.origin);
    document.insert(
        "LastModifiedTime".to_owned(),
        json!(time::iso_millis(config.modified_ms)),
    );
    document.insert("InvokeMode".to_owned(), json!(config.invoke_mode));
    document
}

/// The error of operations that would find no function to work on; the others do not tell it from a missing URL.
pub(super) fn no_function() -> ApiError {
    error::not_found("Function does not exist")
}

/// AWS shows the mode to who has just set it, and in Get and List.
fn show_mode(document: &mut Map<String, Value>, input: &Input) {
    if let Some(mode) = input.mode() {
        document.insert("InvokeMode".to_owned(), json!(mode));
    }
}

fn check_name(call: &Call, violations: &mut Violations) -> Result<Named, ApiError> {
    name::check(
        violations,
        call.labels.get("FunctionName"),
        call.request.query("Qualifier"),
        Shape::Url,
        call.inner().place(),
    )
}

/// The alias that a request names.
fn alias(named: &Named) -> Result<Option<AliasName>, ApiError> {
    match named.parsed_qualifier() {
        Ok(None) => Ok(None),
        Ok(Some(Qualifier::Alias(alias))) => Ok(Some(alias)),
        Ok(Some(Qualifier::Version(_))) | Err(()) => Err(no_function()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_kept_of_any_cors_fits_into_headers(
            origins in proptest::collection::vec(".{0,20}|https://[ -~]{1,10}", 0..4),
            headers in proptest::collection::vec("[ -~]{0,8}|[a-z-]{1,8}", 0..4),
            age in -10_i64..100_000,
        ) {
            let input = CorsInput {
                allow_origins: Some(origins.clone()),
                allow_headers: Some(headers),
                max_age: Some(age),
                ..CorsInput::default()
            };
            let mut violations = Violations::default();
            input.check(&mut violations);
            if violations.finish().is_ok() && let Ok(cors) = input.read() {
                prop_assert_eq!(&cors.allow_origins, &origins);
                prop_assert_eq!(i64::from(cors.max_age), age);
                for item in cors.allow_origins.iter().chain(&cors.allow_headers) {
                    prop_assert!(http::HeaderValue::from_str(item).is_ok() && !item.contains(','), "{}", item);
                }
            }
        }
    }

    #[test]
    fn what_stands_in_headers_is_checked() {
        for text in ["*", "GET", "X-Api-Key", "content-type"] {
            assert!(is_token(text), "{text}");
        }
        for text in ["", "a b", "a,b", "a:b", "ü", "a\r\nb"] {
            assert!(!is_token(text), "{text}");
        }
        for text in [
            "*",
            "https://example.com",
            "http://localhost:60905",
            "https://*.example.com",
        ] {
            assert!(is_origin(text), "{text}");
        }
        for text in [
            "",
            "example.com",
            "https://",
            "https://a,https://b",
            "https://a b",
            "https://ü",
        ] {
            assert!(!is_origin(text), "{text}");
        }
    }
}
