package ephyra.runtime;

import java.lang.reflect.Array;
import java.lang.reflect.Modifier;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.Collections;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.LinkedList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;

/** Makes a value of a type out of what {@link Json} has read, as forgivingly as Lambda's Java runtime does. */
final class Bind {
    private Bind() {
    }

    /** Reads JSON as a value of `type`. */
    static Object read(byte[] bytes, int from, int end, Type type) throws JsonException {
        boolean isUntyped = isUntyped(type);
        Object tree = Json.read(bytes, from, end, !isUntyped);
        return isUntyped ? tree : to(tree, type, null);
    }

    /** Whether what {@link Json} makes is already what is wanted. */
    private static boolean isUntyped(Type type) {
        return type == Object.class;
    }

    /** `tree` as a value of `type`, which is a part of `owner`, a class or null. */
    static Object to(Object tree, Type type, Class<?> owner) throws JsonException {
        Class<?> raw = Types.raw(type);
        if (raw == Object.class) {
            return untyped(tree);
        }
        if (tree == null) {
            return raw.isPrimitive() ? Scalars.zero(raw) : raw == Optional.class ? Optional.empty() : null;
        }
        if (Scalars.isScalar(raw)) {
            return Scalars.read(unwrapped(tree), raw);
        }
        if (Times.isTime(raw)) {
            return Times.read(tree, raw, owner != null && EventNames.hasSeconds(owner));
        }
        if (raw == Optional.class) {
            return Optional.ofNullable(to(tree, argument(type, Optional.class, 0), owner));
        }
        if (raw == byte[].class || raw == ByteBuffer.class) {
            return binary(tree, raw);
        }
        if (raw.isArray()) {
            return array(list(tree), type, raw, owner);
        }
        if (raw == Iterable.class || Collection.class.isAssignableFrom(raw)) {
            return isNothing(tree) ? null : collection(list(tree), type, raw, owner);
        }
        if (Map.class.isAssignableFrom(raw)) {
            return isNothing(tree) ? null : map(tree, type, raw, owner);
        }
        return bean(tree, type, raw);
    }

    /** Numbers that keep their digits become doubles where nobody asked for more. */
    private static Object untyped(Object tree) {
        if (tree instanceof BigDecimal) {
            return ((BigDecimal) tree).doubleValue();
        }
        if (tree instanceof List) {
            @SuppressWarnings("unchecked") List<Object> items = (List<Object>) tree;
            items.replaceAll(Bind::untyped);
        } else if (tree instanceof Map) {
            @SuppressWarnings("unchecked") Map<String, Object> members = (Map<String, Object>) tree;
            members.replaceAll((name, value) -> untyped(value));
        }
        return tree;
    }

    private static Type argument(Type type, Class<?> of, int index) {
        Type[] arguments = Types.arguments(type, of);
        return arguments == null ? Object.class : arguments[index];
    }

    /** An empty string or list stands for nothing where an object is wanted. */
    private static boolean isNothing(Object tree) {
        return tree.equals("");
    }

    /** A list of one stands for what is in it. */
    private static Object unwrapped(Object tree) {
        return tree instanceof List && ((List<?>) tree).size() == 1 ? ((List<?>) tree).get(0) : tree;
    }

    /** What is not a list stands for a list of one. */
    private static List<?> list(Object tree) {
        return tree instanceof List ? (List<?>) tree : Collections.singletonList(tree);
    }

    private static Object binary(Object tree, Class<?> raw) throws JsonException {
        if (tree instanceof List && raw == byte[].class) {
            return array((List<?>) tree, raw, raw, null);
        }
        if (!(tree instanceof String)) {
            throw Scalars.unfit(tree, raw);
        }
        try {
            byte[] bytes = Base64.getDecoder().decode((String) tree);
            return raw == byte[].class ? bytes : ByteBuffer.wrap(bytes);
        } catch (IllegalArgumentException notBase64) {
            throw new JsonException("Cannot access contents of a binary value: " + notBase64.getMessage(), notBase64);
        }
    }

    private static Object array(List<?> items, Type type, Class<?> raw, Class<?> owner) throws JsonException {
        Type item = type instanceof java.lang.reflect.GenericArrayType
            ? ((java.lang.reflect.GenericArrayType) type).getGenericComponentType() : raw.getComponentType();
        Object array = Array.newInstance(raw.getComponentType(), items.size());
        for (int i = 0; i < items.size(); i++) {
            Array.set(array, i, item(items.get(i), item, owner, i));
        }
        return array;
    }

    private static Object item(Object tree, Type type, Class<?> owner, Object place) throws JsonException {
        try {
            return to(tree, type, owner);
        } catch (JsonException failure) {
            throw at("[" + place + "]", failure);
        }
    }

    /** The same failure, with the way to it. */
    private static JsonException at(String place, JsonException failure) {
        String text = failure.getMessage();
        int way = text.lastIndexOf(" (through ");
        String known = way < 0 ? "" : text.substring(way + 10, text.length() - 1);
        String cut = way < 0 ? text : text.substring(0, way);
        String whole = known.isEmpty() || known.startsWith("[") ? place + known : place + "." + known;
        JsonException same = new JsonException(cut + " (through " + whole + ")", failure.getCause());
        same.setStackTrace(failure.getStackTrace());
        return same;
    }

