//! The Python runtime, driven through environments without isolation.

use std::time::{Duration, Instant};

use crate::support::{Rig, answer, failure, stream};
use bytes::Bytes;
use ephyra_core::invocation::StreamPart;
use ephyra_core::revision::LogLevel;
use serde_json::{Value, json};

#[tokio::test]
async fn an_event_goes_there_and_back_and_again() {
    let rig = Rig::python(
        "app.handler",
        "count = 0\ndef handler(event, context):\n    global count\n    count += 1\n    print('hé', event)\n    return {'n': count, 'event': event, 'ü': 'ü'}\n",
    );
    let (environment, execution) = rig.once(r#"{"a": [1, 2.5, null, "é"]}"#).await;
    assert_eq!(
        answer(&execution),
        json!({"n": 1, "event": {"a": [1, 2.5, null, "é"]}, "ü": "ü"})
    );
    let cold = execution.measures.cold.unwrap();
    assert!(cold.boot > Duration::ZERO && cold.init > Duration::ZERO);
    assert_eq!(execution.measures.peak_memory_bytes, 36 << 20);
    let (_, execution) = environment.unwrap().invoke(rig.invocation("")).await;
    assert_eq!(answer(&execution), json!({"n": 2, "event": {}, "ü": "ü"}));
    assert_eq!(execution.measures.cold, None);
    assert_eq!(
        execution.measures.billed_ms,
        execution.measures.duration.as_micros().div_ceil(1000) as u64
    );
    let lines = rig.lines();
    let heads: Vec<&str> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        heads,
        [
            "INIT_START",
            "START",
            "hé",
            "END",
            "REPORT",
            "START",
            "hé",
            "END",
            "REPORT"
        ],
        "{lines:#?}"
    );
    assert!(
        lines[4].contains("\tInit Duration: ") && !lines[8].contains("Init"),
        "{lines:#?}"
    );
}
