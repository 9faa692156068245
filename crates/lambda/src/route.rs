//! Which operation a request is for. All 91 operations of AWS's model are known by their path; those that are not
//! there yet are known by name, so that the answer can say so.

use ephyra_wire::rest::Router;
use http::Method;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    AddLayerVersionPermission,
    AddPermission,
    CreateAlias,
    CreateFunction,
    CreateFunctionUrlConfig,
    DeleteAlias,
    DeleteFunction,
    DeleteFunctionConcurrency,
    DeleteFunctionEventInvokeConfig,
    DeleteFunctionUrlConfig,
    DeleteLayerVersion,
    DeleteProvisionedConcurrencyConfig,
    GetAccountSettings,
    GetAlias,
    GetFunction,
    GetFunctionCodeSigningConfig,
    GetFunctionConcurrency,
    GetFunctionConfiguration,
    GetFunctionEventInvokeConfig,
    GetFunctionRecursionConfig,
    GetFunctionUrlConfig,
    GetLayerVersion,
    GetLayerVersionByArn,
    GetLayerVersionPolicy,
    GetPolicy,
    GetProvisionedConcurrencyConfig,
    GetRuntimeManagementConfig,
    Invoke,
    InvokeAsync,
    InvokeWithResponseStream,
    ListAliases,
    ListFunctionEventInvokeConfigs,
    ListFunctionUrlConfigs,
    ListFunctions,
    ListLayerVersions,
    ListLayers,
    ListProvisionedConcurrencyConfigs,
    ListTags,
    ListVersionsByFunction,
    PublishLayerVersion,
    PublishVersion,
    PutFunctionConcurrency,
    PutFunctionEventInvokeConfig,
    PutFunctionRecursionConfig,
    PutProvisionedConcurrencyConfig,
    PutRuntimeManagementConfig,
    RemoveLayerVersionPermission,
    RemovePermission,
    TagResource,
    UntagResource,
    UpdateAlias,
    UpdateFunctionCode,
    UpdateFunctionConfiguration,
    UpdateFunctionEventInvokeConfig,
    UpdateFunctionUrlConfig,
    /// The download that `Code.Location` names; ours alone.
    DownloadCode,
    /// An operation of AWS's that is not there yet.
    Absent(&'static str),
}

/// The path under which packages are downloaded; the digest follows.
pub(crate) const CODE_PATH: &str = "/_ephyra/code/";

