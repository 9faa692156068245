//! Templates: loaded ahead, restored by their first invocation.

use std::time::Duration;

use ephyra_core::environment::Purpose;
use ephyra_core::invocation::Origin;
use serde_json::json;

use crate::support::{Rig, answer, failure};

fn template(source: &str) -> Rig {
    Rig {
        purpose: Purpose::SnapStart,
        ..Rig::python("app.handler", source)
    }
}

const HOOKS: &str = r#"
import os, random, snapshot_restore_py as hooks
print("loading", os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"])
told, seen = [], random.getstate()
hooks.register_before_snapshot(told.append, "before, first registered")
hooks.register_before_snapshot(told.append, "before, last registered")
hooks.register_after_restore(told.append, "after, first registered")
@hooks.register_after_restore
def last():
    told.append("after, last registered")
    print("restored")
def handler(event, context):
    return {"told": told, "renewed": random.getstate() != seen}
"#;

#[tokio::test]
async fn hooks_run_around_the_template_and_the_first_call_pays_for_its_restoring() {
    let rig = template(HOOKS);
    let mut environment = rig.launch().await;
    environment.freeze();
    let (environment, execution) = environment.invoke(rig.invocation("{}")).await;
    let told = [
        "before, last registered",
        "before, first registered",
        "after, first registered",
        "after, last registered",
    ];
    assert_eq!(answer(&execution), json!({ "told": told, "renewed": true }));
    let cold = execution.measures.cold.unwrap();
    assert_eq!(cold.origin, Origin::Template);
    assert!(cold.restore > Duration::ZERO && cold.started_in().is_zero());
    let paid = execution.measures.duration + cold.restore;
    assert!(
        u128::from(execution.measures.billed_ms) == paid.as_micros().div_ceil(1000),
        "{execution:?}"
    );
    let lines = rig.lines();
    assert!(
        lines[0].starts_with("INIT_START ") && lines[1] == "loading snap-start",
        "{lines:#?}"
    );
    assert!(
        lines[2].starts_with("RESTORE_START Runtime Version: python:3.11\t"),
        "{lines:#?}"
    );
    assert_eq!(lines[3], "restored");
    assert!(lines[4].starts_with("RESTORE_REPORT Restore Duration: "), "{lines:#?}");
    assert!(lines[5].starts_with("START "), "{lines:#?}");
    let report = lines.last().unwrap();
    assert!(
        report.contains("\tRestore Duration: ") && report.contains("\tBilled Restore Duration: "),
        "{report}"
    );
    assert!(
        !report.contains("Init Duration") && report.ends_with("from template\t"),
        "{report}"
    );
    // The second call is warm.
    let (_, execution) = environment.unwrap().invoke(rig.invocation("{}")).await;
    assert!(execution.measures.cold.is_none());
    assert_eq!(answer(&execution)["told"], json!(told));
    assert!(!rig.lines().last().unwrap().contains("Restore Duration"));
}

#[tokio::test]
async fn a_hook_that_fails_before_fails_the_initialisation() {
    let rig =
        template("import snapshot_restore_py as hooks\nhooks.register_before_snapshot(lambda: 1 / 0)\nhandler = print");
    let environment = rig.launch().await;
    assert_eq!(environment.init_error().unwrap().error_type, "ZeroDivisionError");
}

#[tokio::test]
async fn a_hook_that_fails_after_fails_the_call_and_ends_the_environment() {
    let rig =
        template("import snapshot_restore_py as hooks\nhooks.register_after_restore(lambda: 1 / 0)\nhandler = print");
    let environment = rig.launch().await;
    assert!(environment.init_error().is_none());
    let (environment, execution) = environment.invoke(rig.invocation("{}")).await;
    assert_eq!(failure(&execution).0, "ZeroDivisionError");
    assert!(environment.is_none());
    rig.has_logged("RESTORE_REPORT Restore Duration: ");
    rig.has_logged("Status: error\tError Type: ZeroDivisionError");
}

#[tokio::test]
async fn a_template_is_loaded_or_none() {
    let rig = Rig {
        init_limit: Duration::from_secs(1),
        ..template("raise ValueError('no')")
    };
    let environment = rig.launch().await;
    assert_eq!(environment.init_error().unwrap().error_type, "ValueError");
}

#[tokio::test]
async fn a_runtime_that_speaks_out_of_turn_while_it_is_a_template_is_ended() {
    let source = "boot(); send(0x82); os.read(3, 100); send(0x82); event()";
    let rig = Rig {
        purpose: Purpose::SnapStart,
        ..Rig::scripted(source)
    };
    let mut environment = rig.launch().await;
    environment.died().await;
    let (environment, execution) = environment.invoke(rig.invocation("{}")).await;
    assert_eq!(failure(&execution).0, "Runtime.ExitError");
    assert!(environment.is_none());
}

#[tokio::test]
async fn node_is_restored_without_being_told() {
    let rig = Rig {
        purpose: Purpose::SnapStart,
        ..Rig::node(
            "index.handler",
            &[(
                "index.js",
                "exports.handler = async () => process.env.AWS_LAMBDA_INITIALIZATION_TYPE",
            )],
        )
    };
    let (_, execution) = rig.once("{}").await;
    assert_eq!(answer(&execution), json!("snap-start"));
    assert_eq!(execution.measures.cold.unwrap().origin, Origin::Template);
}

#[tokio::test]
async fn a_program_of_its_own_asks_to_be_restored() {
    let rig = Rig {
        purpose: Purpose::SnapStart,
        ..Rig::provided(
            "told = [os.environ['AWS_LAMBDA_INITIALIZATION_TYPE'], call('GET', 'runtime/restore/next')[0]]\n\
             while True:\n\
             \x20   id, _, _ = next()\n\
             \x20   call('POST', f'runtime/invocation/{id}/response', json.dumps(told))\n",
        )
    };
    let environment = rig.launch().await;
    let (environment, execution) = environment.invoke(rig.invocation("{}")).await;
    assert_eq!(answer(&execution), json!(["snap-start", 200]));
    assert!(execution.measures.cold.unwrap().restore > Duration::ZERO);
    let (_, execution) = environment.unwrap().invoke(rig.invocation("{}")).await;
    assert_eq!(answer(&execution), json!(["snap-start", 200]));
}

#[tokio::test]
async fn a_program_of_its_own_says_that_it_cannot_be_restored() {
    let rig = Rig {
        purpose: Purpose::SnapStart,
        ..Rig::provided(
            "call('GET', 'runtime/restore/next')\n\
             call('POST', 'runtime/restore/error', json.dumps({'errorMessage': 'no', 'errorType': 'Runtime.Hook'}),\n\
             \x20    {'Lambda-Runtime-Function-Error-Type': 'Runtime.Hook'})\n\
             next()\n",
        )
    };
    let environment = rig.launch().await;
    let (environment, execution) = environment.invoke(rig.invocation("{}")).await;
    assert_eq!(failure(&execution).0, "Runtime.Hook");
    assert!(environment.is_none());
}
