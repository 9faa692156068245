//! The server's side of the warden's socket.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use ephyra_core::digest::Digest;
use ephyra_core::id::EnvironmentId;
use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::cgroup::Files;
use crate::controls::CgroupControls;
use crate::packet::{self, Received};
use crate::protocol::{Create, FilesPresent, Reply, Request, Step};
use crate::runtimes::Runtime;
use crate::sandbox::Sandbox;

/// How many sandboxes are asked for at once; more wait their turn.
const CREATES: usize = 16;

/// A handle on the warden; clones share one socket.
#[derive(Clone)]
pub struct Warden {
    shared: Arc<Shared>,
}

/// What a sandbox is to be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its memory in MB.
    pub memory_mb: u32,
    /// The size of its `/tmp` in MB.
    pub tmp_mb: u32,
    /// The package, unpacked in the data folder's [`PACKAGES`](crate::warden::PACKAGES).
    pub code: Digest,
    /// The layers, unpacked there too; a later one covers an earlier one.
    pub layers: Vec<Digest>,
    /// The identifier of its runtime, one of [`Warden::runtimes`].
    pub runtime: String,
    /// Whether it has a listener for the Runtime API.
    pub listener: bool,
}

/// Why a sandbox could not be created.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CreateError {
    /// A step of building it failed; nothing of it is left.
    #[error("{step}: {text}")]
    Failed {
        /// What was being done.
        step: Step,
        /// The error number, 0 when there is none.
        errno: i32,
        /// The error.
        text: String,
    },
    /// The runtime is not on this machine.
    #[error("there is no runtime {0} on this machine")]
    RuntimeAbsent(String),
    /// The warden is gone, and the server is about to be.
    #[error("the warden is gone")]
    Gone,
}

pub(crate) struct Shared {
    socket: UnixDatagram,
    runtimes: Vec<Runtime>,
    creates: Arc<Semaphore>,
    state: Mutex<State>,
    /// Something was put into [`State::outgoing`].
    has_outgoing: Notify,
}

#[derive(Default)]
struct State {
    pending: HashMap<EnvironmentId, Pending>,
    ending: HashMap<EnvironmentId, oneshot::Sender<()>>,
    /// Requests that the socket had no room for: at most one to create and one to end for each sandbox.
    outgoing: VecDeque<Vec<u8>>,
    is_gone: bool,
}

/// A sandbox that was asked for. When nobody waits for it any more, it is ended as soon as it stands.
struct Pending {
    answer: oneshot::Sender<Result<Sandbox, CreateError>>,
    memory_mb: u32,
    has_listener: bool,
    asked: Instant,
    _turn: OwnedSemaphorePermit,
}

impl Warden {
    /// Takes over the socket and the list of the [`ServerSide`](crate::warden::ServerSide); to be called inside the asynchronous runtime, where a task then serves it.
    pub fn connect(socket: OwnedFd, runtimes: Vec<Runtime>) -> io::Result<Self> {
        // A SOCK_SEQPACKET socket is one for datagrams that has a connection; only its descriptor is used.
        let socket = std::os::unix::net::UnixDatagram::from(socket);
        socket.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            socket: UnixDatagram::from_std(socket)?,
            runtimes,
            creates: Arc::new(Semaphore::new(CREATES)),
            state: Mutex::new(State::default()),
            has_outgoing: Notify::new(),
        });
        tokio::spawn(Arc::clone(&shared).serve());
        Ok(Self { shared })
    }

    /// The runtimes of this machine.
    pub fn runtimes(&self) -> &[Runtime] {
        &self.shared.runtimes
    }

    /// Builds a sandbox. When the future is dropped, a sandbox that comes nevertheless is ended.
    pub async fn create(&self, spec: Spec) -> Result<Sandbox, CreateError> {
        let turn = Arc::clone(&self.shared.creates)
            .acquire_owned()
            .await
            .map_err(|_| CreateError::Gone)?;
        let position = self
            .runtimes()
            .iter()
            .position(|runtime| runtime.identifier == spec.runtime);
        let Some(runtime) = position.and_then(|index| u16::try_from(index).ok()) else {
            return Err(CreateError::RuntimeAbsent(spec.runtime));
        };
        let id = EnvironmentId::new();
        let request = Request::Create(Create {
            id,
            memory_mb: spec.memory_mb,
            tmp_mb: spec.tmp_mb,
            code: spec.code,
            layers: spec.layers,
            runtime,
            has_listener: spec.listener,
        });
        let (answer, answered) = oneshot::channel();
        let pending = Pending {
            answer,
            memory_mb: spec.memory_mb,
            has_listener: spec.listener,
            asked: Instant::now(),
            _turn: turn,
        };
        {
            let mut state = self.shared.state.lock();
            if state.is_gone {
                return Err(CreateError::Gone);
            }
            state.pending.insert(id, pending);
        }
        self.shared.send(&request);
        answered.await.unwrap_or(Err(CreateError::Gone))
    }
}

