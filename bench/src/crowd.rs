//! Many connections at once from one thread: the load generator.
//!
//! Requests are made ahead; between an answer and the next request there is one look for the answer's end. What it
//! costs itself is told beside what it measures.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::answer::{Reader, Reply};
use crate::connection::Bytes;
use crate::stop;

/// How long all connections may be silent while answers are awaited.
const SILENCE_TIME: Duration = Duration::from_secs(60);

/// Connections to one address.
pub(crate) struct Crowd {
    poll: OwnedFd,
    members: Vec<Member>,
}

struct Member {
    stream: TcpStream,
    reader: Reader,
    sent: Option<Instant>,
}

/// One answered request.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) connection: usize,
    /// When its answer was whole, from the start of the run.
    pub(crate) ended: Duration,
    pub(crate) took: Duration,
    pub(crate) is_good: bool,
}

/// All of one run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) samples: Vec<Sample>,
    pub(crate) took: Duration,
    /// CPU time of this process meanwhile.
    pub(crate) own_cpu: Duration,
    /// The first answer that was not a success.
    pub(crate) first_bad: Option<Reply>,
}

impl Run {
    /// An error when a call was not answered with this status, which is none of success.
    pub(crate) fn all_are(self, status: u16) -> Result<Self> {
        let good = self.samples.iter().filter(|sample| sample.is_good).count();
        let first = self.first_bad.as_ref().map(|reply| reply.status);
        ensure!(
            good == 0 && first == Some(status),
            "{good} of {} calls succeeded where all had to be answered {status}; the first other: {first:?}",
            self.samples.len()
        );
        Ok(self)
    }

    /// An error when a call was not a success.
    pub(crate) fn all_good(self, what: &str) -> Result<Self> {
        let bad = self.samples.iter().filter(|sample| !sample.is_good).count();
        if bad > 0 {
            let first = self.first_bad.as_ref().map_or_else(String::new, |reply| {
                format!("{} {}", reply.status, String::from_utf8_lossy(&reply.body))
            });
            bail!(
                "{what}: {bad} of {} calls failed; the first: {first}",
                self.samples.len()
            );
        }
        ensure!(!self.samples.is_empty(), "{what}: no call was answered");
        Ok(self)
    }

    pub(crate) fn rate(&self) -> f64 {
        self.samples.len() as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn times(&self) -> Vec<Duration> {
        self.samples.iter().map(|sample| sample.took).collect()
    }
}

impl Crowd {
    pub(crate) fn open(address: SocketAddr, connections: usize) -> Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut members = Vec::with_capacity(connections);
        for number in 0..connections {
            let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
                .with_context(|| format!("connection {number} of {connections} could not be opened"))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(
                &poll,
                &stream,
                epoll::EventData::new_u64(number as u64),
                epoll::EventFlags::IN,
            )?;
            members.push(Member {
                stream,
                reader: Reader::default(),
                sent: None,
            });
        }
        Ok(Self { poll, members })
    }

    /// Calls on every connection what `next` says for it, one after the other, until it says nothing more.
    pub(crate) fn run(&mut self, mut next: impl FnMut(usize) -> Option<Bytes>) -> Result<Run> {
        let cpu = own_cpu();
        let start = Instant::now();
        let mut run = Run {
            samples: Vec::new(),
            took: Duration::ZERO,
            own_cpu: Duration::ZERO,
            first_bad: None,
        };
        let mut waiting = 0;
        for (number, member) in self.members.iter_mut().enumerate() {
            if let Some(request) = next(number) {
                member.send(&request)?;
                waiting += 1;
            }
        }
        let mut events = Vec::with_capacity(self.members.len().max(1));
        let mut buffer = vec![0; 16 << 10];
        let mut last = Instant::now();
        let look = Timespec {
            tv_sec: 0,
            tv_nsec: 200_000_000,
        };
        while waiting > 0 {
            events.clear();
            match epoll::wait(&self.poll, spare_capacity(&mut events), Some(&look)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("epoll failed"),
            }
            if events.is_empty() {
                stop::check()?;
                ensure!(last.elapsed() < SILENCE_TIME, "no answer within {SILENCE_TIME:?}");
                continue;
            }
            last = Instant::now();
            for event in &events {
                let number = usize::try_from(event.data.u64())?;
                let member = self
                    .members
                    .get_mut(number)
                    .context("an event belongs to a connection")?;
                let Some((reply, took)) = member.receive(&mut buffer)? else {
                    continue;
                };
                let is_good = (200..300).contains(&reply.status) && !reply.is_function_error;
                run.samples.push(Sample {
                    connection: number,
                    ended: start.elapsed(),
                    took,
                    is_good,
                });
                if !is_good && run.first_bad.is_none() {
                    run.first_bad = Some(reply);
                }
                match next(number) {
                    Some(request) => member.send(&request)?,
                    None => waiting -= 1,
                }
            }
        }
        run.took = start.elapsed();
        run.own_cpu = own_cpu().saturating_sub(cpu);
        Ok(run)
    }

    /// Calls the same on every connection, as fast as it is answered, for a time.
    pub(crate) fn hammer(&mut self, requests: &[Bytes], time: Duration) -> Result<Run> {
        ensure!(!requests.is_empty(), "there is nothing to call");
        let end = Instant::now() + time;
        self.run(|number| (Instant::now() < end).then(|| requests[number % requests.len()].clone()))
    }
}

impl Member {
    fn send(&mut self, request: &[u8]) -> Result<()> {
        self.sent = Some(Instant::now());
        // A request is far smaller than what a socket takes at once.
        self.stream.write_all(request).context("could not send")
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<(Reply, Duration)>> {
        let count = match self.stream.read(buffer) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(None),
            Err(error) => return Err(error).context("could not read"),
        };
        let Some(reply) = self.reader.feed(&buffer[..count])? else {
            return Ok(None);
        };
        let sent = self.sent.take().context("an answer came that nobody had asked for")?;
        Ok(Some((reply, sent.elapsed())))
    }
}

/// The CPU time of this process.
pub(crate) fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn every_connection_gets_its_requests_and_failures_are_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                std::thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while let Ok(count) = stream.read(&mut buffer) {
                        let status = if buffer[..count].starts_with(b"GET") { 200 } else { 500 };
                        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
                        if count == 0 || stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let mut crowd = Crowd::open(address, 3).unwrap();
        let get: Bytes = b"GET / HTTP/1.1\r\n\r\n".as_slice().into();
        let mut left = 10;
        let run = crowd
            .run(|_| {
                left -= 1;
                (left >= 0).then(|| get.clone())
            })
            .unwrap()
            .all_good("ten")
            .unwrap();
        assert_eq!(run.samples.len(), 10);
        let run = crowd
            .hammer(std::slice::from_ref(&get), Duration::from_millis(20))
            .unwrap();
        assert!(run.rate() > 1.0 && run.all_good("many").is_ok());
        let post: Bytes = b"POST / HTTP/1.1\r\n\r\n".as_slice().into();
        let run = crowd.hammer(&[post], Duration::ZERO).unwrap();
        assert!(run.all_good("none").is_err());
        let mut once = true;
        let run = crowd.run(|_| std::mem::take(&mut once).then(|| b"PUT / HTTP/1.1\r\n\r\n".as_slice().into()));
        let error = run.unwrap().all_good("one").unwrap_err();
        assert!(error.to_string().contains("1 of 1 calls failed; the first: 500"));
    }
}
