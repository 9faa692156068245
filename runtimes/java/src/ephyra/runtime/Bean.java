package ephyra.runtime;

import java.lang.reflect.AccessibleObject;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Member;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Type;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** What a class looks like as a JSON object: by setters, getters and public fields, as Lambda's Java runtime does. */
final class Bean {
    private static final Map<Class<?>, Bean> KNOWN = new ConcurrentHashMap<>();

    /** A member of the object. */
    static final class Property {
        final String name;
        private Member getter;
        private Member setter;
        private Type type;

        Property(String name) {
            this.name = name;
        }

        /** What is set: the setter's type. */
        Type type() {
            return type;
        }

        boolean isRead() {
            return getter != null;
        }

        boolean isWritten() {
            return setter != null;
        }

        Object get(Object of) throws ReflectiveOperationException {
            return getter instanceof Method ? ((Method) getter).invoke(of) : ((Field) getter).get(of);
        }

        void set(Object of, Object value) throws ReflectiveOperationException {
            if (setter instanceof Method) {
                ((Method) setter).invoke(of, value);
            } else {
                ((Field) setter).set(of, value);
            }
        }
    }

    final Class<?> type;
    /** By their names in JSON, in the order of the class's fields. */
    final Map<String, Property> properties = new LinkedHashMap<>();
    /** Whether any of them has a type that depends on the class's own variables. */
    boolean isGeneric;
    /** The constructor without parameters, or the one that takes all of {@link #parameters}; null when there is neither. */
    private Constructor<?> constructor;
    private boolean isInner;
    /** The properties that the constructor takes: their names in JSON. */
    final List<String> parameters = new ArrayList<>();

    static Bean of(Class<?> type) {
        Bean known = KNOWN.get(type);
        if (known == null) {
            known = new Bean(type);
            KNOWN.put(type, known);
        }
        return known;
    }

    private Bean(Class<?> type) {
        this.type = type;
        List<Class<?>> lineage = new ArrayList<>();
        for (Class<?> at = type; at != null && at != Object.class; at = at.getSuperclass()) {
            lineage.add(at);
        }
        Collections.reverse(lineage);
        for (Class<?> at : lineage) {
            fields(at);
        }
        for (Class<?> at : lineage) {
            setters(at);
        }
        getters();
        findConstructor();
        for (Iterator<Property> all = properties.values().iterator(); all.hasNext(); ) {
            Property property = all.next();
            isGeneric |= property.type != null && Types.isOpen(property.type);
            if (property.getter == null && property.setter == null && !parameters.contains(property.name)) {
                all.remove();
            }
        }
    }

    private Property property(String name) {
        String json = EventNames.of(type, name);
        Property known = properties.get(json);
        if (known == null && json != null) {
            known = new Property(json);
            properties.put(json, known);
        }
        return known;
    }

    /** All fields give the order; only public ones are read and written. */
    private void fields(Class<?> at) {
        for (Field field : at.getDeclaredFields()) {
            if (Modifier.isStatic(field.getModifiers()) || field.isSynthetic()) {
                continue;
            }
            boolean isPublic = Modifier.isPublic(field.getModifiers()) && !Modifier.isTransient(field.getModifiers());
            Property property = property(field.getName());
            if (property != null && isPublic && open(field)) {
                property.getter = field;
                property.setter = field;
                property.type = field.getGenericType();
            }
        }
    }

    private void setters(Class<?> at) {
        for (Method method : at.getDeclaredMethods()) {
            String name = after("set", method);
            if (name == null || method.getParameterCount() != 1 || method.isBridge()) {
                continue;
            }
            Property property = property(name);
            if (property == null || !open(method)) {
                continue;
            }
            Type type = method.getGenericParameterTypes()[0];
            boolean isRival = property.setter instanceof Method && property.setter.getDeclaringClass() == at;
            if (!isRival || prefers(method.getParameterTypes()[0], Types.raw(property.type), name)) {
                property.setter = method;
                property.type = type;
            }
        }
    }

    /** Of two setters in a class, the one that goes with the getter is taken, and else the one for text. */
    private boolean prefers(Class<?> mine, Class<?> other, String name) {
        Class<?> wanted;
        try {
            wanted = type.getMethod("get" + Character.toUpperCase(name.charAt(0)) + name.substring(1)).getReturnType();
        } catch (NoSuchMethodException none) {
            wanted = String.class;
        }
        return mine == wanted || other != wanted && mine == String.class;
    }

