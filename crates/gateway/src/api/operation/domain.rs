//! CreateDomainName, GetDomainName, GetDomainNames, UpdateDomainName, DeleteDomainName.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use serde::Deserialize;
use serde_json::Value;

use super::page::Page;
use super::{created, no_content, ok, required};
use crate::api::check;
use crate::api::error::{self, bad_request, conflict, domain_not_found, not_available};
use crate::api::model::{DomainName, DomainNameConfiguration};
use crate::api::service::{Call, Inner};

/// What CreateDomainName and UpdateDomainName take.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Input {
    domain_name: Option<String>,
    domain_name_configurations: Option<Vec<DomainNameConfiguration>>,
    mutual_tls_authentication: Option<Value>,
    routing_mode: Option<String>,
    tags: Option<BTreeMap<String, String>>,
}

pub(super) async fn create(call: Call) -> Result<Response, ApiError> {
    let mut input: Input = read_json(&call.request.body)?;
    let inner = &call.inner;
    let name = required("DomainName", input.domain_name.take())?.to_ascii_lowercase();
    check_name(inner, &name)?;
    let mut domain = DomainName {
        domain_name: name.clone(),
        api_mapping_selection_expression: "$request.basepath".to_owned(),
        domain_name_configurations: Vec::new(),
        routing_mode: "API_MAPPING_ONLY".to_owned(),
        tags: input.tags.take().unwrap_or_default(),
    };
    check::tags(&domain.tags)?;
    input.domain_name_configurations.get_or_insert_default();
    apply(inner, &mut domain, input)?;
    let _making = inner.store.making.lock().await;
    let known = inner.store.domains(None, check::DOMAINS).await.map_err(error::store)?;
    if known.len() >= check::DOMAINS {
        return Err(error::too_many("domain names", "account", check::DOMAINS));
    }
    let mut turn = inner.store.domain_turn(&name).await.map_err(error::store)?;
    if turn.record.is_some() {
        return Err(conflict("The domain name resource already exists."));
    }
    let answer = created(&describe(inner, &domain));
    turn.create(domain).await.map_err(error::store)?;
    Ok(answer)
}

/// Whether a name can be a custom domain name's. One that meant the platform itself would take its API away.
fn check_name(inner: &Inner, name: &str) -> Result<(), ApiError> {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_name = rest.len() <= 250 && rest.split('.').all(is_label) && rest.parse::<IpAddr>().is_err();
    if !is_name {
        return Err(bad_request("Invalid domain name specified"));
    }
    let host = inner.options.origin.host.as_str();
    let is_ours = rest == host
        || name == "*.localhost"
        || rest
            .split('.')
            .any(|label| matches!(label, "execute-api" | "lambda-url"));
    if is_ours || rest == "localhost" {
        return Err(bad_request(
            "Invalid domain name specified: this name is the platform's own",
        ));
    }
    Ok(())
}

fn apply(inner: &Inner, domain: &mut DomainName, input: Input) -> Result<(), ApiError> {
    let has_mutual = input.mutual_tls_authentication.as_ref().is_some_and(|mutual| {
        let members = mutual.as_object().into_iter().flatten();
        members
            .into_iter()
            .any(|(_, value)| !matches!(value.as_str(), None | Some("")))
    });
    if has_mutual {
        return Err(not_available("Mutual TLS (MutualTlsAuthentication)"));
    }
    match input.routing_mode.as_deref() {
        None | Some("API_MAPPING_ONLY") => {}
        Some(_) => return Err(not_available("Routing rules (RoutingMode)")),
    }
    let Some(given) = input.domain_name_configurations else {
        return Ok(());
    };
    if given.len() > 1 {
        return Err(bad_request("A domain name has one configuration"));
    }
    let before = domain.domain_name_configurations.first().cloned();
    let target = before.and_then(|before| before.api_gateway_domain_name);
    let mut configuration = given.into_iter().next().unwrap_or_default();
    configuration.api_gateway_domain_name = Some(target.unwrap_or_else(|| {
        let region = &inner.options.place.region;
        let host = &inner.options.origin.host;
        format!("d-{}.execute-api.{region}.{host}", inner.new_id(10, |_| false))
    }));
    configuration.domain_name_status = Some("AVAILABLE".to_owned());
    configuration.hosted_zone_id = Some("Z0000000000000EPHYRA".to_owned());
    configuration.endpoint_type.get_or_insert_with(|| "REGIONAL".to_owned());
    configuration
        .security_policy
        .get_or_insert_with(|| "TLS_1_2".to_owned());
    configuration.ip_address_type.get_or_insert_with(|| "ipv4".to_owned());
    if configuration.endpoint_type.as_deref() != Some("REGIONAL") {
        return Err(bad_request("Invalid endpoint type specified. Must be REGIONAL"));
    }
    check::ip_address_type(configuration.ip_address_type.as_deref().unwrap_or_default())?;
    check::at_most("securityPolicy", configuration.security_policy.as_deref(), 64)?;
    check::at_most("certificateName", configuration.certificate_name.as_deref(), 128)?;
    check::arn("certificateArn", configuration.certificate_arn.as_deref())?;
    let ownership = configuration.ownership_verification_certificate_arn.as_deref();
    check::arn("ownershipVerificationCertificateArn", ownership)?;
    domain.domain_name_configurations = vec![configuration];
    Ok(())
}

/// A domain name as AWS shows it.
fn describe(inner: &Inner, domain: &DomainName) -> Value {
    let mut document = serde_json::to_value(domain).unwrap_or_default();
    let arn = format!(
        "arn:aws:apigateway:{}::/domainnames/{}",
        inner.options.place.region, domain.domain_name
    );
    document["domainNameArn"] = Value::String(arn);
    document
}

pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let turn = call.domain().await?;
    let record = turn.record.as_ref().ok_or_else(domain_not_found)?;
    Ok(ok(&describe(&call.inner, &record.domain)))
}

pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    let page = Page::of(&call.request)?;
    let after = page.after.as_deref();
    let records = call.inner.store.domains(after, page.limit + 1).await;
    let entries = records.map_err(error::store)?.into_iter().map(|record| {
        let name = record.domain.domain_name.clone();
        (name, describe(&call.inner, &record.domain))
    });
    Ok(ok(&page.cut(entries)))
}

pub(super) async fn update(call: Call) -> Result<Response, ApiError> {
    let input: Input = read_json(&call.request.body)?;
    let mut turn = call.domain().await?;
    let mut record = turn.record.clone().ok_or_else(domain_not_found)?;
    apply(&call.inner, &mut record.domain, input)?;
    let answer = ok(&describe(&call.inner, &record.domain));
    turn.put(record).await.map_err(error::store)?;
    Ok(answer)
}

pub(super) async fn delete(call: Call) -> Result<Response, ApiError> {
    let turn = call.domain().await?;
    if turn.record.is_none() {
        return Err(domain_not_found());
    }
    turn.delete().await.map_err(error::store)?;
    Ok(no_content())
}
