package com.amazonaws.services.lambda.runtime.logging;

import java.util.Locale;

/** Levels in rising order; without one, an event is always written. */
public enum LogLevel {
    UNDEFINED,
    TRACE,
    DEBUG,
    INFO,
    WARN,
    ERROR,
    FATAL;

    /** The level of this name, {@link #UNDEFINED} when there is none. */
    public static LogLevel fromString(String level) {
        try {
            return level == null ? UNDEFINED : valueOf(level.toUpperCase(Locale.ROOT));
        } catch (IllegalArgumentException unknown) {
            return UNDEFINED;
        }
    }
}
