//! What is looked after while something else is waited for: the runtime's end, its output, the deadline.

use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;
use tokio::time::Sleep;

use crate::journal::Journal;
use crate::pace::Pace;
use crate::supervisor::{Exit, Supervisor};

/// Read from the output at once.
const READ_BYTES: usize = 16 * 1024;
/// Reads before others get their turn: a flooding guest does not hold up its own deadline.
const READS: usize = 2;
/// What is read at most of a flood when an invocation is over: what a pipe holds. A guest that has enlarged its pipe
/// finds the rest in the log of its next invocation.
const LAST_WORDS_BYTES: usize = 64 * 1024;
/// The output of one invocation that is read as fast as it comes, in bytes.
const OUTPUT_BURST: u64 = 4 << 20;
/// How fast more than that is read, in bytes a second. The guest waits meanwhile, as the pipe is full.
const OUTPUT_RATE: u64 = 4 << 20;
/// How long an answer may be under way when the runtime has already ended.
const GRACE: Duration = Duration::from_millis(20);

/// The side channels of an environment.
pub(crate) struct Watch {
    pub(crate) supervisor: Supervisor,
    pub(crate) journal: Journal,
    output: Option<pipe::Receiver>,
    pace: Pace,
    /// While it lasts no output is read.
    pause: Option<Pin<Box<Sleep>>>,
}

/// How waiting ended.
#[derive(Debug)]
pub(crate) enum Waited<T> {
    /// What was waited for has come.
    Done(T),
    /// The deadline has come before.
    Deadline,
    /// The runtime has ended before.
    Exited(Exit),
}

impl Watch {
    pub(crate) fn open(supervisor: OwnedFd, output: OwnedFd, journal: Journal) -> io::Result<Self> {
        let output = Some(pipe::Receiver::from_owned_fd(output)?);
        Ok(Self {
            supervisor: Supervisor::open(supervisor)?,
            journal,
            output,
            pace: Pace::new(OUTPUT_BURST, OUTPUT_RATE),
            pause: None,
        })
    }

    /// Begins an invocation, which may write as much as any other.
    pub(crate) fn renew(&mut self) {
        self.pace.renew();
        self.pause = None;
    }

    /// Waits for `work` and keeps an eye on the rest.
    pub(crate) async fn during<T>(&mut self, deadline: Option<Instant>, work: impl Future<Output = T>) -> Waited<T> {
        let mut work = pin!(work);
        match self.race(deadline, work.as_mut()).await {
            // It may have answered before it ended.
            Waited::Exited(exit) => match tokio::time::timeout(GRACE, work).await {
                Ok(done) => Waited::Done(done),
                Err(_) => Waited::Exited(exit),
            },
            other => other,
        }
    }

    async fn race<T>(&mut self, deadline: Option<Instant>, mut work: Pin<&mut impl Future<Output = T>>) -> Waited<T> {
        let mut timer = pin!(deadline.map(|at| tokio::time::sleep_until(at.into())));
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Waited::Done(done));
            }
            // Work that never runs dry leaves a timer no share of the task's budget: the clock has the last word.
            if timer
                .as_mut()
                .as_pin_mut()
                .is_some_and(|timer| timer.poll(cx).is_ready())
                || deadline.is_some_and(|at| Instant::now() >= at)
            {
                return Poll::Ready(Waited::Deadline);
            }
            if let Poll::Ready(exit) = self.supervisor.poll_exit(cx) {
                return Poll::Ready(Waited::Exited(exit));
            }
            self.poll_output(cx);
            Poll::Pending
        })
        .await
    }

    /// Reads output until there is none; leaves a waker for more.
    fn poll_output(&mut self, cx: &mut Context<'_>) {
        if self.pause.is_none() {
            let time = self.pace.wait(Instant::now);
            self.pause = time.map(|time| Box::pin(tokio::time::sleep(time)));
        }
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(cx).is_pending() {
                return;
            }
            self.pause = None;
        }
        let mut buffer = [MaybeUninit::uninit(); READ_BYTES];
        for _ in 0..READS {
            let Some(output) = &mut self.output else {
                return self.journal.flush();
            };
            let mut read = ReadBuf::uninit(&mut buffer);
            match Pin::new(output).poll_read(cx, &mut read) {
                Poll::Pending => return self.journal.flush(),
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    let lines = self.journal.write(read.filled(), now_ms());
                    self.pace.spend(read.filled().len(), 1 + lines);
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                // Closed on the other side, or broken: either way nothing more comes.
                Poll::Ready(_) => self.output = None,
            }
        }
        self.journal.flush();
        cx.waker().wake_by_ref();
    }

    /// Reads what is there of the output without waiting, and takes an unfinished line for a whole one.
    pub(crate) fn take_output(&mut self) {
        let mut buffer = [MaybeUninit::uninit(); READ_BYTES];
        let mut taken = 0;
        while let Some(output) = &self.output
            && taken < LAST_WORDS_BYTES
        {
            match rustix::io::read(output, &mut buffer[..]) {
                Ok(([], _)) => self.output = None,
                Ok((bytes, _)) => {
                    self.journal.write(bytes, now_ms());
                    taken += bytes.len();
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(_) => self.output = None,
            }
        }
        self.journal.finish_line(now_ms());
    }

    /// How the runtime has ended; waits a moment for the news. `None`: it is still there.
    pub(crate) async fn exit(&mut self, limit: Duration) -> Option<Exit> {
        match self
            .race(Some(Instant::now() + limit), pin!(std::future::pending::<()>()))
            .await
        {
            Waited::Exited(exit) => Some(exit),
            Waited::Done(()) | Waited::Deadline => None,
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
