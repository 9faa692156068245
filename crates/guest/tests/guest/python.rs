//! The Python runtime.

use std::time::Duration;

use ephyra_core::invocation::StreamPart;
use ephyra_core::limits;
use ephyra_core::revision::LogLevel;
use serde_json::{Value, json};

use crate::support::{Rig, answer, failure, python, stream};

#[tokio::test]
async fn each_event_has_its_trace() {
    let rig = Rig::python(
        "app.handler",
        "import os\ndef handler(event, context):\n    return os.environ.get('_X_AMZN_TRACE_ID'), context.invoked_function_arn\n",
    );
    let mut environment = rig.launch().await;
    for trace in ["Root=1", "Root=2;Parent=0", "a\"b", "c\\", "", "Root=3"] {
        let mut invocation = rig.invocation("0");
        let arn = invocation.invoked_arn.clone();
        invocation.trace_id = (!trace.is_empty()).then(|| trace.to_owned());
        let (kept, execution) = environment.invoke(invocation).await;
        let want = if trace.is_empty() { Value::Null } else { json!(trace) };
        assert_eq!(answer(&execution), json!([want, arn]), "{trace}");
        environment = kept.unwrap();
    }
}

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
        u128::from(execution.measures.billed_ms),
        execution.measures.duration.as_nanos().div_ceil(1_000_000)
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

#[tokio::test]
async fn values_are_written_as_lambda_writes_them() {
    for (value, want) in [
        ("None", "null"),
        ("'\\ud800'", "\"\\ud800\""),
        ("float('nan')", "NaN"),
        ("b'bytes'", "\"bytes\""),
        ("__import__('decimal').Decimal('1.10')", "1.10"),
        (
            "{'a': [__import__('decimal').Decimal('2'), 'x']}",
            "{\"a\": [2, \"x\"]}",
        ),
        ("(1, True)", "[1, true]"),
    ] {
        let (_, execution) = Rig::python("app.handler", &format!("def handler(e, c): return {value}"))
            .once("{}")
            .await;
        assert_eq!(execution.result.unwrap(), want, "{value}");
    }
}

#[tokio::test]
async fn an_exception_leaves_the_environment_usable() {
    let rig = Rig::python(
        "app.handler",
        "def handler(event, context):\n    if event == 1:\n        raise ValueError('bäd')\n    return event\n",
    );
    let mut invocation = rig.invocation("1");
    invocation.wants_log_tail = true;
    let id = invocation.request_id.to_string();
    let (environment, execution) = rig.launch().await.invoke(invocation).await;
    let (kind, document) = failure(&execution);
    assert_eq!(kind, "ValueError");
    let file = rig.folder.path().join("app.py");
    let frame = format!(
        "  File \"{}\", line 3, in handler\n    raise ValueError('bäd')\n",
        file.display()
    );
    let want = json!({"errorMessage": "bäd", "errorType": "ValueError", "requestId": id, "stackTrace": [frame]});
    assert_eq!(document, want);
    rig.has_logged("[ERROR] ValueError: bäd\nTraceback (most recent call last):\n  File");
    let lines = rig.lines();
    assert!(
        !lines.last().unwrap().contains("Status:"),
        "AWS writes no status for an exception: {lines:#?}"
    );
    let tail = String::from_utf8(execution.log_tail.unwrap().to_vec()).unwrap();
    assert!(tail.starts_with("START RequestId: ") && tail.contains("[ERROR] ValueError") && tail.ends_with("\t\n"));
    let (_, execution) = environment.unwrap().invoke(rig.invocation("2")).await;
    assert_eq!(answer(&execution), 2);
    assert_eq!(execution.log_tail, None);
}

#[tokio::test]
async fn what_the_runtime_refuses_has_lambdas_names() {
    for (source, payload, kind, message) in [
        (
            "def handler(e, c): return {1, 2}",
            "{}",
            "Runtime.MarshalError",
            "Unable to marshal response: Object of type set is not JSON serializable",
        ),
        (
            "def handler(e, c): return 1",
            "{",
            "Runtime.UnmarshalError",
            "Unable to unmarshal input: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        (
            "def handler(e): return 1",
            "{}",
            "TypeError",
            "handler() takes 1 positional argument but 2 were given",
        ),
    ] {
        let (environment, execution) = Rig::python("app.handler", source).once(payload).await;
        let (found, document) = failure(&execution);
        assert_eq!((found.as_str(), &document["errorMessage"]), (kind, &json!(message)));
        assert!(environment.is_some());
    }
}

