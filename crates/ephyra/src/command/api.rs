//! A function's routes as an `ephyra.toml` wants them: an HTTP API of its own, made, changed or deleted.
//!
//! The API is known by a tag that names the function. What is wanted is edited first and then deployed as a whole, so
//! that no request meets half of a change; a deployment says in its description what it is of, so that an edit that was
//! interrupted is deployed by the next one.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use ephyra_core::digest::Digest;
use serde_json::{Value, json};

use super::url::function_path;
use crate::address::Address;
use crate::endpoint::{Platform, Remote, label};
use crate::project::{Jwt, RouteAuth, Wanted};

/// The tag that names the function whose routes an API has.
const TAG: &str = "ephyra:function";
/// The stage whose paths begin with no name.
const STAGE: &str = "$default";
/// The statement that lets the API call the function.
const STATEMENT: &str = "EphyraRoutes";
/// How many items a page of a list has.
const PAGE: &str = "500";

/// Finds the API that has a function's routes.
pub(super) async fn find(platform: &Platform, function: &str) -> anyhow::Result<Option<Value>> {
    let function = json!(function);
    Ok(all(platform).await?.into_iter().find(|api| is_of(api, &function)))
}

/// All HTTP APIs.
pub(super) async fn all(platform: &Platform) -> anyhow::Result<Vec<Value>> {
    list(&platform.gateway, "/v2/apis").await
}

/// Whether an API has the routes of the function of this name.
pub(super) fn is_of(api: &Value, function: &Value) -> bool {
    api["tags"][TAG] == *function
}

/// The address of an API.
pub(super) fn address(platform: &Platform, api: &Value) -> anyhow::Result<Address> {
    let endpoint = text(api, "apiEndpoint")?;
    Ok(Address::of_api(endpoint, text(api, "apiId")?, platform.endpoint()))
}

/// Deletes a function's routes, if it has any.
pub(super) async fn delete(platform: &Platform, function: &str) -> anyhow::Result<()> {
    match find(platform, function).await? {
        None => Ok(()),
        Some(api) => remove(platform, function, text(&api, "apiId")?).await,
    }
}

/// Makes the routes of a function, whose configuration this is, what is wanted; returns the API, `None` without any.
pub(super) async fn apply(platform: &Platform, function: &Value, wanted: &[Wanted]) -> anyhow::Result<Option<Value>> {
    let name = text(function, "FunctionName")?;
    let found = find(platform, name).await?;
    if wanted.is_empty() {
        if let Some(api) = found {
            remove(platform, name, text(&api, "apiId")?).await?;
        }
        return Ok(None);
    }
    let gateway = &platform.gateway;
    let api = match found {
        Some(api) => api,
        None => {
            let document = json!({ "name": name, "protocolType": "HTTP", "tags": { TAG: name } });
            gateway.post("/v2/apis", &document).await?
        }
    };
    let api_id = text(&api, "apiId")?;
    let arn = unqualified(text(function, "FunctionArn")?);
    if wanted.iter().any(|route| route.server.is_none()) {
        allow(platform, name, arn, api_id).await?;
    }
    let edit = Edit {
        gateway,
        path: format!("/v2/apis/{}", label(api_id)),
    };
    let integrations = edit.integrations(arn, wanted).await?;
    let authorizers = edit.authorizers(wanted).await?;
    edit.routes(wanted, &integrations, &authorizers).await?;
    edit.drop_others("authorizers", "authorizerId", &authorizers.ids())
        .await?;
    edit.drop_others("integrations", "integrationId", &integrations.into_iter().collect())
        .await?;
    edit.deploy(&description(arn, wanted)).await?;
    Ok(Some(api))
}

/// What a deployment of these routes says of itself.
fn description(arn: &str, wanted: &[Wanted]) -> String {
    let content = json!([arn, wanted]).to_string();
    let digest = Digest::of(content.as_bytes()).to_string();
    format!("ephyra deploy {}", digest.get(..32).unwrap_or_default())
}

