//! The Node runtime.

use bytes::Bytes;
use ephyra_core::invocation::StreamPart;
use ephyra_core::limits;
use ephyra_core::revision::LogLevel;
use serde_json::{Value, json};

use crate::support::{Rig, answer, failure, stream};

fn app(source: &str) -> Rig {
    Rig::node("app.handler", &[("app.js", source)])
}

#[tokio::test]
async fn an_event_goes_there_and_back_and_again() {
    let rig = app(
        "let n = 0; exports.handler = async (event, context) => { console.log('hé', event); return { n: ++n, event }; };",
    );
    let (environment, execution) = rig.once(r#"{"a":[1,null,"é"]}"#).await;
    assert_eq!(answer(&execution), json!({"n": 1, "event": {"a": [1, null, "é"]}}));
    let (environment, execution) = environment.unwrap().invoke(rig.invocation("7")).await;
    assert_eq!(answer(&execution), json!({"n": 2, "event": 7}));
    assert!(environment.is_some());
    let lines = rig.lines();
    let line: Vec<&str> = lines[2].split('\t').collect();
    assert_eq!(&line[2..], ["INFO", "hé { a: [ 1, null, 'é' ] }"]);
    assert_eq!(lines.len(), 9, "{lines:#?}");
}

#[tokio::test]
async fn modules_are_found_in_every_style() {
    let common = "exports.handler = async () => 'common';";
    let module = "const word = await Promise.resolve('module'); export const handler = async () => word;";
    for (handler, files, want) in [
        ("app.handler", vec![("app.mjs", module)], "module"),
        (
            "app.handler",
            vec![("app.js", module), ("package.json", r#"{"type":"module"}"#)],
            "module",
        ),
        (
            "app.handler",
            vec![("app.cjs", common), ("package.json", r#"{"type":"module"}"#)],
            "common",
        ),
        ("a/b/app.handler", vec![("a/b/app.js", common)], "common"),
        ("app.handler", vec![("app/index.js", common)], "common"),
        (
            "app.deep.er.handler",
            vec![("app.js", "exports.deep = { er: { handler: async () => 'deep' } };")],
            "deep",
        ),
        (
            "app.handler",
            vec![
                (
                    "app.js",
                    "const word = require('word'); exports.handler = async () => word;",
                ),
                ("node_modules/word/index.js", "module.exports = 'package';"),
            ],
            "package",
        ),
        (
            "app.handler",
            vec![("app.mjs", "export default { handler: async () => 'default' };")],
            "default",
        ),
    ] {
        let (_, execution) = Rig::node(handler, &files).once("{}").await;
        assert_eq!(answer(&execution), want, "{handler} {files:?}");
    }
}

#[tokio::test]
async fn handlers_answer_in_every_style() {
    for (source, want) in [
        (
            "exports.handler = (event, context, callback) => callback(null, 1);",
            json!(1),
        ),
        (
            "exports.handler = (event, context, callback) => { let n = 0; setTimeout(() => n++, 5); callback(null, 2); };",
            json!(2),
        ),
        (
            "exports.handler = (event, context, callback) => { setTimeout(() => callback(null, 3), 1); };",
            json!(3),
        ),
        (
            "exports.handler = (event, context, callback) => { context.callbackWaitsForEmptyEventLoop = false; setInterval(() => {}, 10); callback(null, 4); };",
            json!(4),
        ),
        (
            "exports.handler = (event, context) => { setInterval(() => {}, 10); context.succeed(5); };",
            json!(5),
        ),
        (
            "exports.handler = (event, context) => { context.done(null, 6); };",
            json!(6),
        ),
        ("exports.handler = () => {};", json!(null)),
        ("exports.handler = async () => {};", json!(null)),
        (
            "exports.handler = async () => { setInterval(() => {}, 10); return 7; };",
            json!(7),
        ),
    ] {
        let rig = app(source);
        let (environment, execution) = rig.once("{}").await;
        assert_eq!(answer(&execution), want, "{source}");
        let (_, execution) = environment.unwrap().invoke(rig.invocation("{}")).await;
        assert_eq!(answer(&execution), want, "again {source}");
    }
}

#[tokio::test]
async fn a_handler_without_an_answer_waits_for_its_event_loop() {
    let rig = app(
        "exports.handler = (event, context, callback) => { setTimeout(() => console.log('late'), 30); callback(null, 1); };",
    );
    let (_, execution) = rig.once("{}").await;
    assert_eq!(answer(&execution), 1);
    rig.has_logged("late");
}

#[tokio::test]
async fn failures_have_lambdas_names() {
    for (source, error_type, message) in [
        (
            "exports.handler = async () => { throw new TypeError('bad'); };",
            "TypeError",
            "bad",
        ),
        (
            "exports.handler = () => { throw new RangeError('sync'); };",
            "RangeError",
            "sync",
        ),
        (
            "exports.handler = (e, c, callback) => callback(new Error('called back'));",
            "Error",
            "called back",
        ),
        (
            "exports.handler = (e, c, callback) => callback('text');",
            "string",
            "text",
        ),
        (
            "exports.handler = (e, c) => c.fail(new Error('failed'));",
            "Error",
            "failed",
        ),
        (
            "exports.handler = async () => { const a = {}; a.a = a; return a; };",
            "Runtime.MarshalError",
            "Unable to stringify response body",
        ),
    ] {
        let rig = app(source);
        let (environment, execution) = rig.once("{}").await;
        let (kind, document) = failure(&execution);
        assert_eq!(
            (kind.as_str(), &document["errorMessage"]),
            (error_type, &json!(message)),
            "{source}"
        );
        assert_eq!(document["errorType"], error_type);
        assert!(document["trace"].is_array());
        assert!(
            environment.is_some(),
            "{source}: an exception leaves the environment usable"
        );
        rig.has_logged("\tERROR\tInvoke Error \t{\"errorType\":");
    }
}

#[tokio::test]
async fn what_a_process_does_not_outlive_ends_the_environment() {
    for (source, error_type, message) in [
        (
            "exports.handler = () => { Promise.reject(new Error('lost')); return new Promise(() => setTimeout(() => {}, 9e4)); };",
            "Runtime.UnhandledPromiseRejection",
            "Error: lost",
        ),
        (
            "exports.handler = () => new Promise(() => setTimeout(() => { throw new Error('thrown'); }, 1));",
            "Error",
            "thrown",
        ),
    ] {
        let (environment, execution) = app(source).once("{}").await;
        let (kind, document) = failure(&execution);
        assert_eq!(
            (kind.as_str(), &document["errorMessage"]),
            (error_type, &json!(message)),
            "{source}"
        );
        assert!(environment.is_none());
    }
    for (status, reason) in [
        (0, "Runtime exited without providing a reason"),
        (3, "Runtime exited with error: exit status 3"),
    ] {
        let rig = app(&format!("exports.handler = async () => {{ process.exit({status}); }};"));
        let invocation = rig.invocation("{}");
        let want = json!({
            "errorType": "Runtime.ExitError",
            "errorMessage": format!("RequestId: {} Error: {reason}", invocation.request_id),
        });
        let (environment, execution) = rig.launch().await.invoke(invocation).await;
        assert_eq!(failure(&execution), ("Runtime.ExitError".to_owned(), want));
        assert!(environment.is_none());
    }
}

#[tokio::test]
async fn what_cannot_be_loaded_is_said_at_the_first_invocation() {
    for (handler, files, error_type, message) in [
        (
            "app.handler",
            vec![],
            "Runtime.ImportModuleError",
            "Error: Cannot find module 'app'",
        ),
        (
            "app.handler",
            vec![("app.js", "require('absent');")],
            "Runtime.ImportModuleError",
            "Error: Cannot find module 'absent'",
        ),
        (
            "app.handler",
            vec![("app.mjs", "import 'absent';")],
            "Runtime.ImportModuleError",
            "Cannot find package 'absent'",
        ),
        (
            "app.handler",
            vec![("app.js", "exports.other = 1;")],
            "Runtime.HandlerNotFound",
            "app.handler is undefined or not exported",
        ),
        (
            "app.handler",
            vec![("app.js", "exports.handler = 1;")],
            "Runtime.HandlerNotFound",
            "app.handler is not a function",
        ),
        ("handler", vec![], "Runtime.MalformedHandlerName", "Bad handler"),
        (
            "../app.handler",
            vec![],
            "Runtime.MalformedHandlerName",
            "is not a valid handler name",
        ),
        (
            "app.handler",
            vec![("app.js", "exports.handler = async () => {")],
            "Runtime.UserCodeSyntaxError",
            "SyntaxError: ",
        ),
        (
            "app.handler",
            vec![("app.js", "throw new EvalError('at load');")],
            "EvalError",
            "at load",
        ),
        (
            "app.handler",
            vec![(
                "app.mjs",
                "await new Promise(() => setTimeout(() => { throw new EvalError('late'); }, 1));",
            )],
            "EvalError",
            "late",
        ),
    ] {
        let rig = Rig::node(handler, &files);
        let environment = rig.launch().await;
        assert_eq!(
            environment.init_error().map(|error| error.error_type.as_str()),
            Some(error_type),
            "{files:?}"
        );
        let (environment, execution) = environment.invoke(rig.invocation("{}")).await;
        let (kind, document) = failure(&execution);
        assert_eq!(kind, error_type);
        assert!(
            document["errorMessage"].as_str().unwrap().contains(message),
            "{document}"
        );
        assert!(environment.is_none());
        rig.has_logged(&format!("\tPhase: init\tStatus: error\tError Type: {error_type}"));
    }
}

#[tokio::test]
async fn the_context_is_complete() {
    let rig = app(
        "exports.handler = async (event, context) => ({ ...context, left: context.getRemainingTimeInMillis(), trace: process.env._X_AMZN_TRACE_ID });",
    );
    let mut invocation = rig.invocation("{}");
    invocation.client_context = Some(r#"{"custom":{"a":"b"}}"#.to_owned());
    invocation.trace_id = Some("Root=1-2-3".to_owned());
    let id = invocation.request_id.to_string();
    let (environment, execution) = rig.launch().await.invoke(invocation).await;
    let context = answer(&execution);
    let left = context["left"].as_u64().unwrap();
    assert!((15_000..=20_000).contains(&left), "{left}");
    for (name, want) in [
        ("awsRequestId", json!(id)),
        ("functionName", json!("work")),
        ("functionVersion", json!("$LATEST")),
        ("memoryLimitInMB", json!("128")),
        ("logGroupName", json!("/aws/lambda/work")),
        (
            "invokedFunctionArn",
            json!("arn:aws:lambda:eu-west-1:000000000000:function:work:live"),
        ),
        ("clientContext", json!({"custom": {"a": "b"}})),
        ("callbackWaitsForEmptyEventLoop", json!(true)),
        ("trace", json!("Root=1-2-3")),
    ] {
        assert_eq!(context[name], want, "{name}");
    }
    let (_, execution) = environment.unwrap().invoke(rig.invocation("{}")).await;
    assert_eq!(
        (&answer(&execution)["clientContext"], &answer(&execution)["trace"]),
        (&Value::Null, &Value::Null)
    );
}

/// It is behind the variables, and among them where other processes may look.
#[tokio::test]
async fn each_event_has_its_trace_wherever_it_is_looked_for() {
    let rig = app("const { env } = process;
        exports.handler = async (event) => {
            if (event === 'set') env._X_AMZN_TRACE_ID = 'own';
            const seen = [env._X_AMZN_TRACE_ID, process.env._X_AMZN_TRACE_ID];
            if (event !== 'child') return seen;
            const { execFileSync } = require('child_process');
            const run = (options) => execFileSync('/bin/sh', ['-c', 'echo -n $_X_AMZN_TRACE_ID'], options).toString();
            return [...seen, run({}), run({ env: { ...env, _X_AMZN_TRACE_ID: env._X_AMZN_TRACE_ID } })];
        };");
    let mut environment = rig.launch().await;
    for (event, trace, seen) in [
        ("0", Some("Root=1"), vec!["Root=1"; 2]),
        ("0", Some("Root=2;Parent=0"), vec!["Root=2;Parent=0"; 2]),
        ("0", Some("a\"b"), vec!["a\"b"; 2]),
        ("0", Some("c\\"), vec!["c\\"; 2]),
        ("\"set\"", Some("Root=3"), vec!["own"; 2]),
        ("0", Some("Root=4"), vec!["Root=4"; 2]),
        ("\"child\"", Some("Root=5"), vec!["Root=5"; 4]),
        ("\"child\"", Some("Root=6"), vec!["Root=6"; 4]),
    ] {
        let mut invocation = rig.invocation(event);
        invocation.trace_id = trace.map(str::to_owned);
        let (kept, execution) = environment.invoke(invocation).await;
        assert_eq!(answer(&execution), json!(seen), "{event} {trace:?}");
        environment = kept.unwrap();
    }
    let (_, execution) = environment.invoke(rig.invocation("0")).await;
    assert_eq!(answer(&execution), json!([null, null]));
}

const STREAMED: &str = "exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {
    stream.setContentType('text/plain');
    for (let i = 0; i < event; i++) { stream.write(`part ${i};`); await new Promise((done) => setTimeout(done, 1)); }
    stream.end();
});";

fn text(parts: &[StreamPart]) -> (Vec<String>, String) {
    let mut types = Vec::new();
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            StreamPart::Head { content_type } => types.push(content_type.clone()),
            StreamPart::Chunk(chunk) => bytes.extend_from_slice(chunk),
        }
    }
    (types, String::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn a_streamed_answer_is_passed_on_part_by_part_or_gathered() {
    let rig = app(STREAMED);
    let (environment, execution, parts) = stream(&rig, rig.launch().await, "3").await;
    assert_eq!(execution.result, Ok(Bytes::new()));
    assert_eq!(
        text(&parts),
        (vec!["text/plain".to_owned()], "part 0;part 1;part 2;".to_owned())
    );
    assert_eq!(execution.measures.bytes_out, 21);
    let (environment, execution) = environment.unwrap().invoke(rig.invocation("2")).await;
    assert_eq!(execution.result, Ok(Bytes::from_static(b"part 0;part 1;")));
    // Nobody reads: the function ends as usual.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    drop(receiver);
    let mut invocation = rig.invocation("2");
    invocation.stream = Some(sender);
    let (environment, execution) = environment.unwrap().invoke(invocation).await;
    assert_eq!(execution.result, Ok(Bytes::new()));
    assert!(environment.is_some());
}

#[tokio::test]
async fn an_http_stream_has_its_prelude() {
    let rig = app(
        "exports.handler = awslambda.streamifyResponse(async (event, stream) => {
        const http = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { a: 'b' } });
        http.write('body'); http.end();
    });",
    );
    let (_, _, parts) = stream(&rig, rig.launch().await, "{}").await;
    let want = "{\"statusCode\":201,\"headers\":{\"a\":\"b\"}}\0\0\0\0\0\0\0\0body";
    assert_eq!(
        text(&parts),
        (
            vec!["application/vnd.awslambda.http-integration-response".to_owned()],
            want.to_owned()
        )
    );
}

#[tokio::test]
async fn a_plain_handler_streams_one_part_and_a_broken_stream_is_a_failure() {
    let rig = app("exports.handler = async () => ({ a: 1 });");
    let (_, execution, parts) = stream(&rig, rig.launch().await, "{}").await;
    assert_eq!(execution.result, Ok(Bytes::new()));
    assert_eq!(
        text(&parts),
        (vec!["application/json".to_owned()], "{\"a\":1}".to_owned())
    );

    let rig = app(
        "exports.handler = awslambda.streamifyResponse(async (event, stream) => {
        if (event === 'late') { stream.write('begun'); await new Promise((done) => setTimeout(done, 5)); }
        throw new TypeError('broken');
    });",
    );
    let (environment, execution, parts) = stream(&rig, rig.launch().await, "\"late\"").await;
    assert_eq!(failure(&execution).0, "TypeError");
    assert_eq!(text(&parts).1, "begun");
    let (environment, execution, parts) = stream(&rig, environment.unwrap(), "\"at once\"").await;
    assert_eq!(failure(&execution).0, "TypeError");
    assert!(parts.is_empty() && environment.is_some());
}

