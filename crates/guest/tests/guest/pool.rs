//! Blanks that are held ready.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ephyra_core::environment::{Environment, Execution, Launcher as _, Purpose};
use ephyra_core::invocation::Origin;
use ephyra_guest::{Launcher, PoolLimits};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::support::{Rig, answer};

const AMPLE: PoolLimits = PoolLimits {
    bytes: 1 << 40,
    count: 10,
};

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A launcher that holds one blank for functions of 128 MB.
async fn stocked(rig: &Rig) -> Launcher {
    let launcher = rig.launcher().with_pool(AMPLE, &[(rig.runtime.clone(), 128, 1)]);
    until("a blank is ready", || launcher.ready() == 1).await;
    launcher
}

async fn once(rig: &Rig, launcher: &Launcher) -> (Option<Box<dyn Environment>>, Execution) {
    let launched = launcher.launch(Arc::new(rig.revision.clone()), Purpose::OnDemand);
    launched.await.unwrap().invoke(rig.invocation("{}")).await
}

fn origin(execution: &Execution) -> Origin {
    execution.measures.cold.unwrap().origin
}

fn prepared(rig: &Rig) -> u64 {
    rig.shared.prepared.load(Ordering::SeqCst)
}

/// What a function sees of its environment, without what no two have in common.
fn sight(rig: &Rig, execution: &Execution) -> Value {
    let folder = rig.folder.path().to_str().unwrap();
    let mut sight: Value = serde_json::from_str(&answer(execution).to_string().replace(folder, "TASK")).unwrap();
    let env = sight["env"].as_object_mut().unwrap();
    for name in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        // The rig's listener has a port of its own.
        "AWS_LAMBDA_RUNTIME_API",
    ] {
        assert!(env.remove(name).is_some(), "{name}");
    }
    sight
}

#[tokio::test]
async fn a_function_sees_the_same_in_a_blank_and_in_an_environment_of_its_own() {
    let python = "import os, sys, time\n\
        def handler(e, c): return {'env': dict(os.environ), 'argv': sys.argv, 'path': sys.path, 'cwd': os.getcwd(),\n\
            'hour': time.localtime(0).tm_hour, 'modules': sorted(sys.modules), 'name': c.function_name}";
    let node = "exports.handler = async (e, c) => ({ env: { ...process.env }, argv: process.argv, cwd: process.cwd(),\n\
        execArgv: process.execArgv, paths: module.paths, hour: new Date(0).getHours(), name: c.functionName,\n\
        main: require.main.filename, cache: Object.keys(require.cache), heap: require('v8').getHeapStatistics().heap_size_limit });";
    for rig in [
        Rig::python("app.handler", python),
        Rig::node("app.handler", &[("app.js", node)]),
    ] {
        let rig = rig.variable("TZ", "Asia/Tokyo").variable("MINE", "é");
        let launcher = stocked(&rig).await;
        let (_, hit) = once(&rig, &launcher).await;
        let (_, miss) = rig.once("{}").await;
        assert_eq!((origin(&hit), origin(&miss)), (Origin::Pool, Origin::Scratch));
        assert_eq!(hit.measures.cold.unwrap().boot, Duration::ZERO);
        assert!(miss.measures.cold.unwrap().boot > Duration::ZERO);
        let (hit, miss) = (sight(&rig, &hit), sight(&rig, &miss));
        assert_eq!((&hit["hour"], &hit["env"]["MINE"]), (&json!(9), &json!("é")));
        assert_eq!(hit, miss);
    }
}

#[tokio::test]
async fn a_blank_is_replaced_when_nobody_is_starting_any_more() {
    let rig = Rig::python(
        "app.handler",
        "import time\ntime.sleep(0.2)\ndef handler(e, c): return 1",
    );
    let launcher = stocked(&rig).await;
    let launched = launcher
        .launch(Arc::new(rig.revision.clone()), Purpose::OnDemand)
        .await
        .unwrap();
    assert_eq!((prepared(&rig), launcher.ready()), (1, 0));
    until("it is replaced", || launcher.ready() == 1).await;
    assert_eq!(prepared(&rig), 2);
    assert_eq!(answer(&launched.invoke(rig.invocation("{}")).await.1), 1);
}

