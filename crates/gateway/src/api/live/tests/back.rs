//! Back ends: functions of both formats, and another server.

use super::*;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use tokio::net::TcpListener;

const LOG: &str = "$context.status|$context.integrationStatus|$context.integrationErrorMessage";

fn stage() -> Value {
    json!({
        "accessLogSettings": {"destinationArn": "arn:aws:logs:r:a:log-group:g", "format": LOG},
        "stageVariables": {"base": "base", "fn": "echo"},
    })
}

fn content(integration: Value, keys: &[&str]) -> Value {
    let routes = keys
        .iter()
        .map(|key| json!({"routeKey": key, "target": "integrations/i"}));
    json!({"routes": routes.collect::<Vec<_>>(), "integrations": [integration]})
}

#[tokio::test]
async fn functions_get_either_format() {
    let mut integration = function("i", "${stageVariables.fn}", "1.0");
    let house = House::new(&content(integration.clone(), &["POST /a/{id}"]), &stage(), vec![echo()]).await;
    let event = house
        .send("POST", "/a/1?q=1&q=2", &[("content-type", "text/plain")], "hello")
        .await
        .json();
    assert_eq!(
        (&event["version"], &event["resource"]),
        (&json!("1.0"), &json!("/a/{id}"))
    );
    assert_eq!(event["multiValueQueryStringParameters"], json!({"q": ["1", "2"]}));
    assert_eq!(
        (&event["body"], &event["isBase64Encoded"]),
        (&json!("hello"), &json!(false))
    );

    integration["payloadFormatVersion"] = json!("2.0");
    integration["requestParameters"] = json!({"overwrite:header.x-a": "$request.path.id", "overwrite:path": "/new"});
    integration["responseParameters"] =
        json!({"200": {"overwrite:statuscode": "201", "append:header.x-b": "$context.stage"}});
    let house = House::new(&content(integration, &["POST /a/{id}"]), &stage(), vec![echo()]).await;
    let seen = house.send("POST", "/a/7", &[("x-a", "client")], "").await;
    assert_eq!((seen.status, seen.header("x-b")), (201, "$default"));
    let event = seen.json();
    assert_eq!(
        (&event["rawPath"], &event["headers"]["x-a"]),
        (&json!("/new"), &json!("7"))
    );
}

#[tokio::test]
async fn nothing_about_the_inside_goes_out() {
    let deeds: Vec<(&str, Deed)> = vec![
        ("raises", Box::new(|_| Ok(json!({"raise": "Secret"})))),
        ("nonsense", Box::new(|_| Ok(json!({"statusCode": "secret"})))),
        (
            "throttled",
            Box::new(|_| {
                let reason = ephyra_core::invocation::ThrottleReason::ConcurrentInvocationLimitExceeded;
                Err(InvokeError::Throttled(reason))
            }),
        ),
        ("broken", Box::new(|_| Err(InvokeError::Launch("secret".to_owned())))),
        ("never", Box::new(|_| Ok(json!({})))),
    ];
    let names = ["raises", "nonsense", "throttled", "broken", "never", "missing"];
    let routes: Vec<_> = names
        .iter()
        .map(|name| json!({"routeKey": format!("GET /{name}"), "target": format!("integrations/{name}")}))
        .chain([json!({"routeKey": "GET /nowhere"})])
        .collect();
    let integrations: Vec<_> = names
        .iter()
        .map(|name| {
            let mut integration = function(name, name, "2.0");
            if *name == "never" {
                integration["timeoutInMillis"] = json!(200);
            }
            integration
        })
        .collect();
    let content = json!({"routes": routes, "integrations": integrations});
    let house = House::new(&content, &stage(), deeds).await;
    for (count, (name, status, message, line)) in (1..).zip([
        (
            "raises",
            500,
            "Internal Server Error",
            "500|200|the function failed: Secret",
        ),
        (
            "nonsense",
            500,
            "Internal Server Error",
            "500|200|the function's answer is no response: the status code is not a number from 200 to 599",
        ),
        (
            "throttled",
            503,
            "Service Unavailable",
            "503|429|the function was not run: Rate Exceeded.",
        ),
        (
            "broken",
            500,
            "Internal Server Error",
            "500|-|the function was not run: the execution environment could not be started: secret",
        ),
        (
            "never",
            503,
            "Service Unavailable",
            "503|-|the function has not answered in 200 ms",
        ),
        (
            "missing",
            500,
            "Internal Server Error",
            "500|-|the function cannot be called: missing does not exist",
        ),
        (
            "nowhere",
            500,
            "Internal Server Error",
            "500|-|the route has no integration",
        ),
    ]) {
        house.ask("GET", &format!("/{name}")).await.is(status, message);
        assert_eq!(house.line(count).await, line);
    }
}

