//! One host process, as the server speaks to it: many calls over one socket.
//!
//! The host is not trusted: whatever it says that does not fit ends it, and with it all of its calls.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ephyra_core::environment::LaunchError;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::artefact::Artefact;
use crate::foreseen::Foreseen;
use crate::frame;
use crate::message::{CREDIT, Call, CallHead, Flow, FromHost, PIECE, ToHost, VERSION};
use crate::outbox::{Outbox, halves};
use crate::start::Started;

/// How long a host may take to say that it is there.
const GREETING: Duration = Duration::from_secs(20);
/// Modules that a host has registered at once; the least recently called are forgotten beyond that.
const MODULES: usize = 8192;
/// How many are forgotten at a time.
const FORGOTTEN: usize = MODULES / 16;
/// What is read from the socket at once, at least.
const READ_BYTES: usize = 64 * 1024;

/// A host process.
pub(crate) struct Link {
    outbox: Outbox,
    table: Mutex<Table>,
    /// How long it may take to end a call that it was told to end; then it is taken to hang.
    patience: Duration,
}

#[derive(Default)]
struct Table {
    /// `None` once the host is gone, or has to go.
    process: Option<Box<dyn Send + Sync>>,
    calls: HashMap<u32, Entry>,
    next_call: u32,
    modules: HashMap<Artefact, Registered>,
    next_module: u32,
    /// Modules that were registered before they were called.
    foreseen: Foreseen,
    /// Counts calls: when a module was last called.
    clock: u64,
}

struct Registered {
    module: u32,
    /// When it was last called, or foreseen.
    called: u64,
    /// Whether it has only been foreseen.
    is_unused: bool,
}

struct Entry {
    sender: mpsc::UnboundedSender<FromHost>,
    log: u64,
    answer: u64,
    has_head: bool,
    /// Its place in the host, which it has until its end there.
    _place: OwnedSemaphorePermit,
}

/// A call that is under way. Dropped before its end, it is cancelled.
pub(crate) struct Conversation {
    link: Arc<Link>,
    call: u32,
    /// What it holds is bounded by the credit.
    receiver: mpsc::UnboundedReceiver<FromHost>,
    is_over: bool,
}

impl Link {
    /// Waits for the host's greeting; its messages are then taken by a task.
    pub(crate) async fn open(started: Started, patience: Duration) -> Result<Arc<Self>, LaunchError> {
        let failed = |what: String| LaunchError::Sandbox(format!("the WebAssembly host could not be started: {what}"));
        let Started { socket, process } = started;
        let (socket, outbox) = halves(socket).map_err(|error| failed(error.to_string()))?;
        let buffer = BytesMut::new();
        let mut reader = Reader { socket, buffer };
        match tokio::time::timeout(GREETING, reader.next()).await {
            Ok(Ok(FromHost::Hello { version: VERSION })) => {}
            Ok(Ok(_)) => return Err(failed("it speaks another version".to_owned())),
            Ok(Err(error)) => return Err(failed(error)),
            Err(_) => return Err(failed(format!("it said nothing for {GREETING:?}"))),
        }
        let table = Table {
            process: Some(process),
            ..Table::default()
        };
        let link = Arc::new(Self {
            outbox,
            table: Mutex::new(table),
            patience,
        });
        let task = Arc::clone(&link);
        tokio::spawn(async move {
            let error = tokio::select! {
                error = task.serve(reader) => error,
                error = task.outbox.drive() => error.to_string(),
            };
            task.end(&error);
        });
        Ok(link)
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.table.lock().process.is_some()
    }

