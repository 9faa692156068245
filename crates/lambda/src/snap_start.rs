//! Templates of published versions: the first is made before a version becomes Active, the others are the scheduler's.
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html>.

use std::sync::Arc;
use std::time::Duration;

use ephyra_core::compute::SnapStartError;
use ephyra_core::id::{FunctionName, Version};
use ephyra_core::invocation::FunctionError;
use ephyra_store::StoreError;
use serde::Deserialize;

use crate::lambda::Lambda;
use crate::record::VersionRecord;

/// How long a version waits for its first template beyond the time that initialising may take: for room, and turns.
/// Then it becomes Active without, and gets one as soon as there is room.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a function may initialise that nobody waits for; its own time-out when that is longer.
const INIT_SECONDS: u64 = 130;
/// How much of an error's text a version's reason shows.
const REASON_CHARACTERS: usize = 1000;

impl Lambda {
    /// Makes a version's first template and then the version usable, in the background.
    pub(crate) fn make_template_later(&self, name: &FunctionName, version: Version) {
        let Version::Number(number) = version else {
            return;
        };
        let (lambda, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            if let Err(failure) = lambda.make_template(&name, number).await {
                // The version stays Pending; the next start takes it up again.
                let failure = &failure as &dyn std::error::Error;
                tracing::error!(function = %name, version = number, error = failure, "a version could not be made usable");
            }
        });
    }

    async fn make_template(&self, name: &FunctionName, number: u64) -> Result<(), StoreError> {
        let inner = &self.inner;
        let Some(seen) = inner.ledger.version(name, number).await? else {
            return Ok(());
        };
        let seen = seen.record;
        if !seen.awaits_template() {
            return Ok(());
        }
        let revision = Arc::new(seen.to_revision(name, inner.place()));
        let limit = Duration::from_secs(INIT_SECONDS.max(seen.config.timeout_seconds.into()));
        let first = inner.deps.steer.first_template(Arc::clone(&revision));
        let made = tokio::time::timeout(limit + PATIENCE, first).await;

        let _turn = inner.turn(name.as_str()).await;
        let Some(mut version) = inner.ledger.version(name, number).await? else {
            return Ok(());
        };
        if version.record.revision != seen.revision || !version.record.awaits_template() {
            return Ok(());
        }
        match made {
            Ok(Ok(())) => version.record.settle(),
            // Deleted, then it is gone by now; or the platform goes down.
            Ok(Err(SnapStartError::Undone)) => return Ok(()),
            Ok(Err(SnapStartError::Init(error))) => {
                version.record.reject(code_of(&error), reason_of(&error));
                inner.deps.steer.set_snap_start(revision, false);
            }
            Ok(Err(error @ SnapStartError::Launch(_))) => {
                tracing::warn!(function = %name, version = number, %error, "a version becomes usable without a template");
                version.record.settle();
            }
            Err(_) => {
                tracing::warn!(function = %name, version = number, "a version becomes usable before its template is ready");
                version.record.settle();
            }
        }
        inner.ledger.update_version(name, number, &version).await?;
        inner.cache.forget(name.as_str());
        Ok(())
    }

    /// Has the scheduler keep a template of a version that has one.
    pub(crate) fn keep_template(&self, name: &FunctionName, version: &VersionRecord) {
        let revision = version.to_revision(name, self.inner.place());
        self.inner.deps.steer.set_snap_start(Arc::new(revision), true);
    }
}

/// As AWS tells apart what went wrong.
fn code_of(error: &FunctionError) -> &'static str {
    match error.error_type.as_str() {
        "Sandbox.Timedout" => "FunctionError.InitTimeout",
        "Runtime.InvalidEntrypoint" => "FunctionError.InvalidEntryPoint",
        "Runtime.OutOfMemory" => "FunctionError.InitResourceExhausted",
        other if other.starts_with("Extension.") => "FunctionError.ExtensionInitError",
        _ => "FunctionError.RuntimeInitError",
    }
}

