//! A project's way to the platform: what of a function is not as it should be is sent, and waited for.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ephyra_core::digest::Digest;
use serde_json::{Value, json};

use super::url::function_path;
use crate::endpoint::Platform;
use crate::output::Output;
use crate::project::Project;

/// What a function without a role of its own is given; roles come with identities.
const ROLE_NAME: &str = "ephyra-function";

/// How long unpacking may take.
const ACTIVE_WITHIN: Duration = Duration::from_secs(120);

/// A family's name becomes the newest member that the platform has.
pub(super) async fn runtime(platform: &Platform, wanted: &str) -> anyhow::Result<String> {
    if !matches!(wanted, "python" | "nodejs" | "java" | "provided") {
        return Ok(wanted.to_owned());
    }
    let runtimes = platform.get_own("/_ephyra/runtimes").await?;
    let newest = runtimes["runtimes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|runtime| runtime["identifier"].as_str())
        .filter(|identifier| identifier.starts_with(wanted))
        .max_by_key(|identifier| version_of(identifier));
    newest.map(str::to_owned).with_context(|| {
        format!("the platform has no {wanted} runtime; install an interpreter there and start it again (`ephyra runtime list` shows what it finds)")
    })
}

/// The numbers in an identifier: `python3.13` is (3, 13).
fn version_of(identifier: &str) -> Vec<u32> {
    identifier
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// A package with its settings, on its way.
pub(super) struct Deployment<'a> {
    pub(super) platform: &'a Platform,
    pub(super) project: &'a Project,
    pub(super) output: &'a Output,
    /// The identifier of a runtime that the platform has.
    pub(super) runtime: &'a str,
    /// The zip.
    pub(super) package: &'a [u8],
}

/// What a deployment has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Created,
    Updated,
    Unchanged,
}

impl Sent {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Updated => "Updated",
            Self::Unchanged => "Unchanged:",
        }
    }
}

/// The members of a configuration that an `ephyra.toml` decides, beside its variables.
const CONFIGURED: [&str; 5] = ["Runtime", "Handler", "MemorySize", "Timeout", "Description"];

impl Deployment<'_> {
    fn path(&self) -> String {
        function_path(&self.project.name)
    }

    /// What the function is to be, when it is `deployed` now.
    fn configuration(&self, deployed: &Value) -> Value {
        let (variables, missing) = self.project.variables(
            |name| std::env::var(name).ok(),
            |name| deployed["Environment"]["Variables"][name].as_str().map(str::to_owned),
        );
        for name in missing {
            self.output
                .note(&format!("{name} has no value: set it in your shell and deploy again"));
        }
        json!({
            "Runtime": self.runtime,
            "Handler": self.project.handler,
            "MemorySize": self.project.memory,
            "Timeout": self.project.timeout,
            "Description": self.project.description,
            "Environment": { "Variables": variables },
        })
    }

    /// Creates the function, or updates what of it is not as it should be; returns it once it is active.
    pub(super) async fn send(&self) -> anyhow::Result<(Sent, Value)> {
        let path = format!("{}/configuration", self.path());
        if self.platform.lambda.find_document(&path, &[]).await?.is_none() {
            let mut configuration = self.configuration(&Value::Null);
            configuration["FunctionName"] = json!(self.project.name);
            configuration["Role"] = json!(format!(
                "arn:aws:iam::{}:role/{ROLE_NAME}",
                self.platform.account().await?
            ));
            configuration["Code"] = json!({ "ZipFile": STANDARD.encode(self.package) });
            self.platform
                .lambda
                .post("/2015-03-31/functions", &configuration)
                .await?;
            return Ok((Sent::Created, self.active().await?));
        }
        let now = self.settled().await?;
        let configuration = self.configuration(&now);
        let code_sha256 = STANDARD.encode(Digest::of(self.package).as_bytes());
        let is_same_code = now["CodeSha256"] == json!(code_sha256);
        let is_same_configuration = CONFIGURED.iter().all(|member| now[member] == configuration[member])
            && now["Environment"]["Variables"] == configuration["Environment"]["Variables"];
        // What has failed is sent again: it may have been the platform.
        if is_same_code && is_same_configuration && failure(&now).is_none() {
            return Ok((Sent::Unchanged, now));
        }
        if !is_same_code || failure(&now).is_some() {
            let code = json!({ "ZipFile": STANDARD.encode(self.package) });
            self.platform
                .lambda
                .put(&format!("{}/code", self.path()), &code)
                .await?;
        }
        if !is_same_configuration {
            self.settled().await?;
            self.platform.lambda.put(&path, &configuration).await?;
        }
        Ok((Sent::Updated, self.active().await?))
    }

    /// Waits until the function is active and its last update is through.
    async fn active(&self) -> anyhow::Result<Value> {
        let function = self.settled().await?;
        match failure(&function) {
            None => Ok(function),
            Some((what, reason)) => bail!("{} could not be {what}: {reason}", self.project.name),
        }
    }

    /// Waits until nothing is under way for the function, well or not.
    async fn settled(&self) -> anyhow::Result<Value> {
        let deadline = Instant::now() + ACTIVE_WITHIN;
        let mut pause = Duration::from_millis(5);
        loop {
            let function = self
                .platform
                .lambda
                .get(&format!("{}/configuration", self.path()), &[])
                .await?;
            let is_under_way = function["State"] == "Pending" || function["LastUpdateStatus"] == "InProgress";
            if !is_under_way {
                return Ok(function);
            }
            if Instant::now() > deadline {
                bail!(
                    "{} is not active after {} s; `ephyra list` and the platform's own log may say why",
                    self.project.name,
                    ACTIVE_WITHIN.as_secs()
                );
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }
}

/// What a function has failed at, and why.
fn failure(function: &Value) -> Option<(&'static str, &str)> {
    let reason = |member: &str| function[member].as_str().unwrap_or("the platform does not say why");
    if function["State"] == "Failed" {
        Some(("started", reason("StateReason")))
    } else if function["LastUpdateStatus"] == "Failed" {
        Some(("updated", reason("LastUpdateStatusReason")))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_found_by_number_not_by_letter() {
        let newest = ["python3.9", "python3.13", "python3.8"]
            .into_iter()
            .max_by_key(|i| version_of(i));
        assert_eq!(newest, Some("python3.13"));
    }

    #[test]
    fn what_has_failed_says_at_what_and_why() {
        let function =
            json!({ "State": "Active", "LastUpdateStatus": "Failed", "LastUpdateStatusReason": "no module" });
        assert_eq!(failure(&function), Some(("updated", "no module")));
        assert_eq!(
            failure(&json!({ "State": "Failed" })).map(|(what, _)| what),
            Some("started")
        );
        assert_eq!(
            failure(&json!({ "State": "Active", "LastUpdateStatus": "Successful" })),
            None
        );
    }
}
