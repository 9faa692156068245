package ephyra.runtime;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.time.*;
import java.util.*;

/** A bean with properties of every type. */
public class Properties {
    public enum Color { RED, GREEN }

    public static class Named {
        private String name;
        private int n;

        public String getName() {
            return name;
        }

        public void setName(String name) {
            this.name = name;
        }

        public int getN() {
            return n;
        }

        public void setN(int n) {
            this.n = n;
        }
    }

    public static class Box<T> {
        private T value;
        private List<T> more;

        public T getValue() {
            return value;
        }

        public void setValue(T value) {
            this.value = value;
        }

        public List<T> getMore() {
            return more;
        }

        public void setMore(List<T> more) {
            this.more = more;
        }
    }

    public static class Sub extends Named {
        public String extra;
        protected String hidden = "h";

        public String getHidden() {
            return hidden;
        }
    }

    public String pub;
    public transient String trans = "t";
    public static String stat = "s";
    public final String fin = "f";
    private int i;
    private Integer boxed;
    private boolean b;
    private Boolean active;
    private long l;
    private double d;
    private float f;
    private char c;
    private short s;
    private byte by;

    public int getI() {
        return i;
    }

    public void setI(int value) {
        i = value;
    }

    public Integer getBoxed() {
        return boxed;
    }

    public void setBoxed(Integer value) {
        boxed = value;
    }

    public boolean isB() {
        return b;
    }

    public void setB(boolean value) {
        b = value;
    }

    public Boolean isActive() {
        return active;
    }

    public void setActive(Boolean value) {
        active = value;
    }

    public long getL() {
        return l;
    }

    public void setL(long value) {
        l = value;
    }

    public double getD() {
        return d;
    }

    public void setD(double value) {
        d = value;
    }

    public float getF() {
        return f;
    }

    public void setF(float value) {
        f = value;
    }

    public char getC() {
        return c;
    }

    public void setC(char value) {
        c = value;
    }

    public short getS() {
        return s;
    }

    public void setS(short value) {
        s = value;
    }

    public byte getBy() {
        return by;
    }

    public void setBy(byte value) {
        by = value;
    }
}
