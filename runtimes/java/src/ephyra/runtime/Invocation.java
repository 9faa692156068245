package ephyra.runtime;

import com.amazonaws.services.lambda.runtime.Client;
import com.amazonaws.services.lambda.runtime.ClientContext;
import com.amazonaws.services.lambda.runtime.CognitoIdentity;
import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaLogger;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/** One event, and the context that its handler gets. */
final class Invocation implements Context {
    final byte[] identifier;
    private final String requestId;
    private final long deadlineMs;
    private final Map<?, ?> meta;
    private final ClientContext client;

    /** `meta` is the event's. */
    Invocation(byte[] identifier, long deadlineMs, Map<?, ?> meta) throws JsonException {
        this.identifier = identifier;
        this.deadlineMs = deadlineMs;
        this.meta = meta;
        StringBuilder digits = new StringBuilder(36);
        for (int i = 0; i < identifier.length; i++) {
            if (i == 4 || i == 6 || i == 8 || i == 10) {
                digits.append('-');
            }
            digits.append(Character.forDigit(identifier[i] >> 4 & 15, 16));
            digits.append(Character.forDigit(identifier[i] & 15, 16));
        }
        requestId = digits.toString();
        Object sent = meta.containsKey("clientContext") ? Json.read(text("clientContext")) : null;
        client = sent instanceof Map ? new Caller((Map<?, ?>) sent) : null;
    }

    private String text(String name) {
        Object value = meta.get(name);
        return value == null ? null : value.toString();
    }

    @Override
    public String getAwsRequestId() {
        return requestId;
    }

    @Override
    public String getLogGroupName() {
        return System.getenv("AWS_LAMBDA_LOG_GROUP_NAME");
    }

    @Override
    public String getLogStreamName() {
        return System.getenv("AWS_LAMBDA_LOG_STREAM_NAME");
    }

    @Override
    public String getFunctionName() {
        return System.getenv("AWS_LAMBDA_FUNCTION_NAME");
    }

    @Override
    public String getFunctionVersion() {
        return System.getenv("AWS_LAMBDA_FUNCTION_VERSION");
    }

    @Override
    public String getInvokedFunctionArn() {
        return text("invokedFunctionArn");
    }

    @Override
    public CognitoIdentity getIdentity() {
        Object identity = meta.get("identity");
        return identity instanceof Map ? new Identity((Map<?, ?>) identity) : null;
    }

    @Override
    public ClientContext getClientContext() {
        return client;
    }

    @Override
    public int getRemainingTimeInMillis() {
        return (int) Math.max(0, Math.min(Integer.MAX_VALUE, deadlineMs - System.currentTimeMillis()));
    }

    @Override
    public int getMemoryLimitInMB() {
        String memory = System.getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE");
        return memory == null ? 0 : Integer.parseInt(memory);
    }

    @Override
    public LambdaLogger getLogger() {
        return Log.LOGGER;
    }

    @Override
    public String getTenantId() {
        return text("tenantId");
    }

    @Override
    public String getXrayTraceId() {
        return text("traceId");
    }

    private static final class Identity implements CognitoIdentity {
        private final Map<?, ?> members;

        Identity(Map<?, ?> members) {
            this.members = members;
        }

        @Override
        public String getIdentityId() {
            return (String) members.get("cognitoIdentityId");
        }

        @Override
        public String getIdentityPoolId() {
            return (String) members.get("cognitoIdentityPoolId");
        }
    }

    private static final class Caller implements ClientContext, Client {
        private final Map<?, ?> members;
        private final Map<?, ?> client;

        Caller(Map<?, ?> members) {
            this.members = members;
            Object client = members.get("client");
            this.client = client instanceof Map ? (Map<?, ?>) client : null;
        }

        private Map<String, String> texts(String name) {
            Object map = members.get(name);
            if (!(map instanceof Map)) {
                return null;
            }
            Map<String, String> texts = new LinkedHashMap<>();
            for (Map.Entry<?, ?> entry : ((Map<?, ?>) map).entrySet()) {
                texts.put((String) entry.getKey(), entry.getValue() == null ? null : entry.getValue().toString());
            }
            return Collections.unmodifiableMap(texts);
        }

        private String text(String name) {
            Object value = client.get(name);
            return value == null ? null : value.toString();
        }

        @Override
        public Client getClient() {
            return client == null ? null : this;
        }

        @Override
        public Map<String, String> getCustom() {
            return texts("custom");
        }

        @Override
        public Map<String, String> getEnvironment() {
            return texts("env");
        }

        @Override
        public String getInstallationId() {
            return text("installation_id");
        }

        @Override
        public String getAppTitle() {
            return text("app_title");
        }

        @Override
        public String getAppVersionName() {
            return text("app_version_name");
        }

        @Override
        public String getAppVersionCode() {
            return text("app_version_code");
        }

        @Override
        public String getAppPackageName() {
            return text("app_package_name");
        }
    }
}