impl Shared {
    /// Asks for the end of a sandbox, and answers when nothing of it is left.
    pub(crate) fn end(&self, id: EnvironmentId) -> oneshot::Receiver<()> {
        let (ended, wait) = oneshot::channel();
        self.state.lock().ending.insert(id, ended);
        self.send(&Request::End { id });
        wait
    }

    /// Asks for the end of a sandbox.
    pub(crate) fn end_unheard(&self, id: EnvironmentId) {
        self.send(&Request::End { id });
    }

    /// Sends a request now if there is room, else in its turn. Never waits.
    fn send(&self, request: &Request) {
        let bytes = match request.encode() {
            Ok(bytes) => bytes,
            Err(error) => return tracing::error!(%error, "a request to the warden could not be encoded"),
        };
        let mut state = self.state.lock();
        state.outgoing.push_back(bytes);
        if let Err(error) = self.flush(&mut state)
            && error.kind() != io::ErrorKind::WouldBlock
        {
            // The reader finds the socket closed and tells everybody.
            tracing::debug!(%error, "a request to the warden could not be sent");
        }
        if !state.outgoing.is_empty() {
            self.has_outgoing.notify_one();
        }
    }

    fn flush(&self, state: &mut State) -> io::Result<()> {
        while let Some(bytes) = state.outgoing.front() {
            packet::send(&self.socket, bytes, &[], false)?;
            state.outgoing.pop_front();
        }
        Ok(())
    }

    /// Takes replies, and sends what had no room, until the warden is gone.
    async fn serve(self: Arc<Self>) {
        let error = tokio::select! {
            error = Arc::clone(&self).read() => error,
            error = self.write() => error,
        };
        tracing::error!(%error, "the warden is gone");
        let mut state = self.state.lock();
        state.is_gone = true;
        // Whoever waits is told by the end of its channel.
        let pending = std::mem::take(&mut state.pending);
        let ending = std::mem::take(&mut state.ending);
        drop(state);
        drop((pending, ending));
    }

    async fn read(self: Arc<Self>) -> io::Error {
        loop {
            let result = self
                .socket
                .async_io(Interest::READABLE, || match packet::receive(&self.socket) {
                    Ok(Received::Nothing) => Err(io::ErrorKind::WouldBlock.into()),
                    Ok(Received::Closed) => Err(io::ErrorKind::BrokenPipe.into()),
                    Ok(Received::Packet { bytes, descriptors }) => Ok((bytes, descriptors)),
                    Err(error) => Err(error),
                });
            match result.await {
                Ok((bytes, descriptors)) => match Reply::decode(&bytes) {
                    Ok(reply) => self.take(reply, descriptors),
                    Err(error) => return io::Error::other(error),
                },
                Err(error) => return error,
            }
        }
    }

    async fn write(&self) -> io::Error {
        loop {
            self.has_outgoing.notified().await;
            let flushed = self
                .socket
                .async_io(Interest::WRITABLE, || self.flush(&mut self.state.lock()));
            if let Err(error) = flushed.await {
                return error;
            }
        }
    }

    fn take(self: &Arc<Self>, reply: Reply, descriptors: Vec<OwnedFd>) {
        match reply {
            Reply::Created { id, files } => {
                let pending = self.state.lock().pending.remove(&id);
                let Some(pending) = pending else {
                    return self.end_unheard(id);
                };
                let sandbox = self.assemble(id, files, &pending, descriptors);
                if sandbox.is_none() {
                    self.end_unheard(id);
                }
                // If nobody waits any more the sandbox is dropped here, which ends it.
                drop(pending.answer.send(sandbox.ok_or_else(|| CreateError::Failed {
                    step: Step::Descriptors,
                    errno: 0,
                    text: "the warden sent other descriptors than it should".to_owned(),
                })));
            }
            Reply::Failed { id, step, errno, text } => {
                let pending = self.state.lock().pending.remove(&id);
                if let Some(pending) = pending {
                    drop(pending.answer.send(Err(CreateError::Failed { step, errno, text })));
                }
            }
            Reply::Ended { id } => {
                let ending = self.state.lock().ending.remove(&id);
                if let Some(ended) = ending {
                    // Whoever asked may no longer care.
                    ended.send(()).unwrap_or_default();
                }
            }
        }
    }

    fn assemble(
        self: &Arc<Self>,
        id: EnvironmentId,
        present: FilesPresent,
        pending: &Pending,
        descriptors: Vec<OwnedFd>,
    ) -> Option<Sandbox> {
        let mut descriptors = descriptors.into_iter();
        let [control, supervisor, output] = [descriptors.next()?, descriptors.next()?, descriptors.next()?];
        let listener = if pending.has_listener {
            Some(descriptors.next()?)
        } else {
            None
        };
        let files = Files::from_parts(present, descriptors.collect())?;
        Some(Sandbox {
            id,
            control,
            supervisor,
            output,
            listener,
            controls: Box::new(CgroupControls::new(
                id,
                Arc::clone(self),
                present.version,
                files,
                pending.memory_mb,
            )),
            built_in: pending.asked.elapsed(),
        })
    }
}
