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
use crate::supervisor::{Exit, News, Supervisor};
use crate::telemetry::Category;

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
/// How long a line may lie here before it is written: those of a short invocation are written together at its end.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long an answer may be under way when the runtime has already ended.
const GRACE: Duration = Duration::from_millis(20);

/// The side channels of an environment.
pub(crate) struct Watch {
    pub(crate) supervisor: Supervisor,
    pub(crate) journal: Journal,
    output: Option<pipe::Receiver>,
    /// The output of external extensions; `None` where there are none.
    extension_output: Option<pipe::Receiver>,
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
    /// The extension of this number has.
    Lost(u8, Exit),
}

impl Watch {
    /// `extension_output` is that of external extensions, when there are any.
    pub(crate) fn open(
        supervisor: Supervisor,
        output: OwnedFd,
        extension_output: Option<OwnedFd>,
        journal: Journal,
    ) -> io::Result<Self> {
        Ok(Self {
            supervisor,
            journal,
            output: Some(pipe::Receiver::from_owned_fd(output)?),
            extension_output: extension_output.map(pipe::Receiver::from_owned_fd).transpose()?,
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
            ended @ (Waited::Exited(_) | Waited::Lost(..)) => match tokio::time::timeout(GRACE, work).await {
                Ok(done) => Waited::Done(done),
                Err(_) => ended,
            },
            other => other,
        }
    }

    async fn race<T>(&mut self, deadline: Option<Instant>, mut work: Pin<&mut impl Future<Output = T>>) -> Waited<T> {
        // What has no deadline has no line that waits either, and no timer: it may last for ever.
        let mut due = deadline.map(|at| at.min(Instant::now() + PATIENCE));
        let mut timer = pin!(due.map(|at| tokio::time::sleep_until(at.into())));
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Waited::Done(done));
            }
            while let (Some(at), Some(end)) = (due, deadline) {
                let is_up = timer
                    .as_mut()
                    .as_pin_mut()
                    .is_some_and(|timer| timer.poll(cx).is_ready());
                // Work that never runs dry leaves a timer no share of the task's budget: the clock has the last word.
                if !is_up && Instant::now() < at {
                    break;
                }
                if at == end {
                    return Poll::Ready(Waited::Deadline);
                }
                self.journal.flush();
                due = deadline;
                if let Some(timer) = timer.as_mut().as_pin_mut() {
                    timer.reset(end.into());
                }
            }
            self.poll_supervisor(cx);
            if let Some(exit) = self.supervisor.runtime() {
                return Poll::Ready(Waited::Exited(exit));
            }
            if let Some((number, exit)) = self.supervisor.extensions().first() {
                return Poll::Ready(Waited::Lost(*number, *exit));
            }
            self.poll_output(cx);
            if due == deadline {
                self.journal.flush();
            }
            Poll::Pending
        })
        .await
    }

    /// Waits until `is_so` of those who have ended, or until the deadline: while an environment is being ended. Says
    /// whether it became so.
    pub(crate) async fn until(&mut self, deadline: Instant, is_so: impl Fn(&Supervisor) -> bool) -> bool {
        let mut timer = pin!(tokio::time::sleep_until(deadline.into()));
        poll_fn(|cx| {
            self.poll_supervisor(cx);
            if is_so(&self.supervisor) {
                return Poll::Ready(true);
            }
            if timer.as_mut().poll(cx).is_ready() || Instant::now() >= deadline {
                return Poll::Ready(false);
            }
            self.poll_output(cx);
            self.journal.flush();
            Poll::Pending
        })
        .await
    }

    /// Takes what pid 1 says; leaves a waker for more.
    fn poll_supervisor(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(news) = self.supervisor.poll_news(cx) {
            match news {
                News::Ended => {}
                News::Socket(socket) => self.journal.take_socket(socket),
            }
        }
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
        let mut has_more = false;
        for (output, category) in [
            (&mut self.output, Category::Function),
            (&mut self.extension_output, Category::Extension),
        ] {
            has_more |= poll_pipe(output, category, &mut self.journal, &mut self.pace, cx);
        }
        if has_more {
            cx.waker().wake_by_ref();
        }
    }

    /// Reads what is there of the output without waiting, and takes an unfinished line for a whole one.
    pub(crate) fn take_output(&mut self) {
        take_pipe(&mut self.output, Category::Function, &mut self.journal);
        if self.extension_output.is_some() {
            take_pipe(&mut self.extension_output, Category::Extension, &mut self.journal);
        }
    }

    /// How the runtime has ended; waits a moment for the news. `None`: it is still there.
    pub(crate) async fn exit(&mut self, limit: Duration) -> Option<Exit> {
        let deadline = Instant::now() + limit;
        self.until(deadline, |supervisor| supervisor.runtime().is_some()).await;
        self.supervisor.runtime()
    }
}

/// Reads a pipe a few times; says whether there may be more. Where there is none, a waker is left.
fn poll_pipe(
    pipe: &mut Option<pipe::Receiver>,
    category: Category,
    journal: &mut Journal,
    pace: &mut Pace,
    cx: &mut Context<'_>,
) -> bool {
    if pipe.is_none() {
        return false;
    }
    let mut buffer = [MaybeUninit::uninit(); READ_BYTES];
    for _ in 0..READS {
        let Some(output) = pipe else { return false };
        let mut read = ReadBuf::uninit(&mut buffer);
        match Pin::new(output).poll_read(cx, &mut read) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                let lines = journal.write_from(category, read.filled(), now_ms());
                pace.spend(read.filled().len(), 1 + lines);
            }
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            // Closed on the other side, or broken: either way nothing more comes.
            Poll::Ready(_) => *pipe = None,
        }
    }
    true
}

/// Reads what is there of a pipe without waiting, up to a bound, and takes an unfinished line for a whole one.
fn take_pipe(pipe: &mut Option<pipe::Receiver>, category: Category, journal: &mut Journal) {
    let mut buffer = [MaybeUninit::uninit(); READ_BYTES];
    let mut taken = 0;
    while let Some(output) = &*pipe
        && taken < LAST_WORDS_BYTES
    {
        match rustix::io::read(output, &mut buffer[..]) {
            Ok(([], _)) => *pipe = None,
            Ok((bytes, _)) => {
                journal.write_from(category, bytes, now_ms());
                taken += bytes.len();
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => break,
            Err(_) => *pipe = None,
        }
    }
    journal.finish_line_from(category, now_ms());
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
