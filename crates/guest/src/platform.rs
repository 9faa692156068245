//! The platform's own log lines, as text and as JSON: pure formatting.
//!
//! Sources: <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html> for the records, and
//! <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html> for their levels.

use std::time::Duration;

use ephyra_core::environment::Purpose;
use ephyra_core::id::{RequestId, Version};
use ephyra_core::invocation::{ColdStart, Origin, billed_ms};
use ephyra_core::revision::LogLevel;
use serde_json::{Value, json};

use crate::telemetry::{Api, Category};

/// Something that the platform logs.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// An environment begins to initialise.
    InitStart {
        runtime: &'a str,
        runtime_arn: &'a str,
        function: &'a str,
        version: Version,
        purpose: Purpose,
    },
    /// The runtime has loaded the function, or failed to; extensions may still initialise.
    InitRuntimeDone {
        purpose: Purpose,
        phase: &'static str,
        status: Status<'a>,
    },
    /// How far an extension has come when initialisation is over.
    Extension {
        name: &'a str,
        state: &'static str,
        events: &'a [&'static str],
        error_type: Option<&'a str>,
    },
    /// An extension has subscribed to telemetry.
    Subscription {
        name: &'a str,
        api: Api,
        categories: &'a [Category],
    },
    /// Initialisation went well.
    InitDone { purpose: Purpose, duration: Duration },
    /// Initialisation failed; `Err("timeout")`-like statuses carry no error type.
    InitFailed {
        purpose: Purpose,
        duration: Duration,
        phase: &'static str,
        status: Status<'a>,
    },
    /// An invocation begins.
    Start {
        request_id: RequestId,
        version: Version,
        trace_id: Option<&'a str>,
    },
    /// A template is made ready for its first invocation.
    RestoreStart {
        runtime: &'a str,
        runtime_arn: &'a str,
        function: &'a str,
        version: Version,
    },
    /// It is ready, or has failed.
    RestoreDone { duration: Duration, status: Status<'a> },
    /// The handler is done.
    RuntimeDone {
        request_id: RequestId,
        duration: Duration,
        bytes: u64,
        status: Status<'a>,
    },
    /// An invocation is over.
    Report {
        request_id: RequestId,
        figures: Figures,
        status: Status<'a>,
    },
}

/// How a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status<'a> {
    Success,
    /// The function raised an error: said in JSON, but not in text, where AWS keeps silent about it.
    Failure(&'a str),
    /// The environment is lost.
    Error(&'a str),
    Timeout,
}

/// The figures of a report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// From delivery to the end of the answer, or of the extensions that went on behind it.
    pub duration: Duration,
    /// What is billed, in milliseconds.
    pub billed_ms: u64,
    /// The function's memory in MB.
    pub memory_mb: u32,
    /// The most that was used of it, in MB.
    pub peak_memory_mb: u64,
    /// The initialisation, when it belongs to this invocation.
    pub init: Option<Duration>,
    /// The restoring of a template, when it belongs to this invocation.
    pub restore: Option<Duration>,
    /// What came before this invocation, when it is the first of its environment.
    pub cold: Option<Cold>,
    /// How long extensions went on behind the answer.
    pub extensions: Option<Duration>,
}

/// The phases of a cold start before its first call, which is the report's own duration.
#[derive(Clone, Copy, Debug)]
pub struct Cold {
    /// Waiting for the start to begin.
    pub queue: Duration,
    /// The start.
    pub start: ColdStart,
}

impl Cold {
    /// The phases by name, in order; what a template had over before is not among them.
    fn phases(self) -> impl Iterator<Item = (&'static str, Duration)> {
        let is_template = self.start.origin == Origin::Template;
        let start = [
            ("environment", self.start.environment),
            ("boot", self.start.boot),
            ("init", self.start.init),
        ];
        let restore = ("restore", self.start.restore);
        let start = start.into_iter().filter(move |_| !is_template);
        let restore = is_template.then_some(restore);
        std::iter::once(("queue", self.queue)).chain(start).chain(restore)
    }

