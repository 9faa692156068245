package e2e;

import com.amazonaws.services.lambda.runtime.CustomPojoSerializer;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.lang.reflect.Type;

/** A serializer of the function's own, for packages that name it. */
public class Own implements CustomPojoSerializer {
    private final ObjectMapper mapper = new ObjectMapper();

    @Override
    public <T> T fromJson(InputStream input, Type type) {
        try {
            return mapper.readValue(input, mapper.constructType(type));
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    @Override
    public <T> T fromJson(String input, Type type) {
        try {
            return mapper.readValue(input, mapper.constructType(type));
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    @Override
    public <T> void toJson(T value, OutputStream output, Type type) {
        try {
            output.write("{\"own\":".getBytes());
            output.write(mapper.writeValueAsBytes(value));
            output.write('}');
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }
}
