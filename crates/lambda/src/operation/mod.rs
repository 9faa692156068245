//! The operations, one file each, named as AWS names them.

mod account_settings;
mod add_layer_version_permission;
mod add_permission;
mod code_signing_config;
mod create_alias;
mod create_function;
mod delete_alias;
mod delete_function;
mod delete_layer_version;
mod download_code;
mod event_invoke_config;
mod function_concurrency;
mod function_url;
mod get_alias;
mod get_function;
mod get_layer_version;
mod get_policy;
mod invoke;
mod invoke_async;
mod invoke_with_response_stream;
mod layer;
mod list_aliases;
mod list_event_invoke_configs;
mod list_function_urls;
mod list_functions;
mod list_layer_versions;
mod list_layers;
mod list_provisioned_concurrency;
mod list_versions;
mod permission;
mod provisioned_concurrency;
mod publish_layer_version;
mod publish_version;
mod recursion_config;
mod remove_permission;
mod routing;
mod runtime_management_config;
mod tags;
mod update_alias;
mod update_function_code;
mod update_function_configuration;

#[cfg(test)]
pub(crate) use create_function::check_unpacked;
pub(crate) use invoke::invoke;
pub(crate) use invoke_with_response_stream::invoke_with_response_stream;

use bytes::Bytes;
use ephyra_wire::error::ApiError;
use ephyra_wire::rest::{empty_response, json_response, read_json};
use ephyra_wire::service::Response;
use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error;
use crate::lambda::{Call, Inner};
use crate::ledger::Stored;
use crate::name::{self, Named, Shape};
use crate::record::FunctionRecord;
use crate::route::Operation;

