package ephyra.runtime;

import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.lang.reflect.Constructor;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Frames over descriptor 3, version 2 of the protocol (crates/guest/PROTOCOL.md). All calls block. */
final class Control {
    static final int EVENT = 0x01;
    static final int CONFIGURE = 0x02;
    static final int RESTORE = 0x03;
    static final int BOOTED = 0x81;
    static final int READY = 0x82;
    static final int INIT_ERROR = 0x83;
    static final int RESPONSE = 0x84;
    static final int ERROR = 0x85;
    static final int FATAL_ERROR = 0x8a;

    static final int HEADER = 8;
    static final int IDENTIFIER = 16;
    /** Identifier, deadline, bytes of the meta, flags. */
    static final int EVENT_HEAD = 32;

    private static final int DESCRIPTOR = 3;
    private static final int VERSION = 2;
    /** The largest first packet of a frame; as much as the JDK reads without allocating outside of its heap. */
    private static final int FIRST_READ = 8192;
    /** The largest packet of either side. */
    private static final int PACKET = 64 * 1024;
    private static final int TYPE_BYTES = 256;

    /** What the host has sent: `bytes` from 0 to `length`, its header included. */
    static final class Frame {
        final byte[] bytes;
        final int length;

        Frame(byte[] bytes, int length) {
            this.bytes = bytes;
            this.length = length;
        }

        int kind() {
            return bytes[4];
        }

        int number(int at) {
            return Control.number(bytes, at);
        }
    }

    private final FileInputStream in;
    private final FileOutputStream out;
    private final byte[] scratch = new byte[FIRST_READ];

    Control() throws ReflectiveOperationException {
        // There is no public way to a descriptor that was inherited; the jar's manifest opens java.io for this.
        Constructor<FileDescriptor> open = FileDescriptor.class.getDeclaredConstructor(int.class);
        open.setAccessible(true);
        FileDescriptor descriptor = open.newInstance(DESCRIPTOR);
        in = new FileInputStream(descriptor);
        out = new FileOutputStream(descriptor);
    }

    private static int number(byte[] bytes, int at) {
        return (bytes[at] & 255) | (bytes[at + 1] & 255) << 8 | (bytes[at + 2] & 255) << 16 | bytes[at + 3] << 24;
    }

    private static void putNumber(byte[] bytes, int at, int value) {
        for (int i = 0; i < 4; i++) {
            bytes[at + i] = (byte) (value >>> 8 * i);
        }
    }

    /** Blocks until there is a frame; ends the process when the host has gone. A small one is overwritten by the next. */
    Frame receive() throws IOException {
        byte[] bytes = scratch;
        int filled = 0;
        while (filled < HEADER) {
            filled += read(bytes, filled, bytes.length - filled);
        }
        long body = number(bytes, 0) & 0xffffffffL;
        if (bytes[5] != VERSION || bytes[6] != 0 || bytes[7] != 0 || body > Integer.MAX_VALUE - 64) {
            throw new IOException("the host sent what is not a frame of protocol " + VERSION);
        }
        int total = HEADER + (int) body;
        if (total > bytes.length) {
            bytes = Arrays.copyOf(bytes, total);
        }
        while (filled < total) {
            filled += read(bytes, filled, Math.min(total - filled, PACKET));
        }
        if (filled != total) {
            throw new IOException("the host sent more than one frame at once");
        }
        return new Frame(bytes, total);
    }

    private int read(byte[] bytes, int from, int most) throws IOException {
        int count = in.read(bytes, from, most);
        if (count < 0) {
            Runtime.getRuntime().halt(0);
        }
        return count;
    }

    /** Sends a frame without a body. */
    void send(int kind) throws IOException {
        write(headed(new byte[HEADER], kind, HEADER), HEADER);
    }

    /** Sends `answer`, which has room for header and identifier before its payload. */
    void sendAnswer(byte[] identifier, Output answer) throws IOException {
        byte[] bytes = answer.bytes();
        System.arraycopy(identifier, 0, bytes, HEADER, IDENTIFIER);
        write(headed(bytes, RESPONSE, answer.end()), answer.end());
    }

    /** Sends an error document with its type before it; `identifier` is empty before there is an invocation. */
    void sendFault(int kind, byte[] identifier, String type, byte[] document) throws IOException {
        byte[] name = type.replaceAll("\\p{Cntrl}", " ").getBytes(StandardCharsets.UTF_8);
        int length = Math.min(name.length, TYPE_BYTES);
        // Cut between characters.
        while (length < name.length && (name[length] & 0xc0) == 0x80) {
            length--;
        }
        int at = HEADER + identifier.length;
        byte[] bytes = new byte[at + 2 + length + document.length];
        System.arraycopy(identifier, 0, bytes, HEADER, identifier.length);
        bytes[at] = (byte) length;
        bytes[at + 1] = (byte) (length >> 8);
        System.arraycopy(name, 0, bytes, at + 2, length);
        System.arraycopy(document, 0, bytes, at + 2 + length, document.length);
        write(headed(bytes, kind, bytes.length), bytes.length);
    }

    private void write(byte[] bytes, int end) throws IOException {
        for (int from = 0; from < end; from += PACKET) {
            out.write(bytes, from, Math.min(end - from, PACKET));
        }
    }

    private static byte[] headed(byte[] bytes, int kind, int end) {
        putNumber(bytes, 0, end - HEADER);
        putNumber(bytes, 4, kind | VERSION << 8);
        return bytes;
    }
}
