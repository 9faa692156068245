//! Extensions of all kinds beside real runtimes: their phases, their errors, their silence.

use std::time::{Duration, Instant};

use ephyra_core::environment::{Completion, Environment, Execution};
use serde_json::{Value, json};

use crate::support::{Rig, answer, failure};

/// What extensions of these tests begin with.
const PREAMBLE: &str = "#!/usr/bin/env python3
import http.client, http.server, json, os, sys, threading, time
api = os.environ['AWS_LAMBDA_RUNTIME_API']
def call(method, path, body=None, **headers):
    connection = http.client.HTTPConnection(api)
    connection.request(method, path, body, {name.replace('_', '-'): value for name, value in headers.items()})
    reply = connection.getresponse()
    return reply.status, reply.headers, json.loads(reply.read() or b'null')
def register(name, *events, **headers):
    return call('POST', '/2020-01-01/extension/register', json.dumps({'events': events}),
        Lambda_Extension_Name=name, **headers)
def next(id):
    return call('GET', '/2020-01-01/extension/event/next', Lambda_Extension_Identifier=id)
def report(id, kind):
    return call('POST', f'/2020-01-01/extension/{kind}/error', '{}', Lambda_Extension_Identifier=id,
        Lambda_Extension_Function_Error_Type='Extension.Mine')
def say(*words): print(*words, flush=True)
";

/// One that registers for events and says what it gets.
const TELLER: &str = "
status, headers, body = register('teller', 'INVOKE', 'SHUTDOWN', Lambda_Extension_Accept_Feature='accountId')
say('registered', json.dumps(body))
id = headers['lambda-extension-identifier']
while True:
    status, headers, event = next(id)
    say('event', json.dumps(event))
    if event['eventType'] == 'SHUTDOWN': break
    time.sleep(float(os.environ.get('WORK', '0')))
";

const HANDLER: &str = "def handler(event, context): return event";

impl Rig {
    /// Puts an external extension beside the function.
    fn extension(self, name: &str, source: &str) -> Self {
        std::fs::create_dir_all(self.folder.path().join("extensions")).unwrap();
        self.script(&format!("extensions/{name}"), &format!("{PREAMBLE}{source}"));
        self
    }

    fn function(source: &str) -> Self {
        Self::python("app.handler", source)
    }

    fn line(&self, beginning: &str) -> Option<String> {
        self.lines().into_iter().find(|line| line.starts_with(beginning))
    }

    fn position(&self, beginning: &str) -> usize {
        let lines = self.lines();
        let found = lines.iter().position(|line| line.starts_with(beginning));
        found.unwrap_or_else(|| panic!("{beginning:?} begins no line of {lines:#?}"))
    }
}

/// Invokes and waits for what goes on behind the answer: the answer, how long it took, the end.
async fn invoke(rig: &Rig, environment: Box<dyn Environment>, event: &str) -> (Execution, Duration, Completion) {
    let begun = Instant::now();
    let (environment, mut execution) = environment.invoke(rig.invocation(event)).await;
    let answered = begun.elapsed();
    let completion = match execution.after.take() {
        Some(after) => after.0.await,
        None => Completion {
            environment,
            measures: execution.measures,
            failure: None,
        },
    };
    (execution, answered, completion)
}

#[tokio::test]
async fn an_external_extension_lives_through_all_phases() {
    let rig = Rig::function(HANDLER)
        .extension("teller", TELLER)
        .variable("WORK", "0.3");
    let environment = rig.launch().await;
    let registered = rig.line("registered").unwrap();
    let registered: Value = serde_json::from_str(&registered["registered ".len()..]).unwrap();
    assert_eq!(
        registered,
        json!({"functionName": "work", "functionVersion": "$LATEST", "handler": "app.handler", "accountId": "000000000000"})
    );
    assert_eq!(
        rig.line("EXTENSION").unwrap(),
        "EXTENSION\tName: teller\tState: Ready\tEvents: [INVOKE, SHUTDOWN]"
    );

    let (execution, answered, completion) = invoke(&rig, environment, "1").await;
    assert_eq!(answer(&execution), json!(1));
    assert!(completion.measures.duration >= Duration::from_millis(300));
    assert!(execution.measures.duration <= answered && answered < completion.measures.duration);
    assert!(completion.measures.billed_ms > 300);
    let event: Value = serde_json::from_str(&rig.line("event").unwrap()["event ".len()..]).unwrap();
    assert_eq!(
        (&event["eventType"], &event["tracing"]["type"]),
        (&json!("INVOKE"), &json!("X-Amzn-Trace-Id"))
    );
    assert_eq!(
        event["invokedFunctionArn"],
        "arn:aws:lambda:eu-west-1:000000000000:function:work:live"
    );
    assert!(event["deadlineMs"].as_u64().unwrap() > 1_700_000_000_000);
    assert!(rig.position("START") < rig.position("END") && rig.position("END") < rig.position("REPORT"));

    let environment = completion.environment.expect("it can be used again");
    let begun = Instant::now();
    environment.end().await;
    assert!(
        begun.elapsed() < Duration::from_millis(1500),
        "nobody waits for those who have ended"
    );
    let last = rig.lines().pop().unwrap();
    let event: Value = serde_json::from_str(&last["event ".len()..]).unwrap();
    assert_eq!(
        (&event["eventType"], &event["shutdownReason"]),
        (&json!("SHUTDOWN"), &json!("SPINDOWN"))
    );
}

