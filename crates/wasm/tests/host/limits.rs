use std::time::{Duration, Instant};

use ephyra_core::limits::SYNC_RESPONSE_BYTES;
use ephyra_wasm::message::{CREDIT, Ended, FromHost};

use crate::client::{Client, Order};
use crate::wat::{ECHO, SPIN, command};

#[test]
fn a_guest_that_spins_ends_in_time_and_others_answer_meanwhile() {
    let mut client = Client::start();
    let spin = client.load(&command(SPIN));
    let echo = client.load(&command(ECHO));
    let order = Order {
        time: Duration::from_millis(300),
        ..Order::default()
    };
    let began = Instant::now();
    let spinning: Vec<u32> = (0..4).map(|_| client.begin(spin, &order)).collect();
    for _ in 0..20 {
        assert_eq!(client.call(echo, &Order::default()).done.outcome, Ended::Answered);
    }
    assert!(
        began.elapsed() < Duration::from_millis(290),
        "the others had to wait: {:?}",
        began.elapsed()
    );
    for said in client.finish(&spinning, true) {
        assert_eq!(said.done.outcome, Ended::Timeout);
        assert!(said.done.cpu_ns > 0);
    }
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_small_function_gets_its_share_of_a_processor() {
    let mut client = Client::start();
    let spin = client.load(&command(SPIN));
    let order = Order {
        time: Duration::from_millis(500),
        cpu_permille: 100,
        ..Order::default()
    };
    let said = client.call(spin, &order);
    let cpu = Duration::from_nanos(said.done.cpu_ns);
    // A tenth of half a second, and the burst.
    assert!(cpu < Duration::from_millis(150), "{cpu:?}");
}

#[test]
fn memory_ends_where_the_functions_ends() {
    let mut client = Client::start();
    let leak = client.load(&command(
        "(loop $again
            (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
            (br $again))",
    ));
    let said = client.call(leak, &Order::default());
    assert_eq!(said.done.outcome, Ended::OutOfMemory);
    assert_eq!(said.done.peak_bytes, (127 << 20) + 128 * 1024);
    // It may also give up in good order.
    let modest = client.load(&command(
        "(if (i32.ne (memory.grow (i32.const 4096)) (i32.const -1)) (then unreachable))
         (call $write (i32.const 1) (i32.const 512) (i32.const 7))",
    ));
    assert_eq!(client.call(modest, &Order::default()).done.outcome, Ended::Answered);
    let large = client.load("(module (memory 4096) (func (export \"_start\")))");
    assert_eq!(client.call(large, &Order::default()).done.outcome, Ended::OutOfMemory);
}

#[test]
fn an_answer_has_an_end() {
    let mut client = Client::start();
    let module = client.load(&command(
        "(loop $again (call $write (i32.const 1) (i32.const 1024) (i32.const 65536)) (br $again))",
    ));
    assert_eq!(client.call(module, &Order::default()).done.outcome, Ended::TooLarge);
    let exact = client.load(&command(
        "(loop $again
            (call $write (i32.const 1) (i32.const 1024) (i32.const 65536))
            (global.set $count (i32.add (global.get $count) (i32.const 1)))
            (br_if $again (i32.lt_u (global.get $count) (i32.const 96))))
         (call $write (i32.const 1) (i32.const 1024) (i32.const 100))",
    ));
    assert_eq!(client.call(exact, &Order::default()).answer.len(), SYNC_RESPONSE_BYTES);
}

#[test]
fn who_floods_the_log_waits_for_its_reader() {
    let mut client = Client::start();
    let flood = client.load(&command(
        "(loop $again (call $write (i32.const 2) (i32.const 600) (i32.const 7)) (br $again))",
    ));
    let order = Order {
        time: Duration::from_millis(200),
        ..Order::default()
    };
    let call = client.begin(flood, &order);
    let mut logged = 0;
    loop {
        match client.receive() {
            FromHost::Log { bytes, .. } => logged += bytes.len(),
            FromHost::Done { call: found, done, .. } => {
                assert_eq!((found, done.outcome), (call, Ended::Timeout));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(logged > 0 && logged <= CREDIT as usize, "{logged}");
}

#[test]
fn more_calls_than_there_is_room_for_are_told_so() {
    let mut client = Client::with_room_for(2);
    let spin = client.load(&command(SPIN));
    let order = Order {
        time: Duration::from_millis(100),
        ..Order::default()
    };
    let calls: Vec<u32> = (0..3).map(|_| client.begin(spin, &order)).collect();
    let said = client.finish(&calls, true);
    assert!(matches!(said[2].done.outcome, Ended::Busy(_)), "{:?}", said[2]);
    assert_eq!(client.call(spin, &order).done.outcome, Ended::Timeout);
}
