use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ephyra_core::environment::{Launcher as _, Purpose};
use ephyra_core::invocation::StreamPart;
use ephyra_core::prepare::{Prepare as _, PrepareError};
use tokio::sync::mpsc;

use crate::wat::{ECHO, SPIN, command};
use crate::world::{World, invocation};

fn module(body: &str) -> Vec<u8> {
    wat::parse_str(command(body)).unwrap()
}

#[tokio::test]
async fn a_function_is_compiled_once_and_answers() {
    let world = World::new();
    let revision = world.function(&module(ECHO));
    let (first, second) = tokio::join!(
        world.wasm.prepare(revision.clone()),
        world.wasm.prepare(revision.clone())
    );
    first.unwrap();
    second.unwrap();
    world.wasm.prepare(revision.clone()).await.unwrap();
    assert_eq!(world.threads.compilers.load(Ordering::SeqCst), 1);
    let mut environment = world.environment(&revision).await;
    for round in 0..3 {
        let (back, execution) = environment.invoke(invocation(&revision, "{\"a\":1}", None)).await;
        assert_eq!(&execution.result.unwrap()[..], b"{\"a\":1}");
        assert_eq!(execution.measures.cold.is_some(), round == 0);
        assert_eq!((execution.measures.bytes_in, execution.measures.bytes_out), (7, 7));
        assert!(execution.measures.peak_memory_bytes > 0 && execution.measures.cpu > Duration::ZERO);
        environment = back.unwrap();
    }
    assert_eq!(&world.call(&revision, "").await.result.unwrap()[..], b"{}");
    assert_eq!(world.threads.hosts.load(Ordering::SeqCst), 1);
    let text = world.lines.text();
    assert!(
        text.contains("INIT_START Runtime Version: wasm:") && text.contains("REPORT RequestId: 07070707-"),
        "{text}"
    );
}

#[tokio::test]
async fn what_was_not_prepared_is_compiled_by_its_first_call() {
    let world = World::new();
    let revision = world.function(&module(ECHO));
    assert!(world.call(&revision, "{}").await.result.is_ok());
    // Nor is what an older version has left.
    let folder = world
        .data
        .path()
        .join("prepared")
        .join(ephyra_wasm::artefact::folder().to_string());
    for file in std::fs::read_dir(&folder).unwrap() {
        // It is mapped, so it may be replaced but not changed.
        let file = file.unwrap().path();
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, b"\x7fELF, but no more").unwrap();
    }
    world.threads.kill();
    let mut result = world.call(&revision, "{}").await.result;
    if result.is_err() {
        // The host had not been found to be gone.
        result = world.call(&revision, "{}").await.result;
    }
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(world.threads.compilers.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_package_that_cannot_be_run_is_rejected_and_its_call_says_why() {
    let world = World::new();
    let revision = world.function(b"nothing of the kind");
    let error = world.wasm.prepare(revision.clone()).await.unwrap_err();
    assert!(
        matches!(&error, PrepareError::Rejected(why) if why.contains("not WebAssembly")),
        "{error:?}"
    );
    let error = world.call(&revision, "{}").await.result.unwrap_err();
    assert_eq!(error.error_type, "Runtime.InvalidEntrypoint");
    assert!(String::from_utf8_lossy(&error.payload).contains("not WebAssembly"));
}

#[tokio::test]
async fn failures_are_told_in_aws_words_and_logged() {
    let world = World::new();
    let exits = world.function(&module(
        "(call $write (i32.const 2) (i32.const 600) (i32.const 7)) (call $proc_exit (i32.const 3))",
    ));
    let execution = world.call(&exits, "{}").await;
    let error = execution.result.unwrap_err();
    assert_eq!(error.error_type, "Runtime.ExitError");
    assert!(String::from_utf8_lossy(&error.payload).contains("Error: Runtime exited with error: exit status 3\""));
    let tail = String::from_utf8(execution.log_tail.unwrap().to_vec()).unwrap();
    let lines: Vec<&str> = tail.lines().collect();
    assert!(lines[0].starts_with("START RequestId: 07070707-"), "{tail}");
    assert_eq!(lines[1], "a line");
    assert!(
        lines[2].ends_with("Error: Runtime exited with error: exit status 3"),
        "{tail}"
    );
    assert!(
        lines
            .last()
            .unwrap()
            .contains("Status: error\tError Type: Runtime.ExitError"),
        "{tail}"
    );
    let traps = world.function(&module("unreachable"));
    assert_eq!(
        world.call(&traps, "{}").await.result.unwrap_err().error_type,
        "Trap.UnreachableCodeReached"
    );
}

#[tokio::test]
async fn time_is_up_when_it_is_and_others_do_not_notice() {
    let world = World::new();
    let mut spins = (*world.function(&module(SPIN))).clone();
    spins.timeout_seconds = 1;
    let spins = std::sync::Arc::new(spins);
    let echo = world.function(&module(ECHO));
    world.call(&echo, "{}").await.result.unwrap();
    world.wasm.prepare(spins.clone()).await.unwrap();
    let began = Instant::now();
    let others = async {
        while began.elapsed() < Duration::from_millis(500) {
            world.call(&echo, "{}").await.result.unwrap();
        }
    };
    let (execution, ()) = tokio::join!(world.call(&spins, "{}"), others);
    assert_eq!(execution.result.unwrap_err().error_type, "Sandbox.Timedout");
    let took = execution.measures.duration + execution.measures.cold.unwrap().init;
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_millis(1400),
        "{took:?}"
    );
}

