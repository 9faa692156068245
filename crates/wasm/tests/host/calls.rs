use bytes::Bytes;
use ephyra_core::digest::Digest;
use ephyra_wasm::artefact::Artefact;
use ephyra_wasm::message::{CREDIT, Ended, FromHost, Outgoing, PIECE, ToHost};

use crate::client::{Client, Order};
use crate::wat::{ECHO, SPIN, command};

#[test]
fn a_command_answers_with_what_it_writes() {
    let mut client = Client::start();
    let module = client.load(&command(ECHO));
    let event = Bytes::from_static(b"{\"a\":1}");
    let said = client.call(
        module,
        &Order {
            event: event.clone(),
            ..Order::default()
        },
    );
    assert_eq!((said.done.outcome, said.answer), (Ended::Answered, event));
    assert!(said.done.load_ns > 0 && said.done.cpu_ns > 0);
    assert_eq!(said.done.peak_bytes, 128 * 1024);
    let again = client.call(module, &Order::default());
    assert_eq!((again.done.load_ns, &again.answer[..]), (0, &b"{}"[..]));
    client.close().unwrap();
}

#[test]
fn each_call_has_an_instance_of_its_own() {
    let mut client = Client::start();
    let module = client.load(&command(
        "(global.set $count (i32.add (global.get $count) (i32.const 1)))
         (i32.store8 (i32.const 700) (i32.add (i32.const 48) (global.get $count)))
         (i32.store8 (i32.const 701) (i32.add (i32.const 48) (i32.load8_u (i32.const 800))))
         (i32.store8 (i32.const 800) (i32.const 9))
         (call $write (i32.const 1) (i32.const 700) (i32.const 2))",
    ));
    for _ in 0..3 {
        assert_eq!(&client.call(module, &Order::default()).answer[..], b"10");
    }
}

#[test]
fn standard_error_is_the_log_and_a_status_is_an_error() {
    let mut client = Client::start();
    let module = client.load(&command(
        "(call $write (i32.const 2) (i32.const 600) (i32.const 7))
         (call $write (i32.const 2) (i32.const 600) (i32.const 3))
         (call $proc_exit (i32.const 3))",
    ));
    let said = client.call(module, &Order::default());
    assert_eq!((said.done.outcome, said.log.as_str()), (Ended::Exit(3), "a line\na l"));
    let module = client.load(&command(
        "(call $write (i32.const 1) (i32.const 512) (i32.const 7)) (call $proc_exit (i32.const 0))",
    ));
    let said = client.call(module, &Order::default());
    assert_eq!(
        (said.done.outcome, &said.answer[..]),
        (Ended::Answered, &b"\"fixed\""[..])
    );
}

#[test]
fn a_trap_has_a_name_and_a_trace() {
    let mut client = Client::start();
    for (body, name, text) in [
        (
            "unreachable",
            "UnreachableCodeReached",
            "wasm trap: wasm `unreachable` instruction executed",
        ),
        (
            "(drop (i32.load (i32.const -1)))",
            "MemoryOutOfBounds",
            "wasm trap: out of bounds memory access",
        ),
        (
            "(drop (i32.div_s (i32.const 1) (global.get $count)))",
            "IntegerDivisionByZero",
            "wasm trap: integer divide by zero",
        ),
    ] {
        let module = client.load(&command(body));
        let Ended::Trap { name: found, trace } = client.call(module, &Order::default()).done.outcome else {
            panic!("{body} does not trap");
        };
        assert_eq!(found, name);
        assert!(trace.starts_with(text) && trace.contains("\n    at "), "{trace}");
    }
    let module = client.load("(module (func $f (export \"_start\") (call $f)))");
    let Ended::Trap { name, .. } = client.call(module, &Order::default()).done.outcome else {
        panic!("endless recursion does not trap");
    };
    assert_eq!(name, "StackOverflow");
    // Nobody else notices.
    let echo = client.load(&command(ECHO));
    assert_eq!(client.call(echo, &Order::default()).done.outcome, Ended::Answered);
}

#[test]
fn no_file_and_no_folder_is_there() {
    let mut client = Client::start();
    // Tries the first descriptors that could be preopened; 8 is EBADF.
    let module = client.load(&command(
        "(i32.store8 (i32.const 700) (i32.add (i32.const 48) (call $path_open
            (i32.const 3) (i32.const 0) (i32.const 600) (i32.const 1) (i32.const 0) (i64.const 1) (i64.const 1)
            (i32.const 0) (i32.const 900))))
         (call $write (i32.const 1) (i32.const 700) (i32.const 1))",
    ));
    assert_eq!(&client.call(module, &Order::default()).answer[..], b"8");
}

