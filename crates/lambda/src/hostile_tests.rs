//! Requests that nobody should send, and many at once.

use futures_util::future::join_all;
use proptest::prelude::*;
use serde_json::json;

use crate::harness::{Harness, base64, create, until, zip};
use crate::route;

/// Bodies that fit no operation.
const BODIES: &[&str] = &[
    "",
    "null",
    "[]",
    "{",
    "7",
    "\u{feff}{}",
    r#"{"FunctionName":[],"Code":"x","Tags":7,"Principal":{},"Name":1}"#,
    r#"{"ReservedConcurrentExecutions":-1,"ProvisionedConcurrentExecutions":99999999999,"MaximumRetryAttempts":-7}"#,
    r#"{"RoutingConfig":{"AdditionalVersionWeights":{"":1e308}},"FunctionVersion":"","Name":""}"#,
    r#"{"Tags":{"":"","\u0000":"\u0000"},"Layers":["arn:::::::"],"Environment":{"Variables":{"":""}}}"#,
    r#"{"DestinationConfig":{"OnSuccess":{"Destination":"arn:aws:lambda::::"}}}"#,
    r#"{"StatementId":"s","Action":"*","Principal":"arn:aws:iam::::::","SourceArn":"arn:aws:s3:::\u0000"}"#,
];

#[tokio::test]
async fn no_request_breaks_an_operation() {
    let harness = Harness::new().await;
    harness.function("f").await;
    for (method, path, _) in route::rows() {
        // The download of code reads no body, and its path is tried elsewhere.
        for name in [
            "f",
            "f%3A%24LATEST",
            "%2e%2e",
            "%00",
            "arn%3Aaws%3Alambda%3A%3A%3A",
            "%F0%9F%90%99",
        ] {
            let path: String = path
                .split('/')
                .map(|part| if part.starts_with('{') { name } else { part })
                .collect::<Vec<_>>()
                .join("/");
            if method == http::Method::DELETE && name == "f" {
                continue;
            }
            for body in BODIES {
                for query in [
                    "",
                    "?Qualifier=%24&Marker=%21&MaxItems=0",
                    "?MaxItems=x&Marker=AAAA&FunctionVersion=ALL",
                ] {
                    let answer = harness
                        .send(method.as_str(), &format!("{path}{query}"), &[], *body)
                        .await;
                    let status = answer.status;
                    assert!(
                        status < 500 || status == 501,
                        "{method} {path}{query} {body}: {:?}",
                        answer.body
                    );
                }
            }
        }
    }
    assert_eq!(harness.get("/2015-03-31/functions/f").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_create_the_same_function_one_does() {
    let harness = Harness::new().await;
    let answers = join_all((0..24).map(|_| harness.post("/2015-03-31/functions", create("f")))).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    let refused = answers.iter().filter(|answer| answer.status == 409).count();
    assert_eq!((created, refused), (1, 23));
    let usage = harness.get("/2016-08-19/account-settings").await.json();
    assert_eq!(usage["AccountUsage"]["FunctionCount"], 1);
    assert_eq!(usage["AccountUsage"]["TotalCodeSize"], zip("f").len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_once_leave_what_is_used_and_nothing_else() {
    let harness = Harness::new().await;
    for name in ["a", "b", "c"] {
        harness.function(name).await;
    }
    let work = (0..48).map(|number| {
        let harness = &harness;
        async move {
            let name = ["a", "b", "c"][number % 3];
            let path = format!("/2015-03-31/functions/{name}");
            match number % 4 {
                0 => {
                    harness
                        .put(
                            &format!("{path}/code"),
                            json!({ "ZipFile": base64(&zip(&format!("{}", number % 5))) }),
                        )
                        .await
                }
                1 => harness.post(&format!("{path}/versions"), json!({})).await,
                2 => {
                    harness
                        .put(&format!("{path}/configuration"), json!({ "Timeout": number + 1 }))
                        .await
                }
                _ => harness.send("POST", &format!("{path}/invocations"), &[], "{}").await,
            }
        }
    });
    for answer in join_all(work).await {
        assert!([200, 201, 409].contains(&answer.status), "{:?}", answer.body);
    }
    for name in ["a", "b", "c"] {
        harness.settled(name).await;
        let invoked = harness
            .send("POST", &format!("/2015-03-31/functions/{name}/invocations"), &[], "{}")
            .await;
        assert_eq!(invoked.status, 200);
    }
    for name in ["a", "b", "c"] {
        assert_eq!(
            harness.delete(&format!("/2015-03-31/functions/{name}")).await.status,
            204
        );
    }
    let code = harness.data.path().join("code");
    until(|| {
        std::fs::read_dir(&code)
            .unwrap()
            .all(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap().next().is_none())
    })
    .await;
    let usage = harness.get("/2016-08-19/account-settings").await.json();
    assert_eq!(usage["AccountUsage"], json!({ "FunctionCount": 0, "TotalCodeSize": 0 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_configuration_is_answered(text in "\\PC{0,40}", number in any::<i64>(), weight in any::<f64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let harness = Harness::new().await;
            let mut body = create("f");
            for member in ["Handler", "Description", "KMSKeyArn"] {
                body[member] = json!(text);
            }
            body["Timeout"] = json!(number);
            body["Environment"] = json!({ "Variables": { "AB": text } });
            body["Tags"] = json!({ "k": text });
            body["EphemeralStorage"] = json!({ "Size": number });
            let status = harness.post("/2015-03-31/functions", body).await.status;
            assert!(status == 201 || status == 400, "{status}");
            let alias = json!({ "Name": text, "FunctionVersion": "1", "RoutingConfig": { "AdditionalVersionWeights": { "2": weight } } });
            let status = harness.post("/2015-03-31/functions/f/aliases", alias).await.status;
            assert!((400..500).contains(&status), "{status}");
        });
    }
}
