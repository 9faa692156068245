//! `ephyra open`: a function's URL, or else its routes, in the browser.

use std::io::IsTerminal as _;
use std::process::{ExitCode, Stdio};

use anyhow::Context as _;
use serde_json::json;

use super::{api, url};
use crate::address::Address;
use crate::cli;
use crate::endpoint::Platform;
use crate::output::Output;

/// The programs that open an address in the browser: of Linux desktops, and of macOS.
const OPENERS: [&str; 2] = ["xdg-open", "open"];

pub(crate) async fn run(options: &cli::Open, output: &Output) -> anyhow::Result<ExitCode> {
    let platform = Platform::find(&options.target)?;
    let name = &options.name;
    let config = url::find(&platform, name, options.qualifier.as_deref()).await?;
    let address = match &config {
        Some(config) => url::address(&platform, config)?,
        None => address_of_api(&platform, name).await?,
    };
    let usable = address.usable().await;
    if config.is_some_and(|config| config["AuthType"] != "NONE") {
        output.note("It takes signed requests alone; a browser will be refused.");
    }
    let is_for_a_person = std::io::stdout().is_terminal() && !options.print && !output.json;
    if is_for_a_person && open(usable) {
        output.note(&format!("Opening {usable}"));
        return Ok(ExitCode::SUCCESS);
    }
    let document = json!({ "Address": address.told, "AddressPath": address.by_path });
    output.result(&document, |_| format!("{usable}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The address of a function's routes.
async fn address_of_api(platform: &Platform, name: &str) -> anyhow::Result<Address> {
    // A function that is not there is another matter than one that nothing leads to.
    let function = platform.lambda.get(&url::function_path(name), &[]).await;
    function.with_context(|| format!("{name} cannot be opened"))?;
    let api = api::find(platform, name).await?;
    let api = api.with_context(|| {
        format!("{name} has neither a URL nor routes: say `url = true` in its ephyra.toml and deploy it again")
    })?;
    api::address(platform, &api)
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
