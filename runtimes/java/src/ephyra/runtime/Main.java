package ephyra.runtime;

import com.amazonaws.services.lambda.runtime.LambdaRuntimeInternal;
import ephyra.crac.Core;
import java.io.IOError;
import java.io.IOException;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.Collections;
import java.util.Map;

/** Boots without knowing any function, is told which one it is, loads it, and serves its events. */
public final class Main {
    private static final byte[] NONE = new byte[0];
    private static final String TRACE_PROPERTY = "com.amazonaws.xray.traceHeader";

    private final Control control;
    private Handler handler;
    /** Why there is no handler; told with each invocation. */
    private Fault fault;
    private byte[] lastMeta = NONE;
    private Map<?, ?> meta = Collections.emptyMap();

    private Main(Control control) {
        this.control = control;
    }

    public static void main(String[] arguments) throws Throwable {
        if (arguments.length > 0 && arguments[0].equals("rehearse")) {
            // For the archive of classes: all that a start needs is loaded, nothing is served.
            Rehearsal.run();
            return;
        }
        Log.install();
        Rehearsal.run();
        if (arguments.length > 0 && arguments[0].equals("learn")) {
            // For the archive of the function's classes: it is loaded, and nothing is served.
            load(System.getenv("_HANDLER"));
            System.exit(0);
        }
        new Main(new Control()).run();
    }

    private void run() throws Throwable {
        control.send(Control.BOOTED);
        Control.Frame frame = control.receive();
        if (frame.kind() != Control.CONFIGURE) {
            throw new IOException("the host did not say which function this is");
        }
        initialise(frame);
        control.send(Control.READY);
        while (true) {
            frame = control.receive();
            switch (frame.kind()) {
                case Control.EVENT:
                    invoke(frame);
                    break;
                case Control.RESTORE:
                    restore();
                    break;
                default:
                    throw new IOException("the host sent a frame of an unknown kind");
            }
        }
    }

    private void initialise(Control.Frame frame) throws IOException {
        try {
            Map<?, ?> configuration = (Map<?, ?>) Json.read(frame.bytes, Control.HEADER, frame.length, false);
            Object variables = configuration.get("variables");
            if (variables instanceof Map) {
                Variables.set((Map<?, ?>) variables);
            }
            Object told = configuration.get("handler");
            handler = load(told == null ? System.getenv("_HANDLER") : told.toString());
            if ("snap-start".equals(System.getenv("AWS_LAMBDA_INITIALIZATION_TYPE"))) {
                Core.getGlobalContext().beforeCheckpoint(null);
            }
        } catch (Fault found) {
            fault = found;
            if (found.isFatal) {
                fail(found);
            } else {
                Log.failure(Fault.text(found));
            }
        } catch (Throwable failure) {
            fail(Fault.cut(failure));
        }
    }

    private static Handler load(String name) throws Fault, IOException, ReflectiveOperationException {
        Log.configure(System.getenv("AWS_LAMBDA_LOG_FORMAT"), System.getenv("AWS_LAMBDA_LOG_LEVEL"));
        System.setProperty("org.crac.Core.Compat", Core.class.getPackage().getName());
        String task = System.getenv("LAMBDA_TASK_ROOT");
        if (task == null) {
            task = "/var/task";
        }
        Folder.enter(task);
        ClassLoader classes = Loader.classes(task, "/opt/java");
        Thread.currentThread().setContextClassLoader(classes);
        return Loader.load(name == null ? "" : name, classes);
    }

    /** Tells that the function cannot be initialised, and ends. */
    private void fail(Throwable failure) throws IOException {
        Log.failure(Fault.text(failure));
        control.sendFault(Control.INIT_ERROR, NONE, Fault.type(failure), Fault.document(failure));
        Runtime.getRuntime().halt(1);
    }

    /** After the function was kept for a while, initialised: its hooks run before its first event. */
    private void restore() throws IOException {
        try {
            Core.getGlobalContext().afterRestore(null);
        } catch (Throwable failure) {
            fail(Fault.cut(failure));
        }
        control.send(Control.READY);
    }

    private void invoke(Control.Frame frame) throws IOException {
        byte[] identifier = Arrays.copyOfRange(frame.bytes, Control.HEADER, Control.HEADER + Control.IDENTIFIER);
        try {
            Invocation invocation = invocation(frame, identifier);
            if (fault != null) {
                throw fault;
            }
            int payload = Control.HEADER + Control.EVENT_HEAD + frame.number(32);
            Output out = new Output();
            handler.handle(frame.bytes, payload, frame.length, invocation, out);
            control.sendAnswer(identifier, out);
            // What the function left behind must not end the next read.
            Thread.interrupted();
        } catch (Throwable failure) {
            // After these nothing can be relied on.
            boolean isFatal = failure instanceof VirtualMachineError || failure instanceof IOError;
            Fault.cut(failure);
            if (fault == null) {
                Log.failure(Fault.text(failure));
            }
            int kind = isFatal ? Control.FATAL_ERROR : Control.ERROR;
            control.sendFault(kind, identifier, Fault.type(failure), Fault.document(failure));
            if (isFatal) {
                Runtime.getRuntime().halt(1);
            }
        }
    }

    private Invocation invocation(Control.Frame frame, byte[] identifier) throws IOException {
        int from = Control.HEADER + Control.EVENT_HEAD;
        int count = frame.number(32);
        if (frame.length < from || count < 0 || count > frame.length - from) {
            throw new IOException("the host sent what is not an event");
        }
        byte[] raw = Arrays.copyOfRange(frame.bytes, from, from + count);
        if (!Arrays.equals(raw, lastMeta)) {
            meta = (Map<?, ?>) Json.read(raw, 0, raw.length, false);
            lastMeta = raw;
        }
        long deadline = frame.number(24) & 0xffffffffL | (long) frame.number(28) << 32;
        Invocation invocation = new Invocation(identifier, deadline, meta);
        Log.begin(invocation.getAwsRequestId(), invocation.getTenantId());
        if (invocation.getXrayTraceId() == null) {
            System.clearProperty(TRACE_PROPERTY);
        } else {
            System.setProperty(TRACE_PROPERTY, invocation.getXrayTraceId());
        }
        if (LambdaRuntimeInternal.getUseLog4jAppender()) {
            tellLog4j(invocation.getAwsRequestId());
        }
        return invocation;
    }

    /** Log4j's records carry the request when AWS's appender is there. */
    private static void tellLog4j(String requestId) {
        try {
            ClassLoader classes = Thread.currentThread().getContextClassLoader();
            Method put = Class.forName("org.apache.logging.log4j.ThreadContext", true, classes)
                .getMethod("put", String.class, String.class);
            put.invoke(null, "AWSRequestId", requestId);
        } catch (ReflectiveOperationException | LinkageError absent) {
            System.err.println("log4j's ThreadContext cannot be told the request: " + absent);
        }
    }
}
