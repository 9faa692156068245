//! AWS's REST-JSON protocol: operations by method and path, members in paths, queries and JSON.
//!
//! Read [`Router`], then [`read_json`].
//! Source: <https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html>.

mod json;
mod router;

pub use json::{empty_response, json_response, query_boolean, query_integer, read_json, serialization_error};
pub use router::{Labels, Match, Router};
