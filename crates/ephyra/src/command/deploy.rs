//! `ephyra deploy`: a folder becomes a function, or a new state of one; waits until it is active.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ephyra_core::digest::Digest;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cli;
use crate::endpoint::{Platform, label};
use crate::output::{Colour, Output};
use crate::project::Project;

/// What a function without a role of its own is given; roles come with identities.
const ROLE_NAME: &str = "ephyra-function";

/// How long unpacking may take.
const ACTIVE_WITHIN: Duration = Duration::from_secs(120);

pub(crate) async fn run(options: &cli::Deploy, output: &Output) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let project = Project::read(&options.folder)?;
    let platform = Platform::find(&options.target)?;
    let progress = output.progress(&format!("Packing {}", options.folder.display()));
    let package = project.package(&options.folder)?;
    let runtime = runtime(&platform, &project.runtime).await?;
    let deployment = Deployment {
        platform: &platform,
        project: &project,
        output,
        runtime,
        code_sha256: STANDARD.encode(Digest::of(&package).as_bytes()),
        zip: STANDARD.encode(&package),
    };
    progress.set_message(format!(
        "Sending {} ({} bytes) and waiting until it is active",
        project.name,
        package.len()
    ));
    let (sent, mut function) = deployment.send().await?;
    if options.publish {
        function = platform
            .post(&format!("{}/versions", deployment.path()), &json!({}))
            .await?;
    }
    progress.finish_and_clear();
    output.result(&function, |function| {
        format!(
            "{} {} ({}, {} MB, {} s{}) in {:.1} s\n{}\n",
            output.paint(Colour::Green, sent.as_str()),
            project.name,
            deployment.runtime,
            project.memory,
            project.timeout,
            match function["Version"].as_str() {
                Some(version) if options.publish => format!(", version {version}"),
                _ => String::new(),
            },
            started.elapsed().as_secs_f64(),
            output.paint(Colour::Dim, &format!("Next: ephyra invoke {}", project.name)),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A family's name becomes the newest member that the platform has.
async fn runtime(platform: &Platform, wanted: &str) -> anyhow::Result<String> {
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

struct Deployment<'a> {
    platform: &'a Platform,
    project: &'a Project,
    output: &'a Output,
    runtime: String,
    code_sha256: String,
    zip: String,
}

/// What a deployment has done.
#[derive(Clone, Copy)]
enum Sent {
    Created,
    Updated,
    Unchanged,
}

impl Sent {
    const fn as_str(self) -> &'static str {
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
        format!("/2015-03-31/functions/{}", label(&self.project.name))
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
    async fn send(&self) -> anyhow::Result<(Sent, Value)> {
        let existing = self
            .platform
            .try_call(
                Method::GET,
                &format!("{}/configuration", self.path()),
                &[],
                &[],
                Vec::new().into(),
            )
            .await?;
        if existing.is_err_and(|failure| failure.status == StatusCode::NOT_FOUND) {
            let mut configuration = self.configuration(&Value::Null);
            configuration["FunctionName"] = json!(self.project.name);
            configuration["Role"] = json!(format!(
                "arn:aws:iam::{}:role/{ROLE_NAME}",
                self.platform.account().await?
            ));
            configuration["Code"] = json!({ "ZipFile": self.zip });
            self.platform.post("/2015-03-31/functions", &configuration).await?;
            return Ok((Sent::Created, self.wait().await?));
        }
        let now = self.wait().await?;
        let configuration = self.configuration(&now);
        let is_same_code = now["CodeSha256"] == json!(self.code_sha256);
        let is_same_configuration = CONFIGURED.iter().all(|member| now[member] == configuration[member])
            && now["Environment"]["Variables"] == configuration["Environment"]["Variables"];
        if is_same_code && is_same_configuration {
            return Ok((Sent::Unchanged, now));
        }
        self.platform
            .put(&format!("{}/code", self.path()), &json!({ "ZipFile": self.zip }))
            .await?;
        self.wait().await?;
        self.platform
            .put(&format!("{}/configuration", self.path()), &configuration)
            .await?;
        Ok((Sent::Updated, self.wait().await?))
    }

    /// Waits until the function is active and its last update is through.
    async fn wait(&self) -> anyhow::Result<Value> {
        let deadline = Instant::now() + ACTIVE_WITHIN;
        let mut pause = Duration::from_millis(5);
        loop {
            let function = self
                .platform
                .get(&format!("{}/configuration", self.path()), &[])
                .await?;
            match (function["State"].as_str(), function["LastUpdateStatus"].as_str()) {
                (Some("Active"), Some("Successful")) => return Ok(function),
                (Some("Failed"), _) => bail!(
                    "{} could not be started: {}",
                    self.project.name,
                    function["StateReason"]
                ),
                (_, Some("Failed")) => bail!(
                    "{} could not be updated: {}",
                    self.project.name,
                    function["LastUpdateStatusReason"]
                ),
                _ if Instant::now() > deadline => bail!(
                    "{} is not active after {} s; `ephyra list` and the platform's own log may say why",
                    self.project.name,
                    ACTIVE_WITHIN.as_secs()
                ),
                _ => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(Duration::from_millis(200));
        }
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
}
