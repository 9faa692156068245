//! The members that `CreateFunction` and `UpdateFunctionConfiguration` share: checked, and applied to a
//! configuration.

use std::collections::BTreeMap;

use ephyra_core::id::FunctionName;
use ephyra_core::limits;
use ephyra_core::revision::{LogFormat, LogLevel, Logging};
use ephyra_wire::error::ApiError;
use ephyra_wire::validation::{self, Constraint, Violations};
use serde::Deserialize;
use serde_json::Value;

use crate::error;
use crate::pairs::Pairs;
use crate::record::{Config, LayerUse};
use crate::runtime;

const ROLE_PATTERN: &str = r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+";
const LAYER_VERSION_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+)";
pub(crate) const ARCHITECTURES: &[&str] = &["x86_64", "arm64"];
/// The model's limits that are the same for both operations.
const DESCRIPTION_CHARACTERS: usize = 256;
const HANDLER_CHARACTERS: usize = 128;

/// Names that a function may not set, as the platform sets them.
const RESERVED_VARIABLES: &[&str] = &[
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_LAMBDA_METADATA_API",
    "AWS_LAMBDA_METADATA_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Environment {
    pub variables: Option<Pairs>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Vpc {
    subnet_ids: Option<Vec<String>>,
    security_group_ids: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct DeadLetter {
    target_arn: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Tracing {
    mode: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Storage {
    size: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct SnapStart {
    apply_on: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct LoggingInput {
    log_format: Option<String>,
    application_log_level: Option<String>,
    system_log_level: Option<String>,
    log_group: Option<String>,
}

/// The members as sent.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Settings {
    pub runtime: Option<String>,
    pub role: Option<String>,
    pub handler: Option<String>,
    description: Option<String>,
    timeout: Option<i64>,
    memory_size: Option<i64>,
    vpc_config: Option<Vpc>,
    environment: Option<Environment>,
    dead_letter_config: Option<DeadLetter>,
    #[serde(rename = "KMSKeyArn")]
    kms_key_arn: Option<String>,
    tracing_config: Option<Tracing>,
    pub layers: Option<Vec<String>>,
    file_system_configs: Option<Vec<Value>>,
    image_config: Option<Value>,
    ephemeral_storage: Option<Storage>,
    snap_start: Option<SnapStart>,
    logging_config: Option<LoggingInput>,
    capacity_provider_config: Option<Value>,
    durable_config: Option<Value>,
    runtime_config: Option<Value>,
    accelerator_config: Option<Value>,
    tenancy_config: Option<Value>,
}

impl Settings {
    /// Notes every broken constraint of the model.
    pub(crate) fn check(&self, violations: &mut Violations) {
        if let Some(role) = self.role.as_deref().filter(|role| !is_role(role)) {
            violations.add("role", role, Constraint::Pattern(ROLE_PATTERN));
        }
        if let Some(handler) = &self.handler {
            violations.check_length("handler", handler, 0, HANDLER_CHARACTERS);
            if handler.is_empty() || handler.contains(char::is_whitespace) {
                violations.add("handler", handler, Constraint::Pattern(r"[^\s]+"));
            }
        }
        if let Some(description) = &self.description {
            violations.check_length("description", description, 0, DESCRIPTION_CHARACTERS);
        }
        let bounds = |range: &std::ops::RangeInclusive<u32>| (i64::from(*range.start()), i64::from(*range.end()));
        if let Some(timeout) = self.timeout {
            let (least, most) = bounds(&limits::TIMEOUT_SECONDS);
            violations.check_range("timeout", timeout, least, most);
        }
        if let Some(memory) = self.memory_size {
            let (least, most) = bounds(&limits::MEMORY_MB);
            violations.check_range("memorySize", memory, least, most);
        }
        if let Some(size) = self.ephemeral_storage.as_ref().and_then(|storage| storage.size) {
            let (least, most) = bounds(&limits::EPHEMERAL_STORAGE_MB);
            violations.check_range("ephemeralStorage.size", size, least, most);
        }
        if let Some(mode) = self.tracing_config.as_ref().and_then(|tracing| tracing.mode.as_deref()) {
            violations.check_enum("tracingConfig.mode", mode, &["Active", "PassThrough"]);
        }
        if let Some(apply) = self.snap_start.as_ref().and_then(|snap| snap.apply_on.as_deref()) {
            violations.check_enum("snapStart.applyOn", apply, &["PublishedVersions", "None"]);
        }
        self.check_logging(violations);
        self.check_vpc(violations);
        if let Some(layers) = &self.layers
            && !layers.iter().all(|layer| is_layer_version(layer))
        {
            let each = [
                Constraint::MaxLength(2048),
                Constraint::MinLength(1),
                Constraint::Pattern(LAYER_VERSION_PATTERN),
                Constraint::NotNull,
            ];
            violations.add("layers", validation::list(layers), Constraint::Each(&each));
        }
        if let Some(pairs) = self.variables()
            && !pairs.0.iter().all(|(name, _)| is_variable(name) || is_reserved(name))
        {
            let each = [Constraint::Pattern("[a-zA-Z]([a-zA-Z0-9_])+")];
            let names = pairs.0.iter().map(|(name, value)| (name, value));
            violations.add(
                "environment.variables",
                validation::map(names),
                Constraint::MapKeys(&each),
            );
        }
    }

    fn check_logging(&self, violations: &mut Violations) {
        let Some(logging) = &self.logging_config else {
            return;
        };
        if let Some(format) = &logging.log_format {
            violations.check_enum("loggingConfig.logFormat", format, &["JSON", "Text"]);
        }
        if let Some(level) = &logging.application_log_level {
            let levels = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
            violations.check_enum("loggingConfig.applicationLogLevel", level, &levels);
        }
        if let Some(level) = &logging.system_log_level {
            violations.check_enum("loggingConfig.systemLogLevel", level, &["DEBUG", "INFO", "WARN"]);
        }
        if let Some(group) = &logging.log_group {
            violations.check_length("loggingConfig.logGroup", group, 1, 512);
            let is_group = group
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/' | b'#'));
            if !is_group {
                violations.add(
                    "loggingConfig.logGroup",
                    group,
                    Constraint::Pattern(r"[\.\-_/#A-Za-z0-9]+"),
                );
            }
        }
    }

    fn check_vpc(&self, violations: &mut Violations) {
        let mut check = |member: &str, ids: Option<&Vec<String>>, prefix: &str, pattern: &str, upper: bool| {
            let Some(ids) = ids else {
                return;
            };
            let is_id = |id: &String| {
                id.strip_prefix(prefix).is_some_and(|rest| {
                    rest.bytes()
                        .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase() || (upper && b.is_ascii_uppercase()))
                })
            };
            if !ids.iter().all(is_id) {
                let each = [
                    Constraint::MaxLength(1024),
                    Constraint::MinLength(0),
                    Constraint::Pattern(pattern),
                ];
                violations.add(member, validation::list(ids), Constraint::Each(&each));
            }
        };
        if let Some(vpc) = &self.vpc_config {
            let groups = vpc.security_group_ids.as_ref();
            check("vpcConfig.securityGroupIds", groups, "sg-", "sg-[0-9a-zA-Z]*", true);
            let subnets = vpc.subnet_ids.as_ref();
            check("vpcConfig.subnetIds", subnets, "subnet-", "subnet-[0-9a-z]*", false);
        }
    }

    /// Refuses what the model allows and this version or this machine cannot do.
    ///
    /// `body` is the whole request, for messages that show the variables in the order sent.
    pub(crate) fn check_possible(&self, body: &[u8], runtimes: &[String]) -> Result<(), ApiError> {
        let absent = [
            ("CapacityProviderConfig", self.capacity_provider_config.is_some()),
            ("DurableConfig", self.durable_config.is_some()),
            ("RuntimeConfig", self.runtime_config.is_some()),
            ("AcceleratorConfig", self.accelerator_config.is_some()),
            ("TenancyConfig", self.tenancy_config.is_some()),
            ("ImageConfig", self.image_config.is_some()),
            (
                "FileSystemConfigs",
                self.file_system_configs.as_ref().is_some_and(|all| !all.is_empty()),
            ),
        ];
        if let Some((member, _)) = absent.iter().find(|(_, is_given)| *is_given) {
            return Err(error::invalid_parameter(format!(
                "{member} is not available in this version of Ephyra."
            )));
        }
        if let Some(vpc) = &self.vpc_config {
            if let Some(subnet) = vpc.subnet_ids.iter().flatten().next() {
                return Err(error::invalid_parameter(format!(
                    "Error occurred while DescribeSubnets. EC2 Error Code: InvalidSubnetID.NotFound. EC2 Error \
                     Message: The subnet ID '{subnet}' does not exist"
                )));
            }
            if let Some(group) = vpc.security_group_ids.iter().flatten().next() {
                return Err(error::invalid_parameter(format!(
                    "Error occurred while DescribeSecurityGroups. EC2 Error Code: InvalidGroup.NotFound. EC2 Error \
                     Message: The security group '{group}' does not exist"
                )));
            }
        }
        if let Some(runtime) = &self.runtime {
            runtime::check(runtime, runtimes)?;
        }
        if let Some(pairs) = self.variables() {
            check_variables(pairs, body)?;
        }
        Ok(())
    }

    /// Applies what was given to `config`.
    ///
    /// # Errors
    /// A log level that goes with no JSON.
    pub(crate) fn apply(self, config: &mut Config, layers: Option<Vec<LayerUse>>) -> Result<(), ApiError> {
        // The ranges were checked.
        let number = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
        set(&mut config.runtime, self.runtime);
        set(&mut config.role, self.role);
        set(&mut config.handler, self.handler);
        set(&mut config.description, self.description);
        set(&mut config.timeout_seconds, self.timeout.map(number));
        set(&mut config.memory_mb, self.memory_size.map(number));
        set(
            &mut config.ephemeral_storage_mb,
            self.ephemeral_storage.and_then(|storage| storage.size).map(number),
        );
        set(
            &mut config.tracing_mode,
            self.tracing_config.and_then(|tracing| tracing.mode),
        );
        set(&mut config.snap_start, self.snap_start.and_then(|snap| snap.apply_on));
        set(&mut config.layers, layers);
        config.has_vpc_config |= self.vpc_config.is_some();
        if let Some(environment) = self.environment {
            config.variables = Some(environment.variables.unwrap_or_default());
        }
        // An empty ARN takes it away.
        let arn = |text: String| Some(text).filter(|text| !text.is_empty());
        if let Some(letter) = self.dead_letter_config {
            config.dead_letter_arn = letter.target_arn.and_then(arn);
        }
        if let Some(key) = self.kms_key_arn {
            config.kms_key_arn = arn(key);
        }
        if let Some(logging) = self.logging_config {
            apply_logging(logging, &mut config.logging)?;
        }
        Ok(())
    }

    fn variables(&self) -> Option<&Pairs> {
        self.environment.as_ref()?.variables.as_ref()
    }
}

/// The configuration of a function of which nothing was given.
pub(crate) fn defaults(name: &FunctionName, architecture: &str) -> Config {
    Config {
        runtime: String::new(),
        handler: String::new(),
        role: String::new(),
        description: String::new(),
        timeout_seconds: 3,
        memory_mb: *limits::MEMORY_MB.start(),
        ephemeral_storage_mb: *limits::EPHEMERAL_STORAGE_MB.start(),
        architecture: architecture.to_owned(),
        variables: None,
        dead_letter_arn: None,
        kms_key_arn: None,
        tracing_mode: "PassThrough".to_owned(),
        snap_start: "None".to_owned(),
        has_vpc_config: false,
        layers: Vec::new(),
        logging: Logging {
            format: LogFormat::Text,
            application_level: LogLevel::Info,
            system_level: LogLevel::Info,
            group: format!("/aws/lambda/{name}"),
        },
    }
}

/// Checks `Architectures`, of which there may be one, and returns it; this machine runs `own` alone.
pub(crate) fn check_architectures(
    violations: &mut Violations,
    given: Option<&Vec<String>>,
    own: &str,
) -> Result<String, ApiError> {
    let Some(given) = given else {
        return Ok(own.to_owned());
    };
    match given.as_slice() {
        [] => violations.add("architectures", "[]", Constraint::MinLength(1)),
        [one] if ARCHITECTURES.contains(&one.as_str()) => {}
        [_] => {
            let each = [Constraint::Enum(ARCHITECTURES), Constraint::NotNull];
            violations.add("architectures", validation::list(given), Constraint::Each(&each));
        }
        _ => violations.add("architectures", validation::list(given), Constraint::MaxLength(1)),
    }
    match given.first() {
        Some(other) if other != own => Err(error::invalid_parameter(format!(
            "The architecture {other} is not available: this machine is {own}."
        ))),
        _ => Ok(own.to_owned()),
    }
}

fn apply_logging(given: LoggingInput, logging: &mut Logging) -> Result<(), ApiError> {
    let levels = [
        given.application_log_level.as_deref(),
        given.system_log_level.as_deref(),
    ];
    let format = match given.log_format.as_deref() {
        Some("JSON") => LogFormat::Json,
        Some(_) => LogFormat::Text,
        None => logging.format,
    };
    if format == LogFormat::Text && levels.iter().any(Option::is_some) {
        return Err(error::invalid_parameter(
            "LogLevel is not supported when LogFormat is set to \"Text\". Remove LogLevel from your request or change \
             the LogFormat to \"JSON\" and try again.",
        ));
    }
    if format != logging.format {
        logging.application_level = LogLevel::Info;
        logging.system_level = LogLevel::Info;
    }
    logging.format = format;
    set(&mut logging.application_level, levels[0].and_then(level));
    set(&mut logging.system_level, levels[1].and_then(level));
    set(&mut logging.group, given.log_group);
    Ok(())
}

fn level(text: &str) -> Option<LogLevel> {
    Some(match text {
        "TRACE" => LogLevel::Trace,
        "DEBUG" => LogLevel::Debug,
        "INFO" => LogLevel::Info,
        "WARN" => LogLevel::Warn,
        "ERROR" => LogLevel::Error,
        "FATAL" => LogLevel::Fatal,
        _ => return None,
    })
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn check_variables(pairs: &Pairs, body: &[u8]) -> Result<(), ApiError> {
    let reserved: Vec<&str> = pairs
        .0
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| is_reserved(name))
        .collect();
    if !reserved.is_empty() {
        return Err(error::invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided contains reserved keys that are currently not supported for modification. Reserved keys used in \
             this request: {}",
            reserved.join(", ")
        )));
    }
    if let Some((name, _)) = pairs.0.iter().find(|(_, value)| value.contains('\0')) {
        return Err(error::invalid_parameter(format!(
            "The environment variable {name} holds a NUL character."
        )));
    }
    if pairs.measured().len() > limits::VARIABLES_BYTES {
        let measured = as_sent(body).map_or_else(|| pairs.measured(), |pairs| pairs.measured());
        return Err(error::invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided exceeded the 4KB limit. String measured: {measured}"
        )));
    }
    Ok(())
}