#[test]
fn an_answer_streams_as_its_reader_takes_it() {
    let mut client = Client::start();
    // 16 MiB in pieces of 64 KiB.
    let module = client.load(&command(
        "(loop $again
            (call $write (i32.const 1) (i32.const 1024) (i32.const 65536))
            (global.set $count (i32.add (global.get $count) (i32.const 1)))
            (br_if $again (i32.lt_u (global.get $count) (i32.const 256))))",
    ));
    let order = Order {
        streams: true,
        ..Order::default()
    };
    let call = client.begin(module, &order);
    let (mut taken, mut count) = (0, 0);
    let head = client.receive();
    assert_eq!(
        head,
        FromHost::Head {
            call,
            content_type: "application/octet-stream".to_owned()
        }
    );
    // Without credit it waits.
    while taken + 2 * (64 * 1024 + PIECE) < CREDIT {
        let FromHost::Chunk { bytes, .. } = client.receive() else {
            panic!("no chunk")
        };
        taken += u32::try_from(bytes.len()).unwrap() + PIECE;
        count += bytes.len();
    }
    client.send(ToHost::Credit {
        call,
        flow: ephyra_wasm::message::Flow::Answer,
        bytes: taken,
    });
    let said = client.finish(&[call], true).remove(0);
    assert_eq!(said.done.outcome, Ended::Answered);
    assert_eq!(count + said.streamed.len(), 16 << 20);
}

#[test]
fn a_streamed_answer_of_nothing_has_a_head_and_a_failure_has_none() {
    let mut client = Client::start();
    let order = Order {
        streams: true,
        ..Order::default()
    };
    let module = client.load(&command(""));
    assert!(client.call(module, &order).head.is_some());
    let module = client.load(&command("unreachable"));
    assert_eq!(client.call(module, &order).head, None);
}

#[test]
fn a_module_that_is_missing_or_broken_is_told() {
    let mut client = Client::start();
    let module = client.register(Artefact {
        package: Digest::of(b"missing"),
        entry: Digest::of(b"app"),
    });
    assert!(matches!(
        client.call(module, &Order::default()).done.outcome,
        Ended::Unloadable(_)
    ));
}

#[test]
fn a_cancelled_call_ends() {
    let mut client = Client::start();
    let module = client.load(&command(SPIN));
    let call = client.begin(module, &Order::default());
    client.send(ToHost::Cancel { call });
    assert_eq!(client.finish(&[call], true)[0].done.outcome, Ended::Cancelled);
}

#[test]
fn a_server_that_breaks_the_protocol_is_left() {
    for message in [
        Outgoing {
            kind: 0x77,
            id: 0,
            small: bytes::BytesMut::new(),
            large: Bytes::new(),
        },
        ToHost::Unload { module: 1 }.encode(),
    ] {
        let mut client = Client::start();
        let is_known = message.kind != 0x77;
        client.send_frame(message);
        if is_known {
            // To forget what was never there is no breach.
            client.close().unwrap();
        } else {
            assert!(client.close().is_err());
        }
    }
}

#[test]
fn what_is_mapped_ahead_need_not_be_mapped_by_its_first_call() {
    let mut client = Client::start();
    let echo = client.load(&command(ECHO));
    // Of one that nobody knows there is nothing to be mapped.
    client.send(ToHost::Map { module: 1000 });
    let was_ahead = (0..50).any(|number| {
        let module = client.load(&command(&format!("{ECHO} (drop (i32.const {number}))")));
        client.send(ToHost::Map { module });
        // Meanwhile.
        assert_eq!(client.call(echo, &Order::default()).done.outcome, Ended::Answered);
        let said = client.call(module, &Order::default());
        assert_eq!((said.done.outcome, &said.answer[..]), (Ended::Answered, &b"{}"[..]));
        said.done.load_ns == 0
    });
    assert!(was_ahead);
    // What cannot be mapped is told to who calls it.
    let absent = client.register(Artefact {
        package: Digest::of(b"absent"),
        entry: Digest::of(b"app"),
    });
    client.send(ToHost::Map { module: absent });
    let said = client.call(absent, &Order::default());
    assert!(matches!(said.done.outcome, Ended::Unloadable(_)), "{said:?}");
}
