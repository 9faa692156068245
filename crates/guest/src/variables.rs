//! The environment variables of a guest, as Lambda sets them.
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>.

use ephyra_core::digest::Digest;
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

    pub(crate) fn random() -> Self {
        let mut entropy = [0; 64];
        for part in entropy.chunks_mut(16) {
            part.copy_from_slice(EnvironmentId::new().as_bytes());
        }
        Self::from_entropy(entropy)
    }
}

/// The variables of a guest that runs `revision` with `runtime` and logs to `log_stream`.
pub fn variables(
    revision: &Revision,
    runtime: &Runtime,
    log_stream: &str,
    credentials: &Credentials,
) -> Vec<(String, String)> {
    let region = revision.function_arn.split(':').nth(3).unwrap_or_default();
    let logging = &revision.logging;
    let mut all: Vec<(String, String)> = Vec::with_capacity(32 + revision.variables.len());
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
    set("_HANDLER", &revision.handler);
    set("AWS_REGION", region);
    set("AWS_DEFAULT_REGION", region);
    set("AWS_LAMBDA_FUNCTION_NAME", revision.function.as_str());
    set("AWS_LAMBDA_FUNCTION_VERSION", &revision.version.to_string());
    set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &revision.memory_mb.to_string());
    set("AWS_LAMBDA_LOG_GROUP_NAME", &logging.group);
    set("AWS_LAMBDA_LOG_STREAM_NAME", log_stream);
    set("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand");
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
    if runtime.kind == RuntimeKind::Provided {
        set("AWS_LAMBDA_RUNTIME_API", RUNTIME_API);
    } else {
        set("AWS_EXECUTION_ENV", &format!("AWS_Lambda_{}", revision.runtime));
    }
    match runtime.kind {
        RuntimeKind::Python => set("PYTHONPATH", "/var/runtime"),
        RuntimeKind::Node => {
            let major = revision
                .runtime
                .trim_start_matches("nodejs")
                .split('.')
                .next()
                .unwrap_or_default();
            let path = format!(
                "/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:\
                 /var/runtime:/var/task"
            );
            set("NODE_PATH", &path);
        }
        RuntimeKind::Provided => {}
    }

    for (name, value) in &revision.variables {
        match all.iter_mut().find(|(ours, _)| ours == name) {
            Some((_, ours)) if OPEN.contains(&name.as_str()) => value.clone_into(ours),
            Some(_) => {}
            None => all.push((name.clone(), value.clone())),
        }
    }
    all
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
