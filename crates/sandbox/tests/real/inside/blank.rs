//! Sandboxes that are nobody's yet: what runs in one beside a pid 1 that is privileged, and what becomes of it when it
//! is assigned.

use std::fs;

use ephyra_core::digest::Digest;
use ephyra_sandbox::Step;
use ephyra_sandbox::client::{Assignment, Blank, CreateError};
use ephyra_sandbox::supervisor::{Command, Exit};

use super::{Case, Server, cases};
use crate::guest::{Guest, create, enter, program};

pub(super) const CASES: &[Case] = cases![
    what_runs_in_a_blank_sandbox_has_no_rights,
    a_function_is_seen_once_it_is_assigned,
    landlock_and_later_mounts_work_together,
    what_was_prepared_is_shown,
    what_was_prepared_by_others_is_refused,
    a_second_assignment_is_refused,
    a_tmp_of_another_size_is_refused_to_what_runs,
    what_ends_before_it_is_assigned_is_not_assigned,
    what_cannot_be_executed_in_a_blank_sandbox_is_said,
    limits_follow_the_assignment,
    a_sandbox_without_code_is_assigned,
    pid_1_is_out_of_reach_after_the_assignment,
];

/// A blank sandbox in which a script waits, and what would make it a function's.
async fn waiting(server: &Server, script: &str) -> (Guest, Assignment) {
    waiting_in(server, server.spec().blank(), script).await
}

async fn waiting_in(server: &Server, blank: Blank, script: &str) -> (Guest, Assignment) {
    let runtimes = server.warden.runtimes().iter();
    let runtime = { runtimes }.find(|runtime| runtime.identifier == blank.runtime);
    let executable = runtime.unwrap().executable.to_str().unwrap();
    let mut guest = enter(server.warden.prepare(blank).await.unwrap());
    let script = format!(
        "import os, socket
s = socket.socket(fileno=3)
def wait():
    s.sendall(b'waits\\n')
    if not s.recv(1): os._exit(9)
def attempt(what):
    try: return what()
    except OSError as error: return error.errno
{script}"
    );
    let mut command = program(&[executable, "-I", "-u", "-c", &script]);
    command.directory = "/".to_owned();
    guest.command(&Command::Start(command)).await;
    (guest, server.spec().assignment())
}

/// Lets a script that waits go on, and takes what it says until it ends.
async fn finish(mut guest: Guest) -> String {
    guest.say("x").await;
    let ended = guest.ended().await;
    assert_eq!(ended.exit, Some(Exit::Exited(0)), "{}", ended.output);
    guest.end().await;
    ended.output
}

async fn what_runs_in_a_blank_sandbox_has_no_rights(server: Server) {
    let (guest, _) = waiting(
        &server,
        "import ctypes
status = dict(line.split(':\\t', 1) for line in open('/proc/self/status') if ':\\t' in line)
print(os.getuid(), os.getgid(), os.getgroups(), os.getpid(), os.getppid())
print([status[name].strip() for name in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp')])
print([attempt(lambda: os.kill(1, signal)) for signal in (0, 9, 15, 17, 19)])
print([name for name in os.listdir('/proc') if name.isdigit()], attempt(lambda: os.listdir('/proc/1')))
print([attempt(lambda: open(f'/proc/1/{name}')) for name in ('mem', 'environ', 'maps', 'ns/user', 'root')])
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(number), *arguments)
    return ctypes.get_errno()
# mount, umount2, unshare, setns, ptrace, process_vm_readv, move_mount, pidfd_getfd
print([call(number, 1, 1, 0, 0, 0, 0) for number in (165, 166, 272, 308, 101, 310, 429, 438)])
# pidfd_open, which takes any number, and pidfd_send_signal.
pidfd = libc.syscall(ctypes.c_long(434), 1, 0)
print(pidfd, call(424, pidfd, 9, 0, 0)); os.close(pidfd)
print([fd for fd in range(64) if not isinstance(attempt(lambda: os.fstat(fd)), int)])
wait()",
    )
    .await;
    let output = finish(guest).await;
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[0], "993 990 [] 2 1");
    let zero = "'0000000000000000'";
    assert_eq!(lines[1], format!("[{}, '1', '2']", [zero; 5].join(", ")));
    assert_eq!(lines[2], "[1, 1, 1, 1, 1]", "pid 1 takes no signals");
    assert_eq!(lines[3], "['2'] 2");
    assert_eq!(lines[4], "[2, 2, 2, 2, 2]");
    assert_eq!(lines[5], "[1, 1, 1, 1, 1, 1, 1, 1]");
    assert_eq!(lines[6], "4 1");
    assert_eq!(lines[7], "[0, 1, 2, 3]");
}