    /// Begins a call; `None` when the host is gone.
    pub(crate) fn begin(
        self: &Arc<Self>,
        artefact: Artefact,
        mut head: CallHead,
        setting: Bytes,
        payload: Bytes,
        place: OwnedSemaphorePermit,
    ) -> Option<Conversation> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut table = self.table.lock();
        table.process.as_ref()?;
        head.module = self.module(&mut table, artefact, false);
        let call = table.next_call;
        table.next_call = call.wrapping_add(1);
        let entry = Entry {
            sender,
            log: CREDIT.into(),
            answer: CREDIT.into(),
            has_head: false,
            _place: place,
        };
        table.calls.insert(call, entry);
        drop(table);
        let body = Call { head, setting, payload };
        let conversation = Conversation {
            link: Arc::clone(self),
            call,
            receiver,
            is_over: false,
        };
        match self.outbox.send(ToHost::Call { call, body }.encode()) {
            Ok(()) => Some(conversation),
            // An event and variables are together far shorter than a frame may be.
            Err(error) => {
                tracing::error!(%error, "a call could not be sent");
                None
            }
        }
    }

    /// Has a module mapped ahead of its first call, and forgets others that were foreseen before and not called. `bytes`
    /// is the size of its file.
    pub(crate) fn foresee(&self, artefact: Artefact, bytes: u64) {
        let mut table = self.table.lock();
        if table.process.is_none() || table.modules.contains_key(&artefact) {
            return;
        }
        let module = self.module(&mut table, artefact, true);
        self.outbox.push(ToHost::Map { module }.encode()).unwrap_or_default();
        for gone in table.foreseen.add(artefact, bytes) {
            if table.modules.get(&gone).is_some_and(|known| known.is_unused) {
                self.unregister(&mut table, gone);
            }
        }
        drop(table);
        self.outbox.flush();
    }

    /// The number of a module, which is registered if it was not.
    fn module(&self, table: &mut Table, artefact: Artefact, is_unused: bool) -> u32 {
        table.clock += 1;
        let called = table.clock;
        if let Some(known) = table.modules.get_mut(&artefact) {
            known.called = called;
            known.is_unused &= is_unused;
            return known.module;
        }
        if table.modules.len() >= MODULES {
            let mut by_age: Vec<_> = table
                .modules
                .iter()
                .map(|(name, known)| (known.called, *name))
                .collect();
            let (oldest, ..) = by_age.select_nth_unstable(FORGOTTEN);
            for (_, artefact) in oldest {
                self.unregister(table, *artefact);
            }
        }
        let module = table.next_module;
        table.next_module = module.wrapping_add(1);
        let registered = Registered {
            module,
            called,
            is_unused,
        };
        table.modules.insert(artefact, registered);
        // Under the lock, so that no call goes before it.
        self.outbox
            .push(ToHost::Load { module, artefact }.encode())
            .unwrap_or_default();
        module
    }

    fn unregister(&self, table: &mut Table, artefact: Artefact) {
        if let Some(Registered { module, .. }) = table.modules.remove(&artefact) {
            self.outbox.push(ToHost::Unload { module }.encode()).unwrap_or_default();
        }
    }

    /// Has the host forget a module: it was compiled anew.
    pub(crate) fn forget(&self, artefact: Artefact) {
        self.unregister(&mut self.table.lock(), artefact);
    }

    async fn serve(&self, mut reader: Reader) -> String {
        loop {
            match reader.next().await {
                Ok(message) => {
                    if let Err(breach) = self.take(message) {
                        return breach.to_owned();
                    }
                }
                Err(error) => return error,
            }
        }
    }

    fn take(&self, message: FromHost) -> Result<(), &'static str> {
        let mut table = self.table.lock();
        let call = match &message {
            FromHost::Hello { .. } => return Err("it greeted twice"),
            FromHost::Log { call, .. }
            | FromHost::Head { call, .. }
            | FromHost::Chunk { call, .. }
            | FromHost::Done { call, .. } => *call,
        };
        let Some(entry) = table.calls.get_mut(&call) else {
            return Err("it spoke of a call that there is not");
        };
        let cost = |bytes: &Bytes| bytes.len() as u64 + u64::from(PIECE);
        let rest = match &message {
            FromHost::Log { bytes, .. } => entry.log.checked_sub(cost(bytes)).map(|rest| entry.log = rest),
            FromHost::Chunk { bytes, .. } => entry.answer.checked_sub(cost(bytes)).map(|rest| entry.answer = rest),
            FromHost::Head { .. } => (!std::mem::replace(&mut entry.has_head, true)).then_some(()),
            FromHost::Done { .. } | FromHost::Hello { .. } => Some(()),
        };
        if rest.is_none() {
            return Err("it said more than it may");
        }
        let is_over = matches!(message, FromHost::Done { .. });
        // Whoever was interested may have gone.
        drop(entry.sender.send(message));
        if is_over {
            table.calls.remove(&call);
        }
        Ok(())
    }

    /// Ends the host; its calls find their channels closed.
    pub(crate) fn end(&self, why: &str) {
        let mut table = self.table.lock();
        let process = table.process.take();
        let calls = std::mem::take(&mut table.calls);
        drop(table);
        if process.is_some() {
            tracing::warn!(why, calls = calls.len(), "the WebAssembly host has ended");
        }
        drop((process, calls));
    }

    fn give_back(&self, call: u32, flow: Flow, bytes: u32) {
        {
            let mut table = self.table.lock();
            let Some(entry) = table.calls.get_mut(&call) else {
                return;
            };
            match flow {
                Flow::Log => entry.log += u64::from(bytes),
                Flow::Answer => entry.answer += u64::from(bytes),
            }
        }
        self.outbox
            .send(ToHost::Credit { call, flow, bytes }.encode())
            .unwrap_or_default();
    }
}

impl Conversation {
    /// What the host says next of this call; `None` when it is gone.
    pub(crate) async fn next(&mut self) -> Option<FromHost> {
        let message = self.receiver.recv().await;
        self.is_over |= matches!(message, None | Some(FromHost::Done { .. }));
        message
    }

    /// Lets the host say as much again.
    pub(crate) fn give_back(&self, flow: Flow, bytes: u32) {
        self.link.give_back(self.call, flow, bytes);
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let (link, call) = (Arc::clone(&self.link), self.call);
        link.outbox.send(ToHost::Cancel { call }.encode()).unwrap_or_default();
        // Outside of the asynchronous runtime everything is about to end.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(link.patience).await;
                if link.table.lock().calls.contains_key(&call) {
                    link.end("it did not end a call");
                }
            });
        }
    }
}

struct Reader {
    socket: pipe::Receiver,
    buffer: BytesMut,
}

impl Reader {
    /// The next message, or why there is none.
    async fn next(&mut self) -> Result<FromHost, String> {
        loop {
            if let Some(frame) = frame::take(&mut self.buffer).map_err(|error| error.to_string())? {
                return FromHost::decode(frame).map_err(|error| error.to_string());
            }
            self.buffer.reserve(READ_BYTES);
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(0) => return Err("it closed its socket".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