/// Runs an operation other than an invocation that is waited for.
pub(crate) async fn dispatch(operation: Operation, call: Call) -> Result<Response, ApiError> {
    match operation {
        Operation::AddLayerVersionPermission => add_layer_version_permission::run(call).await,
        Operation::AddPermission => add_permission::run(call).await,
        Operation::CreateAlias => create_alias::run(call).await,
        Operation::CreateFunction => create_function::run(call).await,
        Operation::CreateFunctionUrlConfig => function_url::create(call).await,
        Operation::DeleteAlias => delete_alias::run(call).await,
        Operation::DeleteFunction => delete_function::run(call).await,
        Operation::DeleteFunctionConcurrency => function_concurrency::delete(call).await,
        Operation::DeleteFunctionEventInvokeConfig => event_invoke_config::delete(call).await,
        Operation::DeleteFunctionUrlConfig => function_url::delete(call).await,
        Operation::DeleteLayerVersion => delete_layer_version::run(call).await,
        Operation::DeleteProvisionedConcurrencyConfig => provisioned_concurrency::delete(call).await,
        Operation::GetAccountSettings => Ok(account_settings::run(&call)),
        Operation::GetAlias => get_alias::run(call).await,
        Operation::GetFunction => get_function::run(call).await,
        Operation::GetFunctionCodeSigningConfig => code_signing_config::run(call).await,
        Operation::GetFunctionConcurrency => function_concurrency::get(call).await,
        Operation::GetFunctionConfiguration => get_function::run_configuration(call).await,
        Operation::GetFunctionEventInvokeConfig => event_invoke_config::get(call).await,
        Operation::GetFunctionRecursionConfig => recursion_config::get(call).await,
        Operation::GetFunctionUrlConfig => function_url::get(call).await,
        Operation::GetLayerVersion => get_layer_version::run(call).await,
        Operation::GetLayerVersionByArn => get_layer_version::run_by_arn(call).await,
        Operation::GetLayerVersionPolicy => add_layer_version_permission::get(call).await,
        Operation::GetPolicy => get_policy::run(call).await,
        Operation::GetProvisionedConcurrencyConfig => provisioned_concurrency::get(call).await,
        Operation::GetRuntimeManagementConfig => runtime_management_config::get(call).await,
        Operation::Invoke => invoke(call).await,
        Operation::InvokeAsync => invoke_async::run(call).await,
        Operation::InvokeWithResponseStream => invoke_with_response_stream(call).await,
        Operation::ListAliases => list_aliases::run(call).await,
        Operation::ListFunctionEventInvokeConfigs => list_event_invoke_configs::run(call).await,
        Operation::ListFunctionUrlConfigs => list_function_urls::run(call).await,
        Operation::ListFunctions => list_functions::run(call).await,
        Operation::ListLayerVersions => list_layer_versions::run(call).await,
        Operation::ListLayers => list_layers::run(call).await,
        Operation::ListProvisionedConcurrencyConfigs => list_provisioned_concurrency::run(call).await,
        Operation::ListTags => tags::list(call).await,
        Operation::ListVersionsByFunction => list_versions::run(call).await,
        Operation::PublishLayerVersion => publish_layer_version::run(call).await,
        Operation::PublishVersion => publish_version::run(call).await,
        Operation::PutFunctionConcurrency => function_concurrency::put(call).await,
        Operation::PutFunctionEventInvokeConfig => event_invoke_config::put(call).await,
        Operation::PutFunctionRecursionConfig => recursion_config::put(call).await,
        Operation::PutProvisionedConcurrencyConfig => provisioned_concurrency::put(call).await,
        Operation::PutRuntimeManagementConfig => runtime_management_config::put(call).await,
        Operation::RemoveLayerVersionPermission => add_layer_version_permission::remove(call).await,
        Operation::RemovePermission => remove_permission::run(call).await,
        Operation::TagResource => tags::tag(call).await,
        Operation::UntagResource => tags::untag(call).await,
        Operation::UpdateAlias => update_alias::run(call).await,
        Operation::UpdateFunctionCode => update_function_code::run(call).await,
        Operation::UpdateFunctionConfiguration => update_function_configuration::run(call).await,
        Operation::UpdateFunctionEventInvokeConfig => event_invoke_config::update(call).await,
        Operation::UpdateFunctionUrlConfig => function_url::update(call).await,
        Operation::DownloadCode => download_code::run(call).await,
        Operation::Absent(name) => Err(error::not_available(name)),
    }
}

impl Call {
    pub(super) fn inner(&self) -> &Inner {
        &self.lambda.inner
    }

    /// The function that the path names, with the qualifier of the name or the query.
    pub(super) fn named(&self, shape: Shape) -> Result<Named, ApiError> {
        let place = self.inner().place();
        name::read(
            self.labels.get("FunctionName"),
            self.request.query("Qualifier"),
            shape,
            place,
        )
    }

    /// The record of a function that must exist; `arn` is how the error names it.
    pub(super) async fn existing(&self, named: &Named, arn: &str) -> Result<Stored<FunctionRecord>, ApiError> {
        self.inner()
            .function(named.function())
            .await?
            .ok_or_else(|| error::function_not_found(arn))
    }
}

/// How large a body is read where others wait for their turn, in bytes; a larger one is read where it may block.
const INLINE_BYTES: usize = 256 * 1024;

/// Reads a JSON body that may carry a zip.
async fn read_large<T: DeserializeOwned + Send + 'static>(body: &Bytes) -> Result<T, ApiError> {
    if body.len() <= INLINE_BYTES {
        return read_json(body);
    }
    let body = body.clone();
    unblocked(move || read_json(&body)).await
}

/// Runs work that takes a while where it keeps nobody waiting.
async fn unblocked<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(error::service("The platform is shutting down.")))
}

fn ok(document: &impl Serialize) -> Response {
    json_response(StatusCode::OK, document)
}

fn created(document: &impl Serialize) -> Response {
    json_response(StatusCode::CREATED, document)
}

fn no_content() -> Response {
    empty_response(StatusCode::NO_CONTENT)
}
