//! Route keys: `GET /pets/{id}`, `ANY /{proxy+}`, `$default`.

use std::str::FromStr;

use http::Method;

/// The most segments of a route's path; AWS's longest path has no room for more that mean anything.
const MAX_SEGMENTS: usize = 128;

/// A route's key, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteKey {
    /// `$default`: whatever no other route takes.
    Default,
    /// A method and a path.
    Path {
        /// The method; `None` is `ANY`.
        method: Option<Method>,
        /// The path between its slashes; none is `/`.
        segments: Vec<Segment>,
    },
}

/// What stands between two slashes of a route's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Itself.
    Literal(String),
    /// `{name}`: any one segment that is not empty.
    Parameter(String),
    /// `{name+}`: all that follows, at least one character. Comes last.
    Greedy(String),
}

/// Why a text is no route key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteKeyError {
    /// There is no method and path.
    #[error("a route key is $default, or a method and a path")]
    Form,
    /// The method is not one that routes have.
    #[error("the method of a route is ANY, DELETE, GET, HEAD, OPTIONS, PATCH, POST or PUT")]
    Method,
    /// The path does not begin with a slash, or has too many segments.
    #[error("the path of a route begins with a slash and has at most 128 segments")]
    Path,
    /// A variable is not closed, has no name or one with other characters, or comes twice.
    #[error("a path variable is one whole segment with a name of its own: letters, digits and ._-")]
    Variable,
    /// `{name+}` is not at the end.
    #[error("a greedy path variable comes last")]
    Greedy,
}

impl FromStr for RouteKey {
    type Err = RouteKeyError;

    fn from_str(text: &str) -> Result<Self, RouteKeyError> {
        if text == "$default" {
            return Ok(Self::Default);
        }
        let (method, path) = text.split_once(' ').ok_or(RouteKeyError::Form)?;
        let method = match method {
            "ANY" => None,
            "DELETE" => Some(Method::DELETE),
            "GET" => Some(Method::GET),
            "HEAD" => Some(Method::HEAD),
            "OPTIONS" => Some(Method::OPTIONS),
            "PATCH" => Some(Method::PATCH),
            "POST" => Some(Method::POST),
            "PUT" => Some(Method::PUT),
            _ => return Err(RouteKeyError::Method),
        };
        let segments = segments(path)?;
        Ok(Self::Path { method, segments })
    }
}

/// Reads a route's path.
fn segments(path: &str) -> Result<Vec<Segment>, RouteKeyError> {
    let rest = path.strip_prefix('/').ok_or(RouteKeyError::Path)?;
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let segments = rest.split('/').map(segment).collect::<Result<Vec<_>, _>>()?;
    if segments.len() > MAX_SEGMENTS {
        return Err(RouteKeyError::Path);
    }
    let ends_early = segments.iter().rev().skip(1).any(|s| matches!(s, Segment::Greedy(_)));
    if ends_early {
        return Err(RouteKeyError::Greedy);
    }
    let mut names: Vec<&str> = segments.iter().filter_map(Segment::name).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(RouteKeyError::Variable);
    }
    Ok(segments)
}

fn segment(text: &str) -> Result<Segment, RouteKeyError> {
    let Some(inner) = text.strip_prefix('{') else {
        let is_plain = !text.contains(['{', '}']) && !text.bytes().any(|byte| byte.is_ascii_control());
        return is_plain
            .then(|| Segment::Literal(text.to_owned()))
            .ok_or(RouteKeyError::Variable);
    };
    let inner = inner.strip_suffix('}').ok_or(RouteKeyError::Variable)?;
    let (name, is_greedy) = inner.strip_suffix('+').map_or((inner, false), |name| (name, true));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err(RouteKeyError::Variable);
    }
    let name = name.to_owned();
    Ok(if is_greedy {
        Segment::Greedy(name)
    } else {
        Segment::Parameter(name)
    })
}

impl Segment {
    /// The name of a variable.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Parameter(name) | Self::Greedy(name) => Some(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn refused(text: &str, why: RouteKeyError) {
        assert_eq!(text.parse::<RouteKey>(), Err(why), "{text}");
    }

    #[test]
    fn keys_are_read() {
        assert_eq!("$default".parse(), Ok(RouteKey::Default));
        let expected = RouteKey::Path {
            method: Some(Method::GET),
            segments: vec![
                Segment::Literal("pets".into()),
                Segment::Parameter("id".into()),
                Segment::Greedy("rest".into()),
            ],
        };
        assert_eq!("GET /pets/{id}/{rest+}".parse(), Ok(expected));
        let root = RouteKey::Path {
            method: None,
            segments: Vec::new(),
        };
        assert_eq!("ANY /".parse(), Ok(root));
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        refused("", RouteKeyError::Form);
        refused("GET", RouteKeyError::Form);
        refused("TRACE /", RouteKeyError::Method);
        refused("get /", RouteKeyError::Method);
        refused("GET pets", RouteKeyError::Path);
        refused("GET /{a", RouteKeyError::Variable);
        refused("GET /{}", RouteKeyError::Variable);
        refused("GET /x{a}", RouteKeyError::Variable);
        refused("GET /{a}x", RouteKeyError::Variable);
        refused("GET /{a}/{a}", RouteKeyError::Variable);
        refused("GET /{a+}/b", RouteKeyError::Greedy);
        refused(&format!("GET {}", "/a".repeat(129)), RouteKeyError::Path);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn no_text_makes_it_panic_and_what_is_read_is_bounded(text in "(GET |ANY |\\$default|POST )?[/{}a-z+. %ä]{0,40}") {
            if let Ok(RouteKey::Path { segments, .. }) = text.parse::<RouteKey>() {
                prop_assert!(segments.len() <= MAX_SEGMENTS);
            }
        }
    }
}
