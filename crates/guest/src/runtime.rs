//! The runtimes: what is started in a guest, and the files of ours that it needs.

use ephyra_core::digest::Digest;
use ephyra_core::revision::Revision;

use crate::java;

/// How a runtime is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuntimeKind {
    /// Our Python runtime, over frames.
    Python,
    /// Our Node runtime, over frames.
    Node,
    /// Our Java runtime, over frames.
    Java,
    /// The function's own `bootstrap`, over the HTTP Runtime API.
    Provided,
}

/// A runtime that is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Such as `python3.13`, `nodejs22.x` or `provided.al2023`.
    pub identifier: String,
    /// How it is spoken to.
    pub kind: RuntimeKind,
    /// The interpreter's absolute path in the sandbox; empty when provided.
    pub executable: String,
    /// The interpreter's version, such as `3.13.1`; empty when provided.
    pub version: String,
    /// Whether a zygote forks it into sandboxes.
    pub has_zygote: bool,
}

impl RuntimeKind {
    /// Whether it sizes its heap by the function's memory when it boots, and never again.
    pub(crate) const fn sizes_its_heap(self) -> bool {
        match self {
            // Neither V8 nor a JVM takes another limit once its heap is set up.
            Self::Node | Self::Java => true,
            Self::Python | Self::Provided => false,
        }
    }
}

/// Where a provided runtime's `bootstrap` is: the package goes before the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// `/var/task/bootstrap`.
    Task,
    /// `/opt/bootstrap`.
    Layer,
}

impl Bootstrap {
    /// Its path in the sandbox.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Task => "/var/task/bootstrap",
            Self::Layer => "/opt/bootstrap",
        }
    }
}

/// A file of ours for `/var/runtime`.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// The runtime that needs it.
    pub kind: RuntimeKind,
    /// Its path below `/var/runtime`.
    pub path: &'static str,
    /// What it holds.
    pub bytes: &'static [u8],
}

macro_rules! asset {
    ($kind:ident, $folder:literal, $path:literal) => {
        Asset {
            kind: RuntimeKind::$kind,
            path: $path,
            bytes: include_bytes!(concat!("../../../runtimes/", $folder, "/", $path)),
        }
    };
}

/// Over the files of one runtime: the digests of each one's path and content, one behind the other.
pub(crate) fn asset_digests(kind: RuntimeKind) -> Vec<u8> {
    let own = assets().iter().filter(|asset| asset.kind == kind);
    own.flat_map(|asset| [Digest::of(asset.path.as_bytes()), Digest::of(asset.bytes)])
        .flat_map(|digest| *digest.as_bytes())
        .collect()
}

