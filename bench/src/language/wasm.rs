//! The WebAssembly function: a command module that writes `null` to its output. Put together by hand, so that no
//! compiler for it is needed.

/// The module's name in its package.
pub(super) const FILE: &str = "app.wasm";

/// The module; `note` is in a section that means nothing.
pub(super) fn module(note: &str) -> Vec<u8> {
    const I32: u8 = 0x7f;
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    // Types: what is imported, and what is run.
    section(&mut module, 1, &[2, 0x60, 4, I32, I32, I32, I32, 1, I32, 0x60, 0, 0]);
    let import = [vec![1], name("wasi_snapshot_preview1"), name("fd_write"), vec![0, 0]].concat();
    section(&mut module, 2, &import);
    section(&mut module, 3, &[1, 1]);
    // One page of memory.
    section(&mut module, 5, &[1, 0, 1]);
    let exports = [vec![2], name("memory"), vec![2, 0], name("_start"), vec![0, 1]].concat();
    section(&mut module, 7, &exports);
    // fd_write(1, the vector at 0, one of it, the count to 16), and drop the result.
    let body = [0, 0x41, 1, 0x41, 0, 0x41, 1, 0x41, 16, 0x10, 0, 0x1a, 0x0b];
    section(&mut module, 10, &[&[1, 13], body.as_slice()].concat());
    // At 0 the vector: four bytes from 8 on.
    let data = b"\x08\0\0\0\x04\0\0\0null";
    section(&mut module, 11, &[&[1, 0, 0x41, 0, 0x0b, 12], data.as_slice()].concat());
    section(&mut module, 0, &[name("note"), note.as_bytes().to_vec()].concat());
    module
}

fn section(module: &mut Vec<u8>, kind: u8, content: &[u8]) {
    module.push(kind);
    length(module, content.len());
    module.extend_from_slice(content);
}

fn name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    length(&mut bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// Seven bits a byte, the lowest first.
fn length(bytes: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_in_sevens() {
        for (number, want) in [
            (0, vec![0]),
            (127, vec![127]),
            (128, vec![0x80, 1]),
            (300, vec![0xac, 2]),
        ] {
            let mut bytes = Vec::new();
            length(&mut bytes, number);
            assert_eq!(bytes, want);
        }
    }

    #[test]
    fn sections_follow_each_other_to_the_end() {
        let module = module("a note");
        let mut rest = &module[8..];
        let mut kinds = Vec::new();
        while let [kind, size, content @ ..] = rest {
            kinds.push(*kind);
            rest = &content[usize::from(*size)..];
        }
        assert_eq!(kinds, [1, 2, 3, 5, 7, 10, 11, 0]);
    }
}
