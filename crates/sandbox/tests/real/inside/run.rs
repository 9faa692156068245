//! Running, freezing, measuring and ending.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use ephyra_sandbox::supervisor::Exit;
use rustix::net::{RecvFlags, SendFlags};

use super::{Case, Server, cases};
use crate::guest::{Spec, python, runtime, start};

pub(super) const CASES: &[Case] = cases![
    the_control_stream_goes_both_ways,
    a_bootstrap_of_shell_runs,
    what_cannot_be_executed_is_said,
    the_status_of_the_runtime_is_said,
    orphans_are_reaped,
    a_frozen_guest_stands_still,
    a_frozen_guest_can_be_ended,
    the_cpu_is_capped_when_asked,
    memory_is_measured,
    too_much_memory_ends_the_runtime,
    nothing_of_a_guest_outlives_its_runtime,
    the_end_of_the_supervisor_ends_the_guest,
    a_socket_from_inside_is_connected_from_outside,
];

async fn the_control_stream_goes_both_ways(server: Server) {
    let mut guest = server
        .python(
            "import socket
s = socket.socket(fileno=3)
s.sendall(s.recv(5).upper() + b'\\n')",
        )
        .await;
    guest.say("hello").await;
    assert_eq!(guest.hear().await, "HELLO");
    assert_eq!(guest.ended().await.exit, Some(Exit::Exited(0)));
    guest.end().await;
}

async fn a_bootstrap_of_shell_runs(server: Server) {
    let code = server.package(&[(
        "bootstrap",
        "#!/bin/sh\necho $0 $SECRET; cd /tmp && echo x > y && cat y; echo z > /dev/stdout\n",
    )]);
    let spec = Spec {
        runtime: runtime(&server.warden, "provided.al2023"),
        code,
        ..server.spec()
    };
    let mut guest = start(&server.warden, spec, &["/var/task/bootstrap"]).await.unwrap();
    assert_eq!(guest.ended().await.output, "/var/task/bootstrap hunter2\nx\nz\n");
    guest.end().await;
}

async fn what_cannot_be_executed_is_said(server: Server) {
    for (program, errno) in [
        ("/var/task/nothing", libc::ENOENT),
        ("/var/task", libc::EACCES),
        ("", libc::ENOENT),
    ] {
        let mut guest = start(&server.warden, server.spec(), &[program]).await.unwrap();
        assert_eq!(guest.ended().await.exit, Some(Exit::ExecFailed(errno)), "{program}");
        guest.end().await;
    }
}

async fn the_status_of_the_runtime_is_said(server: Server) {
    for (script, notice) in [
        ("import os; os._exit(42)", Exit::Exited(42)),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            Exit::Signalled(9),
        ),
        ("import os; os.abort()", Exit::Signalled(6)),
    ] {
        let mut guest = server.python(script).await;
        assert_eq!(guest.ended().await.exit, Some(notice), "{script}");
        guest.end().await;
    }
}

async fn orphans_are_reaped(server: Server) {
    let output = server
        .output_of(
            "import os
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0: os._exit(0)
        os._exit(0)
    os.waitpid(pid, 0)
import time
end = time.monotonic() + 10
while time.monotonic() < end and [n for n in os.listdir('/proc') if n.isdigit()] != [str(os.getpid())]: pass
print([n for n in os.listdir('/proc') if n.isdigit()])",
        )
        .await;
    assert_eq!(output, "['2']\n");
}

/// Counts for ever, and says once that it has begun.
const BUSY: &str = "import socket
socket.socket(fileno=3).sendall(b'begun\\n')
while True: pass";

async fn a_frozen_guest_stands_still(server: Server) {
    let mut guest = server.python(BUSY).await;
    guest.hear().await;
    let begun = guest.controls.cpu_time().unwrap();
    assert!(begun > Duration::ZERO);
    guest.controls.freeze().unwrap();
    // Freezing is done when the reading stands still.
    let mut frozen = guest.controls.cpu_time().unwrap();
    let mut still = 0;
    for _ in 0..1000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = guest.controls.cpu_time().unwrap();
        still = if now == frozen { still + 1 } else { 0 };
        frozen = now;
        if still == 20 {
            break;
        }
    }
    assert_eq!(still, 20, "it does not stand still");
    guest.controls.thaw().unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while guest.controls.cpu_time().unwrap() < frozen + Duration::from_millis(20) {
        assert!(std::time::Instant::now() < end, "it does not go on");
        tokio::task::yield_now().await;
    }
    guest.end().await;
}

