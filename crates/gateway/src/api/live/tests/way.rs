//! Doors, stages, routes, throttling, CORS and the access log.

use super::*;

fn routes(keys: &[&str]) -> Value {
    let routes = keys
        .iter()
        .map(|key| json!({"routeKey": key, "target": "integrations/e"}));
    json!({"routes": routes.collect::<Vec<_>>(), "integrations": [function("e", "echo", "2.0")]})
}

async fn house(keys: &[&str], stage: Value) -> House {
    House::new(&routes(keys), &stage, vec![echo()]).await
}

#[tokio::test]
async fn stages_and_routes_are_found_by_path() {
    let house = house(
        &["GET /pets/{id}", "ANY /all/{rest+}"],
        json!({"stageVariables": {"a": "b"}}),
    )
    .await;
    let event = house.ask("GET", "/pets/a%20b?x=1").await.json();
    assert_eq!(event["routeKey"], "GET /pets/{id}");
    assert_eq!(event["rawPath"], "/pets/a b");
    assert_eq!(event["pathParameters"], json!({"id": "a b"}));
    assert_eq!(event["stageVariables"], json!({"a": "b"}));
    assert_eq!(event["requestContext"]["stage"], "$default");
    assert_eq!(event["requestContext"]["domainPrefix"], "abc");
    let event = house.ask("PUT", "/dev/all/x/y").await.json();
    assert_eq!(
        (&event["rawPath"], &event["pathParameters"]["rest"]),
        (&json!("/dev/all/x/y"), &json!("x/y"))
    );
    assert_eq!(event["requestContext"]["stage"], "dev");
    for (method, path) in [
        ("GET", "/"),
        ("POST", "/pets/1"),
        ("GET", "/pets/"),
        ("GET", "/dev"),
        ("GET", "/$default/pets/1"),
    ] {
        house.ask(method, path).await.is(404, "Not Found");
    }
    for (asked, stage) in [
        ("/dev/pets/1", "dev"),
        ("/pets/1", "$default"),
        ("/$default/pets/1", "$default"),
    ] {
        let seen = house
            .at("localhost:4566", "GET", &format!("/_api/abc{asked}"), &[], "")
            .await;
        assert_eq!(seen.json()["requestContext"]["stage"], stage, "{asked}");
        assert_eq!(seen.json()["rawPath"], asked);
        assert_eq!(
            seen.json()["requestContext"]["domainName"],
            "abc.execute-api.us-east-1.localhost"
        );
    }
    house
        .at("xyz.execute-api.us-east-1.localhost", "GET", "/", &[], "")
        .await
        .is(404, "Not Found");
}

#[tokio::test]
async fn base_paths_lead_to_stages() {
    let house = house(&["GET /x", "GET /"], json!({})).await;
    house.apis.plant_domain(
        "api.example.com",
        domain(&[("orders/v1", "dev"), ("orders", "$default")]),
    );
    let host = "api.example.com";
    for (path, stage) in [
        ("/orders/v1/x", "dev"),
        ("/orders/x", "$default"),
        ("/orders", "$default"),
    ] {
        let seen = house.at(host, "GET", path, &[], "").await;
        assert_eq!(seen.json()["requestContext"]["stage"], stage, "{path}");
        assert_eq!(seen.json()["rawPath"], path);
    }
    for path in ["/", "/x", "/ordersx", "/orders/v2/x"] {
        house.at(host, "GET", path, &[], "").await.is(404, "Not Found");
    }
    house
        .at("other.example.com", "GET", "/", &[], "")
        .await
        .is(404, "Not Found");
}

#[tokio::test]
async fn an_api_may_be_reached_by_its_domain_alone() {
    let mut content = routes(&["GET /x"]);
    content["isEndpointDisabled"] = json!(true);
    let house = House::new(&content, &json!({}), vec![echo()]).await;
    house.ask("GET", "/x").await.is(404, "Not Found");
    house.apis.plant_domain("api.example.com", domain(&[("", "dev")]));
    let host = "api.example.com";
    assert_eq!(house.at(host, "GET", "/x", &[], "").await.status, 200);
}

#[tokio::test]
async fn routes_and_stages_are_throttled() {
    let stage = json!({
        "defaultRouteSettings": {"throttlingBurstLimit": 3, "throttlingRateLimit": 0.001},
        "routeSettings": {"GET /b": {"throttlingBurstLimit": 1, "throttlingRateLimit": 0.001}},
    });
    let house = house(&["GET /a", "GET /b", "GET /c"], stage).await;
    let mut seen = Vec::new();
    for path in ["/a", "/b", "/b", "/c", "/c", "/a", "/b"] {
        seen.push(house.ask("GET", path).await.status);
    }
    assert_eq!(seen, [200, 200, 429, 200, 200, 429, 429]);
    house.ask("GET", "/a").await.is(429, "Too Many Requests");
    assert_eq!(house.calls(), 4);
}

#[tokio::test]
async fn pages_of_other_origins_are_told_what_is_allowed() {
    let mut content = routes(&["GET /a", "ANY /any"]);
    content["cors"] = json!({"allowOrigins": ["https://a.example"], "allowMethods": ["GET"], "maxAge": 60});
    let house = House::new(&content, &json!({}), vec![echo()]).await;
    let page = [
        ("origin", "https://a.example"),
        ("access-control-request-method", "GET"),
    ];
    let preflight = house.send("OPTIONS", "/a", &page, "").await;
    assert_eq!(
        (preflight.status, preflight.header("access-control-allow-methods")),
        (204, "GET")
    );
    assert_eq!(preflight.header("access-control-max-age"), "60");
    assert_eq!(preflight.header("access-control-allow-origin"), "https://a.example");
    assert_eq!(house.calls(), 0);
    // A route that takes OPTIONS is asked, as on AWS.
    assert_eq!(house.send("OPTIONS", "/any", &page, "").await.status, 200);
    let seen = house.send("GET", "/a", &page, "").await;
    assert_eq!(seen.header("access-control-allow-origin"), "https://a.example");
    let seen = house.send("GET", "/missing", &page, "").await;
    assert_eq!(
        (seen.status, seen.header("access-control-allow-origin")),
        (404, "https://a.example")
    );
    let seen = house.send("GET", "/a", &[("origin", "https://b.example")], "").await;
    assert_eq!(seen.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn every_request_of_a_stage_is_logged() {
    let stage = json!({"accessLogSettings": {
        "destinationArn": "arn:aws:logs:us-east-1:000000000000:log-group:/api:*",
        "format": "$context.httpMethod $context.path $context.routeKey $context.status $context.stage $context.error.message",
    }});
    let house = house(&["GET /a"], stage).await;
    house.ask("GET", "/a").await;
    assert_eq!(house.line(1).await, "GET /a GET /a 200 $default -");
    house.ask("PUT", "/dev/b").await;
    assert_eq!(
        house.line(2).await,
        "PUT /dev/b - 404 dev there is no route for the method and path"
    );
}
