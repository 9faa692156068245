package ephyra.runtime;

import java.io.IOException;

/** JSON that is not well formed, or does not fit where it is wanted. */
final class JsonException extends IOException {
    private static final long serialVersionUID = 1;

    JsonException(String message) {
        super(message);
    }

    JsonException(String message, Throwable cause) {
        super(message, cause);
    }
}
