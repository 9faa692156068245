package e2e;

import com.amazonaws.services.lambda.runtime.Context;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;

/** Failures of every kind. */
public class Errors {
    public static class Custom extends Exception {
        public Custom(String message, Throwable cause) {
            super(message, cause);
        }
    }

    public Object fail(String kind, Context context) throws Exception {
        switch (kind) {
            case "custom":
                throw new Custom("it failed", new IllegalStateException("why"));
            case "silent":
                throw new IllegalArgumentException();
            case "cyclic":
                Exception cyclic = new Exception("a");
                cyclic.initCause(new Exception("b", cyclic));
                throw cyclic;
            case "stack":
                return deeper(0);
            case "memory":
                List<byte[]> all = new ArrayList<>();
                while (true) {
                    all.add(new byte[1 << 20]);
                }
            case "exit":
                System.exit(3);
                return null;
            case "halt":
                Runtime.getRuntime().halt(0);
                return null;
            case "sleep":
                Thread.sleep(60_000);
                return null;
            case "spin":
                while (true) {
                    kind.hashCode();
                }
            case "answer":
                return (Callable<Object>) Thread::new;
            case "cycle":
                List<Object> itself = new ArrayList<>();
                itself.add(itself);
                return itself;
            case "getter":
                return new Object() {
                    public String getName() {
                        throw new IllegalStateException("no name");
                    }
                };
            case "thread":
                Thread thread = new Thread(() -> {
                    throw new IllegalStateException("in a thread");
                });
                thread.start();
                thread.join();
                return "went on";
            case "interrupt":
                Thread.currentThread().interrupt();
                return "interrupted";
            default:
                return Map.of("kind", kind);
        }
    }

    private int deeper(int level) {
        return deeper(level + 1) + 1;
    }

    public static class BadConstructor {
        public BadConstructor() {
            throw new IllegalStateException("cannot be made");
        }

        public String handle() {
            return "never";
        }
    }

    public static class BadClass {
        static final int NUMBER = Integer.parseInt("none");

        public String handle() {
            return "never";
        }
    }

    public static class NoConstructor {
        public NoConstructor(String needed) {
        }

        public String handle() {
            return "never";
        }
    }

    public class Inner {
        public String handle() {
            return "never";
        }
    }

    @SuppressWarnings("rawtypes")
    public static class Raw implements com.amazonaws.services.lambda.runtime.RequestHandler {
        @Override
        public Object handleRequest(Object input, Context context) {
            return input;
        }
    }
}
