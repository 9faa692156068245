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
    let answer = platform
        .lambda
        .call(Method::POST, &path, &query, headers, payload)
        .await?;
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
pub(super) fn payload(text: &str) -> anyhow::Result<Bytes> {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    restore_duration_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cold_start: Option<ColdStart>,
}

/// The platform's own field of a REPORT line: the phases of a cold start, in order.
#[derive(Debug, PartialEq, serde::Serialize)]
struct ColdStart {
    /// Where the environment came from.
    origin: String,
    #[serde(rename = "phasesMs", serialize_with = "as_object")]
    phases: Vec<(String, f64)>,
}

impl ColdStart {
    /// Reads `PHASE 1.20 ms, …, from ORIGIN`.
    fn read(text: &str) -> Option<Self> {
        let mut parts: Vec<&str> = text.split(", ").collect();
        let origin = parts.pop()?.strip_prefix("from ")?.to_owned();
        let phase = |part: &str| {
            let (name, ms) = part.strip_suffix(" ms")?.rsplit_once(' ')?;
            Some((name.to_owned(), ms.parse().ok()?))
        };
        let phases = parts.into_iter().map(phase).collect::<Option<_>>()?;
        Some(Self { origin, phases })
    }

    fn text(&self) -> String {
        let phases: Vec<String> = self.phases.iter().map(|(name, ms)| format!("{name} {ms} ms")).collect();
        format!("cold start from {}: {}", self.origin, phases.join(", "))
    }
}

fn as_object<S: serde::Serializer>(phases: &[(String, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(phases.iter().map(|(name, ms)| (name, ms)))
}

impl Report {
    fn find(log: &str) -> Option<Self> {
        let line = log.lines().rev().find(|line| line.starts_with("REPORT "))?;
        // Each figure is followed by its unit, always the same.
        let text = |name: &str| {
            line.split('\t')
                .find_map(|part| part.strip_prefix(name)?.strip_prefix(": "))
        };
        let field = |name: &str| text(name)?.split(' ').next()?.parse().ok();
        Some(Self {
            duration_ms: field("Duration")?,
            billed_duration_ms: field("Billed Duration")?,
            max_memory_used_mb: field("Max Memory Used")?,
            init_duration_ms: field("Init Duration"),
            restore_duration_ms: field("Restore Duration"),
            cold_start: text("Cold Start").and_then(ColdStart::read),
        })
    }

    fn text(&self) -> String {
        let start = match (&self.cold_start, self.init_duration_ms) {
            (Some(cold), _) => cold.text(),
            (None, Some(init)) => format!("cold start, init {init} ms"),
            (None, None) => "warm".to_owned(),
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
            restore_duration_ms: None,
            cold_start: None,
        };
        assert_eq!(report, want);
        let log = log.replace(
            "110.10 ms\t",
            "110.10 ms\tStatus: timeout\tCold Start: queue 0.10 ms, init 7.50 ms, first call 3.01 ms, from zygote",
        );
        let report = Report::find(&log).unwrap();
        let phases = [("queue", 0.1), ("init", 7.5), ("first call", 3.01)];
        assert_eq!(
            report.cold_start,
            Some(ColdStart {
                origin: "zygote".to_owned(),
                phases: phases.map(|(name, ms)| (name.to_owned(), ms)).into(),
            })
        );
        assert_eq!(
            serde_json::to_value(&report).unwrap()["coldStart"],
            json!({ "origin": "zygote", "phasesMs": { "queue": 0.1, "init": 7.5, "first call": 3.01 } })
        );
        assert!(
            report
                .text()
                .contains("cold start from zygote: queue 0.1 ms, init 7.5 ms")
        );
        assert_eq!(Report::find("no such line"), None);
    }

    #[test]
    fn an_event_that_is_not_json_is_refused() {
        assert!(payload("{}").is_ok());
        assert!(payload("{").is_err());
        assert!(payload("@/does/not/exist").is_err());
    }
}
