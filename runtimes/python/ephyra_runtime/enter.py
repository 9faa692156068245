"""How a copy of the zygote becomes a sandbox's own process: namespaces, user, landlock, seccomp. See `Lockdown.enter`.

All that can be is made before the copying: functions, structures and buffers. Nothing here is forgiven: whatever fails
raises, and the caller ends the process.
"""

import ctypes
import os
import struct

# The same on all processors since Linux 5.1 has numbered new calls alike; the others are those of <asm/unistd.h>.
_PIDFD_OPEN, _CLONE3, _CLOSE_RANGE = 434, 435, 436
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_NUMBERS = {"x86_64": (317, 125, 126), "aarch64": (277, 90, 91)}

CLONE_NEWPID = 0x20000000
_CLONE_NEWUSER = 0x10000000
_CLONE_INTO_CGROUP = 0x200000000
_SIGCHLD = 17

_PR_SET_DUMPABLE, _PR_GET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_SECUREBITS = 4, 21, 24, 28
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 39, 47, 4
# SECBIT_NOROOT and its lock, the locks of NO_SETUID_FIXUP and KEEP_CAPS, SECBIT_NO_CAP_AMBIENT_RAISE and its lock: what
# crates/sandbox/src/build/lockdown.rs sets.
_SECURE_BITS = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7
_CAPABILITIES_VERSION_3 = 0x20080522

_SECCOMP_SET_MODE_FILTER, _SECCOMP_MODE_FILTER = 1, 2

# Rights of <linux/landlock.h>, and from which version of its interface on they are known.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_RIGHTS = ((1, (1 << 13) - 1), (2, 1 << 13), (3, _TRUNCATE), (5, _IOCTL_DEV))
_SCOPES = 1 << 1  # Signals, from version 6 on.
_PATH_BENEATH = 1

# Where a runtime is started.
_DIRECTORY = "/var/task"

# Where the control stream is in a runtime. The zygote has its socket there, which a copy moves for its last word.
_CONTROL, _ANSWER = 3, 4


# What a process that shares the zygote's memory runs: it joins control groups, calls `fork`, says how that went, and ends.
# It may touch nothing else, so it cannot be Python. The zygote stands still meanwhile, and sees where its stack was left.
#
#     copy(rdi: clone_args, rsi: fork, rdx: files to join groups by, ended by -1, rcx: how it went)
#         push rbx; push r12; push r13            ; mov r12, rsi; mov rbx, rdx; mov r13, rcx
#         mov esi, 88; mov eax, 435; syscall      ; clone3
#         test rax, rax; jnz out                  ; the zygote: a number or an error
#     next:
#         mov edi, [rbx]; test edi, edi; js joined
#         lea rsi, [rip + zero]; mov edx, 1; mov eax, 1; syscall      ; write(file, "0", 1)
#         test rax, rax; js done
#         add rbx, 4; jmp next
#     joined:
#         call r12; cdqe; test rax, rax; jz out   ; the copy: 0
#     done:
#         mov [r13], rax
#         xor edi, edi; mov eax, 60; syscall      ; exit(0)
#     out:
#         pop r13; pop r12; pop rbx; ret
#     zero: "0"
_BETWEEN = {
    "x86_64": "53415441554989f44889d34989cdbe58000000b8b30100000f054885c0753b8b3b85ff781e488d3534000000ba01000000"
              "b8010000000f054885c078104883c304ebdc41ffd448984885c0740d4989450031ffb83c0000000f05415d415c5bc330",
}  # fmt: skip
_CLONE_VM, _CLONE_FILES, _CLONE_VFORK = 0x100, 0x400, 0x4000
_PAGE = 4096
_PROT_READ, _PROT_WRITE, _PROT_EXEC = 1, 2, 4
_MAP_PRIVATE, _MAP_ANONYMOUS = 0x02, 0x20
# As many hierarchies of control groups as there can be, and the end of their list.
_MOST_GROUPS = 31


