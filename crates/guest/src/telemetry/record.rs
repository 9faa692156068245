//! Records as subscribers read them: pure.
//! Sources: <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-logs-api.html#runtimes-logs-api-msg>.

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::subscription::{Category, Dialect};
use crate::platform::{Event, Status};

#[derive(Serialize)]
struct Record<'a, T> {
    time: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    record: T,
}

/// A line of the function's or an extension's. `is_json` says that lines are JSON objects where they can be.
pub(crate) fn line(dialect: Dialect, category: Category, text: &str, is_json: bool, time: &str) -> Bytes {
    let kind = category.name();
    if is_json
        && dialect == Dialect::TelemetryWithObjects
        && text.starts_with('{')
        && let Ok(record) = serde_json::from_str::<&RawValue>(text)
    {
        return write(&Record { time, kind, record });
    }
    let record = text;
    write(&Record { time, kind, record })
}

/// An event of the platform's, in as many records as a dialect makes of it.
pub(crate) fn platform(dialect: Dialect, event: Event<'_>, time: &str) -> Vec<Bytes> {
    let whole = || vec![Bytes::from(event.to_json(time))];
    let one = |kind, record| vec![write(&Record { time, kind, record })];
    match (dialect, event) {
        // Each API tells of its own subscriptions alone.
        (_, Event::Subscription { api, .. }) if api != dialect.api() => Vec::new(),
        (Dialect::Telemetry | Dialect::TelemetryWithObjects, _)
        | (_, Event::Start { .. } | Event::Extension { .. } | Event::Subscription { .. }) => whole(),
        (Dialect::LogsWithRuntimeDone, Event::RuntimeDone { request_id, status, .. }) => {
            let status = match status {
                Status::Success => "success",
                Status::Failure(_) | Status::Error(_) => "failure",
                Status::Timeout => "timeout",
            };
            one(
                "platform.runtimeDone",
                json!({ "requestId": request_id, "status": status }),
            )
        }
        (_, Event::Report { request_id, status, .. }) => {
            let fault = match status {
                Status::Success | Status::Failure(_) => None,
                Status::Error(error_type) => Some(format!("RequestId: {request_id} Error: {error_type}")),
                Status::Timeout => Some(format!("RequestId: {request_id} Error: Sandbox.Timedout")),
            };
            let mut records = one("platform.end", json!({ "requestId": request_id }));
            records.extend(fault.map(|record| {
                let kind = "platform.fault";
                write(&Record { time, kind, record })
            }));
            records.extend(whole());
            records
        }
        _ => Vec::new(),
    }
}

fn write<T: Serialize>(record: &Record<'_, T>) -> Bytes {
    // Strings and trees of them always have a form in JSON.
    serde_json::to_vec(record).map_or_else(|_| Bytes::new(), Bytes::from)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ephyra_core::environment::Purpose;
    use ephyra_core::id::{RequestId, Version};
    use serde_json::Value;

    use super::super::subscription::Api;
    use super::*;
    use crate::platform::Figures;

    const ID: RequestId = RequestId::from_bytes([0; 16]);

    #[track_caller]
    fn check(dialect: Dialect, event: Event<'_>, want: &[&str]) {
        let seen: Vec<Value> = platform(dialect, event, "T")
            .iter()
            .map(|record| serde_json::from_slice(record).unwrap())
            .collect();
        let kinds: Vec<_> = seen.iter().map(|record| record["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, want, "{dialect:?}");
        assert!(
            seen.iter()
                .all(|record| record["time"] == "T" && !record["record"].is_null())
        );
    }

    #[test]
    fn each_dialect_tells_what_it_knows() {
        let report = |status| Event::Report {
            request_id: ID,
            figures: Figures::default(),
            status,
        };
        let done = Event::RuntimeDone {
            request_id: ID,
            duration: Duration::from_millis(1),
            bytes: 2,
            status: Status::Success,
        };
        let start = Event::Start {
            request_id: ID,
            version: Version::Latest,
            trace_id: Some("Root=1"),
        };
        let init = Event::InitDone {
            purpose: Purpose::OnDemand,
            duration: Duration::from_millis(1),
        };
        let subscription = Event::Subscription {
            name: "x",
            api: Api::Logs,
            categories: &[Category::Platform],
        };
        for dialect in [Dialect::Telemetry, Dialect::TelemetryWithObjects] {
            check(dialect, start, &["platform.start"]);
            check(dialect, done, &["platform.runtimeDone"]);
            check(dialect, report(Status::Success), &["platform.report"]);
            check(dialect, init, &["platform.initReport"]);
            check(dialect, subscription, &[]);
        }
        for dialect in [Dialect::Logs, Dialect::LogsWithRuntimeDone] {
            check(dialect, start, &["platform.start"]);
            check(dialect, report(Status::Success), &["platform.end", "platform.report"]);
            check(
                dialect,
                report(Status::Timeout),
                &["platform.end", "platform.fault", "platform.report"],
            );
            check(dialect, init, &[]);
            check(dialect, subscription, &["platform.logsSubscription"]);
        }
        check(Dialect::Logs, done, &[]);
        check(Dialect::LogsWithRuntimeDone, done, &["platform.runtimeDone"]);
    }

    #[test]
    fn lines_are_text_or_the_objects_that_they_are() {
        let object = r#"{"level":"INFO", "message":"ä"}"#;
        for (dialect, text, is_json, want) in [
            (
                Dialect::TelemetryWithObjects,
                object,
                true,
                format!(r#"{{"time":"T","type":"function","record":{object}}}"#),
            ),
            (
                Dialect::Telemetry,
                "a\nb",
                true,
                r#"{"time":"T","type":"function","record":"a\nb"}"#.to_owned(),
            ),
            (
                Dialect::TelemetryWithObjects,
                "{x",
                true,
                r#"{"time":"T","type":"function","record":"{x"}"#.to_owned(),
            ),
            (
                Dialect::TelemetryWithObjects,
                "{}",
                false,
                r#"{"time":"T","type":"function","record":"{}"}"#.to_owned(),
            ),
        ] {
            assert_eq!(line(dialect, Category::Function, text, is_json, "T"), want, "{text}");
        }
    }
}
