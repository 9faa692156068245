//! The environment variables of a guest, as Lambda sets them.
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>.

use ephyra_core::digest::Digest;
use ephyra_core::environment::Purpose;
use ephyra_core::id::EnvironmentId;
use ephyra_core::revision::{LogFormat, Revision};

use crate::runtime::{Runtime, RuntimeKind};

/// Where the Runtime API is inside a guest.
pub const RUNTIME_API: &str = "127.0.0.1:9001";

/// What a function may set to something else; everything else of ours stands, whatever the function's configuration says.
const OPEN: [&str; 8] = [
    "LANG",
    "TZ",
    "PATH",
    "LD_LIBRARY_PATH",
    "NODE_PATH",
    "PYTHONPATH",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
];

/// Temporary credentials of one environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// `ASIA` and sixteen letters and digits.
    pub access_key_id: String,
    /// Forty characters.
    pub secret_access_key: String,
    /// Not empty.
    pub session_token: String,
}

impl Credentials {
    /// Credentials made of random bytes, `entropy`. Nobody knows them: they open nothing.
    pub fn from_entropy(entropy: [u8; 64]) -> Self {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let digest = |label: u8| Digest::of(&[&entropy[..], &[label]].concat());
        let id = digest(0).as_bytes()[..16]
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
            .collect::<String>();
        let secret = digest(1).to_string();
        let token = [digest(2), digest(3), digest(4)].map(|part| part.to_string()).concat();
        Self {
            access_key_id: format!("ASIA{id}"),
            secret_access_key: secret[..40].to_owned(),
            session_token: token,
        }
    }

    /// Credentials that nobody has had before.
    pub fn random() -> Self {
        let mut entropy = [0; 64];
        for part in entropy.chunks_mut(16) {
            part.copy_from_slice(EnvironmentId::new().as_bytes());
        }
        Self::from_entropy(entropy)
    }
}

/// The variables that all functions of a runtime have in common, unless they set them to something else: those that act
/// while an interpreter starts, and those that never differ.
pub(crate) fn foundation(runtime: &Runtime) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::with_capacity(48);
    let mut set = |name: &str, value: &str| all.push((name.to_owned(), value.to_owned()));
    set("LANG", "en_US.UTF-8");
    set("TZ", ":UTC");
    set("PATH", &path(runtime));
    set(
        "LD_LIBRARY_PATH",
        "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
    );
    set("LAMBDA_TASK_ROOT", "/var/task");
    set("LAMBDA_RUNTIME_DIR", "/var/runtime");
    set("AWS_LAMBDA_RUNTIME_API", RUNTIME_API);
    match runtime.kind {
        RuntimeKind::Python => set("PYTHONPATH", "/var/runtime"),
        RuntimeKind::Node => {
            let version = runtime.identifier.trim_start_matches("nodejs");
            let major = version.split('.').next().unwrap_or_default();
            let path = format!(
                "/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:\
                 /var/runtime:/var/task"
            );
            set("NODE_PATH", &path);
        }
        RuntimeKind::Java | RuntimeKind::Provided => {}
    }
    all
}

/// The variables of a guest that runs `revision` with `runtime` and logs to `log_stream`.
pub fn variables(
    revision: &Revision,
    runtime: &Runtime,
    purpose: Purpose,
    log_stream: &str,
    credentials: &Credentials,
) -> Vec<(String, String)> {
    let mut all = foundation(runtime);
    add_those_of(revision, purpose, log_stream, credentials, &mut all);
    if runtime.kind != RuntimeKind::Provided {
        let environment = format!("AWS_Lambda_{}", revision.runtime);
        all.push(("AWS_EXECUTION_ENV".to_owned(), environment));
    }
    add_the_users(revision, &mut all);
    all
}

/// The variables of a guest that sees no files and no Runtime API.
pub fn variables_without_files(
    revision: &Revision,
    purpose: Purpose,
    log_stream: &str,
    credentials: &Credentials,
) -> Vec<(String, String)> {
    let mut all = Vec::with_capacity(32);
    for (name, value) in [("LANG", "en_US.UTF-8"), ("TZ", ":UTC")] {
        all.push((name.to_owned(), value.to_owned()));
    }
    add_those_of(revision, purpose, log_stream, credentials, &mut all);
    let environment = format!("AWS_Lambda_{}", revision.runtime);
    all.push(("AWS_EXECUTION_ENV".to_owned(), environment));
    add_the_users(revision, &mut all);
    all
}

