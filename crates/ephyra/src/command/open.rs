//! `ephyra open`: a function's URL in the browser.

use std::io::IsTerminal as _;
use std::process::{ExitCode, Stdio};

use anyhow::Context as _;

use super::url;
use crate::cli;
use crate::endpoint::Platform;
use crate::output::Output;

/// The programs that open an address in the browser: of Linux desktops, and of macOS.
const OPENERS: [&str; 2] = ["xdg-open", "open"];

pub(crate) async fn run(options: &cli::Open, output: &Output) -> anyhow::Result<ExitCode> {
    let platform = Platform::find(&options.target)?;
    let name = &options.name;
    let config = url::find(&platform, name, options.qualifier.as_deref()).await?;
    let Some(config) = config else {
        // A function that is not there is another matter.
        let function = platform.get(&url::function_path(name), &[]).await;
        function.with_context(|| format!("{name} cannot be opened"))?;
        anyhow::bail!("{name} has no URL: say `url = true` in its ephyra.toml and deploy it again");
    };
    let address = url::address(&platform, &config)?;
    let usable = address.usable().await;
    if config["AuthType"] != "NONE" {
        output.note("It takes signed requests alone; a browser will be refused.");
    }
    let is_for_a_person = std::io::stdout().is_terminal() && !options.print && !output.json;
    if is_for_a_person && open(usable) {
        output.note(&format!("Opening {usable}"));
        return Ok(ExitCode::SUCCESS);
    }
    output.result(&address, |_| format!("{usable}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Hands an address to the desktop; `false` where there is none.
fn open(address: &str) -> bool {
    // Without a display xdg-open would start a browser in this terminal.
    let has_desktop = cfg!(target_os = "macos")
        || ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    has_desktop
        && OPENERS.iter().any(|opener| {
            std::process::Command::new(opener)
                .arg(address)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        })
}
