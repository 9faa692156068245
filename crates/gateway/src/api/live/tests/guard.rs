//! Authorizers.

use super::*;
use ephyra_wire::sigv4::{BodyHash, Signer, SigningTime};

const LOG: &str = "$context.status|$context.authorizer.error|$context.error.message";

fn content(route: &Value, authorizer: &Value) -> Value {
    let mut first = json!({"routeKey": "GET /a/{x}", "target": "integrations/e", "authorizerId": "z"});
    let mut second = json!({"routeKey": "GET /b", "target": "integrations/e", "authorizerId": "z"});
    for (name, value) in route.as_object().expect("an object") {
        first[name] = value.clone();
        second[name] = value.clone();
    }
    json!({"routes": [first, second], "integrations": [function("e", "echo", "2.0")], "authorizers": [authorizer]})
}

fn stage() -> Value {
    json!({"accessLogSettings": {"destinationArn": "arn:aws:logs:r:a:log-group:g", "format": LOG}})
}

fn lambda(change: &Value) -> Value {
    let mut authorizer = json!({
        "authorizerId": "z", "name": "z", "authorizerType": "REQUEST", "authorizerUri": arn("auth"),
        "identitySource": ["$request.header.X-Token"], "authorizerPayloadFormatVersion": "2.0",
        "authorizerResultTtlInSeconds": 300, "enableSimpleResponses": true,
    });
    for (name, value) in change.as_object().expect("an object") {
        authorizer[name] = value.clone();
    }
    authorizer
}

/// Lets in who has the token `good`, and answers nonsense to `odd`.
fn simple() -> (&'static str, Deed) {
    let deed = |event: Value| {
        assert_eq!(event["type"], "REQUEST");
        Ok(match event["identitySource"][0].as_str() {
            Some("odd") => json!({"isAuthorized": "yes"}),
            Some("failing") => json!({"raise": "Oops"}),
            token => json!({"isAuthorized": token == Some("good"), "context": {"who": "me", "n": 1}}),
        })
    };
    ("auth", Box::new(deed))
}

/// Lets everybody in to what is below `/a/1`, by the format of REST APIs.
fn policy() -> (&'static str, Deed) {
    let deed = |event: Value| {
        let arn = event["methodArn"].as_str().expect("an ARN");
        assert!(
            arn.starts_with("arn:aws:execute-api:us-east-1:000000000000:abc/$default/GET/"),
            "{arn}"
        );
        Ok(
            json!({"principalId": "p", "context": {"k": "v"}, "policyDocument": {"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": ["*/GET/a/*"]},
                {"Effect": "Deny", "Action": "execute-api:Invoke", "Resource": "*/GET/a/2"},
            ]}}),
        )
    };
    ("auth", Box::new(deed))
}

#[tokio::test]
async fn a_function_says_who_may_call_and_is_remembered() {
    let custom = json!({"authorizationType": "CUSTOM"});
    let house = House::new(&content(&custom, &lambda(&json!({}))), &stage(), vec![echo(), simple()]).await;
    let with = |token| [("x-token", token)];
    for _ in 0..3 {
        let seen = house.send("GET", "/a/1", &with("good"), "").await;
        let said = json!({"lambda": {"who": "me", "n": 1}});
        assert_eq!(seen.json()["requestContext"]["authorizer"], said);
    }
    // Three calls, and one authorizer.
    assert_eq!(house.calls(), 4);
    for _ in 0..3 {
        house.send("GET", "/b", &with("bad"), "").await.is(403, "Forbidden");
    }
    assert_eq!(house.calls(), 5);
    house.ask("GET", "/b").await.is(401, "Unauthorized");
    assert_eq!(house.line(7).await, "401|the identity source is missing|Unauthorized");
    house
        .send("GET", "/b", &with("odd"), "")
        .await
        .is(500, "Internal Server Error");
    let line = house.line(8).await;
    assert!(
        line.starts_with("500|the authorizer's answer means nothing: "),
        "{line}"
    );
    house
        .send("GET", "/b", &with("failing"), "")
        .await
        .is(500, "Internal Server Error");
    assert_eq!(
        house.line(9).await,
        "500|the authorizer has failed: the function failed: Oops|Internal Server Error"
    );
    assert_eq!(house.calls(), 7);
}

