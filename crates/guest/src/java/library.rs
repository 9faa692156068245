//! The one thing that Java cannot do and that our runtime has to: to change its working directory. A JVM that booted
//! before its function was mounted stands in the folder below the mount, and relative names would lead nowhere.
//!
//! A library in C would need a compiler on the machine. What is needed is four instructions, so the few hundred bytes
//! around them that make a shared object are written here, as the ELF specification has them.

/// `chdir(path)` for `ephyra.runtime.Folder.change(long path)`: the third argument of a JNI function is the first of
/// Java's. `None` for processors that have no code here.
#[cfg(target_arch = "x86_64")]
const CODE: Option<(&[u8], u16)> = Some((
    &[
        0x48, 0x89, 0xd7, // mov rdi, rdx
        0xb8, 0x50, 0x00, 0x00, 0x00, // mov eax, 80: chdir
        0x0f, 0x05, // syscall
        0xc3, // ret
    ],
    62,
));
#[cfg(target_arch = "aarch64")]
const CODE: Option<(&[u8], u16)> = Some((
    &[
        0xe0, 0x03, 0x02, 0xaa, // mov x0, x2
        0x28, 0x06, 0x80, 0xd2, // mov x8, 49: chdir
        0x01, 0x00, 0x00, 0xd4, // svc 0
        0xc0, 0x03, 0x5f, 0xd6, // ret
    ],
    183,
));
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const CODE: Option<(&[u8], u16)> = None;

const SYMBOL: &[u8] = b"\0Java_ephyra_runtime_Folder_change\0";

/// Where things are in the file, and in memory.
const SEGMENTS: u64 = 64;
const SEGMENT_BYTES: u64 = 56;
const HASH: u64 = SEGMENTS + 4 * SEGMENT_BYTES;
const SYMBOLS: u64 = HASH + 24;
const STRINGS: u64 = SYMBOLS + 2 * 24;
const TEXT: u64 = (STRINGS + SYMBOL.len() as u64).next_multiple_of(16);
/// On a page of its own, which the linker writes to; as large as pages are anywhere.
const DYNAMIC: u64 = 0x1_0000;
const DYNAMIC_BYTES: u64 = 6 * 16;

/// The shared object; `None` where there is none for this processor.
pub(super) fn library() -> Option<Vec<u8>> {
    let (code, machine) = CODE?;
    let mut file = Vec::new();
    header(&mut file, machine);
    let text_end = TEXT + code.len() as u64;
    // Type, flags, offset and address, bytes, alignment: what is read and executed, what is written, what the linker
    // looks for, and that the stack is not executed.
    segment(&mut file, 1, 5, 0, text_end, DYNAMIC);
    segment(&mut file, 1, 6, DYNAMIC, DYNAMIC_BYTES, DYNAMIC);
    segment(&mut file, 2, 6, DYNAMIC, DYNAMIC_BYTES, 8);
    segment(&mut file, 0x6474_e551, 6, 0, 0, 16);
    // One bucket, two symbols: the second is in the bucket, and ends its chain.
    words(&mut file, &[1, 2, 1, 0, 0, 0]);
    file.extend_from_slice(&[0; 24]);
    // Name 1, global function, visible, in some section.
    file.extend_from_slice(&1_u32.to_le_bytes());
    file.extend_from_slice(&[0x12, 0, 1, 0]);
    longs(&mut file, &[TEXT, code.len() as u64]);
    file.extend_from_slice(SYMBOL);
    pad(&mut file, TEXT);
    file.extend_from_slice(code);
    pad(&mut file, DYNAMIC);
    // DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, DT_NULL.
    let entries = [
        (4, HASH),
        (5, STRINGS),
        (6, SYMBOLS),
        (10, SYMBOL.len() as u64),
        (11, 24),
        (0, 0),
    ];
    for (tag, value) in entries {
        longs(&mut file, &[tag, value]);
    }
    Some(file)
}

fn header(file: &mut Vec<u8>, machine: u16) {
    // 64 bits, little-endian, version 1.
    file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    halves(file, &[3, machine]);
    words(file, &[1]);
    // No entry; the segments; no sections.
    longs(file, &[0, SEGMENTS, 0]);
    words(file, &[0]);
    halves(file, &[64, 56, 4, 64, 0, 0]);
}

fn segment(file: &mut Vec<u8>, kind: u32, flags: u32, at: u64, bytes: u64, alignment: u64) {
    words(file, &[kind, flags]);
    longs(file, &[at, at, at, bytes, bytes, alignment]);
}

fn halves(file: &mut Vec<u8>, values: &[u16]) {
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn words(file: &mut Vec<u8>, values: &[u32]) {
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn longs(file: &mut Vec<u8>, values: &[u64]) {
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn pad(file: &mut Vec<u8>, to: u64) {
    let to = usize::try_from(to).unwrap_or(usize::MAX);
    file.resize(to.max(file.len()), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_where_the_headers_say() {
        let Some(file) = library() else { return };
        let long = |at: u64| {
            let at = usize::try_from(at).unwrap();
            u64::from_le_bytes(file[at..at + 8].try_into().unwrap())
        };
        assert_eq!(file.len() as u64, DYNAMIC + DYNAMIC_BYTES);
        assert_eq!(long(32), SEGMENTS);
        let symbol = SYMBOLS + 24;
        assert_eq!(
            (long(symbol + 8), long(symbol + 16)),
            (TEXT, CODE.unwrap().0.len() as u64)
        );
        assert_eq!(&file[usize::try_from(TEXT).unwrap()..][..4], &CODE.unwrap().0[..4]);
        for (index, (tag, value)) in [(4, HASH), (5, STRINGS), (6, SYMBOLS)].into_iter().enumerate() {
            assert_eq!(
                (long(DYNAMIC + 16 * index as u64), long(DYNAMIC + 16 * index as u64 + 8)),
                (tag, value)
            );
        }
    }

    /// The C library's own linker takes it, and the code does what it should.
    #[test]
    fn it_changes_the_working_directory() {
        let Some(bytes) = library() else { return };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("folder.so");
        std::fs::write(&path, bytes).unwrap();
        let source = "import ctypes, os, sys\n\
            change = ctypes.CDLL(sys.argv[1]).Java_ephyra_runtime_Folder_change\n\
            change.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p]\n\
            assert change(None, None, b'/none/such') == -2, 'ENOENT'\n\
            assert change(None, None, b'/usr') == 0 and os.getcwd() == '/usr'\n";
        let output = std::process::Command::new("python3")
            .args(["-c", source])
            .arg(&path)
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
