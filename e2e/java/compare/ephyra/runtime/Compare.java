package ephyra.runtime;

import com.amazonaws.services.lambda.runtime.serialization.PojoSerializer;
import com.amazonaws.services.lambda.runtime.serialization.events.LambdaEventSerializers;
import com.amazonaws.services.lambda.runtime.serialization.factories.JacksonFactory;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Reads and writes the values of a file (lines of a class and its JSON) by this runtime's rules and by AWS's own
 * library, and says where they differ.
 */
public final class Compare {
    private static final String EVENTS = "com.amazonaws.services.lambda.runtime.events.";

    public static void main(String[] arguments) throws Exception {
        int count = 0;
        for (String line : Files.readAllLines(Paths.get(arguments[0]))) {
            int space = line.indexOf(' ');
            String name = line.substring(0, space);
            compare(Class.forName(name.contains(".") ? name : EVENTS + name), line.substring(space + 1));
            count++;
        }
        System.out.println(count + " compared");
    }

    private static void compare(Class<?> type, String json) {
        byte[] bytes = json.getBytes(StandardCharsets.UTF_8);
        Object theirs;
        String written;
        try {
            @SuppressWarnings("unchecked") PojoSerializer<Object> aws = (PojoSerializer<Object>) serializer(type);
            theirs = aws.fromJson(new ByteArrayInputStream(bytes));
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            aws.toJson(theirs, out);
            written = out.toString(StandardCharsets.UTF_8);
        } catch (RuntimeException refused) {
            try {
                Bind.read(bytes, 0, bytes.length, type);
                System.out.println("AWS refuses " + type.getName() + " " + json + ": " + refused.getMessage());
            } catch (JsonException expected) {
                return;
            }
            return;
        }
        try {
            differ("written", type, json, written, write(theirs));
            differ("read", type, json, written, write(Bind.read(bytes, 0, bytes.length, type)));
        } catch (JsonException failure) {
            System.out.println("AWS takes " + type.getName() + " " + json + ": " + failure.getMessage());
        }
    }

    private static PojoSerializer<?> serializer(Class<?> type) {
        return LambdaEventSerializers.isLambdaSupportedEvent(type.getName())
            ? LambdaEventSerializers.serializerFor(type, Compare.class.getClassLoader())
            : JacksonFactory.getInstance().getSerializer(type);
    }

    private static String write(Object value) throws JsonException {
        Output out = new Output();
        JsonWriter.write(value, out);
        return new String(out.written(), StandardCharsets.UTF_8);
    }

    private static void differ(String what, Class<?> type, String json, String want, String got) throws JsonException {
        if (!sorted(Json.read(want)).equals(sorted(Json.read(got)))) {
            System.out.println(what + " " + type.getName() + " " + json + "\n  want " + want + "\n  got  " + got);
        }
    }

    /** Without the order of members, which differs where classes do not say it. */
    private static Object sorted(Object value) {
        if (value instanceof Map) {
            Map<String, Object> members = new TreeMap<>();
            ((Map<?, ?>) value).forEach((name, member) -> members.put((String) name, sorted(member)));
            return members;
        }
        if (value instanceof List) {
            List<Object> items = new ArrayList<>();
            ((List<?>) value).forEach(item -> items.add(sorted(item)));
            return items;
        }
        return value instanceof Number ? Double.valueOf(value.toString()) : String.valueOf(value);
    }
}
