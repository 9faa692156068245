package e2e;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.LambdaRuntime;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.nio.charset.StandardCharsets;

/** Every way to log. */
public class Logs {
    public void log(Object event, Context context) {
        LambdaLogger logger = context.getLogger();
        logger.log("plain é\nand more\n");
        logger.log("bytes".getBytes(StandardCharsets.UTF_8));
        logger.log("debug", LogLevel.DEBUG);
        logger.log("warn", LogLevel.WARN);
        LambdaRuntime.getLogger().log("from anywhere");
        System.out.println("out\nof two lines");
        System.out.print("begun ");
        System.out.printf("and %s%n", "ended");
        System.err.println("err ü");
        System.out.print("without end");
    }
}