    @SuppressWarnings("unchecked")
    private static Object collection(List<?> items, Type type, Class<?> raw, Class<?> owner) throws JsonException {
        Collection<Object> result;
        if (raw.isInterface() || Modifier.isAbstract(raw.getModifiers())) {
            if (raw.isAssignableFrom(ArrayList.class)) {
                result = new ArrayList<>(items.size());
            } else if (raw.isAssignableFrom(LinkedHashSet.class)) {
                result = new LinkedHashSet<>();
            } else if (raw.isAssignableFrom(TreeSet.class)) {
                result = new TreeSet<>();
            } else if (raw.isAssignableFrom(LinkedList.class)) {
                result = new LinkedList<>();
            } else {
                throw abstracted(raw);
            }
        } else if (raw == ArrayDeque.class) {
            result = new ArrayDeque<>();
        } else {
            result = (Collection<Object>) made(raw);
        }
        Type item = argument(type, Collection.class, 0);
        if (raw == Iterable.class) {
            item = argument(type, Iterable.class, 0);
        }
        for (int i = 0; i < items.size(); i++) {
            result.add(item(items.get(i), item, owner, i));
        }
        return result;
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private static Object map(Object tree, Type type, Class<?> raw, Class<?> owner) throws JsonException {
        if (!(tree instanceof Map)) {
            Object only = unwrapped(tree);
            if (only instanceof Map) {
                return map(only, type, raw, owner);
            }
            if (tree instanceof List && ((List<?>) tree).isEmpty()) {
                return null;
            }
            throw Scalars.unfit(tree, raw);
        }
        Type key = argument(type, Map.class, 0);
        Type value = argument(type, Map.class, 1);
        Map<Object, Object> result;
        if (raw == EnumMap.class) {
            result = new EnumMap(Types.raw(key));
        } else if (raw.isInterface() || Modifier.isAbstract(raw.getModifiers())) {
            if (raw.isAssignableFrom(LinkedHashMap.class)) {
                result = new LinkedHashMap<>();
            } else if (raw.isAssignableFrom(TreeMap.class)) {
                result = new TreeMap<>();
            } else if (ConcurrentMap.class.isAssignableFrom(raw)) {
                result = new ConcurrentHashMap<>();
            } else {
                throw abstracted(raw);
            }
        } else {
            result = (Map<Object, Object>) made(raw);
        }
        boolean hasPlainKeys = key == Object.class || key == String.class;
        for (Map.Entry<?, ?> entry : ((Map<?, ?>) tree).entrySet()) {
            Object name = hasPlainKeys ? entry.getKey() : item(entry.getKey(), key, owner, entry.getKey());
            result.put(name, item(entry.getValue(), value, owner, entry.getKey()));
        }
        return result;
    }

    private static Object made(Class<?> raw) throws JsonException {
        Bean bean = Bean.of(raw);
        if (!bean.canBeMade() || !bean.parameters.isEmpty()) {
            throw abstracted(raw);
        }
        return bean.make();
    }

    private static JsonException abstracted(Class<?> raw) {
        return new JsonException("Cannot construct instance of `" + raw.getName()
            + "` (no Creators, like default constructor, exist): it has to be a class with a constructor without "
            + "parameters");
    }

    private static Object bean(Object tree, Type type, Class<?> raw) throws JsonException {
        if (!(tree instanceof Map)) {
            Object only = unwrapped(tree);
            if (only instanceof Map) {
                return bean(only, type, raw);
            }
            if (isNothing(tree) || tree instanceof List && ((List<?>) tree).isEmpty()) {
                return null;
            }
            throw Scalars.unfit(tree, raw);
        }
        Map<?, ?> members = (Map<?, ?>) tree;
        Bean bean = Bean.of(raw);
        if (!bean.canBeMade()) {
            throw abstracted(raw);
        }
        Map<TypeVariable<?>, Type> variables = bean.isGeneric ? Types.variables(type) : Types.NONE;
        Object[] arguments = new Object[bean.parameters.size()];
        for (int i = 0; i < arguments.length; i++) {
            Bean.Property property = bean.properties.get(bean.parameters.get(i));
            arguments[i] = member(members.get(property.name), property, variables, raw);
        }
        return filled(bean.make(arguments), bean, members, variables);
    }

    private static Object filled(Object made, Bean bean, Map<?, ?> members, Map<TypeVariable<?>, Type> variables)
            throws JsonException {
        for (Map.Entry<?, ?> entry : members.entrySet()) {
            Bean.Property property = bean.properties.get(entry.getKey());
            if (property == null || !property.isWritten()) {
                continue;
            }
            Object value = isInner(entry.getValue(), property, bean)
                ? inner(entry.getValue(), property, made) : member(entry.getValue(), property, variables, bean.type);
            try {
                property.set(made, value);
            } catch (java.lang.reflect.InvocationTargetException failure) {
                throw at(property.name, new JsonException(String.valueOf(failure.getCause()), failure.getCause()));
            } catch (ReflectiveOperationException failure) {
                throw at(property.name, new JsonException(failure.getMessage(), failure));
            }
        }
        return made;
    }

    /** Whether a member is an object of a class inside of the bean's, which needs the bean to be made. */
    private static boolean isInner(Object tree, Bean.Property property, Bean bean) {
        Type type = property.type();
        return tree instanceof Map && type instanceof Class && ((Class<?>) type).getEnclosingClass() == bean.type
            && Bean.of((Class<?>) type).isInner();
    }

    private static Object inner(Object tree, Bean.Property property, Object outer) throws JsonException {
        Bean bean = Bean.of((Class<?>) property.type());
        try {
            return filled(bean.make(outer), bean, (Map<?, ?>) tree, Types.NONE);
        } catch (JsonException failure) {
            throw at(property.name, failure);
        }
    }

    private static Object member(Object tree, Bean.Property property, Map<TypeVariable<?>, Type> variables, Class<?> owner)
            throws JsonException {
        try {
            return to(tree, Types.resolve(property.type(), variables), owner);
        } catch (JsonException failure) {
            throw at(property.name, failure);
        }
    }
}