/// The ARN of a function, without a version behind it.
fn unqualified(arn: &str) -> &str {
    match arn.match_indices(':').nth(6) {
        None => arn,
        Some((end, _)) => arn.get(..end).unwrap_or(arn),
    }
}

async fn remove(platform: &Platform, function: &str, api_id: &str) -> anyhow::Result<()> {
    let path = format!("{}/policy/{STATEMENT}", function_path(function));
    platform.lambda.delete_if_there(&path).await?;
    let path = format!("/v2/apis/{}", label(api_id));
    platform.gateway.delete_if_there(&path).await
}

/// Lets the API call the function, and no other that was there before it.
async fn allow(platform: &Platform, function: &str, arn: &str, api_id: &str) -> anyhow::Result<()> {
    let path = format!("{}/policy", function_path(function));
    let parts: Vec<&str> = arn.split(':').collect();
    let [_, partition, _, region, account, ..] = parts.as_slice() else {
        anyhow::bail!("the platform tells the function's ARN as {arn:?}");
    };
    let source = format!("arn:{partition}:execute-api:{region}:{account}:{api_id}/*");
    if let Some(found) = platform.lambda.find_document(&path, &[]).await? {
        let policy = found["Policy"].as_str().unwrap_or_default();
        let policy: Value = serde_json::from_str(policy).context("the platform's policy is not JSON")?;
        let statements = policy["Statement"].as_array().into_iter().flatten();
        match statements.into_iter().find(|statement| statement["Sid"] == STATEMENT) {
            None => {}
            Some(statement) if statement["Condition"]["ArnLike"]["AWS:SourceArn"] == source => return Ok(()),
            Some(_) => platform.lambda.delete_if_there(&format!("{path}/{STATEMENT}")).await?,
        }
    }
    let statement = json!({
        "StatementId": STATEMENT,
        "Action": "lambda:InvokeFunction",
        "Principal": "apigateway.amazonaws.com",
        "SourceArn": source,
    });
    platform.lambda.post(&path, &statement).await?;
    Ok(())
}

/// One API being edited.
struct Edit<'a> {
    gateway: &'a Remote,
    path: String,
}

/// The authorizers of the routes that take tokens.
struct Authorizers(Vec<(Jwt, String)>);

impl Authorizers {
    fn of(&self, jwt: &Jwt) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == jwt);
        found.map(|(_, id)| id.as_str())
    }

    fn ids(&self) -> BTreeSet<String> {
        self.0.iter().map(|(_, id)| id.clone()).collect()
    }
}