#[tokio::test]
async fn a_policy_is_held_against_each_route() {
    let custom = json!({"authorizationType": "CUSTOM"});
    let authorizer = lambda(&json!({"authorizerPayloadFormatVersion": "1.0", "enableSimpleResponses": false}));
    let house = House::new(&content(&custom, &authorizer), &stage(), vec![echo(), policy()]).await;
    let token = [("x-token", "t")];
    let seen = house.send("GET", "/a/1", &token, "").await;
    let said = json!({"lambda": {"k": "v", "principalId": "p"}});
    assert_eq!(seen.json()["requestContext"]["authorizer"], said);
    house.send("GET", "/a/2", &token, "").await.is(403, "Forbidden");
    house.send("GET", "/b", &token, "").await.is(403, "Forbidden");
    assert_eq!(house.calls(), 2);
}

#[tokio::test]
async fn without_time_to_live_nothing_is_remembered() {
    let custom = json!({"authorizationType": "CUSTOM"});
    let authorizer = lambda(&json!({"authorizerResultTtlInSeconds": 0}));
    let house = House::new(&content(&custom, &authorizer), &stage(), vec![echo(), simple()]).await;
    for _ in 0..2 {
        assert_eq!(house.send("GET", "/b", &[("x-token", "good")], "").await.status, 200);
    }
    assert_eq!(house.calls(), 4);
}

#[tokio::test]
async fn a_guard_that_cannot_be_obeyed_lets_nobody_in() {
    for (route, authorizer) in [
        (
            json!({"authorizationType": "CUSTOM"}),
            lambda(&json!({"authorizerUri": "https://example.com"})),
        ),
        (
            json!({"authorizationType": "CUSTOM", "authorizerId": "gone"}),
            lambda(&json!({})),
        ),
        (json!({"authorizationType": "JWT"}), lambda(&json!({}))),
    ] {
        let house = House::new(&content(&route, &authorizer), &stage(), vec![echo(), simple()]).await;
        house
            .send("GET", "/b", &[("x-token", "good")], "")
            .await
            .is(500, "Internal Server Error");
        assert_eq!(house.calls(), 0);
    }
}

#[tokio::test]
async fn tokens_are_asked_for() {
    let authorizer = json!({
        "authorizerId": "z", "name": "z", "authorizerType": "JWT",
        "identitySource": ["$request.header.Authorization"],
        "jwtConfiguration": {"issuer": "https://issuer.invalid", "audience": ["app"]},
    });
    let jwt = json!({"authorizationType": "JWT", "authorizationScopes": ["read"]});
    let house = House::new(&content(&jwt, &authorizer), &stage(), vec![echo()]).await;
    let seen = house.ask("GET", "/b").await;
    seen.is(401, "Unauthorized");
    assert_eq!(seen.header("www-authenticate"), "Bearer");
    let seen = house
        .send("GET", "/b", &[("authorization", "Bearer nonsense")], "")
        .await;
    seen.is(401, "Unauthorized");
    assert_eq!(
        seen.header("www-authenticate"),
        r#"Bearer scope="" error="invalid_token" error_description="the token contains an invalid number of segments""#
    );
}

#[tokio::test]
async fn who_has_credentials_signs() {
    let iam = json!({"authorizationType": "AWS_IAM"});
    let house = House::new(&content(&iam, &lambda(&json!({}))), &stage(), vec![echo()]).await;
    let signed = |service: &str, secret: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("host", HOST.parse().expect("a host"));
        let now = SigningTime::from_clock(std::time::SystemTime::now());
        let hash = BodyHash::of(b"");
        let signer = Signer::new("root", secret, "us-east-1", service);
        signer
            .sign_headers("GET", "/b", "q=1", &mut headers, hash.as_str(), now)
            .expect("a signature");
        let text = |name: &str| headers[name].to_str().expect("text").to_owned();
        (text("authorization"), text("x-amz-date"))
    };
    let send = async |(authorization, date): (String, String)| {
        let headers = [("authorization", authorization.as_str()), ("x-amz-date", date.as_str())];
        house.send("GET", "/b?q=1", &headers, "").await
    };
    let seen = send(signed("execute-api", "secret")).await;
    let iam = &seen.json()["requestContext"]["authorizer"]["iam"];
    assert_eq!(
        (&iam["accessKey"], &iam["userArn"]),
        (&json!("root"), &json!("arn:aws:iam::000000000000:root"))
    );
    assert_eq!(seen.json()["headers"].get("authorization"), None);
    send(signed("execute-api", "wrong")).await.is(403, "Forbidden");
    send(signed("lambda", "secret")).await.is(403, "Forbidden");
    house.ask("GET", "/b").await.is(403, "Forbidden");
    assert_eq!(house.calls(), 1);
}
