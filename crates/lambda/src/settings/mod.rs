//! The members that `CreateFunction` and `UpdateFunctionConfiguration` share: checked, and applied to a
//! configuration.

mod constraints;
mod tags;
mod variables;

pub(crate) use tags::check_tags;

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

pub(crate) const ARCHITECTURES: &[&str] = &["x86_64", "arm64"];
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
            variables::check(pairs, body)?;
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
        if config.has_snap_start() && !runtime::can_snap_start(&config.runtime) {
            let runtime = &config.runtime;
            return Err(error::invalid_parameter(format!(
                "{runtime} is not supported for SnapStart enabled functions."
            )));
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