#[tokio::test]
async fn a_large_stream_is_passed_on_and_too_large_an_answer_is_not() {
    let rig = app(
        "exports.handler = awslambda.streamifyResponse(async (event, stream) => { stream.end('x'.repeat(event)); });",
    );
    let size = limits::SYNC_RESPONSE_BYTES + 1;
    let (environment, execution, parts) = stream(&rig, rig.launch().await, &size.to_string()).await;
    assert_eq!(execution.result, Ok(Bytes::new()));
    assert_eq!(text(&parts).1.len(), size);
    let (environment, execution) = environment.unwrap().invoke(rig.invocation(&size.to_string())).await;
    assert_eq!(failure(&execution).0, "Function.ResponseSizeTooLarge");
    let (_, execution) = environment.unwrap().invoke(rig.invocation("3")).await;
    assert_eq!(execution.result, Ok(Bytes::from_static(b"xxx")));
}

#[tokio::test]
async fn console_writes_json_records_of_the_level_and_above() {
    let rig = app("exports.handler = async () => { console.debug('no'); console.info('yes %d', 1); console.warn({ a: 1 }); console.error('x', new TypeError('bad')); throw new RangeError('end'); };")
        .json(LogLevel::Info, LogLevel::Warn);
    let (_, _) = rig.once("{}").await;
    let records: Vec<Value> = rig
        .lines()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let seen: Vec<(&Value, &Value)> = records
        .iter()
        .map(|record| (&record["level"], &record["message"]))
        .collect();
    assert_eq!(seen[0], (&json!("INFO"), &json!("yes 1")));
    assert_eq!(seen[1], (&json!("WARN"), &json!({"a": 1})));
    assert_eq!(records[2]["errorType"], "TypeError");
    assert!(records[2]["requestId"].is_string() && records[2]["timestamp"].is_string());
    assert_eq!(records[3]["message"]["errorType"], "RangeError");
    assert_eq!(
        (&records[4]["type"], &records[4]["record"]["status"]),
        (&json!("platform.runtimeDone"), &json!("error"))
    );
    assert_eq!(records[5]["type"], "platform.report");
    assert_eq!(records.len(), 6, "{records:#?}");
}

