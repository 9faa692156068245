//! A server's side of the socket as simple as can be.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ephyra_core::digest::Digest;
use ephyra_wasm::artefact::Artefact;
use ephyra_wasm::frame::{self, Frame};
use ephyra_wasm::host::{self, HostError, HostOptions};
use ephyra_wasm::message::{Call, CallHead, Done, Ended, Flow, FromHost, Outgoing, PIECE, Setting, ToHost};

/// Nothing here takes longer unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A host in a thread, and the other end of its socket.
pub(crate) struct Client {
    socket: UnixStream,
    buffer: BytesMut,
    folder: tempfile::TempDir,
    host: Option<std::thread::JoinHandle<Result<(), HostError>>>,
    next: u32,
    modules: HashMap<Artefact, u32>,
}

/// All that a call has said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) done: Done,
    pub(crate) answer: Bytes,
    pub(crate) log: String,
    pub(crate) head: Option<String>,
    pub(crate) streamed: Vec<u8>,
}

/// What a call is made with.
pub(crate) struct Order {
    pub(crate) event: Bytes,
    pub(crate) memory_mb: u64,
    pub(crate) time: Duration,
    pub(crate) streams: bool,
    pub(crate) cpu_permille: u32,
    pub(crate) gives_credit: bool,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            event: Bytes::from_static(b"{}"),
            memory_mb: 128,
            time: Duration::from_secs(10),
            streams: false,
            cpu_permille: 1000,
            gives_credit: true,
        }
    }
}

impl Client {
    pub(crate) fn start() -> Self {
        Self::with_room_for(16)
    }

    pub(crate) fn with_room_for(calls: u32) -> Self {
        let (socket, theirs) = UnixStream::pair().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let options = HostOptions {
            artefacts: folder.path().to_owned(),
            threads: 2,
            calls,
            memory_bytes: 1 << 30,
        };
        let host = std::thread::spawn(move || host::run(theirs, &options));
        let mut client = Self {
            socket,
            buffer: BytesMut::new(),
            folder,
            host: Some(host),
            next: 0,
            modules: HashMap::new(),
        };
        assert_eq!(
            client.receive(),
            FromHost::Hello {
                version: ephyra_wasm::message::VERSION
            }
        );
        client
    }

    pub(crate) fn send(&mut self, message: ToHost) {
        self.send_frame(message.encode());
    }

    pub(crate) fn send_frame(&mut self, message: Outgoing) {
        let Outgoing { kind, id, small, large } = message;
        let header = frame::header(kind, id, small.len() + large.len()).unwrap();
        self.socket.write_all(&[&header[..], &small, &large].concat()).unwrap();
    }

    pub(crate) fn receive(&mut self) -> FromHost {
        loop {
            if let Some(frame) = frame::take(&mut self.buffer).unwrap() {
                let frame: Frame = frame;
                return FromHost::decode(frame).unwrap();
            }
            let mut part = [0; 4096];
            let count = self.socket.read(&mut part).unwrap();
            assert!(count > 0, "the host has gone");
            self.buffer.extend_from_slice(&part[..count]);
        }
    }

    /// Compiles a module and registers it.
    pub(crate) fn load(&mut self, wat: &str) -> u32 {
        let artefact = host::compile::compile(&::wat::parse_str(wat).unwrap()).unwrap();
        let name = Artefact {
            package: Digest::of(&artefact),
            entry: Digest::of(b"app"),
        };
        std::fs::write(self.folder.path().join(name.to_string()), artefact).unwrap();
        self.register(name)
    }

    pub(crate) fn register(&mut self, artefact: Artefact) -> u32 {
        let module = u32::try_from(self.modules.len()).unwrap();
        let module = *self.modules.entry(artefact).or_insert(module);
        self.send(ToHost::Load { module, artefact });
        module
    }

    /// Begins a call and returns its number.
    pub(crate) fn begin(&mut self, module: u32, order: &Order) -> u32 {
        self.next += 1;
        let call = self.next;
        let head = CallHead {
            module,
            time_us: u64::try_from(order.time.as_micros()).unwrap(),
            streams: order.streams,
            request_id: "the-id".to_owned(),
            trace_id: None,
            client_context: None,
            invoked_arn: "arn:x".to_owned(),
        };
        let setting = Setting {
            variables: vec![("NAME".to_owned(), "value".to_owned())],
            memory_bytes: order.memory_mb << 20,
            cpu_permille: order.cpu_permille,
        };
        let body = Call {
            head,
            setting: setting.encode(),
            payload: order.event.clone(),
        };
        self.send(ToHost::Call { call, body });
        call
    }

    /// Reads until all of `calls` are done.
    pub(crate) fn finish(&mut self, calls: &[u32], gives_credit: bool) -> Vec<Said> {
        let mut open: HashMap<u32, Said> = HashMap::new();
        let mut over: HashMap<u32, Said> = HashMap::new();
        let empty = || Said {
            done: Done {
                outcome: Ended::Cancelled,
                cpu_ns: 0,
                peak_bytes: 0,
                load_ns: 0,
            },
            answer: Bytes::new(),
            log: String::new(),
            head: None,
            streamed: Vec::new(),
        };
        while over.len() < calls.len() {
            let (call, flow, count) = match self.receive() {
                FromHost::Hello { .. } => panic!("the host greets twice"),
                FromHost::Log { call, bytes } => {
                    open.entry(call)
                        .or_insert_with(empty)
                        .log
                        .push_str(&String::from_utf8_lossy(&bytes));
                    (call, Flow::Log, bytes.len())
                }
                FromHost::Head { call, content_type } => {
                    open.entry(call).or_insert_with(empty).head = Some(content_type);
                    continue;
                }
                FromHost::Chunk { call, bytes } => {
                    open.entry(call)
                        .or_insert_with(empty)
                        .streamed
                        .extend_from_slice(&bytes);
                    (call, Flow::Answer, bytes.len())
                }
                FromHost::Done { call, done, answer } => {
                    let said = open.remove(&call).unwrap_or_else(empty);
                    over.insert(call, Said { done, answer, ..said });
                    continue;
                }
            };
            if gives_credit {
                let bytes = u32::try_from(count).unwrap() + PIECE;
                self.send(ToHost::Credit { call, flow, bytes });
            }
        }
        calls.iter().map(|call| over.remove(call).unwrap()).collect()
    }

    pub(crate) fn call(&mut self, module: u32, order: &Order) -> Said {
        let call = self.begin(module, order);
        self.finish(&[call], order.gives_credit).remove(0)
    }

    /// Closes the socket and returns how the host ended.
    pub(crate) fn close(mut self) -> Result<(), HostError> {
        self.socket.shutdown(std::net::Shutdown::Both).unwrap();
        self.host.take().unwrap().join().unwrap()
    }
}
