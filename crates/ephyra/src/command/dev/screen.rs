//! What `ephyra dev` shows, a line each: text for people, JSON for programs.

use std::io::{self, Write as _};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::command::deployment::Sent;
use crate::command::logs::Line;
use crate::output::{Colour, Output};

/// Where it is shown. Errors are standard output's, which nobody may read any more.
#[derive(Clone, Copy)]
pub(super) struct Screen<'a> {
    output: &'a Output,
}

/// One line of the answers that are watched.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    #[serde(rename_all = "camelCase")]
    Came {
        timestamp: i64,
        error: Option<String>,
        payload: String,
        bytes: u64,
        duration_ms: f64,
        is_cold: bool,
    },
    Skipped {
        skipped: u64,
    },
}

impl<'a> Screen<'a> {
    pub(super) const fn new(output: &'a Output) -> Self {
        Self { output }
    }

    /// Something to know.
    pub(super) fn note(&self, text: &str) -> io::Result<()> {
        self.show("note", || json!(text), || text.to_owned())
    }

    /// A deployment is through; `changed` is why there was one.
    pub(super) fn deployed(&self, name: &str, sent: Sent, took: Duration, changed: &[String]) -> io::Result<()> {
        let ms = took.as_secs_f64() * 1000.0;
        let document =
            || json!({ "name": name, "outcome": sent.as_str().trim_end_matches(':'), "ms": ms, "changed": changed });
        self.show("deployed", document, || {
            let why = match changed {
                [] => String::new(),
                [one] => format!(": {one}"),
                [first, rest @ ..] => format!(": {first} and {} more", rest.len()),
            };
            let sent = self.output.paint(Colour::Green, sent.as_str());
            let why = self.output.paint(Colour::Dim, &why);
            format!("{sent} {name} in {ms:.0} ms{why}")
        })
    }

    /// A deployment, or what was to be shown, went wrong.
    pub(super) fn error(&self, error: &anyhow::Error) -> io::Result<()> {
        let text = format!("{error:#}");
        self.show(
            "error",
            || json!(text),
            || format!("{} {text}", self.output.paint(Colour::Red, "error:")),
        )
    }

    /// A line of the log, as the platform sends it.
    pub(super) fn log(&self, line: &[u8]) -> anyhow::Result<()> {
        let document: Value = serde_json::from_slice(line)?;
        let text = match serde_json::from_slice(line)? {
            Line::Event { timestamp, message } => format!("{} {}", self.time(timestamp), message.trim_end()),
            Line::Skipped { skipped } => self.skipped(skipped, "lines"),
        };
        Ok(self.show("log", || document, || text)?)
    }

    /// An answer, as the platform sends it.
    pub(super) fn answer(&self, line: &[u8]) -> anyhow::Result<()> {
        let document: Value = serde_json::from_slice(line)?;
        let text = match serde_json::from_slice(line)? {
            Answer::Skipped { skipped } => self.skipped(skipped, "answers"),
            Answer::Came {
                timestamp,
                error,
                payload,
                bytes,
                duration_ms,
                is_cold,
            } => {
                let (arrow, error) = match error {
                    None => (self.output.paint(Colour::Green, "→"), String::new()),
                    Some(error) => (self.output.paint(Colour::Red, "→"), format!("{error} ")),
                };
                let shown = match (payload.is_empty(), bytes) {
                    (true, 0) => String::new(),
                    (true, _) => format!("({bytes} bytes, streamed)"),
                    (false, _) if (payload.len() as u64) < bytes => format!("{payload}… ({bytes} bytes)"),
                    (false, _) => payload,
                };
                let cold = if is_cold { ", cold" } else { "" };
                let took = self.output.paint(Colour::Dim, &format!("({duration_ms:.1} ms{cold})"));
                format!("{} {arrow} {error}{} {took}", self.time(timestamp), shown.trim_end())
            }
        };
        Ok(self.show("answer", || document, || text)?)
    }

    fn skipped(&self, count: u64, what: &str) -> String {
        let note = format!("({count} {what} came too fast and are left out)");
        self.output.paint(Colour::Yellow, &note)
    }

    /// A time of the day.
    fn time(&self, ms: i64) -> String {
        let time = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
        self.output
            .paint(Colour::Dim, &time.strftime("%H:%M:%S%.3f").to_string())
    }

    fn show(&self, kind: &str, document: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> io::Result<()> {
        let line = if self.output.json {
            json!({ kind: document() }).to_string()
        } else {
            text()
        };
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}")?;
        stdout.flush()
    }
}