/// Where functions' files appear.
const LOOK: &str = "def look():
    print([sorted(os.listdir(path)) for path in ('/var/task', '/opt', '/var/lang/function', '/var/lang/base')])
";

async fn a_function_is_seen_once_it_is_assigned(server: Server) {
    let layer = server.package(&[("layer.txt", "layer")]);
    let script = format!(
        "{LOOK}
look()
wait()
os.chdir('/var/task')
look()
print(os.getcwd(), open('handler.py').read().strip(), os.getpid())
import subprocess
print(subprocess.run(['/bin/sh', '-c', 'cat /opt/layer.txt; grep -c Cap.*0000000000000000 /proc/self/status'], stdout=subprocess.PIPE).stdout)"
    );
    let (mut guest, assignment) = waiting(&server, &script).await;
    guest.hear().await;
    let assignment = Assignment {
        layers: vec![layer],
        ..assignment
    };
    guest.controls.assign(assignment).await.unwrap();
    assert_eq!(
        finish(guest).await,
        "[[], [], [], []]\n[['handler.py'], ['layer.txt'], [], []]\n/var/task x = 1 2\nb'layer5\\n'\n"
    );
}

async fn landlock_and_later_mounts_work_together(server: Server) {
    let (mut guest, assignment) = waiting(
        &server,
        "wait()
for path in ('/var/task/x', '/opt/x', '/var/lang/function/x', '/x', '/etc/x', '/var/x'):
    print(attempt(lambda: open(path, 'w')) in (13, 30), end=' ')
open('/tmp/x', 'w').write('written')
os.mkdir('/tmp/d'); os.rename('/tmp/x', '/tmp/d/x')
print(open('/tmp/d/x').read(), attempt(lambda: os.link('/var/task/handler.py', '/tmp/h')) in (1, 13, 18))
import importlib.util
spec = importlib.util.spec_from_file_location('handler', '/var/task/handler.py')
module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)
print(module.x, open('/dev/null', 'w').write('x'))",
    )
    .await;
    guest.hear().await;
    guest.controls.assign(assignment).await.unwrap();
    assert_eq!(finish(guest).await, "True True True True True True written True\n1 1\n");
}

async fn what_was_prepared_is_shown(server: Server) {
    let base = server.prepared(&[("classes.jsa", "base")]);
    let function = server.prepared(&[("function.jsa", "function")]);
    let blank = Blank {
        base: Some(base),
        ..server.spec().blank()
    };
    let script = format!(
        "{LOOK}
look()
wait()
look()
print([attempt(lambda: open(path, 'w')) in (13, 30) for path in ('/var/lang/base/x', '/var/lang/function/function.jsa')])"
    );
    let (mut guest, assignment) = waiting_in(&server, blank, &script).await;
    guest.hear().await;
    let assignment = Assignment {
        prepared: Some(function),
        ..assignment
    };
    guest.controls.assign(assignment).await.unwrap();
    assert_eq!(
        finish(guest).await,
        "[[], [], [], ['classes.jsa']]\n[['handler.py'], [], ['function.jsa'], ['classes.jsa']]\n[True, True]\n"
    );
}

async fn what_was_prepared_by_others_is_refused(server: Server) {
    let absent = Digest::of(b"never prepared");
    let blank = Blank {
        base: Some(absent),
        ..server.spec().blank()
    };
    let failed = server.warden.prepare(blank).await.err().unwrap();
    assert_eq!(step_of(&failed), Step::Base);
    // What is unpacked code is not prepared, and the other way round.
    for (code, prepared, step) in [
        (server.empty(), Some(server.empty()), Step::Prepared),
        (server.prepared(&[("y", "")]), None, Step::Code),
    ] {
        let mut sandbox = server.warden.prepare(server.spec().blank()).await.unwrap();
        let assignment = Assignment {
            code: Some(code),
            prepared,
            ..server.spec().assignment()
        };
        let failed = sandbox.controls.assign(assignment).await.unwrap_err();
        assert_eq!(step_of(&failed), step);
    }
    let link = Digest::of(b"a link");
    let path = server.prepared_folder(link);
    std::os::unix::fs::symlink("/etc", &path).unwrap();
    let blank = Blank {
        base: Some(link),
        ..server.spec().blank()
    };
    let failed = server.warden.prepare(blank).await.err().unwrap();
    assert_eq!(step_of(&failed), Step::Base);
    fs::remove_file(path).unwrap();
}

#[track_caller]
fn step_of(error: &CreateError) -> Step {
    match error {
        CreateError::Failed { step, .. } => *step,
        error => panic!("{error}"),
    }
}

