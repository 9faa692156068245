//! OpenAPI 3.0: HTTP APIs made of a document, and documents made of HTTP APIs.
//! Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions.html>.

mod export;
mod import;
#[cfg(test)]
mod tests;
mod yaml;

use ephyra_wire::error::ApiError;
use serde_json::Value;

pub(crate) use export::export;
pub(crate) use import::{BasePath, Imported, import};

use super::error::bad_request;

/// Methods as OpenAPI writes them; `trace` is none that routes have.
const METHODS: [&str; 7] = ["delete", "get", "head", "options", "patch", "post", "put"];
/// How OpenAPI writes `ANY`.
const ANY_METHOD: &str = "x-amazon-apigateway-any-method";
/// How OpenAPI writes the path of `$default`.
const DEFAULT_PATH: &str = "/$default";

/// Reads a document in JSON or YAML.
pub(crate) fn read(text: &str) -> Result<Value, ApiError> {
    let document = if text.trim_start().starts_with('{') {
        if nodes_of_json(text) > yaml::NODES {
            return Err(bad_request("Invalid OpenAPI input. The document has too many nodes"));
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    } else {
        yaml::read(text).map_err(|error| error.to_string())
    };
    document.map_err(|error| bad_request(format!("Invalid OpenAPI input. The document cannot be read: {error}")))
}

/// How many nodes a JSON text has, about: what it will take is known before it is taken.
fn nodes_of_json(text: &str) -> usize {
    let mut is_in_string = false;
    let mut is_escaped = false;
    let mut count = 0;
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_in_string,
            b'"' => is_in_string = !is_in_string,
            b'{' | b'[' | b',' if !is_in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// Reads a document in YAML.
#[cfg(any(test, fuzzing))]
pub(crate) fn from_yaml(text: &str) -> Result<Value, yaml::YamlError> {
    yaml::read(text)
}

/// Writes a document in YAML.
pub(crate) fn to_yaml(document: &Value) -> String {
    yaml::write(document)
}
