//! The life of a function, as its callers see it.

use ephyra_core::prepare::PrepareError;
use serde_json::json;

use crate::harness::{Harness, base64, create, until, zip};

const FUNCTIONS: &str = "/2015-03-31/functions";

#[tokio::test]
async fn a_function_is_created_found_changed_and_deleted() {
    let harness = Harness::new().await;
    let created = harness.post(FUNCTIONS, create("f")).await;
    assert_eq!(created.status, 201);
    let document = created.json();
    assert_eq!(document["State"], "Pending");
    assert_eq!(document["StateReason"], "The function is being created.");
    assert_eq!(document["StateReasonCode"], "Creating");
    assert_eq!(
        document["FunctionArn"],
        "arn:aws:lambda:us-east-1:111111111111:function:f"
    );
    assert_eq!(
        document["LoggingConfig"],
        json!({ "LogFormat": "Text", "LogGroup": "/aws/lambda/f" })
    );
    assert_eq!(document["LastModified"], "2025-11-25T02:27:51.023+0000");
    assert!(document.get("LastUpdateStatus").is_none());
    assert!(document.get("Environment").is_none());
    let config = harness.settled("f").await;
    assert_ne!(config["RevisionId"], document["RevisionId"]);

    let found = harness.get("/2015-03-31/functions/f").await.json();
    assert_eq!(found["Configuration"], config);
    let link = found["Code"]["Location"].as_str().unwrap().to_owned();
    let path = link.strip_prefix("http://127.0.0.1:4566").unwrap();
    let download = harness.get(path).await;
    assert_eq!(download.body, zip("f"));
    assert_eq!(download.header("content-type"), "application/zip");

    let updated = harness
        .put(
            "/2015-03-31/functions/f/configuration",
            json!({ "Timeout": 10, "Description": "d" }),
        )
        .await;
    assert_eq!(updated.status, 200);
    assert_eq!(updated.json()["LastUpdateStatus"], "InProgress");
    assert_eq!(updated.json()["Timeout"], 10);
    assert_eq!(harness.settled("f").await["Description"], "d");
    assert_eq!(harness.world.retired.lock().len(), 1);

    let again = harness.post(FUNCTIONS, create("f")).await;
    assert_eq!(again.status, 409);
    assert_eq!(again.error().1, "Function already exist: f");

    assert_eq!(harness.delete("/2015-03-31/functions/f").await.status, 204);
    let gone = harness.get("/2015-03-31/functions/f").await;
    assert_eq!(gone.status, 404);
    assert_eq!(gone.json()["Type"], "User");
    assert_eq!(
        gone.json()["Message"],
        "Function not found: arn:aws:lambda:us-east-1:111111111111:function:f"
    );
}

#[tokio::test]
async fn code_that_nothing_uses_is_removed() {
    let harness = Harness::new().await;
    harness.function("f").await;
    let code = harness.data.path().join("code");
    let packages = || {
        std::fs::read_dir(&code)
            .unwrap()
            .flat_map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap())
            .count()
    };
    assert_eq!(packages(), 1);
    let body = json!({ "ZipFile": base64(&zip("other")) });
    let updated = harness.put("/2015-03-31/functions/f/code", body).await;
    assert_eq!(updated.status, 200);
    harness.settled("f").await;
    until(|| packages() == 1).await;
    harness.delete("/2015-03-31/functions/f").await;
    until(|| packages() == 0).await;
}

