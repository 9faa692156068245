//! What fuzzing feeds: what a person's documents and clients' addresses hold, with bytes that may be anything. A target panics where a
//! parser breaks its promise.

use std::cell::Cell;

use crate::api::live::route::key::RouteKey;
use crate::api::openapi::{self, BasePath};

/// A target, with its name.
pub type Target = (&'static str, fn(&[u8]));

/// The targets.
pub const TARGETS: &[Target] = &[
    ("gateway-openapi", documents),
    ("gateway-yaml", yaml),
    ("gateway-route-keys", route_keys),
];

/// What becomes an API has routes that lead to what is there, and none that was meant to be closed is open.
fn documents(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(document) = openapi::read(text) else {
        return;
    };
    for base_path in [BasePath::Ignore, BasePath::Prepend, BasePath::Split] {
        let count = Cell::new(0);
        let new_id = |length| {
            count.set(count.get() + 1);
            format!("{:0length$}", count.get())
        };
        let Ok(imported) = openapi::import(&document, base_path, &new_id) else {
            continue;
        };
        let parts = imported.parts;
        for route in &parts.routes {
            assert!(route.route_key.parse::<RouteKey>().is_ok());
            let has = |id: &str| parts.integrations.iter().any(|one| one.integration_id == id);
            assert!(route.target.is_none() || route.integration_id().is_some_and(has));
            let known = |id: &String| parts.authorizers.iter().any(|one| one.authorizer_id == *id);
            assert!(route.authorizer_id.as_ref().is_none_or(known));
        }
    }
}

/// What was read is written and read again as the same.
fn yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(document) = openapi::from_yaml(text) {
        let again = openapi::from_yaml(&openapi::to_yaml(&document));
        assert_eq!(again.ok(), Some(document));
    }
}

fn route_keys(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(RouteKey::Path { segments, .. }) = text.parse()
    {
        assert!(segments.len() <= text.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn targets_hold(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "(openapi: 3.0.1\ninfo: \\{title: x\\}\n)?[ -~\n]{0,100}") {
            for (_, target) in TARGETS {
                target(&bytes);
                target(text.as_bytes());
            }
        }
    }
}