/// What says which function it is, and with which credentials.
fn add_those_of(
    revision: &Revision,
    purpose: Purpose,
    log_stream: &str,
    credentials: &Credentials,
    all: &mut Vec<(String, String)>,
) {
    let region = revision.function_arn.split(':').nth(3).unwrap_or_default();
    let logging = &revision.logging;
    let mut set = |name: &str, value: &str| all.push((name.to_owned(), value.to_owned()));

    set("_HANDLER", &revision.handler);
    set("AWS_REGION", region);
    set("AWS_DEFAULT_REGION", region);
    set("AWS_LAMBDA_FUNCTION_NAME", revision.function.as_str());
    set("AWS_LAMBDA_FUNCTION_VERSION", &revision.version.to_string());
    set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &revision.memory_mb.to_string());
    set("AWS_LAMBDA_LOG_GROUP_NAME", &logging.group);
    set("AWS_LAMBDA_LOG_STREAM_NAME", log_stream);
    set("AWS_LAMBDA_INITIALIZATION_TYPE", purpose.as_str());
    match logging.format {
        LogFormat::Text => set("AWS_LAMBDA_LOG_FORMAT", "Text"),
        LogFormat::Json => {
            set("AWS_LAMBDA_LOG_FORMAT", "JSON");
            set(
                "AWS_LAMBDA_LOG_LEVEL",
                &format!("{:?}", logging.application_level).to_uppercase(),
            );
        }
    }
    set("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR");
    set("AWS_XRAY_DAEMON_ADDRESS", "169.254.79.129:2000");
    set("_AWS_XRAY_DAEMON_ADDRESS", "169.254.79.129");
    set("_AWS_XRAY_DAEMON_PORT", "2000");
    set("AWS_ACCESS_KEY_ID", &credentials.access_key_id);
    set("AWS_SECRET_ACCESS_KEY", &credentials.secret_access_key);
    set("AWS_SESSION_TOKEN", &credentials.session_token);
}

/// The user's own, where they may be.
fn add_the_users(revision: &Revision, all: &mut Vec<(String, String)>) {
    for (name, value) in &revision.variables {
        match all.iter_mut().find(|(ours, _)| ours == name) {
            Some((_, ours)) if OPEN.contains(&name.as_str()) => value.clone_into(ours),
            Some(_) => {}
            None => all.push((name.clone(), value.clone())),
        }
    }
}

