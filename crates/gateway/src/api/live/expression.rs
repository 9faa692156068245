//! Texts with `$request…`, `$response…`, `$context…` and `$stageVariables…` in them, compiled once.
//!
//! Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-parameter-mapping.html>.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use serde_json::Value;

use super::record::{Record, Variable};

/// How much of a body is looked into for a part of it, in bytes, as on AWS.
const BODY_BYTES: usize = 100 * 1024;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// `$request.header.NAME`.
    Header(HeaderName),
    /// `$request.querystring.NAME`.
    Query(String),
    /// `$request.path`.
    Path,
    /// `$request.path.NAME`.
    PathParameter(String),
    /// `$request.body`, or a part of it.
    Body(Vec<Step>),
    /// `$response.header.NAME`.
    ResponseHeader(HeaderName),
    /// `$response.body`, or a part of it.
    ResponseBody(Vec<Step>),
    /// `$context.NAME`.
    Context(Variable),
    /// `$stageVariables.NAME`.
    StageVariable(String),
}

/// One step into a JSON document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `.name`.
    Member(String),
    /// `[3]`.
    Index(usize),
}

/// A text with values in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Expression),
}

/// Why a text is no expression, or no template.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a value that can be mapped")]
pub struct ExpressionError(String);

/// What values are taken from.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The request, and what is known of it.
    pub record: &'a Record<'a>,
    /// The path without the stage, as sent.
    pub path: &'a str,
    /// The route's parameters.
    pub parameters: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// The stage's variables.
    pub variables: &'a BTreeMap<String, String>,
    /// The back end's answer.
    pub response: Option<(&'a HeaderMap, &'a [u8])>,
}

impl Expression {
    /// Reads an expression, with its dollar.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        Self::read(text).ok_or_else(|| ExpressionError(text.chars().take(140).collect()))
    }

    fn read(text: &str) -> Option<Self> {
        let header = |name: &str| HeaderName::try_from(name).ok();
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let text = text.strip_prefix('$')?;
        let (place, rest) = text.split_once('.').unwrap_or((text, ""));
        match place {
            "context" => Variable::parse(rest).map(Self::Context),
            "stageVariables" => named(rest).map(Self::StageVariable),
            "request" | "response" => {
                let is_request = place == "request";
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (part, name) = rest.split_at(end);
                let member = name.strip_prefix('.');
                match (is_request, part, member) {
                    (true, "header", Some(name)) => header(name).map(Self::Header),
                    (true, "querystring", Some(name)) => named(name).map(Self::Query),
                    (true, "path", None) if name.is_empty() => Some(Self::Path),
                    (true, "path", Some(name)) => named(name).map(Self::PathParameter),
                    (true, "body", _) => steps(name).map(Self::Body),
                    (false, "header", Some(name)) => header(name).map(Self::ResponseHeader),
                    (false, "body", _) => steps(name).map(Self::ResponseBody),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The value, if there is one.
    pub fn value<'a>(&self, sources: &Sources<'a>) -> Option<Cow<'a, str>> {
        let request = &sources.record.request;
        match self {
            Self::Header(name) => joined(request.headers, name),
            Self::Query(name) => {
                let parameters = request.parameters();
                let mut values = parameters
                    .into_iter()
                    .filter(|(key, _)| key == name)
                    .map(|(_, value)| value);
                let first = values.next()?;
                Some(values.fold(first, |joined, value| format!("{joined},{value}").into()))
            }
            Self::Path => Some(crate::request::decode_path(sources.path)),
            Self::PathParameter(name) => {
                let found = sources.parameters.iter().find(|(key, _)| key == name);
                found.map(|(_, value)| Cow::Borrowed(value.as_ref()))
            }
            Self::Body(steps) => part(request.body, steps),
            Self::ResponseHeader(name) => joined(sources.response?.0, name),
            Self::ResponseBody(steps) => part(sources.response?.1, steps),
            Self::Context(variable) => sources.record.value(variable),
            Self::StageVariable(name) => sources.variables.get(name).map(|value| Cow::Borrowed(value.as_str())),
        }
    }
}

/// Reads `.a.b[3]`.
fn steps(mut text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    while !text.is_empty() {
        if let Some(rest) = text.strip_prefix('.') {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            steps.push(Step::Member((!name.is_empty()).then(|| name.to_owned())?));
            text = rest;
        } else {
            let (index, rest) = text.strip_prefix('[')?.split_once(']')?;
            let is_number = index.bytes().all(|byte| byte.is_ascii_digit());
            steps.push(Step::Index(is_number.then(|| index.parse().ok())??));
            text = rest;
        }
    }
    Some(steps)
}

/// The values of a header, joined by commas.
fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    let mut values = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let first = values.next()?;
    Some(values.fold(first, |joined, value| format!("{joined},{value}").into()))
}

