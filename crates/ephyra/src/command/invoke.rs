//! `ephyra invoke`: the answer on standard output; the log and the timing on standard error.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::cli;
use crate::endpoint::{Platform, label};
use crate::output::{Colour, Output};

pub(crate) async fn run(options: &cli::Invoke, output: &Output) -> anyhow::Result<ExitCode> {
    let platform = Platform::find(&options.target)?;
    let payload = payload(&options.payload)?;
    let query: Vec<_> = options.qualifier.iter().map(|q| ("Qualifier", q.clone())).collect();
    let headers: &[(&str, &str)] = match options.event {
        true => &[("x-amz-invocation-type", "Event")],
        false => &[("x-amz-log-type", "Tail")],
    };
    let path = format!("/2015-03-31/functions/{}/invocations", label(&options.name));
    let started = Instant::now();
    let answer = platform.call(Method::POST, &path, &query, headers, payload).await?;
    let round_trip = started.elapsed();
    if options.event {
        let request_id = answer.header("x-amzn-requestid");
        output.result(&json!({ "requestId": request_id, "accepted": true }), |_| {
            format!("Accepted; it runs as request {request_id}\n")
        })?;
        return Ok(ExitCode::SUCCESS);
    }

    let error = !answer.header("x-amz-function-error").is_empty();
    let log = STANDARD
        .decode(answer.header("x-amz-log-result"))
        .context("the platform's X-Amz-Log-Result is not base64")?;
    let log = String::from_utf8_lossy(&log).into_owned();
    let report = Report::find(&log);
    if output.json {
        let result = serde_json::from_slice(&answer.body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&answer.body).into_owned()));
        let document = json!({
            "result": result,
            "functionError": error.then(|| answer.header("x-amz-function-error")),
            "executedVersion": answer.header("x-amz-executed-version"),
            "requestId": answer.header("x-amzn-requestid"),
            "log": log,
            "timing": { "roundTripMs": (round_trip.as_secs_f64() * 1e6).round() / 1000.0, "report": report },
        });
        output.result(&document, |_| String::new())?;
    } else {
        for line in log.lines() {
            eprintln!("{}", output.paint(Colour::Dim, line));
        }
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&answer.body)?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
        let (colour, word) = if error {
            (Colour::Red, "Failed")
        } else {
            (Colour::Green, "Done")
        };
        eprintln!(
            "{} in {:.1} ms{}",
            output.paint(colour, word),
            round_trip.as_secs_f64() * 1000.0,
            report.map_or_else(String::new, |report| report.text()),
        );
    }
    Ok(if error { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The event: the text itself, `@FILE`, or `-` for standard input.
fn payload(text: &str) -> anyhow::Result<Bytes> {
    let bytes = if text == "-" {
        let mut bytes = Vec::new();
        std::io::stdin()
            .read_to_end(&mut bytes)
            .context("standard input cannot be read")?;
        bytes
    } else if let Some(file) = text.strip_prefix('@') {
        std::fs::read(file).with_context(|| format!("{file} cannot be read"))?
    } else {
        text.as_bytes().to_vec()
    };
    serde_json::from_slice::<serde::de::IgnoredAny>(&bytes)
        .context("the event is not JSON; quote it for the shell: --payload '{\"key\": \"value\"}'")?;
    Ok(bytes.into())
}

/// What the REPORT line says.
#[derive(Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    duration_ms: f64,
    billed_duration_ms: f64,
    #[serde(rename = "maxMemoryUsedMB")]
    max_memory_used_mb: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    init_duration_ms: Option<f64>,
}

impl Report {
    fn find(log: &str) -> Option<Self> {
        let line = log.lines().rev().find(|line| line.starts_with("REPORT "))?;
        // Each figure is followed by its unit, always the same.
        let field = |name: &str| {
            let text = line
                .split('\t')
                .find_map(|part| part.strip_prefix(name)?.strip_prefix(": "))?;
            text.split(' ').next()?.parse().ok()
        };
        Some(Self {
            duration_ms: field("Duration")?,
            billed_duration_ms: field("Billed Duration")?,
            max_memory_used_mb: field("Max Memory Used")?,
            init_duration_ms: field("Init Duration"),
        })
    }

    fn text(&self) -> String {
        let start = match self.init_duration_ms {
            Some(init) => format!("cold start, init {init} ms"),
            None => "warm".to_owned(),
        };
        format!(
            " (handler {} ms, billed {} ms, {start}, memory {} MB)",
            self.duration_ms, self.billed_duration_ms, self.max_memory_used_mb
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_line_is_taken_apart() {
        let log = "START RequestId: 1 Version: $LATEST\nREPORT RequestId: 1\tDuration: 3.01 ms\tBilled Duration: 114 ms\t\
                   Memory Size: 128 MB\tMax Memory Used: 36 MB\tInit Duration: 110.10 ms\t\n";
        let report = Report::find(log).unwrap();
        let want = Report {
            duration_ms: 3.01,
            billed_duration_ms: 114.0,
            max_memory_used_mb: 36.0,
            init_duration_ms: Some(110.1),
        };
        assert_eq!(report, want);
        assert_eq!(Report::find("no such line"), None);
    }

    #[test]
    fn an_event_that_is_not_json_is_refused() {
        assert!(payload("{}").is_ok());
        assert!(payload("{").is_err());
        assert!(payload("@/does/not/exist").is_err());
    }
}
