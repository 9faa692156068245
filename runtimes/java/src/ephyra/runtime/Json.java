package ephyra.runtime;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads JSON into maps, lists, strings, numbers, booleans and null. Whole numbers become the smallest of Integer, Long
 * and BigInteger; others Double, or {@link BigDecimal} where the reader asks for their exact digits.
 */
final class Json {
    /** Deeper documents are refused: they are read by recursion. */
    private static final int DEPTH = 1000;
    /** Longer numbers are refused: big ones take more time to read than their length. */
    private static final int NUMBER = 1000;

    private final byte[] bytes;
    private final int end;
    private final boolean exact;
    private int at;

    private Json(byte[] bytes, int from, int end, boolean exact) {
        this.bytes = bytes;
        this.end = end;
        this.exact = exact;
        at = from;
    }

    static Object read(byte[] bytes, int from, int end, boolean exact) throws JsonException {
        Json json = new Json(bytes, from, end, exact);
        Object value = json.value(0);
        if (json.next() >= 0) {
            throw json.unexpected();
        }
        return value;
    }

    static Object read(String text) throws JsonException {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        return read(bytes, 0, bytes.length, false);
    }

    private JsonException unexpected() {
        if (at >= end) {
            return new JsonException("Unexpected end-of-input");
        }
        int c = bytes[at] & 255;
        String shown = c >= 0x20 && c < 0x7f ? "'" + (char) c + "' (code " + c + ")" : "code " + c;
        return new JsonException("Unexpected character (" + shown + ") at offset " + at);
    }

    /** The next byte that is not white space, which stays; -1 at the end. */
    private int next() {
        while (at < end) {
            byte c = bytes[at];
            if (c != ' ' && c != '\n' && c != '\r' && c != '\t') {
                return c & 255;
            }
            at++;
        }
        return -1;
    }

    private Object value(int depth) throws JsonException {
        if (depth > DEPTH) {
            throw new JsonException("Document nesting depth exceeds the maximum allowed (" + DEPTH + ")");
        }
        switch (next()) {
            case '{':
                return object(depth);
            case '[':
                return array(depth);
            case '"':
                return string();
            case 't':
                return word("true", Boolean.TRUE);
            case 'f':
                return word("false", Boolean.FALSE);
            case 'n':
                return word("null", null);
            default:
                return number();
        }
    }

    private Object word(String word, Object value) throws JsonException {
        for (int i = 0; i < word.length(); i++, at++) {
            if (at >= end || bytes[at] != word.charAt(i)) {
                throw unexpected();
            }
        }
        return value;
    }

    private Map<String, Object> object(int depth) throws JsonException {
        Map<String, Object> members = new LinkedHashMap<>();
        at++;
        if (next() == '}') {
            at++;
            return members;
        }
        while (true) {
            if (next() != '"') {
                throw unexpected();
            }
            String name = string();
            if (next() != ':') {
                throw unexpected();
            }
            at++;
            members.put(name, value(depth + 1));
            int c = next();
            if (c != ',' && c != '}') {
                throw unexpected();
            }
            at++;
            if (c == '}') {
                return members;
            }
        }
    }

    private List<Object> array(int depth) throws JsonException {
        List<Object> items = new ArrayList<>();
        at++;
        if (next() == ']') {
            at++;
            return items;
        }
        while (true) {
            items.add(value(depth + 1));
            int c = next();
            if (c != ',' && c != ']') {
                throw unexpected();
            }
            at++;
            if (c == ']') {
                return items;
            }
        }
    }

    private String string() throws JsonException {
        int from = ++at;
        while (at < end) {
            byte c = bytes[at];
            if (c == '"') {
                return new String(bytes, from, at++ - from, StandardCharsets.UTF_8);
            }
            if (c == '\\') {
                return escapedString(from);
            }
            if (c >= 0 && c < 0x20) {
                throw unexpected();
            }
            at++;
        }
        throw unexpected();
    }

    private String escapedString(int from) throws JsonException {
        StringBuilder text = new StringBuilder();
        int plain = from;
        while (at < end) {
            byte c = bytes[at];
            if (c == '"') {
                text.append(new String(bytes, plain, at++ - plain, StandardCharsets.UTF_8));
                return text.toString();
            }
            if (c == '\\') {
                text.append(new String(bytes, plain, at - plain, StandardCharsets.UTF_8));
                at++;
                text.append(escape());
                plain = at;
            } else if (c >= 0 && c < 0x20) {
                throw unexpected();
            } else {
                at++;
            }
        }
        throw unexpected();
    }

    private char escape() throws JsonException {
        if (at >= end) {
            throw unexpected();
        }
        if (bytes[at] != 'u') {
            int which = "\"\\/bfnrt".indexOf(bytes[at]);
            if (which < 0) {
                throw unexpected();
            }
            at++;
            return "\"\\/\b\f\n\r\t".charAt(which);
        }
        at++;
        int code = 0;
        for (int i = 0; i < 4; i++, at++) {
            int digit = at < end ? Character.digit(bytes[at], 16) : -1;
            if (digit < 0) {
                throw unexpected();
            }
            code = code << 4 | digit;
        }
        return (char) code;
    }

    private Number number() throws JsonException {
        int from = at;
        if (at < end && bytes[at] == '-') {
            at++;
        }
        boolean leadsWithZero = at < end && bytes[at] == '0';
        int whole = digits();
        if (whole == 0 || leadsWithZero && whole > 1) {
            throw unexpected();
        }
        boolean isWhole = true;
        if (at < end && bytes[at] == '.') {
            at++;
            isWhole = false;
            if (digits() == 0) {
                throw unexpected();
            }
        }
        if (at < end && (bytes[at] | 0x20) == 'e') {
            at++;
            isWhole = false;
            if (at < end && (bytes[at] == '+' || bytes[at] == '-')) {
                at++;
            }
            if (digits() == 0) {
                throw unexpected();
            }
        }
        if (at - from > NUMBER) {
            throw new JsonException("Number length exceeds the maximum allowed (" + NUMBER + ")");
        }
        String text = new String(bytes, from, at - from, StandardCharsets.ISO_8859_1);
        try {
            if (!isWhole) {
                // Not by a condition, which would make both of one type.
                if (exact) {
                    return new BigDecimal(text);
                }
                return Double.valueOf(text);
            }
            if (whole > 18) {
                BigInteger big = new BigInteger(text);
                if (big.bitLength() > 63) {
                    return big;
                }
                return big.longValue();
            }
            long value = Long.parseLong(text);
            if (value == (int) value) {
                return (int) value;
            }
            return value;
        } catch (NumberFormatException tooMuch) {
            throw new JsonException("Not a number that can be represented: " + text, tooMuch);
        }
    }

    private int digits() {
        int from = at;
        while (at < end && bytes[at] >= '0' && bytes[at] <= '9') {
            at++;
        }
        return at - from;
    }
}