fn path(runtime: &Runtime) -> String {
    const COMMON: &str = "/usr/local/bin:/usr/bin:/bin:/opt/bin";
    match runtime.executable.rsplit_once('/') {
        Some((folder, _)) if !folder.is_empty() && !COMMON.split(':').any(|known| known == folder) => {
            format!("{folder}:{COMMON}")
        }
        _ => COMMON.to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashMap;

    use ephyra_core::id::{RevisionId, Version};
    use ephyra_core::revision::{LogLevel, Logging};

    use super::*;
    use crate::runtime::{Bootstrap, command};

    pub(crate) fn revision(runtime: &str, user: &[(&str, &str)]) -> Revision {
        Revision {
            id: RevisionId::from_bytes([0; 16]),
            function: "work".parse().unwrap(),
            version: Version::Number(7),
            function_arn: "arn:aws:lambda:eu-west-1:000000000000:function:work".to_owned(),
            runtime: runtime.to_owned(),
            handler: "app.handler".to_owned(),
            code: Digest::of(b""),
            layers: Vec::new(),
            memory_mb: 256,
            ephemeral_storage_mb: 512,
            timeout_seconds: 3,
            variables: user
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            logging: Logging {
                format: LogFormat::Json,
                application_level: LogLevel::Warn,
                system_level: LogLevel::Info,
                group: "/aws/lambda/work".to_owned(),
            },
        }
    }

    pub(crate) fn runtime(identifier: &str, kind: RuntimeKind, executable: &str) -> Runtime {
        Runtime {
            identifier: identifier.to_owned(),
            kind,
            executable: executable.to_owned(),
            version: "1".to_owned(),
            has_zygote: false,
        }
    }

    fn of(revision: &Revision, runtime: &Runtime) -> HashMap<String, String> {
        let list = variables(
            revision,
            runtime,
            Purpose::OnDemand,
            "2026/01/01/[7]00",
            &Credentials::from_entropy([0; 64]),
        );
        let count = list.len();
        let map: HashMap<_, _> = list.into_iter().collect();
        assert_eq!(map.len(), count, "a variable is set twice");
        map
    }

    #[test]
    fn python_gets_what_lambda_sets() {
        let runtime = runtime("python3.13", RuntimeKind::Python, "/opt/py/bin/python3.13");
        let seen = of(&revision("python3.13", &[("MINE", "1")]), &runtime);
        for (name, want) in [
            ("LANG", "en_US.UTF-8"),
            ("TZ", ":UTC"),
            ("PATH", "/opt/py/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin"),
            ("LAMBDA_TASK_ROOT", "/var/task"),
            ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
            ("_HANDLER", "app.handler"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
            ("AWS_EXECUTION_ENV", "AWS_Lambda_python3.13"),
            ("AWS_LAMBDA_FUNCTION_NAME", "work"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "7"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/work"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/01/[7]00"),
            ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
            ("AWS_LAMBDA_LOG_LEVEL", "WARN"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("PYTHONPATH", "/var/runtime"),
            ("MINE", "1"),
        ] {
            assert_eq!(seen.get(name).map(String::as_str), Some(want), "{name}");
        }
        assert!(seen["LD_LIBRARY_PATH"].ends_with(":/opt/lib"));
        assert_eq!(seen["AWS_LAMBDA_RUNTIME_API"], "127.0.0.1:9001");
        assert!(!seen.contains_key("NODE_PATH"));
    }

    #[test]
    fn node_finds_layers_of_its_version_and_provided_finds_the_runtime_api() {
        let seen = of(
            &revision("nodejs22.x", &[]),
            &runtime("nodejs22.x", RuntimeKind::Node, "/usr/bin/node"),
        );
        let want =
            "/opt/nodejs/node22/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/runtime:/var/task";
        assert_eq!(seen["NODE_PATH"], want);
        assert_eq!(seen["PATH"], "/usr/local/bin:/usr/bin:/bin:/opt/bin");
        let seen = of(
            &revision("provided.al2023", &[]),
            &runtime("provided.al2023", RuntimeKind::Provided, ""),
        );
        assert_eq!(seen["AWS_LAMBDA_RUNTIME_API"], "127.0.0.1:9001");
        assert!(!seen.contains_key("AWS_EXECUTION_ENV") && !seen.contains_key("PYTHONPATH"));
    }

    #[test]
    fn a_function_changes_what_is_open_and_nothing_else() {
        let user = [
            ("PATH", "/mine"),
            ("AWS_REGION", "mars"),
            ("AWS_ACCESS_KEY_ID", "stolen"),
            ("_HANDLER", "other"),
        ];
        let seen = of(
            &revision("python3.13", &user),
            &runtime("python3.13", RuntimeKind::Python, "/usr/bin/python3"),
        );
        assert_eq!(seen["PATH"], "/mine");
        assert_eq!(
            (seen["AWS_REGION"].as_str(), seen["_HANDLER"].as_str()),
            ("eu-west-1", "app.handler")
        );
        assert!(seen["AWS_ACCESS_KEY_ID"].starts_with("ASIA"));
    }

    #[test]
    fn credentials_look_like_temporary_ones_and_differ() {
        let credentials = Credentials::random();
        assert_eq!(
            (credentials.access_key_id.len(), credentials.secret_access_key.len()),
            (20, 40)
        );
        assert_ne!(credentials, Credentials::random());
    }

    #[test]
    fn commands_name_the_program_and_the_wrapper() {
        let python = runtime("python3.13", RuntimeKind::Python, "/usr/bin/python3.13");
        let plain = ["/usr/bin/python3.13", "-X", "utf8", "-S", "/var/runtime/bootstrap.py"];
        assert_eq!(command(&revision("python3.13", &[]), &python, None).unwrap(), plain);
        let wrapped = revision("python3.13", &[("AWS_LAMBDA_EXEC_WRAPPER", "/opt/wrap")]);
        assert_eq!(
            command(&wrapped, &python, None).unwrap()[..2],
            ["/opt/wrap", "/usr/bin/python3.13"]
        );
        let node = runtime("nodejs22.x", RuntimeKind::Node, "/usr/bin/node");
        let want = ["/usr/bin/node", "--max-old-space-size=230", "/var/runtime/index.js"];
        assert_eq!(command(&revision("nodejs22.x", &[]), &node, None).unwrap(), want);
        let provided = runtime("provided.al2023", RuntimeKind::Provided, "");
        assert_eq!(
            command(&wrapped, &provided, Some(Bootstrap::Layer)).unwrap(),
            ["/opt/bootstrap"]
        );
        assert_eq!(command(&wrapped, &provided, None), None);
    }

    #[test]
    fn every_file_of_a_runtime_is_an_asset() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtimes");
        let count = |folder: &str, ending: &str| -> usize {
            let mut folders = vec![root.join(folder)];
            let mut count = 0;
            while let Some(folder) = folders.pop() {
                for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                    let path = entry.path();
                    if path.is_dir() {
                        folders.push(path);
                    } else if path.extension().is_some_and(|found| found == ending) {
                        count += 1;
                    }
                }
            }
            count
        };
        for (kind, folder, ending) in [
            (RuntimeKind::Python, "python", "py"),
            (RuntimeKind::Node, "node", "js"),
            (RuntimeKind::Java, "java", "java"),
        ] {
            let is_such = |path: &str| {
                std::path::Path::new(path)
                    .extension()
                    .is_some_and(|found| found == ending)
            };
            let assets = crate::assets()
                .iter()
                .filter(|asset| asset.kind == kind && is_such(asset.path))
                .count();
            assert_eq!(assets, count(folder, ending), "{folder}");
        }
    }
}
