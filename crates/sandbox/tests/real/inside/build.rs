//! What a sandbox is made of.

use std::fs;
use std::io::{Read, Write};

use ephyra_core::digest::Digest;
use ephyra_sandbox::Step;
use ephyra_sandbox::client::CreateError;
use ephyra_sandbox::supervisor::Exit;

use super::{Case, Server, cases};
use crate::guest::{Spec, create, python, runtime, start};

pub(super) const CASES: &[Case] = cases![
    a_guest_has_its_own_identity_and_root,
    a_guest_holds_four_descriptors,
    every_runtime_starts,
    node_sees_its_network,
    a_later_layer_covers_an_earlier_one,
    one_layer_is_shown_as_it_is,
    what_is_not_there_fails_and_leaves_nothing,
    a_package_that_leads_elsewhere_is_refused,
    what_is_out_of_bounds_is_refused,
    the_listener_takes_connections_from_inside,
    many_are_built_at_once,
    a_create_that_nobody_waits_for_leaves_nothing,
];

async fn a_guest_has_its_own_identity_and_root(server: Server) {
    let output = server
        .output_of(
            "import os, socket, sys
sys.path.insert(0, '/var/runtime/lib')
import marker
print(os.getuid(), os.getgid(), os.getgroups(), os.getpid(), os.getppid())
print(os.getcwd(), socket.gethostname(), os.environ['SECRET'], marker.MARK)
print(*sorted(os.listdir('/')))
print(*sorted(os.listdir('/dev')))
print([l.split()[1] for l in open('/proc/self/status') if l.startswith(('Cap', 'NoNewPrivs', 'Seccomp:'))])
print(open('/proc/self/cgroup').read().count('..'))
print(sorted(set(l.split()[1].split('/')[1] for l in open('/proc/self/mounts'))))
print([n for n in os.listdir('/proc') if n.isdigit()])
print(open('/dev/null').read(), len(open('/dev/urandom', 'rb').read(8)))",
        )
        .await;
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[0], "993 990 [] 2 1");
    assert_eq!(lines[1], "/var/task sandbox hunter2 7");
    for secret in ["sys", "boot", "work", "srv", "mnt"] {
        assert!(!lines[2].split(' ').any(|name| name == secret), "{}", lines[2]);
    }
    assert_eq!(lines[3], "fd full null random stderr stdin stdout urandom zero");
    let zero = "'0000000000000000'";
    assert_eq!(lines[4], format!("[{}, '1', '2']", [zero; 5].join(", ")));
    assert_eq!(lines[5], "0");
    for mount in ["work", "sys", "home"] {
        assert!(!lines[6].contains(mount), "{}", lines[6]);
    }
    assert_eq!(lines[7], "['2']", "pid 1 and all others are out of sight");
    assert_eq!(lines[8].trim(), "8");
}

async fn a_guest_holds_four_descriptors(server: Server) {
    let output = server
        .output_of(
            "import os
for fd in range(0, 1024):
    try: print(fd, os.readlink(f'/proc/self/fd/{fd}').split(':')[0])
    except OSError: pass",
        )
        .await;
    assert_eq!(output, "0 /dev/null\n1 pipe\n2 pipe\n3 socket\n");
}

async fn every_runtime_starts(server: Server) {
    for runtime in server.warden.runtimes() {
        let spec = Spec {
            runtime: runtime.identifier.clone(),
            memory_mb: 512,
            ..server.spec()
        };
        let executable = runtime.executable.to_str().unwrap();
        let arguments: &[&str] = match runtime.kind {
            ephyra_sandbox::runtimes::Kind::Python => &[
                executable,
                "-c",
                "import ssl, ctypes, sqlite3, json, threading, subprocess, sys
t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()
print(subprocess.run(['/bin/sh', '-c', 'echo shell'], stdout=subprocess.PIPE).stdout.decode(), end='')",
            ],
            ephyra_sandbox::runtimes::Kind::Node => &[
                executable,
                "-e",
                "const {Worker} = require('worker_threads'); const {execSync} = require('child_process');
new Worker('console.log(\"thread\")', {eval: true}).on('exit', () =>
    process.stdout.write(execSync('echo shell').toString()))",
            ],
            // This program, which here is a test.
            ephyra_sandbox::runtimes::Kind::Wasm => continue,
            ephyra_sandbox::runtimes::Kind::Java => &[
                "/bin/sh",
                "-c",
                "$0 -Xshare:auto -Xmx64m -version 2>/dev/null && echo thread; echo shell",
                executable,
            ],
            ephyra_sandbox::runtimes::Kind::Provided => &["/bin/sh", "-c", "echo thread; echo shell"],
        };
        let mut guest = start(&server.warden, spec, arguments).await.unwrap();
        let ended = guest.ended().await;
        assert_eq!(ended.output, "thread\nshell\n", "{}", runtime.identifier);
        assert_eq!(ended.exit, Some(Exit::Exited(0)), "{}", runtime.identifier);
        guest.end().await;
    }
}

async fn node_sees_its_network(server: Server) {
    let Some(node) = server
        .warden
        .runtimes()
        .iter()
        .find(|runtime| runtime.identifier.starts_with("nodejs"))
    else {
        return;
    };
    let spec = Spec {
        runtime: node.identifier.clone(),
        memory_mb: 512,
        ..server.spec()
    };
    let script = "console.log(Object.keys(require('os').networkInterfaces()).join())";
    let mut guest = start(&server.warden, spec, &[node.executable.to_str().unwrap(), "-e", script])
        .await
        .unwrap();
    assert_eq!(guest.ended().await.output, "lo\n");
    guest.end().await;
}

