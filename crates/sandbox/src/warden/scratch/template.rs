//! An empty ext4 file system of a given size, made once with mkfs.ext4 and from then on written out of memory: but for
//! some hundred kilobytes it is a hole.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ephyra_sys::loopback;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode, OFlags, SeekFrom, fchmod, fstatvfs, ftruncate, openat, seek, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{INODES_PER_MB, ScratchError};
use crate::mount::new_file_system;

/// Where administration's programs are.
const FOLDERS: &[&str] = &["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin"];
/// No journal and no checksums: nothing in it outlives the sandbox. The tables of inodes are left as the hole that
/// they are.
const FEATURES: &str = "none,extent,flex_bg,sparse_super,large_file,huge_file,filetype,dir_index,extra_isize,uninit_bg";
/// How long making a file system may take; it takes some milliseconds.
const TIME: Duration = Duration::from_secs(5);
/// Bytes in a block.
const BLOCK: u64 = 4096;
/// What a guest can write beyond its size, so that a single file of that size fits: the blocks that say where it is.
const SLACK_BLOCKS: u64 = 64;
/// Where the superblock has its count of reserved blocks, see <https://docs.kernel.org/filesystems/ext4/super.html>.
const RESERVED_AT: usize = 1024 + 8;

/// What making and mounting takes.
#[derive(Debug)]
pub(crate) struct Tools {
    control: OwnedFd,
    mkfs: PathBuf,
}

impl Tools {
    pub(crate) fn find() -> Result<Self, ScratchError> {
        let candidates = FOLDERS.iter().map(|folder| Path::new(folder).join("mkfs.ext4"));
        Ok(Self {
            control: loopback::open_control().map_err(ScratchError::Loop)?,
            mkfs: { candidates }
                .find(|path| path.is_file())
                .ok_or(ScratchError::MakeAbsent)?,
        })
    }

    /// Mounts the file system in `file`, detached. The device is held by the mount alone, and the file by the device.
    pub(super) fn mount(&self, file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        let (_device, path) = loopback::attach(self.control.as_fd(), file)?;
        // Nothing in it needs to be safe from a power cut, and what is a hole reads as the zeroes it should be.
        let options = [("source", path.as_str()), ("nobarrier", ""), ("noinit_itable", "")];
        new_file_system("ext4", &options)
    }
}

/// An empty file system, but for its holes.
#[derive(Debug)]
pub(super) struct Template {
    size_mb: u32,
    /// Of the file, in bytes.
    length: u64,
    /// Offsets, and what is there.
    parts: Vec<(u64, Vec<u8>)>,
}

