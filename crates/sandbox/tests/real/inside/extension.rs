//! Extensions, and signals to the runtime.

use ephyra_sandbox::supervisor::{Command, EXTENSIONS, Exit, Notice, Process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use super::{Case, Server, cases};
use crate::guest::{Guest, LIMIT, create, enter, program};

pub(super) const CASES: &[Case] = cases![
    extensions_run_beside_the_runtime,
    it_is_said_which_extension_has_ended,
    extensions_outlive_the_runtime,
    there_are_ten_extensions_at_most,
    no_extension_runs_in_a_blank_sandbox,
    the_runtime_is_started_once,
    the_runtime_is_told_to_end,
];

async fn assigned(server: &Server) -> Guest {
    enter(create(&server.warden, server.spec()).await.unwrap())
}

async fn extension(guest: &mut Guest, script: &str) {
    guest
        .command(&Command::Extension(program(&["/bin/sh", "-c", script])))
        .await;
}

async fn runtime(guest: &mut Guest, script: &str) {
    guest
        .command(&Command::Start(program(&["/bin/sh", "-c", script])))
        .await;
}

fn notice(process: Process, exit: Exit) -> Option<Notice> {
    Some(Notice::Ended { process, exit })
}

async fn line_of(guest: &mut Guest) -> String {
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(1, &mut guest.extension_output);
    let read = tokio::time::timeout(LIMIT, reader.read_line(&mut line)).await;
    read.expect("in time").expect("a pipe");
    line
}

async fn extensions_run_beside_the_runtime(server: Server) {
    let mut guest = assigned(&server).await;
    extension(
        &mut guest,
        "id -u; ls /proc/self/fd | tr '\\n' ' '; echo; exec sleep 3600",
    )
    .await;
    assert_eq!(line_of(&mut guest).await, "993\n");
    // The last is ls's own, of the folder.
    assert_eq!(line_of(&mut guest).await, "0 1 2 3 \n");
    runtime(
        &mut guest,
        "echo runtime; cat /proc/self/status | grep -c 'Cap.*0000000000000000'",
    )
    .await;
    assert_eq!(guest.notice().await, notice(Process::Runtime, Exit::Exited(0)));
    let mut output = [0; 10];
    guest.output.read_exact(&mut output).await.unwrap();
    assert_eq!(&output, b"runtime\n5\n");
    guest.end().await;
}

async fn it_is_said_which_extension_has_ended(server: Server) {
    let mut guest = assigned(&server).await;
    extension(&mut guest, "exec sleep 3600").await;
    extension(&mut guest, "exit 7").await;
    assert_eq!(guest.notice().await, notice(Process::Extension(1), Exit::Exited(7)));
    extension(&mut guest, "kill -9 $$").await;
    assert_eq!(guest.notice().await, notice(Process::Extension(2), Exit::Signalled(9)));
    guest
        .command(&Command::Extension(program(&["/opt/extensions/nothing"])))
        .await;
    let failed = Exit::ExecFailed(libc::ENOENT);
    assert_eq!(guest.notice().await, notice(Process::Extension(3), failed));
    // The end of extensions is not the end of the sandbox.
    runtime(&mut guest, "exit 0").await;
    assert_eq!(guest.notice().await, notice(Process::Runtime, Exit::Exited(0)));
    guest.end().await;
}

async fn extensions_outlive_the_runtime(server: Server) {
    let mut guest = assigned(&server).await;
    extension(
        &mut guest,
        "trap 'echo told; exit 0' USR1; echo begun; while :; do sleep 0.01; done",
    )
    .await;
    assert_eq!(line_of(&mut guest).await, "begun\n");
    runtime(&mut guest, "exec sleep 3600").await;
    guest.command(&Command::Kill).await;
    assert_eq!(guest.notice().await, notice(Process::Runtime, Exit::Signalled(9)));
    // Nobody is left to be killed, which is no fault.
    guest.command(&Command::Kill).await;
    guest.command(&Command::Terminate).await;
    extension(&mut guest, "kill -USR1 2; exit 0").await;
    let told = line_of(&mut guest).await;
    assert_eq!(told, "told\n");
    let mut ended = [guest.notice().await, guest.notice().await].map(|notice| match notice {
        Some(Notice::Ended { process, .. }) => process,
        other => panic!("{other:?}"),
    });
    ended.sort_by_key(|process| *process == Process::Extension(1));
    assert_eq!(ended, [Process::Extension(0), Process::Extension(1)]);
    // With the last of them all is over.
    assert_eq!(guest.notice().await, None);
    guest.end().await;
}

async fn there_are_ten_extensions_at_most(server: Server) {
    let mut guest = assigned(&server).await;
    for _ in 0..EXTENSIONS {
        extension(&mut guest, "echo; exec sleep 3600").await;
        assert_eq!(line_of(&mut guest).await, "\n");
    }
    extension(&mut guest, "exec sleep 3600").await;
    assert_eq!(guest.notice().await, None, "pid 1 ends, and all with it");
    guest.end().await;
}

async fn no_extension_runs_in_a_blank_sandbox(server: Server) {
    let mut guest = enter(server.warden.prepare(server.spec().blank()).await.unwrap());
    extension(&mut guest, "echo begun; exec sleep 3600").await;
    assert_eq!(guest.notice().await, None);
    assert_eq!(line_of(&mut guest).await, "");
    guest.end().await;
}

async fn the_runtime_is_started_once(server: Server) {
    let mut guest = assigned(&server).await;
    runtime(&mut guest, "exec sleep 3600").await;
    runtime(&mut guest, "exec sleep 3600").await;
    assert_eq!(guest.notice().await, None);
    guest.end().await;
}

/// Also when it was started before the assignment.
async fn the_runtime_is_told_to_end(server: Server) {
    let script = "trap 'echo told; exit 5' TERM; echo begun; while :; do sleep 0.01; done";
    for is_early in [false, true] {
        let mut sandbox = server.warden.prepare(server.spec().blank()).await.unwrap();
        if !is_early {
            sandbox.controls.assign(server.spec().assignment()).await.unwrap();
        }
        let mut guest = crate::guest::start_in(sandbox, &["/bin/sh", "-c", script]).await;
        let mut begun = [0; 6];
        guest.output.read_exact(&mut begun).await.unwrap();
        assert_eq!(&begun, b"begun\n");
        if is_early {
            guest.controls.assign(server.spec().assignment()).await.unwrap();
        }
        guest.command(&Command::Terminate).await;
        let ended = guest.ended().await;
        assert_eq!((ended.exit, ended.output.as_str()), (Some(Exit::Exited(5)), "told\n"));
        guest.end().await;
    }
}
