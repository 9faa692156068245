import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import ephyra.crac.Core;
import ephyra.crac.Resource;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Functions for java.rs. */
public class Shapes implements RequestHandler<Map<String, Object>, Map<String, Object>> {
    private int calls;

    @Override
    public Map<String, Object> handleRequest(Map<String, Object> event, Context context) {
        context.getLogger().log("hé\nagain " + event);
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("n", ++calls);
        answer.put("event", event);
        answer.put("id", context.getAwsRequestId());
        answer.put("arn", context.getInvokedFunctionArn());
        return answer;
    }

    public Object fail(String kind) throws Exception {
        switch (kind) {
            case "throw":
                throw new IllegalStateException("bad", new IOException("deep"));
            case "stack":
                return fail(kind);
            case "exit":
                System.exit(7);
                return null;
            case "print":
                System.out.print("unfinished");
                System.err.println(" line");
                return null;
            default:
                return kind.length();
        }
    }

    public void levels(Object event, Context context) {
        context.getLogger().log("quiet", LogLevel.DEBUG);
        context.getLogger().log("loud", LogLevel.ERROR);
        System.out.println("plain");
    }

    public static class Echo implements RequestStreamHandler {
        @Override
        public void handleRequest(InputStream input, OutputStream output, Context context) throws IOException {
            byte[] part = new byte[1000];
            for (int count; (count = input.read(part)) > 0; ) {
                output.write(part, 0, count);
            }
        }
    }

    public static class Broken {
        public Broken() {
            throw new IllegalStateException("no");
        }

        public void handle() {
        }
    }

    public static class Hooked {
        private final List<String> told = new ArrayList<>();

        public Hooked() {
            Core.getGlobalContext().register(hook("first"));
            Core.getGlobalContext().register(hook("last"));
        }

        private Resource hook(String name) {
            return new Resource() {
                @Override
                public void beforeCheckpoint(ephyra.crac.Context<? extends Resource> context) {
                    told.add("before " + name);
                }

                @Override
                public void afterRestore(ephyra.crac.Context<? extends Resource> context) {
                    told.add("after " + name);
                }
            };
        }

        public List<String> handle() {
            return told;
        }
    }

    public Map<String, String> variables() throws Exception {
        Map<String, String> seen = new LinkedHashMap<>();
        seen.put("mine", System.getenv("MINE"));
        seen.put("zone", java.util.TimeZone.getDefault().getID());
        Process child = new ProcessBuilder("/bin/sh", "-c", "echo $MINE $AWS_LAMBDA_FUNCTION_NAME").start();
        byte[] said = new byte[100];
        seen.put("child", new String(said, 0, child.getInputStream().read(said), "UTF-8").trim());
        return seen;
    }
}