class Gone(Exception):
    """What was to copy this process was killed while it shared this process's memory, which nobody should trust now."""


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Kernel:
    """The system calls that Python has no function for. Nothing releases the interpreter's lock: there is one thread."""

    def __init__(self):
        libc = ctypes.PyDLL(None, use_errno=True)
        self._seccomp_number, self._capget_number, self._capset_number = _NUMBERS[os.uname().machine]
        self._syscall, self._prctl, self._setns = libc.syscall, libc.prctl, libc.setns
        self._syscall.restype = ctypes.c_long
        self._syscall.argtypes = (ctypes.c_long,) * 6
        self._prctl.argtypes = (ctypes.c_int,) + (ctypes.c_ulong,) * 4
        self._setns.argtypes = (ctypes.c_int, ctypes.c_int)
        # Called once for each capability with small numbers: without types, which take longer to look at than the call.
        self._prctl_untyped = libc["prctl"]
        self._fork = libc.fork
        python = ctypes.pythonapi
        self._before_fork, self._after_fork = python.PyOS_BeforeFork, python.PyOS_AfterFork_Child
        self._after_fork_here = python.PyOS_AfterFork_Parent
        self._before_fork.restype = self._after_fork.restype = self._after_fork_here.restype = None
        self._clone_arguments = ctypes.create_string_buffer(88)
        self._clone_at = ctypes.addressof(self._clone_arguments)
        self._capabilities_header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITIES_VERSION_3, 0), 8)
        self._no_capabilities = ctypes.create_string_buffer(24)
        self._capabilities = ctypes.create_string_buffer(b"\1" * 24, 24)
        # Whether this is the first of two copies, which ends whatever happens.
        self.is_between = False
        self._between = self._load_between(libc)
        self._groups = (ctypes.c_int * (_MOST_GROUPS + 1))()
        self._outcome = ctypes.c_long()

    def _load_between(self, libc):
        """`_BETWEEN` as a function; None where it is not known or may not be."""
        code = bytes.fromhex(_BETWEEN.get(os.uname().machine, ""))
        mmap, mprotect = libc.mmap, libc.mprotect
        mmap.restype = ctypes.c_void_p
        mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
        mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        at = mmap(None, _PAGE, _PROT_READ | _PROT_WRITE, _MAP_PRIVATE | _MAP_ANONYMOUS, -1, 0) if code else None
        if at in (None, ctypes.c_void_p(-1).value):
            return None
        ctypes.memmove(at, code, len(code))
        if mprotect(at, _PAGE, _PROT_READ | _PROT_EXEC) < 0:
            return None
        self._fork_at = ctypes.cast(self._fork, ctypes.c_void_p).value
        return ctypes.PYFUNCTYPE(ctypes.c_long, *(ctypes.c_void_p,) * 4)(at)

    def call(self, number, a=0, b=0, c=0, d=0, e=0):
        """One system call, by its number."""
        result = self._syscall(number, a, b, c, d, e)
        if result < 0:
            self._raise()
        return result

    @staticmethod
    def _raise():
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))

    def prctl(self, option, a=0, b=0):
        """prctl(2)."""
        result = self._prctl(option, a, b, 0, 0)
        if result < 0:
            self._raise()
        return result

    def setns(self, descriptor, kinds):
        """setns(2)."""
        if self._setns(descriptor, kinds) < 0:
            self._raise()

    def own_pidfd(self):
        """A descriptor of this process."""
        return self.call(_PIDFD_OPEN, os.getpid())

    def copy(self, groups, cgroup):
        """A copy of this process whose parent has ended; True in it.

        Its parent was one of version 2's cgroup open as `cgroup`, if that is not -1, and has joined those of version 1
        whose `tasks` are open as `groups`. It shares this process's memory where that is possible, and otherwise is a
        copy as well, for which what is written takes as long again.
        """
        if self._between is None or len(groups) > _MOST_GROUPS:
            return self._copy_twice(groups, cgroup)
        self._describe(_CLONE_VM | _CLONE_FILES | _CLONE_VFORK, cgroup)
        for place, group in enumerate(groups):
            self._groups[place] = group
        self._groups[len(groups)] = -1
        outcome = self._outcome
        outcome.value = 0
        self._before_fork()
        between = self._between(self._clone_at, self._fork_at, ctypes.addressof(self._groups), ctypes.addressof(outcome))
        if between == 0:
            self._after_fork()
            return True
        self._after_fork_here()
        if between < 0:
            raise OSError(-between, os.strerror(-between))
        if outcome.value < 0:
            raise OSError(-outcome.value, os.strerror(-outcome.value))
        if outcome.value == 0:
            raise Gone("it was killed while it was copied")
        return False

    def _copy_twice(self, groups, cgroup):
        """See `copy`. The C library does not know of the first: it does nothing but copy itself, and end."""
        self._describe(0, cgroup)
        if self.call(_CLONE3, self._clone_at, 88):
            return False
        self.is_between = True
        for group in groups:
            os.write(group, b"0")
        if self.fork():
            os._exit(0)
        self.is_between = False
        return True

    def _describe(self, flags, cgroup):
        """Fills in `struct clone_args`: flags first, the signal fifth, the control group last."""
        into = 0 if cgroup < 0 else _CLONE_INTO_CGROUP
        numbers = flags | into, 0, 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, max(cgroup, 0)
        struct.pack_into("=11Q", self._clone_arguments, 0, *numbers)

    def fork(self):
        """os.fork() without what that does in the parent, which only ends: each page that a copy writes to costs."""
        self._before_fork()
        pid = self._fork()
        if pid < 0:
            self._raise()
        if pid == 0:
            self._after_fork()
        return pid

    def close_from(self, first):
        """Closes all descriptors from `first` on."""
        self.call(_CLOSE_RANGE, first, 0xFFFFFFFF)

    def hide(self):
        """Lets no other process look inside this one."""
        self.prctl(_PR_SET_DUMPABLE, 0)

    def drop_bounding_set(self):
        """Takes all capabilities out of the bounding set, up to the last one that this kernel has."""
        prctl = self._prctl_untyped
        for number in range(64):
            if prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) < 0:
                if ctypes.get_errno() != 22 or number < 38:
                    self._raise()
                return

    def drop_capabilities(self):
        """No capability in any set."""
        self.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
        self.call(self._capset_number, ctypes.addressof(self._capabilities_header),
                  ctypes.addressof(self._no_capabilities))

    def has_capabilities(self):
        """Whether any is left."""
        found = self._capabilities
        self.call(self._capget_number, ctypes.addressof(self._capabilities_header), ctypes.addressof(found))
        return found.raw != self._no_capabilities.raw


