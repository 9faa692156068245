//! How a function is reached over HTTP: its URL and its routes, as its settings want them.

use serde_json::{Value, json};

use super::{api, url};
use crate::address::Address;
use crate::endpoint::Platform;
use crate::output::Output;
use crate::project::Project;

/// A function's addresses.
#[derive(Debug, Default)]
pub(super) struct Entrances {
    /// Of its URL.
    pub(super) url: Option<Address>,
    /// Of the API that its routes make.
    pub(super) api: Option<Address>,
}

/// Makes the entrances of a function, whose configuration this is, what the project wants.
pub(super) async fn apply(platform: &Platform, project: &Project, function: &Value) -> anyhow::Result<Entrances> {
    let url = url::apply(platform, &project.name, project.url.as_ref()).await?;
    let api = api::apply(platform, function, &project.routes()?).await?;
    Ok(Entrances {
        url: url.map(|config| url::address(platform, &config)).transpose()?,
        api: api.map(|api| api::address(platform, &api)).transpose()?,
    })
}

impl Entrances {
    /// Adds the addresses to a function's document.
    pub(super) fn describe(&self, function: &mut Value) {
        for (name, address) in [("FunctionUrl", &self.url), ("ApiEndpoint", &self.api)] {
            if let Some(address) = address {
                function[name] = json!(address.told);
                function[format!("{name}Path")] = json!(address.by_path);
            }
        }
    }

    /// The addresses for a person, `None` when there are none.
    pub(super) async fn shown(&self, output: &Output) -> Option<String> {
        let mut lines = Vec::new();
        for address in [&self.url, &self.api].into_iter().flatten() {
            lines.push(address.shown(output).await);
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}
