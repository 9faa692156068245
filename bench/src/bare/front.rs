//! Bare HTTP servers, each a process of its own started from this program: `hello`, which answers by itself, and the
//! skeleton, which passes the body on to one of two bare loops. No signature, no isolation, no log.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::Semaphore;

use super::guest::{Guest, frame, length};
use crate::function::ANSWER;
use crate::language::Language;
use crate::process::Process;

/// Loops behind the skeleton, and threads of it: one for each core that the figures were first taken on.
const WORKERS: usize = 2;

/// A running server. Dropped, it is ended.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    process: Process,
}

impl Front {
    /// Starts a server that answers by itself.
    pub(crate) fn hello() -> Result<Self> {
        Self::start(&["bare", "hello"])
    }

    /// Starts the skeleton for an interpreter.
    pub(crate) fn skeleton(language: Language, executable: &str) -> Result<Self> {
        Self::start(&["bare", language.name(), executable])
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.pid()
    }

    fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start_as_is(command)?;
        let output = process.child().stdout.take().context("it has an output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line
            .trim()
            .parse()
            .context("a bare server did not say where it listens")?;
        Ok(Self { address, process })
    }
}

/// What `ephyra-bench bare` does: serves until its input ends.
pub(crate) fn serve(kind: &str, executable: Option<&str>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let workers = Arc::new(Workers::start(kind, executable)?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        // It does not outlive the one that started it.
        let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        tokio::select! {
            accepted = accept(listener, workers) => accepted,
            _ = ended => Ok(()),
        }
    })
}

async fn accept(listener: TcpListener, workers: Arc<Workers>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let workers = workers.clone();
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let workers = workers.clone();
                async move { Ok::<_, Infallible>(answer(&workers, request).await) }
            });
            // A client that goes away ends its connection; it sees the rest in its own figures.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(workers: &Workers, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let answered = async {
        let event = request.into_body().collect().await?.to_bytes();
        workers.call(&event).await
    };
    match answered.await {
        Ok(body) => Response::new(Full::new(body)),
        Err(error) => {
            let mut response = Response::new(Full::new(Bytes::from(format!("{error:#}"))));
            *response.status_mut() = hyper::StatusCode::BAD_GATEWAY;
            response
        }
    }
}

/// The loops, each of which has one event at a time.
struct Workers {
    idle: Mutex<Vec<UnixStream>>,
    permits: Semaphore,
    has_none: bool,
    _guests: Vec<Guest>,
}

impl Workers {
    fn start(kind: &str, executable: Option<&str>) -> Result<Self> {
        let language = Language::INTERPRETED.into_iter().find(|one| one.name() == kind);
        let (mut guests, mut idle) = (Vec::new(), Vec::new());
        if let Some(language) = language {
            let executable = executable.context("a loop has an interpreter")?;
            for _ in 0..WORKERS {
                let guest = Guest::start(language, executable)?;
                let socket = guest.socket.try_clone()?;
                socket.set_nonblocking(true)?;
                idle.push(UnixStream::from_std(socket)?);
                guests.push(guest);
            }
        } else {
            ensure!(kind == "hello", "there is no bare {kind}");
        }
        Ok(Self {
            permits: Semaphore::new(idle.len()),
            has_none: idle.is_empty(),
            idle: Mutex::new(idle),
            _guests: guests,
        })
    }

    async fn call(&self, event: &[u8]) -> Result<Bytes> {
        if self.has_none {
            return Ok(Bytes::from_static(ANSWER));
        }
        let _permit = self.permits.acquire().await?;
        let taken = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut socket = taken.context("a permit stands for a loop")?;
        socket.write_all(&frame(event)?).await?;
        let mut buffer = [0; 1024];
        let mut filled = 0;
        while filled < 4 || filled < 4 + length(&buffer)? {
            let count = socket.read(&mut buffer[filled..]).await?;
            ensure!(count > 0, "a loop has ended");
            filled += count;
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
        Ok(Bytes::copy_from_slice(&buffer[4..filled]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn the_skeleton_passes_events_on() {
        assert_eq!(
            Workers::start("hello", None).unwrap().call(b"{}").await.unwrap(),
            ANSWER
        );
        let workers = Workers::start("python", Some("python3")).unwrap();
        for _ in 0..3 {
            assert_eq!(workers.call(b"{}").await.unwrap(), ANSWER);
        }
        assert!(Workers::start("cobol", None).is_err());
    }
}
