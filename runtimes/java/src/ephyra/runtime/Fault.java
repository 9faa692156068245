package ephyra.runtime;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.Set;

/** A failure that the runtime itself found, or one that it tells without its stack, as Lambda does. */
final class Fault extends Exception {
    private static final long serialVersionUID = 1;
    private static final String OURS = Fault.class.getName().substring(0, Fault.class.getName().lastIndexOf('.') + 1);
    /** The most causes that are told, and the most frames of each. */
    private static final int CAUSES = 16;
    private static final int FRAMES = 1024;

    /** The class of the failure; null when it is none of Java's. */
    private final String type;
    /** Whether the function cannot be used at all, so that its initialisation fails. */
    final boolean isFatal;

    private Fault(String message, String type, Throwable cause, boolean isFatal) {
        super(message, cause);
        this.type = type;
        this.isFatal = isFatal;
    }

    /** A fault in how the function was made. */
    static Fault of(String message) {
        return new Fault(message, null, null, false);
    }

    static Fault of(Throwable failure, boolean isFatal) {
        return new Fault(message(failure), failure.getClass().getName(), failure, isFatal);
    }

    static Fault of(String message, Throwable failure, boolean isFatal) {
        return new Fault(message, failure.getClass().getName(), failure, isFatal);
    }

    private static String message(Throwable failure) {
        String message = failure.getLocalizedMessage();
        return message == null ? failure.getClass().getName() : message;
    }

    /** The type that is told beside the document. */
    static String type(Throwable failure) {
        if (!(failure instanceof Fault)) {
            return failure.getClass().getName();
        }
        String type = ((Fault) failure).type;
        return type == null ? "Runtime.BadFunctionCode" : type;
    }

    /** The JSON document about a failure. */
    static byte[] document(Throwable failure) {
        Output out = new Output();
        if (failure instanceof Fault) {
            out.ascii("{\"errorMessage\":");
            out.quoted(failure.getMessage());
            if (((Fault) failure).type != null) {
                out.ascii(",\"errorType\":");
                out.quoted(((Fault) failure).type);
            }
            out.write('}');
        } else {
            document(failure, out, Collections.newSetFromMap(new IdentityHashMap<Throwable, Boolean>()));
        }
        return out.written();
    }

    private static void document(Throwable failure, Output out, Set<Throwable> told) {
        told.add(failure);
        out.ascii("{\"errorMessage\":");
        out.quoted(message(failure));
        out.ascii(",\"errorType\":");
        out.quoted(failure.getClass().getName());
        out.ascii(",\"stackTrace\":[");
        StackTraceElement[] frames = failure.getStackTrace();
        for (int i = 0; i < frames.length && i < FRAMES; i++) {
            if (i > 0) {
                out.write(',');
            }
            out.quoted(frames[i].toString());
        }
        out.write(']');
        Throwable cause = failure.getCause();
        if (cause != null && !told.contains(cause) && told.size() < CAUSES) {
            out.ascii(",\"cause\":");
            document(cause, out, told);
        }
        out.write('}');
    }

    /** What is logged about a failure. */
    static String text(Throwable failure) {
        if (!(failure instanceof Fault)) {
            return message(failure) + ": " + failure.getClass().getName() + "\n" + trace(failure) + "\n";
        }
        Throwable cause = failure.getCause();
        return cause == null ? failure.getMessage() + "\n"
            : failure.getMessage() + ": " + ((Fault) failure).type + "\n" + trace(cause) + "\n";
    }

    private static String trace(Throwable failure) {
        StringWriter text = new StringWriter();
        failure.printStackTrace(new PrintWriter(text));
        return text.toString();
    }

    /** Takes the runtime's own frames away from a failure and all that it holds. */
    static <T extends Throwable> T cut(T failure) {
        cut(failure, Collections.newSetFromMap(new IdentityHashMap<Throwable, Boolean>()));
        return failure;
    }

    private static void cut(Throwable failure, Set<Throwable> seen) {
        if (failure == null || seen.size() > FRAMES || !seen.add(failure)) {
            return;
        }
        StackTraceElement[] frames = failure.getStackTrace();
        for (int i = 0; i < frames.length; i++) {
            if (frames[i].getClassName().startsWith(OURS)) {
                failure.setStackTrace(java.util.Arrays.copyOf(frames, i));
                break;
            }
        }
        cut(failure.getCause(), seen);
        for (Throwable suppressed : failure.getSuppressed()) {
            cut(suppressed, seen);
        }
    }
}
