//! `ephyra deploy`: a folder becomes a function, or a new state of one; waits until it is active.

use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;

use super::deployment::{self, Deployment};
use super::{entrance, url};
use crate::cli;
use crate::endpoint::Platform;
use crate::output::{Colour, Output};
use crate::project::Project;

pub(crate) async fn run(options: &cli::Deploy, output: &Output) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let project = Project::read(&options.folder)?;
    let platform = Platform::find(&options.target)?;
    let progress = output.progress(&format!("Packing {}", options.folder.display()));
    let package = project.package(&options.folder)?;
    let runtime = deployment::runtime(&platform, &project.runtime).await?;
    let deployment = Deployment {
        platform: &platform,
        project: &project,
        output,
        runtime: &runtime,
        package: &package,
    };
    progress.set_message(format!(
        "Sending {} ({} bytes) and waiting until it is active",
        project.name,
        package.len()
    ));
    let (sent, mut function) = deployment.send().await?;
    if options.publish {
        let path = format!("{}/versions", url::function_path(&project.name));
        function = platform.lambda.post(&path, &json!({})).await?;
    }
    let entrances = entrance::apply(&platform, &project, &function).await?;
    progress.finish_and_clear();
    let next = match entrances.shown(output).await {
        Some(addresses) => addresses,
        None => output.paint(Colour::Dim, &format!("Next: ephyra invoke {}", project.name)),
    };
    entrances.describe(&mut function);
    output.result(&function, |function| {
        format!(
            "{} {} ({}, {} MB, {} s{}) in {:.1} s\n{next}\n",
            output.paint(Colour::Green, sent.as_str()),
            project.name,
            runtime,
            project.memory,
            project.timeout,
            match function["Version"].as_str() {
                Some(version) if options.publish => format!(", version {version}"),
                _ => String::new(),
            },
            started.elapsed().as_secs_f64(),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