async fn a_second_assignment_is_refused(server: Server) {
    let mut sandbox = server.warden.prepare(server.spec().blank()).await.unwrap();
    sandbox.controls.assign(server.spec().assignment()).await.unwrap();
    let again = sandbox.controls.assign(server.spec().assignment()).await;
    assert!(matches!(again, Err(CreateError::Assigned)), "{again:?}");
    sandbox.controls.end().await;
}

async fn a_tmp_of_another_size_is_refused_to_what_runs(server: Server) {
    let (mut guest, assignment) = waiting(&server, "wait()").await;
    guest.hear().await;
    let assignment = Assignment {
        tmp_mb: 600,
        ..assignment
    };
    let failed = guest.controls.assign(assignment).await.unwrap_err();
    assert_eq!(step_of(&failed), Step::Tmp);
    // It is not left half assigned.
    assert_eq!(guest.ended().await.exit, None);
    guest.end().await;
}

async fn what_ends_before_it_is_assigned_is_not_assigned(server: Server) {
    let (mut guest, assignment) = waiting(&server, "os._exit(3)").await;
    assert_eq!(guest.ended().await.exit, Some(Exit::Exited(3)));
    assert!(guest.notice().await.is_none(), "pid 1 ends with its runtime");
    let failed = guest.controls.assign(assignment).await.unwrap_err();
    assert_eq!(step_of(&failed), Step::Died);
    guest.end().await;
}

async fn what_cannot_be_executed_in_a_blank_sandbox_is_said(server: Server) {
    for (path, directory, errno) in [
        ("/var/task/nothing", "/", libc::ENOENT),
        ("/bin/sh", "/var/task/nothing", libc::ENOENT),
        // Root could go there, the guest cannot. Some systems do not have it at all.
        ("/bin/sh", "/etc/ssl/private", libc::EACCES),
    ] {
        let mut guest = enter(server.warden.prepare(server.spec().blank()).await.unwrap());
        let mut command = program(&[path]);
        command.directory = directory.to_owned();
        guest.command(&Command::Start(command)).await;
        let exit = guest.ended().await.exit;
        let want = [errno, libc::ENOENT].map(|errno| Some(Exit::ExecFailed(errno)));
        assert!(want.contains(&exit), "{path} in {directory}: {exit:?}");
        guest.end().await;
    }
}

async fn limits_follow_the_assignment(server: Server) {
    for (before, after, is_enough) in [(128, 512, true), (512, 128, false)] {
        let blank = Blank {
            memory_mb: before,
            ..server.spec().blank()
        };
        let (mut guest, assignment) = waiting_in(&server, blank, "wait()\nx = bytearray(300 << 20)\nwait()").await;
        guest.hear().await;
        let assignment = Assignment {
            memory_mb: after,
            ..assignment
        };
        guest.controls.assign(assignment).await.unwrap();
        guest.say("x").await;
        if is_enough {
            guest.hear().await;
            assert_eq!(finish(guest).await, "");
        } else {
            let exit = guest.ended().await.exit;
            assert!(matches!(exit, None | Some(Exit::Signalled(9))), "{exit:?}");
            assert!(guest.controls.oom_kills().unwrap() > 0);
            guest.end().await;
        }
    }
}

async fn a_sandbox_without_code_is_assigned(server: Server) {
    let mut sandbox = server.warden.prepare(server.spec().blank()).await.unwrap();
    let assignment = Assignment {
        code: None,
        ..server.spec().assignment()
    };
    sandbox.controls.assign(assignment).await.unwrap();
    let mut guest = crate::guest::start_in(sandbox, &["/bin/sh", "-c", "ls -A /var/task /opt"]).await;
    assert_eq!(guest.ended().await.output, "/opt:\n\n/var/task:\n");
    guest.end().await;
}

/// Pid 1 is then the guest's own user, as everything in the sandbox is.
async fn pid_1_is_out_of_reach_after_the_assignment(server: Server) {
    let script = "wait()
for signal in (9, 15, 17, 19, 11, 2): attempt(lambda: os.kill(1, signal))
print([name for name in os.listdir('/proc') if name.isdigit()])
print([attempt(lambda: open(f'/proc/1/{name}')) for name in ('mem', 'environ', 'maps')])
print(os.getppid())";
    let (mut guest, assignment) = waiting(&server, script).await;
    guest.hear().await;
    guest.controls.assign(assignment).await.unwrap();
    assert_eq!(finish(guest).await, "['2']\n[2, 2, 2]\n1\n");
    // Nor for what is started afterwards.
    let sandbox = create(&server.warden, server.spec()).await.unwrap();
    let script = "kill -9 1; kill -15 1; kill -19 1; test ! -e /proc/1 && echo $PPID";
    let mut guest = crate::guest::start_in(sandbox, &["/bin/sh", "-c", script]).await;
    assert!(guest.ended().await.output.ends_with("1\n"));
    guest.end().await;
}