#[tokio::test]
async fn versions_are_published_once_and_stay() {
    let harness = Harness::new().await;
    harness.function("f").await;
    let first = harness
        .post("/2015-03-31/functions/f/versions", json!({ "Description": "one" }))
        .await;
    assert_eq!(first.status, 201);
    assert_eq!(first.json()["Version"], "1");
    assert_eq!(first.json()["State"], "Active");
    assert_eq!(first.json()["Description"], "one");
    let again = harness.post("/2015-03-31/functions/f/versions", json!({})).await;
    assert_eq!(again.json()["Version"], "1");
    assert_eq!(again.json()["RevisionId"], first.json()["RevisionId"]);
    harness
        .put("/2015-03-31/functions/f/configuration", json!({ "MemorySize": 256 }))
        .await;
    harness.settled("f").await;
    let second = harness.post("/2015-03-31/functions/f/versions", json!({})).await;
    assert_eq!(second.json()["Version"], "2");
    assert_eq!(
        harness.get("/2015-03-31/functions/f:1").await.json()["Configuration"]["MemorySize"],
        128
    );
    let list = harness.get("/2015-03-31/functions/f/versions").await.json();
    let versions: Vec<&str> = list["Versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["Version"].as_str().unwrap())
        .collect();
    assert_eq!(versions, ["$LATEST", "1", "2"]);
    assert!(
        list["Versions"][0]["FunctionArn"]
            .as_str()
            .unwrap()
            .ends_with(":f:$LATEST")
    );
    assert!(list["Versions"][0].get("State").is_none());
    let page = harness.get("/2015-03-31/functions/f/versions?MaxItems=1").await.json();
    let next = page["NextMarker"].as_str().unwrap();
    let page = harness
        .get(&format!("/2015-03-31/functions/f/versions?MaxItems=2&Marker={next}"))
        .await
        .json();
    assert_eq!(page["Versions"].as_array().unwrap().len(), 2);
    assert!(page.get("NextMarker").is_none());
    assert_eq!(harness.delete("/2015-03-31/functions/f?Qualifier=1").await.status, 204);
    assert_eq!(harness.get("/2015-03-31/functions/f:1").await.status, 404);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let harness = Harness::new().await;
    for name in ["c", "a", "b"] {
        harness.function(name).await;
    }
    harness.post("/2015-03-31/functions/b/versions", json!({})).await;
    let mut names = Vec::new();
    let mut target = "/2015-03-31/functions?MaxItems=2".to_owned();
    loop {
        let page = harness.get(&target).await.json();
        names.extend(
            page["Functions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|f| f["FunctionArn"].clone()),
        );
        match page["NextMarker"].as_str() {
            Some(marker) => target = format!("/2015-03-31/functions?MaxItems=2&Marker={marker}"),
            None => break,
        }
    }
    let arn = |name: &str| json!(format!("arn:aws:lambda:us-east-1:111111111111:function:{name}"));
    assert_eq!(names, [arn("a"), arn("b"), arn("c")]);
    let mut names = Vec::new();
    let mut target = "/2015-03-31/functions?FunctionVersion=ALL&MaxItems=1".to_owned();
    loop {
        let page = harness.get(&target).await.json();
        names.extend(
            page["Functions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|f| f["FunctionArn"].clone()),
        );
        match page["NextMarker"].as_str() {
            Some(marker) => target = format!("/2015-03-31/functions?FunctionVersion=ALL&MaxItems=1&Marker={marker}"),
            None => break,
        }
    }
    assert_eq!(
        names,
        [arn("a:$LATEST"), arn("b:$LATEST"), arn("b:1"), arn("c:$LATEST")]
    );
    let usage = harness.get("/2016-08-19/account-settings").await.json();
    assert_eq!(usage["AccountUsage"]["FunctionCount"], 3);
}

#[tokio::test]
async fn a_restart_finds_everything_and_removes_what_is_left_over() {
    let harness = Harness::new().await;
    harness.function("f").await;
    harness.post("/2015-03-31/functions/f/versions", json!({})).await;
    harness
        .put(
            "/2017-10-31/functions/f/concurrency",
            json!({ "ReservedConcurrentExecutions": 7 }),
        )
        .await;
    let before = harness.get("/2016-08-19/account-settings").await.json();
    let left = harness.data.path().join("tmp/package-left");
    std::fs::create_dir(&left).unwrap();
    let stray = harness.data.path().join("code/ab").join("ab".repeat(32));
    std::fs::create_dir_all(&stray).unwrap();
    let folder = harness
        .lambda
        .inner
        .depot
        .folder(ephyra_core::digest::Digest::of(&zip("f")));
    std::fs::remove_dir_all(&folder).unwrap();
    let harness = harness.reopen().await;
    assert!(!left.exists() && !stray.exists());
    assert!(folder.join("app.py").is_file());
    assert_eq!(harness.get("/2016-08-19/account-settings").await.json(), before);
    let name = "f".parse().unwrap();
    assert_eq!(harness.world.reserved.lock().get(&name), Some(&Some(7)));
    assert_eq!(harness.get("/2015-03-31/functions/f:1").await.status, 200);
}

#[tokio::test]
async fn a_restart_ends_what_was_under_way() {
    let harness = Harness::new().await;
    harness.function("f").await;
    let name = "f".parse().unwrap();
    // As a crash leaves it: the function pending, and a version that it does not count.
    let ledger = &harness.lambda.inner.ledger;
    let mut stored = ledger.function(&name).await.unwrap().unwrap();
    stored.record.latest.state = crate::record::State::Pending;
    stored.record.latest.update = None;
    let mut version = stored.record.latest.clone();
    version.version = ephyra_core::id::Version::Number(1);
    ledger.create_version(&name, 1, &version).await.unwrap();
    ledger
        .create_version(&"orphan".parse().unwrap(), 1, &version)
        .await
        .unwrap();
    ledger.update_function(&stored).await.unwrap();
    let harness = harness.reopen().await;
    let config = harness.get("/2015-03-31/functions/f/configuration").await.json();
    assert_eq!(config["State"], "Active");
    let config = harness
        .get("/2015-03-31/functions/f/configuration?Qualifier=1")
        .await
        .json();
    assert_eq!(config["State"], "Active");
    let ledger = &harness.lambda.inner.ledger;
    assert!(ledger.version(&"orphan".parse().unwrap(), 1).await.unwrap().is_none());
    assert_eq!(ledger.function(&name).await.unwrap().unwrap().record.last_version, 1);
}

#[tokio::test]
async fn a_change_under_way_refuses_another() {
    let harness = Harness::new().await;
    harness.function("f").await;
    let name = "f".parse().unwrap();
    let ledger = &harness.lambda.inner.ledger;
    let mut stored = ledger.function(&name).await.unwrap().unwrap();
    stored.record.latest.update = Some(crate::record::Update::InProgress);
    ledger.update_function(&stored).await.unwrap();
    let refused = harness
        .put("/2015-03-31/functions/f/configuration", json!({ "Timeout": 4 }))
        .await;
    assert_eq!(refused.status, 409);
    assert_eq!(
        refused.json(),
        json!({
            "Type": "User",
            "message": "The operation cannot be performed at this time. An update is in progress for resource: \
                        arn:aws:lambda:us-east-1:111111111111:function:f",
        })
    );
    let mut stored = ledger.function(&name).await.unwrap().unwrap();
    stored.record.latest.state = crate::record::State::Pending;
    ledger.update_function(&stored).await.unwrap();
    harness.lambda.inner.cache.forget("f");
    let refused = harness
        .send("POST", "/2015-03-31/functions/f/invocations", &[], "{}")
        .await;
    assert_eq!(refused.status, 409);
    assert_eq!(
        refused.error().1,
        "The operation cannot be performed at this time. The function is currently in the following state: Pending"
    );
}

#[tokio::test]
async fn bad_input_is_refused_in_aws_words() {
    let harness = Harness::new().await;
    let check = async |change: &dyn Fn(&mut serde_json::Value), code: &str, text: &str| {
        let mut body = create("f");
        change(&mut body);
        let (found, message) = harness.post(FUNCTIONS, body).await.error();
        assert_eq!(found, code);
        assert!(message.contains(text), "{message}");
    };
    check(
        &|b| b["Role"] = json!("r1"),
        "ValidationException",
        "1 validation error detected: Value 'r1' at 'role'",
    )
    .await;
    check(
        &|b| b["Runtime"] = json!("go1.x"),
        "InvalidParameterValueException",
        "no longer supported",
    )
    .await;
    check(
        &|b| b["Runtime"] = json!("python3.13"),
        "InvalidParameterValueException",
        "python3.12, python3.11",
    )
    .await;
    check(
        &|b| b["Code"] = json!({ "ZipFile": "AAAA" }),
        "InvalidParameterValueException",
        "Could not unzip",
    )
    .await;
    check(
        &|b| b["Code"] = json!({ "S3Bucket": "b", "S3Key": "k" }),
        "InvalidParameterValueException",
        "NoSuchBucket",
    )
    .await;
    check(
        &|b| b["Code"] = json!({}),
        "InvalidParameterValueException",
        "Please provide a source",
    )
    .await;
    check(
        &|b| b["PackageType"] = json!("Image"),
        "InvalidParameterValueException",
        "Container images",
    )
    .await;
    check(&|b| b["Timeout"] = json!(901), "ValidationException", "'timeout'").await;
    check(&|b| b["Timeout"] = json!("x"), "SerializationException", "STRING_VALUE").await;
    check(
        &|b| b["Architectures"] = json!(["X86_64"]),
        "ValidationException",
        "Value '[X86_64]' at 'architectures'",
    )
    .await;
    check(
        &|b| b["Architectures"] = json!(["arm64"]),
        "InvalidParameterValueException",
        "this machine is x86_64",
    )
    .await;
    let name = "x".repeat(65);
    check(
        &|b| b["FunctionName"] = json!(name),
        "InvalidParameterValueException",
        "1 validation error detected: Value 'xxx",
    )
    .await;
    check(
        &|b| b["Layers"] = json!(["arn:aws:lambda:us-east-1:111111111111:layer:l:1"]),
        "InvalidParameterValueException",
        "does not exist.",
    )
    .await;
    check(
        &|b| {
            b.as_object_mut().unwrap().remove("Runtime");
        },
        "InvalidParameterValueException",
        "Runtime and Handler are mandatory",
    )
    .await;
    assert_eq!(harness.get(FUNCTIONS).await.json(), json!({ "Functions": [] }));
    let code = harness.data.path().join("code");
    assert_eq!(
        std::fs::read_dir(code).unwrap().count(),
        0,
        "refused packages leave nothing"
    );
}

#[tokio::test]
async fn a_lost_package_does_not_keep_the_others_from_starting() {
    let harness = Harness::new().await;
    harness.function("lost").await;
    harness.function("kept").await;
    let inner = &harness.lambda.inner;
    let digest = ephyra_core::digest::Digest::of(&zip("lost"));
    std::fs::remove_dir_all(inner.depot.folder(digest)).unwrap();
    inner.deps.blobs.delete(digest).await.unwrap();
    let harness = harness.reopen().await;
    let answer = harness
        .send("POST", "/2015-03-31/functions/kept/invocations", &[], "{}")
        .await;
    assert_eq!(answer.status, 200);
    // Deployed again, it is whole again.
    let body = json!({ "ZipFile": base64(&zip("lost")) });
    assert_eq!(harness.put("/2015-03-31/functions/lost/code", body).await.status, 200);
    harness.settled("lost").await;
    let folder = harness.lambda.inner.depot.folder(digest);
    assert!(folder.join("app.py").is_file());
}

#[tokio::test]
async fn what_was_made_of_a_package_goes_with_its_last_user() {
    let harness = Harness::new().await;
    let (f, mut g) = (create("f"), create("g"));
    g["Code"] = f["Code"].clone();
    harness.post(FUNCTIONS, f).await;
    harness.post(FUNCTIONS, g).await;
    harness.settled("f").await;
    harness.settled("g").await;
    harness.delete("/2015-03-31/functions/f").await;
    assert!(
        harness.world.forgotten.lock().is_empty(),
        "another function has the same package"
    );
    harness.delete("/2015-03-31/functions/g").await;
    until(|| harness.world.forgotten.lock().len() == 1).await;
}

#[tokio::test]
async fn what_cannot_be_prepared_fails_with_its_reason() {
    let harness = Harness::new().await;
    let configuration = "/2015-03-31/functions/f/configuration";
    let rejected = || {
        Err(PrepareError::Rejected(
            "The module cannot be run: it is empty".to_owned(),
        ))
    };
    *harness.world.prepared.lock() = rejected();
    harness.post(FUNCTIONS, create("f")).await;
    let mut config = harness.get(configuration).await.json();
    while config["State"] == "Pending" {
        tokio::task::yield_now().await;
        config = harness.get(configuration).await.json();
    }
    assert_eq!(
        (&config["State"], &config["StateReasonCode"], &config["StateReason"]),
        (
            &json!("Failed"),
            &json!("InvalidZipFileException"),
            &json!("The module cannot be run: it is empty")
        )
    );
    let refused = harness.post("/2015-03-31/functions/f/invocations", json!({})).await;
    assert_eq!(refused.status, 409);
    assert!(
        refused.error().1.ends_with("in the following state: Failed"),
        "{:?}",
        refused.error()
    );

    // Another package may do better, and a later one worse.
    *harness.world.prepared.lock() = Ok(());
    let code = |content: &str| json!({ "ZipFile": base64(&zip(content)) });
    harness.put("/2015-03-31/functions/f/code", code("better")).await;
    harness.settled("f").await;
    *harness.world.prepared.lock() = rejected();
    harness.put("/2015-03-31/functions/f/code", code("worse")).await;
    let mut config = harness.get(configuration).await.json();
    while config["LastUpdateStatus"] == "InProgress" {
        tokio::task::yield_now().await;
        config = harness.get(configuration).await.json();
    }
    assert_eq!(
        (&config["State"], &config["LastUpdateStatus"]),
        (&json!("Active"), &json!("Failed"))
    );
    assert_eq!(config["LastUpdateStatusReasonCode"], "InvalidZipFileException");
}
