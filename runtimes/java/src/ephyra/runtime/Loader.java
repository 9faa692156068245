package ephyra.runtime;

import com.amazonaws.services.lambda.runtime.CustomPojoSerializer;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import java.io.File;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Modifier;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.ServiceLoader;

/** Finds and makes the handler: `package.Class` or `package.Class::method`. */
final class Loader {
    private Loader() {
    }

    /** The function's classes: its folder, the jars in its `lib`, those of its layers. The runtime's own go before. */
    static URLClassLoader classes(String task, String layers) throws MalformedURLException {
        List<URL> path = new ArrayList<>();
        // A folder that is not there yet ends in a slash all the same.
        path.add(new URL("file", null, task + "/"));
        addJars(new File(task, "lib"), path);
        addJars(new File(layers, "lib"), path);
        return new URLClassLoader(path.toArray(new URL[0]), Loader.class.getClassLoader());
    }

    private static void addJars(File folder, List<URL> path) throws MalformedURLException {
        String[] names = folder.list();
        if (names == null) {
            return;
        }
        Arrays.sort(names);
        for (String name : names) {
            if (name.endsWith(".jar")) {
                path.add(new File(folder, name).toURI().toURL());
            }
        }
    }

    /** A fault that is not fatal is told with each invocation, as Lambda does. */
    static Handler load(String name, ClassLoader classes) throws Fault {
        int colons = name.lastIndexOf("::");
        String type = colons < 0 ? name : name.substring(0, colons);
        String method = colons < 0 ? null : name.substring(colons + 2);
        if (type.isEmpty() || method != null && method.isEmpty()) {
            throw Fault.of("Invalid handler: `" + name + "'");
        }
        Class<?> found;
        try {
            found = Class.forName(type, true, classes);
        } catch (ClassNotFoundException missing) {
            throw Fault.of("Class not found: " + type, Fault.cut(missing), false);
        } catch (NoClassDefFoundError missing) {
            throw Fault.of(loading(type, missing), Fault.cut(missing), false);
        } catch (Throwable failure) {
            throw Fault.of(loading(type, failure), Fault.cut(failure), true);
        }
        return method == null ? interfaces(found, classes) : Methods.find(found, method, classes);
    }

    private static String loading(String type, Throwable failure) {
        String message = failure.getMessage();
        return "Error loading class " + type + (message == null ? "" : ": " + message);
    }

    private static Handler interfaces(Class<?> type, ClassLoader classes) throws Fault {
        if (RequestStreamHandler.class.isAssignableFrom(type)) {
            return new Streamed((RequestStreamHandler) make(type));
        }
        if (!RequestHandler.class.isAssignableFrom(type)) {
            throw Fault.of("Class does not implement an appropriate handler interface: " + type.getName());
        }
        Type[] types = Types.arguments(type, RequestHandler.class);
        if (types == null) {
            throw Fault.of("Class " + type.getName() + " does not implement RequestHandler with concrete type parameters");
        }
        for (Type one : types) {
            if (one instanceof TypeVariable && Types.raw(one) == Object.class) {
                throw Fault.of("Class " + type.getName() + " does not implement RequestHandler with concrete type "
                    + "parameters: parameter " + one + " has no upper bound.");
            }
        }
        Values values = values(types[0], types[1], classes);
        return new Typed((RequestHandler<?, ?>) make(type), values);
    }

    /** Makes the function's object. */
    static Object make(Class<?> type) throws Fault {
        try {
            Constructor<?> constructor = type.getConstructor();
            return constructor.newInstance();
        } catch (NoSuchMethodException none) {
            boolean isInner = type.getEnclosingClass() != null && !Modifier.isStatic(type.getModifiers());
            Exception told = new Exception("Class " + type.getName() + (isInner
                ? " cannot be instantiated because it is a non-static inner class"
                : " has no public zero-argument constructor"));
            throw Fault.of(Fault.cut(told), false);
        } catch (InvocationTargetException failure) {
            throw Fault.of(Fault.cut(failure.getCause()), true);
        } catch (ExceptionInInitializerError failure) {
            throw Fault.of(Fault.cut(failure), true);
        } catch (Throwable failure) {
            throw Fault.of(Fault.cut(failure), false);
        }
    }

    /** How events become values and values answers: the function's own way where it has named one. */
    static Values values(Type input, Type output, ClassLoader classes) throws Fault {
        String service = "META-INF/services/" + CustomPojoSerializer.class.getName();
        if (classes.getResource(service) == null) {
            return new Values(input, output, null);
        }
        try {
            Iterator<CustomPojoSerializer> found = ServiceLoader.load(CustomPojoSerializer.class, classes).iterator();
            CustomPojoSerializer own = found.hasNext() ? found.next() : null;
            if (found.hasNext()) {
                throw Fault.of("Too many serializers provided inside the META-INF/services folder, only one is allowed");
            }
            return new Values(input, output, own);
        } catch (Fault fault) {
            throw fault;
        } catch (Throwable failure) {
            throw Fault.of(Fault.cut(failure), false);
        }
    }

    private static final class Typed implements Handler {
        private final RequestHandler<Object, Object> handler;
        private final Values values;

        @SuppressWarnings("unchecked")
        Typed(RequestHandler<?, ?> handler, Values values) {
            this.handler = (RequestHandler<Object, Object>) handler;
            this.values = values;
        }

        @Override
        public void handle(byte[] bytes, int from, int end, Invocation invocation, Output out) {
            Object event = values.read(bytes, from, end);
            values.write(handler.handleRequest(event, invocation), out);
        }
    }

    private static final class Streamed implements Handler {
        private final RequestStreamHandler handler;

        Streamed(RequestStreamHandler handler) {
            this.handler = handler;
        }

        @Override
        public void handle(byte[] bytes, int from, int end, Invocation invocation, Output out) throws Throwable {
            handler.handleRequest(Methods.stream(bytes, from, end), out, invocation);
        }
    }
}
