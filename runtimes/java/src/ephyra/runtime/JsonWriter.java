package ephyra.runtime;

import java.lang.reflect.Array;
import java.lang.reflect.InvocationTargetException;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.util.Base64;
import java.util.Calendar;
import java.util.Iterator;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.TimeZone;
import java.util.concurrent.atomic.AtomicBoolean;

/** Writes values as JSON: what is null has no member. */
final class JsonWriter {
    /** Deeper values are refused, and with them those that hold themselves. */
    private static final int DEPTH = 1000;

    private final Output out;

    private JsonWriter(Output out) {
        this.out = out;
    }

    static void write(Object value, Output out) throws JsonException {
        new JsonWriter(out).value(value, null, 0);
    }

    private void value(Object value, Class<?> owner, int depth) throws JsonException {
        if (depth > DEPTH) {
            throw new JsonException("Document nesting depth exceeds the maximum allowed (" + DEPTH
                + "): does it hold itself?");
        }
        if (value == null) {
            out.ascii("null");
        } else if (value instanceof CharSequence) {
            out.quoted((CharSequence) value);
        } else if (value instanceof Number) {
            number((Number) value);
        } else if (value instanceof Boolean || value instanceof AtomicBoolean) {
            out.ascii(value.toString());
        } else if (value instanceof Map) {
            map((Map<?, ?>) value, owner, depth);
        } else if (value instanceof Iterable && !(value instanceof java.nio.file.Path)) {
            items(((Iterable<?>) value).iterator(), owner, depth);
        } else if (value instanceof Iterator) {
            items((Iterator<?>) value, owner, depth);
        } else if (value instanceof Enum) {
            out.quoted(((Enum<?>) value).name());
        } else if (Times.isTime(value.getClass()) || value instanceof java.time.ZoneId) {
            value(Times.written(value, owner != null && EventNames.hasSeconds(owner)), owner, depth + 1);
        } else if (!other(value, owner, depth)) {
            bean(value, depth);
        }
    }

    /** Values that are neither common nor beans; false when `value` is one. */
    private boolean other(Object value, Class<?> owner, int depth) throws JsonException {
        if (value instanceof Optional) {
            value(((Optional<?>) value).orElse(null), owner, depth + 1);
        } else if (value instanceof byte[]) {
            out.quoted(Base64.getEncoder().encodeToString((byte[]) value));
        } else if (value instanceof char[]) {
            out.quoted(new String((char[]) value));
        } else if (value instanceof ByteBuffer) {
            ByteBuffer copy = ((ByteBuffer) value).duplicate();
            byte[] bytes = new byte[copy.remaining()];
            copy.get(bytes);
            out.quoted(Base64.getEncoder().encodeToString(bytes));
        } else if (value.getClass().isArray()) {
            array(value, owner, depth);
        } else if (value instanceof OptionalInt) {
            value(((OptionalInt) value).isPresent() ? ((OptionalInt) value).getAsInt() : null, owner, depth + 1);
        } else if (value instanceof OptionalLong) {
            value(((OptionalLong) value).isPresent() ? ((OptionalLong) value).getAsLong() : null, owner, depth + 1);
        } else if (value instanceof OptionalDouble) {
            value(((OptionalDouble) value).isPresent() ? ((OptionalDouble) value).getAsDouble() : null, owner, depth + 1);
        } else if (value instanceof Calendar) {
            value(((Calendar) value).getTimeInMillis(), owner, depth + 1);
        } else if (value instanceof TimeZone) {
            out.quoted(((TimeZone) value).getID());
        } else if (value instanceof Class) {
            out.quoted(((Class<?>) value).getName());
        } else if (value instanceof Character || value instanceof Locale || isText(value.getClass().getName())) {
            out.quoted(value.toString());
        } else {
            return false;
        }
        return true;
    }

    private static boolean isText(String type) {
        return type.equals("java.util.UUID") || type.equals("java.util.Currency") || type.equals("java.io.File")
            || type.equals("java.net.URI") || type.equals("java.net.URL") || type.endsWith("Path")
            && type.startsWith("sun.nio.fs.");
    }

    private void number(Number number) {
        if (number instanceof Double && !isFinite((Double) number) || number instanceof Float && !isFinite((Float) number)) {
            out.quoted(number.toString());
        } else if (number instanceof Integer || number instanceof Long || number instanceof Double
            || number instanceof BigDecimal || number instanceof BigInteger || number instanceof Float
            || number.getClass().getName().startsWith("java.")) {
            out.ascii(number.toString());
        } else {
            // What a function calls a number may write anything.
            value(number.doubleValue());
        }
    }

    private void value(double number) {
        if (isFinite(number)) {
            out.ascii(Double.toString(number));
        } else {
            out.quoted(Double.toString(number));
        }
    }

    private static boolean isFinite(double number) {
        return !Double.isNaN(number) && !Double.isInfinite(number);
    }

    private void map(Map<?, ?> map, Class<?> owner, int depth) throws JsonException {
        out.write('{');
        boolean isFirst = true;
        for (Map.Entry<?, ?> entry : map.entrySet()) {
            if (entry.getValue() == null) {
                continue;
            }
            if (!isFirst) {
                out.write(',');
            }
            isFirst = false;
            Object key = entry.getKey();
            if (key == null) {
                throw new JsonException("Null key for a Map not allowed in JSON");
            }
            out.quoted(key instanceof Enum ? ((Enum<?>) key).name() : key.toString());
            out.write(':');
            value(entry.getValue(), owner, depth + 1);
        }
        out.write('}');
    }

    private void items(Iterator<?> items, Class<?> owner, int depth) throws JsonException {
        out.write('[');
        for (boolean isFirst = true; items.hasNext(); isFirst = false) {
            if (!isFirst) {
                out.write(',');
            }
            value(items.next(), owner, depth + 1);
        }
        out.write(']');
    }

    private void array(Object array, Class<?> owner, int depth) throws JsonException {
        out.write('[');
        for (int i = 0; i < Array.getLength(array); i++) {
            if (i > 0) {
                out.write(',');
            }
            value(Array.get(array, i), owner, depth + 1);
        }
        out.write(']');
    }

    private void bean(Object value, int depth) throws JsonException {
        Bean bean = Bean.of(value.getClass());
        out.write('{');
        boolean isFirst = true;
        for (Bean.Property property : bean.properties.values()) {
            if (!property.isRead()) {
                continue;
            }
            Object member;
            try {
                member = property.get(value);
            } catch (InvocationTargetException failure) {
                throw new JsonException(failure.getCause() + " (through " + bean.type.getName() + "[\"" + property.name
                    + "\"])", failure.getCause());
            } catch (ReflectiveOperationException failure) {
                throw new JsonException(failure.getMessage(), failure);
            }
            if (member == null) {
                continue;
            }
            if (!isFirst) {
                out.write(',');
            }
            isFirst = false;
            out.quoted(property.name);
            out.write(':');
            value(member, bean.type, depth + 1);
        }
        out.write('}');
    }
}
