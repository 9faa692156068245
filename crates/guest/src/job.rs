//! Jobs: a command in a blank sandbox makes something out of what is there, such as a runtime's snapshot, and what it
//! makes comes out of its descriptor 3. The sandbox is nobody's, or was assigned to the function that it is made for.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ephyra_sandbox::sandbox::Sandbox;
use ephyra_sandbox::supervisor::{Command, Exit, Notice, Process, StartCommand};
use rustix::net::SendFlags;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::UnixDatagram;
use tokio::net::unix::pipe;

use crate::frame::PACKET_BYTES;
use crate::supervisor::packets;

/// What is kept of what a job prints, for whoever wants to know why it failed.
const OUTPUT_BYTES: usize = 4096;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Job {
    /// The command. It writes its result to descriptor 3, in packets of at most [`PACKET_BYTES`], and ends with status 0
    /// if that is whole.
    pub command: StartCommand,
    /// The most that its result may be, in bytes.
    pub most_bytes: usize,
    /// How long it may take.
    pub limit: Duration,
    /// Whether somebody waits for it: otherwise it has the CPU that its memory entitles it to, and no more.
    pub is_urgent: bool,
}

/// Why a job has made nothing.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The sandbox's descriptors failed.
    #[error("the job's sandbox failed")]
    Sandbox(#[from] io::Error),
    /// It took too long.
    #[error("the job was not done after {0:?}")]
    TooLong(Duration),
    /// It wrote too much.
    #[error("the job made more than {0} bytes")]
    TooMuch(usize),
    /// It said itself that it failed, or was ended.
    #[error("the job ended with {exit}; it said: {output}")]
    Failed {
        /// How it ended.
        exit: String,
        /// The last of what it printed.
        output: String,
    },
}

/// Does a job in a fresh sandbox, and ends that. The result is what it wrote.
pub async fn run(mut sandbox: Sandbox, job: Job) -> Result<Vec<u8>, JobError> {
    if !job.is_urgent {
        sandbox.controls.cap_cpu()?;
    }
    let Sandbox {
        control,
        supervisor,
        output,
        controls,
        ..
    } = sandbox;
    let limit = job.limit;
    let result = match tokio::time::timeout(limit, conduct(control, supervisor, output, job)).await {
        Ok(result) => result,
        Err(_) => Err(JobError::TooLong(limit)),
    };
    controls.end().await;
    result
}

async fn conduct(control: OwnedFd, supervisor: OwnedFd, output: OwnedFd, job: Job) -> Result<Vec<u8>, JobError> {
    let control = packets(control)?;
    let supervisor = packets(supervisor)?;
    rustix::io::ioctl_fionbio(&output, true).map_err(io::Error::from)?;
    let mut output = pipe::Receiver::from_owned_fd(output)?;

    let packet = Command::Start(job.command).encode().map_err(io::Error::other)?;
    rustix::net::send(&supervisor, &packet, SendFlags::NOSIGNAL).map_err(io::Error::from)?;
    let mut made = Vec::new();
    let mut last_words = Vec::new();
    let work = async {
        if !read_up_to(&control, job.most_bytes, &mut made).await? {
            return Err(JobError::TooMuch(job.most_bytes));
        }
        let mut notice = [0; 64];
        let length = supervisor.recv(&mut notice).await?;
        Ok(Notice::decode(&notice[..length]))
    };
    // What it prints is read meanwhile, so that it never waits for that.
    let notice = tokio::select! {
        biased;
        notice = work => notice?,
        never = listen(&mut output, &mut last_words) => match never {},
    };
    match notice {
        Ok(Notice::Ended {
            process: Process::Runtime,
            exit: Exit::Exited(0),
        }) => Ok(made),
        exit => {
            let mut rest = [0; OUTPUT_BYTES];
            // What is still in the pipe; nothing may be.
            let count = output.try_read(&mut rest).unwrap_or(0);
            keep_the_last(&rest[..count], &mut last_words);
            Err(JobError::Failed {
                exit: format!("{exit:?}"),
                output: String::from_utf8_lossy(&last_words).trim().replace('\n', " | "),
            })
        }
    }
}

/// Reads packets to the end, or until there is more than `most`: then `false`.
async fn read_up_to(source: &UnixDatagram, most: usize, into: &mut Vec<u8>) -> io::Result<bool> {
    let mut packet = vec![0; PACKET_BYTES];
    while let count @ 1.. = source.recv(&mut packet).await? {
        into.extend_from_slice(&packet[..count]);
        if into.len() > most {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads what is printed, for as long as anybody asks.
async fn listen(source: &mut (impl AsyncRead + Unpin), into: &mut Vec<u8>) -> Infallible {
    let mut part = [0; OUTPUT_BYTES];
    while let Ok(count @ 1..) = source.read(&mut part).await {
        keep_the_last(&part[..count], into);
    }
    // The end of its output is not the end of the job.
    std::future::pending().await
}

fn keep_the_last(more: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(more);
    let excess = into.len().saturating_sub(OUTPUT_BYTES);
    into.drain(..excess);
}