impl Edit<'_> {
    /// The id of each route's integration; they are made if they are not there.
    async fn integrations(&self, arn: &str, wanted: &[Wanted]) -> anyhow::Result<Vec<String>> {
        let mut known: Vec<(Value, String)> = Vec::new();
        let mut ids = Vec::new();
        for route in wanted {
            let document = integration(arn, route);
            let id = match known.iter().find(|(other, _)| *other == document) {
                Some((_, id)) => id.clone(),
                None => self.find_or_make("integrations", "integrationId", &document).await?,
            };
            ids.push(id.clone());
            known.push((document, id));
        }
        Ok(ids)
    }

    async fn authorizers(&self, wanted: &[Wanted]) -> anyhow::Result<Authorizers> {
        let jwts: BTreeSet<&Jwt> = wanted.iter().filter_map(|route| route.jwt.as_ref()).collect();
        let mut found = Vec::new();
        for jwt in jwts {
            let document = authorizer(jwt);
            let id = self.find_or_make("authorizers", "authorizerId", &document).await?;
            found.push((jwt.clone(), id));
        }
        Ok(Authorizers(found))
    }

    async fn routes(
        &self,
        wanted: &[Wanted],
        integrations: &[String],
        authorizers: &Authorizers,
    ) -> anyhow::Result<()> {
        let path = format!("{}/routes", self.path);
        let mut left = list(self.gateway, &path).await?;
        for (route, integration) in wanted.iter().zip(integrations) {
            let authorizer = route.jwt.as_ref().and_then(|jwt| authorizers.of(jwt));
            let document = document(route, integration, authorizer);
            match left.iter().position(|found| found["routeKey"] == route.key.as_str()) {
                None => {
                    self.gateway.post(&path, &document).await?;
                }
                Some(at) => {
                    let found = left.swap_remove(at);
                    if !is_like(&found, &document) {
                        let id = text(&found, "routeId")?;
                        self.gateway.patch(&format!("{path}/{}", label(id)), &document).await?;
                    }
                }
            }
        }
        for route in left {
            let id = text(&route, "routeId")?;
            self.gateway.delete_if_there(&format!("{path}/{}", label(id))).await?;
        }
        Ok(())
    }

    /// The id of the resource that is like this one.
    async fn find_or_make(&self, kind: &str, id: &str, wanted: &Value) -> anyhow::Result<String> {
        let path = format!("{}/{kind}", self.path);
        let all = list(self.gateway, &path).await?;
        let resource = match all.into_iter().find(|found| is_like(found, wanted)) {
            Some(found) => found,
            None => self.gateway.post(&path, wanted).await?,
        };
        Ok(text(&resource, id)?.to_owned())
    }

    /// Deletes resources that are not wanted any more.
    async fn drop_others(&self, kind: &str, id: &str, kept: &BTreeSet<String>) -> anyhow::Result<()> {
        let path = format!("{}/{kind}", self.path);
        for found in list(self.gateway, &path).await? {
            let id = text(&found, id)?;
            if !kept.contains(id) {
                self.gateway.delete_if_there(&format!("{path}/{}", label(id))).await?;
            }
        }
        Ok(())
    }

    /// Lets requests see what was edited, unless they do already.
    async fn deploy(&self, description: &str) -> anyhow::Result<()> {
        let stage = format!("{}/stages/{}", self.path, label(STAGE));
        let deployments = format!("{}/deployments", self.path);
        let now = self.gateway.find_document(&stage, &[]).await?;
        let deployed = now.as_ref().and_then(|stage| stage["deploymentId"].as_str());
        let all = list(self.gateway, &deployments).await?;
        let is_deployed = all
            .iter()
            .any(|found| found["description"] == description && found["deploymentId"].as_str() == deployed);
        if is_deployed {
            return Ok(());
        }
        let made = self
            .gateway
            .post(&deployments, &json!({ "description": description }))
            .await?;
        let id = text(&made, "deploymentId")?;
        match now {
            None => {
                let document = json!({ "stageName": STAGE, "deploymentId": id });
                self.gateway.post(&format!("{}/stages", self.path), &document).await?
            }
            Some(_) => self.gateway.patch(&stage, &json!({ "deploymentId": id })).await?,
        };
        for found in all {
            let id = text(&found, "deploymentId")?;
            self.gateway
                .delete_if_there(&format!("{deployments}/{}", label(id)))
                .await?;
        }
        Ok(())
    }
}

fn authorizer(jwt: &Jwt) -> Value {
    json!({
        "authorizerType": "JWT",
        "name": jwt.issuer.chars().take(128).collect::<String>(),
        "identitySource": ["$request.header.Authorization"],
        "jwtConfiguration": { "issuer": jwt.issuer, "audience": jwt.audience },
    })
}

/// What a route leads to: the function, or another server.
fn integration(arn: &str, route: &Wanted) -> Value {
    let Some(server) = &route.server else {
        return json!({
            "integrationType": "AWS_PROXY",
            "integrationUri": arn,
            "payloadFormatVersion": "2.0",
        });
    };
    let headers = server.headers.iter();
    let parameters: BTreeMap<String, &str> = headers
        .map(|(name, value)| (format!("overwrite:header.{name}"), value.as_str()))
        .collect();
    json!({
        "integrationType": "HTTP_PROXY",
        "integrationUri": server.address,
        "integrationMethod": route.key.split_once(' ').map_or("ANY", |(method, _)| method),
        "payloadFormatVersion": "1.0",
        "requestParameters": parameters,
    })
}

