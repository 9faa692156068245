//! The process that compiles: a module comes in, its compiled form or a reason goes out. It reads what anybody may
//! have written, so it has a sandbox of its own for each module.

use std::io::{self, Read, Write};

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::engine::engine;
use super::program::Linkers;
use crate::message::bounded;
use crate::verdict::{MODULE_BYTES, REFUSED, TAKEN};

/// What the version field of a component's header is not in a core module.
const CORE_VERSION: [u8; 4] = [1, 0, 0, 0];

/// Reads a module to its end and writes the verdict: a byte, then the compiled form or the reason.
pub fn run(mut socket: impl Read + Write) -> io::Result<()> {
    let mut module = Vec::new();
    let read = (&mut socket).take(MODULE_BYTES + 1).read_to_end(&mut module)?;
    let result = if read as u64 > MODULE_BYTES {
        Err(format!("it is larger than {MODULE_BYTES} bytes"))
    } else {
        compile(&module)
    };
    match result {
        Ok(artefact) => {
            socket.write_all(&[TAKEN])?;
            socket.write_all(&artefact)
        }
        Err(reason) => {
            socket.write_all(&[REFUSED])?;
            socket.write_all(bounded(reason).as_bytes())
        }
    }
}

/// The compiled form of a module, or why there is none.
pub fn compile(module: &[u8]) -> Result<Vec<u8>, String> {
    let chain = |error: wasmtime::Error| format!("{error:#}");
    let [b'\0', b'a', b's', b'm', version @ ..] = module else {
        return Err("it is not WebAssembly: the first bytes are not `\\0asm`".to_owned());
    };
    let engine: Engine = engine(1).map_err(chain)?;
    let linkers = Linkers::new(&engine).map_err(chain)?;
    if version.starts_with(&CORE_VERSION) {
        let module = Module::new(&engine, module).map_err(chain)?;
        linkers.link_module(&module).map_err(|error| error.to_string())?;
        module.serialize().map_err(chain)
    } else {
        let component = Component::new(&engine, module).map_err(chain)?;
        linkers.link_component(&component).map_err(|error| error.to_string())?;
        component.serialize().map_err(chain)
    }
}
