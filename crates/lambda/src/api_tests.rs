//! What is attached to functions: policies, tags, event configurations, concurrency, layers.

use serde_json::{Value, json};

use crate::harness::{Harness, base64, create, until, zip};

const LAYERS: &str = "/2018-10-31/layers/l/versions";

async fn ready() -> Harness {
    let harness = Harness::new().await;
    harness.function("f").await;
    harness.post("/2015-03-31/functions/f/versions", json!({})).await;
    harness
}

#[track_caller]
fn check_error(answer: &crate::harness::Answer, status: u16, code: &str, text: &str) {
    let (found, message) = answer.error();
    assert_eq!((answer.status, found.as_str()), (status, code), "{message}");
    assert!(message.contains(text), "{message}");
}

#[tokio::test]
async fn policies_are_kept_for_each_qualifier() {
    let harness = ready().await;
    let policy = "/2015-03-31/functions/f/policy";
    let statement = json!({
        "StatementId": "s3",
        "Action": "lambda:InvokeFunction",
        "Principal": "s3.amazonaws.com",
        "SourceArn": "arn:aws:s3:::bucket",
    });
    let added = harness.post(policy, statement.clone()).await;
    assert_eq!(added.status, 201);
    let text = added.json()["Statement"].as_str().unwrap().to_owned();
    let written: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        written,
        json!({
            "Sid": "s3",
            "Effect": "Allow",
            "Principal": { "Service": "s3.amazonaws.com" },
            "Action": "lambda:InvokeFunction",
            "Resource": "arn:aws:lambda:us-east-1:111111111111:function:f",
            "Condition": { "ArnLike": { "AWS:SourceArn": "arn:aws:s3:::bucket" } },
        })
    );
    let again = harness.post(policy, statement.clone()).await;
    check_error(
        &again,
        409,
        "ResourceConflictException",
        "The statement id (s3) provided already exists.",
    );
    let found = harness.get(policy).await.json();
    let document: Value = serde_json::from_str(found["Policy"].as_str().unwrap()).unwrap();
    assert_eq!(document["Statement"], json!([written]));
    check_error(
        &harness.get(&format!("{policy}?Qualifier=1")).await,
        404,
        "ResourceNotFoundException",
        "requested",
    );
    assert_eq!(
        harness.post(&format!("{policy}?Qualifier=1"), statement).await.status,
        201
    );
    let wrong = harness.delete(&format!("{policy}/s3?RevisionId=wrong")).await;
    check_error(&wrong, 412, "PreconditionFailedException", "Call the GetPolicy API");
    assert_eq!(harness.delete(&format!("{policy}/s3")).await.status, 204);
    check_error(
        &harness.delete(&format!("{policy}/s3")).await,
        404,
        "ResourceNotFoundException",
        "No policy",
    );
    assert_eq!(harness.get(&format!("{policy}?Qualifier=1")).await.status, 200);
}

#[tokio::test]
async fn a_policy_has_its_limit() {
    let harness = ready().await;
    let mut answer = None;
    for number in 0..200 {
        let statement = json!({
            "StatementId": format!("statement-{number}"),
            "Action": "lambda:InvokeFunction",
            "Principal": "111111111111",
        });
        let added = harness.post("/2015-03-31/functions/f/policy", statement).await;
        if added.status != 201 {
            answer = Some(added);
            break;
        }
    }
    check_error(
        &answer.unwrap(),
        400,
        "PolicyLengthExceededException",
        "is bigger than the limit (20480).",
    );
}

