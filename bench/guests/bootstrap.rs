//! The smallest custom runtime: a static program that answers every event with `null`.
//!
//! Compiled by `language/provided.rs` with nothing but the standard library.

use std::io::{Read, Write};
use std::net::TcpStream;

fn main() -> std::io::Result<()> {
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap_or_default();
    let mut connection = TcpStream::connect(&api)?;
    connection.set_nodelay(true)?;
    loop {
        let next = format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: {api}\r\n\r\n");
        connection.write_all(next.as_bytes())?;
        let Some(id) = answer(&mut connection)? else {
            return Ok(());
        };
        let response = format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nhost: {api}\r\ncontent-length: 4\r\n\r\nnull"
        );
        connection.write_all(response.as_bytes())?;
        answer(&mut connection)?;
    }
}

/// Reads one answer to its end; its request id, when it has one, or nothing when the connection is over.
fn answer(connection: &mut TcpStream) -> std::io::Result<Option<String>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 << 10]);
    loop {
        let count = connection.read(&mut buffer)?;
        if count == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&buffer[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let header = |name: &str| {
            head.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.trim().to_owned())
        };
        let length = header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        let is_chunked_end = header("transfer-encoding").is_some() && bytes.ends_with(b"0\r\n\r\n");
        if is_chunked_end || (header("transfer-encoding").is_none() && bytes.len() >= end + 4 + length) {
            return Ok(Some(header("lambda-runtime-aws-request-id").unwrap_or_default()));
        }
    }
}
