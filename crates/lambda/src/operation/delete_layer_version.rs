use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use ephyra_wire::validation::Violations;

use super::{layer, no_content};
use crate::error;
use crate::lambda::Call;

/// Deletes a layer version; functions that use it keep it. One that is not there is deleted already.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let name = layer::read_name(&call, Violations::default())?;
    let number = layer::read_number(&call)?;
    let _turn = inner.turn(&name).await;
    let _no_use = inner.layers.write().await;
    let Some(layer) = inner.ledger.layer(&name, number).await.map_err(error::store)? else {
        return Ok(no_content());
    };
    inner.ledger.delete_layer(&name, number).await.map_err(error::store)?;
    let package = layer.record.package;
    inner.totals.remove_code(package.zip_bytes);
    inner.release([package.digest]).await;
    Ok(no_content())
}