/// The variables in the order sent: the way that bodies are read puts them in another.
fn as_sent(body: &[u8]) -> Option<Pairs> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "Environment")]
        environment: Environment,
    }
    serde_json::from_slice::<Body>(body).ok()?.environment.variables
}

fn is_variable(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_reserved(name: &str) -> bool {
    RESERVED_VARIABLES.contains(&name)
}

/// `arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+`
fn is_role(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, role] = parts.as_slice() else {
        return false;
    };
    let is_partition = partition.is_empty()
        || partition
            .strip_prefix("aws")
            .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-'));
    let is_role = role.strip_prefix("role").is_some_and(|rest| {
        let rest = rest.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(rest);
        !rest.is_empty()
            && rest
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+=,.@-_/".contains(&b))
    });
    is_partition && crate::name::is_account(account) && is_role
}

/// `arn:…:lambda:REGION:ACCOUNT:layer:NAME:NUMBER`; AWS's own layers are not here, and their ARNs match too.
fn is_layer_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        ["arn", _, "lambda", region, account, "layer", name, number] => {
            !region.is_empty()
                && crate::name::is_account(account)
                && crate::name::is_word(name)
                && !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit())
        }
        ["arn", _, "lambda", "", "", "awslayer", name] => crate::name::is_word(name),
        _ => false,
    }
}