/// Every operation by method and path. Two paths serve two operations each, which the query tells apart: see
/// [`Operation::refine`].
#[rustfmt::skip]
pub(crate) fn rows() -> Vec<(Method, &'static str, Operation)> {
    use Operation::*;
    vec![
        (Method::POST, "/2015-03-31/functions/{FunctionName}/invocations", Invoke),
        (Method::POST, "/2021-11-15/functions/{FunctionName}/response-streaming-invocations", InvokeWithResponseStream),
        (Method::POST, "/2014-11-13/functions/{FunctionName}/invoke-async", InvokeAsync),
        (Method::POST, "/2015-03-31/functions", CreateFunction),
        (Method::GET, "/2015-03-31/functions", ListFunctions),
        (Method::GET, "/2015-03-31/functions/{FunctionName}", GetFunction),
        (Method::DELETE, "/2015-03-31/functions/{FunctionName}", DeleteFunction),
        (Method::GET, "/2015-03-31/functions/{FunctionName}/configuration", GetFunctionConfiguration),
        (Method::PUT, "/2015-03-31/functions/{FunctionName}/configuration", UpdateFunctionConfiguration),
        (Method::PUT, "/2015-03-31/functions/{FunctionName}/code", UpdateFunctionCode),
        (Method::POST, "/2015-03-31/functions/{FunctionName}/versions", PublishVersion),
        (Method::GET, "/2015-03-31/functions/{FunctionName}/versions", ListVersionsByFunction),
        (Method::POST, "/2015-03-31/functions/{FunctionName}/aliases", CreateAlias),
        (Method::GET, "/2015-03-31/functions/{FunctionName}/aliases", ListAliases),
        (Method::GET, "/2015-03-31/functions/{FunctionName}/aliases/{Name}", GetAlias),
        (Method::PUT, "/2015-03-31/functions/{FunctionName}/aliases/{Name}", UpdateAlias),
        (Method::DELETE, "/2015-03-31/functions/{FunctionName}/aliases/{Name}", DeleteAlias),
        (Method::POST, "/2015-03-31/functions/{FunctionName}/policy", AddPermission),
        (Method::GET, "/2015-03-31/functions/{FunctionName}/policy", GetPolicy),
        (Method::DELETE, "/2015-03-31/functions/{FunctionName}/policy/{StatementId}", RemovePermission),
        (Method::PUT, "/2017-10-31/functions/{FunctionName}/concurrency", PutFunctionConcurrency),
        (Method::DELETE, "/2017-10-31/functions/{FunctionName}/concurrency", DeleteFunctionConcurrency),
        (Method::GET, "/2019-09-30/functions/{FunctionName}/concurrency", GetFunctionConcurrency),
        (Method::GET, "/2019-09-30/functions/{FunctionName}/provisioned-concurrency", GetProvisionedConcurrencyConfig),
        (Method::PUT, "/2019-09-30/functions/{FunctionName}/provisioned-concurrency", PutProvisionedConcurrencyConfig),
        (Method::DELETE, "/2019-09-30/functions/{FunctionName}/provisioned-concurrency", DeleteProvisionedConcurrencyConfig),
        (Method::GET, "/2019-09-25/functions/{FunctionName}/event-invoke-config/list", ListFunctionEventInvokeConfigs),
        (Method::GET, "/2019-09-25/functions/{FunctionName}/event-invoke-config", GetFunctionEventInvokeConfig),
        (Method::PUT, "/2019-09-25/functions/{FunctionName}/event-invoke-config", PutFunctionEventInvokeConfig),
        (Method::POST, "/2019-09-25/functions/{FunctionName}/event-invoke-config", UpdateFunctionEventInvokeConfig),
        (Method::DELETE, "/2019-09-25/functions/{FunctionName}/event-invoke-config", DeleteFunctionEventInvokeConfig),
        (Method::GET, "/2017-03-31/tags/{Resource}", ListTags),
        (Method::POST, "/2017-03-31/tags/{Resource}", TagResource),
        (Method::DELETE, "/2017-03-31/tags/{Resource}", UntagResource),
        (Method::GET, "/2018-10-31/layers", ListLayers),
        (Method::POST, "/2018-10-31/layers/{LayerName}/versions", PublishLayerVersion),
        (Method::GET, "/2018-10-31/layers/{LayerName}/versions", ListLayerVersions),
        (Method::GET, "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}", GetLayerVersion),
        (Method::DELETE, "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}", DeleteLayerVersion),
        (Method::POST, "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy", AddLayerVersionPermission),
        (Method::GET, "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy", GetLayerVersionPolicy),
        (Method::DELETE, "/2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy/{StatementId}", RemoveLayerVersionPermission),
        (Method::GET, "/2016-08-19/account-settings", GetAccountSettings),
        (Method::GET, "/2021-07-20/functions/{FunctionName}/runtime-management-config", GetRuntimeManagementConfig),
        (Method::PUT, "/2021-07-20/functions/{FunctionName}/runtime-management-config", PutRuntimeManagementConfig),
        (Method::GET, "/2024-08-31/functions/{FunctionName}/recursion-config", GetFunctionRecursionConfig),
        (Method::PUT, "/2024-08-31/functions/{FunctionName}/recursion-config", PutFunctionRecursionConfig),
        (Method::GET, "/2020-06-30/functions/{FunctionName}/code-signing-config", GetFunctionCodeSigningConfig),
        (Method::POST, "/2021-10-31/functions/{FunctionName}/url", CreateFunctionUrlConfig),
        (Method::GET, "/2021-10-31/functions/{FunctionName}/url", GetFunctionUrlConfig),
        (Method::PUT, "/2021-10-31/functions/{FunctionName}/url", UpdateFunctionUrlConfig),
        (Method::DELETE, "/2021-10-31/functions/{FunctionName}/url", DeleteFunctionUrlConfig),
        (Method::GET, "/2021-10-31/functions/{FunctionName}/urls", ListFunctionUrlConfigs),
        (Method::GET, "/_ephyra/code/{Digest}", DownloadCode),

        (Method::POST, "/2015-03-31/event-source-mappings", Absent("CreateEventSourceMapping")),
        (Method::GET, "/2015-03-31/event-source-mappings", Absent("ListEventSourceMappings")),
        (Method::GET, "/2015-03-31/event-source-mappings/{UUID}", Absent("GetEventSourceMapping")),
        (Method::PUT, "/2015-03-31/event-source-mappings/{UUID}", Absent("UpdateEventSourceMapping")),
        (Method::DELETE, "/2015-03-31/event-source-mappings/{UUID}", Absent("DeleteEventSourceMapping")),
        (Method::PUT, "/2020-06-30/functions/{FunctionName}/code-signing-config", Absent("PutFunctionCodeSigningConfig")),
        (Method::DELETE, "/2020-06-30/functions/{FunctionName}/code-signing-config", Absent("DeleteFunctionCodeSigningConfig")),
        (Method::POST, "/2020-04-22/code-signing-configs", Absent("CreateCodeSigningConfig")),
        (Method::GET, "/2020-04-22/code-signing-configs", Absent("ListCodeSigningConfigs")),
        (Method::GET, "/2020-04-22/code-signing-configs/{CodeSigningConfigArn}", Absent("GetCodeSigningConfig")),
        (Method::PUT, "/2020-04-22/code-signing-configs/{CodeSigningConfigArn}", Absent("UpdateCodeSigningConfig")),
        (Method::DELETE, "/2020-04-22/code-signing-configs/{CodeSigningConfigArn}", Absent("DeleteCodeSigningConfig")),
        (Method::GET, "/2020-04-22/code-signing-configs/{CodeSigningConfigArn}/functions", Absent("ListFunctionsByCodeSigningConfig")),
        (Method::POST, "/2025-11-30/capacity-providers", Absent("CreateCapacityProvider")),
        (Method::GET, "/2025-11-30/capacity-providers", Absent("ListCapacityProviders")),
        (Method::GET, "/2025-11-30/capacity-providers/{CapacityProviderName}", Absent("GetCapacityProvider")),
        (Method::PUT, "/2025-11-30/capacity-providers/{CapacityProviderName}", Absent("UpdateCapacityProvider")),
        (Method::DELETE, "/2025-11-30/capacity-providers/{CapacityProviderName}", Absent("DeleteCapacityProvider")),
        (Method::GET, "/2025-11-30/capacity-providers/{CapacityProviderName}/function-versions", Absent("ListFunctionVersionsByCapacityProvider")),
        (Method::GET, "/2025-11-30/functions/{FunctionName}/function-scaling-config", Absent("GetFunctionScalingConfig")),
        (Method::PUT, "/2025-11-30/functions/{FunctionName}/function-scaling-config", Absent("PutFunctionScalingConfig")),
        (Method::GET, "/2025-12-01/functions/{FunctionName}/durable-executions", Absent("ListDurableExecutionsByFunction")),
        (Method::GET, "/2025-12-01/durable-executions/{DurableExecutionArn}", Absent("GetDurableExecution")),
        (Method::DELETE, "/2025-12-01/durable-executions/{DurableExecutionArn}", Absent("DeleteDurableExecution")),
        (Method::GET, "/2025-12-01/durable-executions/{DurableExecutionArn}/history", Absent("GetDurableExecutionHistory")),
        (Method::GET, "/2025-12-01/durable-executions/{DurableExecutionArn}/state", Absent("GetDurableExecutionState")),
        (Method::POST, "/2025-12-01/durable-executions/{DurableExecutionArn}/checkpoint", Absent("CheckpointDurableExecution")),
        (Method::POST, "/2025-12-01/durable-executions/{DurableExecutionArn}/pause", Absent("PauseDurableExecution")),
        (Method::POST, "/2025-12-01/durable-executions/{DurableExecutionArn}/resume", Absent("ResumeDurableExecution")),
        (Method::POST, "/2025-12-01/durable-executions/{DurableExecutionArn}/stop", Absent("StopDurableExecution")),
        (Method::POST, "/2025-12-01/durable-execution-callbacks/{CallbackId}/fail", Absent("SendDurableExecutionCallbackFailure")),
        (Method::POST, "/2025-12-01/durable-execution-callbacks/{CallbackId}/heartbeat", Absent("SendDurableExecutionCallbackHeartbeat")),
        (Method::POST, "/2025-12-01/durable-execution-callbacks/{CallbackId}/succeed", Absent("SendDurableExecutionCallbackSuccess")),
        (Method::GET, "/2026-07-09/resource-policy/{ResourceArn}", Absent("GetResourcePolicy")),
        (Method::PUT, "/2026-07-09/resource-policy/{ResourceArn}", Absent("PutResourcePolicy")),
        (Method::DELETE, "/2026-07-09/resource-policy/{ResourceArn}", Absent("DeleteResourcePolicy")),
    ]
}

