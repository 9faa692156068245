//! Deadlines, deaths, and guests that break the protocol.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ephyra_core::environment::LaunchError;
use serde_json::json;

use crate::support::{Rig, answer, failure};

#[tokio::test]
async fn the_deadline_ends_the_environment() {
    let rig = Rig::python(
        "app.handler",
        "import time\ndef handler(e, c):\n    print('begun')\n    time.sleep(60)",
    )
    .timeout(1);
    let environment = rig.launch().await;
    let invocation = rig.invocation("{}");
    let id = invocation.request_id;
    let began = Instant::now();
    let (environment, execution) = environment.invoke(invocation).await;
    let took = began.elapsed();
    assert!(
        (Duration::from_millis(1000)..Duration::from_millis(1150)).contains(&took),
        "{took:?}"
    );
    let message = format!("RequestId: {id} Error: Task timed out after 1.00 seconds");
    let want = json!({"errorType": "Sandbox.Timedout", "errorMessage": message});
    assert_eq!(failure(&execution), ("Sandbox.Timedout".to_owned(), want));
    assert!(environment.is_none());
    let lines = rig.lines();
    assert_eq!(lines[2], "begun");
    assert!(
        lines[3].ends_with(&format!("Z {id} Task timed out after 1.00 seconds")),
        "{lines:#?}"
    );
    assert_eq!(lines[4], format!("END RequestId: {id}"));
    assert!(lines[5].ends_with("\tStatus: timeout"), "{lines:#?}");
}

#[tokio::test]
async fn a_flood_of_output_does_not_hold_up_the_deadline() {
    let rig = Rig::python("app.handler", "def handler(e, c):\n    while True: print('x' * 1000)").timeout(1);
    let environment = rig.launch().await;
    let began = Instant::now();
    let (environment, execution) = environment.invoke(rig.invocation("{}")).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(failure(&execution).0, "Sandbox.Timedout");
    assert!(environment.is_none());
}

#[tokio::test]
async fn a_flood_of_output_is_read_no_faster_than_its_pace() {
    let source = "import os\ndef handler(e, c):\n    while True: os.write(1, b'\\n' * 65536)";
    let rig = Rig::python("app.handler", source).timeout(1);
    let environment = rig.launch().await;
    let (_, execution) = environment.invoke(rig.invocation("{}")).await;
    assert_eq!(failure(&execution).0, "Sandbox.Timedout");
    // 4 MiB at once and 4 MiB in the second, 129 bytes a line, and what the pipe still held.
    let lines = rig.lines().len();
    assert!((10_000..160_000).contains(&lines), "{lines}");
}

#[tokio::test]
async fn an_answer_without_end_does_not_hold_up_the_deadline() {
    let part = "(16).to_bytes(4, 'little') + bytes((0x87, 2, 0, 0)) + id";
    let source = format!(
        "boot(); id = event(); send(0x86, id + b'a/b')\nparts = ({part}) * 2048\n\
         while True: os.write(3, parts)"
    );
    let rig = Rig::scripted(&source).timeout(1);
    let environment = rig.launch().await;
    let began = Instant::now();
    let (environment, execution) = environment.invoke(rig.invocation("{}")).await;
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    assert_eq!(failure(&execution).0, "Sandbox.Timedout");
    assert!(environment.is_none());
}

#[tokio::test]
async fn slow_loading_goes_on_within_the_first_invocation() {
    let source = "import time\ntime.sleep(0.3)\ndef handler(e, c): return 1";
    let mut rig = Rig::python("app.handler", source);
    rig.init_limit = Duration::from_millis(100);
    let environment = rig.launch().await;
    assert!(environment.init_error().is_none());
    rig.has_logged("\tPhase: init\tStatus: timeout");
    let (environment, execution) = environment.invoke(rig.invocation("{}")).await;
    assert_eq!(answer(&execution), 1);
    assert_eq!(rig.shared.caps.load(Ordering::SeqCst), 1);
    let (environment, execution) = environment.unwrap().invoke(rig.invocation("{}")).await;
    assert!(environment.is_some() && execution.measures.cold.is_none());

    let mut rig = Rig::python("app.handler", "import time\ntime.sleep(60)").timeout(1);
    rig.init_limit = Duration::from_millis(100);
    let (environment, execution) = rig.once("{}").await;
    assert_eq!(failure(&execution).0, "Sandbox.Timedout");
    assert!(environment.is_none());

    let mut rig = Rig::python("app.handler", "import time\ntime.sleep(0.3)\nraise KeyError('late')");
    rig.init_limit = Duration::from_millis(100);
    let (environment, execution) = rig.once("{}").await;
    assert_eq!(failure(&execution).0, "KeyError");
    assert!(environment.is_none());
    rig.has_logged("\tPhase: invoke\tStatus: error\tError Type: KeyError");
}