impl Template {
    /// Makes one with the help of an empty file.
    pub(super) fn make(tools: &Tools, size_mb: u32, file: OwnedFd) -> io::Result<Self> {
        // Enough for the inodes (16 KB for each MB), the bitmaps, and what ext4 keeps for itself (16 MB at most).
        let length = (u64::from(size_mb) + u64::from(size_mb / 32) + 32) << 20;
        ftruncate(&file, length)?;
        run(tools, size_mb, file.try_clone()?)?;
        let free = {
            let root = tools.mount(file.as_fd())?;
            let root = openat(&root, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            unlinkat(&root, "lost+found", AtFlags::REMOVEDIR)?;
            fchmod(&root, Mode::RWXU)?;
            fstatvfs(&root)?.f_bavail
        };
        let mut parts = parts(&File::from(file), length)?;
        let wanted = (u64::from(size_mb) << 20) / BLOCK + SLACK_BLOCKS;
        let surplus = free.checked_sub(wanted).and_then(|surplus| u32::try_from(surplus).ok());
        let reserved = parts.first_mut().filter(|(offset, _)| *offset == 0);
        let reserved = reserved.and_then(|(_, bytes)| bytes.get_mut(RESERVED_AT..RESERVED_AT + 4));
        let (Some(surplus), Some(reserved)) = (surplus, reserved) else {
            return Err(io::Error::other("mkfs.ext4 has made what was not asked for"));
        };
        // Only root could use these blocks, which no guest is.
        reserved.copy_from_slice(&surplus.to_le_bytes());
        Ok(Self { size_mb, length, parts })
    }

    pub(super) fn size_mb(&self) -> u32 {
        self.size_mb
    }

    /// Makes an empty file an image of it.
    pub(super) fn write(&self, file: &OwnedFd) -> io::Result<()> {
        ftruncate(file, self.length)?;
        for (offset, bytes) in &self.parts {
            let (mut offset, mut bytes) = (*offset, bytes.as_slice());
            while !bytes.is_empty() {
                match rustix::io::retry_on_intr(|| rustix::io::pwrite(file, bytes, offset))? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    written => {
                        bytes = &bytes[written..];
                        offset += written as u64;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Runs mkfs.ext4 on what becomes its standard input, whatever the host's own configuration of it says.
fn run(tools: &Tools, size_mb: u32, file: OwnedFd) -> io::Result<()> {
    let mut child = Command::new(&tools.mkfs)
        .args([
            "-q", "-F", "-b", "4096", "-I", "256", "-m", "0", "-e", "continue", "-U", "clear",
        ])
        .args(["-O", FEATURES, "-E", "lazy_itable_init=1,nodiscard"])
        .args(["-N", &size_mb.saturating_mul(INODES_PER_MB).to_string()])
        .arg("/proc/self/fd/0")
        .env_clear()
        .env("MKE2FS_CONFIG", "/dev/null")
        .current_dir("/")
        .stdin(Stdio::from(file))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if !has_ended(&child)? {
        child.kill()?;
    }
    let status = child.wait()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("mkfs.ext4: {status}")))
    }
}

fn has_ended(child: &Child) -> io::Result<bool> {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let time = Timespec::try_from(TIME).map_err(io::Error::other)?;
    let mut polled = [PollFd::new(&process, PollFlags::IN)];
    Ok(rustix::io::retry_on_intr(|| poll(&mut polled, Some(&time)))? > 0)
}

/// What is in a file that is neither a hole nor a block of zeroes.
fn parts(file: &File, length: u64) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let mut parts: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut end = 0;
    loop {
        let begin = match seek(file, SeekFrom::Data(end)) {
            Ok(begin) => begin / BLOCK * BLOCK,
            Err(Errno::NXIO) => return Ok(parts),
            Err(error) => return Err(error.into()),
        };
        end = seek(file, SeekFrom::Hole(begin))?.next_multiple_of(BLOCK).min(length);
        for offset in (begin..end).step_by(4096) {
            let mut block = vec![0; 4096];
            file.read_exact_at(&mut block, offset)?;
            if block.iter().all(|&byte| byte == 0) {
                continue;
            }
            match parts.last_mut() {
                Some((at, bytes)) if *at + bytes.len() as u64 == offset => bytes.append(&mut block),
                _ => parts.push((offset, block)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_what_was_read_and_its_holes_stay_holes() {
        let length = 64 << 20;
        let [from, to] = [(); 2].map(|()| tempfile::tempfile().unwrap());
        from.set_len(length).unwrap();
        let written: &[(u64, &[u8])] = &[
            (0, b"begin"),
            (4090, b"across a block"),
            (9 << 20, b"x"),
            (length - 3, b"end"),
        ];
        for (offset, bytes) in written {
            from.write_all_at(bytes, *offset).unwrap();
        }
        // A block of zeroes is as good as none.
        from.write_all_at(&[0; 4096], 20 << 20).unwrap();
        let parts = parts(&from, length).unwrap();
        let places: Vec<_> = parts.iter().map(|(offset, bytes)| (*offset, bytes.len())).collect();
        assert_eq!(places, [(0, 8192), (9 << 20, 4096), (length - 4096, 4096)]);
        let template = Template {
            size_mb: 64,
            length,
            parts,
        };
        let to = OwnedFd::from(to);
        template.write(&to).unwrap();
        let to = File::from(to);
        assert_eq!(to.metadata().unwrap().len(), length);
        for (offset, _) in written {
            let (mut a, mut b) = ([0; 1], [0; 1]);
            from.read_exact_at(&mut a, *offset).unwrap();
            to.read_exact_at(&mut b, *offset).unwrap();
            assert_eq!(a, b);
        }
        assert_eq!(super::parts(&to, length).unwrap(), template.parts);
    }
}
