use ephyra_core::limits;
use ephyra_wire::service::Response;
use serde_json::json;

use super::ok;
use crate::lambda::Call;

/// `GetAccountSettings`: the limits, and what is used of them.
pub(super) fn run(call: &Call) -> Response {
    let inner = call.inner();
    let concurrency = inner.options.concurrency;
    ok(&json!({
        "AccountLimit": {
            "TotalCodeSize": limits::CODE_STORAGE_BYTES,
            "CodeSizeUnzipped": limits::UNZIPPED_BYTES,
            "CodeSizeZipped": limits::ZIP_BYTES,
            "ConcurrentExecutions": concurrency,
            "UnreservedConcurrentExecutions": inner.totals.unreserved(concurrency, None),
        },
        "AccountUsage": {
            "TotalCodeSize": inner.totals.code_bytes(),
            "FunctionCount": inner.totals.functions(),
        },
    }))
}
