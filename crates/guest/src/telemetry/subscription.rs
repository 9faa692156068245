//! What a subscriber asks for: parsing and checking, pure.
//! Sources: <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api-reference.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-logs-api.html>.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;

/// A request to subscribe, in bytes.
pub(crate) const REQUEST_BYTES: usize = 64 * 1024;
/// The port of the APIs themselves.
const RESERVED_PORT: u16 = 9001;
/// The longest path of a destination, in bytes.
const PATH_BYTES: usize = 2048;

const ITEMS: RangeInclusive<u64> = 1000..=10_000;
const BYTES: RangeInclusive<u64> = 262_144..=1_048_576;
const TIMEOUT_MS: RangeInclusive<u64> = 25..=30_000;

/// Which API is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `PUT /2020-08-15/logs`.
    Logs,
    /// `PUT /2022-07-01/telemetry`.
    Telemetry,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The Logs API's first version.
    Logs,
    /// Its second, which tells when the runtime is done.
    LogsWithRuntimeDone,
    /// The Telemetry API's first version, whose lines are text.
    Telemetry,
    /// The later ones: a line that is a JSON object stays one.
    TelemetryWithObjects,
}

impl Dialect {
    pub(crate) const ALL: [Self; 4] = [
        Self::Logs,
        Self::LogsWithRuntimeDone,
        Self::Telemetry,
        Self::TelemetryWithObjects,
    ];

    pub(crate) const fn api(self) -> Api {
        match self {
            Self::Logs | Self::LogsWithRuntimeDone => Api::Logs,
            Self::Telemetry | Self::TelemetryWithObjects => Api::Telemetry,
        }
    }
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// What the platform says.
    Platform,
    /// A line of the function's.
    Function,
    /// A line of an extension's.
    Extension,
}

impl Category {
    pub(crate) const ALL: [Self; 3] = [Self::Platform, Self::Function, Self::Extension];

    /// As in a request and in a record.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Function => "function",
            Self::Extension => "extension",
        }
    }

    /// As in the log.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Platform => "Platform",
            Self::Function => "Function",
            Self::Extension => "Extension",
        }
    }
}

/// When a batch is sent, and how much waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffering {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
    pub(crate) timeout: Duration,
}

/// Where records go, inside the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Http {
        port: u16,
        path: String,
        method: http::Method,
        /// As the subscriber named its host.
        host: &'static str,
    },
    Tcp {
        port: u16,
    },
}

/// A checked request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) dialect: Dialect,
    pub(crate) categories: Vec<Category>,
    pub(crate) buffering: Buffering,
    pub(crate) destination: Destination,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    schema_version: Option<String>,
    #[serde(default)]
    types: Vec<String>,
    destination: Option<RequestDestination>,
    #[serde(default)]
    buffering: RequestBuffering,
}

#[derive(Deserialize)]
struct RequestDestination {
    protocol: Option<String>,
    #[serde(rename = "URI", alias = "uri")]
    uri: Option<String>,
    port: Option<u64>,
    method: Option<String>,
    encoding: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestBuffering {
    max_items: Option<u64>,
    max_bytes: Option<u64>,
    timeout_ms: Option<u64>,
}

impl Subscription {
    /// Reads a request. An error is what is wrong with it, for people.
    pub(crate) fn parse(api: Api, body: &[u8]) -> Result<Self, String> {
        let request: Request = serde_json::from_slice(body).map_err(|error| format!("Invalid JSON: {error}"))?;
        Ok(Self {
            dialect: dialect(api, request.schema_version.as_deref())?,
            categories: categories(&request.types)?,
            destination: request.destination.ok_or("destination is not provided")?.check()?,
            buffering: request.buffering.check()?,
        })
    }

