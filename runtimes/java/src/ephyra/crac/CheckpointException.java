package ephyra.crac;

/** Resources that failed before a checkpoint are suppressed in this. */
public class CheckpointException extends Exception {
    private static final long serialVersionUID = 1;

    public CheckpointException() {
    }

    public CheckpointException(String message) {
        super(message);
    }
}