#[tokio::test]
async fn tags_come_and_go() {
    let harness = ready().await;
    let tags = "/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A111111111111%3Afunction%3Af";
    assert_eq!(
        harness
            .post(tags, json!({ "Tags": { "a": "1", "b": "2" } }))
            .await
            .status,
        204
    );
    assert_eq!(
        harness.get(tags).await.json(),
        json!({ "Tags": { "a": "1", "b": "2" } })
    );
    assert_eq!(
        harness.get("/2015-03-31/functions/f").await.json()["Tags"],
        json!({ "a": "1", "b": "2" })
    );
    assert_eq!(harness.delete(&format!("{tags}?tagKeys=a&tagKeys=x")).await.status, 204);
    assert_eq!(harness.get(tags).await.json(), json!({ "Tags": { "b": "2" } }));
    let many: serde_json::Map<String, Value> = (0..51).map(|n| (n.to_string(), json!(""))).collect();
    let refused = harness.post(tags, json!({ "Tags": many })).await;
    check_error(
        &refused,
        400,
        "InvalidParameterValueException",
        "Number of tags exceeds",
    );
    let refused = harness.delete(tags).await;
    check_error(&refused, 400, "ValidationException", "Value null at 'tagKeys'");
    let refused = harness.get(&format!("{tags}%3A1")).await;
    check_error(
        &refused,
        400,
        "InvalidParameterValueException",
        "Tags on function aliases and versions",
    );
}

