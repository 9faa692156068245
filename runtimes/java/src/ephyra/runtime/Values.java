package ephyra.runtime;

import com.amazonaws.services.lambda.runtime.CustomPojoSerializer;
import java.io.ByteArrayInputStream;
import java.io.UncheckedIOException;
import java.lang.reflect.Type;

/** Events and answers of a handler that takes and gives values. */
final class Values {
    private final Type input;
    private final Type output;
    private final CustomPojoSerializer own;

    /** `input` null: the event is not looked at. `own` null: by this runtime's own rules. */
    Values(Type input, Type output, CustomPojoSerializer own) {
        this.input = input;
        this.output = output;
        this.own = own;
    }

    Object read(byte[] bytes, int from, int end) {
        if (input == null) {
            return null;
        }
        try {
            if (own != null) {
                return own.fromJson(new ByteArrayInputStream(bytes, from, end - from), input);
            }
            return Bind.read(bytes, from, end, input);
        } catch (JsonException failure) {
            throw new RuntimeException("An error occurred during JSON parsing",
                Fault.cut(new UncheckedIOException(failure)));
        } catch (Throwable failure) {
            throw new RuntimeException("An error occurred during JSON parsing", Fault.cut(failure));
        }
    }

    void write(Object value, Output out) {
        if (output == void.class || output == Void.class) {
            out.ascii("null");
            return;
        }
        try {
            if (own == null) {
                JsonWriter.write(value, out);
            } else {
                own.toJson(value, out, output);
            }
        } catch (JsonException failure) {
            throw new RuntimeException("An error occurred during JSON serialization of response",
                Fault.cut(new UncheckedIOException(failure)));
        } catch (Throwable failure) {
            throw new RuntimeException("An error occurred during JSON serialization of response", Fault.cut(failure));
        }
    }
}