/// A server that says what it was asked, and counts its connections.
async fn server() -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let connections = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let service = service_fn(|request: Request<hyper::body::Incoming>| async {
                let (head, body) = request.into_parts();
                let body = body.collect().await.expect("a body").to_bytes();
                if head.uri.path() == "/slow" {
                    std::future::pending::<()>().await;
                }
                let headers: BTreeMap<_, _> = head
                    .headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
                    .collect();
                let said = json!({
                    "method": head.method.as_str(), "uri": head.uri.to_string(), "headers": headers,
                    "body": String::from_utf8_lossy(&body),
                });
                let large = if head.uri.path() == "/large" {
                    "x".repeat(11 << 20)
                } else {
                    said.to_string()
                };
                let response = http::Response::builder()
                    .status(if head.uri.path() == "/teapot" { 418 } else { 200 })
                    .header("x-back", "end")
                    .header("keep-alive", "timeout=5")
                    .header("connection", "x-hop")
                    .header("x-hop", "1")
                    .body(Full::new(Bytes::from(large)));
                Ok::<_, Infallible>(response.expect("a response"))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, connections)
}

fn proxy(url: &str) -> Value {
    json!({"integrationId": "i", "integrationType": "HTTP_PROXY", "integrationUri": url, "payloadFormatVersion": "1.0",
        "integrationMethod": "ANY"})
}

#[tokio::test]
async fn another_server_is_asked_over_connections_that_stay() {
    let (address, connections) = server().await;
    let mut integration = proxy(&format!("http://{address}/${{stageVariables.base}}/{{rest}}?k=v"));
    integration["requestParameters"] = json!({"append:querystring.id": "$context.apiId", "remove:header.x-drop": "''",
        "overwrite:header.x-who": "$context.stage"});
    integration["responseParameters"] = json!({"200": {"remove:header.x-back": "''", "append:header.x-new": "1"}});
    let house = House::new(&content(integration, &["ANY /p/{rest+}"]), &stage(), vec![]).await;
    for _ in 0..5 {
        let headers = [
            ("x-drop", "1"),
            ("x-forwarded-for", "6.6.6.6"),
            ("connection", "close, x-who, x-named"),
            ("x-named", "1"),
            ("x-who", "root"),
            ("x-kept", "1"),
        ];
        let seen = house.send("PATCH", "/p/a/b%20c?q=1", &headers, "body").await;
        assert_eq!(
            (seen.status, seen.header("x-new"), seen.header("x-back")),
            (200, "1", "")
        );
        assert_eq!(
            (
                seen.header("x-hop"),
                seen.header("keep-alive"),
                seen.header("connection")
            ),
            ("", "", "")
        );
        let said = seen.json();
        assert_eq!((&said["method"], &said["body"]), (&json!("PATCH"), &json!("body")));
        assert_eq!(said["uri"], "/base/a/b%20c?k=v&q=1&id=abc");
        let headers = &said["headers"];
        assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
        assert_eq!(
            headers["forwarded"],
            format!("for=127.0.0.1;host=\"{HOST}\";proto=http")
        );
        assert_eq!(
            (&headers["host"], &headers["x-kept"]),
            (&json!(address.to_string()), &json!("1"))
        );
        assert_eq!(
            (headers.get("x-drop"), headers.get("connection"), headers.get("x-named")),
            (None, None, None)
        );
        // A client cannot have it dropped by naming it.
        assert_eq!(headers["x-who"], "$default");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    // What the server could take for another path is not passed on.
    house.ask("GET", "/p/../secret").await.is(400, "Bad Request");
    house.ask("GET", "/p/%2e%2e/secret").await.is(400, "Bad Request");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_unavailable() {
    let (address, _) = server().await;
    let house = House::new(
        &content(proxy(&format!("http://{address}")), &["$default"]),
        &stage(),
        vec![],
    )
    .await;
    assert_eq!(house.ask("GET", "/teapot").await.status, 418);
    assert_eq!(house.line(1).await, "418|418|-");
    house.ask("GET", "/large").await.is(500, "Internal Server Error");
    assert_eq!(house.line(2).await, "500|-|the answer is larger than 10485760 bytes");
    let mut slow = proxy(&format!("http://{address}"));
    slow["timeoutInMillis"] = json!(100);
    let house = House::new(&content(slow, &["$default"]), &stage(), vec![]).await;
    house.ask("GET", "/slow").await.is(503, "Service Unavailable");
    assert_eq!(house.line(1).await, "503|-|the server has not answered in time");
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a listener")
        .local_addr()
        .expect("an address");
    let house = House::new(
        &content(proxy(&format!("http://{closed}")), &["$default"]),
        &stage(),
        vec![],
    )
    .await;
    let seen = house.ask("GET", "/a").await;
    seen.is(503, "Service Unavailable");
    let line = house.line(1).await;
    assert!(line.starts_with("503|-|the server could not be reached"), "{line}");
}
