//! The Runtime API, driven by programs of the functions' own.

use ephyra_core::invocation::StreamPart;
use ephyra_core::limits;
use serde_json::json;

use crate::support::{Rig, answer, failure, stream};

const ECHO: &str = "
while True:
    id, headers, body = next()
    call('POST', f'runtime/invocation/{id}/response', json.dumps([headers, json.loads(body)]))
";

#[tokio::test]
async fn an_event_goes_there_and_back_and_again() {
    let rig = Rig::provided(ECHO);
    let mut invocation = rig.invocation(r#"{"a":1}"#);
    invocation.client_context = Some("{\"custom\":\n{\"a\":\"é\"}}".to_owned());
    invocation.trace_id = Some("Root=1-2-3".to_owned());
    let id = invocation.request_id.to_string();
    let (environment, execution) = rig.launch().await.invoke(invocation).await;
    let seen = answer(&execution);
    assert_eq!(seen[1], json!({"a": 1}));
    let headers = &seen[0];
    for (name, want) in [
        ("lambda-runtime-aws-request-id", id.as_str()),
        ("lambda-runtime-trace-id", "Root=1-2-3"),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-west-1:000000000000:function:work:live",
        ),
        ("lambda-runtime-client-context", "{\"custom\": {\"a\":\"Ã©\"}}"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(headers[name], want, "{name}");
    }
    assert_eq!(headers["lambda-runtime-deadline-ms"].as_str().unwrap().len(), 13);
    let (environment, execution) = environment.unwrap().invoke(rig.invocation("2")).await;
    assert_eq!(answer(&execution)[1], 2);
    assert_eq!(answer(&execution)[0]["lambda-runtime-client-context"], json!(null));
    assert!(environment.is_some());
    let lines = rig.lines();
    assert_eq!(lines.len(), 7, "{lines:#?}");
}

#[tokio::test]
async fn what_is_out_of_turn_is_refused() {
    let rig = Rig::provided(
        "
seen = []
def see(*arguments, **more):
    status, _, body = call(*arguments, **more)
    seen.append([status, json.loads(body).get('errorType') if body[:1] == b'{' else body.decode()])
see('GET', 'ping')
see('GET', 'absent')
see('POST', 'runtime/invocation/next')
see('POST', 'runtime/invocation/x/response', b'early')
id, _, _ = next()
see('GET', 'runtime/invocation/next')
see('POST', 'runtime/init/error', b'{}')
see('POST', 'runtime/invocation/0/response', b'1')
call('POST', f'runtime/invocation/{id}/response', json.dumps(seen))
seen = []
see('POST', f'runtime/invocation/{id}/response', b'again')
see('POST', f'runtime/invocation/{id}/error', b'again')
other, _, _ = next()
see('POST', f'runtime/invocation/{id}/response', b'late')
call('POST', f'runtime/invocation/{other}/response', json.dumps(seen))
next()
",
    );
    let (environment, execution) = rig.once("{}").await;
    let want = json!([
        [200, "pong"],
        [404, "404 page not found\n"],
        [405, ""],
        [403, "InvalidStateTransition"],
        [403, "InvalidStateTransition"],
        [403, "InvalidStateTransition"],
        [400, "InvalidRequestID"],
    ]);
    assert_eq!(answer(&execution), want);
    let (environment, execution) = environment.unwrap().invoke(rig.invocation("{}")).await;
    let want = json!([
        [403, "InvalidStateTransition"],
        [403, "InvalidStateTransition"],
        [400, "InvalidRequestID"]
    ]);
    assert_eq!(answer(&execution), want);
    assert!(environment.is_some());
}

#[tokio::test]
async fn failures_are_passed_on_with_a_proper_type() {
    for (header, body, error_type, document) in [
        (
            "Runtime.MyError",
            r#"{"errorType":"X","errorMessage":"m"}"#,
            "Runtime.MyError",
            json!({"errorType": "X", "errorMessage": "m"}),
        ),
        (
            "TypeError",
            "no json",
            "Function.Unknown",
            json!({"errorType": "Function.Unknown", "errorMessage": "no json"}),
        ),
    ] {
        let rig = Rig::provided(&format!(
            "id, _, _ = next()
call('POST', f'runtime/invocation/{{id}}/error', {body:?}, {{'Lambda-Runtime-Function-Error-Type': {header:?}}})
id, _, _ = next()
call('POST', f'runtime/invocation/{{id}}/error', {body:?}, {{'Lambda-Runtime-Function-Error-Type': {header:?}}})
sys.exit(1)
"
        ));
        let (environment, execution) = rig.once("{}").await;
        assert_eq!(failure(&execution), (error_type.to_owned(), document.clone()));
        let (environment, execution) = environment.unwrap().invoke(rig.invocation("{}")).await;
        assert_eq!(failure(&execution), (error_type.to_owned(), document));
        assert!(environment.is_none(), "it exited instead of asking for another event");
    }
}

#[tokio::test]
async fn what_does_not_start_is_said_at_the_first_invocation() {
    let init_error = "call('POST', 'runtime/init/error', '{\"errorType\":\"A\",\"errorMessage\":\"b\"}', {'Lambda-Runtime-Function-Error-Type': 'Runtime.NoSuchHandler'})\nsys.exit(1)\n";
    let rig = Rig::provided(init_error);
    let (environment, execution) = rig.once("{}").await;
    assert_eq!(
        failure(&execution),
        (
            "Runtime.NoSuchHandler".to_owned(),
            json!({"errorType": "A", "errorMessage": "b"})
        )
    );
    assert!(environment.is_none());

    let (_, execution) = Rig::provided("sys.exit(2)").once("{}").await;
    assert!(
        failure(&execution).1["errorMessage"]
            .as_str()
            .unwrap()
            .ends_with("exit status 2")
    );

    let rig = Rig::provided("");
    let environment = rig.launch().await;
    assert!(environment.init_error().is_some());
    let (_, execution) = environment.invoke(rig.invocation("{}")).await;
    let (kind, document) = failure(&execution);
    assert_eq!(kind, "Runtime.InvalidEntrypoint");
    let message = document["errorMessage"].as_str().unwrap();
    assert!(
        message.ends_with("Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"),
        "{message}"
    );
}

#[tokio::test]
async fn too_large_an_answer_is_refused_and_the_environment_goes_on() {
    let rig = Rig::provided(&format!(
        "
seen = []
for chunked in False, True:
    id, _, _ = next()
    body = b'x' * {}
    status, _, body = call('POST', f'runtime/invocation/{{id}}/response', iter([body]) if chunked else body)
    seen.append([status, json.loads(body)['errorMessage']])
id, _, _ = next()
call('POST', f'runtime/invocation/{{id}}/response', json.dumps(seen))
next()
",
        limits::SYNC_RESPONSE_BYTES + 1
    ));
    let (environment, execution) = rig.once("{}").await;
    assert_eq!(failure(&execution).0, "Function.ResponseSizeTooLarge");
    let (environment, execution) = environment.unwrap().invoke(rig.invocation("{}")).await;
    assert_eq!(failure(&execution).0, "Function.ResponseSizeTooLarge");
    let (_, execution) = environment.unwrap().invoke(rig.invocation("{}")).await;
    let refusal = json!([413, "Exceeded maximum allowed payload size (6291556 bytes)."]);
    assert_eq!(answer(&execution), json!([refusal, refusal]));
}

const STREAMING: &str = "
host, port = api.split(':')
while True:
    id, _, event = next()
    s = socket.create_connection((host, int(port)))
    send = lambda text: s.sendall(text.encode())
    send(f'POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\\r\\nHost: x\\r\\nContent-Type: a/b\\r\\n'
        'Lambda-Runtime-Function-Response-Mode: streaming\\r\\nTransfer-Encoding: chunked\\r\\n'
        'Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\\r\\n\\r\\n')
    send('5\\r\\nhello\\r\\n')
    if event == b'1': send('6\\r\\n world\\r\\n0\\r\\n\\r\\n')
    if event == b'2': send('0\\r\\nLambda-Runtime-Function-Error-Type: Runtime.Broken\\r\\nLambda-Runtime-Function-Error-Body: eyJhIjoxfQ==\\r\\n\\r\\n')
    if event != b'3': s.recv(4096)
    s.close()
";

#[tokio::test]
async fn streams_are_passed_on_and_may_break() {
    let rig = Rig::provided(STREAMING);
    let bytes = |parts: &[StreamPart]| -> Vec<u8> {
        let chunks = parts.iter().filter_map(|part| match part {
            StreamPart::Chunk(bytes) => Some(bytes.to_vec()),
            StreamPart::Head { .. } => None,
        });
        chunks.flatten().collect()
    };
    let (environment, execution, parts) = stream(&rig, rig.launch().await, "1").await;
    assert!(execution.result.unwrap().is_empty());
    assert_eq!(
        parts[0],
        StreamPart::Head {
            content_type: "a/b".to_owned()
        }
    );
    assert_eq!(bytes(&parts), b"hello world");
    let (environment, execution, parts) = stream(&rig, environment.unwrap(), "2").await;
    assert_eq!(failure(&execution), ("Runtime.Broken".to_owned(), json!({"a": 1})));
    assert_eq!(bytes(&parts), b"hello");
    let (environment, execution, _) = stream(&rig, environment.unwrap(), "3").await;
    assert_eq!(failure(&execution).0, "Runtime.TruncatedResponse");
    let (_, execution) = environment.unwrap().invoke(rig.invocation("1")).await;
    assert_eq!(execution.result.unwrap(), "hello world");
}

#[tokio::test]
async fn an_unknown_response_mode_fails_the_invocation() {
    let rig = Rig::provided(
        "
id, _, _ = next()
status, _, body = call('POST', f'runtime/invocation/{id}/response', b'1', {'Lambda-Runtime-Function-Response-Mode': 'odd'})
os.write(1, b'%d %s' % (status, body))
next()
",
    );
    let (environment, execution) = rig.once("{}").await;
    assert_eq!(failure(&execution).0, "Runtime.InvalidResponseModeHeader");
    assert!(environment.is_some());
    rig.has_logged(
        "400 {\"errorMessage\":\"Invalid function response mode\",\"errorType\":\"InvalidFunctionResponseMode\"}",
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_may_be_sent_again() {
    let rig = Rig::provided(
        "
import time
id, _, _ = next()
host, port = api.split(':')
s = socket.create_connection((host, int(port)))
s.sendall(f'POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 9\\r\\n\\r\\n1'.encode())
s.close()
while True:
    status, _, _ = call('POST', f'runtime/invocation/{id}/response', b'2')
    if status == 202: break
    time.sleep(0.01)
next()
",
    );
    let (environment, execution) = rig.once("{}").await;
    assert_eq!(answer(&execution), 2);
    assert!(environment.is_some());
}

#[tokio::test]
async fn a_runtime_that_dies_or_dawdles_ends_the_environment() {
    let rig = Rig::provided("next()\nsys.exit(7)");
    let (environment, execution) = rig.once("{}").await;
    assert!(
        failure(&execution).1["errorMessage"]
            .as_str()
            .unwrap()
            .ends_with("exit status 7")
    );
    assert!(environment.is_none());
    let rig = Rig::provided("import time\nnext()\ntime.sleep(60)").timeout(1);
    let (environment, execution) = rig.once("{}").await;
    assert_eq!(failure(&execution).0, "Sandbox.Timedout");
    assert!(environment.is_none());
}
