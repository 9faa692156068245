package com.amazonaws.services.lambda.runtime.logging;

/** How log events are written. */
public enum LogFormat {
    JSON,
    TEXT;

    /** The format of this name; text when there is none. */
    public static LogFormat fromString(String format) {
        return "JSON".equalsIgnoreCase(format) ? JSON : TEXT;
    }
}