#[tokio::test]
async fn what_cannot_be_loaded_is_said_at_the_first_invocation() {
    for (handler, source, kind, message) in [
        (
            "absent.handler",
            "",
            "Runtime.ImportModuleError",
            "Unable to import module 'absent': No module named 'absent'",
        ),
        (
            "app.handler",
            "import absent",
            "Runtime.ImportModuleError",
            "Unable to import module 'app': No module named 'absent'",
        ),
        (
            "app.handler",
            "",
            "Runtime.HandlerNotFound",
            "Handler 'handler' missing on module 'app'",
        ),
        (
            "handler",
            "",
            "Runtime.MalformedHandlerName",
            "Bad handler 'handler': not enough values to unpack (expected 2, got 1)",
        ),
        (
            "sys.exit",
            "",
            "Runtime.BuiltInModuleConflict",
            "Cannot use built-in module sys as a handler module",
        ),
        (
            "app.handler",
            "def handler(:",
            "Runtime.UserCodeSyntaxError",
            "Syntax error in module 'app': invalid syntax (app.py, line 1)",
        ),
        ("app.handler", "raise OSError('at load')", "OSError", "at load"),
    ] {
        let rig = Rig::python(handler, source);
        let environment = rig.launch().await;
        assert_eq!(
            environment.init_error().map(|error| error.error_type.as_str()),
            Some(kind)
        );
        let (environment, execution) = environment.invoke(rig.invocation("{}")).await;
        let (found, document) = failure(&execution);
        assert_eq!((found.as_str(), &document["errorMessage"]), (kind, &json!(message)));
        assert_eq!(document["requestId"], "");
        assert!(environment.is_none(), "a failed environment serves once");
        rig.has_logged(&format!("[ERROR] {kind}: {message}\nTraceback"));
        rig.has_logged(&format!("\tPhase: init\tStatus: error\tError Type: {kind}"));
        let lines = rig.lines();
        assert!(
            lines
                .last()
                .unwrap()
                .ends_with(&format!("\tStatus: error\tError Type: {kind}")),
            "{lines:#?}"
        );
    }
}

#[tokio::test]
async fn modules_are_found_in_folders_and_packages() {
    let source = "import helper\ndef handler(e, c): return helper.word";
    for handler in ["lib/app.handler", "lib.app.handler"] {
        let files = [
            ("lib/app.py", source),
            ("helper.py", "word = 'found'"),
            ("lib/__init__.py", ""),
        ];
        let (_, execution) = Rig::new(python(), handler, &files).once("{}").await;
        assert_eq!(answer(&execution), "found", "{handler}");
    }
}