async fn a_later_layer_covers_an_earlier_one(server: Server) {
    let layers = vec![
        server.package(&[("both.txt", "earlier"), ("python/one.py", "")]),
        server.package(&[("both.txt", "later"), ("python/two.py", "")]),
        server.package(&[("third.txt", "third")]),
    ];
    let script = "import os
print(open('/opt/both.txt').read(), open('/opt/third.txt').read(), sorted(os.listdir('/opt/python')))
try: open('/opt/new', 'w')
except OSError as error: print(error.errno in (13, 30))";
    let mut guest = python(
        &server.warden,
        Spec {
            layers,
            ..server.spec()
        },
        script,
    )
    .await;
    assert_eq!(guest.ended().await.output, "later third ['one.py', 'two.py']\nTrue\n");
    guest.end().await;
}

async fn one_layer_is_shown_as_it_is(server: Server) {
    let layers = vec![server.package(&[("alone.txt", "alone")])];
    let mut guest = python(
        &server.warden,
        Spec {
            layers,
            ..server.spec()
        },
        "print(open('/opt/alone.txt').read())",
    )
    .await;
    assert_eq!(guest.ended().await.output, "alone\n");
    guest.end().await;
}

#[track_caller]
fn step_of(result: Result<ephyra_sandbox::sandbox::Sandbox, CreateError>) -> (Step, i32) {
    match result {
        Err(CreateError::Failed { step, errno, .. }) => (step, errno),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a sandbox was built"),
    }
}

async fn what_is_not_there_fails_and_leaves_nothing(server: Server) {
    let absent = Digest::of(b"never unpacked");
    let failed = create(
        &server.warden,
        Spec {
            code: absent,
            ..server.spec()
        },
    )
    .await;
    assert_eq!(step_of(failed), (Step::Code, libc::ENOENT));
    let failed = create(
        &server.warden,
        Spec {
            layers: vec![absent],
            ..server.spec()
        },
    )
    .await;
    assert_eq!(step_of(failed), (Step::Layers, libc::ENOENT));
    let failed = create(
        &server.warden,
        Spec {
            runtime: "cobol60".to_owned(),
            ..server.spec()
        },
    )
    .await;
    assert!(matches!(failed, Err(CreateError::RuntimeAbsent(name)) if name == "cobol60"));
}

async fn a_package_that_leads_elsewhere_is_refused(server: Server) {
    // A server that was taken over could put anything there.
    for (number, target) in ["/", "/root", "../.."].iter().enumerate() {
        let code = Digest::of(&[number.try_into().unwrap()]);
        std::os::unix::fs::symlink(target, server.folder(code)).unwrap();
        let failed = create(&server.warden, Spec { code, ..server.spec() }).await;
        assert_eq!(step_of(failed).0, Step::Code);
        fs::remove_file(server.folder(code)).unwrap();
    }
    let file = Digest::of(b"a file");
    fs::write(server.folder(file), "not a folder").unwrap();
    let failed = create(
        &server.warden,
        Spec {
            code: file,
            ..server.spec()
        },
    )
    .await;
    assert_eq!(step_of(failed), (Step::Code, libc::ENOTDIR));
    fs::remove_file(server.folder(file)).unwrap();
}

async fn what_is_out_of_bounds_is_refused(server: Server) {
    for (memory_mb, tmp_mb) in [(64, 512), (20_000, 512), (128, 1), (128, 20_000)] {
        let failed = create(
            &server.warden,
            Spec {
                memory_mb,
                tmp_mb,
                ..server.spec()
            },
        )
        .await;
        assert_eq!(step_of(failed).0, Step::Request);
    }
    let failed = create(
        &server.warden,
        Spec {
            layers: vec![server.empty(); 6],
            ..server.spec()
        },
    )
    .await;
    assert_eq!(step_of(failed).0, Step::Request);
}

async fn the_listener_takes_connections_from_inside(server: Server) {
    let script = "import socket
s = socket.create_connection(('127.0.0.1', 9001))
s.sendall(b'hello')
print(s.recv(5).decode())";
    let mut guest = python(&server.warden, server.spec(), script).await;
    let listener = std::net::TcpListener::from(guest.listener.try_clone().unwrap());
    listener.set_nonblocking(false).unwrap();
    assert_eq!(listener.local_addr().unwrap().to_string(), "127.0.0.1:9001");
    let accepted = tokio::task::spawn_blocking(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).unwrap();
        stream.write_all(b"there").unwrap();
        bytes
    });
    assert_eq!(&accepted.await.unwrap(), b"hello");
    assert_eq!(guest.ended().await.output, "there\n");
    guest.end().await;
}

async fn many_are_built_at_once(server: Server) {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..40 {
        let server = server.clone();
        tasks.spawn(async move {
            let mut guest = server.python(&format!("print({number})")).await;
            assert_eq!(guest.ended().await.output, format!("{number}\n"));
            guest.end().await;
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
}

async fn a_create_that_nobody_waits_for_leaves_nothing(server: Server) {
    let spec = Spec {
        runtime: runtime(&server.warden, "provided.al2023"),
        ..server.spec()
    };
    for _ in 0..30 {
        let mut create = Box::pin(create(&server.warden, spec.clone()));
        let waker = std::task::Waker::noop();
        let polled = create.as_mut().poll(&mut std::task::Context::from_waker(waker));
        assert!(polled.is_pending());
    }
    // All thirty have had their turn when these have: that none is left is seen from outside, at the end.
    for _ in 0..30 {
        drop(create(&server.warden, spec.clone()).await.unwrap());
    }
}
