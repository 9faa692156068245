use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ephyra_core::prepare::Prepare as _;
use ephyra_wasm::frame::{self, header};
use ephyra_wasm::message::{CREDIT, Done, Ended, FromHost, Outgoing, ToHost, VERSION};

use crate::wat::{ECHO, command};
use crate::world::{Stand, World};

fn write(socket: &mut UnixStream, message: FromHost) {
    let Outgoing { kind, id, small, large } = message.encode();
    let header = header(kind, id, small.len() + large.len()).unwrap();
    // The server may have closed it.
    socket
        .write_all(&[&header[..], &small, &large].concat())
        .unwrap_or_default();
}

/// Greets, waits for a call, and does something to its socket.
fn after_a_call(mut socket: UnixStream, act: impl FnOnce(&mut UnixStream, u32)) {
    write(&mut socket, FromHost::Hello { version: VERSION });
    let mut buffer = BytesMut::new();
    let mut part = [0; 4096];
    loop {
        while let Some(frame) = frame::take(&mut buffer).unwrap() {
            if let ToHost::Call { call, .. } = ToHost::decode(frame).unwrap() {
                act(&mut socket, call);
                // Holds the socket until the server closes it.
                while socket.read(&mut part).is_ok_and(|count| count > 0) {}
                return;
            }
        }
        match socket.read(&mut part) {
            Ok(count) if count > 0 => buffer.extend_from_slice(&part[..count]),
            _ => return,
        }
    }
}

/// The call of a function in a host that misbehaves ends soon, and with the error of a runtime that is gone.
async fn check(stand: Stand) {
    let world = World::with_host(stand);
    let revision = world.function(&wat::parse_str(command(ECHO)).unwrap());
    world.wasm.prepare(revision.clone()).await.unwrap();
    let began = Instant::now();
    let error = world.call(&revision, "{}").await.result.unwrap_err();
    assert_eq!(error.error_type, "Runtime.ExitError");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    // The next gets a host of its own; one that was started ahead counts too.
    world.call(&revision, "{}").await.result.unwrap_err();
    assert!(world.threads.hosts.load(Ordering::SeqCst) >= 2);
}

#[tokio::test]
async fn garbage_ends_a_host() {
    check(|socket| after_a_call(socket, |socket, _| socket.write_all(&[0xff; 64]).unwrap())).await;
}

#[tokio::test]
async fn an_unknown_kind_ends_a_host() {
    check(|socket| {
        after_a_call(socket, |socket, _| {
            socket.write_all(&header(0x42, 0, 0).unwrap()).unwrap()
        })
    })
    .await;
}

#[tokio::test]
async fn an_overdrawn_credit_ends_a_host() {
    check(|socket| {
        after_a_call(socket, |socket, call| {
            let bytes = Bytes::from(vec![b'x'; CREDIT as usize]);
            write(socket, FromHost::Log { call, bytes });
        });
    })
    .await;
}

#[tokio::test]
async fn empty_pieces_cost_credit_too() {
    check(|socket| {
        after_a_call(socket, |socket, call| {
            for _ in 0..10_000 {
                write(
                    socket,
                    FromHost::Chunk {
                        call,
                        bytes: Bytes::new(),
                    },
                );
            }
        });
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_not_there_ends_a_host() {
    check(|socket| {
        after_a_call(socket, |socket, call| {
            write(
                socket,
                FromHost::Log {
                    call: call.wrapping_add(1),
                    bytes: Bytes::from_static(b"x"),
                },
            );
        });
    })
    .await;
}

#[tokio::test]
async fn a_socket_that_closes_ends_its_calls() {
    check(|socket| after_a_call(socket, |socket, _| socket.shutdown(std::net::Shutdown::Both).unwrap())).await;
}

#[tokio::test]
async fn an_answer_that_came_twice_ends_a_host_but_not_the_call() {
    let world = World::with_host(|socket| {
        after_a_call(socket, |socket, call| {
            let done = Done {
                outcome: Ended::Answered,
                cpu_ns: 0,
                peak_bytes: 0,
                load_ns: 0,
            };
            for _ in 0..2 {
                write(
                    socket,
                    FromHost::Done {
                        call,
                        done: done.clone(),
                        answer: Bytes::from_static(b"1"),
                    },
                );
            }
        });
    });
    let revision = world.function(&wat::parse_str(command(ECHO)).unwrap());
    world.wasm.prepare(revision.clone()).await.unwrap();
    assert_eq!(&world.call(&revision, "{}").await.result.unwrap()[..], b"1");
}

#[tokio::test]
async fn a_host_that_hangs_is_ended_and_replaced() {
    let world = World::with_host(|socket| after_a_call(socket, |_, _| {}));
    let mut revision = (*world.function(&wat::parse_str(command(ECHO)).unwrap())).clone();
    revision.timeout_seconds = 1;
    let revision = std::sync::Arc::new(revision);
    world.wasm.prepare(revision.clone()).await.unwrap();
    let error = world.call(&revision, "{}").await.result.unwrap_err();
    assert_eq!(error.error_type, "Sandbox.Timedout");
    // Until it is found to hang, calls still go to it.
    let began = Instant::now();
    while world.threads.hosts.load(Ordering::SeqCst) < 2 {
        assert!(began.elapsed() < Duration::from_secs(10), "it is not replaced");
        world.call(&revision, "{}").await.result.unwrap_err();
    }
}

#[tokio::test]
async fn a_host_of_another_version_is_not_used() {
    let world = World::with_host(|mut socket| write(&mut socket, FromHost::Hello { version: VERSION + 1 }));
    let revision = world.function(&wat::parse_str(command(ECHO)).unwrap());
    let error = world.call(&revision, "{}").await.result.unwrap_err();
    assert!(String::from_utf8_lossy(&error.payload).contains("another version"));
}
