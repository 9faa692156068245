//! Runtime identifiers: which AWS knows, which it takes no more, which this machine has.
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html> and recorded answers.

use ephyra_wire::error::ApiError;

use crate::error;

/// The set that AWS names in its messages, in its order.
pub(crate) const NAMED_IN_MESSAGES: &[&str] = &[
    "nodejs20.x",
    "python3.14",
    "provided.al2023",
    "python3.12",
    "python3.13",
    "nodejs24.x",
    "nodejs22.x",
    "java25",
    "python3.10",
    "python3.11",
    "java21",
    "ruby3.3",
    "ruby3.4",
    "ruby3.2",
    "python3.8",
    "python3.9",
    "java17",
    "nodejs16.x",
    "dotnet10",
    "dotnet8",
    "java11",
    "dotnet6",
    "nodejs18.x",
    "provided.al2",
    "java8.al2",
];

/// The set that `ListLayers` and `ListLayerVersions` name, in AWS's order.
#[rustfmt::skip]
pub(crate) const NAMED_IN_LAYER_LISTS: &[&str] = &[
    "ruby3.5", "ruby2.6", "dotnetcore1.0", "python3.7", "nodejs8.10", "nasa", "ruby2.7", "python2.7-greengrass",
    "dotnetcore2.0", "python3.8", "java21", "dotnet6", "dotnetcore2.1", "python3.9", "java11", "nodejs6.10",
    "provided", "dotnetcore3.1", "dotnet8", "java25", "java17", "nodejs", "nodejs4.3", "java8.al2", "go1.x",
    "dotnet10", "nodejs20.x", "go1.9", "byol", "nodejs10.x", "provided.al2023", "nodejs22.x", "python3.10", "java8",
    "nodejs12.x", "python3.11", "nodejs24.x", "nodejs8.x", "python3.12", "nodejs14.x", "nodejs8.9", "nodejs26.x",
    "python3.13", "python3.14", "nodejs16.x", "python3.15", "provided.al2", "nodejs4.3-edge", "nodejs18.x",
    "ruby3.2", "python3.4", "ruby3.3", "ruby3.4", "ruby2.5", "python3.6", "python2.7",
];

/// Runtimes that AWS's model has beside [`NAMED_IN_MESSAGES`] and that functions may have.
const NEWER: &[&str] = &[
    "ruby4.0",
    "nodejs26.x",
    "python3.15",
    "java8.al2023",
    "java11.al2023",
    "java17.al2023",
];

/// Runtimes that AWS does not have.
const OURS: &[&str] = &["wasm"];

/// Runtimes that functions may no longer have. Layers may still name them.
#[rustfmt::skip]
const BLOCKED: &[&str] = &[
    "nodejs", "nodejs4.3", "nodejs4.3-edge", "nodejs6.10", "nodejs8.10", "nodejs10.x", "nodejs12.x", "nodejs14.x",
    "java8", "python2.7", "python3.6", "python3.7", "dotnetcore1.0", "dotnetcore2.0", "dotnetcore2.1",
    "dotnetcore3.1", "go1.x", "ruby2.5", "ruby2.7", "provided",
];

/// Checks the runtime of a function that is made or changed; `present` is what the machine has.
pub(crate) fn check(runtime: &str, present: &[String]) -> Result<(), ApiError> {
    if BLOCKED.contains(&runtime) {
        return Err(error::invalid_parameter(format!(
            "The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda functions. \
             We recommend you use a supported runtime while creating or updating functions."
        )));
    }
    if present.iter().any(|one| one == runtime) {
        return Ok(());
    }
    if !is_known(runtime) {
        let set = NAMED_IN_MESSAGES.join(", ");
        return Err(error::invalid_parameter(format!(
            "Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [{set}] or \
             be a valid ARN"
        )));
    }
    let there = if present.is_empty() {
        "none".to_owned()
    } else {
        present.join(", ")
    };
    Err(error::invalid_parameter(format!(
        "The runtime {runtime} is not installed on this machine. Runtimes that are: {there}. Install it there and \
         start Ephyra again, or use one of these."
    )))
}

/// Whether versions may have a template: with every runtime whose environments serve one function each, and so with
/// more than on AWS, which takes Java, and Python and .NET of late.
pub(crate) fn can_snap_start(runtime: &str) -> bool {
    ["python", "java", "nodejs", "dotnet", "provided", "ruby"]
        .iter()
        .any(|family| runtime.starts_with(family))
}

/// Whether a layer may say that it is for this runtime.
pub(crate) fn is_known_to_layers(runtime: &str) -> bool {
    is_known(runtime) || BLOCKED.contains(&runtime)
}

fn is_known(runtime: &str) -> bool {
    NAMED_IN_MESSAGES.contains(&runtime) || NEWER.contains(&runtime) || OURS.contains(&runtime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(runtime: &str, want: &str) {
        let error = check(runtime, &["python3.13".to_owned(), "provided.al2023".to_owned()]).unwrap_err();
        assert_eq!(error.code, "InvalidParameterValueException");
        assert!(error.message.starts_with(want), "{}", error.message);
    }

    #[test]
    fn what_is_there_is_taken() {
        assert!(check("python3.13", &["python3.13".to_owned()]).is_ok());
    }

    #[test]
    fn the_rest_is_refused_for_its_own_reason() {
        check_refused("go1.x", "The runtime parameter of go1.x is no longer supported");
        check_refused(
            "PYTHON3.9",
            "Value PYTHON3.9 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: \
             [nodejs20.x, python3.14, ",
        );
        check_refused(
            "python3.12",
            "The runtime python3.12 is not installed on this machine. Runtimes that are: python3.13, provided.al2023.",
        );
    }
}