#[tokio::test]
async fn the_tail_of_the_log_waits_for_the_report() {
    let rig = Rig::function(HANDLER)
        .extension("teller", TELLER)
        .variable("WORK", "0.2");
    let mut invocation = rig.invocation("1");
    invocation.wants_log_tail = true;
    let (environment, execution) = rig.launch().await.invoke(invocation).await;
    assert!(environment.is_some() && execution.after.is_none());
    let tail = String::from_utf8(execution.log_tail.unwrap().to_vec()).unwrap();
    assert!(tail.contains("event {") && tail.contains("REPORT RequestId"), "{tail}");
}

#[tokio::test]
async fn an_internal_extension_is_told_of_invocations_alone() {
    let source = format!(
        "{}
seen = []
refused = [register('inner', 'SHUTDOWN')[2]['errorType'], register('', 'INVOKE')[2]['errorType']]
id = register('inner', 'INVOKE')[1]['lambda-extension-identifier']
def listen():
    while True: seen.append(next(id)[2]['eventType'])
threading.Thread(target=listen, daemon=True).start()
def handler(event, context):
    while not seen: time.sleep(0.001)
    late = register('late', 'INVOKE')[2]['errorType']
    again = call('GET', '/2018-06-01/runtime/invocation/next')
    return [seen, refused, late, again[0], again[2]['errorType']]
",
        PREAMBLE.replace("#!/usr/bin/env python3\n", "")
    );
    let rig = Rig::function(&source);
    let (execution, _, completion) = {
        let environment = rig.launch().await;
        invoke(&rig, environment, "1").await
    };
    assert_eq!(
        answer(&execution),
        json!([
            ["INVOKE"],
            ["Extension.InvalidEventType", "Extension.InvalidExtensionName"],
            "Extension.RegistrationClosed",
            403,
            "InvalidStateTransition"
        ])
    );
    assert_eq!(
        rig.line("EXTENSION").unwrap(),
        "EXTENSION\tName: inner\tState: Ready\tEvents: [INVOKE]"
    );
    let begun = Instant::now();
    completion.environment.unwrap().end().await;
    assert!(begun.elapsed() < Duration::from_millis(450), "SIGTERM ended it at once");
}

#[tokio::test]
async fn every_mistake_has_its_error() {
    // Nobody registers once the function is loaded.
    let rig = Rig::function(&format!("import time\ntime.sleep(0.5)\n{HANDLER}")).extension(
        "clumsy",
        "
def see(reply): say('seen', reply[0], reply[2]['errorType'])
see(next(''))
see(next('x'))
see(next('00000000-0000-0000-0000-000000000000'))
see(call('POST', '/2020-01-01/extension/register', 'no', Lambda_Extension_Name='clumsy'))
see(register('clumsy', 'RESTART'))
id = register('clumsy')[1]['lambda-extension-identifier']
see(register('clumsy'))
see(call('POST', '/2020-01-01/extension/exit/error', Lambda_Extension_Identifier=id))
for number in range(9): register(str(number))
see(register('eleventh'))
see(call('PUT', '/2022-07-01/telemetry', '{}'))
see(call('PUT', '/2022-07-01/telemetry', '{}', Lambda_Extension_Identifier=id))
see(call('PUT', '/2020-08-15/logs', '{}', Lambda_Extension_Identifier=id))
say('seen', call('GET', '/2020-01-01/extension/register')[0], 'method')
say('seen', call('GET', '/2020-01-01/nothing')[0], 'path') if False else None
sys.exit(report(id, 'exit')[0] - 200)
",
    );
    let environment = rig.launch().await;
    let seen: Vec<String> = rig
        .lines()
        .iter()
        .filter_map(|line| line.strip_prefix("seen ").map(str::to_owned))
        .collect();
    assert_eq!(
        seen,
        [
            "403 Extension.MissingExtensionIdentifier",
            "403 Extension.InvalidExtensionIdentifier",
            "403 Extension.UnknownExtensionIdentifier",
            "403 InvalidRequestFormat",
            "403 Extension.InvalidEventType",
            "403 Extension.InvalidExtensionState",
            "403 Extension.MissingHeader",
            "403 Extension.TooManyExtensions",
            "403 Extension.MissingExtensionIdentifier",
            "400 ValidationError",
            "400 Logs.ValidationError",
            "405 method",
        ]
    );
    let (execution, _, completion) = invoke(&rig, environment, "1").await;
    let (kind, document) = failure(&execution);
    assert_eq!(kind, "Extension.ExitError");
    assert!(
        document["errorMessage"]
            .as_str()
            .unwrap()
            .ends_with("Error: exit status 2")
    );
    assert!(completion.environment.is_none());
    rig.has_logged("State: ExitError\tEvents: []\tError Type: Extension.Mine");
}