/// A body, or a part of it; of a part that is no text its JSON.
fn part<'a>(body: &'a [u8], steps: &[Step]) -> Option<Cow<'a, str>> {
    if steps.is_empty() {
        return (!body.is_empty()).then(|| String::from_utf8_lossy(body));
    }
    if body.len() > BODY_BYTES {
        return None;
    }
    let document: Value = serde_json::from_slice(body).ok()?;
    let found = steps.iter().try_fold(&document, |value, step| match step {
        Step::Member(name) => value.get(name),
        Step::Index(index) => value.get(index),
    });
    Some(match found? {
        Value::String(text) => text.clone().into(),
        other => other.to_string().into(),
    })
}

impl Template {
    /// Reads a text that is one expression, or has any in `${…}`, or has none.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let mut parts = Vec::new();
        if text.starts_with('$') && !text.starts_with("${") {
            parts.push(Part::Value(Expression::parse(text)?));
            return Ok(Self { parts });
        }
        let mut rest = text;
        while let Some((before, inner)) = rest.split_once("${") {
            let (inner, after) = inner
                .split_once('}')
                .ok_or_else(|| ExpressionError(text.chars().take(140).collect()))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Value(Expression::parse(&format!("${inner}"))?));
            rest = after;
        }
        if !rest.is_empty() || parts.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The text. `None` where it would be one value that is not there.
    pub fn render<'a>(&'a self, sources: &Sources<'a>) -> Option<Cow<'a, str>> {
        if let [part] = self.parts.as_slice() {
            return match part {
                Part::Text(text) => Some(Cow::Borrowed(text)),
                Part::Value(expression) => expression.value(sources),
            };
        }
        let mut whole = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => whole.push_str(text),
                Part::Value(expression) => whole.push_str(&expression.value(sources).unwrap_or_default()),
            }
        }
        Some(whole.into())
    }

    /// The same with the stage's variables in their places, as far as a text is known already.
    pub fn fixed(text: &str, variables: &BTreeMap<String, String>) -> String {
        let mut whole = String::new();
        let mut rest = text;
        while let Some((before, inner)) = rest.split_once("${stageVariables.") {
            let Some((name, after)) = inner.split_once('}') else {
                break;
            };
            whole.push_str(before);
            whole.push_str(variables.get(name).map_or("", String::as_str));
            rest = after;
        }
        whole.push_str(rest);
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn expressions_are_read() {
        let read = |text| Expression::parse(text).ok();
        let header = HeaderName::from_static("authorization");
        assert_eq!(read("$request.header.Authorization"), Some(Expression::Header(header)));
        assert_eq!(read("$request.querystring.a.b"), Some(Expression::Query("a.b".into())));
        assert_eq!(read("$request.path"), Some(Expression::Path));
        assert_eq!(read("$request.path.id"), Some(Expression::PathParameter("id".into())));
        let steps = vec![Step::Member("a".into()), Step::Index(2), Step::Member("b".into())];
        assert_eq!(read("$request.body.a[2].b"), Some(Expression::Body(steps)));
        assert_eq!(read("$response.body"), Some(Expression::ResponseBody(Vec::new())));
        assert_eq!(read("$stageVariables.x"), Some(Expression::StageVariable("x".into())));
        for text in [
            "",
            "$",
            "$request",
            "$request.",
            "$request.header",
            "$request.header.",
            "$request.header.a b",
            "$other.x",
            "$request.body..a",
            "$request.body[a]",
            "$request.body[1",
            "$request.body[+1]",
            "$response.path",
            "$context.nothing",
            "$context.",
            "$stageVariables.",
            "request.path",
            "$request.path[0]",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn stage_variables_are_filled_in() {
        let variables = BTreeMap::from([("host".to_owned(), "a.example".to_owned())]);
        let fixed = |text| Template::fixed(text, &variables);
        assert_eq!(fixed("https://${stageVariables.host}/{id}"), "https://a.example/{id}");
        assert_eq!(fixed("${stageVariables.x}${stageVariables.host}."), "a.example.");
        assert_eq!(fixed("${stageVariables.host"), "${stageVariables.host");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn no_text_makes_it_panic(
            text in "(\\$|\\$\\{)?(request|response|context|stageVariables)?[.\\[\\]{}$a-z0-9ä]{0,30}",
            body in "[\\[{}\\]\":,a-z0-9]{0,30}",
        ) {
            let _expression = Expression::parse(&text);
            let _template = Template::parse(&text);
            if let Some(steps) = steps(&text) {
                let _part = part(body.as_bytes(), &steps);
            }
        }
    }
}