/// Checks tags, and that there are no more than an object may have.
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    const TAGS: usize = 50;
    if tags.len() > TAGS {
        return Err(error::invalid_parameter("Number of tags exceeds resource tag limit."));
    }
    let is_text = |text: &str, most: usize| {
        text.chars().count() <= most
            && text
                .chars()
                .all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c))
    };
    for (key, value) in tags {
        if key.is_empty() || !is_text(key, 128) || !is_text(value, 256) || key.starts_with("aws:") {
            return Err(error::invalid_parameter(format!(
                "The tag {key:?} has a key or a value that tags cannot have."
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        defaults(&"f".parse().unwrap(), "x86_64")
    }

    fn settings(json: &str) -> Settings {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn roles_match_as_on_aws() {
        for role in [
            "arn:aws:iam::111111111111:role/r",
            "arn:aws:iam::111111111111:role/service-role/r",
            "arn:aws-us-gov:iam::111111111111:role/r",
            "arn::iam::111111111111:role/r",
        ] {
            assert!(is_role(role), "{role}");
        }
        for role in [
            "r1",
            "arn:aws:iam::1:role/r",
            "arn:aws:iam::111111111111:user/r",
            "arn:aws:iam::111111111111:role/ ",
        ] {
            assert!(!is_role(role), "{role}");
        }
    }

    #[test]
    fn log_levels_go_with_json_alone() {
        let mut config = config();
        let text = settings(r#"{"LoggingConfig":{"SystemLogLevel":"DEBUG"}}"#);
        let error = text.apply(&mut config, None).unwrap_err();
        assert!(error.message.starts_with("LogLevel is not supported"));
        let json = settings(r#"{"LoggingConfig":{"LogFormat":"JSON","SystemLogLevel":"DEBUG"}}"#);
        json.apply(&mut config, None).unwrap();
        assert_eq!(config.logging.system_level, LogLevel::Debug);
        assert_eq!(config.logging.application_level, LogLevel::Info);
        let group = settings(r#"{"LoggingConfig":{"LogGroup":"g"}}"#);
        group.apply(&mut config, None).unwrap();
        assert_eq!(config.logging.format, LogFormat::Json);
        assert_eq!(config.logging.system_level, LogLevel::Debug);
        let back = settings(r#"{"LoggingConfig":{"LogFormat":"Text"}}"#);
        back.apply(&mut config, None).unwrap();
        assert_eq!(config.logging.system_level, LogLevel::Info);
    }

    #[test]
    fn variables_are_measured_as_sent() {
        let large = "x".repeat(5000);
        let body = format!(r#"{{"Environment":{{"Variables":{{"SMALL":"ok","LARGE":"{large}"}}}}}}"#);
        let error = settings(&body).check_possible(body.as_bytes(), &[]).unwrap_err();
        let start = r#"exceeded the 4KB limit. String measured: {"SMALL":"ok","LARGE":"xx"#;
        assert!(error.message.contains(start), "{}", error.message);
    }

    #[test]
    fn reserved_variables_are_refused() {
        let body = r#"{"Environment":{"Variables":{"AWS_REGION":"x"}}}"#;
        let given = settings(body);
        let mut violations = Violations::default();
        given.check(&mut violations);
        assert!(violations.finish().is_ok());
        let error = given.check_possible(body.as_bytes(), &[]).unwrap_err();
        assert!(
            error
                .message
                .ends_with("Reserved keys used in this request: AWS_REGION")
        );
    }

    #[test]
    fn an_environment_once_given_is_shown() {
        let mut config = config();
        assert_eq!(config.variables, None);
        settings(r#"{"Environment":{}}"#).apply(&mut config, None).unwrap();
        assert_eq!(config.variables, Some(Pairs::default()));
    }
}
