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
use crate::protocol::{Assign, FilesPresent, Prepare, Reply, Request, Step};
use crate::runtimes::Runtime;
use crate::sandbox::Sandbox;

/// How many sandboxes are asked for at once; more wait their turn.
const PREPARES: usize = 16;

/// A handle on the warden; clones share one socket.
#[derive(Clone)]
pub struct Warden {
    shared: Arc<Shared>,
}

/// A sandbox that is nobody's yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blank {
    /// The identifier of its runtime, one of [`Warden::runtimes`].
    pub runtime: String,
    /// Its memory in MB, until it is assigned.
    pub memory_mb: u32,
    /// What its runtime boots from, at `/var/lang/base`: a folder of the data folder's
    /// [`PREPARED`](crate::warden::PREPARED).
    pub base: Option<Digest>,
    /// Whether the runtime is forked into it by the zygote of its version, which
    /// [`Runtime`] must have. It is then there when the sandbox is, and is not to be started.
    pub zygote: bool,
}

/// What makes a blank sandbox a function's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Its memory in MB.
    pub memory_mb: u32,
    /// The size of its `/tmp` in MB. A runtime that was started before has one of the default size: no other can be
    /// given to it, and assigning fails.
    pub tmp_mb: u32,
    /// The package, unpacked in the data folder's [`PACKAGES`](crate::warden::PACKAGES), at `/var/task`.
    pub code: Option<Digest>,
    /// The layers, unpacked there too, at `/opt`; a later one covers an earlier one.
    pub layers: Vec<Digest>,
    /// What was prepared for the function, at `/var/lang/function`: a folder of the data folder's
    /// [`PREPARED`](crate::warden::PREPARED).
    pub prepared: Option<Digest>,
}

/// Why a sandbox could not be prepared or assigned.
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
    /// It has been assigned before, or is being assigned.
    #[error("the sandbox is a function's already")]
    Assigned,
    /// The warden is gone, and the server is about to be.
    #[error("the warden is gone")]
    Gone,
}

pub(crate) struct Shared {
    socket: UnixDatagram,
    runtimes: Vec<Runtime>,
    prepares: Arc<Semaphore>,
    state: Mutex<State>,
    /// Something was put into [`State::outgoing`].
    has_outgoing: Notify,
}

#[derive(Default)]
struct State {
    pending: HashMap<EnvironmentId, Pending>,
    assigning: HashMap<EnvironmentId, oneshot::Sender<Result<(), CreateError>>>,
    ending: HashMap<EnvironmentId, oneshot::Sender<()>>,
    /// Requests that the socket had no room for: at most one of each kind for each sandbox.
    outgoing: VecDeque<Vec<u8>>,
    is_gone: bool,
}

/// A sandbox that was asked for. When nobody waits for it any more, it is ended as soon as it stands.
struct Pending {
    answer: oneshot::Sender<Result<Sandbox, CreateError>>,
    memory_mb: u32,
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
            prepares: Arc::new(Semaphore::new(PREPARES)),
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

    /// Builds a sandbox that is nobody's yet. When the future is dropped, a sandbox that comes nevertheless is ended.
    pub async fn prepare(&self, blank: Blank) -> Result<Sandbox, CreateError> {
        let turn = Arc::clone(&self.shared.prepares)
            .acquire_owned()
            .await
            .map_err(|_| CreateError::Gone)?;
        let position = self
            .runtimes()
            .iter()
            .position(|runtime| runtime.identifier == blank.runtime);
        let Some(runtime) = position.and_then(|index| u16::try_from(index).ok()) else {
            return Err(CreateError::RuntimeAbsent(blank.runtime));
        };
        let id = EnvironmentId::new();
        let request = Request::Prepare(Prepare {
            id,
            runtime,
            memory_mb: blank.memory_mb,
            base: blank.base,
            has_zygote: blank.zygote,
        });
        let (answer, answered) = oneshot::channel();
        let pending = Pending {
            answer,
            memory_mb: blank.memory_mb,
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
    /// Asks for an assignment.
    pub(crate) fn assign(
        &self,
        id: EnvironmentId,
        assignment: Assignment,
    ) -> oneshot::Receiver<Result<(), CreateError>> {
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.state.lock();
            if state.is_gone {
                // The sender ends here, which says so.
                return answered;
            }
            state.assigning.insert(id, answer);
        }
        let Assignment {
            memory_mb,
            tmp_mb,
            code,
            layers,
            prepared,
        } = assignment;
        self.send(&Request::Assign(Assign {
            id,
            memory_mb,
            tmp_mb,
            code,
            layers,
            prepared,
        }));
        answered
    }

    /// Asks for the end of a sandbox, and answers when nothing of it is left.
    pub(crate) fn end(&self, id: EnvironmentId) -> oneshot::Receiver<()> {
        let (ended, wait) = oneshot::channel();
        let assigning = {
            let mut state = self.state.lock();
            state.ending.insert(id, ended);
            state.assigning.remove(&id)
        };
        // An assignment that is overtaken has no answer.
        drop(assigning);
        self.send(&Request::End { id });
        wait
    }

    /// Asks for the end of a sandbox.
    pub(crate) fn end_unheard(&self, id: EnvironmentId) {
        let assigning = self.state.lock().assigning.remove(&id);
        drop(assigning);
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
        let assigning = std::mem::take(&mut state.assigning);
        let ending = std::mem::take(&mut state.ending);
        drop(state);
        drop((pending, assigning, ending));
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
            Reply::Prepared { id, files } => {
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
            Reply::Assigned { id } => self.assigned(id, Ok(())),
            Reply::Failed { id, step, errno, text } => {
                let error = CreateError::Failed { step, errno, text };
                let pending = self.state.lock().pending.remove(&id);
                match pending {
                    Some(pending) => drop(pending.answer.send(Err(error))),
                    None => self.assigned(id, Err(error)),
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

    /// Whoever asked may no longer care.
    fn assigned(&self, id: EnvironmentId, result: Result<(), CreateError>) {
        let assigning = self.state.lock().assigning.remove(&id);
        if let Some(answer) = assigning {
            answer.send(result).unwrap_or_default();
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
        let mut next = || descriptors.next();
        let [control, supervisor, output, extension_output, listener] = [next()?, next()?, next()?, next()?, next()?];
        let files = Files::from_parts(present, descriptors.collect())?;
        Some(Sandbox {
            id,
            control,
            supervisor,
            output,
            extension_output,
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
