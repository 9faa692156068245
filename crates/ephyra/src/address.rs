//! Addresses of function URLs and HTTP APIs, as this machine can reach them: names below `localhost` do not resolve everywhere, so
//! that each address has a second form, a path below the platform's own.

use std::time::Duration;

use ephyra_wire::client::Endpoint;

use crate::output::{Colour, Output};

/// How long a name may take to resolve.
const RESOLVE_WITHIN: Duration = Duration::from_secs(2);

/// The address of a function URL or of an HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// As the platform tells it.
    pub(crate) told: String,
    /// The same below the platform's own address.
    pub(crate) by_path: String,
}

impl Address {
    /// The address of a function URL that the platform at `endpoint` tells.
    pub(crate) fn of_url(function_url: &str, endpoint: &Endpoint) -> Self {
        let by_path = match id(function_url) {
            Some(id) => format!("{endpoint}/_url/{id}/"),
            // It is one already.
            None => function_url.to_owned(),
        };
        Self {
            told: function_url.to_owned(),
            by_path,
        }
    }

    /// The address of an API's paths; the platform tells it without the slash.
    pub(crate) fn of_api(api_endpoint: &str, api_id: &str, endpoint: &Endpoint) -> Self {
        Self {
            told: format!("{}/", api_endpoint.trim_end_matches('/')),
            by_path: format!("{endpoint}/_api/{api_id}/"),
        }
    }

    /// Both forms for a person; the one that works from here first.
    pub(crate) async fn shown(&self, output: &Output) -> String {
        let usable = self.usable().await;
        let other = if usable == self.told { &self.by_path } else { &self.told };
        if usable == other {
            return usable.to_owned();
        }
        format!("{usable}\n{}", output.paint(Colour::Dim, &format!("or {other}")))
    }

    /// The form that works from here.
    pub(crate) async fn usable(&self) -> &str {
        if resolves(&self.told).await {
            &self.told
        } else {
            &self.by_path
        }
    }
}

/// The id in the name of a function URL.
fn id(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let (id, domain) = rest.split_once('.')?;
    domain.starts_with("lambda-url.").then_some(id)
}

/// Whether this machine finds the host of a URL.
async fn resolves(url: &str) -> bool {
    let Ok(url) = url.parse::<http::Uri>() else {
        return false;
    };
    let Some(host) = url.host() else {
        return false;
    };
    let found = tokio::net::lookup_host((host.trim_matches(['[', ']']), 80));
    match tokio::time::timeout(RESOLVE_WITHIN, found).await {
        Ok(Ok(mut found)) => found.next().is_some(),
        Ok(Err(_)) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_url_has_a_path_below_the_platforms_own_address() {
        let endpoint: Endpoint = "http://10.0.0.5:4566".parse().unwrap();
        let by_path = |url: &str| Address::of_url(url, &endpoint).by_path;
        assert_eq!(
            by_path("http://abc.lambda-url.us-east-1.localhost:4566/"),
            "http://10.0.0.5:4566/_url/abc/"
        );
        let api = Address::of_api("http://a1.execute-api.us-east-1.localhost:4566", "a1", &endpoint);
        assert_eq!(api.told, "http://a1.execute-api.us-east-1.localhost:4566/");
        assert_eq!(api.by_path, "http://10.0.0.5:4566/_api/a1/");
        assert_eq!(
            by_path("http://10.0.0.5:4566/_url/abc/"),
            "http://10.0.0.5:4566/_url/abc/"
        );
    }

    #[tokio::test]
    async fn numbers_always_resolve_and_nonsense_never() {
        assert!(resolves("http://127.0.0.1:4566/_url/abc/").await);
        assert!(resolves("http://[::1]:4566/_url/abc/").await);
        assert!(!resolves("http://name.invalid/").await);
        assert!(!resolves("nonsense").await);
    }
}