/// What the function said, for people.
fn reason_of(error: &FunctionError) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Document {
        error_message: String,
    }
    let reason = match serde_json::from_slice::<Document>(&error.payload) {
        Ok(document) => format!("{}: {}", error.error_type, document.error_message),
        Err(_) => error.error_type.clone(),
    };
    reason.chars().take(REASON_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::harness::{Harness, base64, create, until, zip};

    async fn publish(harness: &Harness, name: &str) -> serde_json::Value {
        let mut request = create(name);
        request["SnapStart"] = json!({ "ApplyOn": "PublishedVersions" });
        request["Publish"] = json!(true);
        assert_eq!(harness.post("/2015-03-31/functions", request).await.status, 201);
        harness.settled(name).await
    }

    async fn version(harness: &Harness, name: &str, number: u32) -> serde_json::Value {
        let target = format!("/2015-03-31/functions/{name}/configuration?Qualifier={number}");
        harness.get(&target).await.json()
    }

    async fn settled(harness: &Harness, name: &str, number: u32) -> serde_json::Value {
        for _ in 0..1000 {
            let config = version(harness, name, number).await;
            if config["State"] != "Pending" {
                return config;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{name}:{number} stays Pending")
    }

    #[tokio::test]
    async fn a_version_is_active_with_its_template_and_latest_has_none() {
        let harness = Harness::new().await;
        let latest = publish(&harness, "f").await;
        assert_eq!(
            latest["SnapStart"],
            json!({ "ApplyOn": "PublishedVersions", "OptimizationStatus": "Off" })
        );
        let first = settled(&harness, "f", 1).await;
        assert_eq!(
            (&first["State"], &first["SnapStart"]["OptimizationStatus"]),
            (&json!("Active"), &json!("On"))
        );
        assert_eq!(harness.world.snap_started.lock().values().collect::<Vec<_>>(), [&true]);
        // Another, of other code, is Pending until its own template is there.
        let code = json!({ "ZipFile": base64(&zip("other")) });
        assert_eq!(harness.put("/2015-03-31/functions/f/code", code).await.status, 200);
        harness.settled("f").await;
        let second = harness.post("/2015-03-31/functions/f/versions", json!({})).await.json();
        assert_eq!(
            (&second["State"], &second["StateReasonCode"]),
            (&json!("Pending"), &json!("Creating"))
        );
        assert_eq!(settled(&harness, "f", 2).await["State"], "Active");
        assert_eq!(harness.world.snap_started.lock().len(), 2);
        // After a restart templates are made anew.
        let harness = harness.reopen().await;
        assert_eq!(harness.world.snap_started.lock().len(), 2);
        // Provisioned concurrency is another way to the same.
        let target = "/2019-09-30/functions/f/provisioned-concurrency?Qualifier=1";
        let refused = harness
            .put(target, json!({ "ProvisionedConcurrentExecutions": 1 }))
            .await;
        assert_eq!(refused.status, 400, "{refused:?}");
    }

    #[tokio::test]
    async fn a_version_that_cannot_initialise_has_failed_and_says_why() {
        let harness = Harness::new().await;
        let error = FunctionError {
            error_type: "Runtime.ImportModuleError".to_owned(),
            payload: Bytes::from_static(br#"{"errorMessage":"Unable to import module 'app'"}"#),
        };
        *harness.world.snap_start.lock() = Err(SnapStartError::Init(error));
        publish(&harness, "f").await;
        let failed = settled(&harness, "f", 1).await;
        assert_eq!(failed["State"], "Failed");
        assert_eq!(failed["StateReasonCode"], "FunctionError.RuntimeInitError");
        assert_eq!(
            failed["StateReason"],
            "Runtime.ImportModuleError: Unable to import module 'app'"
        );
        assert_eq!(failed["SnapStart"]["OptimizationStatus"], "Off");
        assert_eq!(harness.world.snap_started.lock().values().collect::<Vec<_>>(), [&false]);
        let refused = harness
            .post("/2015-03-31/functions/f/invocations?Qualifier=1", json!({}))
            .await;
        assert_eq!(refused.status, 409, "{refused:?}");
        // What failed is not tried again by a restart.
        let harness = harness.reopen().await;
        assert!(harness.world.snap_started.lock().is_empty());
    }

    #[tokio::test]
    async fn a_version_is_usable_when_the_platform_and_not_the_function_fails() {
        let harness = Harness::new().await;
        *harness.world.snap_start.lock() = Err(SnapStartError::Launch("no room".to_owned()));
        publish(&harness, "f").await;
        assert_eq!(settled(&harness, "f", 1).await["State"], "Active");
    }

    #[tokio::test]
    async fn an_interrupted_publication_is_taken_up_by_the_next_start() {
        let harness = Harness::new().await;
        *harness.world.snap_start.lock() = Err(SnapStartError::Undone);
        publish(&harness, "f").await;
        until(|| harness.world.snap_started.lock().len() == 1).await;
        assert_eq!(version(&harness, "f", 1).await["State"], "Pending");
        let harness = harness.reopen().await;
        assert_eq!(settled(&harness, "f", 1).await["State"], "Active");
    }
}
