package ephyra.runtime;

import java.lang.reflect.Array;
import java.lang.reflect.GenericArrayType;
import java.lang.reflect.Method;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.lang.reflect.WildcardType;
import java.util.Collections;
import java.util.HashMap;
import java.util.Map;

/** Generic types: what their variables stand for, and what class they are in the end. */
final class Types {
    private Types() {
    }

    /** The class of values of `type`. */
    static Class<?> raw(Type type) {
        if (type instanceof Class) {
            return (Class<?>) type;
        }
        if (type instanceof ParameterizedType) {
            return (Class<?>) ((ParameterizedType) type).getRawType();
        }
        if (type instanceof GenericArrayType) {
            Class<?> item = raw(((GenericArrayType) type).getGenericComponentType());
            return Array.newInstance(item, 0).getClass();
        }
        if (type instanceof WildcardType) {
            return raw(((WildcardType) type).getUpperBounds()[0]);
        }
        return raw(((TypeVariable<?>) type).getBounds()[0]);
    }

    /** What the variables of `type` and of all above it stand for. */
    static Map<TypeVariable<?>, Type> variables(Type type) {
        Map<TypeVariable<?>, Type> found = new HashMap<>();
        collect(type, found);
        return found;
    }

    private static void collect(Type type, Map<TypeVariable<?>, Type> found) {
        if (type == null) {
            return;
        }
        Class<?> raw = raw(type);
        if (type instanceof ParameterizedType) {
            TypeVariable<?>[] names = raw.getTypeParameters();
            Type[] values = ((ParameterizedType) type).getActualTypeArguments();
            for (int i = 0; i < names.length; i++) {
                found.put(names[i], resolve(values[i], found));
            }
        }
        collect(raw.getGenericSuperclass(), found);
        for (Type above : raw.getGenericInterfaces()) {
            collect(above, found);
        }
    }

    /** The arguments with which `type` extends or implements `above`; null when it does so without any. */
    static Type[] arguments(Type type, Class<?> above) {
        Map<TypeVariable<?>, Type> found = variables(type);
        TypeVariable<?>[] names = above.getTypeParameters();
        Type[] arguments = new Type[names.length];
        for (int i = 0; i < names.length; i++) {
            arguments[i] = found.get(names[i]);
            if (arguments[i] == null) {
                return null;
            }
        }
        return arguments;
    }

    /** `type` with what its variables stand for. */
    static Type resolve(Type type, Map<TypeVariable<?>, Type> variables) {
        if (type instanceof Class || variables.isEmpty()) {
            return type;
        }
        if (type instanceof TypeVariable) {
            Type value = variables.get(type);
            return value == null ? type : value;
        }
        if (type instanceof WildcardType) {
            return resolve(((WildcardType) type).getUpperBounds()[0], variables);
        }
        if (type instanceof GenericArrayType) {
            Type item = resolve(((GenericArrayType) type).getGenericComponentType(), variables);
            return item instanceof Class ? Array.newInstance((Class<?>) item, 0).getClass() : new ArrayOf(item);
        }
        ParameterizedType generic = (ParameterizedType) type;
        Type[] arguments = generic.getActualTypeArguments();
        for (int i = 0; i < arguments.length; i++) {
            arguments[i] = resolve(arguments[i], variables);
        }
        return new Resolved(raw(generic), arguments);
    }

    /** The types of a method's parameters as `type` has the method. */
    static Type[] resolve(Method method, Class<?> type) {
        Type[] types = method.getGenericParameterTypes();
        Map<TypeVariable<?>, Type> variables = variables(type);
        for (int i = 0; i < types.length; i++) {
            types[i] = resolve(types[i], variables);
        }
        return types;
    }

    /** Whether `type` names a variable anywhere. */
    static boolean isOpen(Type type) {
        if (type instanceof Class) {
            return false;
        }
        if (type instanceof ParameterizedType) {
            for (Type argument : ((ParameterizedType) type).getActualTypeArguments()) {
                if (isOpen(argument)) {
                    return true;
                }
            }
            return false;
        }
        if (type instanceof GenericArrayType) {
            return isOpen(((GenericArrayType) type).getGenericComponentType());
        }
        if (type instanceof WildcardType) {
            return isOpen(((WildcardType) type).getUpperBounds()[0]);
        }
        return true;
    }

    static final Map<TypeVariable<?>, Type> NONE = Collections.emptyMap();

    private static final class ArrayOf implements GenericArrayType {
        private final Type item;

        ArrayOf(Type item) {
            this.item = item;
        }

        @Override
        public Type getGenericComponentType() {
            return item;
        }
    }

    private static final class Resolved implements ParameterizedType {
        private final Class<?> raw;
        private final Type[] arguments;

        Resolved(Class<?> raw, Type[] arguments) {
            this.raw = raw;
            this.arguments = arguments;
        }

        @Override
        public Type[] getActualTypeArguments() {
            return arguments.clone();
        }

        @Override
        public Type getRawType() {
            return raw;
        }

        @Override
        public Type getOwnerType() {
            return raw.getDeclaringClass();
        }
    }
}
