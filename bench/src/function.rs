//! Functions through the API: made, waited for, called, deleted.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use crate::connection::{Bytes, Connection, signed, signed_for};
use crate::crowd::Crowd;
use crate::language::{Language, Languages};
use crate::stop;

const FUNCTIONS: &str = "/2015-03-31/functions";
/// How long a function may take until it can be called.
const ACTIVE_TIME: Duration = Duration::from_secs(60);
/// Connections on which many functions are made.
const MAKERS: usize = 16;
/// The event of every call.
pub(crate) const EVENT: &[u8] = b"{}";
/// What every function answers.
pub(crate) const ANSWER: &[u8] = b"null";

/// What a function is made of.
pub(crate) struct Spec<'a> {
    pub(crate) name: &'a str,
    pub(crate) language: Language,
    pub(crate) memory_mb: u32,
}

/// The API, over a connection of its own.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    connection: Connection,
}

impl Api {
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        Ok(Self {
            address,
            connection: Connection::open(address)?,
        })
    }

    /// A signed call that has to succeed.
    pub(crate) fn call(
        &mut self,
        method: &Method,
        path: &str,
        query: &str,
        body: &[u8],
    ) -> Result<(Vec<u8>, Duration)> {
        let request = signed(self.address, method, path, query, body)?;
        let what = format!("{method} {path}");
        let (reply, took) = self.connection.send(&request).with_context(|| what.clone())?;
        Ok((reply.success(&what)?, took))
    }

    /// A call of another service, of JSON and answered with JSON, that has to succeed.
    pub(crate) fn call_service(&mut self, service: &str, path: &str, body: &Value) -> Result<Value> {
        let body = body.to_string();
        let request = signed_for(service, self.address, &Method::POST, path, "", body.as_bytes())?;
        let (reply, _) = self.connection.send(&request).with_context(|| path.to_owned())?;
        serde_json::from_slice(&reply.success(path)?).with_context(|| format!("{path} is not answered with JSON"))
    }

    /// Gives a function a URL that anybody may call, and says its host.
    pub(crate) fn open_url(&mut self, name: &str, mode: &str) -> Result<String> {
        let url = json!({ "AuthType": "NONE", "InvokeMode": mode });
        let made = self.call_service("lambda", &format!("/2021-10-31/functions/{name}/url"), &url)?;
        let permission = json!({
            "StatementId": "everybody", "Action": "lambda:InvokeFunctionUrl", "Principal": "*",
            "FunctionUrlAuthType": "NONE",
        });
        self.call_service("lambda", &format!("{FUNCTIONS}/{name}/policy"), &permission)?;
        let url: http::Uri = made["FunctionUrl"].as_str().context("there is a URL")?.parse()?;
        Ok(url.authority().context("a URL has a host")?.to_string())
    }

    /// Makes a function with an empty handler and waits until it can be called.
    pub(crate) fn deploy(&mut self, languages: &Languages, spec: &Spec<'_>) -> Result<()> {
        let package = languages.package(spec.language, spec.name)?;
        self.deploy_package(languages, spec, &package)
    }

    /// Makes a function of a package and waits until it can be called.
    pub(crate) fn deploy_package(&mut self, languages: &Languages, spec: &Spec<'_>, package: &[u8]) -> Result<()> {
        let body = creation(languages, spec, package)?;
        self.call(&Method::POST, FUNCTIONS, "", body.as_bytes())?;
        self.until_ready(spec.name)
    }

    /// Gives a function another package, which makes it as new: none of its environments is used again.
    pub(crate) fn renew(&mut self, languages: &Languages, name: &str, language: Language, note: &str) -> Result<()> {
        let package = STANDARD.encode(languages.package(language, note)?);
        let body = json!({ "ZipFile": package }).to_string();
        self.call(&Method::PUT, &format!("{FUNCTIONS}/{name}/code"), "", body.as_bytes())?;
        self.until_ready(name)
    }

    fn until_ready(&mut self, name: &str) -> Result<()> {
        stop::until(&format!("{name}, ready to be called,"), ACTIVE_TIME, || {
            let path = format!("{FUNCTIONS}/{name}/configuration");
            let (answer, _) = self.call(&Method::GET, &path, "", b"")?;
            let configuration: Value = serde_json::from_slice(&answer).context("a configuration is JSON")?;
            let states = [&configuration["State"], &configuration["LastUpdateStatus"]];
            match states.map(|state| state.as_str().unwrap_or_default()) {
                ["Active", "Successful" | ""] => Ok(true),
                ["Active" | "Pending", "InProgress" | "Successful" | ""] => Ok(false),
                states => bail!("{name} is {states:?}: {}", configuration["StateReason"]),
            }
        })
    }

    /// Calls a function and says how long that took, from the first byte sent to the last one read.
    pub(crate) fn invoke(&mut self, name: &str) -> Result<Duration> {
        let request = invocation(self.address, name)?;
        self.connection
            .expect(&request, ANSWER)
            .with_context(|| name.to_owned())
    }

    pub(crate) fn delete(&mut self, name: &str) -> Result<()> {
        self.call(&Method::DELETE, &format!("{FUNCTIONS}/{name}"), "", b"")?;
        Ok(())
    }

    /// Waits until all of these can be called.
    pub(crate) fn until_all_ready(&mut self, names: &[String]) -> Result<()> {
        names.iter().try_for_each(|name| self.until_ready(name))
    }

    /// Makes many functions, on many connections.
    pub(crate) fn deploy_many(
        &mut self,
        languages: &Languages,
        language: impl Fn(usize) -> Language,
        memory_mb: u32,
        names: &[String],
    ) -> Result<()> {
        let mut requests = VecDeque::new();
        for (number, name) in names.iter().enumerate() {
            let language = language(number);
            let spec = Spec {
                name,
                language,
                memory_mb,
            };
            let body = creation(languages, &spec, &languages.package(language, name)?)?;
            requests.push_back(signed(self.address, &Method::POST, FUNCTIONS, "", body.as_bytes())?);
        }
        Crowd::open(self.address, MAKERS.min(names.len().max(1)))?
            .run(|_| requests.pop_front())?
            .all_good("functions are made")?;
        Ok(())
    }

    /// The names of all functions, page by page, and how long the pages took.
    pub(crate) fn list(&mut self) -> Result<(Vec<String>, Vec<Duration>)> {
        let (mut names, mut times) = (Vec::new(), Vec::new());
        let mut query = "MaxItems=50".to_owned();
        loop {
            let (answer, took) = self.call(&Method::GET, FUNCTIONS, &query, b"")?;
            times.push(took);
            let page: Value = serde_json::from_slice(&answer).context("a page is JSON")?;
            let functions = page["Functions"].as_array().context("a page holds functions")?;
            let on_page = functions.iter().filter_map(|one| one["FunctionName"].as_str());
            names.extend(on_page.map(str::to_owned));
            match page["NextMarker"].as_str() {
                Some(marker) => query = format!("Marker={}&MaxItems=50", ephyra_wire::client::encode_segment(marker)),
                None => return Ok((names, times)),
            }
            ensure!(times.len() < 100_000, "the pages do not end");
        }
    }
}

/// A signed call of a function.
pub(crate) fn invocation(address: SocketAddr, name: &str) -> Result<Bytes> {
    let path = format!("{FUNCTIONS}/{name}/invocations");
    signed(address, &Method::POST, &path, "", EVENT)
}

/// Signed calls of functions, in their order.
pub(crate) fn invocations(address: SocketAddr, names: &[String]) -> Result<VecDeque<Bytes>> {
    names.iter().map(|name| invocation(address, name)).collect()
}

fn creation(languages: &Languages, spec: &Spec<'_>, package: &[u8]) -> Result<String> {
    let body = json!({
        "FunctionName": spec.name,
        "Runtime": languages.need(spec.language)?.identifier,
        "Role": "arn:aws:iam::000000000000:role/bench",
        "Handler": spec.language.handler(),
        "Code": { "ZipFile": STANDARD.encode(package) },
        "MemorySize": spec.memory_mb,
        "Timeout": 30,
    });
    Ok(body.to_string())
}
