//! Which service a request is for.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;

use crate::error::ApiError;
use crate::service::Service;
use crate::sigv4::Parts;

/// How much of a client's text an error repeats, in characters.
const QUOTED_CHARACTERS: usize = 64;

/// By what a request shows that it is for a service when its signature does not say so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints {
    /// Beginnings of `X-Amz-Target`, such as `DynamoDB_20120810.`.
    pub targets: &'static [&'static str],
    /// Beginnings of paths, such as `/2015-03-31/functions`.
    pub paths: &'static [&'static str],
}

/// The services that there are.
#[derive(Clone, Default)]
pub struct Services {
    entries: Vec<(Arc<dyn Service>, Hints)>,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.entries.iter().map(|(service, _)| service.signing_name());
        f.debug_list().entries(names).finish()
    }
}

impl Services {
    /// Adds a service.
    pub fn add(&mut self, service: Arc<dyn Service>, hints: Hints) {
        self.entries.push((service, hints));
    }

    /// The service of a request that is signed for `scope`. Where there is none of that name, the one that the
    /// target, the host or the path mean, so that the client is told which service it should have signed for.
    pub(super) fn find(&self, scope: &str, parts: &Parts<'_>) -> Result<&Arc<dyn Service>, ApiError> {
        self.named(scope)
            .or_else(|| self.meant(parts))
            .ok_or_else(|| unknown_service(scope))
    }

    fn named(&self, name: &str) -> Option<&Arc<dyn Service>> {
        let mut services = self.entries.iter().map(|(service, _)| service);
        services.find(|service| service.signing_name() == name)
    }

    fn meant(&self, parts: &Parts<'_>) -> Option<&Arc<dyn Service>> {
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let begins = |text: &str, beginnings: &[&str]| beginnings.iter().any(|beginning| text.starts_with(beginning));
        let by = |is_meant: &dyn Fn(&Hints) -> bool| {
            let found = self.entries.iter().find(|(_, hints)| is_meant(hints));
            found.map(|(service, _)| service)
        };
        header("x-amz-target")
            .and_then(|target| by(&|hints| begins(target, hints.targets)))
            .or_else(|| {
                let host = header("host").or(parts.authority)?;
                host.split_once('.').and_then(|(label, _)| self.named(label))
            })
            .or_else(|| by(&|hints| begins(parts.path, hints.paths)))
    }
}

fn unknown_service(name: &str) -> ApiError {
    let name: String = name.chars().take(QUOTED_CHARACTERS).collect();
    let message = format!("The service '{name}' is not served here.");
    ApiError::new(StatusCode::NOT_IMPLEMENTED, "UnknownServiceException", message)
}