#[tokio::test]
async fn failures_of_initialisation_are_awss() {
    let init_error =
        "id = register('ext', 'INVOKE')[1]['lambda-extension-identifier']\nreport(id, 'init')\nsys.exit(3)";
    let lingers =
        "id = register('ext', 'INVOKE')[1]['lambda-extension-identifier']\nreport(id, 'init')\ntime.sleep(100)";
    for (source, kind, reason, line) in [
        ("sys.exit(7)", "Extension.Crash", "exit status 7", "State: Exited"),
        (
            "register('ext', 'INVOKE')",
            "Extension.Crash",
            "exit code 0",
            "State: Exited",
        ),
        (
            init_error,
            "Extension.InitError",
            "exit status 3",
            "State: InitError\tEvents: [INVOKE]\tError Type: Extension.Mine",
        ),
        (lingers, "Extension.InitError", "ext failed", "State: InitError"),
    ] {
        let rig = Rig::function(HANDLER).extension("ext", source);
        let environment = rig.launch().await;
        assert!(environment.init_error().is_some(), "{source}");
        let (execution, answered, completion) = invoke(&rig, environment, "1").await;
        let (seen, document) = failure(&execution);
        let message = document["errorMessage"].as_str().unwrap();
        assert_eq!(seen, kind, "{source}");
        assert!(message.ends_with(&format!("Error: {reason}")), "{message}");
        assert!(answered < Duration::from_secs(1) && completion.environment.is_none());
        rig.has_logged(line);
        rig.has_logged(&format!("Status: error\tError Type: {kind}"));
    }
    let rig = Rig::function(HANDLER).extension("ext", "");
    std::fs::remove_file(rig.folder.path().join("extensions/ext")).unwrap();
    std::os::unix::fs::symlink("/nowhere", rig.folder.path().join("extensions/ext")).unwrap();
    let (_, execution) = rig.once("1").await;
    let (kind, document) = failure(&execution);
    assert_eq!(kind, "Extension.LaunchError");
    let message = document["errorMessage"].as_str().unwrap();
    assert!(message.ends_with("Error: fork/exec /opt/extensions/ext: no such file or directory"));
    rig.has_logged("State: LaunchError\tEvents: []\tError Type: UnknownError");
}

#[tokio::test]
async fn one_that_never_registers_times_out_like_a_slow_function() {
    let mut rig = Rig::function(HANDLER).extension("ext", "time.sleep(100)").timeout(1);
    rig.init_limit = Duration::from_millis(200);
    let environment = rig.launch().await;
    rig.has_logged("Phase: init\tStatus: timeout");
    let (execution, answered, completion) = invoke(&rig, environment, "1").await;
    assert_eq!(failure(&execution).0, "Sandbox.Timedout");
    assert!(answered < Duration::from_secs(2) && completion.environment.is_none());
    rig.has_logged("Phase: invoke\tStatus: timeout");
}

#[tokio::test]
async fn one_that_is_slow_is_waited_for_by_the_first_invocation() {
    let source = format!("time.sleep(0.5)\n{TELLER}");
    let mut rig = Rig::function(HANDLER).extension("teller", &source);
    rig.init_limit = Duration::from_millis(100);
    let environment = rig.launch().await;
    let (execution, _, completion) = invoke(&rig, environment, "5").await;
    assert_eq!(answer(&execution), json!(5));
    completion.environment.unwrap().end().await;
    rig.has_logged("SPINDOWN");
}

