//! `ephyra credentials`.

use std::process::ExitCode;

use crate::cli;
use crate::output::Output;
use crate::serve::credentials::Root;

pub(crate) fn run(options: &cli::Credentials, output: &Output) -> anyhow::Result<ExitCode> {
    // A platform that was given its credentials keeps none; who has them in the environment gave them.
    let root = match Root::from_environment()? {
        Some(root) => root,
        None => Root::read(&options.data)?,
    };
    if options.export && !output.json {
        println!("export AWS_ACCESS_KEY_ID={}", root.access_key_id);
        println!("export AWS_SECRET_ACCESS_KEY={}", root.secret_access_key);
        return Ok(ExitCode::SUCCESS);
    }
    output.result(&root, |root| {
        format!(
            "Access key id      {}\nSecret access key  {}\n",
            root.access_key_id, root.secret_access_key
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
