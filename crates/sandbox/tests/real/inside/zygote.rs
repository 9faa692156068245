//! Forks of a zygote: that they are what an executed runtime is, and share nothing that they should not.

use ephyra_sandbox::supervisor::{Command, Exit};

use super::{Case, Server, cases};
use crate::guest::{Spec, enter, forked, program};

pub(super) const CASES: &[Case] = cases![
    a_fork_is_as_an_executed_runtime,
    forks_of_one_zygote_draw_different_numbers,
    forks_have_namespaces_of_their_own,
    the_zygote_is_out_of_reach,
    a_fork_sees_its_function_once_it_is_assigned,
    every_python_forks,
    a_fork_that_ends_is_noticed,
    a_fork_counts_to_its_own_group,
];

impl Server {
    /// Runs a script in a fork to its end and returns what it wrote.
    async fn forked(&self, script: &str) -> String {
        self.forked_from(self.spec(), script).await
    }

    async fn forked_from(&self, spec: Spec, script: &str) -> String {
        let mut guest = forked(&self.warden, spec, script).await.unwrap();
        let ended = guest.ended().await;
        assert_eq!(ended.exit, Some(Exit::Exited(0)), "{}", ended.output);
        guest.end().await;
        ended.output
    }
}

/// What a process is to the kernel.
const STATUS: &str = "import os, resource, signal, sys
names = ('Uid', 'Gid', 'Groups', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp',
    'Seccomp_filters', 'SigBlk', 'SigIgn', 'SigCgt', 'Umask', 'Threads', 'TracerPid', 'PPid')
for line in open('/proc/self/status'):
    if line.split(':')[0] in names: print(line.strip())
