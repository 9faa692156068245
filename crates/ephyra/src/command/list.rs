//! `ephyra list`.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli;
use crate::endpoint::Platform;
use crate::output::{Output, table};

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
    output.result(&functions, |functions| {
        if functions.is_empty() {
            return "No functions yet. Make one: ephyra new hello && ephyra deploy hello\n".to_owned();
        }
        let text = |function: &Value, member: &str| function[member].as_str().unwrap_or_default().to_owned();
        table(
            &["NAME", "RUNTIME", "MEMORY", "TIMEOUT", "SIZE", "MODIFIED"],
            functions.iter().map(|function| {
                vec![
                    text(function, "FunctionName"),
                    text(function, "Runtime"),
                    format!("{} MB", function["MemorySize"]),
                    format!("{} s", function["Timeout"]),
                    size(function["CodeSize"].as_u64().unwrap_or(0)),
                    text(function, "LastModified").chars().take(19).collect(),
                ]
            }),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