#[tokio::test]
async fn a_dead_blank_is_not_handed_out() {
    let rig = Rig::python("app.handler", "def handler(e, c): return 1");
    let newest = || rig.shared.group.load(Ordering::SeqCst);
    let kill = || {
        rustix::process::kill_process_group(Pid::from_raw(newest()).unwrap(), Signal::KILL).unwrap();
        newest()
    };
    // One that nobody asks for is replaced.
    let launcher = stocked(&rig).await;
    until("its number is known", || newest() != 0).await;
    let first = kill();
    until("it is replaced", || prepared(&rig) == 2 && launcher.ready() == 1).await;
    until("the other's number is known", || newest() != first).await;
    // So is one that is asked for before anybody has looked; whether it is seen dead or dies in the act.
    kill();
    until("its end is known", || rig.shared.exits.load(Ordering::SeqCst) == 2).await;
    let (environment, execution) = once(&rig, &launcher).await;
    assert_eq!(answer(&execution), 1);
    assert!(environment.is_some());
}

#[tokio::test]
async fn a_blank_that_cannot_be_assigned_is_no_fault_of_the_function() {
    let rig = Rig::python("app.handler", "def handler(e, c): return 1");
    let launcher = stocked(&rig).await;
    rig.shared.refuse.store(1, Ordering::SeqCst);
    let (_, execution) = once(&rig, &launcher).await;
    assert_eq!((answer(&execution), origin(&execution)), (json!(1), Origin::Scratch));
}

#[tokio::test]
async fn who_needs_something_else_is_not_given_a_blank() {
    let source = "exports.handler = async () => process.env.NODE_OPTIONS ?? '';";
    let mut rig = Rig::node("app.handler", &[("app.js", source)]);
    let launcher = stocked(&rig).await;
    let plain = rig.revision.clone();
    rig.revision.memory_mb = 256;
    assert_eq!(origin(&once(&rig, &launcher).await.1), Origin::Scratch, "another heap");
    rig.revision = plain.clone();
    rig.revision.ephemeral_storage_mb = 1024;
    assert_eq!(origin(&once(&rig, &launcher).await.1), Origin::Scratch, "another /tmp");
    rig.revision = plain.clone();
    rig = rig.variable("NODE_OPTIONS", "--no-warnings");
    let (_, execution) = once(&rig, &launcher).await;
    assert_eq!(
        (answer(&execution), origin(&execution)),
        (json!("--no-warnings"), Origin::Scratch)
    );
    rig.revision = plain;
    assert_eq!(origin(&once(&rig, &launcher).await.1), Origin::Pool);
}

#[tokio::test]
async fn a_program_of_the_functions_own_finds_a_bare_blank() {
    let rig = Rig::provided(
        "while True:\n    id, _, event = next()\n    call('POST', f'runtime/invocation/{id}/response', event)",
    );
    let launcher = stocked(&rig).await;
    let (environment, execution) = once(&rig, &launcher).await;
    assert_eq!((answer(&execution), origin(&execution)), (json!({}), Origin::Pool));
    assert!(environment.is_some());
}

#[tokio::test]
async fn blanks_are_frozen_and_thawed() {
    let rig = Rig::python("app.handler", "def handler(e, c): return 1");
    let launcher = stocked(&rig).await;
    let counts = || {
        (
            rig.shared.freezes.load(Ordering::SeqCst),
            rig.shared.thaws.load(Ordering::SeqCst),
        )
    };
    assert_eq!(counts(), (1, 0));
    assert_eq!(answer(&once(&rig, &launcher).await.1), 1);
    assert_eq!(counts().1, 1);
}

#[tokio::test]
async fn closing_ends_all_and_makes_no_more() {
    let rig = Rig::python("app.handler", "def handler(e, c): return 1");
    let launcher = stocked(&rig).await;
    launcher.close();
    until("it is ended", || rig.shared.ended.load(Ordering::SeqCst) == 1).await;
    let (_, execution) = once(&rig, &launcher).await;
    assert_eq!(origin(&execution), Origin::Scratch);
    assert_eq!((prepared(&rig), launcher.ready()), (2, 0));
}

#[tokio::test]
async fn nothing_is_held_without_memory_for_it() {
    let rig = Rig::python("app.handler", "def handler(e, c): return 1");
    for limits in [
        PoolLimits::NONE,
        PoolLimits {
            bytes: 1 << 20,
            count: 10,
        },
    ] {
        let before = prepared(&rig);
        let launcher = rig.launcher().with_pool(limits, &[(rig.runtime.clone(), 128, 1)]);
        assert_eq!(origin(&once(&rig, &launcher).await.1), Origin::Scratch);
        assert_eq!(origin(&once(&rig, &launcher).await.1), Origin::Scratch);
        assert_eq!((prepared(&rig) - before, launcher.ready()), (2, 0));
    }
}
