//! Trying to get out, and failing.

use ephyra_sandbox::supervisor::Exit;

use super::{Case, Server, cases};
use crate::guest::{Spec, python};

pub(super) const CASES: &[Case] = cases![
    system_calls_that_lead_out_are_refused,
    foreign_system_calls_kill,
    sockets_of_other_families_are_refused,
    only_tmp_can_be_written_to,
    the_hosts_files_are_not_there,
    other_processes_are_out_of_reach,
    the_hosts_network_is_out_of_reach,
    other_guests_are_out_of_reach,
    a_fork_bomb_is_bounded,
    descriptors_are_bounded,
    set_user_id_programs_give_nothing,
];

async fn system_calls_that_lead_out_are_refused(server: Server) {
    let output = server
        .output_of(
            "import ctypes, errno, platform
libc = ctypes.CDLL(None, use_errno=True)
def call(name, number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    print(name, result, errno.errorcode.get(ctypes.get_errno()))
assert platform.machine() == 'x86_64'
call('mount', 165, b'none', b'/tmp', b'tmpfs', 0, 0)
call('umount2', 166, b'/tmp', 2)
call('pivot_root', 155, b'/tmp', b'/tmp')
call('chroot', 161, b'/tmp')
call('open_tree', 428, -100, b'/', 1)
call('move_mount', 429, -100, b'/', -100, b'/tmp', 0)
call('fsopen', 430, b'tmpfs', 0)
call('mount_setattr', 442, -100, b'/', 0, 0, 0)
call('unshare user', 272, 0x10000000)
call('unshare net', 272, 0x40000000)
call('setns', 308, 3, 0)
call('clone user', 56, 0x10000000 | 17, 0, 0, 0, 0)
call('clone3', 435, 0, 0)
call('ptrace', 101, 0, 0, 0, 0)
call('process_vm_readv', 310, 1, 0, 0, 0, 0, 0)
call('pidfd_getfd', 438, 0, 0, 0)
call('bpf', 321, 0, 0, 0)
call('perf_event_open', 298, 0, 0, -1, -1, 0)
call('userfaultfd', 323, 0)
call('io_uring_setup', 425, 1, 0)
call('keyctl', 250, 0, 0)
call('add_key', 248, 0, 0, 0, 0, 0)
call('request_key', 249, 0, 0, 0, 0)
call('open_by_handle_at', 304, -100, 0, 0)
call('init_module', 175, 0, 0, 0)
call('kexec_load', 246, 0, 0, 0, 0)
call('reboot', 169, 0, 0, 0, 0)
call('swapon', 167, 0, 0)
call('sethostname', 170, b'x', 1)
call('settimeofday', 164, 0, 0)
call('iopl', 172, 3)
call('syslog', 103, 0, 0, 0)
call('setgroups', 116, 0, 0)
call('seccomp', 317, 0, 0, 0)
call('setuid root', 105, 0)
call('setgid root', 106, 0)
call('tiocsti', 16, 0, 0x5412, b'x')
call('personality', 135, 0x0040000)",
        )
        .await;
    assert_eq!(output.lines().count(), 38, "{output}");
    for line in output.lines() {
        let want = match line.split_once(" -1 ").expect(line).0 {
            "clone user" | "clone3" | "io_uring_setup" | "seccomp" | "tiocsti" | "personality" => "ENOSYS",
            "setuid root" | "setgid root" => "EINVAL",
            _ => "EPERM",
        };
        assert!(line.ends_with(&format!(" -1 {want}")), "{line}");
    }
}

async fn foreign_system_calls_kill(server: Server) {
    // getpid by its x32 number.
    let mut guest = server
        .python("import ctypes; ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 | 39))")
        .await;
    assert_eq!(guest.ended().await.exit, Some(Exit::Signalled(31)));
    guest.end().await;
    // getpid by int 0x80, which is the 32-bit architecture: mov eax, 20; int 0x80; ret.
    let mut guest = server
        .python(
            "import ctypes, mmap
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()",
        )
        .await;
    let ended = guest.ended().await;
    // A kernel without 32-bit support ends it by itself.
    assert!(matches!(ended.exit, Some(Exit::Signalled(31 | 11))), "{ended:?}");
    guest.end().await;
}

async fn sockets_of_other_families_are_refused(server: Server) {
    let output = server
        .output_of(
            "import socket
for name, arguments in [('raw', (2, 3, 1)), ('packet', (17, 3, 0)), ('netfilter', (16, 3, 12)), ('audit', (16, 3, 9)),
                        ('vsock', (40, 1, 0)), ('alg', (38, 5, 0)), ('xdp', (44, 3, 0)), ('can', (29, 3, 1)),
                        ('raw6', (10, 3, 58)), ('bluetooth', (31, 3, 1)), ('tipc', (30, 1, 0))]:
    try: socket.socket(*arguments); print(name, 'opened')
    except OSError as error: print(name, error.errno)
for arguments in [(1, 1), (1, 2), (1, 5), (2, 1), (2, 2), (10, 1), (10, 2)]: socket.socket(*arguments).close()",
        )
        .await;
    assert_eq!(output.lines().count(), 11);
    assert!(output.lines().all(|line| line.ends_with(" 38")), "{output}");
}

async fn only_tmp_can_be_written_to(server: Server) {
    let output = server
        .output_of(
            "import os
for root in ['/', '/var/task', '/opt', '/var/runtime', '/usr', '/usr/bin', '/etc', '/dev', '/proc/sys/kernel', '/var', '/var/tmp', '/home', '/run', '/proc/self']:
    try: open(root + '/x', 'w'); print(root, 'written')
    except OSError as error: print(root, error.errno)
for file in ['/var/task/handler.py', '/etc/passwd', '/proc/sys/kernel/hostname', '/proc/self/oom_score_adj', '/proc/self/mem', '/proc/sysrq-trigger', '/usr/bin/env']:
    try: open(file, 'r+'); print(file, 'written')
    except OSError as error: print(file, error.errno)
for change in [lambda: os.chmod('/var/task', 0o777), lambda: os.unlink('/var/task/handler.py'), lambda: os.rename('/etc', '/etc2'), lambda: os.link('/etc/passwd', '/tmp/passwd'), lambda: os.mknod('/tmp/disk', 0o060666, os.makedev(8, 0))]:
    try: change(); print('changed')
    except OSError as error: print('change', error.errno)
open('/tmp/x', 'w').write('x'); os.mkdir('/tmp/d'); os.rename('/tmp/x', '/tmp/d/x'); print(os.listdir('/tmp/d'))",
        )
        .await;
    let (last, refused) = output
        .lines()
        .collect::<Vec<_>>()
        .split_last()
        .map(|(l, r)| (*l, r.to_vec()))
        .unwrap();
    assert_eq!(last, "['x']");
    assert_eq!(refused.len(), 26);
    for line in refused {
        let errno: i32 = line.rsplit(' ').next().unwrap().parse().expect(line);
        // Refused, read-only, across file systems, or not even there.
        assert!([1, 2, 13, 18, 30].contains(&errno), "{line}");
    }
}

async fn the_hosts_files_are_not_there(server: Server) {
    let data = server.data.display().to_string();
    let output = server
        .output_of(&format!(
            "import os
for path in ['/etc/shadow', '/root/.bashrc', '/root/.ssh', '/sys', '/boot', '/dev/vda', '/dev/sda', '/dev/kmsg', '/dev/mem', '/dev/tty', '/dev/shm', '/dev/pts', '{data}', '/proc/1/root', '/proc/1/environ', '/proc/1/fd', '/var/lib', '/var/log']:
    print(os.path.exists(path), path)
print('root' in open('/etc/passwd').read(), open('/etc/resolv.conf').read() == '')
try: print(open('/proc/kcore', 'rb').read(1))
except OSError: print('no kcore')
os.chdir('/'); 
for _ in range(50): os.chdir('..')
print(sorted(os.listdir('.')) == sorted(os.listdir('/')))
print(os.listdir('/root'), os.path.exists('/proc/self/root/etc/shadow'))"
        ))
        .await;
    let lines: Vec<_> = output.lines().collect();
    assert!(lines[..18].iter().all(|line| line.starts_with("False")), "{output}");
    assert_eq!(lines[18..21], ["True True", "no kcore", "True"]);
    // Where the interpreter lives in /root, its way there is shown and nothing else.
    assert!(["[] False", "['.pyenv'] False"].contains(&lines[21]), "{}", lines[21]);
}

async fn other_processes_are_out_of_reach(server: Server) {
    let output = server
        .output_of(
            "import os, signal
def attempt(name, action):
    try: print(name, action())
    except OSError as error: print(name, 'refused', error.errno)
for pid in [1, -1]:
    for number in [signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV]:
        if pid == 1: attempt('kill', lambda: os.kill(pid, number))
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
attempt('kill all', lambda: os.kill(-1, signal.SIGUSR1))
for name in ['environ', 'mem', 'maps', 'root', 'cwd', 'exe', 'fd', 'ns/mnt', 'stack', 'syscall']:
    try:
        if name == 'fd': os.listdir('/proc/1/fd')
        else: open('/proc/1/' + name, 'rb').read(1)
        print(name, 'read')
    except OSError as error: print(name, 'refused', error.errno)
for pid in range(3, 100000, 97):
    if pid == os.getpid(): continue
    try: os.kill(pid, 0); print('there is', pid)
    except ProcessLookupError: pass
print('alive')",
        )
        .await;
    assert!(output.ends_with("alive\n"), "{output}");
    assert!(!output.contains("read\n") && !output.contains("there is"), "{output}");
}

async fn the_hosts_network_is_out_of_reach(server: Server) {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let output = server
        .output_of(&format!(
            "import socket
for address in ['127.0.0.1', '0.0.0.0', '10.0.0.1', '169.254.169.254', '8.8.8.8']:
    try: socket.create_connection((address, {port}), timeout=2); print('connected', address)
    except OSError as error: print(error.errno)
try: socket.getaddrinfo('example.com', 80); print('resolved')
except OSError: print('no names')
print(socket.if_nameindex())"
        ))
        .await;
    assert_eq!(output, "111\n111\n101\n101\n101\nno names\n[(1, 'lo')]\n");
    drop(listener);
}

async fn other_guests_are_out_of_reach(server: Server) {
    let mut first = server
        .python(
            "import socket, os
open('/tmp/secret', 'w').write('mine')
a = socket.socket(socket.AF_UNIX); a.bind('\\0abstract'); a.listen()
t = socket.socket(); t.bind(('127.0.0.1', 7777)); t.listen()
import ctypes
ctypes.CDLL(None).shmget(4242, 4096, 0o1666)
s = socket.socket(fileno=3); s.sendall(b'ready\\n'); s.recv(1)",
        )
        .await;
    first.hear().await;
    let output = server
        .output_of(
            "import socket, os, ctypes
print(os.listdir('/tmp'), ctypes.CDLL(None).shmget(4242, 4096, 0))
for family, address in [(socket.AF_UNIX, '\\0abstract'), (socket.AF_INET, ('127.0.0.1', 7777))]:
    try: socket.socket(family).connect(address); print('connected')
    except OSError as error: print(error.errno)",
        )
        .await;
    assert_eq!(output, "[] -1\n111\n111\n");
    first.say("x").await;
    assert_eq!(first.ended().await.exit, Some(Exit::Exited(0)));
    first.end().await;
}

async fn a_fork_bomb_is_bounded(server: Server) {
    let spec = Spec {
        memory_mb: 2048,
        ..server.spec()
    };
    let script = "import os, time
count = 0
try:
    while True:
        if os.fork() == 0: time.sleep(3600)
        count += 1
except OSError as error: print(error.errno, 100 < count < 1024)";
    let mut guest = python(&server.warden, spec, script).await;
    assert_eq!(guest.ended().await.output, "11 True\n");
    guest.end().await;
    // And one that never stops can be ended, also when it has next to no CPU to die with.
    let script = "import os, socket
s = socket.socket(fileno=3)
s.sendall(b'begun\\n')
s.recv(1)
while True:
    try: os.fork()
    except OSError: pass";
    let mut guest = server.python(script).await;
    guest.hear().await;
    guest.controls.cap_cpu().unwrap();
    guest.say("x").await;
    let (begun, end) = (
        guest.controls.cpu_time().unwrap(),
        std::time::Instant::now() + crate::guest::LIMIT,
    );
    while guest.controls.cpu_time().unwrap() < begun + std::time::Duration::from_millis(100) {
        assert!(std::time::Instant::now() < end, "it does not run");
        tokio::task::yield_now().await;
    }
    guest.end().await;
}

async fn descriptors_are_bounded(server: Server) {
    let output = server
        .output_of(
            "import os, resource
count = 0
try:
    while True: os.dup(0); count += 1
except OSError as error: print(error.errno, count < 1024)
os.closerange(4, 2000)
try: resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)); print('raised')
except (OSError, ValueError): print('not raised')
print(resource.getrlimit(resource.RLIMIT_CORE))",
        )
        .await;
    assert_eq!(output, "24 True\nnot raised\n(0, 0)\n");
}

async fn set_user_id_programs_give_nothing(server: Server) {
    let output = server
        .output_of(
            "import os, subprocess
for program in ['/usr/bin/su', '/usr/bin/mount', '/usr/bin/passwd', '/usr/bin/newgrp']:
    if os.path.exists(program): assert os.statvfs(program).f_flag & os.ST_NOSUID
print(subprocess.run(['/bin/sh', '-c', 'id -u; id -g'], stdout=subprocess.PIPE).stdout.decode().split())",
        )
        .await;
    assert_eq!(output, "['993', '990']\n");
}
