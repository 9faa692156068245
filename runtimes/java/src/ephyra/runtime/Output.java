package ephyra.runtime;

import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** What a handler answers, gathered behind room for the frame's head. One is used for one invocation. */
final class Output extends OutputStream {
    private static final int HEAD = Control.HEADER + Control.IDENTIFIER;

    private byte[] bytes = new byte[1024];
    private int end = HEAD;

    /** The buffer; what was written begins after the head. */
    byte[] bytes() {
        return bytes;
    }

    int end() {
        return end;
    }

    /** A copy of what was written. */
    byte[] written() {
        return Arrays.copyOfRange(bytes, HEAD, end);
    }

    private void reserve(int count) {
        if (count > bytes.length - end) {
            long want = Math.max((long) end + count, 2L * bytes.length);
            if ((long) end + count > Integer.MAX_VALUE - 8) {
                throw new OutOfMemoryError("the answer is longer than an array can be");
            }
            bytes = Arrays.copyOf(bytes, (int) Math.min(want, Integer.MAX_VALUE - 8));
        }
    }

    @Override
    public synchronized void write(int one) {
        reserve(1);
        bytes[end++] = (byte) one;
    }

    @Override
    public synchronized void write(byte[] from, int offset, int length) {
        reserve(length);
        System.arraycopy(from, offset, bytes, end, length);
        end += length;
    }

    private void put(int one) {
        if (end == bytes.length) {
            reserve(1);
        }
        bytes[end++] = (byte) one;
    }

    /** Writes text that is ASCII. */
    @SuppressWarnings("deprecation") // Which is about characters that are not: there are none.
    void ascii(String text) {
        int length = text.length();
        reserve(length);
        text.getBytes(0, length, bytes, end);
        end += length;
    }

    private static final byte[] HEX = "0123456789abcdef".getBytes(StandardCharsets.US_ASCII);

    /** Writes a JSON string. */
    void quoted(CharSequence text) {
        int length = text.length();
        reserve(length + 2);
        put('"');
        for (int i = 0; i < length; i++) {
            char c = text.charAt(i);
            if (c < 0x80) {
                if (c >= 0x20 && c != '"' && c != '\\') {
                    put(c);
                } else {
                    escaped(c);
                }
            } else if (Character.isHighSurrogate(c) && i + 1 < length && Character.isLowSurrogate(text.charAt(i + 1))) {
                int point = Character.toCodePoint(c, text.charAt(++i));
                put(0xf0 | point >> 18);
                put(0x80 | point >> 12 & 0x3f);
                put(0x80 | point >> 6 & 0x3f);
                put(0x80 | point & 0x3f);
            } else if (Character.isSurrogate(c)) {
                // One alone has no form in UTF-8, only as an escape.
                hexadecimal(c);
            } else if (c < 0x800) {
                put(0xc0 | c >> 6);
                put(0x80 | c & 0x3f);
            } else {
                put(0xe0 | c >> 12);
                put(0x80 | c >> 6 & 0x3f);
                put(0x80 | c & 0x3f);
            }
        }
        put('"');
    }

    private void escaped(char c) {
        int at = "\"\\\n\r\t\b\f".indexOf(c);
        if (at < 0) {
            hexadecimal(c);
        } else {
            put('\\');
            put("\"\\nrtbf".charAt(at));
        }
    }

    private void hexadecimal(char c) {
        ascii("\\u");
        for (int shift = 12; shift >= 0; shift -= 4) {
            put(HEX[c >> shift & 15]);
        }
    }
}