fn document(route: &Wanted, integration: &str, authorizer: Option<&str>) -> Value {
    let mut document = json!({
        "routeKey": route.key,
        "target": format!("integrations/{integration}"),
        "authorizationType": match route.auth {
            RouteAuth::None => "NONE",
            RouteAuth::Jwt => "JWT",
            RouteAuth::Iam => "AWS_IAM",
        },
        "authorizationScopes": route.scopes,
    });
    if let Some(id) = authorizer {
        document["authorizerId"] = json!(id);
    }
    document
}

/// Whether a resource has all that is wanted. Empty lists and maps need not be shown.
fn is_like(found: &Value, wanted: &Value) -> bool {
    let is_empty = |value: &Value| *value == json!([]) || *value == json!({});
    let members = wanted.as_object().into_iter().flatten();
    members
        .into_iter()
        .all(|(member, value)| &found[member] == value || (found[member].is_null() && is_empty(value)))
}

/// All pages of a list.
async fn list(gateway: &Remote, path: &str) -> anyhow::Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let mut query = vec![("maxResults", PAGE.to_owned())];
        query.extend(token.take().map(|token| ("nextToken", token)));
        let mut page = gateway.get(path, &query).await?;
        if let Value::Array(list) = page["items"].take() {
            items.extend(list);
        }
        match page["nextToken"].as_str() {
            Some(next) if !next.is_empty() => token = Some(next.to_owned()),
            _ => return Ok(items),
        }
    }
}

/// A member that the platform always gives.
fn text<'a>(document: &'a Value, member: &str) -> anyhow::Result<&'a str> {
    document[member]
        .as_str()
        .with_context(|| format!("the platform's answer has no {member}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Server;

    fn route(key: &str, auth: RouteAuth) -> Wanted {
        Wanted {
            key: key.to_owned(),
            auth,
            jwt: None,
            scopes: Vec::new(),
            server: None,
        }
    }

    #[test]
    fn a_deployment_is_known_by_what_it_is_of() {
        let routes = [route("GET /a", RouteAuth::None)];
        let description_of = |arn, routes: &[Wanted]| description(arn, routes);
        assert_eq!(description_of("f", &routes), description_of("f", &routes));
        assert_ne!(description_of("f", &routes), description_of("g", &routes));
        assert_ne!(
            description_of("f", &routes),
            description_of("f", &[route("GET /a", RouteAuth::Iam)])
        );
        assert!(description_of("f", &routes).len() <= 1024);
    }

    #[test]
    fn a_route_may_lead_to_another_server() {
        let mut elsewhere = route("PUT /a/{id}", RouteAuth::None);
        assert_eq!(integration("f", &elsewhere)["integrationUri"], "f");
        elsewhere.server = Some(Server {
            address: "http://b/{id}".to_owned(),
            headers: BTreeMap::from([("owner".to_owned(), "$context.authorizer.claims.sub".to_owned())]),
        });
        let made = integration("f", &elsewhere);
        assert_eq!(
            (&made["integrationUri"], &made["integrationMethod"]),
            (&json!("http://b/{id}"), &json!("PUT"))
        );
        let mut found = made.clone();
        assert!(is_like(&found, &made));
        found["requestParameters"] = json!({});
        assert!(!is_like(&found, &made));
    }

    #[test]
    fn what_is_there_is_known_again() {
        let wanted = document(&route("GET /a", RouteAuth::None), "i", None);
        let mut found = json!({
            "routeId": "r", "routeKey": "GET /a", "target": "integrations/i", "authorizationType": "NONE",
            "apiKeyRequired": false,
        });
        assert!(is_like(&found, &wanted));
        found["authorizationType"] = json!("AWS_IAM");
        assert!(!is_like(&found, &wanted));
    }

    #[test]
    fn arns_lose_their_versions() {
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
        assert_eq!(unqualified(arn), arn);
        assert_eq!(unqualified(&format!("{arn}:7")), arn);
    }
}