    /// Our own field of the text line.
    fn to_text(self, first_call: Duration) -> String {
        let mut text = "Cold Start: ".to_owned();
        for (name, duration) in self.phases().chain([("first call", first_call)]) {
            text.push_str(&format!("{name} {} ms, ", ms(duration)));
        }
        format!("{text}from {}", self.start.origin.as_str())
    }

    fn to_json(self, first_call: Duration) -> Value {
        let mut cold = json!({ "origin": self.start.origin.as_str(), "firstCallMs": ms_number(first_call) });
        for (name, duration) in self.phases() {
            cold[format!("{name}Ms")] = ms_number(duration);
        }
        cold
    }
}

impl Status<'_> {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure(_) | Self::Error(_) => "error",
            Self::Timeout => "timeout",
        }
    }

    fn to_text(self) -> String {
        match self {
            Self::Success | Self::Failure(_) => String::new(),
            Self::Error(error_type) => format!("Status: error\tError Type: {error_type}"),
            Self::Timeout => "Status: timeout".to_owned(),
        }
    }

    fn write_to(self, record: &mut Value) {
        record["status"] = self.as_str().into();
        if let Self::Failure(error_type) | Self::Error(error_type) = self {
            record["errorType"] = error_type.into();
        }
    }
}

/// Milliseconds with two decimals, as AWS rounds them.
fn ms(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1000.0)
}

/// Milliseconds as a JSON number of at most three decimals.
fn ms_number(duration: Duration) -> Value {
    let us = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
    json!(f64::from(us) / 1000.0)
}

