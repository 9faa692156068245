//! Which operation a method and a path name.

use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use crate::error::ApiError;

/// How many segments a path may have.
const MAX_SEGMENTS: usize = 32;
/// How much of a path an error repeats, in characters.
const QUOTED_CHARACTERS: usize = 256;

/// Operations by method and path template, such as `/2015-03-31/functions/{FunctionName}/invocations`.
///
/// A label stands for one segment that is not empty; `{Name+}` at a template's end for all that follow. A literal
/// segment wins over a label. A slash at the end is ignored on both sides, as AWS does.
///
/// Segments `.` and `..` and empty ones match nothing: signatures cover the path without them, so that a path that
/// holds one could otherwise mean another operation than the one that was signed.
#[derive(Clone, Debug)]
pub struct Router<O> {
    routes: Vec<Route<O>>,
}

#[derive(Clone, Debug)]
struct Route<O> {
    method: Method,
    segments: Vec<Segment>,
    operation: O,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(&'static str),
    Label(&'static str),
    Greedy(&'static str),
}

/// An operation and what its path holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match<O> {
    /// The operation.
    pub operation: O,
    /// The labels of its path.
    pub labels: Labels,
}

/// The labels of a path, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<(&'static str, String)>);

impl Labels {
    /// The value of a label; empty when the template has no such label.
    pub fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(label, _)| *label == name);
        found.map_or("", |(_, value)| value)
    }

    /// Takes the value of a label out; empty when the template has no such label.
    pub fn take(&mut self, name: &str) -> String {
        let found = self.0.iter_mut().find(|(label, _)| *label == name);
        found.map(|(_, value)| std::mem::take(value)).unwrap_or_default()
    }
}

impl<O: Clone> Router<O> {
    /// A router of `routes`: method, template, operation.
    pub fn new(routes: impl IntoIterator<Item = (Method, &'static str, O)>) -> Self {
        let mut routes: Vec<Route<O>> = routes
            .into_iter()
            .map(|(method, template, operation)| Route {
                method,
                segments: split(template).map(Segment::of).collect(),
                operation,
            })
            .collect();
        // `Segment` orders literals before labels, so the first route that matches is the most literal one.
        routes.sort_by(|a, b| a.segments.cmp(&b.segments));
        Self { routes }
    }

    /// The operation of a request; `path` is still percent-encoded.
    pub fn find(&self, method: &Method, path: &str) -> Result<Match<O>, ApiError> {
        let unknown = || {
            let path: String = path.chars().take(QUOTED_CHARACTERS).collect();
            let message = format!("{method} {path} is not an operation of this service.");
            ApiError::new(StatusCode::NOT_FOUND, "UnknownOperationException", message)
        };
        let mut segments = [""; MAX_SEGMENTS];
        let mut count = 0;
        for segment in split(path) {
            *segments.get_mut(count).ok_or_else(unknown)? = segment;
            count += 1;
        }
        let segments = &segments[..count];
        if segments.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
            return Err(unknown());
        }
        let is_found = |route: &&Route<O>| route.method == method && route.matches(segments);
        let route = self.routes.iter().find(is_found).ok_or_else(unknown)?;
        let labels = route.labels(segments).ok_or_else(|| {
            let message = "A label of the path is not UTF-8 when decoded.";
            ApiError::new(StatusCode::BAD_REQUEST, "SerializationException", message)
        })?;
        Ok(Match {
            operation: route.operation.clone(),
            labels,
        })
    }
}

impl<O> Route<O> {
    fn matches(&self, path: &[&str]) -> bool {
        let is_greedy = matches!(self.segments.last(), Some(Segment::Greedy(_)));
        let is_long_enough = if is_greedy {
            path.len() >= self.segments.len()
        } else {
            path.len() == self.segments.len()
        };
        is_long_enough
            && self.segments.iter().zip(path).all(|(segment, text)| match segment {
                Segment::Literal(literal) => literal == text,
                Segment::Label(_) | Segment::Greedy(_) => true,
            })
    }

