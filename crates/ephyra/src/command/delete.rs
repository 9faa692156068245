//! `ephyra delete`.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::bail;

use super::{api, url};
use crate::cli;
use crate::endpoint::Platform;
use crate::output::{Colour, Output};

pub(crate) async fn run(options: &cli::Delete, output: &Output) -> anyhow::Result<ExitCode> {
    let platform = Platform::find(&options.target)?;
    if !options.yes && !confirm(&options.names)? {
        bail!("nothing was deleted");
    }
    for name in &options.names {
        api::delete(&platform, name).await?;
        platform.lambda.delete(&url::function_path(name)).await?;
        output.note(&format!("{} {name}", output.paint(Colour::Green, "Deleted")));
    }
    output.result(&serde_json::json!({ "deleted": options.names }), |_| String::new())?;
    Ok(ExitCode::SUCCESS)
}

fn confirm(names: &[String]) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!(
            "this deletes {} for good: say --yes to do it without being asked",
            names.join(", ")
        );
    }
    eprint!("Delete {} with all versions and aliases? [y/N] ", names.join(", "));
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