#[tokio::test]
async fn one_that_never_finishes_spends_the_functions_time_behind_the_answer() {
    let rig = Rig::function(HANDLER)
        .extension("teller", TELLER)
        .variable("WORK", "100")
        .timeout(1);
    let environment = rig.launch().await;
    let begun = Instant::now();
    let (execution, answered, completion) = invoke(&rig, environment, "1").await;
    assert_eq!(answer(&execution), json!(1));
    assert!(answered < Duration::from_millis(900));
    // A second of the function's, two of the end's: it sleeps through the event.
    assert!(begun.elapsed() > Duration::from_millis(2900) && begun.elapsed() < Duration::from_secs(5));
    assert!(completion.environment.is_none());
    assert_eq!(completion.failure.unwrap().error_type, "Sandbox.Timedout");
    rig.has_logged("Task timed out after 1.00 seconds");
    rig.has_logged("Status: timeout");
}

#[tokio::test]
async fn one_that_dies_takes_the_environment_with_it() {
    let dying = "
id = register('ext', 'INVOKE')[1]['lambda-extension-identifier']
next(id)
sys.exit(1)
";
    let rig = Rig::function("import time\ndef handler(event, context): time.sleep(100)").extension("ext", dying);
    let environment = rig.launch().await;
    let (execution, _, completion) = invoke(&rig, environment, "1").await;
    let (kind, document) = failure(&execution);
    assert_eq!(kind, "Extension.Crash");
    assert!(
        document["errorMessage"]
            .as_str()
            .unwrap()
            .ends_with("Error: exit status 1")
    );
    assert!(completion.environment.is_none());

    let hanging = dying.replace("sys.exit(1)", "report(id, 'exit'); time.sleep(1000)");
    let rig = Rig::function("import time\ndef handler(event, context): time.sleep(100)").extension("ext", &hanging);
    let environment = rig.launch().await;
    let (execution, answered, completion) = invoke(&rig, environment, "1").await;
    let (kind, document) = failure(&execution);
    assert_eq!(kind, "Extension.ExitError");
    assert!(
        document["errorMessage"]
            .as_str()
            .unwrap()
            .ends_with("Error: ext failed")
    );
    assert!(answered < Duration::from_secs(10) && completion.environment.is_none());

    let idle = "
id = register('ext')[1]['lambda-extension-identifier']
threading.Thread(target=next, args=(id,), daemon=True).start()
while not os.path.exists(sys.argv[0] + '.end'): time.sleep(0.01)
os._exit(0)
";
    let rig = Rig::function(HANDLER).extension("ext", idle);
    let mut environment = rig.launch().await;
    std::fs::write(rig.folder.path().join("extensions/ext.end"), "").unwrap();
    tokio::time::timeout(Duration::from_secs(10), environment.died())
        .await
        .unwrap();
}

#[tokio::test]
async fn after_a_time_out_and_a_crash_extensions_hear_why() {
    for (handler, error_type, reason) in [
        (
            "import time\ndef handler(event, context): time.sleep(100)",
            "Sandbox.Timedout",
            "TIMEOUT",
        ),
        (
            "import os\ndef handler(event, context): os._exit(1)",
            "Runtime.ExitError",
            "FAILURE",
        ),
    ] {
        let rig = Rig::function(handler).extension("teller", TELLER).timeout(1);
        let environment = rig.launch().await;
        let (execution, _, completion) = invoke(&rig, environment, "1").await;
        assert_eq!(failure(&execution).0, error_type);
        assert!(completion.environment.is_none());
        rig.has_logged(reason);
    }
}

#[tokio::test]
async fn the_runtime_is_told_to_end_and_killed_if_it_does_not() {
    let source = "import signal, time
def leave(*_): print('leaving', flush=True); time.sleep(100)
signal.signal(signal.SIGTERM, leave)
def handler(event, context): return 1";
    let rig = Rig::function(source).extension("teller", TELLER);
    let environment = rig.launch().await;
    let (_, _, completion) = invoke(&rig, environment, "1").await;
    let begun = Instant::now();
    completion.environment.unwrap().end().await;
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(300) && took < Duration::from_millis(1500),
        "{took:?}"
    );
    assert!(
        rig.position("leaving") < rig.lines().len() - 1,
        "the extension is told after it"
    );
    rig.has_logged("SPINDOWN");
}