#[tokio::test]
async fn event_configurations_reach_who_resolves() {
    use ephyra_core::compute::Resolve as _;
    let harness = ready().await;
    let name = "f".parse().unwrap();
    let config = "/2019-09-25/functions/f/event-invoke-config";
    assert_eq!(harness.lambda.resolve(&name, None).await.unwrap().events.max_retries, 2);
    let put = harness
        .put(
            config,
            json!({ "MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60 }),
        )
        .await;
    assert_eq!(put.status, 200);
    assert_eq!(
        put.json()["FunctionArn"],
        "arn:aws:lambda:us-east-1:111111111111:function:f:$LATEST"
    );
    assert_eq!(put.json()["LastModified"], 1_764_037_671.023);
    let resolved = harness.lambda.resolve(&name, None).await.unwrap();
    assert_eq!((resolved.events.max_retries, resolved.events.max_age_seconds), (0, 60));
    harness.post(config, json!({ "MaximumRetryAttempts": 1 })).await;
    let found = harness.get(config).await.json();
    assert_eq!(
        (&found["MaximumRetryAttempts"], &found["MaximumEventAgeInSeconds"]),
        (&json!(1), &json!(60))
    );
    harness
        .put(&format!("{config}?Qualifier=1"), json!({ "MaximumRetryAttempts": 0 }))
        .await;
    let page = harness.get(&format!("{config}/list?MaxItems=1")).await.json();
    let marker = page["NextMarker"].as_str().unwrap();
    let rest = harness
        .get(&format!("{config}/list?MaxItems=1&Marker={marker}"))
        .await
        .json();
    assert!(
        rest["FunctionEventInvokeConfigs"][0]["FunctionArn"]
            .as_str()
            .unwrap()
            .ends_with(":f:1")
    );
    assert!(rest.get("NextMarker").is_none());
    assert_eq!(harness.delete(config).await.status, 204);
    assert_eq!(harness.get(config).await.status, 404);
    assert!(harness.lambda.resolve(&"none".parse().unwrap(), None).await.is_err());
}

#[tokio::test]
async fn concurrency_is_reserved_and_provisioned_within_the_account() {
    let harness = ready().await;
    let reserve = "/2017-10-31/functions/f/concurrency";
    let refused = harness
        .put(reserve, json!({ "ReservedConcurrentExecutions": 901 }))
        .await;
    check_error(
        &refused,
        400,
        "InvalidParameterValueException",
        "below its minimum value of [100]",
    );
    assert!(refused.json().get("Type").is_none());
    assert_eq!(
        harness
            .put(reserve, json!({ "ReservedConcurrentExecutions": 5 }))
            .await
            .status,
        200
    );
    let name = "f".parse().unwrap();
    assert_eq!(harness.world.reserved.lock().get(&name), Some(&Some(5)));
    assert_eq!(
        harness.get("/2015-03-31/functions/f").await.json()["Concurrency"],
        json!({ "ReservedConcurrentExecutions": 5 })
    );
    let limits = harness.get("/2016-08-19/account-settings").await.json();
    assert_eq!(limits["AccountLimit"]["UnreservedConcurrentExecutions"], 995);
    let provision = "/2019-09-30/functions/f/provisioned-concurrency";
    let body = |count: u32| json!({ "ProvisionedConcurrentExecutions": count });
    let refused = harness.put(&format!("{provision}?Qualifier=1"), body(6)).await;
    check_error(
        &refused,
        400,
        "InvalidParameterValueException",
        "reservedConcurrentExecution",
    );
    let put = harness.put(&format!("{provision}?Qualifier=1"), body(3)).await;
    assert_eq!((put.status, &put.json()["Status"]), (202, &json!("IN_PROGRESS")));
    assert_eq!(
        harness.get(&format!("{provision}?Qualifier=1")).await.json()["Status"],
        "READY"
    );
    let list = harness.get(&format!("{provision}?List=ALL")).await.json();
    let arn = "arn:aws:lambda:us-east-1:111111111111:function:f:1";
    assert_eq!(list["ProvisionedConcurrencyConfigs"][0]["FunctionArn"], arn);
    let lower = harness.put(reserve, json!({ "ReservedConcurrentExecutions": 2 })).await;
    check_error(
        &lower,
        400,
        "InvalidParameterValueException",
        "total provisioned concurrency [3]",
    );
    let harness = harness.reopen().await;
    assert_eq!(
        harness.world.provisioned.lock().values().copied().collect::<Vec<_>>(),
        [3]
    );
    assert_eq!(harness.delete(&format!("{provision}?Qualifier=1")).await.status, 204);
    assert_eq!(
        harness.world.provisioned.lock().values().copied().collect::<Vec<_>>(),
        [0]
    );
    assert_eq!(harness.delete(reserve).await.status, 204);
    assert_eq!(
        harness.get("/2019-09-30/functions/f/concurrency").await.json(),
        json!({})
    );
}

#[tokio::test]
async fn what_an_alias_has_provisioned_follows_it() {
    let harness = ready().await;
    harness
        .put("/2015-03-31/functions/f/configuration", json!({ "Timeout": 9 }))
        .await;
    harness.settled("f").await;
    harness.post("/2015-03-31/functions/f/versions", json!({})).await;
    let alias = json!({ "Name": "live", "FunctionVersion": "1" });
    harness.post("/2015-03-31/functions/f/aliases", alias).await;
    let provision = "/2019-09-30/functions/f/provisioned-concurrency?Qualifier=live";
    harness
        .put(provision, json!({ "ProvisionedConcurrentExecutions": 2 }))
        .await;
    harness
        .put(
            "/2015-03-31/functions/f/aliases/live",
            json!({ "FunctionVersion": "2" }),
        )
        .await;
    let mut counts: Vec<u32> = harness.world.provisioned.lock().values().copied().collect();
    counts.sort_unstable();
    assert_eq!(counts, [0, 2]);
    harness.delete("/2015-03-31/functions/f/aliases/live").await;
    assert!(harness.world.provisioned.lock().values().all(|count| *count == 0));
}

#[tokio::test]
async fn layers_are_used_and_outlive_their_deletion() {
    let harness = Harness::new().await;
    let layer =
        |text: &str| json!({ "Content": { "ZipFile": base64(&zip(text)) }, "CompatibleRuntimes": ["python3.12"] });
    assert_eq!(harness.post(LAYERS, layer("one")).await.json()["Version"], 1);
    let second = harness.post(LAYERS, layer("two")).await.json();
    assert_eq!(
        second["LayerVersionArn"],
        "arn:aws:lambda:us-east-1:111111111111:layer:l:2"
    );
    harness.post("/2018-10-31/layers/l-x/versions", layer("three")).await;
    let list = harness.get(LAYERS).await.json();
    let numbers: Vec<&Value> = list["LayerVersions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| &l["Version"])
        .collect();
    assert_eq!(numbers, [&json!(2), &json!(1)]);
    let page = harness.get("/2018-10-31/layers?MaxItems=1").await.json();
    let marker = page["NextMarker"].as_str().unwrap();
    let rest = harness
        .get(&format!("/2018-10-31/layers?MaxItems=1&Marker={marker}"))
        .await
        .json();
    let mut names = [&page["Layers"][0], &rest["Layers"][0]].map(|l| {
        (
            l["LayerName"].as_str().unwrap().to_owned(),
            l["LatestMatchingVersion"]["Version"].clone(),
        )
    });
    names.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(names, [("l".to_owned(), json!(2)), ("l-x".to_owned(), json!(1))]);
    assert!(rest.get("NextMarker").is_none());
    let none = harness
        .get("/2018-10-31/layers?CompatibleRuntime=nodejs22.x")
        .await
        .json();
    assert_eq!(none, json!({ "Layers": [] }));

    let mut body = create("f");
    body["Layers"] = json!([second["LayerVersionArn"]]);
    assert_eq!(harness.post("/2015-03-31/functions", body).await.status, 201);
    let config = harness.settled("f").await;
    assert_eq!(
        config["Layers"],
        json!([{ "Arn": second["LayerVersionArn"], "CodeSize": zip("two").len() }])
    );
    let folder = harness
        .lambda
        .inner
        .depot
        .folder(ephyra_core::digest::Digest::of(&zip("two")));
    assert_eq!(harness.delete(&format!("{LAYERS}/2")).await.status, 204);
    assert_eq!(harness.get(&format!("{LAYERS}/2")).await.status, 404);
    assert!(folder.is_dir(), "a function uses it");
    assert_eq!(harness.post(LAYERS, layer("four")).await.json()["Version"], 3);
    harness
        .put("/2015-03-31/functions/f/configuration", json!({ "Layers": [] }))
        .await;
    harness.settled("f").await;
    until(|| !folder.exists()).await;
}

#[tokio::test]
async fn layers_have_policies_and_arns() {
    let harness = Harness::new().await;
    harness
        .post(LAYERS, json!({ "Content": { "ZipFile": base64(&zip("one")) } }))
        .await;
    let policy = format!("{LAYERS}/1/policy");
    check_error(
        &harness.get(&policy).await,
        404,
        "ResourceNotFoundException",
        "No policy is associated",
    );
    let statement = json!({ "StatementId": "s1", "Action": "lambda:GetLayerVersion", "Principal": "*" });
    assert_eq!(harness.post(&policy, statement.clone()).await.status, 201);
    check_error(
        &harness.post(&policy, statement).await,
        409,
        "ResourceConflictException",
        "(s1)",
    );
    let wrong = harness.delete(&format!("{policy}/s1?RevisionId=x")).await;
    check_error(
        &wrong,
        412,
        "PreconditionFailedException",
        "Call the GetLayerPolicy API",
    );
    let missing = harness.delete(&format!("{policy}/s2")).await;
    check_error(
        &missing,
        404,
        "ResourceNotFoundException",
        "Statement s2 is not found in resource policy.",
    );
    assert_eq!(harness.delete(&format!("{policy}/s1")).await.status, 204);
    let arn = "arn:aws:lambda:us-east-1:111111111111:layer:l";
    let found = harness
        .get(&format!("/2018-10-31/layers?find=LayerVersion&Arn={arn}:1"))
        .await;
    assert_eq!(found.json()["Version"], 1);
    let invalid = harness
        .get(&format!("/2018-10-31/layers?find=LayerVersion&Arn={arn}"))
        .await;
    check_error(&invalid, 400, "ValidationException", "at 'arn'");
    let missing = harness
        .get(&format!("/2018-10-31/layers?find=LayerVersion&Arn={arn}:9"))
        .await;
    check_error(
        &missing,
        404,
        "ResourceNotFoundException",
        "The resource you requested does not exist.",
    );
}

#[tokio::test]
async fn code_and_layers_together_have_a_limit() {
    use crate::operation::check_unpacked;
    use crate::record::{LayerUse, Package};
    let package = |unpacked_bytes| Package {
        digest: ephyra_core::digest::Digest::of(b""),
        zip_bytes: 1,
        unpacked_bytes,
    };
    let mut config = crate::settings::defaults(&"f".parse().unwrap(), "x86_64");
    let layer = LayerUse {
        arn: String::new(),
        package: package(200_000_000),
    };
    config.layers.push(layer);
    assert!(check_unpacked(package(62_144_000), &config).is_ok());
    let error = check_unpacked(package(62_144_001), &config).unwrap_err();
    assert_eq!(
        error.message,
        "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes. The actual size is \
         262144001 bytes."
    );
}

#[tokio::test]
async fn small_settings_are_kept() {
    let harness = ready().await;
    let recursion = "/2024-08-31/functions/f/recursion-config";
    assert_eq!(
        harness.get(recursion).await.json(),
        json!({ "RecursiveLoop": "Terminate" })
    );
    harness.put(recursion, json!({ "RecursiveLoop": "Allow" })).await;
    assert_eq!(harness.get(recursion).await.json(), json!({ "RecursiveLoop": "Allow" }));
    let wrong = harness.put(recursion, json!({ "RecursiveLoop": "InvalidValue" })).await;
    check_error(&wrong, 400, "ValidationException", "enum value set: [Terminate, Allow]");
    let runtime = "/2021-07-20/functions/f/runtime-management-config";
    assert_eq!(harness.get(runtime).await.json()["UpdateRuntimeOn"], "Auto");
    let manual = harness.put(runtime, json!({ "UpdateRuntimeOn": "Manual" })).await;
    check_error(
        &manual,
        400,
        "InvalidParameterValueException",
        "requires a RuntimeVersionArn",
    );
    harness
        .put(runtime, json!({ "UpdateRuntimeOn": "FunctionUpdate" }))
        .await;
    assert_eq!(harness.get(runtime).await.json()["UpdateRuntimeOn"], "FunctionUpdate");
    let signing = harness.get("/2020-06-30/functions/f/code-signing-config").await;
    assert_eq!((signing.status, signing.json()), (200, json!({ "FunctionName": "f" })));
}

#[tokio::test]
async fn what_is_not_there_says_so() {
    let harness = ready().await;
    let absent = harness.post("/2015-03-31/event-source-mappings", json!({})).await;
    check_error(
        &absent,
        501,
        "NotImplementedException",
        "CreateEventSourceMapping is not available",
    );
    let unknown = harness.get("/2015-03-31/nothing").await;
    assert_eq!(unknown.status, 404);
    for (member, value) in [
        ("DurableConfig", json!({ "ExecutionTimeout": 1 })),
        ("TenancyConfig", json!({ "TenantIsolationMode": "PER_TENANT" })),
        ("PublishTo", json!("LATEST_PUBLISHED")),
        ("FileSystemConfigs", json!([{ "Arn": "a", "LocalMountPath": "/mnt/a" }])),
    ] {
        let mut body = create("g");
        body[member] = value;
        let refused = harness.post("/2015-03-31/functions", body).await;
        check_error(&refused, 400, "InvalidParameterValueException", member);
    }
    let mut body = create("g");
    body["VpcConfig"] = json!({ "SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"] });
    let refused = harness.post("/2015-03-31/functions", body).await;
    check_error(
        &refused,
        400,
        "InvalidParameterValueException",
        "The subnet ID 'subnet-1' does not exist",
    );
}