#[tokio::test]
async fn an_idle_environment_tells_of_its_death() {
    let rig = Rig::python(
        "app.handler",
        "import os, threading, time\ndef die():\n    time.sleep(0.1)\n    os._exit(5)\ndef handler(e, c):\n    threading.Thread(target=die, daemon=True).start()\n    return 1",
    );
    let (environment, _) = rig.once("{}").await;
    let mut environment = environment.unwrap();
    tokio::time::timeout(Duration::from_secs(10), environment.died())
        .await
        .unwrap();
    environment.end().await;

    let rig = Rig::scripted("boot(); time.sleep(0.1); send(0x84, bytes(16)); time.sleep(60)");
    let mut environment = rig.launch().await;
    tokio::time::timeout(Duration::from_secs(10), environment.died())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_frozen_environment_thaws_for_its_event() {
    let rig = Rig::python("app.handler", "def handler(e, c): return 1");
    let mut environment = rig.launch().await;
    environment.freeze();
    environment.freeze();
    let (environment, execution) = environment.invoke(rig.invocation("{}")).await;
    assert_eq!(answer(&execution), 1);
    environment.unwrap().thaw();
    let counts = [&rig.shared.freezes, &rig.shared.thaws, &rig.shared.caps].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(counts, [1, 1, 1]);
}

#[tokio::test]
async fn a_kill_for_want_of_memory_is_told_as_such() {
    let rig = Rig::python(
        "app.handler",
        "import os, time\ndef handler(e, c):\n    time.sleep(0.1)\n    os._exit(1)",
    );
    let environment = rig.launch().await;
    rig.shared.oom_kills.store(1, Ordering::SeqCst);
    let (_, execution) = environment.invoke(rig.invocation("{}")).await;
    assert_eq!(failure(&execution).0, "Runtime.OutOfMemory");
    rig.has_logged("Error: Runtime exited with error: signal: killed");
    rig.has_logged("\tStatus: error\tError Type: Runtime.OutOfMemory");
}

#[tokio::test]
async fn breaches_of_the_protocol_end_the_environment() {
    for (script, how) in [
        (
            "send(0x84, bytes(16) + b'1')",
            "RESPONSE which is not about this invocation",
        ),
        ("send(0x82)", "READY which is not about this invocation"),
        ("send(0x84, id, version=1)", "a frame of version 1"),
        ("send(0x99, id)", "a frame of the unknown kind 0x99"),
        ("send(0x87, id + b'x')", "a stream without a head"),
        ("send(0x86, id + b'a/b'); send(0x86, id + b'a/b')", "a second answer"),
        (
            "os.write(3, (0xffffffff).to_bytes(4, 'little') + bytes((0x87, 2, 0, 0)))",
            "a frame of kind StreamChunk with 4294967295 bytes",
        ),
        ("os.write(3, b'GET / HTTP/1.1\\r\\n\\r\\n')", "a frame of version 32"),
    ] {
        let rig = Rig::scripted(&format!("boot(); id = event(); {script}; time.sleep(60)"));
        let (environment, execution) = rig.once("{}").await;
        let (kind, document) = failure(&execution);
        assert_eq!(kind, "Runtime.ExitError");
        let message = document["errorMessage"].as_str().unwrap();
        assert!(
            message.contains(&format!("Error: Runtime broke the protocol: {how}")),
            "{script}: {message}"
        );
        assert!(environment.is_none());
    }
}

#[tokio::test]
async fn an_answer_after_the_answer_ends_the_environment() {
    let rig = Rig::scripted(
        "boot(); id = event(); os.write(3, (b'\\x11\\0\\0\\0\\x84\\2\\0\\0' + id + b'1') * 2); event(); time.sleep(60)",
    );
    let (environment, execution) = rig.once("{}").await;
    assert_eq!(answer(&execution), 1);
    let mut environment = environment.unwrap();
    tokio::time::timeout(Duration::from_secs(10), environment.died())
        .await
        .unwrap();
    let (environment, execution) = environment.invoke(rig.invocation("{}")).await;
    assert_eq!(failure(&execution).0, "Runtime.ExitError");
    assert!(environment.is_none());
}

#[tokio::test]
async fn a_guest_that_says_nothing_right_while_loading_fails_to_load() {
    for script in [
        "send(0x82)",
        "send(0x81); send(0x84, bytes(16))",
        "os.close(3); time.sleep(60)",
    ] {
        let rig = Rig::scripted(&format!("{script}; time.sleep(60)"));
        let environment = rig.launch().await;
        assert_eq!(
            environment.init_error().map(|error| error.error_type.as_str()),
            Some("Runtime.ExitError"),
            "{script}"
        );
    }
}

#[tokio::test]
async fn an_interpreter_that_is_not_there_is_no_fault_of_the_function() {
    let mut rig = Rig::python("app.handler", "");
    rig.runtime.executable = "/absent/python3".to_owned();
    assert!(matches!(rig.try_launch().await, Err(LaunchError::Sandbox(why)) if why.contains("/absent/python3")));
}

#[tokio::test]
async fn an_unfinished_line_ends_with_the_invocation() {
    let rig = Rig::python(
        "app.handler",
        "import os\ndef handler(e, c): os.write(1, b'a\\nb\\xff')",
    );
    let (environment, _) = rig.once("{}").await;
    environment.unwrap().invoke(rig.invocation("{}")).await;
    let lines = rig.lines();
    assert_eq!(
        [&lines[2], &lines[3], &lines[7], &lines[8]],
        ["a", "b\u{fffd}", "a", "b\u{fffd}"],
        "{lines:#?}"
    );
}