    pub(crate) fn wants(&self, category: Category) -> bool {
        self.categories.contains(&category)
    }
}

fn dialect(api: Api, version: Option<&str>) -> Result<Dialect, String> {
    match (api, version) {
        (Api::Logs, None | Some("2020-08-15")) => Ok(Dialect::Logs),
        (Api::Logs, Some("2021-03-18")) => Ok(Dialect::LogsWithRuntimeDone),
        (Api::Telemetry, Some("2022-07-01")) => Ok(Dialect::Telemetry),
        (Api::Telemetry, Some("2022-12-13" | "2025-01-29")) => Ok(Dialect::TelemetryWithObjects),
        (Api::Telemetry, None) => Err("schemaVersion is not provided".to_owned()),
        (_, Some(_)) => Err("schemaVersion is not supported".to_owned()),
    }
}

fn categories(types: &[String]) -> Result<Vec<Category>, String> {
    if types.is_empty() {
        return Err("types should not be empty".to_owned());
    }
    if let Some(unknown) = types
        .iter()
        .find(|name| Category::ALL.iter().all(|one| one.name() != **name))
    {
        let unknown: String = unknown.chars().take(40).collect();
        return Err(format!("types has no {unknown:?}"));
    }
    let is_named = |one: &Category| types.iter().any(|name| name == one.name());
    Ok(Category::ALL.into_iter().filter(is_named).collect())
}

impl RequestBuffering {
    fn check(self) -> Result<Buffering, String> {
        let within = |name: &str, value: Option<u64>, range: RangeInclusive<u64>, otherwise: u64| match value {
            None => Ok(otherwise),
            Some(value) if range.contains(&value) => Ok(value),
            Some(_) => Err(format!("{name} must be within {} and {}", range.start(), range.end())),
        };
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Ok(Buffering {
            items: size(within("maxItems", self.max_items, ITEMS, 10_000)?),
            bytes: size(within("maxBytes", self.max_bytes, BYTES, 262_144)?),
            timeout: Duration::from_millis(within("timeoutMs", self.timeout_ms, TIMEOUT_MS, 1000)?),
        })
    }
}

impl RequestDestination {
    fn check(self) -> Result<Destination, String> {
        if self
            .encoding
            .is_some_and(|encoding| !encoding.eq_ignore_ascii_case("JSON"))
        {
            return Err("destination.encoding must be JSON".to_owned());
        }
        let protocol = self.protocol.ok_or("destination.protocol is not provided")?;
        if protocol.eq_ignore_ascii_case("TCP") {
            let port = self.port.ok_or("destination.port is not provided")?;
            let port = u16::try_from(port).map_err(|_| "destination.port is not a port")?;
            return Ok(Destination::Tcp { port: free(port)? });
        }
        if !protocol.eq_ignore_ascii_case("HTTP") {
            return Err("destination.protocol must be HTTP or TCP".to_owned());
        }
        let uri = self.uri.ok_or("destination.URI is not provided")?;
        let uri: http::Uri = uri.parse().map_err(|_| "destination.URI is not a URI")?;
        if uri.scheme_str() != Some("http") {
            return Err("destination.URI must begin with http://".to_owned());
        }
        let host = match uri.host() {
            Some("sandbox.localdomain") => "sandbox.localdomain",
            Some("sandbox") => "sandbox",
            _ => return Err("destination.URI host must be sandbox.localdomain".to_owned()),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        if path.len() > PATH_BYTES {
            return Err("destination.URI is too long".to_owned());
        }
        Ok(Destination::Http {
            port: free(uri.port_u16().ok_or("URI port is not provided")?)?,
            path: path.to_owned(),
            method: match self.method.as_deref() {
                None | Some("POST") => http::Method::POST,
                Some("PUT") => http::Method::PUT,
                Some(_) => return Err("destination.method must be POST or PUT".to_owned()),
            },
            host,
        })
    }
}

fn free(port: u16) -> Result<u16, String> {
    match port {
        0 => Err("port 0 is not a port".to_owned()),
        RESERVED_PORT => Err("port 9001 is reserved".to_owned()),
        port => Ok(port),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn parse(api: Api, request: &Value) -> Result<Subscription, String> {
        Subscription::parse(api, request.to_string().as_bytes())
    }

    fn http(uri: &str) -> Value {
        json!({ "schemaVersion": "2022-07-01", "types": ["platform"], "destination": { "protocol": "HTTP", "URI": uri } })
    }

    #[test]
    fn what_is_not_said_has_awss_defaults() {
        let seen = parse(Api::Telemetry, &http("http://sandbox.localdomain:8080")).unwrap();
        assert_eq!(seen.dialect, Dialect::Telemetry);
        assert_eq!(seen.categories, [Category::Platform]);
        assert_eq!(
            seen.buffering,
            Buffering {
                items: 10_000,
                bytes: 262_144,
                timeout: Duration::from_secs(1)
            }
        );
        assert_eq!(
            seen.destination,
            Destination::Http {
                port: 8080,
                path: "/".to_owned(),
                method: http::Method::POST,
                host: "sandbox.localdomain"
            }
        );
    }

    #[test]
    fn the_logs_api_has_its_own_versions_and_methods() {
        let request = json!({
            "types": ["function", "extension", "function"],
            "buffering": { "maxItems": 1000, "maxBytes": 1_048_576, "timeoutMs": 25 },
            "destination": { "protocol": "HTTP", "URI": "http://sandbox:1/a?b", "method": "PUT", "encoding": "JSON" },
        });
        let seen = parse(Api::Logs, &request).unwrap();
        assert_eq!((seen.dialect, seen.dialect.api()), (Dialect::Logs, Api::Logs));
        assert_eq!(seen.categories, [Category::Function, Category::Extension]);
        assert_eq!((seen.buffering.items, seen.buffering.timeout.as_millis()), (1000, 25));
        assert_eq!(
            seen.destination,
            Destination::Http {
                port: 1,
                path: "/a?b".to_owned(),
                method: http::Method::PUT,
                host: "sandbox"
            }
        );
        let tcp = json!({ "schemaVersion": "2021-03-18", "types": ["platform"], "destination": { "protocol": "TCP", "port": 7 } });
        let seen = parse(Api::Logs, &tcp).unwrap();
        assert_eq!(
            (seen.dialect, seen.destination),
            (Dialect::LogsWithRuntimeDone, Destination::Tcp { port: 7 })
        );
        assert!(parse(Api::Telemetry, &tcp).is_err(), "another API's version");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let with = |name: &str, value: Value| {
            let mut request = http("http://sandbox.localdomain:8080");
            request[name] = value;
            request
        };
        for (request, want) in [
            (http("http://sandbox.localdomain"), "URI port is not provided"),
            (http("http://sandbox.localdomain:9001"), "reserved"),
            (http("http://sandbox.localdomain:0"), "port 0"),
            (http("http://elsewhere:80"), "host must be"),
            (http("https://sandbox.localdomain:80"), "http://"),
            (http("::"), "not a URI"),
            (with("types", json!([])), "types should not be empty"),
            (with("types", json!(["all"])), "types has no"),
            (with("types", json!("platform")), "Invalid JSON"),
            (with("schemaVersion", json!("2030-01-01")), "not supported"),
            (with("schemaVersion", json!(null)), "not provided"),
            (with("destination", json!(null)), "destination is not provided"),
            (with("destination", json!({ "protocol": "UDP" })), "HTTP or TCP"),
            (
                with("destination", json!({ "protocol": "TCP", "port": 65536 })),
                "not a port",
            ),
            (
                with("buffering", json!({ "maxItems": 999 })),
                "maxItems must be within 1000 and 10000",
            ),
            (with("buffering", json!({ "maxBytes": 1_048_577 })), "maxBytes"),
            (with("buffering", json!({ "timeoutMs": 24 })), "timeoutMs"),
        ] {
            let error = parse(Api::Telemetry, &request).unwrap_err();
            assert!(error.contains(want), "{request}: {error}");
        }
        assert!(Subscription::parse(Api::Telemetry, b"").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), uri in "\\PC{0,40}") {
            let _read_or_refused = Subscription::parse(Api::Logs, &bytes);
            let _read_or_refused = parse(Api::Telemetry, &http(&uri));
        }
    }
}
