//! Functions through the API: made, waited for, called, deleted.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::connection::Connection;
use crate::language::{Interpreters, Language};

const FUNCTIONS: &str = "/2015-03-31/functions";
/// How long a function may take until it can be called.
const ACTIVE_TIMEOUT: Duration = Duration::from_secs(30);
/// The event of every call.
pub(crate) const EVENT: &[u8] = b"{}";

/// What a function is made of.
pub(crate) struct Spec<'a> {
    pub(crate) name: &'a str,
    pub(crate) language: Language,
    pub(crate) memory_mb: u32,
}

/// Makes a function.
pub(crate) async fn create(connection: &mut Connection, interpreters: &Interpreters, spec: &Spec<'_>) -> Result<()> {
    let package = STANDARD.encode(spec.language.package(spec.name)?);
    let body = json!({
        "FunctionName": spec.name,
        "Runtime": interpreters.of(spec.language).runtime,
        "Role": "arn:aws:iam::000000000000:role/bench",
        "Handler": spec.language.handler(),
        "Code": { "ZipFile": package },
        "MemorySize": spec.memory_mb,
        "Timeout": 30,
    });
    connection
        .call(Method::POST, FUNCTIONS, "", body.to_string().into())
        .await?;
    Ok(())
}

/// Makes a function and waits until it can be called.
pub(crate) async fn deploy(connection: &mut Connection, interpreters: &Interpreters, spec: &Spec<'_>) -> Result<()> {
    create(connection, interpreters, spec).await?;
    until_active(connection, spec.name).await
}

async fn until_active(connection: &mut Connection, name: &str) -> Result<()> {
    let deadline = Instant::now() + ACTIVE_TIMEOUT;
    loop {
        let path = format!("{FUNCTIONS}/{name}/configuration");
        let answer = connection.call(Method::GET, &path, "", Bytes::new()).await?;
        let configuration: Value = serde_json::from_slice(&answer).context("a configuration is JSON")?;
        match configuration["State"].as_str() {
            Some("Active") => return Ok(()),
            Some("Pending") if Instant::now() < deadline => sleep(Duration::from_millis(5)).await,
            state => bail!("{name} is {state:?}: {}", configuration["StateReason"]),
        }
    }
}

/// A signed call, to be sent later.
pub(crate) fn invocation(connection: &Connection, name: &str) -> Result<Request<Full<Bytes>>> {
    let path = format!("{FUNCTIONS}/{name}/invocations");
    connection.signed(Method::POST, &path, "", Bytes::from_static(EVENT))
}

/// Calls a function and says how long that took, from the first byte sent to the last one read.
pub(crate) async fn invoke(connection: &mut Connection, name: &str) -> Result<Duration> {
    let request = invocation(connection, name)?;
    let start = Instant::now();
    let (status, body) = connection.send(request).await?;
    let took = start.elapsed();
    ensure!(
        status == 200 && body == "null",
        "the call of {name} was answered {status}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(took)
}

/// Deletes a function.
pub(crate) async fn delete(connection: &mut Connection, name: &str) -> Result<()> {
    let path = format!("{FUNCTIONS}/{name}");
    connection.call(Method::DELETE, &path, "", Bytes::new()).await?;
    Ok(())
}

/// The names of all functions, page by page, and how long the pages took.
pub(crate) async fn list(connection: &mut Connection) -> Result<(Vec<String>, Vec<Duration>)> {
    let (mut names, mut times) = (Vec::new(), Vec::new());
    let mut query = "MaxItems=50".to_owned();
    loop {
        let start = Instant::now();
        let answer = connection.call(Method::GET, FUNCTIONS, &query, Bytes::new()).await?;
        times.push(start.elapsed());
        let page: Value = serde_json::from_slice(&answer).context("a page is JSON")?;
        let functions = page["Functions"].as_array().context("a page holds functions")?;
        names.extend(
            functions
                .iter()
                .filter_map(|one| one["FunctionName"].as_str().map(str::to_owned)),
        );
        match page["NextMarker"].as_str() {
            Some(marker) => query = format!("Marker={}&MaxItems=50", ephyra_wire::client::encode_segment(marker)),
            None => return Ok((names, times)),
        }
        ensure!(times.len() < 100_000, "the pages do not end");
    }
}
