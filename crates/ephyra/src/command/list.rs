//! `ephyra list`.

use std::process::ExitCode;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use super::entrance::Entrances;
use super::{api, url};
use crate::cli;
use crate::endpoint::Platform;
use crate::output::{Output, table};

/// How many functions are asked for their URLs at once.
const AT_ONCE: usize = 16;

pub(crate) async fn run(options: &cli::List, output: &Output) -> anyhow::Result<ExitCode> {
    let platform = Platform::find(&options.target)?;
    let mut functions = Vec::new();
    let mut marker: Option<String> = None;
    loop {
        let mut query = vec![("MaxItems", "50".to_owned())];
        query.extend(marker.take().map(|marker| ("Marker", marker)));
        let mut page = platform.lambda.get("/2015-03-31/functions/", &query).await?;
        if let Value::Array(list) = page["Functions"].take() {
            functions.extend(list);
        }
        match page["NextMarker"].as_str() {
            Some(next) if !next.is_empty() => marker = Some(next.to_owned()),
            _ => break,
        }
    }
    add_addresses(&platform, &mut functions).await?;
    let address_of = |function: &Value| {
        let addresses = [&function["FunctionUrl"], &function["ApiEndpoint"]];
        let addresses: Vec<&str> = addresses.into_iter().filter_map(Value::as_str).collect();
        addresses.join(" ")
    };
    let has_addresses = functions.iter().any(|function| !address_of(function).is_empty());
    output.result(&functions, |functions| {
        if functions.is_empty() {
            return "No functions yet. Make one: ephyra new hello && ephyra deploy hello\n".to_owned();
        }
        let text = |function: &Value, member: &str| function[member].as_str().unwrap_or_default().to_owned();
        let header = ["NAME", "RUNTIME", "MEMORY", "TIMEOUT", "SIZE", "MODIFIED", "ADDRESS"];
        table(
            &header[..if has_addresses { 7 } else { 6 }],
            functions.iter().map(|function| {
                let mut row = vec![
                    text(function, "FunctionName"),
                    text(function, "Runtime"),
                    format!("{} MB", function["MemorySize"]),
                    format!("{} s", function["Timeout"]),
                    size(function["CodeSize"].as_u64().unwrap_or(0)),
                    text(function, "LastModified").chars().take(19).collect(),
                ];
                if has_addresses {
                    row.push(address_of(function));
                }
                row
            }),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Gives the functions that are reached over HTTP their addresses.
async fn add_addresses(platform: &Platform, functions: &mut [Value]) -> anyhow::Result<()> {
    let names = functions
        .iter()
        .map(|function| function["FunctionName"].as_str().unwrap_or_default().to_owned());
    let configs = stream::iter(names.collect::<Vec<_>>())
        .map(|name| async move { url::find(platform, &name, None).await })
        .buffered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    let apis = api::all(platform).await?;
    for (function, config) in functions.iter_mut().zip(configs) {
        let api = apis.iter().find(|api| api::is_of(api, &function["FunctionName"]));
        let entrances = Entrances {
            url: config.map(|config| url::address(platform, &config)).transpose()?,
            api: api.map(|api| api::address(platform, api)).transpose()?,
        };
        entrances.describe(function);
    }
    Ok(())
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
