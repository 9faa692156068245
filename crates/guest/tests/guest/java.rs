//! The Java runtime. Without a JDK these say so and pass; `e2e/test_java.py`, which has AWS's libraries, demands one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use ephyra_core::environment::Purpose;
use ephyra_core::revision::LogLevel;
use ephyra_guest::{Runtime, RuntimeKind};
use serde_json::{Value, json};

use crate::support::{BASE, Rig, answer, failure};

/// A JDK, and what was compiled with it.
struct Kit {
    java: PathBuf,
    folder: tempfile::TempDir,
}

/// `None` when there is no JDK.
fn kit() -> Option<&'static Kit> {
    static KIT: OnceLock<Option<Kit>> = OnceLock::new();
    KIT.get_or_init(|| {
        let Some(javac) = javac() else {
            eprintln!("skipped: there is no JDK on this machine");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        let runtime = source.join("../../runtimes/java");
        let sources = ephyra_guest::assets()
            .iter()
            .filter(|asset| asset.kind == RuntimeKind::Java && asset.path.ends_with("java"))
            .map(|asset| runtime.join(asset.path));
        let mut compile = Command::new(&javac);
        compile.args([
            "-nowarn",
            "-proc:none",
            "-encoding",
            "UTF-8",
            "--release",
            "8",
            "-Xlint:-options",
            "-d",
        ]);
        compile.arg(folder.path()).args(sources);
        run(compile.arg(source.join("tests/guest/java/Shapes.java")));
        let mut pack = Command::new(javac.with_file_name("jar"));
        pack.arg("cfm")
            .arg(folder.path().join("runtime.jar"))
            .arg(runtime.join("manifest"));
        run(pack
            .arg("-C")
            .arg(folder.path())
            .arg("ephyra")
            .arg("-C")
            .arg(folder.path())
            .arg("com"));
        std::fs::write(folder.path().join("arguments"), "").unwrap();
        BASE.set(folder.path().to_owned()).unwrap();
        Some(Kit {
            java: javac.with_file_name("java"),
            folder,
        })
    })
    .as_ref()
}

fn javac() -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let jvms = std::fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    folders.extend(jvms.map(|entry| entry.path().join("bin")));
    let found = folders
        .into_iter()
        .find_map(|folder| folder.join("javac").canonicalize().ok());
    found.filter(|javac| javac.with_file_name("jar").exists())
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn app(handler: &str) -> Option<Rig> {
    let kit = kit()?;
    let runtime = Runtime {
        identifier: "java17".to_owned(),
        kind: RuntimeKind::Java,
        executable: kit.java.to_str().unwrap().to_owned(),
        version: "17".to_owned(),
        has_zygote: false,
    };
    let rig = Rig::new(runtime, handler, &[]);
    for entry in kit.folder.path().read_dir().unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|extension| extension == "class") {
            std::fs::copy(entry.path(), rig.folder.path().join(entry.file_name())).unwrap();
        }
    }
    Some(rig)
}

