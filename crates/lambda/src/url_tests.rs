//! Function URLs: their operations, and what is found by their ids.

use std::sync::Arc;

use ephyra_core::url::{Cors, FunctionUrl, FunctionUrls as _, InvokeMode, UrlAuth};
use serde_json::{Value, json};

use crate::harness::{Answer, Harness};
use crate::record::{UrlPlace, is_url_id};

const URL: &str = "/2021-10-31/functions/f/url";
const LIVE: &str = "/2021-10-31/functions/f/url?Qualifier=live";
const POLICY: &str = "/2015-03-31/functions/f/policy";
const ARN: &str = "arn:aws:lambda:us-east-1:111111111111:function:f";

/// A function `f` with an alias `live`.
async fn ready() -> Harness {
    let harness = Harness::new().await;
    harness.function("f").await;
    harness.post("/2015-03-31/functions/f/versions", json!({})).await;
    let alias = json!({ "Name": "live", "FunctionVersion": "1" });
    assert_eq!(harness.post("/2015-03-31/functions/f/aliases", alias).await.status, 201);
    harness
}

#[track_caller]
fn check_error(answer: &Answer, status: u16, code: &str, text: &str) {
    let (found, message) = answer.error();
    assert_eq!((answer.status, found.as_str()), (status, code), "{message}");
    assert!(message.contains(text), "{message}");
}

/// The id in a URL.
#[track_caller]
fn id_of(url: &Value) -> String {
    let url = url["FunctionUrl"].as_str().unwrap();
    let rest = url.strip_prefix("http://").unwrap();
    let (id, host) = rest.split_once('.').unwrap();
    assert!(is_url_id(id), "{id}");
    assert_eq!(host, "lambda-url.us-east-1.localhost:4566/");
    id.to_owned()
}

async fn create(harness: &Harness, target: &str) -> String {
    let created = harness.post(target, json!({ "AuthType": "NONE" })).await;
    assert_eq!(created.status, 201, "{:?}", created.body);
    id_of(&created.json())
}

async fn find(harness: &Harness, id: &str) -> Option<Arc<FunctionUrl>> {
    harness.lambda.find(id).await.unwrap()
}

/// The statement that opens a URL.
fn opening(sid: &str) -> Value {
    json!({
        "StatementId": sid,
        "Action": "lambda:InvokeFunctionUrl",
        "Principal": "*",
        "FunctionUrlAuthType": "NONE",
    })
}

#[tokio::test]
async fn a_url_is_made_shown_changed_and_deleted() {
    let harness = ready().await;
    let created = harness.post(URL, json!({ "AuthType": "AWS_IAM" })).await;
    assert_eq!(created.status, 201);
    let created = created.json();
    let id = id_of(&created);
    assert_eq!(
        created,
        json!({
            "FunctionUrl": created["FunctionUrl"],
            "FunctionArn": ARN,
            "AuthType": "AWS_IAM",
            "CreationTime": "2025-11-25T02:27:51.023+0000",
        })
    );
    let mut shown = created.clone();
    shown["LastModifiedTime"] = shown["CreationTime"].clone();
    shown["InvokeMode"] = json!("BUFFERED");
    assert_eq!(harness.get(URL).await.json(), shown);
    let url = find(&harness, &id).await.unwrap();
    assert_eq!(
        *url,
        FunctionUrl {
            id: id.clone(),
            function: "f".parse().unwrap(),
            qualifier: None,
            auth: UrlAuth::AwsIam,
            is_open: false,
            invoke_mode: InvokeMode::Buffered,
            cors: None,
        }
    );
    assert!(Arc::ptr_eq(&url, &find(&harness, &id).await.unwrap()), "it is kept");

    let cors = json!({ "AllowOrigins": ["https://example.com"], "AllowMethods": ["GET"], "MaxAge": 60 });
    let change = json!({ "InvokeMode": "RESPONSE_STREAM", "Cors": cors });
    let updated = harness.put(URL, change).await;
    assert_eq!(updated.status, 200);
    assert_eq!(updated.json()["InvokeMode"], "RESPONSE_STREAM");
    assert_eq!(updated.json()["Cors"], cors);
    let url = find(&harness, &id).await.unwrap();
    assert_eq!(
        (url.auth, url.invoke_mode),
        (UrlAuth::AwsIam, InvokeMode::ResponseStream)
    );
    assert_eq!(url.cors, serde_json::from_value::<Cors>(cors).ok());
    harness.put(URL, json!({ "Cors": {}, "AuthType": "NONE" })).await;
    let url = find(&harness, &id).await.unwrap();
    assert_eq!((url.auth, &url.cors), (UrlAuth::None, &None));
    assert_eq!(harness.get(URL).await.json().get("Cors"), None);

    assert_eq!(harness.delete(URL).await.status, 204);
    assert!(find(&harness, &id).await.is_none());
    check_error(&harness.get(URL).await, 404, "ResourceNotFoundException", "requested");
    check_error(
        &harness.delete(URL).await,
        404,
        "ResourceNotFoundException",
        "requested",
    );
    assert_ne!(create(&harness, URL).await, id, "an id is not given twice");
}