/// The router of all operations.
pub(crate) fn router() -> Router<Operation> {
    Router::new(rows())
}

impl Operation {
    /// The operation that the path alone does not tell; `query` finds a parameter.
    pub(crate) fn refine<'a>(self, query: impl Fn(&str) -> Option<&'a str>) -> Self {
        match self {
            Self::ListLayers if query("find") == Some("LayerVersion") => Self::GetLayerVersionByArn,
            Self::GetProvisionedConcurrencyConfig if query("List") == Some("ALL") => {
                Self::ListProvisionedConcurrencyConfigs
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, path: &str, query: Option<(&str, &str)>, want: Operation) {
        let found = router().find(&method, path).expect(path);
        let refined = found
            .operation
            .refine(|name| query.filter(|(key, _)| *key == name).map(|(_, value)| value));
        assert_eq!(refined, want);
    }

    #[test]
    fn requests_find_their_operation() {
        check(
            Method::POST,
            "/2015-03-31/functions/f/invocations",
            None,
            Operation::Invoke,
        );
        check(Method::GET, "/2015-03-31/functions/", None, Operation::ListFunctions);
        check(
            Method::POST,
            "/2014-11-13/functions/f/invoke-async/",
            None,
            Operation::InvokeAsync,
        );
        check(Method::GET, "/2018-10-31/layers", None, Operation::ListLayers);
        check(
            Method::GET,
            "/2018-10-31/layers",
            Some(("find", "LayerVersion")),
            Operation::GetLayerVersionByArn,
        );
        check(
            Method::GET,
            "/2019-09-30/functions/f/provisioned-concurrency",
            Some(("List", "ALL")),
            Operation::ListProvisionedConcurrencyConfigs,
        );
        check(
            Method::PUT,
            "/2021-10-31/functions/f/url",
            None,
            Operation::UpdateFunctionUrlConfig,
        );
        check(
            Method::POST,
            "/2015-03-31/event-source-mappings",
            None,
            Operation::Absent("CreateEventSourceMapping"),
        );
    }

    #[test]
    fn all_operations_of_the_model_are_known() {
        // The model has 91, two of which share the path of another; and there is our download.
        let rows = rows();
        assert_eq!(rows.len(), 91 - 2 + 1);
        for (index, (_, path, operation)) in rows.iter().enumerate() {
            assert!(rows[..index].iter().all(|other| other.2 != *operation), "{path} twice");
        }
    }
}
