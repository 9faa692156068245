package ephyra.runtime;

import com.amazonaws.services.lambda.runtime.Context;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Type;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;

/**
 * Handlers that are plain methods. Of several with the name, the one with the most parameters that fits is taken, one
 * that ends in the context before others.
 */
final class Methods {
    private Methods() {
    }

    static Handler find(Class<?> type, String name, ClassLoader classes) throws Fault {
        List<Method> methods = new ArrayList<>();
        try {
            for (Method method : type.getMethods()) {
                if (method.getName().equals(name)) {
                    methods.add(method);
                }
            }
        } catch (NoClassDefFoundError missing) {
            throw Fault.of("Error loading method " + name + " on class " + type.getName(), Fault.cut(missing), false);
        }
        Collections.sort(methods, BEST_FIRST);
        for (Method method : methods) {
            Called called = of(type, method, classes);
            if (called != null) {
                return called;
            }
        }
        throw Fault.of("No public method named " + name + " with appropriate method signature found on class "
            + type.getName());
    }

    private static final Comparator<Method> BEST_FIRST = new Comparator<Method>() {
        @Override
        public int compare(Method one, Method other) {
            if (one.isBridge() != other.isBridge()) {
                return one.isBridge() ? 1 : -1;
            }
            return Integer.compare(weight(other), weight(one));
        }

        private int weight(Method method) {
            Class<?>[] types = method.getParameterTypes();
            return types.length + (types.length > 0 && types[types.length - 1] == Context.class ? 1 : 0);
        }
    };

    /** Null when the method's parameters are not those of a handler, which is said. */
    private static Called of(Class<?> type, Method method, ClassLoader classes) throws Fault {
        Type[] types = Types.resolve(method, type);
        int count = types.length;
        boolean takesContext = count > 0 && types[count - 1] == Context.class;
        int rest = takesContext ? count - 1 : count;
        boolean takesInput = rest > 0 && types[0] == InputStream.class;
        boolean takesOutput = rest > 0 && types[rest - 1] == OutputStream.class;
        int streams = (takesInput ? 1 : 0) + (takesOutput ? 1 : 0);
        boolean fits = streams > 0 ? rest == streams : rest <= 1 && (rest == 0 || types[0] != Context.class);
        if (!fits) {
            System.err.println("Ignoring an overload of method " + method.getName() + " with " + count
                + " parameters: they are not those of a handler");
            return null;
        }
        Object instance = Modifier.isStatic(method.getModifiers()) ? null : Loader.make(type);
        try {
            // The class need not be public for its public methods to be called.
            method.setAccessible(true);
        } catch (RuntimeException closed) {
            throw Fault.of(Fault.cut(closed), false);
        }
        Values values = null;
        if (streams == 0) {
            values = Loader.values(rest == 1 ? types[0] : null, method.getGenericReturnType(), classes);
        }
        return new Called(method, instance, takesInput, takesOutput, takesContext, values, count);
    }

    static InputStream stream(byte[] bytes, int from, int end) {
        // The frame's buffer is used again.
        return new ByteArrayInputStream(java.util.Arrays.copyOfRange(bytes, from, end));
    }

    private static final class Called implements Handler {
        private final Method method;
        private final Object instance;
        private final boolean takesInput;
        private final boolean takesOutput;
        private final boolean takesContext;
        private final Values values;
        private final int count;

        Called(Method method, Object instance, boolean takesInput, boolean takesOutput, boolean takesContext,
                Values values, int count) {
            this.method = method;
            this.instance = instance;
            this.takesInput = takesInput;
            this.takesOutput = takesOutput;
            this.takesContext = takesContext;
            this.values = values;
            this.count = count;
        }

        @Override
        public void handle(byte[] bytes, int from, int end, Invocation invocation, Output out) throws Throwable {
            Object[] arguments = new Object[count];
            int at = 0;
            if (takesInput) {
                arguments[at++] = stream(bytes, from, end);
            } else if (values != null && count > (takesContext ? 1 : 0)) {
                arguments[at++] = values.read(bytes, from, end);
            }
            if (takesOutput) {
                arguments[at++] = out;
            }
            if (takesContext) {
                arguments[at] = invocation;
            }
            Object result;
            try {
                result = method.invoke(instance, arguments);
            } catch (InvocationTargetException failure) {
                throw failure.getCause();
            }
            if (values != null) {
                values.write(result, out);
            }
        }
    }
}