async fn a_frozen_guest_can_be_ended(server: Server) {
    let mut guest = server.python(BUSY).await;
    guest.hear().await;
    guest.controls.freeze().unwrap();
    guest.end().await;
    // And so can one that is merely let go of.
    let mut guest = server.python(BUSY).await;
    guest.hear().await;
    guest.controls.freeze().unwrap();
    drop(guest);
}

async fn the_cpu_is_capped_when_asked(server: Server) {
    let mut guest = server.python(BUSY).await;
    guest.hear().await;
    guest.controls.cap_cpu().unwrap();
    // 128 MB come with 7 % of a CPU; a period's worth may have been saved up.
    let (began, used) = (std::time::Instant::now(), guest.controls.cpu_time().unwrap());
    tokio::time::sleep(Duration::from_millis(600)).await;
    let used = guest.controls.cpu_time().unwrap() - used;
    let share = used.as_secs_f64() / began.elapsed().as_secs_f64();
    assert!(share < 0.2, "it had {share} of a CPU");
    guest.end().await;
}

async fn memory_is_measured(server: Server) {
    let mut guest = server
        .python(
            "import socket
s = socket.socket(fileno=3)
s.sendall(b'begun\\n')
s.recv(1)
x = bytearray(50 << 20)
s.sendall(b'done\\n')
s.recv(1)",
        )
        .await;
    guest.hear().await;
    let before = guest.controls.peak_memory_bytes().unwrap();
    guest.say("x").await;
    guest.hear().await;
    let after = guest.controls.peak_memory_bytes().unwrap();
    assert!(
        before > 0 && after >= before + (49 << 20) && after < 128 << 20,
        "{before} {after}"
    );
    assert_eq!(guest.controls.oom_kills().unwrap(), 0);
    guest.end().await;
}

async fn too_much_memory_ends_the_runtime(server: Server) {
    let mut guest = server
        .python(
            "x = []
while True: x.append(bytearray(1 << 20))",
        )
        .await;
    let ended = guest.ended().await;
    assert!(matches!(ended.exit, None | Some(Exit::Signalled(9))), "{ended:?}");
    assert!(guest.controls.oom_kills().unwrap() > 0);
    assert!(guest.controls.peak_memory_bytes().unwrap() <= 128 << 20);
    guest.end().await;
}

async fn nothing_of_a_guest_outlives_its_runtime(server: Server) {
    // The child keeps the output open: its end of file shows that the child is gone as well.
    let mut guest = server
        .python(
            "import os, time
if os.fork() == 0:
    os.setsid()
    time.sleep(3600)",
        )
        .await;
    assert_eq!(guest.ended().await.exit, Some(Exit::Exited(0)));
    guest.end().await;
}

async fn the_end_of_the_supervisor_ends_the_guest(server: Server) {
    let mut guest = python(&server.warden, server.spec(), BUSY).await;
    guest.hear().await;
    let (other, _) = tokio::net::UnixDatagram::pair().unwrap();
    drop(std::mem::replace(&mut guest.supervisor, other));
    let mut byte = [0];
    let read = guest.control.recv(&mut byte);
    let read = tokio::time::timeout(crate::guest::LIMIT, read).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)));
    guest.end().await;
}

async fn a_socket_from_inside_is_connected_from_outside(server: Server) {
    let mut guest = server
        .python(
            "import socket
listener = socket.create_server(('127.0.0.1', 8080))
control = socket.socket(fileno=3)
for _ in range(2):
    control.sendall(b'listening\\n')
    connection, _ = listener.accept()
    connection.sendall(connection.recv(5).upper())
    connection.close()",
        )
        .await;
    let socket = guest.socket().await;
    let port = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    for _ in 0..2 {
        assert_eq!(guest.hear().await, "listening");
        rustix::net::connect_unspec(&socket).unwrap();
        rustix::net::connect(&socket, &port(8080)).unwrap();
        rustix::net::send(&socket, b"hello", SendFlags::empty()).unwrap();
        let mut heard = [0; 5];
        rustix::net::recv(&socket, &mut heard[..], RecvFlags::WAITALL).unwrap();
        assert_eq!(&heard, b"HELLO");
    }
    assert_eq!(guest.ended().await.exit, Some(Exit::Exited(0)));
    guest.end().await;
}