#[tokio::test]
async fn a_function_and_its_aliases_have_a_url_each() {
    let harness = ready().await;
    let list = "/2021-10-31/functions/f/urls";
    assert_eq!(harness.get(list).await.json(), json!({ "FunctionUrlConfigs": [] }));
    let own = create(&harness, URL).await;
    let live = create(&harness, LIVE).await;
    check_error(
        &harness.post(LIVE, json!({ "AuthType": "NONE" })).await,
        409,
        "ResourceConflictException",
        &format!(
            "Failed to create function url config for [functionArn = {ARN}:live]. Error message:  FunctionUrlConfig \
             exists for this Lambda function"
        ),
    );
    let url = find(&harness, &live).await.unwrap();
    assert_eq!(url.qualifier, "live".parse().ok());
    let all = harness.get(list).await.json();
    let arns = |page: &Value| -> Vec<String> {
        let configs = page["FunctionUrlConfigs"].as_array().unwrap();
        configs
            .iter()
            .map(|c| c["FunctionArn"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(arns(&all), [ARN.to_owned(), format!("{ARN}:live")]);
    assert_eq!(all["FunctionUrlConfigs"][1]["InvokeMode"], "BUFFERED");
    let first = harness.get(&format!("{list}?MaxItems=1")).await.json();
    assert_eq!(arns(&first), [ARN]);
    let marker = first["NextMarker"].as_str().unwrap();
    let second = harness.get(&format!("{list}?MaxItems=1&Marker={marker}")).await.json();
    assert_eq!(
        (arns(&second), second.get("NextMarker")),
        (vec![format!("{ARN}:live")], None)
    );

    harness.delete("/2015-03-31/functions/f/aliases/live").await;
    assert!(find(&harness, &live).await.is_none() && find(&harness, &own).await.is_some());
    harness.delete("/2015-03-31/functions/f").await;
    assert!(find(&harness, &own).await.is_none());
    harness.function("f").await;
    assert!(
        find(&harness, &own).await.is_none(),
        "another function of that name is not behind it"
    );
    assert!(harness.lambda.inner.ledger.every_url().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_not_there_is_missed_as_on_aws() {
    let harness = ready().await;
    let none = json!({ "AuthType": "NONE" });
    for (target, text) in [
        ("/2021-10-31/functions/g/url", "Function does not exist"),
        ("/2021-10-31/functions/f/url?Qualifier=other", "Function does not exist"),
    ] {
        check_error(
            &harness.post(target, none.clone()).await,
            404,
            "ResourceNotFoundException",
            text,
        );
        check_error(
            &harness.put(target, none.clone()).await,
            404,
            "ResourceNotFoundException",
            text,
        );
        let text = "The resource you requested does not exist.";
        check_error(&harness.get(target).await, 404, "ResourceNotFoundException", text);
        check_error(&harness.delete(target).await, 404, "ResourceNotFoundException", text);
    }
    check_error(
        &harness.put(URL, none.clone()).await,
        404,
        "ResourceNotFoundException",
        "The resource you requested does not exist.",
    );
    check_error(
        &harness.get("/2021-10-31/functions/g/urls").await,
        404,
        "ResourceNotFoundException",
        "Function does not exist",
    );
    for qualifier in ["1", "$LATEST"] {
        let text = format!(
            "1 validation error detected: Value '{qualifier}' at 'qualifier' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: ((?!^\\d+$)^[0-9a-zA-Z-_]+$)"
        );
        let target = format!("{URL}?Qualifier={qualifier}");
        check_error(
            &harness.post(&target, none.clone()).await,
            400,
            "ValidationException",
            &text,
        );
        check_error(&harness.delete(&target).await, 400, "ValidationException", &text);
    }
    check_error(
        &harness.get("/2021-10-31/functions/f:live/url?Qualifier=other").await,
        400,
        "InvalidParameterValueException",
        "does not match the specified qualifier",
    );
    for id in ["", "x", &"a".repeat(32), &"é".repeat(16)] {
        assert!(find(&harness, id).await.is_none());
    }
}

#[tokio::test]
async fn broken_constraints_are_named() {
    let harness = ready().await;
    let check = async |body: Value, code: &str, text: &str| {
        check_error(&harness.post(URL, body).await, 400, code, text);
    };
    let with = |cors: Value| json!({ "AuthType": "NONE", "Cors": cors });
    let broken = "ValidationException";
    check(json!({}), broken, "Value null at 'authType'").await;
    check(
        json!({ "AuthType": "JWT", "InvokeMode": "STREAM" }),
        broken,
        "2 validation errors detected: Value 'JWT' at 'authType' failed to satisfy constraint: Member must satisfy enum \
         value set: [NONE, AWS_IAM]; Value 'STREAM' at 'invokeMode' failed to satisfy constraint: Member must satisfy \
         enum value set: [RESPONSE_STREAM, BUFFERED]",
    )
    .await;
    check(with(json!({ "MaxAge": 86_401 })), broken, "less than or equal to 86400").await;
    check(with(json!({ "MaxAge": -1 })), broken, "greater than or equal to 0").await;
    check(
        with(json!({ "AllowMethods": ["OPTIONS"] })),
        broken,
        "length less than or equal to 6",
    )
    .await;
    let seven = ["A", "B", "C", "D", "E", "F", "G"];
    check(
        with(json!({ "AllowMethods": seven })),
        broken,
        "Value '[A, B, C, D, E, F, G]' at 'cors.allowMethods' failed to satisfy constraint: Member must have length \
         less than or equal to 6",
    )
    .await;
    check(with(json!({ "AllowOrigins": [""] })), broken, "at 'cors.allowOrigins'").await;
    check(
        with(json!({ "AllowOrigins": ["a".repeat(254)] })),
        broken,
        "equal to 253",
    )
    .await;
    check(with(json!({ "AllowHeaders": vec!["h"; 101] })), broken, "equal to 100").await;
    check(
        with(json!({ "ExposeHeaders": ["h".repeat(1025)] })),
        broken,
        "equal to 1024",
    )
    .await;
    check(
        with(json!({ "ExposeHeaders": ["a\r\nb"] })),
        broken,
        "at 'cors.exposeHeaders'",
    )
    .await;
    let refused = "InvalidParameterValueException";
    check(
        with(json!({ "AllowHeaders": ["a, b"] })),
        refused,
        "Cors.AllowHeaders cannot contain 'a, b'.",
    )
    .await;
    check(
        with(json!({ "AllowOrigins": ["example"] })),
        refused,
        "Cors.AllowOrigins",
    )
    .await;
    assert_eq!(harness.get(URL).await.status, 404, "nothing of it was kept");
    let refused = harness.get("/2021-10-31/functions/f/urls?MaxItems=51").await;
    check_error(&refused, 400, broken, "at 'maxItems'");
}

#[tokio::test]
async fn the_policy_opens_a_url_at_once() {
    let harness = ready().await;
    let (own, live) = (create(&harness, URL).await, create(&harness, LIVE).await);
    let open = async |id: &str| find(&harness, id).await.unwrap().is_open;
    assert!(!open(&own).await && !open(&live).await);
    let added = harness.post(POLICY, opening("public")).await;
    assert_eq!(added.status, 201);
    let statement: Value = serde_json::from_str(added.json()["Statement"].as_str().unwrap()).unwrap();
    let condition = json!({ "StringEquals": { "lambda:FunctionUrlAuthType": "NONE" } });
    assert_eq!(statement["Condition"], condition);
    assert!(
        open(&own).await && !open(&live).await,
        "an alias has a policy of its own"
    );
    harness
        .post(&format!("{POLICY}?Qualifier=live"), opening("public"))
        .await;
    assert!(open(&live).await);
    harness.put(URL, json!({ "AuthType": "AWS_IAM" })).await;
    assert!(!open(&own).await);
    harness.put(URL, json!({ "AuthType": "NONE" })).await;
    harness.delete(&format!("{POLICY}/public")).await;
    assert!(!open(&own).await && open(&live).await);
}

#[tokio::test]
async fn statements_about_urls_are_checked() {
    let harness = ready().await;
    let mut other = opening("s");
    other["Action"] = json!("lambda:InvokeFunction");
    check_error(
        &harness.post(POLICY, other).await,
        400,
        "InvalidParameterValueException",
        "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action",
    );
    let via = json!({
        "StatementId": "via",
        "Action": "lambda:InvokeFunction",
        "Principal": "*",
        "InvokedViaFunctionUrl": true,
    });
    let added = harness.post(POLICY, via).await.json();
    let statement: Value = serde_json::from_str(added["Statement"].as_str().unwrap()).unwrap();
    assert_eq!(
        statement["Condition"],
        json!({ "Bool": { "lambda:InvokedViaFunctionUrl": "true" } })
    );
}

#[tokio::test]
async fn ids_lead_where_the_records_say_after_any_crash() {
    let harness = ready().await;
    let (own, live) = (create(&harness, URL).await, create(&harness, LIVE).await);
    let ledger = &harness.lambda.inner.ledger;
    let place = |function: &str, alias: Option<&str>| UrlPlace {
        function: function.parse().unwrap(),
        alias: alias.map(|alias| alias.parse().unwrap()),
    };
    // Created and not written to the function; of an alias and of a function that are gone; lost; leading elsewhere.
    let strays = ["s", "t", "u"].map(|letter| letter.repeat(32));
    ledger.put_url(&strays[0], &place("f", None)).await.unwrap();
    ledger.put_url(&strays[1], &place("f", Some("gone"))).await.unwrap();
    ledger.put_url(&strays[2], &place("gone", None)).await.unwrap();
    ledger.delete_url(&own).await.unwrap();
    ledger.put_url(&live, &place("f", None)).await.unwrap();
    for id in strays.iter().chain([&own, &live]) {
        assert!(find(&harness, id).await.is_none(), "{id}");
    }
    let harness = harness.reopen().await;
    assert_eq!(find(&harness, &own).await.map(|url| url.qualifier.clone()), Some(None));
    assert_eq!(
        find(&harness, &live).await.map(|url| url.qualifier.clone()),
        Some("live".parse().ok())
    );
    assert_eq!(harness.lambda.inner.ledger.every_url().await.unwrap().len(), 2);
}