/// A subscriber that keeps what it got, and tells it when it is asked.
const SUBSCRIBER: &str = "
seen = []
class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        seen.extend(json.loads(self.rfile.read(int(self.headers['content-length']))))
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(('127.0.0.1', 0), Listener)
threading.Thread(target=server.serve_forever, daemon=True).start()
id = register('subscriber', 'INVOKE', 'SHUTDOWN')[1]['lambda-extension-identifier']
wanted = {'schemaVersion': '2022-12-13', 'types': ['platform', 'function', 'extension'],
    'buffering': {'timeoutMs': 25},
    'destination': {'protocol': 'HTTP', 'URI': f'http://sandbox.localdomain:{server.server_port}/'}}
status, _, body = call('PUT', '/2022-07-01/telemetry', json.dumps(wanted), Lambda_Extension_Identifier=id)
say('subscribed', status, body)
while True:
    event = next(id)[2]
    if event['eventType'] == 'SHUTDOWN': break
    while not any(record['type'] == 'platform.runtimeDone' for record in seen): time.sleep(0.01)
while not any(record['type'] == 'platform.report' for record in seen): time.sleep(0.01)
say('seen', json.dumps([[record['type'], record['record']] for record in seen]))
";

#[tokio::test]
async fn a_subscriber_gets_everything_from_the_start() {
    let rig = Rig::function(
        "import time\ntime.sleep(0.5)\nprint('loading')\ndef handler(event, context): print('running'); return 1",
    )
    .extension("subscriber", SUBSCRIBER);
    let environment = rig.launch().await;
    rig.has_logged("subscribed 200 OK");
    rig.has_logged("TELEMETRY\tName: subscriber\tState: Subscribed\tTypes: [Platform, Function, Extension]");
    let (execution, _, completion) = invoke(&rig, environment, "1").await;
    assert_eq!(answer(&execution), json!(1));
    completion.environment.unwrap().end().await;
    let seen = rig.line("seen").unwrap();
    let seen: Vec<(String, Value)> = serde_json::from_str(&seen["seen ".len()..]).unwrap();
    let types: Vec<&str> = seen.iter().map(|(kind, _)| kind.as_str()).collect();
    let find = |kind: &str| {
        let found = seen.iter().find(|(seen, _)| seen == kind);
        &found.unwrap_or_else(|| panic!("no {kind} in {types:?}")).1
    };
    assert_eq!(types[0], "platform.initStart");
    for kind in [
        // Once it has registered, the function is loaded while it subscribes.
        "platform.telemetrySubscription",
        "platform.initRuntimeDone",
        "platform.extension",
        "platform.initReport",
        "platform.start",
        "platform.runtimeDone",
        "platform.report",
    ] {
        assert_eq!(
            types.iter().filter(|seen| **seen == kind).count(),
            1,
            "{kind} in {types:?}"
        );
    }
    let functions: Vec<_> = seen
        .iter()
        .filter(|(kind, _)| kind == "function")
        .map(|(_, record)| record)
        .collect();
    assert_eq!(functions, ["loading", "running"]);
    assert_eq!(find("extension"), "subscribed 200 OK");
    assert_eq!(find("platform.extension")["state"], "Ready");
    assert!(find("platform.report")["metrics"]["postRuntimeExtensionsDurationMs"].is_number());
    assert_eq!(find("platform.runtimeDone")["status"], "success");
}

#[tokio::test]
async fn a_program_behind_a_wrapper_may_speak_the_runtime_api() {
    let rig = Rig::function("");
    let wrapper = rig.script(
        "wrapper",
        "#!/usr/bin/env python3
import http.client, os
api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
os.close(3)
while True:
    api.request('GET', '/2018-06-01/runtime/invocation/next')
    reply = api.getresponse()
    id, event = reply.headers['lambda-runtime-aws-request-id'], reply.read()
    api.request('POST', f'/2018-06-01/runtime/invocation/{id}/response', event)
    api.getresponse().read()
",
    );
    let rig = rig.variable("AWS_LAMBDA_EXEC_WRAPPER", &wrapper);
    let (environment, execution) = rig.once("[1]").await;
    assert_eq!(answer(&execution), json!([1]));
    let (environment, execution) = environment.unwrap().invoke(rig.invocation("[2]")).await;
    assert_eq!(answer(&execution), json!([2]));
    environment.unwrap().end().await;
}
