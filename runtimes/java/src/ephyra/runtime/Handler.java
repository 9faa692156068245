package ephyra.runtime;

/** A function's handler, whatever its shape. */
interface Handler {
    /** Answers the event in `bytes` from `from` to `end` by what it writes to `out`; throws what the function throws. */
    void handle(byte[] bytes, int from, int end, Invocation invocation, Output out) throws Throwable;
}