#[tokio::test]
async fn answers_stream() {
    let world = World::new();
    let revision = world.function(&module(
        "(loop $again
            (call $write (i32.const 1) (i32.const 1024) (i32.const 65536))
            (global.set $count (i32.add (global.get $count) (i32.const 1)))
            (br_if $again (i32.lt_u (global.get $count) (i32.const 32))))",
    ));
    let (sender, mut parts) = mpsc::channel(2);
    let environment = world.wasm.launch(revision.clone(), Purpose::OnDemand).await.unwrap();
    let call = environment.invoke(invocation(&revision, "{}", Some(sender)));
    let reading = async {
        let mut bytes = 0;
        let head = parts.recv().await;
        while let Some(StreamPart::Chunk(part)) = parts.recv().await {
            bytes += part.len();
        }
        (head, bytes)
    };
    let ((_, execution), (head, bytes)) = tokio::join!(call, reading);
    assert!(execution.result.unwrap().is_empty());
    assert_eq!((bytes, execution.measures.bytes_out), (2 << 20, 2 << 20));
    assert_eq!(
        head,
        Some(StreamPart::Head {
            content_type: "application/octet-stream".to_owned()
        })
    );
    // Whoever goes away does not end it, and does not hold it up.
    let (sender, parts) = mpsc::channel(2);
    drop(parts);
    let environment = world.environment(&revision).await;
    assert!(
        environment
            .invoke(invocation(&revision, "{}", Some(sender)))
            .await
            .1
            .result
            .is_ok()
    );
}

#[tokio::test]
async fn a_host_that_is_killed_takes_its_calls_along_and_another_comes() {
    let world = World::new();
    let spins = world.function(&module(SPIN));
    let echo = world.function(&module(ECHO));
    world.wasm.prepare(spins.clone()).await.unwrap();
    world.call(&echo, "{}").await.result.unwrap();
    let killing = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.threads.kill();
    };
    let (execution, ()) = tokio::join!(world.call(&spins, "{}"), killing);
    assert_eq!(execution.result.unwrap_err().error_type, "Runtime.ExitError");
    assert!(execution.measures.duration < Duration::from_secs(2));
    assert!(world.call(&echo, "{}").await.result.is_ok());
    assert_eq!(world.threads.hosts.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_call_that_nobody_wants_any_more_ends() {
    let world = World::new();
    let spins = world.function(&module(SPIN));
    world.wasm.prepare(spins.clone()).await.unwrap();
    // More than there are places in the host: each has to make room for the next.
    for _ in 0..40 {
        let environment = world.environment(&spins).await;
        let call = environment.invoke(invocation(&spins, "{}", None));
        let is_over = tokio::time::timeout(Duration::from_millis(5), call).await.is_ok();
        assert!(!is_over);
    }
    let echo = world.function(&module(ECHO));
    assert!(world.call(&echo, "{}").await.result.is_ok());
    assert_eq!(world.threads.hosts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_a_flood_logs_is_bounded_by_its_pace() {
    let world = World::new();
    let mut flood = (*world.function(&module(
        "(loop $again (call $write (i32.const 2) (i32.const 1024) (i32.const 65536)) (br $again))",
    )))
    .clone();
    flood.timeout_seconds = 1;
    let execution = world.call(&std::sync::Arc::new(flood), "{}").await;
    assert_eq!(execution.result.unwrap_err().error_type, "Sandbox.Timedout");
    let logged = world.lines.text().len();
    assert!((1 << 20..16 << 20).contains(&logged), "{logged}");
}
