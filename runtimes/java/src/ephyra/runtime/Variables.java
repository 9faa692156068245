package ephyra.runtime;

import java.lang.reflect.Field;
import java.util.Map;
import java.util.TimeZone;

/** The environment variables that a function sees, which are known only after the JVM has started. */
final class Variables {
    private Variables() {
    }

    /** Puts variables in place for {@link System#getenv} and for processes that the function starts. */
    @SuppressWarnings("unchecked")
    static void set(Map<?, ?> variables) throws ReflectiveOperationException {
        if (variables.isEmpty()) {
            return;
        }
        // An unmodifiable view of the map that is also copied for children; the manifest opens both packages.
        Map<String, String> view = System.getenv();
        Field inner = Class.forName("java.util.Collections$UnmodifiableMap").getDeclaredField("m");
        inner.setAccessible(true);
        Map<String, String> all = (Map<String, String>) inner.get(view);
        for (Map.Entry<?, ?> variable : variables.entrySet()) {
            all.put((String) variable.getKey(), (String) variable.getValue());
        }
        String zone = (String) variables.get("TZ");
        if (zone != null && !zone.isEmpty()) {
            TimeZone.setDefault(TimeZone.getTimeZone(zone.startsWith(":") ? zone.substring(1) : zone));
        }
    }
}
