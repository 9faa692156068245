//! Parameter mapping: how requests are changed on their way to a back end, and answers on theirs to the client.
//!
//! Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-parameter-mapping.html>.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::api::live::expression::{ExpressionError, Sources, Template};
use crate::request::{HttpRequest, decode_query, is_hop_by_hop};

/// What a part of a path or query may have in it as it is (RFC 3986, 2.3).
pub const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What a path may have in it besides (RFC 3986, 3.3).
const PATH: &AsciiSet = &UNRESERVED
    .remove(b'/')
    .remove(b'%')
    .remove(b':')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=');

/// Changes, compiled once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    changes: Vec<Change>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Header(HeaderName, How),
    Query(String, How),
    Path(Template),
    Status(Template),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    Append(Template),
    Overwrite(Template),
    Remove,
}

/// Why parameters are no mapping.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// The place is none that can be changed.
    #[error("{0:?} is not a parameter that can be mapped")]
    Place(String),
    /// The header is the platform's to set.
    #[error("the header {0} cannot be mapped")]
    Reserved(HeaderName),
    /// The value means nothing.
    #[error("a mapped value cannot be read")]
    Value(#[from] ExpressionError),
}

/// A value came out that cannot stand where it is to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a mapped value cannot stand in a {0}")]
pub struct Unfit(&'static str);

/// A request as the back end is to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The headers.
    pub headers: HeaderMap,
    /// The query, encoded.
    pub query: String,
    /// The path that was put in the place of the request's, encoded.
    pub path: Option<String>,
}

impl Mapping {
    /// Compiles the changes of requests.
    pub fn of_requests(parameters: &BTreeMap<String, String>) -> Result<Self, MappingError> {
        Self::new(parameters, true)
    }

    /// Compiles the changes of answers.
    pub fn of_answers(parameters: &BTreeMap<String, String>) -> Result<Self, MappingError> {
        Self::new(parameters, false)
    }

