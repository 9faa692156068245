package e2e;

import com.amazonaws.services.lambda.runtime.Context;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Methods of every shape that Lambda takes. */
public class Plain {
    public String none() {
        return "none";
    }

    public String context(Context context) {
        return context.getFunctionName();
    }

    public int number(int number) {
        return number + 1;
    }

    public Object list(List<Integer> numbers) {
        int sum = 0;
        for (int number : numbers) {
            sum += number;
        }
        return Map.of("sum", sum);
    }

    public Map<String, Integer> amounts(Map<String, Order> orders, Context context) {
        Map<String, Integer> amounts = new TreeMap<>();
        orders.forEach((name, order) -> amounts.put(name, order.getAmount()));
        return amounts;
    }

    public static String fixed(String text) {
        return text + "!";
    }

    public void nothing(Object event) {
        System.out.println("nothing " + event);
    }

    public void in(InputStream input) throws IOException {
        System.out.println("in " + new String(input.readAllBytes(), StandardCharsets.UTF_8));
    }

    public void out(OutputStream output, Context context) throws IOException {
        output.write("\"out\"".getBytes(StandardCharsets.UTF_8));
    }

    public void both(InputStream input, OutputStream output) throws IOException {
        input.transferTo(output);
    }

    /** Of these the one with the context is to be taken, and never the last. */
    public String over(String text) {
        return "one";
    }

    public String over(String text, Context context) {
        return "two";
    }

    public String over(String text, String other, Context context) {
        return "three";
    }

    public String unfit(Context context, String text) {
        return "unfit";
    }
}
