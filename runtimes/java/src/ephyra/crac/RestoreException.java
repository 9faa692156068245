package ephyra.crac;

/** Resources that failed after a restore are suppressed in this. */
public class RestoreException extends Exception {
    private static final long serialVersionUID = 1;

    public RestoreException() {
    }

    public RestoreException(String message) {
        super(message);
    }
}