#[tokio::test]
async fn the_context_is_complete() {
    let rig = Rig::python(
        "app.handler",
        "import os, sys
def handler(event, context):
    client = context.client_context
    return {
        'id': context.aws_request_id, 'arn': context.invoked_function_arn, 'name': context.function_name,
        'version': context.function_version, 'memory': context.memory_limit_in_mb,
        'group': context.log_group_name, 'left': context.get_remaining_time_in_millis(),
        'tenant': context.tenant_id, 'identity': context.identity.cognito_identity_id,
        'custom': client and client.custom, 'title': client and client.client.app_title,
        'trace': os.environ.get('_X_AMZN_TRACE_ID'), 'cwd': os.getcwd(), 'first': sys.path[0],
        'stream': context.log_stream_name, 'home': os.environ['LAMBDA_TASK_ROOT'],
    }
",
    );
    let mut invocation = rig.invocation("{}");
    invocation.client_context = Some(r#"{"custom":{"a":"b"},"client":{"app_title":"t"}}"#.to_owned());
    invocation.trace_id = Some("Root=1-2-3".to_owned());
    let id = invocation.request_id.to_string();
    let (environment, execution) = rig.launch().await.invoke(invocation).await;
    let seen = answer(&execution);
    let left = seen["left"].as_u64().unwrap();
    assert!((15_000..=20_000).contains(&left), "{left}");
    let folder = rig.folder.path().to_str().unwrap();
    for (name, want) in [
        ("id", json!(id)),
        ("arn", json!("arn:aws:lambda:eu-west-1:000000000000:function:work:live")),
        ("name", json!("work")),
        ("version", json!("$LATEST")),
        ("memory", json!("128")),
        ("group", json!("/aws/lambda/work")),
        ("tenant", Value::Null),
        ("identity", Value::Null),
        ("custom", json!({"a": "b"})),
        ("title", json!("t")),
        ("trace", json!("Root=1-2-3")),
        ("cwd", json!(folder)),
        ("first", json!(folder)),
    ] {
        assert_eq!(seen[name], want, "{name}");
    }
    let stream = seen["stream"].as_str().unwrap();
    let (day, environment_id) = stream.split_once("/[$LATEST]").unwrap();
    assert!(day.len() == 10 && environment_id.len() == 32, "{stream}");
    let (_, execution) = environment.unwrap().invoke(rig.invocation("{}")).await;
    let seen = answer(&execution);
    assert_eq!((&seen["custom"], &seen["trace"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_process_that_ends_ends_the_environment() {
    for (source, kind, reason) in [
        (
            "sys.exit(0)",
            "Runtime.ExitError",
            "Runtime exited without providing a reason",
        ),
        (
            "sys.exit(3)",
            "Runtime.ExitError",
            "Runtime exited with error: exit status 3",
        ),
        (
            "os._exit(4)",
            "Runtime.ExitError",
            "Runtime exited with error: exit status 4",
        ),
        (
            "os.kill(os.getpid(), 11)",
            "Runtime.ExitError",
            "Runtime exited with error: signal: segmentation fault",
        ),
        (
            "os.kill(os.getpid(), 9)",
            "Runtime.OutOfMemory",
            "Runtime exited with error: signal: killed",
        ),
    ] {
        let rig = Rig::python(
            "app.handler",
            &format!(
                "import os, sys\ndef handler(e, c):\n    sys.stdout.write('last words')\n    sys.stdout.flush()\n    {source}\n"
            ),
        );
        let invocation = rig.invocation("{}");
        let message = format!("RequestId: {} Error: {reason}", invocation.request_id);
        let (environment, execution) = rig.launch().await.invoke(invocation).await;
        assert_eq!(
            failure(&execution),
            (kind.to_owned(), json!({"errorType": kind, "errorMessage": message}))
        );
        assert!(environment.is_none());
        let lines = rig.lines();
        assert_eq!(
            lines[2..5],
            ["last words".to_owned(), message, kind.to_owned()],
            "{lines:#?}"
        );
        assert!(
            lines
                .last()
                .unwrap()
                .ends_with(&format!("\tStatus: error\tError Type: {kind}"))
        );
    }
}

#[tokio::test]
async fn an_exit_while_loading_is_told_with_the_invocations_id() {
    let rig = Rig::python("app.handler", "import sys\nsys.exit(1)");
    let invocation = rig.invocation("{}");
    let message = format!(
        "RequestId: {} Error: Runtime exited with error: exit status 1",
        invocation.request_id
    );
    let environment = rig.launch().await;
    assert!(environment.init_error().is_some());
    let (environment, execution) = environment.invoke(invocation).await;
    assert_eq!(failure(&execution).1["errorMessage"], json!(message));
    assert!(environment.is_none());
}

#[tokio::test]
async fn answers_up_to_the_limit_are_passed_and_larger_ones_leave_the_environment_usable() {
    let rig = Rig::python("app.handler", "def handler(event, c): return 'x' * event");
    let most = limits::SYNC_RESPONSE_BYTES - 2;
    let (environment, execution) = rig.once(&most.to_string()).await;
    assert_eq!(execution.result.unwrap().len(), limits::SYNC_RESPONSE_BYTES);
    let (environment, execution) = environment
        .unwrap()
        .invoke(rig.invocation(&(most + 1).to_string()))
        .await;
    let want = json!({
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
    });
    assert_eq!(failure(&execution), ("Function.ResponseSizeTooLarge".to_owned(), want));
    let (_, execution) = environment.unwrap().invoke(rig.invocation("1")).await;
    assert_eq!(answer(&execution), "x");
}

#[tokio::test]
async fn the_largest_event_arrives() {
    let rig = Rig::python("app.handler", "def handler(event, c): return len(event)");
    let (_, execution) = rig
        .once(&format!("\"{}\"", "y".repeat(limits::SYNC_REQUEST_BYTES - 2)))
        .await;
    assert_eq!(answer(&execution), limits::SYNC_REQUEST_BYTES - 2);
    assert_eq!(execution.measures.bytes_in, limits::SYNC_REQUEST_BYTES as u64);
}

#[tokio::test]
async fn a_plain_handler_streams_its_answer_as_one_part() {
    let rig = Rig::python("app.handler", "def handler(event, c): return 1");
    let (environment, execution, parts) = stream(&rig, rig.launch().await, "{}").await;
    assert!(environment.is_some() && execution.result.unwrap().is_empty());
    assert_eq!(execution.measures.bytes_out, 1);
    let want = [
        StreamPart::Head {
            content_type: "application/json".to_owned(),
        },
        StreamPart::Chunk(bytes::Bytes::from_static(b"1")),
    ];
    assert_eq!(parts, want);
}

#[tokio::test]
async fn logging_has_lambdas_text_format() {
    let rig = Rig::python(
        "app.handler",
        "import logging\nlog = logging.getLogger()\nlog.setLevel('INFO')\nlogging.basicConfig(format='never')\n\
         def handler(e, c):\n    log.info('two\\nlines')\n    log.debug('no')\n",
    );
    let invocation = rig.invocation("{}");
    let id = invocation.request_id.to_string();
    rig.launch().await.invoke(invocation).await;
    let lines = rig.lines();
    let parts: Vec<&str> = lines[2].split('\t').collect();
    assert_eq!(
        (parts[0], parts[2], parts[3]),
        ("[INFO]", id.as_str(), "two\nlines"),
        "{lines:#?}"
    );
    assert!(parts[1].len() == 24 && parts[1].ends_with('Z'), "{lines:#?}");
    assert_eq!(lines.len(), 5, "{lines:#?}");
}

#[tokio::test]
async fn logging_has_lambdas_json_format_and_levels() {
    let rig = Rig::python(
        "app.handler",
        "import logging\nlog = logging.getLogger('mine')\ndef handler(e, c):\n    log.debug('no')\n    log.info('yes %d', 1, extra={'k': [2]})\n\
         \x20   try:\n        1 / 0\n    except ZeroDivisionError:\n        log.exception('caught')\n    print('{\"level\":\"debug\"}')\n    print('plain')\n    raise KeyError('end')\n",
    )
    .json(LogLevel::Info, LogLevel::Info);
    let invocation = rig.invocation("{}");
    let id = invocation.request_id.to_string();
    rig.launch().await.invoke(invocation).await;
    let lines = rig.lines();
    let records: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_default())
        .collect();
    assert_eq!(records[0]["type"], "platform.initStart");
    assert_eq!(records[1]["type"], "platform.start");
    let record = &records[2];
    assert_eq!(
        (
            &record["level"],
            &record["message"],
            &record["logger"],
            &record["requestId"],
            &record["k"]
        ),
        (&json!("INFO"), &json!("yes 1"), &json!("mine"), &json!(id), &json!([2]))
    );
    assert_eq!(
        (&records[3]["errorType"], &records[3]["message"]),
        (&json!("ZeroDivisionError"), &json!("caught"))
    );
    assert!(records[3]["stackTrace"].is_array() && records[3]["location"].is_string());
    assert_eq!(lines[4], "plain");
    assert_eq!(
        (&records[5]["log_level"], &records[5]["errorType"]),
        (&json!("ERROR"), &json!("KeyError"))
    );
    assert_eq!(
        (&records[6]["type"], &records[6]["record"]["errorType"]),
        (&json!("platform.runtimeDone"), &json!("KeyError"))
    );
    assert_eq!(records[7]["type"], "platform.report");
    assert_eq!(records.len(), 8, "{lines:#?}");
}

#[tokio::test]
async fn children_do_not_inherit_the_control_socket() {
    let rig = Rig::python(
        "app.handler",
        "import subprocess\ndef handler(e, c):\n    return subprocess.run(['/bin/sh', '-c', 'readlink /proc/self/fd/3 || echo none'], close_fds=False, capture_output=True, text=True).stdout",
    );
    let (_, execution) = rig.once("{}").await;
    assert!(
        !answer(&execution).as_str().unwrap().starts_with("socket:"),
        "{:?}",
        execution.result
    );
}

#[tokio::test]
async fn a_wrapper_goes_before_the_runtime() {
    let rig = Rig::python(
        "app.handler",
        "import os\ndef handler(e, c): return os.environ.get('WRAPPED')",
    )
    .variable("AWS_LAMBDA_EXEC_WRAPPER", "/var/task/wrapper");
    rig.script("wrapper", "#!/bin/sh\nWRAPPED=yes exec \"$@\"\n");
    let (_, execution) = rig.once("{}").await;
    assert_eq!(answer(&execution), "yes");
    let rig = Rig::python("app.handler", "").variable("AWS_LAMBDA_EXEC_WRAPPER", "/var/task/absent");
    let (_, execution) = rig.once("{}").await;
    assert!(
        failure(&execution).1["errorMessage"]
            .as_str()
            .unwrap()
            .ends_with("exit status 127")
    );
}

/// What a function sees when it is told its variables and when it is started with them.
async fn sights(rig: impl Fn() -> Rig, at_start: (&str, &str)) -> [Value; 2] {
    let told = rig().variable("TZ", "Asia/Tokyo").variable("MINE", "é\n\"");
    let own = rig()
        .variable("TZ", "Asia/Tokyo")
        .variable("MINE", "é\n\"")
        .variable(at_start.0, at_start.1);
    let mut sights = [answer(&told.once("{}").await.1), answer(&own.once("{}").await.1)];
    assert_eq!(sights[1]["env"][at_start.0], at_start.1);
    for (sight, rig) in sights.iter_mut().zip([&told, &own]) {
        let folder = rig.folder.path().to_str().unwrap();
        *sight = serde_json::from_str(&sight.to_string().replace(folder, "TASK")).unwrap();
        let env = sight["env"].as_object_mut().unwrap();
        env.remove(at_start.0);
        // What differs from one environment to the next; `LD_LIBRARY_PATH` is the rig's own.
        for name in [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_LAMBDA_LOG_STREAM_NAME",
            "AWS_LAMBDA_RUNTIME_API",
            "LD_LIBRARY_PATH",
        ] {
            assert!(env.remove(name).is_some(), "{name}");
        }
    }
    sights
}

#[tokio::test]
async fn variables_are_seen_the_same_whether_told_or_started_with() {
    let source = "import os, sys, time\nhour = time.localtime(0).tm_hour\n\
        def handler(e, c): return {'hour': hour, 'env': dict(os.environ), 'argv': sys.argv, 'path': sys.path,\n\
            'cwd': os.getcwd(), 'flags': str(sys.flags), 'real': os.popen('printenv MINE TZ').read()}";
    let [told, own] = sights(|| Rig::python("app.handler", source), ("MALLOC_ARENA_MAX", "2")).await;
    assert_eq!((&told["hour"], &told["env"]["MINE"]), (&json!(9), &json!("é\n\"")));
    assert_eq!(told["real"], "é\n\"\nAsia/Tokyo\n");
    assert_eq!(told, own);

    let source = "const hour = new Date(0).getHours();\n\
        exports.handler = async () => ({ hour, env: { ...process.env }, argv: process.argv, execArgv: process.execArgv,\n\
            cwd: process.cwd(), paths: module.paths, main: require.main.filename,\n\
            real: require('child_process').execSync('printenv MINE TZ').toString() });";
    let [told, own] = sights(
        || Rig::node("app.handler", &[("app.js", source)]),
        ("UV_THREADPOOL_SIZE", "4"),
    )
    .await;
    assert_eq!((&told["hour"], &told["env"]["MINE"]), (&json!(9), &json!("é\n\"")));
    assert_eq!(told["real"], "é\n\"\nAsia/Tokyo\n");
    assert_eq!(told, own);
}
