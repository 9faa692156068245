//! A command: the event comes in at standard input, the answer goes out at standard output. What it is to do is the
//! event's first word.

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::process::exit;

fn main() {
    let mut event = String::new();
    std::io::stdin().read_to_string(&mut event).expect("an event is text");
    let event = event.trim().trim_matches('"');
    let (what, rest) = event.split_once(' ').unwrap_or((event, ""));
    match what {
        "echo" => println!("{rest}"),
        "log" => {
            eprintln!("a line\nand another: {rest}");
            println!("null");
        }
        "environment" => {
            let variables: Vec<String> = env::vars().map(|(name, value)| format!("{name:?}: {value:?}")).collect();
            println!("{{{}}}", variables.join(", "));
        }
        "world" => println!("{}", world()),
        // Each instance is new: this is 1 whenever it is asked.
        "count" => println!("{}", count()),
        "leak" => {
            let mut kept: Vec<Vec<u8>> = Vec::new();
            loop {
                kept.push(vec![1; 1 << 20]);
            }
        }
        "huge" => {
            let part = [b'1'; 1 << 16];
            for _ in 0..rest.parse().expect("how many") {
                std::io::stdout().write_all(&part).expect("it is taken");
            }
        }
        "exit" => exit(rest.parse().expect("a status")),
        "panic" => panic!("{rest}"),
        _ => println!("{event:?}"),
    }
}

fn count() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed) + 1
}

/// What it can do beyond computing: nothing of this.
fn world() -> String {
    let found = [
        ("files", fs::read_dir("/").is_ok() || fs::read("/etc/passwd").is_ok() || fs::read_dir(".").is_ok()),
        ("writing", fs::write("/tmp/file", "x").is_ok() || fs::write("file", "x").is_ok()),
        ("tcp", TcpStream::connect("127.0.0.1:9001").is_ok()),
        ("udp", UdpSocket::bind("127.0.0.1:0").is_ok()),
        ("names", std::net::ToSocketAddrs::to_socket_addrs("localhost:80").is_ok()),
    ];
    let found: Vec<String> = found.iter().map(|(what, can)| format!("\"{what}\": {can}")).collect();
    format!("{{{}, \"arguments\": {}}}", found.join(", "), env::args().count())
}