#[tokio::test]
async fn an_event_goes_there_and_back_and_again() {
    let Some(rig) = app("Shapes") else { return };
    let (environment, execution) = rig.once(r#"{"a":[1,null,"é",2.5]}"#).await;
    let first = answer(&execution);
    assert_eq!(
        (&first["n"], &first["event"]),
        (&json!(1), &json!({"a": [1, null, "é", 2.5]}))
    );
    assert_eq!(first["arn"], format!("{}:live", rig.revision.function_arn));
    let (environment, execution) = environment.unwrap().invoke(rig.invocation("{}")).await;
    assert_eq!(answer(&execution)["n"], 2);
    assert_ne!(answer(&execution)["id"], first["id"]);
    assert!(environment.is_some());
    rig.has_logged("hé\nagain {a=[1, null, é, 2.5]}");
}

#[tokio::test]
async fn large_events_and_answers_pass_through() {
    let Some(rig) = app("Shapes$Echo") else { return };
    let environment = rig.launch().await;
    let event = format!("\"{}\"", "ab".repeat(2_500_000));
    let (environment, execution) = environment.invoke(rig.invocation(&event)).await;
    assert_eq!(execution.result.unwrap(), event.as_bytes());
    let (_, execution) = environment.unwrap().invoke(rig.invocation("1")).await;
    assert_eq!(answer(&execution), 1);
}

#[tokio::test]
async fn failures_are_told_as_lambda_does() {
    let Some(rig) = app("Shapes::fail") else { return };
    let (environment, execution) = rig.once(r#""throw""#).await;
    let (error_type, document) = failure(&execution);
    assert_eq!(error_type, "java.lang.IllegalStateException");
    assert_eq!(
        (&document["errorMessage"], &document["errorType"]),
        (&json!("bad"), &json!(error_type))
    );
    assert_eq!(document["cause"]["errorType"], "java.io.IOException");
    let frames: Vec<&str> = document["stackTrace"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(frames[0].starts_with("Shapes.fail(Shapes.java:"), "{frames:?}");
    assert!(!frames.iter().any(|frame| frame.contains("ephyra")), "{frames:?}");
    // It goes on.
    let (environment, execution) = environment.unwrap().invoke(rig.invocation("{}")).await;
    assert_eq!(
        failure(&execution).1["errorMessage"],
        "An error occurred during JSON parsing"
    );
    let (environment, execution) = environment.unwrap().invoke(rig.invocation(r#""print""#)).await;
    assert_eq!(answer(&execution), json!(null));
    rig.has_logged("unfinished line");
    // Until nothing can be relied on.
    let (environment, execution) = environment.unwrap().invoke(rig.invocation(r#""stack""#)).await;
    assert_eq!(failure(&execution).0, "java.lang.StackOverflowError");
    assert!(environment.is_none());
    let (environment, execution) = rig.once(r#""exit""#).await;
    assert_eq!(failure(&execution).0, "Runtime.ExitError");
    assert!(environment.is_none());
    rig.has_logged("Runtime exited with error: exit status 7");
}

#[tokio::test]
async fn what_cannot_be_loaded_is_told_when_lambda_does() {
    let Some(rig) = app("None") else { return };
    let mut environment = Some(rig.launch().await);
    for _ in 0..2 {
        let (still, execution) = environment.unwrap().invoke(rig.invocation("{}")).await;
        let (error_type, document) = failure(&execution);
        assert_eq!(error_type, "java.lang.ClassNotFoundException");
        assert_eq!(
            document,
            json!({"errorMessage": "Class not found: None", "errorType": error_type})
        );
        environment = still;
    }
    let rig = app("Shapes$Broken::handle").unwrap();
    let (environment, execution) = rig.once("{}").await;
    let (error_type, document) = failure(&execution);
    assert_eq!(
        (error_type.as_str(), &document["errorMessage"]),
        ("java.lang.IllegalStateException", &json!("no"))
    );
    assert!(environment.is_none());
}

#[tokio::test]
async fn variables_that_are_told_are_there_for_children_too() {
    let Some(rig) = app("Shapes::variables") else { return };
    let rig = rig.variable("MINE", "é").variable("TZ", "Asia/Tokyo");
    let (_, execution) = rig.once("{}").await;
    assert_eq!(
        answer(&execution),
        json!({"mine": "é", "zone": "Asia/Tokyo", "child": "é work"})
    );
}

#[tokio::test]
async fn records_have_levels() {
    let Some(rig) = app("Shapes::levels") else { return };
    let rig = rig.json(LogLevel::Info, LogLevel::Warn);
    let (_, execution) = rig.once("{}").await;
    assert_eq!(answer(&execution), json!(null));
    let lines = rig.lines();
    let record: Value = lines.iter().find_map(|line| serde_json::from_str(line).ok()).unwrap();
    assert_eq!(
        (&record["level"], &record["message"]),
        (&json!("ERROR"), &json!("loud"))
    );
    assert!(record["AWSRequestId"].as_str().is_some_and(|id| id.len() == 36));
    assert!(
        lines.iter().any(|line| line == "plain") && !lines.iter().any(|line| line.contains("quiet")),
        "{lines:#?}"
    );
}

#[tokio::test]
async fn hooks_run_around_a_template() {
    let Some(rig) = app("Shapes$Hooked::handle") else {
        return;
    };
    let rig = Rig {
        purpose: Purpose::SnapStart,
        ..rig
    };
    let (_, execution) = rig.once("{}").await;
    assert_eq!(
        answer(&execution),
        json!(["before last", "before first", "after first", "after last"])
    );
}
