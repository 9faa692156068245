package e2e;

import com.amazonaws.services.lambda.runtime.ClientContext;
import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.io.File;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TimeZone;

/** What a function sees of its invocation and its surroundings. */
public class Seen implements RequestHandler<Map<String, Object>, Map<String, Object>> {
    @Override
    public Map<String, Object> handleRequest(Map<String, Object> event, Context context) {
        Map<String, Object> seen = new LinkedHashMap<>();
        seen.put("aws_request_id", context.getAwsRequestId());
        seen.put("log_group_name", context.getLogGroupName());
        seen.put("log_stream_name", context.getLogStreamName());
        seen.put("function_name", context.getFunctionName());
        seen.put("function_version", context.getFunctionVersion());
        seen.put("invoked_function_arn", context.getInvokedFunctionArn());
        seen.put("memory_limit_in_mb", context.getMemoryLimitInMB());
        seen.put("remaining", context.getRemainingTimeInMillis());
        seen.put("identity", context.getIdentity() == null ? "none" : context.getIdentity().getIdentityId());
        ClientContext client = context.getClientContext();
        if (client != null) {
            seen.put("client", client.getClient().getAppTitle() + " " + client.getCustom() + " " + client.getEnvironment());
        }
        return seen;
    }

    public Map<String, Object> surroundings() throws Exception {
        Map<String, Object> seen = new LinkedHashMap<>();
        seen.put("variables", System.getenv());
        Process child = new ProcessBuilder("/bin/sh", "-c", "echo $MINE; ls /proc/self/fd | tr '\\n' ' '").start();
        seen.put("child", new String(child.getInputStream().readAllBytes(), StandardCharsets.UTF_8));
        seen.put("zone", TimeZone.getDefault().getID());
        seen.put("encoding", System.getProperty("file.encoding"));
        seen.put("version", System.getProperty("java.specification.version"));
        seen.put("heap", Runtime.getRuntime().maxMemory() >> 20);
        seen.put("folder", new File("").getAbsolutePath());
        seen.put("relative", new File("data.txt").isFile() ? new String(Files.readAllBytes(Paths.get("data.txt"))) : "none");
        try (InputStream resource = Seen.class.getResourceAsStream("/data.txt")) {
            seen.put("resource", resource == null ? "none" : new String(resource.readAllBytes()));
        }
        seen.put("loader", Thread.currentThread().getContextClassLoader() == Seen.class.getClassLoader());
        return seen;
    }
}
