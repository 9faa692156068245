//! An HTTP API: an empty function behind a JWT authorizer and throttling, beside the same handler in a bare server; and what
//! the front door answers by itself, beside bare hyper.

use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};

use super::issuer::Issuer;
use super::{MEMORY_MB, PART, Side, take_turns};
use crate::Bench;
use crate::bare::front::Front;
use crate::connection::{to_host, unsigned};
use crate::function::{Api, EVENT, Spec};
use crate::language::{Language, zip};
use crate::part::ABSENT;
use crate::peer;
use crate::report::{Bar, Grid, Report};
use crate::stats::median;

/// What has to be reached of the bare server with an authorizer and throttling on.
const GUARDED: f64 = 0.5;
/// What the front door has to reach of bare hyper where it answers by itself.
const ALONE: f64 = 0.6;
const AUDIENCE: &str = "bench";
/// Requests a second that nobody reaches: throttling is on and lets all through.
const RATE: u32 = 10_000_000;

pub(super) fn measure(bench: &Bench, report: &mut Report, grid: &mut Grid) -> Result<()> {
    if bench.languages.of(Language::Node).is_none() {
        report.absent(PART, "HTTP APIs", ABSENT);
        return Ok(());
    }
    let server = bench.program.start(&[])?;
    let mut api = Api::open(server.address)?;
    let spec = Spec {
        name: "door",
        language: Language::Node,
        memory_mb: MEMORY_MB,
    };
    api.deploy(&bench.languages, &spec)?;
    let deny = "exports.handler = async () => ({ isAuthorized: false });\n";
    let package = zip(&[("index.js", deny.as_bytes())])?;
    let keeper = Spec { name: "keeper", ..spec };
    api.deploy_package(&bench.languages, &keeper, &package)?;
    let issuer = Issuer::start()?;
    let host = set_up(&mut api, &issuer)?;

    let token = format!("authorization: Bearer {}\r\n", issuer.token(AUDIENCE)?);
    let mut guarded = Side::new(server.address, to_host(&host, &Method::POST, "/guarded", &token, EVENT))?;
    let what = "node: HTTP API with a JWT authorizer and throttling";
    if let Some(running) = peer::start(bench, "node:http")? {
        let mut bare = Side::new(running.address, running.request.clone())?;
        take_turns(bench, &mut [&mut bare, &mut guarded])?;
        let ratio = median(&mut guarded.against(&bare).collect::<Vec<_>>()).context("no turn was made")?;
        guarded.report(PART, report, grid, what)?;
        let title = format!("{what}: of node:http");
        report.value_with_bar(PART, &title, ratio, "×", Bar::AtLeast(GUARDED));
    } else {
        report.absent(PART, "node:http", "not installed");
        take_turns(bench, &mut [&mut guarded])?;
        guarded.report(PART, report, grid, what)?;
    }

    let front = Front::hello()?;
    let mut bare = Side::new(front.address, unsigned(front.address, &Method::POST, "/", EVENT))?;
    let key = "authorization: nobody\r\n";
    let mut denied = Side::new(server.address, to_host(&host, &Method::POST, "/denied", key, EVENT))?.answered(403);
    let mut lost = Side::new(server.address, to_host(&host, &Method::POST, "/nowhere", "", EVENT))?.answered(404);
    take_turns(bench, &mut [&mut bare, &mut denied, &mut lost])?;
    let told = [("403 from the authorizer's cache", denied), ("404", lost)];
    let ratios = told
        .each_ref()
        .map(|(_, side)| median(&mut side.against(&bare).collect::<Vec<_>>()));
    bare.report(PART, report, grid, "bare hyper")?;
    for ((name, side), ratio) in told.into_iter().zip(ratios) {
        let name = format!("the front door alone: {name}");
        side.report(PART, report, grid, &name)?;
        let ratio = ratio.context("no turn was made")?;
        report.value_with_bar(PART, &format!("{name}: of bare hyper"), ratio, "×", Bar::AtLeast(ALONE));
    }
    server.stop()
}

/// Makes an API with a route behind each kind of authorizer, and says its host.
fn set_up(api: &mut Api, issuer: &Issuer) -> Result<String> {
    let mut call = |path: &str, body: Value| api.call_service("apigateway", path, &body);
    let text = |document: &Value, member: &str| -> Result<String> {
        Ok(document[member]
            .as_str()
            .with_context(|| format!("there is no {member}"))?
            .to_owned())
    };
    let made = call("/v2/apis", json!({ "name": "door", "protocolType": "HTTP" }))?;
    let host: http::Uri = text(&made, "apiEndpoint")?.parse()?;
    let base = format!("/v2/apis/{}", text(&made, "apiId")?);
    let function = |name: &str| format!("arn:aws:lambda:us-east-1:000000000000:function:{name}");
    let integration = json!({
        "integrationType": "AWS_PROXY", "integrationUri": function("door"), "payloadFormatVersion": "2.0",
    });
    let integration = text(&call(&format!("{base}/integrations"), integration)?, "integrationId")?;
    let jwt = json!({
        "name": "jwt", "authorizerType": "JWT", "identitySource": ["$request.header.Authorization"],
        "jwtConfiguration": { "issuer": issuer.name(), "audience": [AUDIENCE] },
    });
    let jwt = text(&call(&format!("{base}/authorizers"), jwt)?, "authorizerId")?;
    let keeper = format!(
        "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{}/invocations",
        function("keeper")
    );
    let custom = json!({
        "name": "custom", "authorizerType": "REQUEST", "identitySource": ["$request.header.Authorization"],
        "authorizerUri": keeper, "authorizerPayloadFormatVersion": "2.0", "enableSimpleResponses": true,
        "authorizerResultTtlInSeconds": 3600,
    });
    let custom = text(&call(&format!("{base}/authorizers"), custom)?, "authorizerId")?;
    for (key, kind, authorizer) in [("POST /guarded", "JWT", jwt), ("POST /denied", "CUSTOM", custom)] {
        let route = json!({
            "routeKey": key, "target": format!("integrations/{integration}"), "authorizationType": kind,
            "authorizerId": authorizer,
        });
        call(&format!("{base}/routes"), route)?;
    }
    let stage = json!({
        "stageName": "$default", "autoDeploy": true,
        "defaultRouteSettings": { "throttlingBurstLimit": RATE, "throttlingRateLimit": RATE },
    });
    call(&format!("{base}/stages"), stage)?;
    Ok(host.authority().context("an endpoint has a host")?.to_string())
}
