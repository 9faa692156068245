//! Functions that APIs call: as back ends, and as authorizers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ephyra_core::arn::Place;
use ephyra_core::compute::{Invoke, Resolve, ResolveError};
use ephyra_core::id::{FunctionName, Qualifier, RequestId};
use ephyra_core::invocation::{FunctionError, Invocation, InvokeError};

/// A function, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: FunctionName,
    /// The version or alias.
    pub qualifier: Option<Qualifier>,
}

/// What comes before a function's ARN where AWS's API Gateway names how it is called, and what comes behind it.
const PATH: &str = ":lambda:path/2015-03-31/functions/";
const PATH_END: &str = "/invocations";

impl Function {
    /// Reads a function's ARN, or the address under which it is invoked. It has to be one of ours.
    pub fn parse(uri: &str, place: &Place) -> Option<Self> {
        let arn = match uri.split_once(PATH) {
            Some((start, rest)) if start.starts_with("arn:aws:apigateway:") => rest.strip_suffix(PATH_END)?,
            _ => uri,
        };
        let mut parts = arn.split(':');
        let head: [&str; 6] = [(); 6].map(|()| parts.next().unwrap_or_default());
        let is_ours = head
            == [
                "arn",
                "aws",
                "lambda",
                place.region.as_str(),
                place.account.as_str(),
                "function",
            ];
        let name = parts.next()?.parse().ok()?;
        let qualifier = parts.next().map(str::parse).transpose().ok()?;
        (is_ours && parts.next().is_none()).then_some(Self { name, qualifier })
    }
}

/// Runs functions.
#[derive(Clone)]
pub struct Functions {
    /// Finds them.
    pub resolve: Arc<dyn Resolve>,
    /// Runs them.
    pub invoke: Arc<dyn Invoke>,
}

/// Why a call came to nothing. Its text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The function cannot be found, or not run.
    #[error("the function cannot be called: {0}")]
    Resolve(#[source] ResolveError),
    /// It was not run.
    #[error("the function was not run: {0}")]
    Invoke(#[source] InvokeError),
    /// It failed.
    #[error("the function failed: {}", .0.error_type)]
    Function(FunctionError),
    /// It took too long.
    #[error("the function has not answered in {} ms", .0.as_millis())]
    TimeOut(Duration),
}

/// One call.
#[derive(Debug)]
pub struct Call<'a> {
    /// What is called.
    pub function: &'a Function,
    /// The event.
    pub payload: Bytes,
    /// Names the call.
    pub id: RequestId,
    /// The trace that it belongs to.
    pub trace_id: String,
    /// When it was asked for.
    pub received: Instant,
    /// How long it is waited for. The function goes on behind that, as its own time says.
    pub time: Duration,
}

impl Functions {
    /// Calls a function and waits for its answer.
    pub async fn call(&self, call: Call<'_>) -> Result<Bytes, CallError> {
        let time = call.time;
        let answer = tokio::time::timeout(time, self.run(call)).await;
        answer.unwrap_or(Err(CallError::TimeOut(time)))
    }

    async fn run(&self, call: Call<'_>) -> Result<Bytes, CallError> {
        let Function { name, qualifier } = call.function;
        let resolved = self
            .resolve
            .resolve(name, qualifier.as_ref())
            .await
            .map_err(CallError::Resolve)?;
        let invocation = Invocation {
            request_id: call.id,
            revision: resolved.revision,
            invoked_arn: resolved.invoked_arn,
            payload: call.payload,
            client_context: None,
            trace_id: Some(call.trace_id),
            wants_log_tail: false,
            stream: None,
            received: call.received,
        };
        let outcome = self.invoke.invoke(invocation).await.map_err(CallError::Invoke)?;
        outcome.result.map_err(CallError::Function)
    }
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Functions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_named_in_two_ways() {
        let place = Place {
            region: "us-east-1".parse().expect("a region"),
            account: "000000000000".parse().expect("an account"),
        };
        let read = |uri: &str| {
            let function = Function::parse(uri, &place)?;
            Some((
                function.name.to_string(),
                function.qualifier.map(|qualifier| qualifier.to_string()),
            ))
        };
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
        assert_eq!(read(arn), Some(("f".into(), None)));
        assert_eq!(read(&format!("{arn}:live")), Some(("f".into(), Some("live".into()))));
        let path = format!("arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn}:2/invocations");
        assert_eq!(read(&path), Some(("f".into(), Some("2".into()))));
        for uri in [
            "",
            "f",
            "arn:aws:lambda:us-east-1:111111111111:function:f",
            "arn:aws:lambda:eu-west-1:000000000000:function:f",
            "arn:aws:lambda:us-east-1:000000000000:function:f:1:2",
            "arn:aws:lambda:us-east-1:000000000000:function:",
            "arn:aws:lambda:us-east-1:000000000000:function:f:",
            "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:f",
            "https://example.com",
        ] {
            assert_eq!(read(uri), None, "{uri}");
        }
    }
}
