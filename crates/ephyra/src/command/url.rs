//! A function's URL as an `ephyra.toml` wants it: made, changed or deleted, with the permission that opens it.

use anyhow::Context as _;
use ephyra_core::url::UrlAuth;
use serde_json::{Value, json};

use crate::address::Address;
use crate::endpoint::{Platform, label};
use crate::project::{Url, UrlTable};

/// The statement that lets everybody call a URL; AWS's console calls it so, too.
const STATEMENT: &str = "FunctionURLAllowPublicAccess";

/// The path of a function's own operations.
pub(super) fn function_path(name: &str) -> String {
    format!("/2015-03-31/functions/{}", label(name))
}

fn path(name: &str) -> String {
    format!("/2021-10-31/functions/{}/url", label(name))
}

/// The configuration of a function's URL, `None` when there is none.
pub(super) async fn find(platform: &Platform, name: &str, qualifier: Option<&str>) -> anyhow::Result<Option<Value>> {
    let query: Vec<_> = qualifier
        .map(|qualifier| ("Qualifier", qualifier.to_owned()))
        .into_iter()
        .collect();
    platform.lambda.find_document(&path(name), &query).await
}

/// The address in a configuration.
pub(super) fn address(platform: &Platform, config: &Value) -> anyhow::Result<Address> {
    let url = config["FunctionUrl"]
        .as_str()
        .context("the platform does not say the URL's address")?;
    Ok(Address::of_url(url, platform.endpoint()))
}

/// Makes a function's URL what is wanted; returns its configuration, `None` when there is none now.
pub(super) async fn apply(platform: &Platform, name: &str, url: Option<&Url>) -> anyhow::Result<Option<Value>> {
    let now = find(platform, name, None).await?;
    let Some(url) = url else {
        return Ok(now);
    };
    let Some(wanted) = url.wanted() else {
        if now.is_some() {
            platform.lambda.delete(&path(name)).await?;
            close(platform, name).await?;
        }
        return Ok(None);
    };
    // Before it is there, so that it never refuses whom it is made for; and closed before it takes signed requests alone.
    match wanted.auth {
        UrlAuth::None => open(platform, name).await?,
        UrlAuth::AwsIam => close(platform, name).await?,
    }
    let document = document(&wanted);
    let config = match now {
        None => platform.lambda.post(&path(name), &document).await?,
        Some(now) if is_like(&now, &document) => now,
        Some(_) => platform.lambda.put(&path(name), &document).await?,
    };
    Ok(Some(config))
}

fn document(wanted: &UrlTable) -> Value {
    let cors = wanted.cors.as_ref().map(|cors| cors.to_cors()).unwrap_or_default();
    json!({ "AuthType": wanted.auth, "InvokeMode": wanted.invoke_mode, "Cors": cors })
}

/// Whether a URL is as wanted. One without settings for other origins does not show them.
fn is_like(now: &Value, wanted: &Value) -> bool {
    let empty = json!({});
    ["AuthType", "InvokeMode"]
        .iter()
        .all(|member| now[member] == wanted[member])
        && now.get("Cors").unwrap_or(&empty) == &wanted["Cors"]
}

async fn has_statement(platform: &Platform, name: &str) -> anyhow::Result<bool> {
    let path = format!("{}/policy", function_path(name));
    let Some(found) = platform.lambda.find_document(&path, &[]).await? else {
        return Ok(false);
    };
    let policy: Value = serde_json::from_str(found["Policy"].as_str().unwrap_or_default())
        .context("the platform's policy is not JSON")?;
    let statements = policy["Statement"].as_array().into_iter().flatten();
    Ok(statements.into_iter().any(|statement| statement["Sid"] == STATEMENT))
}

async fn open(platform: &Platform, name: &str) -> anyhow::Result<()> {
    if !has_statement(platform, name).await? {
        let statement = json!({
            "StatementId": STATEMENT,
            "Action": "lambda:InvokeFunctionUrl",
            "Principal": "*",
            "FunctionUrlAuthType": "NONE",
        });
        platform
            .lambda
            .post(&format!("{}/policy", function_path(name)), &statement)
            .await?;
    }
    Ok(())
}

async fn close(platform: &Platform, name: &str) -> anyhow::Result<()> {
    let path = format!("{}/policy/{STATEMENT}", function_path(name));
    platform.lambda.delete_if_there(&path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_as_wanted_is_left_alone() {
        let plain = document(&Url::Is(true).wanted().unwrap());
        let shown = json!({ "AuthType": "NONE", "InvokeMode": "BUFFERED", "FunctionUrl": "http://x/" });
        assert!(is_like(&shown, &plain));
        for change in [
            json!({ "AuthType": "AWS_IAM" }),
            json!({ "InvokeMode": "RESPONSE_STREAM" }),
            json!({ "Cors": { "MaxAge": 1 } }),
        ] {
            let mut changed = shown.clone();
            for (member, value) in change.as_object().unwrap() {
                changed[member] = value.clone();
            }
            assert!(!is_like(&changed, &plain), "{changed}");
        }
    }
}
