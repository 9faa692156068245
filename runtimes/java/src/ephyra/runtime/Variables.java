package ephyra.runtime;

import java.lang.reflect.AccessibleObject;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.TimeZone;

/**
 * The environment variables that a function sees, which are known only after the JVM has started: for
 * {@link System#getenv}, for processes that it starts, and for libraries in C. The JDK has no public way to any of them;
 * the jar's manifest opens what is used here.
 */
final class Variables {
    private Variables() {
    }

    @SuppressWarnings("unchecked")
    static void set(Map<?, ?> variables) throws ReflectiveOperationException {
        if (variables.isEmpty()) {
            return;
        }
        // An unmodifiable view of the map that is copied for children whose variables are changed.
        Map<String, String> view = System.getenv();
        Field inner = open(Class.forName("java.util.Collections$UnmodifiableMap").getDeclaredField("m"));
        Map<String, String> all = (Map<String, String>) inner.get(view);
        for (Map.Entry<?, ?> variable : variables.entrySet()) {
            all.put((String) variable.getKey(), (String) variable.getValue());
        }
        try {
            setInC(view);
        } catch (ReflectiveOperationException | RuntimeException unknown) {
            // A JDK that is made otherwise: the function itself sees all.
            System.err.println("processes that this function starts do not see all of its variables: " + unknown);
        }
        String zone = (String) variables.get("TZ");
        if (zone != null && !zone.isEmpty()) {
            TimeZone.setDefault(TimeZone.getTimeZone(zone.startsWith(":") ? zone.substring(1) : zone));
        }
    }

    private static <T extends AccessibleObject> T open(T member) {
        member.setAccessible(true);
        return member;
    }

    /** Gives the C library's `environ` new strings: what children inherit whose variables are not changed. */
    private static void setInC(Map<String, String> all) throws ReflectiveOperationException {
        Memory memory = new Memory();
        long environ = symbol("environ");
        if (environ == 0) {
            throw new NoSuchFieldException("the C library has no environ");
        }
        // Never freed, as what it replaces: somebody may hold a string of it.
        long strings = memory.allocate(8L * (all.size() + 1));
        int index = 0;
        for (Map.Entry<String, String> variable : all.entrySet()) {
            long string = memory.string(variable.getKey() + "=" + variable.getValue());
            memory.putAddress(strings + 8L * index++, string);
        }
        memory.putAddress(strings + 8L * index, 0);
        memory.putAddress(environ, strings);
    }

    /** What dlsym(3) finds of a name in all that is loaded: the JDK's own way to it, which moves between versions. */
    private static long symbol(String name) throws ReflectiveOperationException {
        try {
            Class<?> library = Class.forName("jdk.internal.loader.NativeLibrary");
            // From version 18 on: a handle of 0 stands for all.
            Method find = open(library.getDeclaredMethod("findEntry0", long.class, String.class));
            return (Long) find.invoke(null, 0L, name);
        } catch (ClassNotFoundException | NoSuchMethodException older) {
            // Up to 17 it goes by a library, whose handle is 0 until it is loaded.
            return symbolOfOlder(name);
        }
    }

    private static long symbolOfOlder(String name) throws ReflectiveOperationException {
        Class<?> library;
        try {
            library = Class.forName("jdk.internal.loader.NativeLibraries$NativeLibraryImpl");
        } catch (ClassNotFoundException older) {
            library = Class.forName("java.lang.ClassLoader$NativeLibrary");
        }
        Constructor<?> constructor = open(library.getDeclaredConstructors()[0]);
        Class<?>[] types = constructor.getParameterTypes();
        Object[] arguments = new Object[types.length];
        for (int i = 0; i < types.length; i++) {
            arguments[i] = types[i] == boolean.class ? Boolean.FALSE : types[i] == Class.class ? Variables.class : null;
        }
        Object all = constructor.newInstance(arguments);
        try {
            return (Long) open(library.getDeclaredMethod("find", String.class)).invoke(all, name);
        } catch (NoSuchMethodException middle) {
            return (Long) open(library.getDeclaredMethod("findEntry", String.class)).invoke(all, name);
        }
    }

    /** Memory outside of the heap. */
    static final class Memory {
        private final Object unsafe;
        private final Method allocate;
        private final Method copy;
        private final long arrayBase;
        private final Method putAddress;

        Memory() throws ReflectiveOperationException {
            Class<?> type;
            try {
                type = Class.forName("jdk.internal.misc.Unsafe");
            } catch (ClassNotFoundException older) {
                type = Class.forName("sun.misc.Unsafe");
            }
            unsafe = open(type.getDeclaredField("theUnsafe")).get(null);
            allocate = open(type.getMethod("allocateMemory", long.class));
            copy = open(type.getMethod(
                "copyMemory", Object.class, long.class, Object.class, long.class, long.class));
            Method base = open(type.getMethod("arrayBaseOffset", Class.class));
            // An int or, in newer versions, a long.
            arrayBase = ((Number) base.invoke(unsafe, byte[].class)).longValue();
            putAddress = open(type.getMethod("putAddress", long.class, long.class));
        }

        long allocate(long bytes) throws ReflectiveOperationException {
            return (Long) allocate.invoke(unsafe, bytes);
        }

        /** The address of a C string that lives for ever. */
        long string(String text) throws ReflectiveOperationException {
            byte[] bytes = (text + "\0").getBytes(StandardCharsets.UTF_8);
            long address = allocate(bytes.length);
            copy.invoke(unsafe, bytes, arrayBase, null, address, (long) bytes.length);
            return address;
        }

        void putAddress(long address, long value) throws ReflectiveOperationException {
            putAddress.invoke(unsafe, address, value);
        }
    }
}
