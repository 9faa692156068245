package ephyra.runtime;

import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.UnsupportedEncodingException;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;

/** Standard output and error, and the logger that writes one event for each call. */
public final class Log implements LambdaLogger {
    /** The one logger. */
    public static final Log LOGGER = new Log();

    private static final FileOutputStream OUT = new FileOutputStream(FileDescriptor.out);

    private volatile boolean isJson;
    private volatile LogLevel least = LogLevel.UNDEFINED;
    private volatile String requestId;
    private volatile String tenantId;

    private Log() {
    }

    /** Puts streams in place that write UTF-8 and keep nothing back: a line is one write. */
    static void install() {
        System.setOut(stream(OUT));
        System.setErr(stream(new FileOutputStream(FileDescriptor.err)));
    }

    private static PrintStream stream(OutputStream to) {
        try {
            return new Lines(to);
        } catch (UnsupportedEncodingException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    static void configure(String format, String level) {
        LOGGER.isJson = "JSON".equals(format);
        LOGGER.least = LOGGER.isJson ? LogLevel.fromString(level) : LogLevel.UNDEFINED;
    }

    static void begin(String requestId, String tenantId) {
        LOGGER.requestId = requestId;
        LOGGER.tenantId = tenantId;
    }

    /** Logs a failure, as an error where there are levels. */
    static void failure(String text) {
        LOGGER.log(text, LOGGER.isJson ? LogLevel.ERROR : LogLevel.UNDEFINED);
    }

    @Override
    public void log(String message) {
        log(message, LogLevel.UNDEFINED);
    }

    @Override
    public void log(byte[] message) {
        log(message, LogLevel.UNDEFINED);
    }

    @Override
    public void log(String message, LogLevel level) {
        if (!isWanted(level)) {
            return;
        }
        String text = String.valueOf(message);
        if (isJson) {
            event(record(text, level));
        } else {
            event((level == LogLevel.UNDEFINED ? text : "[" + level + "] " + text).getBytes(StandardCharsets.UTF_8));
        }
    }

    @Override
    public void log(byte[] message, LogLevel level) {
        if (isWanted(level)) {
            event(message.clone());
        }
    }

    private boolean isWanted(LogLevel level) {
        return level == LogLevel.UNDEFINED || level.compareTo(least) >= 0;
    }

    private byte[] record(String message, LogLevel level) {
        Output record = new Output();
        record.ascii("{\"timestamp\":");
        record.quoted(DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'")
            .format(Instant.now().atOffset(ZoneOffset.UTC)));
        record.ascii(",\"message\":");
        record.quoted(message);
        record.ascii(",\"level\":");
        record.quoted(level.name());
        String id = requestId;
        if (id != null) {
            record.ascii(",\"AWSRequestId\":");
            record.quoted(id);
        }
        String tenant = tenantId;
        if (tenant != null) {
            record.ascii(",\"tenantId\":");
            record.quoted(tenant);
        }
        record.write('}');
        return record.written();
    }

    /** Writes one event: a line, in which line feeds become carriage returns, which the host turns back. */
    private static void event(byte[] text) {
        int length = text.length > 0 && text[text.length - 1] == '\n' ? text.length - 1 : text.length;
        byte[] line = new byte[length + 1];
        for (int i = 0; i < length; i++) {
            line[i] = text[i] == '\n' ? (byte) '\r' : text[i];
        }
        line[length] = '\n';
        try {
            OUT.write(line);
        } catch (IOException closed) {
            // The function has closed its standard output: there is nowhere to say it.
            return;
        }
    }

    /** A print stream whose lines go out in one write. */
    private static final class Lines extends PrintStream {
        Lines(OutputStream out) throws UnsupportedEncodingException {
            super(out, false, "UTF-8");
        }

        @Override
        public void println(String text) {
            print(text + "\n");
        }

        @Override
        public void println(Object value) {
            print(value + "\n");
        }

        @Override
        public void println(int value) {
            print(value + "\n");
        }

        @Override
        public void println(long value) {
            print(value + "\n");
        }
    }
}
