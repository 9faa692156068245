//! /tmp: on disk, of its size, the guest's own, new each time.

use ephyra_sandbox::isolation::TmpPlace;
use ephyra_sandbox::supervisor::Exit;

use super::{Case, Server, cases};
use crate::guest::{Spec, python};

pub(super) const CASES: &[Case] = cases![
    tmp_has_its_size,
    tmp_has_another_size,
    what_is_in_tmp_is_not_memory,
    tmp_is_new_and_the_guests_own,
    what_was_done_to_a_tmp_is_in_no_other,
    many_use_their_tmp_at_once,
    a_full_tmp_ends_quickly,
];

/// Fills /tmp with one file, and then with many.
const FILL: &str = "import os
written, block = 0, bytes(1 << 20)
try:
    with open('/tmp/big', 'wb', buffering=0) as file:
        while True: written += file.write(block)
except OSError as error: print(error.errno, written >> 20)
print(os.stat('/tmp/big').st_size >> 20)
os.unlink('/tmp/big')
try:
    for number in range(10**6): open(f'/tmp/{number}', 'w').close()
except OSError as error: print(error.errno, 30000 < number < 48000)";

/// A guest whose /tmp, were it in memory, would fit into that.
fn with_memory(server: &Server, mb: u32) -> Spec {
    let memory_mb = match server.tmp {
        TmpPlace::Disk => 128,
        TmpPlace::Memory { .. } => mb,
    };
    Spec {
        memory_mb,
        ..server.spec()
    }
}

async fn tmp_has_its_size(server: Server) {
    let mut guest = python(&server.warden, with_memory(&server, 1024), FILL).await;
    assert_eq!(guest.ended().await.output, "28 512\n512\n28 True\n");
    assert_eq!(guest.controls.oom_kills().unwrap(), 0);
    guest.end().await;
}

async fn tmp_has_another_size(server: Server) {
    let spec = Spec {
        tmp_mb: 700,
        ..with_memory(&server, 1024)
    };
    let mut guest = python(&server.warden, spec, FILL).await;
    assert_eq!(guest.ended().await.output, "28 700\n700\n28 True\n");
    guest.end().await;
    if server.tmp == TmpPlace::Disk {
        let spec = Spec {
            tmp_mb: 10_240,
            ..server.spec()
        };
        let script = "import os
s = os.statvfs('/tmp')
print(s.f_bavail * s.f_frsize >> 20, s.f_favail > 600000)";
        let mut guest = python(&server.warden, spec, script).await;
        assert_eq!(guest.ended().await.output, "10240 True\n");
        guest.end().await;
    }
}

async fn what_is_in_tmp_is_not_memory(server: Server) {
    let script = "import hashlib, os
block = os.urandom(1 << 20)
with open('/tmp/big', 'wb') as file:
    for _ in range(300): file.write(block)
with open('/tmp/big', 'rb') as file:
    print(sum(file.read(1 << 20) == block for _ in range(300)))";
    let mut guest = python(&server.warden, with_memory(&server, 512), script).await;
    let ended = guest.ended().await;
    assert_eq!((ended.exit, ended.output.as_str()), (Some(Exit::Exited(0)), "300\n"));
    assert_eq!(guest.controls.oom_kills().unwrap(), 0);
    guest.end().await;
}

async fn tmp_is_new_and_the_guests_own(server: Server) {
    let script = "import os
s = os.stat('/tmp')
print(os.listdir('/tmp'), s.st_uid == os.getuid(), s.st_gid == os.getgid(), oct(s.st_mode))
line = next(line for line in open('/proc/self/mounts') if line.split()[1] == '/tmp').split()
print(line[2], 'nosuid' in line[3], 'nodev' in line[3])
print(os.path.exists('/sys/block') or os.path.exists(line[0]))
open('/tmp/mine', 'w').write('x')
os.chmod('/tmp/mine', 0o4755)";
    let kind = match server.tmp {
        TmpPlace::Disk => "ext4",
        TmpPlace::Memory { .. } => "tmpfs",
    };
    for _ in 0..6 {
        assert_eq!(
            server.output_of(script).await,
            format!("[] True True 0o40700\n{kind} True True\nFalse\n")
        );
    }
}

/// The next sandbox may have the file system of one that has left no trace in it: after each of these it must look new.
async fn what_was_done_to_a_tmp_is_in_no_other(server: Server) {
    if server.tmp != TmpPlace::Disk {
        return;
    }
    let look = "import os
s, v = os.stat('/tmp'), os.statvfs('/tmp')
print(oct(s.st_mode), s.st_size, s.st_nlink, s.st_blocks, s.st_mtime_ns, v.f_bfree, v.f_ffree, v.f_files)
print(os.listxattr('/tmp'), os.listdir('/tmp'))";
    let new = server.output_of(look).await;
    for deed in [
        "pass",
        "open('/tmp/mine', 'w').write('x')",
        "open('/tmp/mine', 'w').write('x'); os.unlink('/tmp/mine')",
        "os.mkdir('/tmp/mine'); os.rmdir('/tmp/mine')",
        "os.symlink('/', '/tmp/mine'); os.rename('/tmp/mine', '/tmp/yours')",
        "os.chmod('/tmp', 0o711)",
        "os.chmod('/tmp', 0o711); os.chmod('/tmp', 0o700)",
        "os.utime('/tmp', (1, 1))",
        "os.setxattr('/tmp', 'user.mine', b'x')",
        "[open('/tmp/%d' % n, 'w').close() for n in range(400)]; [os.unlink('/tmp/%d' % n) for n in range(400)]",
        "os.write(os.open('/tmp', os.O_TMPFILE | os.O_RDWR), bytes(4 << 20)); os.sync()",
    ] {
        let script = format!("import os\ntry: {deed}\nexcept OSError as error: print(error.errno)");
        let said = server.output_of(&script).await;
        assert!(
            said.is_empty() || deed.contains("xattr") || deed.contains("sync"),
            "{deed}: {said}"
        );
        assert_eq!(server.output_of(look).await, new, "after {deed}");
    }
}

async fn many_use_their_tmp_at_once(server: Server) {
    let script = "import os, socket
s = socket.socket(fileno=3)
for part in range(20): open(f'/tmp/{part}', 'w').write(os.environ['SECRET'] * 10000)
s.sendall(b'written\\n'); s.recv(1)
print(len(os.listdir('/tmp')), all(len(open(f'/tmp/{part}').read()) == 70000 for part in range(20)))";
    let starts = (0..12).map(|_| server.python(script));
    let mut guests = futures_util::future::join_all(starts).await;
    for guest in &mut guests {
        assert_eq!(guest.hear().await, "written");
    }
    for mut guest in guests {
        guest.say("x").await;
        assert_eq!(guest.ended().await.output, "20 True\n");
        guest.end().await;
    }
}

/// What nobody will read is not worth waiting for the disk.
async fn a_full_tmp_ends_quickly(server: Server) {
    let script = "import socket
s = socket.socket(fileno=3)
file = open('/tmp/big', 'wb')
for _ in range(64): file.write(bytes(1 << 20))
s.sendall(b'written\\n')
s.recv(1)";
    let mut guest = python(&server.warden, with_memory(&server, 256), script).await;
    guest.hear().await;
    let began = std::time::Instant::now();
    guest.end().await;
    let took = began.elapsed();
    println!("    end with 64 MB in /tmp: {took:?}");
    assert!(took < std::time::Duration::from_secs(5), "it took {took:?}");
}