#[tokio::test]
async fn children_do_not_inherit_the_control_socket() {
    let rig = app(
        "exports.handler = async () => require('child_process').execSync('readlink /proc/self/fd/3 || echo none').toString().trim();",
    );
    let (_, execution) = rig.once("{}").await;
    assert!(
        !answer(&execution).as_str().unwrap().starts_with("socket:"),
        "{:?}",
        execution.result
    );
}

#[tokio::test]
async fn node_24_knows_no_callbacks() {
    let mut rig = app("exports.handler = (event, context, callback) => callback(null, 1);");
    rig.revision.runtime = "nodejs24.x".to_owned();
    let (_, execution) = rig.once("{}").await;
    assert_eq!(failure(&execution).0, "Runtime.CallbackHandlerDeprecated");
    let mut rig = app("exports.handler = (event, context) => typeof context.done;");
    rig.revision.runtime = "nodejs24.x".to_owned();
    let (_, execution) = rig.once("{}").await;
    assert_eq!(answer(&execution), "undefined");
}

/// Loads `app.js` in a process of its own as the runtime does, with the code that was made before or making it.
const CACHE: &str = r"
const vm = require('vm');
const scripts = [];
vm.Script = class extends vm.Script { constructor(...given) { super(...given); scripts.push(this); } };
const [cache, mode, file, root] = process.argv.slice(1);
const made = mode === 'record' ? require(cache).record([root]) : require(cache).use(file);
scripts.length = 0;
if (mode === 'hook') {
  const { prototype } = require('module');
  const compile = prototype._compile;
  prototype._compile = function (content, ...rest) {
    return compile.call(this, content.replace('__filename', '1234567890'), ...rest);
  };
}
const { seen } = require(root + 'app.js');
if (mode === 'record') { require('fs').writeFileSync(file, made()); }
console.log(JSON.stringify({ seen, rejected: scripts.map((script) => script.cachedDataRejected) }));
";

