//! `ephyra list`.

use std::process::ExitCode;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use super::url;
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
        let mut page = platform.get("/2015-03-31/functions/", &query).await?;
        if let Value::Array(list) = page["Functions"].take() {
            functions.extend(list);
        }
        match page["NextMarker"].as_str() {
            Some(next) if !next.is_empty() => marker = Some(next.to_owned()),
            _ => break,
        }
    }
    add_addresses(&platform, &mut functions).await?;
    let has_urls = functions.iter().any(|function| !function["FunctionUrl"].is_null());
    output.result(&functions, |functions| {
        if functions.is_empty() {
            return "No functions yet. Make one: ephyra new hello && ephyra deploy hello\n".to_owned();
        }
        let text = |function: &Value, member: &str| function[member].as_str().unwrap_or_default().to_owned();
        let header = ["NAME", "RUNTIME", "MEMORY", "TIMEOUT", "SIZE", "MODIFIED", "URL"];
        table(
            &header[..if has_urls { 7 } else { 6 }],
            functions.iter().map(|function| {
                let mut row = vec![
                    text(function, "FunctionName"),
                    text(function, "Runtime"),
                    format!("{} MB", function["MemorySize"]),
                    format!("{} s", function["Timeout"]),
                    size(function["CodeSize"].as_u64().unwrap_or(0)),
                    text(function, "LastModified").chars().take(19).collect(),
                ];
                if has_urls {
                    row.push(text(function, "FunctionUrl"));
                }
                row
            }),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Gives the functions that have a URL its address.
async fn add_addresses(platform: &Platform, functions: &mut [Value]) -> anyhow::Result<()> {
    let names = functions
        .iter()
        .map(|function| function["FunctionName"].as_str().unwrap_or_default().to_owned());
    let configs = stream::iter(names.collect::<Vec<_>>())
        .map(|name| async move { url::find(platform, &name, None).await })
        .buffered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    for (function, config) in functions.iter_mut().zip(configs) {
        if let Some(config) = config {
            let address = url::address(platform, &config)?;
            function["FunctionUrl"] = json!(address.function_url);
            function["FunctionUrlPath"] = json!(address.function_url_path);
        }
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