impl Event<'_> {
    /// The text lines: END stands before REPORT; what text does not know is empty.
    pub(crate) fn to_text(self) -> String {
        match self {
            Self::InitStart {
                runtime, runtime_arn, ..
            } => {
                format!("INIT_START Runtime Version: {runtime}\tRuntime Version ARN: {runtime_arn}")
            }
            Self::InitRuntimeDone { .. } | Self::InitDone { .. } => String::new(),
            Self::Extension {
                name,
                state,
                events,
                error_type,
            } => {
                let error = error_type
                    .map(|error| format!("\tError Type: {error}"))
                    .unwrap_or_default();
                format!(
                    "EXTENSION\tName: {name}\tState: {state}\tEvents: [{}]{error}",
                    events.join(", ")
                )
            }
            Self::Subscription { name, api, categories } => {
                let api = match api {
                    Api::Logs => "LOGS",
                    Api::Telemetry => "TELEMETRY",
                };
                let titles: Vec<_> = categories.iter().map(|one| one.title()).collect();
                format!("{api}\tName: {name}\tState: Subscribed\tTypes: [{}]", titles.join(", "))
            }
            Self::InitFailed {
                duration,
                phase,
                status,
                ..
            } => {
                format!(
                    "INIT_REPORT Init Duration: {} ms\tPhase: {phase}\t{}",
                    ms(duration),
                    status.to_text()
                )
            }
            Self::Start {
                request_id, version, ..
            } => format!("START RequestId: {request_id} Version: {version}"),
            Self::RestoreStart {
                runtime, runtime_arn, ..
            } => {
                format!("RESTORE_START Runtime Version: {runtime}\tRuntime Version ARN: {runtime_arn}")
            }
            Self::RestoreDone { duration, status } => {
                let status = match status {
                    Status::Success => String::new(),
                    other => format!("\t{}", other.to_text()),
                };
                format!("RESTORE_REPORT Restore Duration: {} ms{status}", ms(duration))
            }
            Self::RuntimeDone { request_id, .. } => format!("END RequestId: {request_id}"),
            Self::Report {
                request_id,
                figures,
                status,
            } => {
                let mut starts = String::new();
                if let Some(init) = figures.init {
                    starts.push_str(&format!("Init Duration: {} ms\t", ms(init)));
                }
                if let Some(restore) = figures.restore {
                    let billed = billed_ms(restore);
                    starts.push_str(&format!(
                        "Restore Duration: {} ms\tBilled Restore Duration: {billed} ms\t",
                        ms(restore)
                    ));
                }
                if let Some(cold) = figures.cold {
                    // Behind AWS's own figures, and before the status, which AWS has last.
                    starts.push_str(&format!("{}\t", cold.to_text(figures.duration)));
                }
                format!(
                    "REPORT RequestId: {request_id}\tDuration: {} ms\tBilled Duration: {} ms\tMemory Size: {} MB\t\
                     Max Memory Used: {} MB\t{starts}{}",
                    ms(figures.duration),
                    figures.billed_ms,
                    figures.memory_mb,
                    figures.peak_memory_mb,
                    status.to_text(),
                )
            }
        }
    }

    /// The level of the JSON record.
    pub(crate) fn level(self) -> LogLevel {
        match self {
            Self::InitStart { .. }
            | Self::Start { .. }
            | Self::RestoreStart { .. }
            | Self::RestoreDone {
                status: Status::Success,
                ..
            }
            | Self::Extension { error_type: None, .. }
            | Self::Subscription { .. }
            | Self::Report {
                status: Status::Success,
                ..
            } => LogLevel::Info,
            Self::InitDone { .. }
            | Self::InitRuntimeDone {
                status: Status::Success,
                ..
            }
            | Self::RuntimeDone {
                status: Status::Success,
                ..
            } => LogLevel::Debug,
            Self::InitRuntimeDone { .. }
            | Self::Extension { .. }
            | Self::InitFailed { .. }
            | Self::RestoreDone { .. }
            | Self::RuntimeDone { .. }
            | Self::Report { .. } => LogLevel::Warn,
        }
    }

    /// The JSON record; `time` is RFC 3339.
    pub(crate) fn to_json(self, time: &str) -> String {
        let (kind, record) = match self {
            Self::InitStart {
                runtime,
                runtime_arn,
                function,
                version,
                purpose,
            } => (
                "platform.initStart",
                json!({
                    "initializationType": purpose.as_str(), "phase": "init", "runtimeVersion": runtime,
                    "runtimeVersionArn": runtime_arn, "functionName": function,
                    "functionVersion": version.to_string(),
                }),
            ),
            Self::InitRuntimeDone { purpose, phase, status } => {
                let mut record = json!({ "initializationType": purpose.as_str(), "phase": phase });
                status.write_to(&mut record);
                ("platform.initRuntimeDone", record)
            }
            Self::Extension {
                name,
                state,
                events,
                error_type,
            } => {
                let mut record = json!({ "name": name, "state": state, "events": events });
                if let Some(error_type) = error_type {
                    record["errorType"] = error_type.into();
                }
                ("platform.extension", record)
            }
            Self::Subscription { name, api, categories } => {
                let names: Vec<_> = categories.iter().map(|one| one.name()).collect();
                let kind = match api {
                    Api::Logs => "platform.logsSubscription",
                    Api::Telemetry => "platform.telemetrySubscription",
                };
                (kind, json!({ "name": name, "state": "Subscribed", "types": names }))
            }
            Self::InitDone { purpose, duration } => (
                "platform.initReport",
                json!({
                    "initializationType": purpose.as_str(), "phase": "init", "status": "success",
                    "metrics": { "durationMs": ms_number(duration) },
                }),
            ),
            Self::InitFailed {
                purpose,
                duration,
                phase,
                status,
            } => {
                let mut record = json!({
                    "initializationType": purpose.as_str(), "phase": phase,
                    "metrics": { "durationMs": ms_number(duration) },
                });
                status.write_to(&mut record);
                ("platform.initReport", record)
            }
            Self::Start {
                request_id,
                version,
                trace_id,
            } => {
                let mut record = json!({ "requestId": request_id, "version": version.to_string() });
                if let Some(trace_id) = trace_id {
                    record["tracing"] = json!({ "type": "X-Amzn-Trace-Id", "value": trace_id });
                }
                ("platform.start", record)
            }
            Self::RestoreStart {
                runtime,
                runtime_arn,
                function,
                version,
            } => (
                "platform.restoreStart",
                json!({
                    "runtimeVersion": runtime, "runtimeVersionArn": runtime_arn, "functionName": function,
                    "functionVersion": version.to_string(),
                }),
            ),
            Self::RestoreDone { duration, status } => {
                let mut record = json!({ "metrics": { "durationMs": ms_number(duration) } });
                status.write_to(&mut record);
                ("platform.restoreReport", record)
            }
            Self::RuntimeDone {
                request_id,
                duration,
                bytes,
                status,
            } => {
                let mut record = json!({
                    "requestId": request_id,
                    "metrics": { "durationMs": ms_number(duration), "producedBytes": bytes },
                });
                status.write_to(&mut record);
                ("platform.runtimeDone", record)
            }
            Self::Report {
                request_id,
                figures,
                status,
            } => {
                let mut metrics = json!({
                    "durationMs": ms_number(figures.duration), "billedDurationMs": figures.billed_ms,
                    "memorySizeMB": figures.memory_mb, "maxMemoryUsedMB": figures.peak_memory_mb,
                });
                if let Some(init) = figures.init {
                    metrics["initDurationMs"] = ms_number(init);
                }
                if let Some(restore) = figures.restore {
                    metrics["restoreDurationMs"] = ms_number(restore);
                    metrics["billedRestoreDurationMs"] = billed_ms(restore).into();
                }
                if let Some(extensions) = figures.extensions {
                    metrics["postRuntimeExtensionsDurationMs"] = ms_number(extensions);
                }
                let mut record = json!({ "requestId": request_id, "metrics": metrics });
                if let Some(cold) = figures.cold {
                    record["coldStart"] = cold.to_json(figures.duration);
                }
                status.write_to(&mut record);
                ("platform.report", record)
            }
        };
        json!({ "time": time, "type": kind, "record": record }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: RequestId = RequestId::from_bytes([0; 16]);
    const ID_TEXT: &str = "00000000-0000-0000-0000-000000000000";

    fn report(init: Option<Duration>, status: Status<'static>) -> Event<'static> {
        let figures = Figures {
            duration: Duration::from_micros(2904),
            billed_ms: 3,
            memory_mb: 128,
            peak_memory_mb: 36,
            init,
            ..Figures::default()
        };
        Event::Report {
            request_id: ID,
            figures,
            status,
        }
    }

    #[test]
    fn text_lines_are_those_of_aws() {
        let head = format!(
            "REPORT RequestId: {ID_TEXT}\tDuration: 2.90 ms\tBilled Duration: 3 ms\tMemory Size: 128 MB\t\
             Max Memory Used: 36 MB\t"
        );
        let init = Some(Duration::from_micros(110_100));
        for (event, want) in [
            (report(None, Status::Success), head.clone()),
            (report(None, Status::Failure("Exception")), head.clone()),
            (
                report(init, Status::Success),
                format!("{head}Init Duration: 110.10 ms\t"),
            ),
            (
                report(init, Status::Timeout),
                format!("{head}Init Duration: 110.10 ms\tStatus: timeout"),
            ),
            (
                report(None, Status::Error("Runtime.ExitError")),
                format!("{head}Status: error\tError Type: Runtime.ExitError"),
            ),
            (
                Event::Start {
                    request_id: ID,
                    version: Version::Latest,
                    trace_id: None,
                },
                format!("START RequestId: {ID_TEXT} Version: $LATEST"),
            ),
            (
                Event::InitFailed {
                    purpose: Purpose::OnDemand,
                    duration: Duration::from_micros(9_999_790),
                    phase: "init",
                    status: Status::Timeout,
                },
                "INIT_REPORT Init Duration: 9999.79 ms\tPhase: init\tStatus: timeout".to_owned(),
            ),
            (
                Event::Extension {
                    name: "mine",
                    state: "Ready",
                    events: &["INVOKE", "SHUTDOWN"],
                    error_type: None,
                },
                "EXTENSION\tName: mine\tState: Ready\tEvents: [INVOKE, SHUTDOWN]".to_owned(),
            ),
            (
                Event::Extension {
                    name: "mine",
                    state: "LaunchError",
                    events: &[],
                    error_type: Some("PermissionDenied"),
                },
                "EXTENSION\tName: mine\tState: LaunchError\tEvents: []\tError Type: PermissionDenied".to_owned(),
            ),
            (
                Event::Subscription {
                    name: "mine",
                    api: Api::Telemetry,
                    categories: &[Category::Platform, Category::Function],
                },
                "TELEMETRY\tName: mine\tState: Subscribed\tTypes: [Platform, Function]".to_owned(),
            ),
        ] {
            assert_eq!(event.to_text(), want);
        }
    }

    #[test]
    fn the_phases_of_a_cold_start_come_behind_what_aws_says() {
        let start = ColdStart {
            origin: Origin::Zygote,
            environment: Duration::from_micros(2100),
            boot: Duration::ZERO,
            init: Duration::from_micros(4005),
            restore: Duration::ZERO,
        };
        let cold = Cold {
            queue: Duration::from_micros(50),
            start,
        };
        let figures = Figures {
            duration: Duration::from_micros(2904),
            billed_ms: 7,
            memory_mb: 128,
            peak_memory_mb: 36,
            init: Some(start.init),
            cold: Some(cold),
            ..Figures::default()
        };
        let line = |figures, status| {
            let event = Event::Report {
                request_id: ID,
                figures,
                status,
            };
            event.to_text().split_once("36 MB\t").unwrap().1.to_owned()
        };
        let phases = "Cold Start: queue 0.05 ms, environment 2.10 ms, boot 0.00 ms, init 4.00 ms, first call 2.90 ms, \
                      from zygote\t";
        let init = "Init Duration: 4.00 ms\t";
        assert_eq!(line(figures, Status::Success), format!("{init}{phases}"));
        assert_eq!(line(figures, Status::Timeout), format!("{init}{phases}Status: timeout"));
        let restored = Figures {
            init: None,
            restore: Some(Duration::from_micros(1500)),
            cold: Some(Cold {
                start: ColdStart {
                    origin: Origin::Template,
                    restore: Duration::from_micros(1500),
                    ..ColdStart::default()
                },
                ..cold
            }),
            ..figures
        };
        assert_eq!(
            line(restored, Status::Success),
            "Restore Duration: 1.50 ms\tBilled Restore Duration: 2 ms\tCold Start: queue 0.05 ms, restore 1.50 ms, \
             first call 2.90 ms, from template\t"
        );
        let event = Event::Report {
            request_id: ID,
            figures: restored,
            status: Status::Success,
        };
        let record: Value = serde_json::from_str(&event.to_json("T")).unwrap();
        let want = json!({ "origin": "template", "queueMs": 0.05, "restoreMs": 1.5, "firstCallMs": 2.904 });
        assert_eq!(record["record"]["coldStart"], want);
        assert_eq!(record["record"]["metrics"]["billedRestoreDurationMs"], 2);
    }

    #[test]
    fn records_are_those_of_the_telemetry_schema() {
        let event = report(Some(Duration::from_millis(110)), Status::Failure("Exception"));
        assert_eq!(event.level(), LogLevel::Warn);
        let want = json!({
            "time": "T", "type": "platform.report",
            "record": {
                "requestId": ID_TEXT, "status": "error", "errorType": "Exception",
                "metrics": {
                    "durationMs": 2.904, "billedDurationMs": 3, "memorySizeMB": 128, "maxMemoryUsedMB": 36,
                    "initDurationMs": 110.0,
                },
            },
        });
        assert_eq!(serde_json::from_str::<Value>(&event.to_json("T")).unwrap(), want);
    }
}