    /// None when a label is no text.
    fn labels(&self, path: &[&str]) -> Option<Labels> {
        let mut labels = Vec::with_capacity(2);
        for (index, segment) in self.segments.iter().enumerate() {
            match segment {
                Segment::Literal(_) => {}
                Segment::Label(name) => labels.push((*name, decode(path[index])?)),
                Segment::Greedy(name) => labels.push((*name, decode(&path[index..].join("/"))?)),
            }
        }
        Some(Labels(labels))
    }
}

impl Segment {
    fn of(text: &'static str) -> Self {
        match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            None => Self::Literal(text),
            Some(name) => name.strip_suffix('+').map_or(Self::Label(name), Self::Greedy),
        }
    }
}

/// Segments without the slash at either end.
fn split(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_suffix('/').unwrap_or(path).split('/')
}

fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn router() -> Router<&'static str> {
        Router::new([
            (Method::GET, "/2015-03-31/functions/", "ListFunctions"),
            (Method::POST, "/2015-03-31/functions", "CreateFunction"),
            (Method::GET, "/2015-03-31/functions/{FunctionName}", "GetFunction"),
            (
                Method::POST,
                "/2015-03-31/functions/{FunctionName}/invocations",
                "Invoke",
            ),
            (Method::GET, "/2017-03-31/tags/{Resource}", "ListTags"),
            (Method::GET, "/2018-10-31/layers/{LayerName}", "GetLayer"),
            (Method::GET, "/2018-10-31/layers/special", "Special"),
            (Method::GET, "/keys/{Bucket}/{Key+}", "GetObject"),
        ])
    }

    #[track_caller]
    fn check(method: Method, path: &str, operation: &str, labels: &[(&str, &str)]) {
        let found = router().find(&method, path).unwrap();
        assert_eq!(found.operation, operation);
        for (name, value) in labels {
            assert_eq!(found.labels.get(name), *value);
        }
    }

    #[test]
    fn operations_are_found_by_method_and_path() {
        check(Method::GET, "/2015-03-31/functions/", "ListFunctions", &[]);
        check(Method::GET, "/2015-03-31/functions", "ListFunctions", &[]);
        check(Method::POST, "/2015-03-31/functions/", "CreateFunction", &[]);
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST";
        for path in [arn.to_owned(), arn.replace(':', "%3A").replace('$', "%24")] {
            let path = format!("/2015-03-31/functions/{path}/invocations");
            check(Method::POST, &path, "Invoke", &[("FunctionName", arn)]);
        }
        check(
            Method::GET,
            "/2017-03-31/tags/a%2Fb%20c/",
            "ListTags",
            &[("Resource", "a/b c")],
        );
        check(Method::GET, "/2018-10-31/layers/special", "Special", &[]);
        check(
            Method::GET,
            "/2018-10-31/layers/other",
            "GetLayer",
            &[("LayerName", "other")],
        );
        check(
            Method::GET,
            "/keys/b/x/y/z",
            "GetObject",
            &[("Bucket", "b"), ("Key", "x/y/z")],
        );
    }

    #[test]
    fn what_is_not_there_is_said_to_be_unknown() {
        for path in [
            "/",
            "",
            "/2015-03-31/functions//invocations",
            "/2015-03-31/functions/x/../f",
            "/2015-03-31/functions/..",
            "/2015-03-31/functions/.",
            "/2015-03-31/functions/f//",
            "/keys/b",
            &"/a".repeat(1000),
        ] {
            let error = router().find(&Method::GET, path).unwrap_err();
            assert_eq!(
                (error.status, error.code),
                (StatusCode::NOT_FOUND, "UnknownOperationException"),
                "{path}"
            );
        }
        assert!(router().find(&Method::DELETE, "/2015-03-31/functions/").is_err());
        let error = router().find(&Method::GET, "/2017-03-31/tags/%ff").unwrap_err();
        assert_eq!(error.code, "SerializationException");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_label_comes_back_as_it_was_encoded(name in "\\PC{1,20}", junk in "\\PC{0,60}") {
            let encoded: String =
                percent_encoding::percent_encode(name.as_bytes(), percent_encoding::NON_ALPHANUMERIC).collect();
            let found = router().find(&Method::GET, &format!("/2015-03-31/functions/{encoded}")).unwrap();
            prop_assert_eq!(found.labels.get("FunctionName"), name);
            let _ = router().find(&Method::GET, &junk);
        }
    }
}