    private void getters() {
        for (Method method : type.getMethods()) {
            if (method.getParameterCount() != 0 || method.isBridge() || method.getDeclaringClass() == Object.class) {
                continue;
            }
            Class<?> result = method.getReturnType();
            String name = after("get", method);
            boolean isQuestion = result == boolean.class || result == Boolean.class;
            if (name == null && isQuestion) {
                name = after("is", method);
            }
            Property property = name == null || result == void.class ? null : property(name);
            // Of two, `get` goes before `is`.
            boolean isTaken = property != null && property.getter instanceof Method
                && property.getter.getName().startsWith("get");
            if (property != null && !isTaken && open(method)) {
                property.getter = method;
            }
        }
    }

    /** The name of the property that `method` is for; null when its name does not begin so. */
    private static String after(String prefix, Method method) {
        String name = method.getName();
        if (!name.startsWith(prefix) || name.length() == prefix.length() || Modifier.isStatic(method.getModifiers())) {
            return null;
        }
        name = name.substring(prefix.length());
        boolean isAbbreviation = name.length() > 1 && Character.isUpperCase(name.charAt(0))
            && Character.isUpperCase(name.charAt(1));
        return isAbbreviation ? name : Character.toLowerCase(name.charAt(0)) + name.substring(1);
    }

    private void findConstructor() {
        if (Modifier.isAbstract(type.getModifiers())) {
            return;
        }
        Class<?> above = type.getSuperclass();
        boolean isRecord = above != null && above.getName().equals("java.lang.Record");
        if (isRecord || EventNames.isConstructed(type)) {
            Class<?> holder = type;
            while (ownFields(holder).isEmpty() && holder.getSuperclass() != null) {
                holder = holder.getSuperclass();
            }
            List<Field> fields = ownFields(holder);
            for (Constructor<?> one : type.getDeclaredConstructors()) {
                if (one.getParameterCount() == fields.size() && (!isRecord || isCanonical(one, fields)) && open(one)) {
                    constructor = one;
                }
            }
            if (constructor == null) {
                return;
            }
            Type[] types = constructor.getGenericParameterTypes();
            for (int i = 0; i < fields.size(); i++) {
                Property property = property(fields.get(i).getName());
                property.type = types[i];
                parameters.add(property.name);
                if (isRecord) {
                    accessor(property, fields.get(i).getName());
                }
            }
            return;
        }
        isInner = type.isMemberClass() && !Modifier.isStatic(type.getModifiers());
        try {
            constructor = isInner ? type.getDeclaredConstructor(type.getEnclosingClass())
                : type.getDeclaredConstructor();
        } catch (NoSuchMethodException none) {
            return;
        }
        if (!open(constructor)) {
            constructor = null;
        }
    }

    private static boolean isCanonical(Constructor<?> constructor, List<Field> fields) {
        Class<?>[] types = constructor.getParameterTypes();
        for (int i = 0; i < types.length; i++) {
            if (types[i] != fields.get(i).getType()) {
                return false;
            }
        }
        return true;
    }

    private static List<Field> ownFields(Class<?> type) {
        List<Field> fields = new ArrayList<>();
        for (Field field : type.getDeclaredFields()) {
            if (!Modifier.isStatic(field.getModifiers()) && !field.isSynthetic()) {
                fields.add(field);
            }
        }
        return fields;
    }

    /** A record's own way to read a component. */
    private void accessor(Property property, String name) {
        try {
            Method method = type.getMethod(name);
            if (open(method)) {
                property.getter = method;
            }
        } catch (NoSuchMethodException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    /** Whether it can be used: the JDK's own classes are closed. */
    private static boolean open(AccessibleObject member) {
        try {
            member.setAccessible(true);
            return true;
        } catch (RuntimeException closed) {
            return false;
        }
    }

    boolean canBeMade() {
        return constructor != null && !isInner();
    }

    /** Whether a value is made within a value of the class around it. */
    boolean isInner() {
        return isInner;
    }

    /** Makes a value; `arguments` are for {@link #parameters}. */
    Object make(Object... arguments) throws JsonException {
        try {
            return constructor.newInstance(arguments);
        } catch (InvocationTargetException failure) {
            throw new JsonException("Cannot construct instance of `" + type.getName() + "`, problem: "
                + failure.getCause().getMessage(), failure.getCause());
        } catch (ReflectiveOperationException failure) {
            throw new JsonException("Cannot construct instance of `" + type.getName() + "`", failure);
        }
    }
}