print(sorted(int(n) for n in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + n)))
print([os.readlink('/proc/self/fd/%d' % n).split(':')[0] for n in (0, 1, 2, 3)])
print(os.getsid(0) == os.getpid() == os.getpgid(0), os.getcwd())
print([resource.getrlimit(n) for n in range(16)])
print(open('/proc/self/oom_score_adj').read(), os.stat('/proc/self/mem').st_uid, os.get_inheritable(0))
print(signal.getsignal(signal.SIGCHLD), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGPIPE))
print(sys.stdout.seekable(), sys.stdout.buffer.raw.fileno(), sys.stdout.encoding, sys.flags.utf8_mode)
import ctypes
print(ctypes.CDLL(None).prctl(27, 0, 0, 0, 0), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
print(open('/proc/self/cgroup').read())
for path in ('/x', '/var/task/x', '/opt/x', '/dev/x', '/var/runtime/x', '/tmp/x', '/dev/null'):
    try: open(path, 'w'); print(path, 'written')
    except OSError as error: print(path, error.errno)
";

async fn a_fork_is_as_an_executed_runtime(server: Server) {
    let executed = {
        let mut guest = enter(server.warden.prepare(server.spec().blank()).await.unwrap());
        let runtimes = server.warden.runtimes().iter();
        let runtime = { runtimes }.find(|runtime| runtime.identifier == server.spec().runtime);
        let executable = runtime.unwrap().executable.to_str().unwrap().to_owned();
        // Told after it has started, as a pooled one is.
        let script = format!("import os\nos.read(3, 1)\n{STATUS}");
        let command = program(&[&executable, "-X", "utf8", "-S", "-c", &script]);
        guest.command(&Command::Start(command)).await;
        guest.controls.assign(server.spec().assignment()).await.unwrap();
        guest.say("x").await;
        let ended = guest.ended().await;
        assert_eq!(ended.exit, Some(Exit::Exited(0)), "{}", ended.output);
        guest.end().await;
        ended.output
    };
    assert_eq!(server.forked(STATUS).await, executed);
}

async fn forks_of_one_zygote_draw_different_numbers(server: Server) {
    let script = "import hashlib, os, random, secrets, ssl, tempfile, uuid, sys
assert 'random' in sys.modules
print(random.random(), random.getrandbits(64))
print(uuid.uuid4())
print(uuid.uuid1())
print(ssl.RAND_bytes(16).hex())
print(secrets.token_hex(16))
print(os.path.basename(tempfile.mktemp()))
print(os.urandom(8).hex())";
    let (one, two) = tokio::join!(server.forked(script), server.forked(script));
    assert_eq!(one.lines().count(), 7, "{one}");
    for (one, two) in one.lines().zip(two.lines()) {
        assert_ne!(one, two);
    }
}

async fn forks_have_namespaces_of_their_own(server: Server) {
    let script = "import os
for name in sorted(os.listdir('/proc/self/ns')): print(name, os.readlink('/proc/self/ns/' + name))
print(os.uname().nodename, os.getpid())";
    let mut guests = Vec::new();
    for _ in 0..2 {
        // Both live at the same time: numbers of namespaces are used again.
        let script = format!("{script}\nos.read(3, 1)");
        guests.push(forked(&server.warden, server.spec(), &script).await.unwrap());
    }
    let mut said = Vec::new();
    for mut guest in guests {
        guest.say("x").await;
        said.push(guest.ended().await.output);
        guest.end().await;
    }
    let [one, two] = [&said[0], &said[1]].map(|text| text.lines().collect::<Vec<_>>());
    assert_eq!(one.last(), Some(&"sandbox 3"), "{one:?}");
    for (one, two) in one.iter().zip(&two).filter(|(line, _)| line.contains(':')) {
        // Nobody has namespaces of time here; theirs is the host's.
        assert_eq!(one == two, one.starts_with("time"), "{one}");
    }
}

async fn the_zygote_is_out_of_reach(server: Server) {
    let script = "import os, errno
for descriptor in range(4, 1024):
    try: os.fstat(descriptor); print('open', descriptor)
    except OSError as error: assert error.errno == errno.EBADF
print(sorted(int(n) for n in os.listdir('/proc') if n.isdigit()) == [os.getpid()])
found = set()
for pid in range(1, 40000):
    try: os.kill(pid, 0); found.add(pid)
    except OSError: pass
# Before Linux 6.12 a signal to pid 1, its own user's, is without effect but not refused.
print(found - {1} == {os.getpid()}, os.path.exists('/proc/1/root'))
import sys
print([name for name in sys.modules if name.startswith('ephyra_runtime') and name.split('.')[-1] in ('enter', 'zygote', 'renew')])";
    assert_eq!(server.forked(script).await, "True\nTrue False\n[]\n");
}

async fn a_fork_sees_its_function_once_it_is_assigned(server: Server) {
    let code = server.package(&[("handler.py", "y = 5\n"), ("lib/data", "z")]);
    let layer = server.package(&[("python/late.py", "w = 6\n")]);
    let spec = Spec {
        code,
        layers: vec![layer],
        ..server.spec()
    };
    let script = "import os, sys
sys.path[:0] = ['/var/task', '/opt/python']
import handler, late
print(handler.y, late.w, sorted(os.listdir('/var/task')), open('/var/task/lib/data').read())
open('/tmp/x', 'w').write('t')
print(os.listdir('/tmp'))";
    assert_eq!(
        server.forked_from(spec, script).await,
        "5 6 ['handler.py', 'lib'] z\n['x']\n"
    );
}

async fn every_python_forks(server: Server) {
    let runtimes: Vec<_> = server
        .warden
        .runtimes()
        .iter()
        .filter(|r| r.has_zygote)
        .cloned()
        .collect();
    assert!(!runtimes.is_empty());
    for runtime in runtimes {
        let spec = Spec {
            runtime: runtime.identifier.clone(),
            ..server.spec()
        };
        let script = "import platform, threading, os, subprocess
threading.Thread(target=print, args=(platform.python_version(),)).start()
print(os.waitstatus_to_exitcode(os.system('exit 3')) if hasattr(os, 'waitstatus_to_exitcode') else 3)
if os.fork() == 0: os._exit(4)
print(os.wait()[1] >> 8)";
        let said = server.forked_from(spec, script).await;
        let mut lines: Vec<_> = said.lines().collect();
        lines.sort_unstable();
        let mut want = [runtime.version.as_str(), "3", "4"];
        want.sort_unstable();
        assert_eq!(lines, want, "{}", runtime.identifier);
    }
}

async fn a_fork_that_ends_is_noticed(server: Server) {
    for (script, want) in [
        ("import os\nos._exit(7)", Exit::Exited(7)),
        ("import os\nos.kill(os.getpid(), 9)", Exit::Signalled(9)),
        ("raise SystemExit(5)", Exit::Exited(5)),
    ] {
        let mut guest = forked(&server.warden, server.spec(), script).await.unwrap();
        assert_eq!(guest.ended().await.exit, Some(want), "{script}");
        guest.end().await;
    }
}

async fn a_fork_counts_to_its_own_group(server: Server) {
    let script = "import os\nx = bytearray(b'1') * (64 << 20)\nprint(len(x))\nos.read(3, 1)";
    let mut guest = forked(&server.warden, server.spec(), script).await.unwrap();
    guest.say("x").await;
    guest.ended().await;
    let peak = guest.controls.peak_memory_bytes().unwrap();
    assert!((64 << 20..96 << 20).contains(&peak), "{peak}");
    assert!(!guest.controls.cpu_time().unwrap().is_zero());
    guest.end().await;
    // More than it may have.
    let script = "x = bytearray(b'1') * (512 << 20)";
    let mut guest = forked(&server.warden, server.spec(), script).await.unwrap();
    // Version 2 ends all of the group.
    let exit = guest.ended().await.exit;
    assert!(matches!(exit, None | Some(Exit::Signalled(9))), "{exit:?}");
    assert!(guest.controls.oom_kills().unwrap() > 0);
    guest.end().await;
}