class Landlock:
    """The rules of crates/sandbox/src/build/lockdown.rs for what runs beside a privileged pid 1.

    Everything may be read and executed, /tmp as it is now and devices written to; signals reach no further than itself
    and what it starts.
    """

    def __init__(self, kernel):
        self._kernel = kernel
        version = kernel.call(_LANDLOCK_CREATE_RULESET, 0, 0, 1)
        known = 0
        for since, rights in _RIGHTS:
            known |= rights if version >= since else 0
        scopes = _SCOPES if version >= 6 else 0
        # Shorter for kernels that do not know the later members; the second is about networks, which is not handled.
        attributes = struct.pack("=QQQ", known, 0, scopes)
        self._size = 24 if version >= 6 else 8
        self._attributes = ctypes.create_string_buffer(attributes, 24)
        self._rules = (
            ("/", known & (_EXECUTE | _READ_FILE | _READ_DIR)),
            ("/tmp", known),
            ("/dev", known & (_READ_FILE | _READ_DIR | _WRITE_FILE | _IOCTL_DEV | _TRUNCATE)),
        )
        self._rule = ctypes.create_string_buffer(12)

    def restrict(self):
        """Puts this process under the rules, for ever; the paths are those of its own root."""
        call = self._kernel.call
        rules = call(_LANDLOCK_CREATE_RULESET, ctypes.addressof(self._attributes), self._size)
        for path, rights in self._rules:
            folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
            struct.pack_into("=Qi", self._rule, 0, rights, folder)
            call(_LANDLOCK_ADD_RULE, rules, _PATH_BENEATH, ctypes.addressof(self._rule))
            os.close(folder)
        call(_LANDLOCK_RESTRICT_SELF, rules)
        os.close(rules)


class Lockdown:
    """What all copies are held by; made once."""

    def __init__(self, kernel, has_no_new_privileges, has_landlock, filters):
        self.kernel = kernel
        # Where the zygote's socket is.
        self.answer = _CONTROL
        self._has_no_new_privileges = has_no_new_privileges
        self._landlock = Landlock(kernel) if has_landlock else None
        self._filters = [ctypes.create_string_buffer(code, len(code)) for code in filters]
        self._programs = [_Program(len(code) // 8, ctypes.addressof(kept))
                          for code, kept in zip(filters, self._filters)]
        self._program_addresses = [ctypes.addressof(program) for program in self._programs]

    def enter(self, sandbox, namespaces, control, output, user_namespace, uid, gid):
        """Makes this process, which is in the sandbox's pid namespace and cgroup, the sandbox's own.

        The order is that of build/lockdown.rs: each step needs what a later one takes away. The descriptors are the
        request's. When this returns, 0 to 3 are as a runtime has them, `answer` is the zygote's socket, and there are
        no others.
        """
        kernel = self.kernel
        if namespaces:
            kernel.setns(sandbox, namespaces)
        os.setsid()
        if user_namespace is not None:
            kernel.setns(user_namespace, _CLONE_NEWUSER)
        # The request's descriptors are all above these: the zygote has one of its own there.
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(_CONTROL, _ANSWER, inheritable=False)
        self.answer = _ANSWER
        os.dup2(control, _CONTROL)
        kernel.close_from(_ANSWER + 1)
        kernel.drop_bounding_set()
        kernel.prctl(_PR_SET_SECUREBITS, _SECURE_BITS)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        kernel.drop_capabilities()
        if self._has_no_new_privileges:
            kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1)
        if self._landlock is not None:
            self._landlock.restrict()
        os.chdir(_DIRECTORY)
        # As after an execution: what it is to see of itself in /proc is its own.
        kernel.prctl(_PR_SET_DUMPABLE, 1)
        for address in self._program_addresses:
            kernel.call(kernel._seccomp_number, _SECCOMP_SET_MODE_FILTER, 0, address)
        self._verify(uid, gid)

    def _verify(self, uid, gid):
        kernel = self.kernel
        if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3 or kernel.has_capabilities():
            raise PermissionError("there are rights left")
        if self._has_no_new_privileges and kernel.prctl(_PR_GET_NO_NEW_PRIVS) != 1:
            raise PermissionError("new privileges could be gained")
        if self._programs and kernel.prctl(_PR_GET_SECCOMP) != _SECCOMP_MODE_FILTER:
            raise PermissionError("the filter is not in force")
