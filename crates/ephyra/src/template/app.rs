//! Compile it with `rustc --target wasm32-wasip2 -O app.rs -o app.wasm`, then `ephyra deploy`. The event comes in at
//! standard input, the answer goes out at standard output; standard error is the log.

use std::io::Read as _;

fn main() {
    let mut event = String::new();
    std::io::stdin().read_to_string(&mut event).expect("the event is text");
    eprintln!("called with {} bytes", event.len());
    let greeting = std::env::var("GREETING").unwrap_or_default();
    println!("{{\"message\": \"{greeting}, world!\", \"event\": {event}}}");
}