/// The files that managed runtimes need in `/var/runtime`, world-readable and without write permission.
pub const fn assets() -> &'static [Asset] {
    &[
        asset!(Python, "python", "bootstrap.py"),
        asset!(Python, "python", "zygote.py"),
        asset!(Python, "python", "ephyra_runtime/__init__.py"),
        asset!(Python, "python", "ephyra_runtime/enter.py"),
        asset!(Python, "python", "ephyra_runtime/rehearsal.py"),
        asset!(Python, "python", "ephyra_runtime/renew.py"),
        asset!(Python, "python", "ephyra_runtime/zygote.py"),
        asset!(Python, "python", "ephyra_runtime/loop.py"),
        asset!(Python, "python", "ephyra_runtime/faults.py"),
        asset!(Python, "python", "ephyra_runtime/lasting.py"),
        asset!(Python, "python", "ephyra_runtime/logs.py"),
        asset!(Python, "python", "ephyra_runtime/restore.py"),
        asset!(Python, "python", "snapshot_restore_py.py"),
        asset!(Node, "node", "index.js"),
        asset!(Node, "node", "cache.js"),
        asset!(Node, "node", "control.js"),
        asset!(Node, "node", "faults.js"),
        asset!(Node, "node", "load.js"),
        asset!(Node, "node", "log.js"),
        asset!(Node, "node", "modules.js"),
        asset!(Node, "node", "stream.js"),
        asset!(Node, "node", "trace.js"),
        asset!(Java, "java", "manifest"),
        asset!(Java, "java", "src/com/amazonaws/services/lambda/runtime/Client.java"),
        asset!(
            Java,
            "java",
            "src/com/amazonaws/services/lambda/runtime/ClientContext.java"
        ),
        asset!(
            Java,
            "java",
            "src/com/amazonaws/services/lambda/runtime/CognitoIdentity.java"
        ),
        asset!(Java, "java", "src/com/amazonaws/services/lambda/runtime/Context.java"),
        asset!(
            Java,
            "java",
            "src/com/amazonaws/services/lambda/runtime/CustomPojoSerializer.java"
        ),
        asset!(
            Java,
            "java",
            "src/com/amazonaws/services/lambda/runtime/LambdaLogger.java"
        ),
        asset!(
            Java,
            "java",
            "src/com/amazonaws/services/lambda/runtime/LambdaRuntime.java"
        ),
        asset!(
            Java,
            "java",
            "src/com/amazonaws/services/lambda/runtime/LambdaRuntimeInternal.java"
        ),
        asset!(
            Java,
            "java",
            "src/com/amazonaws/services/lambda/runtime/RequestHandler.java"
        ),
        asset!(
            Java,
            "java",
            "src/com/amazonaws/services/lambda/runtime/RequestStreamHandler.java"
        ),
        asset!(
            Java,
            "java",
            "src/com/amazonaws/services/lambda/runtime/logging/LogFormat.java"
        ),
        asset!(
            Java,
            "java",
            "src/com/amazonaws/services/lambda/runtime/logging/LogLevel.java"
        ),
        asset!(Java, "java", "src/ephyra/crac/CheckpointException.java"),
        asset!(Java, "java", "src/ephyra/crac/Context.java"),
        asset!(Java, "java", "src/ephyra/crac/Core.java"),
        asset!(Java, "java", "src/ephyra/crac/Resource.java"),
        asset!(Java, "java", "src/ephyra/crac/RestoreException.java"),
        asset!(Java, "java", "src/ephyra/runtime/Bean.java"),
        asset!(Java, "java", "src/ephyra/runtime/Bind.java"),
        asset!(Java, "java", "src/ephyra/runtime/Control.java"),
        asset!(Java, "java", "src/ephyra/runtime/EventNames.java"),
        asset!(Java, "java", "src/ephyra/runtime/Fault.java"),
        asset!(Java, "java", "src/ephyra/runtime/Folder.java"),
        asset!(Java, "java", "src/ephyra/runtime/Handler.java"),
        asset!(Java, "java", "src/ephyra/runtime/Invocation.java"),
        asset!(Java, "java", "src/ephyra/runtime/Json.java"),
        asset!(Java, "java", "src/ephyra/runtime/JsonException.java"),
        asset!(Java, "java", "src/ephyra/runtime/JsonWriter.java"),
        asset!(Java, "java", "src/ephyra/runtime/Loader.java"),
        asset!(Java, "java", "src/ephyra/runtime/Log.java"),
        asset!(Java, "java", "src/ephyra/runtime/Main.java"),
        asset!(Java, "java", "src/ephyra/runtime/Methods.java"),
        asset!(Java, "java", "src/ephyra/runtime/Output.java"),
        asset!(Java, "java", "src/ephyra/runtime/Rehearsal.java"),
        asset!(Java, "java", "src/ephyra/runtime/Scalars.java"),
        asset!(Java, "java", "src/ephyra/runtime/Times.java"),
        asset!(Java, "java", "src/ephyra/runtime/Types.java"),
        asset!(Java, "java", "src/ephyra/runtime/Values.java"),
        asset!(Java, "java", "src/ephyra/runtime/Variables.java"),
    ]
}

/// The program and its arguments that start a managed runtime; `AWS_LAMBDA_EXEC_WRAPPER` goes before all of it.
/// For a provided one it is `bootstrap` alone; `None` when that is missing.
pub fn command(revision: &Revision, runtime: &Runtime, bootstrap: Option<Bootstrap>) -> Option<Vec<String>> {
    if runtime.kind == RuntimeKind::Provided {
        return Some(vec![bootstrap?.path().to_owned()]);
    }
    let mut arguments = program(runtime, revision.memory_mb);
    if let Some(wrapper) = wrapper(revision, runtime) {
        arguments.insert(0, wrapper.to_owned());
    }
    Some(arguments)
}

/// The program of a managed runtime and its arguments, for a function of so much memory.
pub(crate) fn program(runtime: &Runtime, memory_mb: u32) -> Vec<String> {
    let mut arguments: Vec<String> = match runtime.kind {
        RuntimeKind::Provided => Vec::new(),
        RuntimeKind::Python => {
            // UTF-8 whatever locales the machine has; none of the packages that this machine happens to have, whose
            // start-up hooks alone can cost 20 ms: a function has what it and its layers bring.
            ["-X", "utf8", "-S", "/var/runtime/bootstrap.py"]
                .map(str::to_owned)
                .to_vec()
        }
        RuntimeKind::Node => {
            // V8 cannot see the memory limit from inside; the rest is for what is not its heap.
            let heap = format!("--max-old-space-size={}", memory_mb * 9 / 10);
            vec![heap, "/var/runtime/index.js".to_owned()]
        }
        RuntimeKind::Java => java::arguments(runtime, memory_mb),
    };
    arguments.insert(0, runtime.executable.clone());
    arguments
}

/// The wrapper script of a managed runtime, if the function names one.
pub(crate) fn wrapper<'a>(revision: &'a Revision, runtime: &Runtime) -> Option<&'a str> {
    let (_, path) = revision
        .variables
        .iter()
        .find(|(name, _)| name == "AWS_LAMBDA_EXEC_WRAPPER")?;
    (runtime.kind != RuntimeKind::Provided && !path.is_empty()).then_some(path)
}
