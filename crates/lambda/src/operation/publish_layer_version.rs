use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use ephyra_wire::validation::{self, Constraint, Violations};
use serde::Deserialize;

use super::create_function::{Code, check_storage};
use super::{created, layer, read_large};
use crate::error;
use crate::lambda::{Call, Kept};
use crate::record::{LayerRecord, Policy};
use crate::runtime;
use crate::settings::ARCHITECTURES;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    content: Option<Code>,
    description: Option<String>,
    license_info: Option<String>,
    compatible_runtimes: Option<Vec<String>>,
    compatible_architectures: Option<Vec<String>>,
}

/// Makes the next version of a layer, which may be its first.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let input: Input = read_large(&call.request.body).await?;
    let mut violations = Violations::default();
    check(&input, &mut violations);
    let name = layer::read_name(&call, violations)?;
    let zip = input.content.unwrap_or_default().into_zip().await?;
    check_storage(inner, zip.len() as u64)?;
    let mut kept = Kept::none(call.lambda.clone());
    let package = inner.depot.keep(zip).await?;
    kept.add(package);
    inner.depot.sync(package.digest).await?;
    let _turn = inner.turn(&name).await;
    let number = inner.ledger.next_layer_number(&name).await.map_err(error::store)?;
    let record = LayerRecord {
        name,
        number,
        package,
        description: input.description.unwrap_or_default(),
        license: input.license_info,
        runtimes: input.compatible_runtimes,
        architectures: input.compatible_architectures,
        created_ms: inner.now_ms(),
        policy: Policy::default(),
    };
    inner.ledger.create_layer(&record).await.map_err(error::store)?;
    kept.hand_over();
    inner.totals.add_code(package.zip_bytes);
    Ok(created(&record.describe(inner.place(), &inner.link(package.digest))))
}

fn check(input: &Input, violations: &mut Violations) {
    if let Some(runtimes) = &input.compatible_runtimes {
        if runtimes.len() > 15 {
            violations.add(
                "compatibleRuntimes",
                validation::list(runtimes),
                Constraint::MaxLength(15),
            );
        }
        if !runtimes.iter().all(|runtime| runtime::is_known_to_layers(runtime)) {
            let set = Constraint::Enum(runtime::NAMED_IN_MESSAGES);
            violations.add("compatibleRuntimes", validation::list(runtimes), set);
        }
    }
    if let Some(architectures) = &input.compatible_architectures {
        if architectures.len() > 2 {
            let most = Constraint::MaxLength(2);
            violations.add("compatibleArchitectures", validation::list(architectures), most);
        }
        if !architectures.iter().all(|one| ARCHITECTURES.contains(&one.as_str())) {
            let each = [Constraint::Enum(ARCHITECTURES), Constraint::NotNull];
            let shown = validation::list(architectures);
            violations.add("compatibleArchitectures", shown, Constraint::Each(&each));
        }
    }
    if let Some(description) = &input.description {
        violations.check_length("description", description, 0, 256);
    }
    if let Some(license) = &input.license_info {
        violations.check_length("licenseInfo", license, 0, 512);
    }
    if input.content.is_none() {
        violations.add_null("content");
    }
}
