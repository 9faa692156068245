//! The model's constraints on a function's configuration.

use ephyra_core::limits;
use ephyra_wire::validation::{self, Constraint, Violations};

use super::{Settings, variables};
use crate::name;

const ROLE_PATTERN: &str = r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+";
const LAYER_VERSION_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+)";
/// The model's limits that are the same for both operations.
const DESCRIPTION_CHARACTERS: usize = 256;
const HANDLER_CHARACTERS: usize = 128;
const ARN_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()";

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
        let target = self
            .dead_letter_config
            .as_ref()
            .and_then(|letter| letter.target_arn.as_deref());
        for (member, arn) in [
            ("kMSKeyArn", self.kms_key_arn.as_deref()),
            ("deadLetterConfig.targetArn", target),
        ] {
            if let Some(arn) = arn.filter(|arn| !is_arn_or_empty(arn)) {
                violations.add(member, arn, Constraint::Pattern(ARN_PATTERN));
            }
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
            && !pairs
                .0
                .iter()
                .all(|(name, _)| variables::is_variable(name) || variables::is_reserved(name))
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
    is_partition && name::is_account(account) && is_role
}

/// `arn:…:lambda:REGION:ACCOUNT:layer:NAME:NUMBER`; AWS's own layers are not here, and their ARNs match too.
fn is_layer_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        ["arn", _, "lambda", region, account, "layer", name, number] => {
            !region.is_empty()
                && name::is_account(account)
                && name::is_word(name)
                && !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit())
        }
        ["arn", _, "lambda", "", "", "awslayer", name] => name::is_word(name),
        _ => false,
    }
}

/// `(arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()`
fn is_arn_or_empty(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(4, ':').collect();
    match parts.as_slice() {
        [""] => true,
        ["arn", partition, service, _] => {
            (partition.is_empty() || partition.starts_with("aws"))
                && !service.is_empty()
                && service
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn keys_and_targets_are_arns_or_nothing() {
        for text in ["", "arn:aws:sqs:us-east-1:111111111111:q", "arn:aws:kms:x"] {
            assert!(is_arn_or_empty(text), "{text}");
        }
        for text in ["x", "arn:aws", "arn:gcp:sqs:x", "arn:aws::x"] {
            assert!(!is_arn_or_empty(text), "{text}");
        }
    }
}
