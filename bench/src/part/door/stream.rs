//! Streams: how long a byte takes from the function to the client, how much goes through, and what memory that takes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Method;
use rustix::time::{ClockId, clock_gettime};

use super::{MEMORY_MB, PART};
use crate::Bench;
use crate::connection::{Bytes, to_host};
use crate::function::{Api, Spec};
use crate::language::{Language, zip};
use crate::part::ABSENT;
use crate::report::{Bar, Report};
use crate::server::Server;
use crate::stats::Summary;

const SAMPLES: usize = 200;
/// Less than the most that Lambda streams in one answer.
const BYTES: usize = 192 << 20;
const LEAST_MB_A_SECOND: f64 = 50.0;
/// What a stream may make the server larger by: buffers, and not the stream.
const MOST_GROWTH_MIB: f64 = 16.0;
const SILENCE: Duration = Duration::from_secs(20);
/// Of a monotonic clock's nanoseconds as text.
const STAMP: usize = 20;

/// Writes the time as soon as it has waited a moment, or as many bytes as it is asked for.
const HANDLER: &str = r"
const part = Buffer.alloc(64 * 1024, 'x');
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
    const left = Number(event.queryStringParameters?.bytes ?? 0);
    if (!left) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        stream.write(String(process.hrtime.bigint()).padStart(20, '0'));
        await new Promise((resolve) => setTimeout(resolve, 5));
    }
    for (let written = 0; written < left; written += part.length) {
        if (!stream.write(part)) {
            await new Promise((resolve) => stream.once('drain', resolve));
        }
    }
    stream.end();
});
";

pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    if bench.languages.of(Language::Node).is_none() {
        report.absent(PART, "streams", ABSENT);
        return Ok(());
    }
    let server = bench.program.start(&[])?;
    let mut api = Api::open(server.address)?;
    let spec = Spec {
        name: "stream",
        language: Language::Node,
        memory_mb: MEMORY_MB,
    };
    api.deploy_package(&bench.languages, &spec, &zip(&[("index.js", HANDLER.as_bytes())])?)?;
    let host = api.open_url("stream", "RESPONSE_STREAM")?;
    let request = to_host(&host, &Method::GET, "/", "", b"");
    let mut times = Vec::new();
    for _ in 0..=bench.samples(SAMPLES) {
        times.push(first_byte(server.address, &request)?);
    }
    // The first one has waited for the function's start.
    let times = Summary::of(&times[1..]).context("no stream was read")?;
    report.times_with_bars(PART, "from the function's write to the client's read", times, 1.0, None);

    let request = to_host(&host, &Method::GET, &format!("/?bytes={BYTES}"), "", b"");
    let before = server_kib(&server)?;
    let (rate, most) = pour(&server, &request)?;
    report.value_with_bar(PART, "one stream", rate, "MB/s", Bar::AtLeast(LEAST_MB_A_SECOND));
    #[expect(clippy::cast_precision_loss, reason = "kibibytes of one process")]
    let growth = most.saturating_sub(before) as f64 / 1024.0;
    report.value_with_bar(
        PART,
        "the server's growth meanwhile",
        growth,
        "MiB",
        Bar::AtMost(MOST_GROWTH_MIB),
    );
    server.stop()
}

fn open(address: SocketAddr, request: &Bytes) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.write_all(request)?;
    Ok(stream)
}

/// How long ago, by the clock that all processes share, the function wrote what has just been read.
fn first_byte(address: SocketAddr, request: &Bytes) -> Result<Duration> {
    let mut stream = open(address, request)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).context("could not read")?;
        let now = clock_gettime(ClockId::Monotonic);
        ensure!(
            count > 0,
            "a stream ended without a time: {}",
            String::from_utf8_lossy(&answer)
        );
        answer.extend_from_slice(&buffer[..count]);
        let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let is_digit = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_digit);
        let Some(stamp) = answer[head..].windows(STAMP).find(|stamp| is_digit(stamp)) else {
            continue;
        };
        let written = Duration::from_nanos(std::str::from_utf8(stamp)?.parse()?);
        let read = Duration::new(u64::try_from(now.tv_sec)?, u32::try_from(now.tv_nsec)?);
        return read.checked_sub(written).context("it was read before it was written");
    }
}

/// Megabytes a second of a large stream, and the most memory that the server had meanwhile, in KiB.
fn pour(server: &Server, request: &Bytes) -> Result<(f64, u64)> {
    let mut stream = open(server.address, request)?;
    let mut buffer = vec![0; 256 << 10];
    let (mut read, mut looked, mut most) = (0, 0, 0);
    let mut start = None;
    while read < BYTES {
        let count = stream.read(&mut buffer).context("could not read")?;
        ensure!(count > 0, "the stream ended after {read} bytes");
        start.get_or_insert_with(Instant::now);
        read += count;
        if read - looked >= BYTES / 16 {
            looked = read;
            most = most.max(server_kib(server)?);
        }
    }
    let took = start.context("nothing was read")?.elapsed();
    #[expect(clippy::cast_precision_loss, reason = "some hundred megabytes")]
    let rate = read as f64 / 1e6 / took.as_secs_f64();
    Ok((rate, most))
}

/// Memory of the server and the warden, in KiB.
fn server_kib(server: &Server) -> Result<u64> {
    Ok(server.family()?.own_kib()?.iter().sum())
}
