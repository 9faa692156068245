package ephyra.runtime;

import java.lang.reflect.InvocationTargetException;
import java.math.BigDecimal;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.time.YearMonth;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;

/** Dates and times from and to JSON: java.util.Date, java.time and Joda's DateTime. */
final class Times {
    private static final String JODA = "org.joda.time.DateTime";

    private Times() {
    }

    static boolean isTime(Class<?> type) {
        return type == Date.class || type.getName().startsWith("java.time.") || type.getName().equals(JODA);
    }

    /** `isSeconds`: a Date that is a number counts seconds, not milliseconds. */
    static Object read(Object value, Class<?> type, boolean isSeconds) throws JsonException {
        if (value instanceof String && ((String) value).isEmpty()) {
            return null;
        }
        try {
            if (type == Date.class) {
                return date(value, isSeconds);
            }
            if (value instanceof Number && type != LocalDate.class) {
                return counted(new BigDecimal(value.toString()), type);
            }
            if (value instanceof List) {
                return listed((List<?>) value, type);
            }
            if (type == ZoneId.class) {
                return ZoneId.of((String) value);
            }
            if (type == ZoneOffset.class) {
                return ZoneOffset.of((String) value);
            }
            Class<?> text = type.getName().equals(JODA) ? String.class : CharSequence.class;
            return type.getMethod("parse", text).invoke(null, value);
        } catch (InvocationTargetException failure) {
            throw unfit(value, type, failure.getCause());
        } catch (ReflectiveOperationException | ArithmeticException | ClassCastException | DateTimeException failure) {
            throw unfit(value, type, failure);
        }
    }

    private static JsonException unfit(Object value, Class<?> type, Throwable cause) {
        return new JsonException(
            "Cannot deserialize value of type `" + type.getName() + "` from \"" + value + "\"", cause);
    }

    private static Object date(Object value, boolean isSeconds) throws JsonException {
        if (value instanceof Number) {
            if (!isSeconds) {
                return new Date(((Number) value).longValue());
            }
            double seconds = ((Number) value).doubleValue();
            return seconds == 0 ? null : new Date((long) (seconds * 1000));
        }
        // A zone may be written without its colon.
        String text = String.valueOf(value).replaceFirst("([+-]\\d\\d)(\\d\\d)$", "$1:$2");
        try {
            return Date.from(Instant.from(DateTimeFormatter.ISO_OFFSET_DATE_TIME.parse(text)));
        } catch (DateTimeException notWhole) {
            try {
                return Date.from(LocalDate.parse(text).atStartOfDay(ZoneOffset.UTC).toInstant());
            } catch (DateTimeException neither) {
                throw unfit(value, Date.class, neither);
            }
        }
    }

    private static Object counted(BigDecimal number, Class<?> type) throws ReflectiveOperationException {
        if (type.getName().equals(JODA)) {
            return type.getConstructor(long.class).newInstance(number.longValue());
        }
        if (type == java.time.Year.class) {
            return java.time.Year.of(number.intValueExact());
        }
        BigDecimal whole = number.setScale(0, java.math.RoundingMode.FLOOR);
        long seconds = whole.longValueExact();
        int nanos = number.subtract(whole).movePointRight(9).intValue();
        if (type == Duration.class) {
            return Duration.ofSeconds(seconds, nanos);
        }
        Instant instant = Instant.ofEpochSecond(seconds, nanos);
        if (type == Instant.class) {
            return instant;
        }
        if (type == OffsetDateTime.class) {
            return instant.atOffset(ZoneOffset.UTC);
        }
        if (type == ZonedDateTime.class) {
            return instant.atZone(ZoneOffset.UTC);
        }
        throw new DateTimeException("a number is no " + type.getSimpleName());
    }

    private static Object listed(List<?> parts, Class<?> type) {
        int[] numbers = new int[7];
        numbers[1] = 1;
        numbers[2] = 1;
        for (int i = 0; i < parts.size() && i < numbers.length; i++) {
            numbers[i] = ((Number) parts.get(i)).intValue();
        }
        if (type == LocalDate.class) {
            return LocalDate.of(numbers[0], numbers[1], numbers[2]);
        }
        if (type == YearMonth.class) {
            return YearMonth.of(numbers[0], numbers[1]);
        }
        if (type == LocalDateTime.class) {
            return LocalDateTime.of(
                numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6]);
        }
        if (type == LocalTime.class) {
            return LocalTime.of(
                numbers[0], parts.size() > 1 ? numbers[1] : 0, parts.size() > 2 ? numbers[2] : 0, numbers[3]);
        }
        throw new DateTimeException("a list is no " + type.getSimpleName());
    }

    /** What a time is in JSON: a number, a list of numbers or a string. */
    static Object written(Object time, boolean isSeconds) {
        if (time instanceof Date) {
            long millis = ((Date) time).getTime();
            if (isSeconds) {
                return millis / 1000.0;
            }
            return millis;
        }
        if (time instanceof OffsetDateTime) {
            return written(((OffsetDateTime) time).toInstant(), false);
        }
        if (time instanceof ZonedDateTime) {
            return written(((ZonedDateTime) time).toInstant(), false);
        }
        if (time instanceof Instant) {
            return seconds(((Instant) time).getEpochSecond(), ((Instant) time).getNano());
        }
        if (time instanceof Duration) {
            return seconds(((Duration) time).getSeconds(), ((Duration) time).getNano());
        }
        if (time instanceof java.time.Year) {
            return ((java.time.Year) time).getValue();
        }
        List<Integer> parts = new ArrayList<>();
        if (time instanceof LocalDate) {
            addDate(parts, (LocalDate) time);
        } else if (time instanceof LocalDateTime) {
            addDate(parts, ((LocalDateTime) time).toLocalDate());
            addTime(parts, ((LocalDateTime) time).toLocalTime());
        } else if (time instanceof LocalTime) {
            addTime(parts, (LocalTime) time);
        } else if (time instanceof YearMonth) {
            parts.add(((YearMonth) time).getYear());
            parts.add(((YearMonth) time).getMonthValue());
        } else {
            return time.toString();
        }
        return parts;
    }

    private static BigDecimal seconds(long seconds, int nanos) {
        return BigDecimal.valueOf(seconds).add(BigDecimal.valueOf(nanos, 9));
    }

    private static void addDate(List<Integer> parts, LocalDate date) {
        parts.add(date.getYear());
        parts.add(date.getMonthValue());
        parts.add(date.getDayOfMonth());
    }

    private static void addTime(List<Integer> parts, LocalTime time) {
        parts.add(time.getHour());
        parts.add(time.getMinute());
        if (time.getSecond() > 0 || time.getNano() > 0) {
            parts.add(time.getSecond());
            if (time.getNano() > 0) {
                parts.add(time.getNano());
            }
        }
    }
}
