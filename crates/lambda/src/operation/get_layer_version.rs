use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use ephyra_wire::validation::{Constraint, Violations};

use super::{layer, ok};
use crate::error;
use crate::lambda::Call;
use crate::name;

const ARN_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+)";

/// `GetLayerVersion`.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let name = layer::read_name(&call, Violations::default())?;
    let number = layer::read_number(&call)?;
    show(&call, &name, number).await
}

/// `GetLayerVersionByArn`.
pub(super) async fn run_by_arn(call: Call) -> Result<Response, ApiError> {
    let arn = call.request.query("Arn").unwrap_or_default();
    let parts: Vec<&str> = arn.split(':').collect();
    let (place, name, number) = match parts.as_slice() {
        ["arn", _, "lambda", region, account, "layer", name, number]
            if name::is_account(account)
                && name::is_word(name)
                && !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit()) =>
        {
            ((*region, *account), *name, *number)
        }
        // AWS's own layers, none of which is here.
        ["arn", _, "lambda", "", "", "awslayer", _] => return Err(error::resource_not_found()),
        _ => {
            let mut violations = Violations::default();
            violations.add("arn", arn, Constraint::Pattern(ARN_PATTERN));
            violations.finish()?;
            return Err(error::resource_not_found());
        }
    };
    layer::check_place(call.inner(), Some(place))?;
    let number = number.parse().map_err(|_| error::resource_not_found())?;
    show(&call, name, number).await
}

async fn show(call: &Call, name: &str, number: u64) -> Result<Response, ApiError> {
    let inner = call.inner();
    let layer = inner.ledger.layer(name, number).await.map_err(error::store)?;
    let layer = layer.ok_or_else(error::resource_not_found)?.record;
    Ok(ok(&layer.describe(inner.place(), &inner.link(layer.package.digest))))
}
