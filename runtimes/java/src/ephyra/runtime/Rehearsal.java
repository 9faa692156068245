package ephyra.runtime;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.io.File;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.Map;

/**
 * What a first invocation would have to load and link is used once while nobody waits: the reading of folders and
 * jars, reflection, lambdas, JSON both ways, errors. Also what is put into the archive of classes.
 */
final class Rehearsal {
    private Rehearsal() {
    }

    /** A bean with what beans usually have. */
    public static final class Sample {
        private String name;
        private int count;
        private List<String> words;
        private Map<String, Double> numbers;
        private Sample inner;

        public String getName() {
            return name;
        }

        public void setName(String name) {
            this.name = name;
        }

        public int getCount() {
            return count;
        }

        public void setCount(int count) {
            this.count = count;
        }

        public List<String> getWords() {
            return words;
        }

        public void setWords(List<String> words) {
            this.words = words;
        }

        public Map<String, Double> getNumbers() {
            return numbers;
        }

        public void setNumbers(Map<String, Double> numbers) {
            this.numbers = numbers;
        }

        public Sample getInner() {
            return inner;
        }

        public void setInner(Sample inner) {
            this.inner = inner;
        }
    }

    /** A handler with types. */
    public static final class Echo implements RequestHandler<Sample, Sample> {
        @Override
        public Sample handleRequest(Sample input, Context context) {
            return input;
        }

        /** A plain method. */
        public Object plain(Map<String, Object> event, Context context) {
            return event;
        }
    }

    private static final String EVENT = "{\"name\":\"n\\u00e9\\n\",\"count\":3,\"words\":[\"a\",\"b\"],"
        + "\"numbers\":{\"pi\":3.14,\"big\":12345678901},\"inner\":{\"name\":\"i\"},\"other\":[true,false,null]}";

    static void run() throws Throwable {
        Class<?> main = Main.class;
        File here = new File(main.getProtectionDomain().getCodeSource().getLocation().getPath());
        // A loader that finds nothing, as a function's does at first, and one that reads a jar.
        try (URLClassLoader classes = Loader.classes("/var/runtime", "/opt/java");
             URLClassLoader jar = new URLClassLoader(new java.net.URL[] {here.toURI().toURL()}, null)) {
            jar.loadClass(JsonException.class.getName()).getName();
            jar.getResource("none");
            byte[] event = EVENT.getBytes(StandardCharsets.UTF_8);
            Invocation invocation = new Invocation(new byte[16], 0, (Map<?, ?>) Json.read("{\"a\":\"b\"}"));
            for (String name : new String[] {Echo.class.getName(), Echo.class.getName() + "::plain"}) {
                Output out = new Output();
                Loader.load(name, classes).handle(event, 0, event.length, invocation, out);
            }
            try {
                Loader.load("none.Such", classes);
            } catch (Fault expected) {
                Fault.document(expected);
            }
            Iterator<Map.Entry<String, String>> known = System.getenv().entrySet().iterator();
            if (known.hasNext()) {
                // To what it is already.
                Map.Entry<String, String> variable = known.next();
                Variables.set(Collections.singletonMap(variable.getKey(), variable.getValue()));
            }
            Folder.enter(System.getProperty("user.dir"));
            Runnable lambda = () -> invocation.getRemainingTimeInMillis();
            lambda.run();
            String joined = "a" + invocation.getAwsRequestId() + event.length;
            if (joined.isEmpty()) {
                throw new IllegalStateException();
            }
        }
    }
}