    fn new(parameters: &BTreeMap<String, String>, is_request: bool) -> Result<Self, MappingError> {
        let changes = parameters.iter().map(|(place, value)| change(place, value, is_request));
        Ok(Self {
            changes: changes.collect::<Result<_, _>>()?,
        })
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// A request as it is to go on.
    pub fn request(&self, request: &HttpRequest<'_>, sources: &Sources<'_>) -> Result<Outgoing, Unfit> {
        let mut outgoing = Outgoing {
            headers: request.headers.clone(),
            query: request.query.to_owned(),
            path: None,
        };
        for change in &self.changes {
            match change {
                Change::Header(name, how) => change_header(&mut outgoing.headers, name, how, sources)?,
                Change::Query(name, how) => change_query(&mut outgoing.query, name, how, sources),
                Change::Path(template) => {
                    outgoing.path = template.render(sources).map(|path| encode_path(&path));
                }
                Change::Status(_) => {}
            }
        }
        Ok(outgoing)
    }

    /// Changes an answer.
    pub fn answer(&self, status: &mut StatusCode, headers: &mut HeaderMap, sources: &Sources<'_>) -> Result<(), Unfit> {
        for change in &self.changes {
            match change {
                Change::Header(name, how) => change_header(headers, name, how, sources)?,
                Change::Status(template) => {
                    let text = template.render(sources).unwrap_or_default();
                    let code = text.parse::<u16>().ok().filter(|code| (200..600).contains(code));
                    *status = code
                        .and_then(|code| StatusCode::from_u16(code).ok())
                        .ok_or(Unfit("status"))?;
                }
                Change::Query(..) | Change::Path(_) => {}
            }
        }
        Ok(())
    }
}

/// Reads one change, such as `append:header.x-a`.
fn change(place: &str, value: &str, is_request: bool) -> Result<Change, MappingError> {
    let unknown = || MappingError::Place(place.chars().take(140).collect());
    let (deed, what) = place.split_once(':').ok_or_else(unknown)?;
    match (deed, what, is_request) {
        ("overwrite", "path", true) => return Ok(Change::Path(Template::parse(value)?)),
        ("overwrite", "statuscode", false) => return Ok(Change::Status(Template::parse(value)?)),
        _ => {}
    }
    let how = match deed {
        "append" => How::Append(Template::parse(value)?),
        "overwrite" => How::Overwrite(Template::parse(value)?),
        "remove" => How::Remove,
        _ => return Err(unknown()),
    };
    match what.split_once('.') {
        Some(("header", name)) => {
            let name = HeaderName::try_from(name).map_err(|_| unknown())?;
            if is_reserved(&name) {
                Err(MappingError::Reserved(name))
            } else {
                Ok(Change::Header(name, how))
            }
        }
        Some(("querystring", name)) if is_request && !name.is_empty() => Ok(Change::Query(name.to_owned(), how)),
        _ => Err(unknown()),
    }
}

/// Headers that are the platform's to set, as AWS lists them.
pub fn is_reserved(name: &HeaderName) -> bool {
    let name_text = name.as_str();
    ["access-control-", "apigw-", "x-amz-", "x-amzn-", "x-forwarded-"]
        .iter()
        .any(|start| name_text.starts_with(start))
        || matches!(
            name_text,
            "authorization"
                | "content-encoding"
                | "content-length"
                | "content-location"
                | "forwarded"
                | "host"
                | "origin"
                | "proxy-authenticate"
                | "proxy-authorization"
                | "trailers"
                | "via"
        )
        || is_hop_by_hop(name)
}

fn change_header(headers: &mut HeaderMap, name: &HeaderName, how: &How, sources: &Sources<'_>) -> Result<(), Unfit> {
    let value = |template: &Template| {
        let text = template.render(sources);
        text.map(|text| HeaderValue::try_from(text.as_ref()).map_err(|_| Unfit("header")))
            .transpose()
    };
    match how {
        How::Append(template) => {
            if let Some(value) = value(template)? {
                headers.try_append(name, value).map_err(|_| Unfit("header"))?;
            }
        }
        // Without a value it is gone, so that a client cannot say what only the mapping may.
        How::Overwrite(template) => match value(template)? {
            Some(value) => drop(headers.try_insert(name, value).map_err(|_| Unfit("header"))?),
            None => drop(headers.remove(name)),
        },
        How::Remove => drop(headers.remove(name)),
    }
    Ok(())
}

fn change_query(query: &mut String, name: &str, how: &How, sources: &Sources<'_>) {
    if !matches!(how, How::Append(_)) {
        let is_other = |pair: &&str| {
            let key = pair.split_once('=').map_or(*pair, |(key, _)| key);
            !pair.is_empty() && decode_query(key) != name
        };
        *query = query.split('&').filter(is_other).collect::<Vec<_>>().join("&");
    }
    let (How::Append(template) | How::Overwrite(template)) = how else {
        return;
    };
    if let Some(value) = template.render(sources) {
        if !query.is_empty() {
            query.push('&');
        }
        query.extend(utf8_percent_encode(name, UNRESERVED));
        query.push('=');
        query.extend(utf8_percent_encode(&value, UNRESERVED));
    }
}

/// A path that is one: with a slash before it, and nothing in it that would end it.
fn encode_path(path: &str) -> String {
    let path: Cow<'_, str> = utf8_percent_encode(path, PATH).into();
    if path.starts_with('/') {
        path.into_owned()
    } else {
        format!("/{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::live::record::{Identity, Record};
    use bytes::Bytes;
    use ephyra_wire::front::Peer;
    use http::{Method, Version};
    use proptest::prelude::*;

    fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn with_sources<T>(query: &str, headers: &HeaderMap, body: &Bytes, then: impl FnOnce(&Sources<'_>) -> T) -> T {
        let request = HttpRequest {
            method: &Method::POST,
            path: "/dev/pets/7",
            query,
            version: Version::HTTP_11,
            headers,
            authority: "a.example",
            body,
            peer: Peer {
                address: "127.0.0.1:9".parse().expect("an address"),
                is_tls: false,
            },
        };
        let record = Record {
            request,
            account_id: "000000000000",
            api_id: "abc",
            domain: ("a.example", "a"),
            base_path: None,
            stage: "dev",
            route_key: None,
            request_id: "id=",
            time_ms: 0,
            identity: Identity::Unknown,
            authorizer_error: None,
            error: None,
            integration_error: None,
            integration_status: None,
            integration_latency: None,
            status: None,
            response_length: 0,
            response_latency: std::time::Duration::ZERO,
        };
        let variables = map([("v", "w")]);
        let parameters = [("id".into(), "7 8".into())];
        let (answer, text) = (headers.clone(), br#"{"code":418,"deep":[{"x":"y"}]}"#);
        let response = Some((&answer, &text[..]));
        let path = "/pets/7%208";
        then(&Sources {
            record: &record,
            path,
            parameters: &parameters,
            variables: &variables,
            response,
        })
    }

    #[test]
    fn requests_are_changed() {
        let mapping = Mapping::of_requests(&map([
            ("append:header.x-a", "${request.path.id}/${stageVariables.v}!"),
            ("overwrite:header.x-b", "$request.querystring.q"),
            ("overwrite:header.x-c", "$request.header.missing"),
            ("remove:header.x-d", ""),
            ("append:querystring.n", "$request.body.a[1]"),
            ("overwrite:querystring.q", "static & more"),
            ("remove:querystring.gone", "''"),
            ("overwrite:path", "pets ?/$context.stage"),
        ]))
        .expect("a mapping");
        let mut headers = HeaderMap::new();
        for name in ["x-a", "x-b", "x-c", "x-d", "x-e"] {
            headers.insert(name, HeaderValue::from_static("client"));
        }
        let body = Bytes::from_static(br#"{"a":[1,{"b":2}]}"#);
        let outgoing = with_sources("q=1&q=2&g%6fne=x&k", &headers, &body, |sources| {
            mapping.request(&sources.record.request, sources).expect("a request")
        });
        let values = |name: &str| outgoing.headers.get_all(name).iter().cloned().collect::<Vec<_>>();
        assert_eq!(values("x-a"), ["client", "7 8/w!"]);
        assert_eq!(values("x-b"), ["1,2"]);
        assert_eq!(values("x-c"), [""; 0]);
        assert_eq!(values("x-d"), [""; 0]);
        assert_eq!(values("x-e"), ["client"]);
        assert_eq!(outgoing.query, "k&n=%7B%22b%22%3A2%7D&q=static%20%26%20more");
        assert_eq!(outgoing.path.as_deref(), Some("/pets%20%3F/$context.stage"));
    }

    #[test]
    fn answers_are_changed() {
        let mapping = Mapping::of_answers(&map([
            ("overwrite:statuscode", "$response.body.code"),
            ("append:header.x-y", "$response.body.deep[0].x"),
        ]))
        .expect("a mapping");
        let (mut status, mut headers) = (StatusCode::OK, HeaderMap::new());
        with_sources("", &HeaderMap::new(), &Bytes::new(), |sources| {
            mapping.answer(&mut status, &mut headers, sources)
        })
        .expect("an answer");
        assert_eq!((status.as_u16(), headers["x-y"].as_bytes()), (418, &b"y"[..]));
        let mapping = Mapping::of_answers(&map([("overwrite:statuscode", "100")])).expect("a mapping");
        let done = with_sources("", &HeaderMap::new(), &Bytes::new(), |sources| {
            mapping.answer(&mut status, &mut headers, sources)
        });
        assert_eq!(done, Err(Unfit("status")));
    }

    #[test]
    fn what_cannot_be_mapped_is_refused() {
        for (place, value) in [
            ("header.x", "y"),
            ("add:header.x", "y"),
            ("append:header.", "y"),
            ("append:path", "y"),
            ("overwrite:statuscode", "200"),
            ("append:querystring.", "y"),
            ("overwrite:header.x", "$request.nothing"),
            ("overwrite:header.x", "${request.path"),
        ] {
            assert!(Mapping::of_requests(&map([(place, value)])).is_err(), "{place}");
        }
        for name in [
            "Host",
            "X-Forwarded-For",
            "Transfer-Encoding",
            "x-amz-date",
            "Access-Control-Allow-Origin",
        ] {
            let place = format!("overwrite:header.{name}");
            let refused = Mapping::of_requests(&map([(place.as_str(), "y")]));
            assert!(matches!(refused, Err(MappingError::Reserved(_))), "{name}");
        }
        assert!(Mapping::of_answers(&map([("overwrite:path", "/")])).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn nothing_a_client_sends_makes_a_header_or_a_query_more_than_one(
            query in "[a-z=&%+0-9]{0,30}",
            body in "\\PC{0,20}",
        ) {
            let mapping = Mapping::of_requests(&map([
                ("overwrite:header.x-a", "$request.querystring.a"),
                ("overwrite:querystring.b", "$request.body"),
                ("overwrite:path", "$request.body"),
            ]))
            .expect("a mapping");
            let body = Bytes::from(body);
            let mapped = with_sources(&query, &HeaderMap::new(), &body, |sources| {
                mapping.request(&sources.record.request, sources)
            });
            if let Ok(outgoing) = mapped {
                prop_assert!(!outgoing.query.contains(['#', ' ', '\n']) && outgoing.query.is_ascii());
                let uri = format!("{}?{}", outgoing.path.as_deref().unwrap_or("/"), outgoing.query);
                prop_assert!(uri.parse::<http::Uri>().is_ok(), "{}", uri);
                if let Some(path) = &outgoing.path {
                    prop_assert!(!path.contains(['?', '#', ' ']));
                }
            }
        }
    }
}
