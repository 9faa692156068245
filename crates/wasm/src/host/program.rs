//! What can be run: a compiled module or component, linked to what it may import and no more.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use wasmtime::component::{Component, Linker as ComponentLinker, ResourceTable};
use wasmtime::{Engine, InstancePre, Linker, Module, Precompiled};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use super::limits::Limits;

/// The name of a command's entry in a core module.
const START: &str = "_start";

/// Why a module cannot be a function.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// It imports what functions do not get, or with another type.
    #[error("it cannot be linked: {0}")]
    Linking(String),
    /// It exports nothing that could be called.
    #[error(
        "it exports none of what can be called: wasi:http/incoming-handler@0.2, wasi:cli/run@0.2, or `_start` of a core \
         module"
    )]
    NoEntry,
    /// Its file cannot be used.
    #[error("its compiled form cannot be used: {0}")]
    Artefact(String),
}

/// A function's code, ready for an instance.
pub(crate) enum Program {
    /// A core module with `_start`, on WASI preview 1.
    Core(InstancePre<CoreGuest>),
    /// A component that exports `wasi:cli/run`.
    Command(CommandPre<Guest>),
    /// A component that exports `wasi:http/incoming-handler`.
    Http(ProxyPre<Guest>),
}

/// What an instance of a core module belongs to.
pub(crate) struct CoreGuest {
    /// What it sees of WASI.
    pub(crate) wasi: WasiP1Ctx,
    /// Its memory.
    pub(crate) limits: Limits,
}

/// What an instance of a component belongs to.
pub(crate) struct Guest {
    /// Its handles.
    pub(crate) table: ResourceTable,
    /// What it sees of WASI.
    pub(crate) wasi: WasiCtx,
    /// The same for HTTP.
    pub(crate) http: WasiHttpCtx,
    /// What it may do with HTTP.
    pub(crate) hooks: NoRequests,
    /// Its memory.
    pub(crate) limits: Limits,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.hooks,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

/// Denies every outgoing request: functions have no network.
pub(crate) struct NoRequests;

type Exchange = (
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
);

impl WasiHttpHooks for NoRequests {
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Exchange, Error>> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}

/// What modules and components may import.
pub(crate) struct Linkers {
    core: Linker<CoreGuest>,
    component: ComponentLinker<Guest>,
}

impl Linkers {
    /// All of WASI; what of it does something is decided by the context of each call.
    pub(crate) fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let mut core = Linker::new(engine);
        wasmtime_wasi::p1::add_to_linker_async(&mut core, |guest: &mut CoreGuest| &mut guest.wasi)?;
        let mut component = ComponentLinker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut component)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut component)?;
        Ok(Self { core, component })
    }

    /// Links a core module.
    pub(crate) fn link_module(&self, module: &Module) -> Result<Program, ProgramError> {
        if module.get_export(START).is_none() {
            return Err(ProgramError::NoEntry);
        }
        let linked = self.core.instantiate_pre(module).map_err(linking)?;
        Ok(Program::Core(linked))
    }

    /// Links a component.
    pub(crate) fn link_component(&self, component: &Component) -> Result<Program, ProgramError> {
        let linked = self.component.instantiate_pre(component).map_err(linking)?;
        if let Ok(http) = ProxyPre::new(linked.clone()) {
            return Ok(Program::Http(http));
        }
        CommandPre::new(linked)
            .map(Program::Command)
            .map_err(|_| ProgramError::NoEntry)
    }

    /// Maps and links what was compiled before.
    pub(crate) fn open(&self, engine: &Engine, path: &Path) -> Result<Program, ProgramError> {
        let artefact = |error: wasmtime::Error| ProgramError::Artefact(format!("{error:#}"));
        let unreadable = |error: io::Error| ProgramError::Artefact(error.to_string());
        let file = File::open(path).map_err(unreadable)?;
        match kind(&file).map_err(unreadable)? {
            Some(Precompiled::Module) => {
                let module = ephyra_sys::wasm::map_module(engine, file).map_err(artefact)?;
                self.link_module(&module)
            }
            Some(Precompiled::Component) => {
                let component = ephyra_sys::wasm::map_component(engine, path).map_err(artefact)?;
                self.link_component(&component)
            }
            None => Err(ProgramError::Artefact("it is not what wasmtime writes".to_owned())),
        }
    }
}

/// What a file says that it is, in its ELF header. wasmtime says the same ([`Engine::detect_precompiled_file`]), but reads
/// the list of sections for it, in eight calls of the system; and checks what is mapped anyway.
fn kind(file: &File) -> io::Result<Option<Precompiled>> {
    const SYSTEM: usize = 7;
    const WASMTIME: u8 = 200;
    const FLAGS: usize = 48;
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0)?;
    Ok(match (header[SYSTEM], header[FLAGS] & 0b11) {
        (WASMTIME, 0b01) => Some(Precompiled::Module),
        (WASMTIME, 0b10) => Some(Precompiled::Component),
        _ => None,
    })
}

fn linking(error: wasmtime::Error) -> ProgramError {
    ProgramError::Linking(format!("{error:#}"))
}
