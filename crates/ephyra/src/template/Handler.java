import java.util.Map;

/** Compile it with `javac Handler.java`, then `ephyra deploy`. */
public class Handler {
    public Map<String, Object> handle(Map<String, Object> event) {
        String name = String.valueOf(event.getOrDefault("name", "world"));
        System.out.println("Called for " + name);
        return Map.of("message", System.getenv("GREETING") + ", " + name + "!");
    }
}
