package ephyra.runtime;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.MalformedURLException;
import java.net.URI;
import java.net.URL;
import java.util.Arrays;
import java.util.Currency;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TimeZone;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;

/** Types whose values are a string, a number or a boolean in JSON. */
final class Scalars {
    /** The most digits of a whole number. */
    private static final int DIGITS = 1000;

    private static final Set<Class<?>> KNOWN = new HashSet<>(Arrays.<Class<?>>asList(
        String.class, CharSequence.class, StringBuilder.class, byte.class, Byte.class, short.class, Short.class,
        int.class, Integer.class, long.class, Long.class, float.class, Float.class, double.class, Double.class,
        boolean.class, Boolean.class, char.class, Character.class, BigInteger.class, BigDecimal.class, Number.class,
        AtomicInteger.class, AtomicLong.class, AtomicBoolean.class, UUID.class, URI.class, URL.class, Locale.class,
        TimeZone.class, Currency.class));

    private Scalars() {
    }

    static boolean isScalar(Class<?> type) {
        return KNOWN.contains(type) || type.isEnum();
    }

    /** `value` is a String, a Number or a Boolean. No lambdas: the first one in a process costs milliseconds. */
    private static Object convert(Object value, Class<?> type) {
        switch (type.getSimpleName()) {
            case "String":
            case "CharSequence":
                return text(value);
            case "StringBuilder":
                return new StringBuilder(text(value));
            case "byte":
            case "Byte":
                return (byte) whole(value, Byte.MIN_VALUE, 255);
            case "short":
            case "Short":
                return (short) whole(value, Short.MIN_VALUE, Short.MAX_VALUE);
            case "int":
            case "Integer":
                return (int) whole(value, Integer.MIN_VALUE, Integer.MAX_VALUE);
            case "long":
            case "Long":
                return whole(value, Long.MIN_VALUE, Long.MAX_VALUE);
            case "float":
            case "Float":
                return decimal(value).floatValue();
            case "double":
            case "Double":
                return decimal(value);
            case "boolean":
            case "Boolean":
                return truth(value);
            case "char":
            case "Character":
                return character(value);
            case "BigInteger":
                return integer(value);
            case "BigDecimal":
                return exact(value);
            case "Number":
                return number(value);
            case "AtomicInteger":
                return new AtomicInteger((int) whole(value, Integer.MIN_VALUE, Integer.MAX_VALUE));
            case "AtomicLong":
                return new AtomicLong(whole(value, Long.MIN_VALUE, Long.MAX_VALUE));
            case "AtomicBoolean":
                return new AtomicBoolean((Boolean) truth(value));
            case "UUID":
                return UUID.fromString(text(value));
            case "URI":
                return URI.create(text(value));
            case "URL":
                return url(value);
            case "Currency":
                return Currency.getInstance(text(value));
            case "Locale":
                return Locale.forLanguageTag(text(value).replace('_', '-'));
            default:
                return TimeZone.getTimeZone(text(value));
        }
    }

    static Object zero(Class<?> primitive) {
        if (primitive == boolean.class) {
            return false;
        }
        return primitive == char.class ? (Object) '\0' : convert(0, primitive);
    }

    static Object read(Object value, Class<?> type) throws JsonException {
        if (value instanceof Map || value instanceof List) {
            throw unfit(value, type);
        }
        if (value.equals("") && type != String.class && type != CharSequence.class && type != StringBuilder.class) {
            return type.isPrimitive() ? zero(type) : null;
        }
        try {
            return type.isEnum() ? constant(value, type) : convert(value, type);
        } catch (IllegalArgumentException | ArithmeticException notOne) {
            String shown = value instanceof String ? "String \"" + value + "\"" : String.valueOf(value);
            throw new JsonException("Cannot deserialize value of type `" + type.getName() + "` from " + shown
                + ": not a valid `" + type.getName() + "` value", notOne);
        }
    }

    /** What is said of a value that is of another kind than it has to be. */
    static JsonException unfit(Object tree, Class<?> type) {
        String kind = tree instanceof Map ? "Object value (token `JsonToken.START_OBJECT`)"
            : tree instanceof List ? "Array value (token `JsonToken.START_ARRAY`)"
            : tree instanceof String ? "String value ('" + tree + "')"
            : tree instanceof Boolean ? "Boolean value (" + tree + ")" : "number value (" + tree + ")";
        return new JsonException("Cannot deserialize value of type `" + type.getTypeName() + "` from " + kind);
    }

    /** The constant of that name or place; null when there is none. */
    private static Object constant(Object value, Class<?> type) {
        Object[] constants = type.getEnumConstants();
        if (value instanceof Integer) {
            int place = (Integer) value;
            return place >= 0 && place < constants.length ? constants[place] : null;
        }
        for (Object constant : constants) {
            if (((Enum<?>) constant).name().equals(value)) {
                return constant;
            }
        }
        return null;
    }

    private static String text(Object value) {
        return String.valueOf(value);
    }

    private static BigDecimal exact(Object value) {
        if (value instanceof BigDecimal) {
            return (BigDecimal) value;
        }
        if (value instanceof Boolean) {
            throw new NumberFormatException("a boolean is no number");
        }
        return new BigDecimal(text(value).trim());
    }

    /** Digits after the point are cut off; one with a huge exponent would have as many digits. */
    private static BigInteger integer(Object value) {
        BigDecimal exact = exact(value);
        if (exact.precision() - (long) exact.scale() > DIGITS) {
            throw new ArithmeticException("it is out of range");
        }
        return exact.toBigInteger();
    }

    private static long whole(Object value, long least, long most) {
        long number;
        if (value instanceof Integer || value instanceof Long) {
            number = ((Number) value).longValue();
        } else {
            number = integer(value).longValueExact();
        }
        if (number < least || number > most) {
            throw new ArithmeticException("it is out of range");
        }
        return number;
    }

    private static Double decimal(Object value) {
        if (value instanceof Boolean) {
            throw new NumberFormatException("a boolean is no number");
        }
        return value instanceof Number ? ((Number) value).doubleValue() : Double.valueOf(text(value).trim());
    }

    private static Object number(Object value) {
        return value instanceof BigDecimal ? ((BigDecimal) value).doubleValue()
            : value instanceof Number ? value : exact(value);
    }

    private static Object truth(Object value) {
        if (value instanceof Boolean) {
            return value;
        }
        if (value instanceof Integer) {
            return (Integer) value != 0;
        }
        String text = text(value).trim();
        if (text.equals("true") || text.equals("True") || text.equals("TRUE")) {
            return true;
        }
        if (text.equals("false") || text.equals("False") || text.equals("FALSE")) {
            return false;
        }
        throw new IllegalArgumentException("only \"true\" or \"false\" recognized");
    }

    private static Object character(Object value) {
        if (value instanceof Integer) {
            return (char) whole(value, 0, Character.MAX_VALUE);
        }
        String text = text(value);
        if (text.length() != 1) {
            throw new IllegalArgumentException("it is not one character");
        }
        return text.charAt(0);
    }

    private static Object url(Object value) {
        try {
            return new URL(text(value));
        } catch (MalformedURLException malformed) {
            throw new IllegalArgumentException(malformed);
        }
    }
}
