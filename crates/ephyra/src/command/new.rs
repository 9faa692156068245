//! `ephyra new`: a folder with a function that works as it is.

use std::os::unix::fs::PermissionsExt as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use ephyra_core::id::FunctionName;
use serde_json::json;

use crate::cli;
use crate::output::{Colour, Output};
use crate::template;

pub(crate) fn run(options: &cli::New, output: &Output) -> anyhow::Result<ExitCode> {
    let folder = &options.folder;
    let name = folder
        .file_name()
        .and_then(|name| name.to_str())
        .with_context(|| format!("{} has no name to give to the function", folder.display()))?;
    let name: FunctionName = name
        .parse()
        .context("the folder's name becomes the function's: choose another")?;
    let template = template::of_runtime(&options.runtime).with_context(|| {
        format!(
            "there is no template for runtime {:?}: take python, nodejs, java, wasm or provided, or one of `ephyra runtime list`",
            options.runtime
        )
    })?;
    if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        bail!(
            "{} is there already and not empty: choose another name",
            folder.display()
        );
    }
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    for file in template.files(name.as_str(), &options.runtime, options.url) {
        let path = folder.join(file.name);
        std::fs::write(&path, &file.text).with_context(|| format!("{} cannot be written", path.display()))?;
        if file.is_executable {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        }
    }
    output.result(&json!({ "name": name.as_str(), "folder": folder }), |_| {
        format!(
            "{} {}\n\nNext: {build}ephyra deploy {folder} && ephyra invoke {name}\n",
            output.paint(Colour::Green, "Made"),
            folder.display(),
            build = template.build(folder),
            folder = folder.display(),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
