package e2e;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/** Libraries of the function's own: Jackson, and log4j with AWS's appender. */
public class Libraries implements RequestStreamHandler {
    private static final Logger LOG = LogManager.getLogger(Libraries.class);
    private static final ObjectMapper MAPPER = new ObjectMapper();

    @Override
    public void handleRequest(InputStream input, OutputStream output, Context context) throws IOException {
        JsonNode event = MAPPER.readTree(input);
        LOG.info("by log4j\nin two lines");
        MAPPER.writeValue(output, MAPPER.createObjectNode().set("echo", event));
    }
}