#[test]
fn code_is_used_again_where_it_fits() {
    let app =
        "#!/usr/bin/env node\nconst at = new Error('x').stack.split('\\n')[1]; exports.seen = [at, require('./part')];";
    let rig = Rig::node(
        "app.handler",
        &[("app.js", app), ("part.js", "module.exports = __filename;")],
    );
    let root = format!("{}/", rig.folder.path().display());
    let (cache, file) = (
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../runtimes/node/cache.js"),
        format!("{root}code"),
    );
    let run = |heap: &str, mode: &str| -> Value {
        let mut node = std::process::Command::new(&rig.runtime.executable);
        let output = node
            .args([heap, "-e", CACHE, cache, mode, &file, &root])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let [same, other] = ["--max-old-space-size=115", "--max-old-space-size=230"];
    let made = run(same, "record");
    assert_eq!(made["seen"][1], format!("{root}part.js"));
    std::fs::rename(&file, format!("{file}.kept")).unwrap();
    let plain = run(same, "use");
    assert_eq!((&plain["seen"], &plain["rejected"]), (&made["seen"], &json!([])));
    std::fs::rename(format!("{file}.kept"), &file).unwrap();
    let plain = &plain["seen"];
    let used = run(same, "use");
    assert_eq!((&used["seen"], &used["rejected"]), (plain, &json!([false, false])));
    let refused = run(other, "use");
    assert_eq!((&refused["seen"], &refused["rejected"]), (plain, &json!([true, true])));
    // What a hook of the function's own has changed, to the same length, is compiled as ever.
    let hooked = run(same, "hook");
    assert_eq!(
        (&hooked["seen"][1], &hooked["rejected"]),
        (&json!(1_234_567_890), &json!([false]))
    );
}
